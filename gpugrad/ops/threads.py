"""Work of NumPy's that is spread over threads, by heads or rows: its functions let other threads run.

Threads are kept: one that sleeps is at work in a quarter of the time that a new one takes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import copy_context
from functools import cache, partial
from queue import SimpleQueue
from threading import Thread
from typing import Any

_idle: list[SimpleQueue] = []  # the queues of threads that wait for work


def cores() -> int:
    """How many threads to use: as OpenBLAS, what OPENBLAS_NUM_THREADS or OMP_NUM_THREADS says; else one a core."""
    said = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or ""
    return max(1, int(said)) if said.isdecimal() else _own_cores()


@cache
def _own_cores() -> int:
    """How many cores this process may use; asked once, as the system takes 50 us to answer."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _serve(tasks: SimpleQueue) -> None:
    while True:
        task, done = tasks.get()
        task()
        del task  # with the arrays it has, before its caller goes on
        done.put(tasks)
        del done


def _thread() -> SimpleQueue:
    """The queue of a thread that does nothing."""
    try:
        return _idle.pop()
    except IndexError:
        tasks = SimpleQueue()
        Thread(target=_serve, args=(tasks,), daemon=True, name="gpugrad").start()
        return tasks


def in_threads(work: Callable[[Sequence[Any]], None], items: Sequence[Any]) -> None:
    """work(part) for parts of the items, one a thread.  An error of one is raised here, when all have ended."""
    n = max(1, min(cores(), len(items)))
    errors: list[BaseException] = []
    done = SimpleQueue()

    def run(part: Sequence[Any]) -> None:
        try:
            work(part)
        except BaseException as e:
            errors.append(e)

    for i in range(1, n):
        _thread().put((partial(copy_context().run, run, items[i::n]), done))  # with np.errstate
    run(items[::n])
    for _ in range(1, n):
        _idle.append(done.get())
    if errors:
        raise errors[0]


def shared(work: Callable[[Iterable[Any]], None], items: Iterable[Any]) -> None:
    """work(some of the items) in each thread, which takes the next item when it has done one.

    Which thread takes which is chance: for work whose items have nothing in common.
    """
    left = deque(items)
    in_threads(lambda _: work(_taken(left)), range(len(left)))


def _taken(left: deque) -> Iterator[Any]:
    while True:
        try:
            item = left.popleft()
        except IndexError:
            return
        yield item


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # a child has none of the threads
