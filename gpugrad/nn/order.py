"""OwnFirst: a module that tells its own variables before those of the modules in it, as TensorFlow does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from ..core import Tensor, trainable
from ..variable import Variable
from .holder import refuse_waiting
from .module import Module


class OwnFirst(Module):
    """What attributes, lists and dicts hold comes first, then what the modules among it hold, in the same order."""

    by_name: ClassVar[bool] = False  # whether attributes and the entries of dicts are sorted by their names

    def named_variables(self) -> Iterator[tuple[str, Tensor]]:
        """(path, variable) for all variables and trainable tensors."""
        for path, x in _held(self, "", {id(self)}):
            refuse_waiting(x, path)
            if isinstance(x, Variable) or (isinstance(x, Tensor) and trainable(x)):
                yield path, x

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """(path, module) for this module, whose path is "", and every module inside it, each once."""
        yield "", self
        yield from ((path, x) for path, x in _held(self, "", {id(self)}) if isinstance(x, Module))


def _held(m: Module, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    inner = []
    for name, x in _leaves(dict(m._inside()), path, getattr(m, "by_name", False)):
        if id(x) not in seen:
            seen.add(id(x))
            yield name, x
            if isinstance(x, Module):
                inner.append((name, x))
    for name, x in inner:
        yield from _held(x, name, seen)


def _leaves(x: Any, path: str, by_name: bool) -> Iterator[tuple[str, Any]]:
    """The tensors and modules in a nest of dicts, lists and tuples."""
    if isinstance(x, (Tensor, Module)):
        yield path, x
    elif isinstance(x, (dict, list, tuple)):
        found: Any = x.items() if isinstance(x, dict) else enumerate(x)
        for name, child in sorted(found, key=lambda item: str(item[0])) if by_name and isinstance(x, dict) else found:
            yield from _leaves(child, f"{path}.{name}" if path else str(name), by_name)
