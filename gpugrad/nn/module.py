"""Module: a model whose variables are found by walking its attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..array import is_inexact, xp
from ..autograd import zero_grad
from ..core import Tensor, raw, trainable
from ..tensor import tensor, to
from ..variable import Variable


class Module:
    """A model.  Variables are gathered from attributes, lists, tuples, dicts and modules inside it.

        class Net(gg.nn.Module):
            def __init__(self):
                self.layers = [gg.nn.Linear(64, 32), gg.nn.Linear(32, 10)]
            def __call__(self, x):
                for layer in self.layers: x = gg.nn.relu(layer(x))
                return x

    Nothing is registered; a variable that is shared is counted once, under the name it has first.
    """

    def named_variables(self) -> Iterator[tuple[str, Tensor]]:
        """(path, variable) for all variables and trainable tensors, in the order of the attributes."""
        seen: set[int] = set()
        yield from _walk(self, "", seen)

    @property
    def variables(self) -> list[Tensor]:
        """All variables, trainable or not."""
        return [v for _, v in self.named_variables()]

    @property
    def trainable_variables(self) -> list[Tensor]:
        """The variables that tapes watch and optimizers change."""
        return [v for v in self.variables if trainable(v)]

    @property
    def non_trainable_variables(self) -> list[Tensor]:
        """The other variables."""
        return [v for v in self.variables if not trainable(v)]

    def parameters(self) -> Iterator[Tensor]:
        """The trainable variables, one after the other (PyTorch's name)."""
        return iter(self.trainable_variables)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """(path, variable) for the trainable variables."""
        return ((name, v) for name, v in self.named_variables() if trainable(v))

    # ------------------------------------------------------------------------------------ modules inside it
    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """(path, module) for this module, whose path is "", and every module inside it, each once."""
        return _modules(self, "", set())

    def modules(self) -> Iterator[Module]:
        """This module and every module inside it, each once."""
        return (m for _, m in self.named_modules())

    @property
    def submodules(self) -> tuple[Module, ...]:
        """Every module inside this one."""
        return tuple(self.modules())[1:]

    def apply(self, fn: Callable[[Module], Any]) -> Any:
        """Call fn for every module inside this one, then for this one."""
        for m in reversed(list(self.modules())):
            fn(m)
        return self

    # ------------------------------------------------------------------------------------ state
    training = True

    def train(self, mode: bool = True) -> Any:
        """Switch this module and every module inside it to training."""
        for m in self.modules():
            m.training = mode
        return self

    def eval(self) -> Any:
        """Switch to evaluation."""
        return self.train(False)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set `.grad` of every parameter to None, or to zeros."""
        zero_grad(self.parameters(), set_to_none)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Freeze the parameters, or set them free."""
        for v in list(self.variables):
            if requires_grad != trainable(v) and getattr(v, "trainable", True):
                v.requires_grad_(requires_grad)
        return self

    def to(self, where: Any = None, dtype: Any = None) -> Any:
        """Move every variable to a device, cast the floating ones to a dtype, or both."""
        for v in self.state().values():
            v.array = to(v.detach(), where).array
            if dtype is not None and is_inexact(v.array.dtype):
                v.array = to(v.detach(), dtype=dtype).array
            if v.node is not None:
                v.node.dtype = v.array.dtype
        return self

    def state(self) -> dict[str, Tensor]:
        """The tensors that are saved with the model, by path."""
        return dict(self.named_variables())

    def state_dict(self) -> dict[str, Tensor]:
        """path -> values of all variables."""
        return {k: v.detach() for k, v in self.state().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> tuple[list[str], list[str]]:
        """Take values from a state_dict.  Answers (missing, unexpected) names.

        RuntimeError, with nothing changed, for other shapes, and with `strict` for missing and unexpected names.
        """
        own = self.state()
        missing, unexpected = [k for k in own if k not in state_dict], [k for k in state_dict if k not in own]
        wrong = []
        for what, names in (("Missing", missing), ("Unexpected", unexpected)):
            if strict and names:
                wrong.append(f"{what} key(s) in state_dict: " + ", ".join(f'"{n}"' for n in names) + ". ")
        for k, v in own.items():
            if k in state_dict and (given := tuple(np.shape(raw(state_dict[k])))) != v.array.shape:
                prefix = "torch.Size" if v.prefix == "torch." else ""
                wrong.append(
                    f"size mismatch for {k}: copying a param with shape {prefix}({list(given)}) from checkpoint, the "
                    f"shape in current model is {prefix}({list(v.array.shape)})."
                )
        if wrong:
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t" + "\n\t".join(wrong))
        for k, v in own.items():
            if k in state_dict:
                new = tensor(raw(state_dict[k]), v.array.dtype, v.device)
                v.array = xp(new.array).array(new.array)
        return missing, unexpected

    def __repr__(self) -> str:
        inner = ", ".join(f"{k}={list(v.array.shape)}" for k, v in self.named_variables())
        return f"{type(self).__name__}({inner})"


def _children(x: Any) -> Any:
    if isinstance(x, Module):
        return vars(x).items()
    if isinstance(x, dict):
        return x.items()
    if isinstance(x, (list, tuple)):
        return enumerate(x)
    return ()


def _walk(x: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    if isinstance(x, Tensor):
        if (isinstance(x, Variable) or trainable(x)) and id(x) not in seen:
            seen.add(id(x))
            yield path, x
        return
    if id(x) in seen:
        return
    seen.add(id(x))
    for name, child in _children(x):
        yield from _walk(child, f"{path}.{name}" if path else str(name), seen)


def _modules(x: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Module]]:
    if id(x) in seen or isinstance(x, Tensor):
        return
    seen.add(id(x))
    if isinstance(x, Module):
        yield path, x
    for name, child in _children(x):
        yield from _modules(child, f"{path}.{name}" if path else str(name), seen)
