"""Which ops a function calls, seen from outside: by Python's profile hook, so that nothing costs anything without it.

An op's call is one frame of `paths.py`, which knows its Op; a function without a gradient (a comparison, argmax) is one
of `logic.const`.  What they call inside is kept below them, for those who know the parts and not the whole.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from .. import paths
from ..array import library
from ..core import Tensor, raw
from ..ops import logic
from ..origin import Place, find
from ..rule import Op
from ..tensor import to_numpy

_OPS, _CONSTS = paths.__file__, logic.__file__


class Call(NamedTuple):
    """One call: the op's name, its inputs by position, its other arguments by name, its outputs; arrays, no Tensors."""

    name: str
    args: tuple[Any, ...]
    static: dict[str, Any]
    outs: tuple[Any, ...]
    place: Place
    inner: list[Call]


class Run(NamedTuple):
    """A function's answer, the calls it made, in order, and (array, line) for each whose values left for Python."""

    out: Any
    calls: list[Call]
    left: list[tuple[Any, Place]]


class _Open(NamedTuple):
    """A call that has not returned."""

    frame: FrameType
    name: str
    args: tuple[Any, ...]
    static: dict[str, Any]
    inner: list[Call]


def run(f: Callable[[], Any]) -> Run:
    """Call f, and see what this thread calls on the way."""
    found: list[Call] = []
    left: list[tuple[Any, Place]] = []
    way: list[_Open] = []

    def see(frame: FrameType, event: str, value: Any) -> None:
        if event == "return" and way and way[-1].frame is frame:
            done = way.pop()
            if value is not None:  # else an error is on its way
                outs = tuple(map(raw, value)) if isinstance(value, (tuple, list)) else (raw(value),)
                call = Call(done.name, done.args, done.static, outs, find(Place(), 2), done.inner)
                (way[-1].inner if way else found).append(call)
        elif event == "call" and (read := _READERS.get(frame.f_code.co_filename)) is not None:
            if (seen := read(frame)) is not None:
                way.append(_Open(frame, *seen, []))
        elif event == "call" and frame.f_code in _LEAVING and not way:
            left.append((raw(frame.f_locals["t"]), find(Place(), 2)))

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        out = f()
    finally:
        sys.setprofile(before)
    return Run(out, found, left)


def _op_call(frame: FrameType) -> tuple[str, tuple[Any, ...], dict[str, Any]] | None:
    """(name, inputs, static arguments) of a frame that is the call of an op."""
    code = frame.f_code
    if "self" not in code.co_freevars or code.co_name.startswith("<"):
        return None
    local = frame.f_locals
    op: Op = local["self"]
    names, more, static = _arguments(frame)
    given = (*[local[n] for n in names], *more)
    inputs, rest = given[: len(op.args)], given[len(op.args) :]
    return op.name, tuple(map(raw, inputs)), {**op.static, **dict(zip(op.static, rest)), **static}


def _const_call(frame: FrameType) -> tuple[str, tuple[Any, ...], dict[str, Any]] | None:
    """The same of a frame of `logic.const`; its arguments that are no arrays count as static."""
    if "f" not in frame.f_code.co_freevars or frame.f_code.co_name.startswith("<"):
        return None
    f = frame.f_locals["f"]
    bound = inspect.signature(f).bind(*frame.f_locals["args"], **frame.f_locals["static"])
    bound.apply_defaults()
    arrays = {k: raw(v) for k, v in bound.arguments.items() if isinstance(v, Tensor) or library(v) is not None}
    first = {k: raw(v) for k, v in bound.arguments.items() if k in arrays or k in ("x", "y")}
    return f.__name__, tuple(first.values()), {k: v for k, v in bound.arguments.items() if k not in first}


def _arguments(frame: FrameType) -> tuple[list[str], tuple[Any, ...], dict[str, Any]]:
    """The names of the plain parameters, and what * and ** have taken."""
    found = inspect.getargvalues(frame)
    names = [n for n in found.args if n != "name"]  # which TensorFlow's users may give, to no effect
    more = found.locals[found.varargs] if found.varargs else ()
    return names, more, found.locals[found.keywords] if found.keywords else {}


_LEAVING = {f.__code__ for f in (to_numpy, Tensor.__bool__)}  # what .numpy(), .item() and `if` go through
_READERS = {_OPS: _op_call, _CONSTS: _const_call}


def where(a: Any) -> Any:
    """What tells one array from all others that live: two with the same answer have the same elements."""
    if isinstance(a, np.generic):
        return id(a)
    lib = library(a)
    if lib is None:
        return id(a)
    return lib.address(a), a.shape, a.strides, str(a.dtype)
