"""tf.Module."""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import Any

from ..nn import Module as CoreModule


class Module(CoreModule):
    """A model whose variables are gathered from attributes, lists and dicts."""

    def __init__(self, name: str | None = None) -> None:
        if name is not None and not name.isidentifier():
            raise ValueError(f"{name!r} is not a valid module name. Module names must be valid Python identifiers.")
        self._name = name or snake(type(self).__name__)

    @property
    def name(self) -> str:
        """The name given, or that of the class."""
        return getattr(self, "_name", snake(type(self).__name__))

    @property
    def name_scope(self) -> Any:
        """Does nothing: names are what they are."""
        return nullcontext()

    @property
    def variables(self) -> tuple[Any, ...]:  # type: ignore[override]
        """All variables."""
        return tuple(super().variables)

    @property
    def trainable_variables(self) -> tuple[Any, ...]:  # type: ignore[override]
        """The variables that tapes watch."""
        return tuple(super().trainable_variables)

    @property
    def non_trainable_variables(self) -> tuple[Any, ...]:  # type: ignore[override]
        """The other variables."""
        return tuple(super().non_trainable_variables)

    @staticmethod
    def with_name_scope(method: Any) -> Any:
        """The method itself."""
        return method


def snake(name: str) -> str:
    """`TwoWords` as `two_words`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
