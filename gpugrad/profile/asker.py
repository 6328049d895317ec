"""Floor 7: who asked for memory: the op, the line of the program, and the call that it is part of."""

from __future__ import annotations

import sys
from itertools import count
from threading import get_ident
from typing import Any

from .. import paths
from ..backprop import backprop
from ..core import Node
from ..ops import threads
from ..origin import between, place_of
from .blocks import Line

_PATHS, _OWN = paths.__file__, __name__.rpartition(".")[0]
_NEAR = 4  # frames between a user's forward and the call of its op, at most
_WALK = backprop.__wrapped__.__code__  # type: ignore[attr-defined]
_HELPER, _SPREAD = threads._serve.__code__, threads.in_threads.__code__


class Running:
    """What is under way, and where: walks, by thread: the nodes to come, and name and line of all of them."""

    def __init__(self) -> None:
        self._by_thread: dict[int, list[tuple[list[Node], list[tuple[str, Line | None]]]]] = {}
        self._places: dict[tuple[int, int], Line] = {}

    def place(self, code: Any, offset: int) -> Line:
        """A place in the program: one object for each."""
        key = id(code), offset
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = Line()
            place.code, place.offset = code, offset
        return place

    def begin(self) -> None:
        """A walk of this thread begins."""
        self._by_thread.setdefault(get_ident(), []).append(([], []))

    def end(self) -> None:
        """The last one that began is over."""
        if walks := self._by_thread.get(get_ident()):
            walks.pop()

    def nodes(self, order: list[Node]) -> None:
        """Its nodes, which are taken off the end.  What is remembered of them keeps none of their memory."""
        known = []
        for n in order:
            place = place_of(n)
            line = None if place is None else self.place(place.code, place.offset)
            known.append(("" if n.op is None else f"{n.op.name} backward", line))
        if walks := self._by_thread.get(get_ident()):
            walks[-1] = order, known

    def now(self, thread: int) -> tuple[str, Line | None]:
        """The node that `thread` walks through."""
        order, known = (self._by_thread.get(thread) or [([], [])])[-1]
        return known[len(order)] if len(order) < len(known) else ("backward", None)


def asker(running: Running) -> tuple[str | None, Line | None, int]:
    """(the innermost op or "mul backward", the line of the program, a number of the op's call while it runs).

    Of a walk it is the line that recorded the op, where that is remembered.  Outside ops it is the function of gpugrad
    that the program called, or None.
    """
    return _asker(running, _program(), get_ident())


def _program() -> Any:
    """The innermost frame that is not of this package."""
    frame: Any = sys._getframe(3)  # this, asker, and who told it that memory was asked for
    while str(frame.f_globals.get("__name__")).startswith(_OWN):
        frame = frame.f_back
    return frame


def _asker(running: Running, frame: Any, thread: int) -> tuple[str | None, Line | None, int]:
    op, call, outer = None, 0, None
    while frame is not None and between(frame):
        code = frame.f_code
        if code is _WALK:
            (op, place), call = running.now(thread), 0
            if place is not None:
                return op, place, call
        elif not call and op is None and is_op(code):
            op, call = code.co_name, _number(frame)
        outer, frame = frame, frame.f_back
    if outer is not None and outer.f_code is _HELPER:
        return _spread(running, op, call)
    if op is None and outer is not None and str(outer.f_globals.get("__name__")).startswith("gpugrad"):
        op = outer.f_code.co_qualname
    last: Any = outer if frame is None else frame
    for _ in range(_NEAR if op is None else 0):  # a forward that the program wrote
        frame = frame and frame.f_back
        if frame is not None and is_op(frame.f_code):
            op, call = frame.f_code.co_name, _number(frame)
            break
    return op, running.place(last.f_code, last.f_lasti), call


def _spread(running: Running, op: str | None, call: int) -> tuple[str | None, Line | None, int]:
    """Who asked, in a thread that does a part of another one's work."""
    for thread, frame in sys._current_frames().items():
        while frame is not None and between(frame):
            if frame.f_code is _SPREAD:
                theirs = _asker(running, frame, thread)
                return op or theirs[0], theirs[1], call or theirs[2]
            frame = frame.f_back  # type: ignore[assignment]
    return op, None, call


# Calls of ops in which somebody asked for memory, by the id of their frame.  Another frame may have it later: who looks
# at a frame first marks it.  A debugger may pass over the lines of a marked one.
_calls: dict[int, int] = {}
_next = count(1).__next__


def _number(frame: Any) -> int:
    """The number of the call of an op."""
    if frame.f_trace_lines:
        frame.f_trace_lines = False
        _calls[id(frame)] = _next()
    return _calls.get(id(frame), 0)


def is_op(code: Any) -> bool:
    """Whether a frame of this code is a call of an op: the functions of `paths`, each of which knows its Op."""
    return code.co_filename == _PATHS and "self" in code.co_freevars and code.co_name[0] != "<"
