"""Floor 7: who asked for memory: the op, the line of the program, and the call that it is part of."""

from __future__ import annotations

import sys
from threading import get_ident
from typing import Any

from .. import paths
from ..backprop import backprop
from ..core import Node
from ..ops import threads
from ..origin import Place, between, place_of

_PATHS = paths.__file__
_WALK = backprop.__wrapped__.__code__  # type: ignore[attr-defined]
_HELPER, _SPREAD = threads._serve.__code__, threads.in_threads.__code__


class Walks:
    """The walks under way, by thread: the nodes to come, and name and place of all of them."""

    def __init__(self) -> None:
        self._by_thread: dict[int, list[tuple[list[Node], list[tuple[str, Place | None]]]]] = {}

    def begin(self) -> None:
        """A walk of this thread begins."""
        self._by_thread.setdefault(get_ident(), []).append(([], []))

    def end(self) -> None:
        """The last one that began is over."""
        if walks := self._by_thread.get(get_ident()):
            walks.pop()

    def nodes(self, order: list[Node]) -> None:
        """Its nodes, which are taken off the end.  What is remembered of them keeps none of their memory."""
        known = [("" if n.op is None else f"{n.op.name} backward", place_of(n)) for n in order]
        if walks := self._by_thread.get(get_ident()):
            walks[-1] = order, known

    def now(self, thread: int) -> tuple[str, Place | None]:
        """The node that `thread` walks through."""
        order, known = (self._by_thread.get(thread) or [([], [])])[-1]
        return known[len(order)] if len(order) < len(known) else ("backward", None)


def asker(walks: Walks) -> tuple[str | None, Place | None, int]:
    """(the innermost op or "mul backward", the line of the program, a number of the op's call while it runs).

    Of a walk it is the line that recorded the op, where that is remembered.  Outside ops it is the function of gpugrad
    that the program called, or None.
    """
    return _asker(walks, _program(), get_ident())


def _program() -> Any:
    """The innermost frame that is not of this package."""
    frame: Any = sys._getframe(2)
    while frame.f_globals["__name__"].startswith(__package__):
        frame = frame.f_back
    return frame


def _asker(walks: Walks, frame: Any, thread: int) -> tuple[str | None, Place | None, int]:
    op, call, outer = None, 0, None
    while frame is not None and between(frame):
        code = frame.f_code
        if code is _WALK:
            (op, place), call = walks.now(thread), 0
            if place is not None:
                return op, place, call
        elif not call and op is None and is_op(code):
            op, call = code.co_name, id(frame)
        outer, frame = frame, frame.f_back
    if outer is not None and outer.f_code is _HELPER:
        return _spread(walks, op, call)
    if op is None and outer is not None and outer.f_globals["__name__"].startswith("gpugrad"):
        op = outer.f_code.co_qualname
    last = outer if frame is None else frame
    place = Place()
    place.code, place.offset = last.f_code, last.f_lasti  # type: ignore[union-attr]
    return op, place, call


def _spread(walks: Walks, op: str | None, call: int) -> tuple[str | None, Place | None, int]:
    """Who asked, in a thread that does a part of another one's work."""
    for thread, frame in sys._current_frames().items():
        while frame is not None and between(frame):
            if frame.f_code is _SPREAD:
                theirs = _asker(walks, frame, thread)
                return op or theirs[0], theirs[1], call or theirs[2]
            frame = frame.f_back  # type: ignore[assignment]
    return op, None, call


def is_op(code: Any) -> bool:
    """Whether a frame of this code is a call of an op: the functions of `paths`, each of which knows its Op."""
    return code.co_filename == _PATHS and "self" in code.co_freevars and code.co_name[0] != "<"


def innermost() -> int:
    """The number of the call of the innermost op that runs; 0."""
    frame = _program()
    while frame is not None and between(frame):
        if is_op(frame.f_code):
            return id(frame)
        frame = frame.f_back
    return 0
