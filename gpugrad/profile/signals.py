"""Floor 7: handlers of signals that wait while certain functions run, whoever sets them and when.

A handler may raise, at the first instruction of any function.  While this is on, all handlers are wrapped: those that are
there, and, as `_signal.signal` is ours, to which all of Python comes, those that are set meanwhile.
"""

from __future__ import annotations

import _signal
import _thread
import signal
from collections.abc import Callable
from threading import current_thread, main_thread
from types import CodeType
from typing import Any

waiting: list[int] = []  # signals that came while such a function was running: it sends them again at its end
codes: set[CodeType] = set()  # of such functions
_theirs: dict[str, Callable[..., Any]] = {}  # the functions of `_signal` that are replaced


class _Again:
    """`again[number]` sends a signal, which Python looks for after a call, and not before a function's return."""

    __getitem__ = _thread.interrupt_main


again: Any = _Again()


class _Patient:
    """A handler of the program, which waits."""

    def __init__(self, handler: Callable[[int, Any], Any]) -> None:
        self.handler = handler

    def __call__(self, number: int, frame: Any) -> Any:
        f = frame
        while f is not None:
            if f.f_code in codes:
                return waiting.append(number)
            f = f.f_back
        return self.handler(number, frame)


def wait() -> bool:
    """Handlers wait from now on.  Whether they do: only the main thread can see to it, once for all."""
    if current_thread() is main_thread():
        if not _theirs:
            _theirs.update(signal=_signal.signal, getsignal=_signal.getsignal)
        _signal.signal, _signal.getsignal = _set, _get  # type: ignore[assignment]
        for s in signal.valid_signals():
            if callable(handler := _get(s)):
                _set(s, handler)
    return bool(_theirs)


def wait_no_more() -> None:
    """Handlers are as the program wants them; in another thread than the main one nothing changes."""
    if _theirs and current_thread() is main_thread():
        for s in signal.valid_signals():
            if isinstance(_theirs["getsignal"](s), _Patient):
                _theirs["signal"](s, _get(s))
        _signal.signal, _signal.getsignal = _theirs["signal"], _theirs["getsignal"]
        _theirs.clear()


def _set(number: int, handler: Any, /) -> Any:
    before = _theirs["signal"](number, _Patient(handler) if callable(handler) else handler)
    return before.handler if isinstance(before, _Patient) else before


def _get(number: int, /) -> Any:
    handler = _theirs["getsignal"](number)
    return handler.handler if isinstance(handler, _Patient) else handler
