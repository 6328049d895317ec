"""Floor 1: who holds what: what would die if references went, and what the program calls its tensors."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from inspect import CO_OPTIMIZED
from types import FrameType, ModuleType
from typing import Any

import numpy as np

from .core import Node, Tensor
from .hooks import arriving, deposited, leaving

_CONSTANTS = (int, float, complex, bool, str, type(None), type, np.dtype)  # nobody frees memory by dropping one


def fall(roots: list[Any]) -> tuple[dict[int, Any], dict[int, int]]:
    """What dies if each of `roots` loses a reference, once for each time that it is in the list, which is used up.

    Found by counting references, as Python would; nothing is changed.  Answers (by id what dies; by id of it, the id
    of what held it).
    """
    kept: dict[int, Any] = {0: object()}
    ours = sys.getrefcount(kept[0])  # the references to an object that only `kept` holds
    lost: dict[int, int] = {}
    holder: dict[int, int] = {}
    pending: list[int] = []

    def let_go(things: list[Any], by: int) -> None:
        while things:
            x = things.pop()
            if isinstance(x, _CONSTANTS):
                continue
            key = id(x)
            lost[key] = lost.get(key, 0) + 1
            if key not in kept:
                kept[key], holder[key] = x, by
            pending.append(key)

    let_go(roots, 0)
    dead: set[int] = set()
    while pending:
        key = pending.pop()
        if key not in dead and sys.getrefcount(kept[key]) - ours == lost[key]:
            dead.add(key)
            let_go(_held_by(kept[key]), key)
    return {key: kept[key] for key in dead}, holder


def _held_by(x: Any) -> list[Any]:
    """What loses a reference when x dies."""
    found = gc.get_referents(x)
    if isinstance(x, np.ndarray) and x.base is not None:  # arrays do not tell the collector
        found.append(x.base)
    elif isinstance(x, Node):  # its hooks go with it
        found += [h.by_node[id(x)] for h in (arriving, deposited, leaving) if id(x) in h.by_node]
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
                yield from _tensors(scope)
                # Before Python 3.13 the frame keeps this copy, which would hold what it names.  It is refilled when
                # somebody asks; who has it already keeps it.
                if type(scope) is dict and sys.getrefcount(scope) == 3:
                    scope.clear()
        frame = frame.f_back
    for scope in modules.values():
        yield from _tensors(scope)


def _tensors(scope: Any) -> Iterator[tuple[str, Tensor]]:
    for name, v in list(scope.items()):
        if issubclass(type(v), Tensor):
            yield name, v
        elif type(v) in (list, tuple):
            yield from [(f"{name}[{i}]", t) for i, t in enumerate(v) if issubclass(type(t), Tensor)]
        elif type(v) is dict:
            yield from [(f"{name}[{k!r}]", t) for k, t in list(v.items()) if issubclass(type(t), Tensor)]
        else:
            yield from [(f"{name}.{k}", t) for k, t in list(attributes(v).items()) if issubclass(type(t), Tensor)]


def attributes(x: Any) -> dict[str, Any]:
    """The attributes of x itself; none of a class, of a module, and of what does not tell."""
    if issubclass(type(x), (type, ModuleType)):
        return {}
    try:
        own = x.__dict__
    except Exception:  # of a proxy, whatever it stands for may raise
        return {}
    return own if type(own) is dict else {}
