"""Work of NumPy's that is spread over threads, by heads or rows: its functions let other threads run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextvars import copy_context
from threading import Thread
from typing import Any


def cores() -> int:
    """How many threads to use: as OpenBLAS, what OPENBLAS_NUM_THREADS or OMP_NUM_THREADS says; else one a core."""
    said = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or ""
    return max(1, int(said)) if said.isdecimal() else os.cpu_count() or 1


def in_threads(work: Callable[[Sequence[Any]], None], items: Sequence[Any]) -> None:
    """work(part) for parts of the items, one a thread.  An error of one is raised here, when all have ended."""
    n = max(1, min(cores(), len(items)))
    errors: list[BaseException] = []

    def run(part: Sequence[Any]) -> None:
        try:
            work(part)
        except BaseException as e:
            errors.append(e)

    threads = [Thread(target=copy_context().run, args=(run, items[i::n])) for i in range(1, n)]  # with np.errstate
    for t in threads:
        t.start()
    run(items[::n])
    for t in threads:
        t.join()
    if errors:
        raise errors[0]
