"""torch.nn.Module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...autograd import no_grad
from ...core import trainable
from ..tensor import Parameter, Tensor


class Module:
    """A model: parameters, buffers and modules are its attributes; write `forward(input)`."""

    training = True

    def forward(self, *args: Any, **kw: Any) -> Any:
        """The output."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kw: Any) -> Any:
        return self.forward(*args, **kw)

    # ------------------------------------------------------------------------------------ what it is made of
    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) for the modules that are attributes."""
        return ((k, v) for k, v in vars(self).items() if isinstance(v, Module))

    def children(self) -> Iterator[Module]:
        """The modules that are attributes."""
        return (m for _, m in self.named_children())

    def named_modules(self, memo: set[int] | None = None, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(path, module) for this module and all inside it, each once."""
        memo = set() if memo is None else memo
        if id(self) not in memo:
            memo.add(id(self))
            yield prefix, self
            for name, m in self.named_children():
                yield from m.named_modules(memo, f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """This module and all inside it, each once."""
        return (m for _, m in self.named_modules())

    def _named(self, wanted: Callable[[Module, str, Any], bool]) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, m in self.named_modules():
            for name, v in vars(m).items():
                if isinstance(v, Tensor) and wanted(m, name, v) and id(v) not in seen:
                    seen.add(id(v))
                    yield (f"{path}.{name}" if path else name), v

    def named_parameters(self) -> Iterator[tuple[str, Any]]:
        """(path, parameter), each once."""
        return self._named(lambda m, name, v: isinstance(v, Parameter))

    def parameters(self) -> Iterator[Any]:
        """The parameters, each once."""
        return (p for _, p in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Any]]:
        """(path, buffer), each once."""
        return self._named(lambda m, name, v: name in m.__dict__.get("_buffer_names", ()))

    def buffers(self) -> Iterator[Any]:
        """The buffers, each once."""
        return (b for _, b in self.named_buffers())

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """A tensor that is saved with the model and that no optimizer changes."""
        vars(self).setdefault("_buffer_names", []).append(name)
        setattr(self, name, tensor)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """A parameter, or None in its place."""
        setattr(self, name, param)

    # ------------------------------------------------------------------------------------ saving
    def state_dict(self) -> dict[str, Tensor]:
        """path -> values of all parameters and buffers, sharing memory."""
        return {k: v.detach() for k, v in [*self.named_parameters(), *self.named_buffers()]}

    def load_state_dict(self, state_dict: Any, strict: bool = True) -> Any:
        """Take values from a state_dict.  RuntimeError, with nothing changed, for missing, unknown and other shapes."""
        own: dict[str, Any] = dict([*self.named_parameters(), *self.named_buffers()])
        missing, unexpected = [k for k in own if k not in state_dict], [k for k in state_dict if k not in own]
        quoted = lambda names: ", ".join(f'"{n}"' for n in names)
        wrong = []
        if strict and missing:
            wrong.append(f"Missing key(s) in state_dict: {quoted(missing)}. ")
        if strict and unexpected:
            wrong.append(f"Unexpected key(s) in state_dict: {quoted(unexpected)}. ")
        for k, v in own.items():
            if k in state_dict and tuple(np.shape(state_dict[k])) != tuple(v.shape):
                wrong.append(
                    f"size mismatch for {k}: copying a param with shape torch.Size({list(np.shape(state_dict[k]))}) "
                    f"from checkpoint, the shape in current model is {v.shape}."
                )
        if wrong:
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t" + "\n\t".join(wrong))
        with no_grad():
            for k, v in own.items():
                if k in state_dict:
                    v.copy_(state_dict[k])
        return missing, unexpected

    # ------------------------------------------------------------------------------------ changing
    def train(self, mode: bool = True) -> Any:
        """Switch to training, this module and all inside it."""
        for m in self.modules():
            m.training = mode
        return self

    def eval(self) -> Any:
        """Switch to evaluation."""
        return self.train(False)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set every .grad to None, or to zeros."""
        for p in self.parameters():
            if trainable(p) and p.node.grad is not None:  # type: ignore[union-attr]
                p.node.grad = None if set_to_none else p.node.grad * 0  # type: ignore[union-attr]

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Whether gradients are for the parameters."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def to(self, *args: Any, **kw: Any) -> Any:
        """Move or cast all parameters and buffers, in place."""
        with no_grad():
            for v in [*self.parameters(), *self.buffers()]:
                v.array = v.detach().to(*args, **kw).array
                if v.node is not None:
                    v.node.dtype = v.array.dtype
        return self

    def cuda(self, device: int = 0) -> Any:
        """On a GPU."""
        return self.to(f"cuda:{device}")

    def cpu(self) -> Any:
        """On the CPU."""
        return self.to("cpu")

    def double(self) -> Any:
        """In float64."""
        return self.to(np.dtype("float64"))

    def float(self) -> Any:
        """In float32."""
        return self.to(np.dtype("float32"))

    def apply(self, fn: Callable[[Module], Any]) -> Any:
        """Call fn for every module inside it, then for this one."""
        for m in self.children():
            m.apply(fn)
        fn(self)
        return self

    def extra_repr(self) -> str:
        """What stands between the brackets when it is printed."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({k}): {v!r}".replace("\n", "\n  ") for k, v in self.named_children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"
