"""Convolution of many channels on the CPU: windows as rows, with the channels of an element side by side.

`conv.py` has the elements of windows in columns, which are gathered in runs as long as a row of windows.  Where
channels are many more, runs of channels are longer, and an image that is turned once is gathered several times as fast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .windows import Room, Windows, padded, windows

Part = tuple[slice, slice]  # images, and lines of windows


def suits(x: Any, at: Windows, groups: int) -> bool:
    """Whether runs of channels are longer than those along the windows."""
    if type(x) is not np.ndarray or groups > 1:
        return False
    along = at.counts[-1] if at.stride[-1] == 1 else 1
    return x.shape[1] * (at.kernel[-1] if at.dilation[-1] == 1 else 1) > 8 * along


def gather(x: Any, at: Windows) -> Callable[[], Callable[[slice, slice], Any]]:
    """Answers what makes, for one thread, (images, lines of windows) -> the windows as rows (windows, elements of one).

    Channels go last in them.  A thread's rows are all in the same memory, which stays in its cache.
    """
    n = len(at.size)
    last = (0, *range(2, n + 2), 1)
    view = windows(np, padded(np, x, at, order=last), at)  # (images, channels, *kernel, *counts)
    view = view.transpose((0, *range(n + 2, 2 * n + 2), *range(2, n + 2), 1))
    width = x.shape[1] * math.prod(at.kernel)

    def start() -> Callable[[slice, slice], Any]:
        room = Room()
        return lambda images, lines: room.copy(view[images, lines]).reshape(-1, width)

    return start


def correlate(x: Any, w: Any, at: Windows, parts: Sequence[Part], spread: Callable[..., None]) -> Any:
    """The products of w (out, channels, *kernel) with all windows of x: (images, out, *counts)."""
    matrix = np.moveaxis(w, 1, -1).reshape(len(w), -1).T
    matrix = np.ascontiguousarray(matrix)
    start, out = gather(x, at), np.empty((len(x), len(w), *at.counts), x.dtype)
    turned = np.moveaxis(out, 1, -1)

    def work(some: Sequence[Part], most: int) -> None:
        take = start()
        for images, lines in some:
            rows, onto = take(images, lines), turned[images, lines]
            made = np.empty((len(rows), len(w)), x.dtype)
            for i in _steps(len(rows), most):
                np.matmul(rows[i], matrix, out=made[i])
            onto[...] = made.reshape(onto.shape)

    spread(np, work, parts, len(x) * math.prod(at.counts), matrix.size)
    return out


def weight(g: Any, x: Any, at: Windows, parts: Sequence[Part], spread: Callable[..., None]) -> Any:
    """g (images, out, *counts) times its windows of x, summed: (out, channels, *kernel)."""
    start, turned, totals = gather(x, at), np.moveaxis(g, 1, -1), {}
    width = x.shape[1] * math.prod(at.kernel)

    def work(some: Sequence[Part], most: int) -> None:
        take, total = start(), np.zeros((width, g.shape[1]), g.dtype)
        for images, lines in some:
            rows = take(images, lines)
            by = np.ascontiguousarray(turned[images, lines]).reshape(len(rows), g.shape[1])
            for i in _steps(len(rows), most):
                total += rows[i].T @ by[i]
        totals[tuple([(i.start, r.start) for i, r in some[:1]])] = total

    spread(np, work, parts, len(x) * math.prod(at.counts), width * g.shape[1])
    out, *others = [totals[i] for i in sorted(totals)]  # in one order, for the same rounding
    for other in others:
        out += other
    return np.moveaxis(out.T.reshape(g.shape[1], *at.kernel, x.shape[1]), -1, 1)


def _steps(n: int, most: int) -> Iterator[slice]:
    return (slice(i, min(i + most, n)) for i in range(0, n, most))
