"""How time is taken: a device's by its events, the host's by its clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Call = Callable[[], Any]


class Clock(NamedTuple):
    """What a library offers for taking time."""

    record: Callable[[], Any]  # a mark in the device's queue
    elapsed: Callable[[Any, Any], float]  # milliseconds between two marks that are through
    synchronize: Callable[[], Any]
    hold: Callable[[float], Any]  # keeps the device busy for at least so many seconds


HOST = Clock(time.perf_counter, lambda a, b: (b - a) * 1e3, lambda: None, lambda seconds: None)
CYCLES = 2.2e9  # a second of holding, at a clock that no GPU of today exceeds by much


def _host_seconds(clock: Clock, f: Call) -> float:
    """Seconds until a call returns, once warm."""
    clock.synchronize()
    start = time.perf_counter()
    f()
    took = time.perf_counter() - start
    clock.synchronize()
    return took


def device_ms(clock: Clock, calls: Sequence[Call], seconds: float) -> float:
    """Milliseconds that the device needs for a call: the median of samples.

    The device is held until the host has launched all of a sample, so that what is measured is the device's own time.
    The calls are taken in turn: each has buffers of its own, so that none finds its input in the L2 cache.
    """
    for f in [*calls, *calls]:  # compiles, allocates
        f()
    clock.synchronize()
    host = max([_host_seconds(clock, f) for f in calls])
    a = clock.record()
    for f in calls:
        f()
    b = clock.record()
    clock.synchronize()
    n = max(1, min(20, round(0.2 / max(clock.elapsed(a, b) / len(calls), 1e-3))))  # some 0.2 ms a sample
    times, turn, end = [], 0, time.perf_counter() + seconds
    while len(times) < 5 or (len(times) < 100 and time.perf_counter() < end):
        clock.hold(min(1.5 * host * n + 1e-4, 0.1))
        a = clock.record()
        for _ in range(n):
            calls[turn % len(calls)]()
            turn += 1
        b = clock.record()
        clock.synchronize()
        times.append(clock.elapsed(a, b) / n)
    return statistics.median(times)


def program_ms(clock: Clock, f: Call, seconds: float) -> float:
    """Milliseconds of a call, host and device together, when calls follow each other: the median of samples."""
    f()
    a = clock.record()
    f()
    b = clock.record()
    clock.synchronize()
    n = max(1, round(seconds * 1e3 / 5 / max(clock.elapsed(a, b), 1e-2)))
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        a = clock.record()
        for _ in range(n):
            f()
        b = clock.record()
        clock.synchronize()
        times.append(clock.elapsed(a, b) / n)
    return statistics.median(times)


def host_us(clock: Clock, f: Call, seconds: float, launches: int = 1) -> float:
    """Microseconds until a call returns, the device's queue being empty before: the minimum of samples.

    launches: about how many kernels a call launches; a sample is of few enough that the queue never fills.
    """
    f()
    f()
    n, best, end = max(1, 200 // launches), float("inf"), time.perf_counter() + seconds
    while True:
        clock.synchronize()
        start = time.perf_counter()
        for _ in range(n):
            f()
        best = min(best, (time.perf_counter() - start) / n)
        if time.perf_counter() > end:
            clock.synchronize()
            return best * 1e6
