"""Convolution on the CPU with the channels of an element side by side in memory, and windows as rows of a matrix.

`conv.py` has the elements of windows in columns, which are gathered in runs as long as a row of windows.  Runs of
channels need no turning: the result's channels lie side by side, too (its shape is (images, channels, *size), its
memory (images, *size, channels)), and so do those of what comes next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from ..core import raw
from ..dtypes import wide
from .blocks import summed
from .reduce import sum
from .threads import in_threads
from .windows import Room, Windows, beside, windows

LONG = 16  # channels: runs that are gathered as fast as longer ones

Part = tuple[slice, slice]  # images, and lines of windows


def turned(x: Any) -> Any:
    """The view (images, *size, channels) of x (images, channels, *size)."""
    return x.transpose(0, *range(2, x.ndim), 1)


def back(x: Any) -> Any:
    """The view (images, channels, *size) of x (images, *size, channels)."""
    return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


def lies(x: Any) -> bool:
    """Whether x (images, channels, *size) is an array of NumPy's whose channels are last in memory."""
    return type(x) is np.ndarray and x.ndim > 2 and x.shape[1] > 1 and turned(x).flags.c_contiguous


def suits(x: Any, at: Windows, groups: int) -> bool:
    """Whether runs of channels are longer than those along the windows."""
    if type(x) is not np.ndarray or groups > 1:
        return False
    return many(x.shape[1], at.counts[-1] if at.stride[-1] == 1 else 1, at) or lies(x)


def many(channels: int, along: int, at: Windows) -> bool:
    """Whether so many channels make runs that are long, or longer than those of so many windows in a row."""
    return channels >= LONG or channels * (at.kernel[-1] if at.dilation[-1] == 1 else 1) > 8 * along


@cache
def _pattern(ndim: int) -> Any:
    return back(np.empty([2] * ndim, np.uint8))


def empty(shape: Sequence[int], dtype: np.dtype) -> Any:
    """A new array (images, channels, *size) whose channels are last in memory."""
    return np.empty_like(_pattern(len(shape)), dtype, "K", False, shape)


def channel_sums(g: Any) -> Any:
    """The sums of g (images, channels, *size) over all but the channels: the cotangent of a bias."""
    if lies(g) and g.dtype is wide(g.dtype):
        return summed(turned(g).reshape(-1, g.shape[1]))
    return sum(g, axis=(0, *range(2, len(raw(g).shape))))


def gather(x: Any, at: Windows, parts: Sequence[Part], last: bool) -> Callable[[Iterable[Part]], Iterator[Any]]:
    """Answers what makes, in one thread, parts -> (images, lines, their windows as rows), one after the other.

    A row has the elements of a window, its channels last.  last: they are so in memory; otherwise the matrix is the
    transpose of one with columns.  Images are padded as their part comes; all rows are in the same memory, which stays
    in the thread's cache.
    """
    n, most = len(at.size), max([images.stop - images.start for images, _ in parts], default=0)
    width, (onto, of) = x.shape[1] * math.prod(at.kernel), beside(at)
    plain = x[(..., *of)].shape[-n:] == at.span and (lies(x) or not last)
    if last:
        x, shape, to, some = turned(x), (most, *at.span, x.shape[1]), (slice(None), *onto), (slice(None), *of)
        order = (0, *range(n + 2, 2 * n + 2), *range(2, n + 2), 1)
    else:
        shape, to, some = (most, x.shape[1], *at.span), (..., *onto), (..., *of)
        order = (*range(2, n + 2), 1, 0, *range(n + 2, 2 * n + 2))

    def rows(parts: Iterable[Part]) -> Iterator[Any]:
        room, pad, held = Room(), Room(), None
        if plain:
            canvas = x[some]
        else:
            canvas = pad.take(shape, x.dtype)
            canvas.fill(0)
        view = windows(np, back(canvas) if last else canvas, at).transpose(order)
        for images, lines in parts:
            here = images if plain else slice(0, images.stop - images.start)
            if not plain and images != held:
                canvas[here][to], held = x[images][some], images
            if last:
                yield images, lines, room.copy(view[here, lines]).reshape(-1, width)
            else:
                part = view[(..., here, lines, *[slice(None)] * (n - 1))]
                yield images, lines, room.copy(part).reshape(width, -1).T

    return rows


def correlate(
    x: Any, w: Any, bias: Any, at: Windows, parts: Sequence[Part], spread: Callable[..., None], last: bool, over: Any
) -> Any:
    """The products of w (out, channels, *kernel) with all windows of x, plus bias: (images, out, *counts).

    over: then what this function makes of them, which may write over its argument.
    """
    matrix = np.ascontiguousarray(turned(w).reshape(len(w), -1).T)
    rows_of, out = gather(x, at, parts, last), empty((len(x), len(w), *at.counts), x.dtype)
    onto, whole_lines = turned(out), at.counts[-1] if len(at.counts) > 1 else 1
    added = None if bias is None else np.tile(bias, whole_lines)  # NumPy adds long rows faster

    def work(some: Iterable[Part], most: int) -> None:
        for images, lines, rows in rows_of(some):
            made = onto[images, lines].reshape(-1, len(w))
            for i in _steps(len(rows), most):
                np.matmul(rows[i], matrix, out=made[i])
            if added is not None:
                made = made.reshape(-1, len(added))
                made += added
            if over is not None and (y := over(made)) is not made:
                made[...] = y

    spread(np, work, parts, len(x) * math.prod(at.counts), matrix.size)
    return out


def weight(g: Any, x: Any, at: Windows, parts: Sequence[Part], spread: Callable[..., None], last: bool) -> Any:
    """g (images, out, *counts) times its windows of x, summed: (out, channels, *kernel)."""
    rows_of, turned_g, totals = gather(x, at, parts, last), turned(g), {}
    width = x.shape[1] * math.prod(at.kernel)

    def work(some: Sequence[Part], most: int) -> None:
        total = np.zeros((width, g.shape[1]), g.dtype)
        for images, lines, rows in rows_of(some):
            by = np.ascontiguousarray(turned_g[images, lines]).reshape(len(rows), g.shape[1])
            for i in _steps(len(rows), most):
                total += rows[i].T @ by[i]
        totals[tuple([(i.start, r.start) for i, r in some[:1]])] = total

    spread(np, work, parts, len(x) * math.prod(at.counts), width * g.shape[1], in_threads)
    out, *others = [totals[i] for i in sorted(totals)]  # in one order, for the same rounding
    for other in others:
        out += other
    return np.ascontiguousarray(back(out.T.reshape(g.shape[1], *at.kernel, x.shape[1])))


def _steps(n: int, most: int) -> list[slice]:
    """n rows in as few steps as can be, all about as long."""
    step = -(-n // max(-(-n // most), 1))
    return [slice(i, i + step) for i in range(0, n, max(step, 1))]
