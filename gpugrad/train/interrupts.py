"""Ctrl-C and SIGTERM, which wait for the end of a step once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from threading import current_thread, main_thread


@contextmanager
def waiting() -> Iterator[list[int]]:
    """A list that Ctrl-C and SIGTERM put their number into, the first time; the second time each does what it did.

    After SIGTERM, which a cluster sends before it ends a job, the program ends here, once all is saved: with the status
    143, or as a handler of the program's own has it.  After an error it ends by that: the handler hears of the signal,
    and its SystemExit would hide it.
    Only the main thread hears of signals: in another one nothing changes, nor for one that is ignored, as by nohup.
    """
    asked: list[int] = []
    before: dict[int, object] = {}
    if current_thread() is main_thread():
        for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            if (handler := signal.getsignal(number)) is not signal.SIG_IGN:
                before[number] = handler or default

    def first(number: int, frame: object) -> None:
        asked.append(number)
        signal.signal(number, before[number])  # type: ignore[arg-type]

    for number in before:
        signal.signal(number, first)
    failed = True
    try:
        yield asked
        failed = False
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if signal.SIGTERM in asked and callable(before[signal.SIGTERM]):
            with suppress(SystemExit) if failed else nullcontext():
                signal.raise_signal(signal.SIGTERM)
        elif signal.SIGTERM in asked and not failed:
            raise SystemExit(128 + signal.SIGTERM)
