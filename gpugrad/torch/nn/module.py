"""torch.nn.Module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...array import as_dtype
from ...nn import Module as CoreModule
from ..tensor import Parameter


class Module(CoreModule):
    """A model: parameters, buffers and modules are its attributes; write `forward(input)`."""

    def forward(self, *args: Any, **kw: Any) -> Any:
        """The output."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kw: Any) -> Any:
        return self.forward(*args, **kw)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) for the modules that are attributes."""
        return ((k, v) for k, v in vars(self).items() if isinstance(v, Module))

    def children(self) -> Iterator[Module]:
        """The modules that are attributes."""
        return (m for _, m in self.named_children())

    def named_parameters(self) -> Iterator[tuple[str, Any]]:
        """(path, parameter), each once, frozen ones too."""
        return ((k, v) for k, v in self.named_variables() if isinstance(v, Parameter))

    def parameters(self) -> Iterator[Any]:
        """The parameters, each once."""
        return (p for _, p in self.named_parameters())

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """A tensor that is saved with the model and that no optimizer changes."""
        vars(self).setdefault("_buffer_names", {})[name] = persistent
        setattr(self, name, tensor)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """A parameter, or None in its place."""
        setattr(self, name, param)

    def named_buffers(self) -> Iterator[tuple[str, Any]]:
        """(path, buffer)."""
        for path, m in self.named_modules():
            for name in vars(m).get("_buffer_names", ()):
                yield (f"{path}.{name}" if path else name), getattr(m, name)

    def buffers(self) -> Iterator[Any]:
        """The buffers."""
        return (b for _, b in self.named_buffers())

    def state(self) -> dict[str, Any]:
        """The parameters and buffers, by path."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def to(self, *args: Any, dtype: Any = None, device: Any = None) -> Any:
        """Move all parameters and buffers, cast the floating ones, or both."""
        for a in args:
            dtype, device = (a, device) if isinstance(a, np.dtype) else (dtype, a)
        return super().to(device, dtype)

    def cuda(self, device: int = 0) -> Any:
        """On a GPU."""
        return self.to(f"cuda:{device}")

    def cpu(self) -> Any:
        """On the CPU."""
        return self.to("cpu")

    def double(self) -> Any:
        """In float64."""
        return self.to(as_dtype("float64"))

    def float(self) -> Any:
        """In float32."""
        return self.to(as_dtype("float32"))

    def extra_repr(self) -> str:
        """What stands between the brackets when it is printed."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({k}): {v!r}".replace("\n", "\n  ") for k, v in self.named_children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"
