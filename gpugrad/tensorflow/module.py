"""tf.Module."""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import Any

from ..nn import Module as CoreModule, OwnFirst
from .tensor import EagerTensor


def _tupled(lists: Any) -> Any:
    return property(lambda self: tuple(lists.fget(self)), doc=lists.__doc__)


class Module(OwnFirst):
    """A model whose variables are gathered from attributes, lists and dicts, by their names."""

    by_name, takes = True, EagerTensor

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

    variables = _tupled(CoreModule.variables)
    trainable_variables = _tupled(CoreModule.trainable_variables)
    non_trainable_variables = _tupled(CoreModule.non_trainable_variables)

    @staticmethod
    def with_name_scope(method: Any) -> Any:
        """The method itself."""
        return method


def snake(name: str) -> str:
    """`TwoWords` as `two_words`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
