"""Floor 1: who holds what: what would die if references went, and what the program calls its tensors."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from inspect import CO_OPTIMIZED
from sys import getrefcount
from types import FrameType, ModuleType
from typing import Any

import numpy as np

from .core import Node, Tensor
from .hooks import arriving, deposited, leaving

_CONSTANTS = (int, float, complex, bool, str, type(None), type, np.dtype)  # nobody frees memory by dropping one
_HOOKS = arriving, deposited, leaving


def fall(roots: list[Any]) -> tuple[dict[int, Any], dict[int, int]]:
    """What dies if each of `roots` loses a reference, once for each time that it is in the list, which is used up.

    Found by counting references, as Python would; nothing is changed.  Answers (by id what dies; by id of it, the id
    of what held it).
    """
    x: Any = object()
    kept: dict[int, Any] = {0: x}
    ours = getrefcount(x)  # the references to an object that only `kept` and `x` hold
    lost: dict[int, int] = {}
    holder: dict[int, int] = {}
    dead: dict[int, Any] = {}
    todo: list[int] = []
    plain: dict[type, bool] = {}  # by the class; __class__ may be a proxy's, which may raise
    things, by = roots, 0
    while True:
        while things:
            x = things.pop()
            kind = type(x)
            if kind not in plain:
                plain[kind] = issubclass(kind, _CONSTANTS)
            if plain[kind]:
                continue
            key = id(x)
            if key in lost:
                n = lost[key] = lost[key] + 1
            else:
                kept[key], holder[key] = x, by
                n = lost[key] = 1
            if getrefcount(x) - n == ours and key not in dead:  # what is still in `things` holds it until then
                todo.append(key)
        if not todo:
            return dead, holder
        by = todo.pop()
        x = dead[by] = kept[by]
        things = _held_by(x)


def uncollected(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f` without the garbage collector, which would visit all that lives again and again as what `f` makes grows."""

    @wraps(f)
    def call(*args: Any) -> Any:
        was = gc.isenabled()
        gc.disable()
        try:
            return f(*args)
        finally:
            if was:
                gc.enable()

    return call


def _held_by(x: Any) -> list[Any]:
    """What loses a reference when x dies."""
    if issubclass(type(x), np.ndarray):  # arrays do not tell the collector
        return [*(() if type(x) is np.ndarray else gc.get_referents(x)), *(() if x.base is None else (x.base,))]
    found = gc.get_referents(x)
    if issubclass(type(x), Node):  # its hooks go with it
        for h in _HOOKS:
            if h.by_node and id(x) in h.by_node:
                found.append(h.by_node[id(x)])
    return found


def named() -> Iterator[tuple[str, Tensor]]:
    """The tensors of the functions that are running, as they call them: "x", "xs[2]", "cache['k']", "self.h".

    The callers' first, then what their modules call their own.
    """
    frame: FrameType | None = sys._getframe(1)
    modules: dict[int, dict[str, Any]] = {}
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] != "gpugrad":
            modules[id(frame.f_globals)] = frame.f_globals
            if frame.f_code.co_flags & CO_OPTIMIZED:
                scope = frame.f_locals
                yield from _tensors(scope, modules)
                # Before Python 3.13 the frame keeps this copy, which would hold what it names.  It is refilled when
                # somebody asks; who has it already keeps it.
                if type(scope) is dict and getrefcount(scope) == 3:
                    scope.clear()
        frame = frame.f_back
    for scope in modules.values():
        yield from _tensors(scope, modules)


def _tensors(scope: Any, modules: dict[int, Any]) -> Iterator[tuple[str, Tensor]]:
    for name, v in list(scope.items()):
        if issubclass(type(v), Tensor):
            yield name, v
        elif type(v) in (list, tuple):
            yield from [(f"{name}[{i}]", t) for i, t in enumerate(v) if issubclass(type(t), Tensor)]
        elif type(v) is dict:
            if id(v) not in modules:  # whose names need no detour by what runs them
                yield from [(f"{name}[{_key(k)}]", t) for k, t in list(v.items()) if issubclass(type(t), Tensor)]
        else:
            yield from [(f"{name}.{k}", t) for k, t in list(attributes(v).items()) if issubclass(type(t), Tensor)]


def _key(k: Any) -> str:
    """A key as text: short, and not by a program's own __repr__, which may raise."""
    return f"{k!r:.40}" if type(k) in (str, int, float, bool, bytes) else f"<{type(k).__name__}>"


def attributes(x: Any) -> dict[str, Any]:
    """The attributes of x itself; none of a class, of a module, and of what does not tell."""
    if issubclass(type(x), (type, ModuleType)):
        return {}
    try:
        own = x.__dict__
    except Exception:  # of a proxy, whatever it stands for may raise
        return {}
    return own if type(own) is dict else {}
