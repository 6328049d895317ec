"""Floor 7: parts of a program that are computed again in the backward pass, for a while."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ..nn.module import Module
from ..recompute import checkpoint


@contextmanager
def swapped(owner: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute that is another inside."""
    own = name in vars(owner)
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


@contextmanager
def layers_again() -> Iterator[set[str]]:
    """Every module that an outermost one calls is computed again.  Answers the names of the outermost ones' classes."""
    plain = Module.__call__
    depth, outer = 0, ""
    found: set[str] = set()

    def at(level: int, self: Module, args: tuple, kw: dict[str, Any]) -> Any:
        nonlocal depth
        before, depth = depth, level
        try:
            return plain(self, *args, **kw)
        finally:
            depth = before

    def call(self: Module, *args: Any, **kw: Any) -> Any:
        nonlocal outer
        if depth != 1:
            outer = type(self).__name__ if depth == 0 else outer
            return at(depth + 1, self, args, kw)
        found.add(outer)
        run = lambda *args, **kw: at(2, self, args, kw)  # now, and in the backward pass
        run.__name__ = type(self).__name__
        return checkpoint(run)(*args, **kw)

    with swapped(Module, "__call__", call):
        yield found


@contextmanager
def these_again(parts: Iterable[Any]) -> Iterator[set[str]]:
    """These modules and functions are computed again.  Answers their names.  TypeError as `home`."""
    names: set[str] = set()
    with ExitStack() as stack:
        for part in parts:
            owner, name = home(part)
            stack.enter_context(swapped(owner, name, checkpoint(getattr(owner, name))))
            names.add(type(part).__name__ if owner is part else name)
        yield names


def home(part: Any) -> tuple[Any, str]:
    """Where a program finds what is computed again: (a gg.nn.Module, "forward"), (a function's file, its name).

    TypeError for anything else, and for a function that is not found there.
    """
    if isinstance(part, Module):
        return part, "forward"
    name, file = getattr(part, "__qualname__", None), sys.modules.get(getattr(part, "__module__", ""))
    if callable(part) and name is not None and getattr(file, name, None) is part:
        return file, name
    raise TypeError(
        f"recompute takes modules (gg.nn.Module) and functions defined by `def` in a file, not {part!r:.60}; write "
        "gg.checkpoint(f) into the program yourself and compare the two"
    )
