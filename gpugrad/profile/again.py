"""Floor 7: parts of a program that are computed again in the backward pass, for a while."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from ..custom import recompute_grad
from ..nn.module import Module


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

    def call(self: Module, *args: Any, **kw: Any) -> Any:
        nonlocal depth, outer
        depth += 1
        if depth == 1:
            outer = type(self).__name__
        try:
            if depth != 2:
                return plain(self, *args, **kw)
            found.add(outer)
            run = partial(plain, self)
            run.__name__ = type(self).__name__  # type: ignore[attr-defined]
            return recompute_grad(run)(*args, **kw)
        finally:
            depth -= 1

    with swapped(Module, "__call__", call):
        yield found


@contextmanager
def these_again(parts: Iterable[Any]) -> Iterator[set[str]]:
    """These modules, and functions of modules of the program, are computed again.  Answers their names.

    TypeError for what is neither, and for a function that is not found under its name.
    """
    names: set[str] = set()
    with ExitStack() as stack:
        for part in parts:
            if isinstance(part, Module):
                stack.enter_context(swapped(part, "forward", recompute_grad(part.forward)))
                names.add(type(part).__name__)
            else:
                owner, name = _home(part)
                stack.enter_context(swapped(owner, name, recompute_grad(part)))
                names.add(name)
        yield names


def _home(f: Any) -> tuple[Any, str]:
    """(the module that a function was defined in, its name there)."""
    name, home = getattr(f, "__qualname__", None), sys.modules.get(getattr(f, "__module__", ""))
    if isinstance(f, Callable) and name is not None and getattr(home, name, None) is f:
        return home, name
    raise TypeError(
        f"recompute takes modules (gg.nn.Module) and functions defined by `def` in a file, not {f!r:.60}; write "
        "gg.recompute_grad(f) into the program yourself and compare the two"
    )
