"""Ctrl-C, which waits for the end of a step once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread


@contextmanager
def waiting() -> Iterator[list[int]]:
    """A list that Ctrl-C puts something into, the first time; the second time it does what it did before.

    Only the main thread hears of signals: in another one nothing changes, nor where they are ignored, as by nohup.
    """
    asked: list[int] = []
    if current_thread() is not main_thread() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield asked
        return

    def first(number: int, frame: object) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.getsignal(signal.SIGINT) or signal.default_int_handler
    signal.signal(signal.SIGINT, first)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
