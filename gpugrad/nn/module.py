"""Module: a model whose variables are found by walking its attributes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..core import Tensor, trainable
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

    @property
    def submodules(self) -> tuple[Module, ...]:
        """Every module inside this one."""
        found: list[Module] = []
        _modules(self, set(), found)
        return tuple(found[1:])

    def zero_grad(self) -> None:
        """Set `.grad` of every parameter to None."""
        for v in self.trainable_variables:
            v.node.grad = None  # type: ignore[union-attr]

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


def _modules(x: Any, seen: set[int], found: list[Module]) -> None:
    if id(x) in seen:
        return
    seen.add(id(x))
    if isinstance(x, Module):
        found.append(x)
    for _, child in _children(x):
        _modules(child, seen, found)
