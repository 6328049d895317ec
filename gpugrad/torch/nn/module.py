"""torch.nn.Module."""

from __future__ import annotations

from collections.abc import Iterator
from sys import modules
from typing import Any

from ...nn import Module as CoreModule
from ..tensor import Parameter, Tensor


class Module(CoreModule):
    """A model: parameters, buffers and modules are its attributes; write `forward(input)`."""

    takes = Tensor

    def named_variables(self) -> Iterator[tuple[str, Any]]:
        """(path, parameter), each once; tensors that require grad are none."""
        return iter(self._by_module([(k, v) for k, v in super().named_variables() if isinstance(v, Parameter)]))

    @staticmethod
    def _counts(v: Any) -> bool:
        """Frozen parameters are some, too."""
        return True

    @staticmethod
    def _parameter(value: Any, name: str, transposed: bool = False) -> Any:
        """`value` as a parameter."""
        return Parameter(value)

    @staticmethod
    def _kind(layer: Any) -> Any:
        """This door's class of that name."""
        return getattr(modules[__name__.rpartition(".")[0]], layer.__name__)

    @staticmethod
    def _replaces(value: Any) -> bool:
        """Whether it may stand where a parameter was."""
        return isinstance(value, Parameter)

    def extra_repr(self) -> str:
        """What stands between the brackets when it is printed."""
        return ""
