"""Windows that slide over the last axes of an array: what convolution, pooling and unfold have in common."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

Lengths = tuple[int, ...]
ROOM = 1 << 19  # bytes that a thread's room has when it is made


class Windows(NamedTuple):
    """Where windows lie on arrays (..., *size): `counts` of them along each axis, `stride` apart.

    The first one starts `before` elements ahead of the array, in its padding.  Each has the lengths `kernel`, its
    elements `dilation` apart.  `ordered`: what is made for them has its last axes next to each other in memory.
    """

    size: Lengths
    kernel: Lengths
    stride: Lengths
    dilation: Lengths
    before: Lengths
    counts: Lengths
    ordered: bool = False

    @property
    def reach(self) -> Lengths:
        """From the first to the last element of one window."""
        return tuple([d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation)])

    @property
    def span(self) -> Lengths:
        """From the first element of the first window to the last of the last."""
        return tuple([(m - 1) * s + r for m, s, r in zip(self.counts, self.stride, self.reach)])

    def offsets(self) -> Iterator[tuple[Lengths, tuple[slice, ...]]]:
        """Each place in a window, and where on the span the elements at that place are, one of each window."""
        for at in itertools.product(*map(range, self.kernel)):
            yield at, tuple([
                slice(i * d, i * d + (m - 1) * s + 1, s)
                for i, d, m, s in zip(at, self.dilation, self.counts, self.stride)
            ])  # fmt: skip


def beside(at: Windows) -> tuple[list[slice], list[slice]]:
    """(where on the span elements of the array are, which ones these are), along each axis."""
    onto, of = [], []
    for size, length, before in zip(at.size, at.span, at.before):
        stop = min(length, before + size)
        onto.append(slice(max(before, 0), max(stop, before, 0)))
        of.append(slice(max(-before, 0), max(stop - before, -before, 0)))
    return onto, of


def padded(xp: Any, x: Any, at: Windows, value: Any = 0) -> Any:
    """x (..., *size) on the span of the windows, with `value` beside it; a view where there is nothing beside it."""
    n, (onto, of) = len(at.size), beside(at)
    inner = x[(..., *of)]
    if inner.shape[-n:] == at.span:
        return inner
    out = xp.full((*x.shape[:-n], *at.span), value, x.dtype)
    out[(..., *onto)] = inner
    return out


def windows(xp: Any, x: Any, at: Windows) -> Any:
    """The view (..., *kernel, *counts) of x (..., *span)."""
    n = len(at.size)
    steps = x.strides[-n:]
    along = [s * d for s, d in zip(steps, at.dilation)] + [s * d for s, d in zip(steps, at.stride)]
    shape = (*x.shape[:-n], *at.kernel, *at.counts)
    return xp.lib.stride_tricks.as_strided(x, shape, (*x.strides[:-n], *along))


def canvas(xp: Any, lead: Lengths, at: Windows, dtype: Any, like: Any = None) -> tuple[Any, Any]:
    """Zeros (*lead, *span) to add windows to, and the view (*lead, *size) of what does not fall into the padding.

    like: an array whose axes are in that order in memory.
    """
    shape = (*lead, *[max(a, b + n) for a, b, n in zip(at.span, at.before, at.size)])
    out = xp.zeros(shape, dtype) if like is None else xp.zeros_like(like, dtype, "K", shape=shape)
    return out, out[(..., *[slice(b, b + n) for b, n in zip(at.before, at.size)])]


_rooms: list[np.ndarray] = []  # memory of rooms that are no more


class Room:
    """Memory of NumPy's for one array at a time: what is written over stays in the cache.

    Up to ROOM bytes are kept for the next room: pages that the system has to find cost as much as what is done there.
    """

    def __init__(self) -> None:
        try:
            self._whole = _rooms.pop()
        except IndexError:
            self._whole = np.empty(ROOM, np.uint8)

    def __del__(self) -> None:
        if self._whole.nbytes == ROOM:
            _rooms.append(self._whole)

    def take(self, shape: Lengths, dtype: Any) -> Any:
        """An array with any values, until the next one is asked for."""
        n = math.prod(shape) * dtype.itemsize
        if n > self._whole.nbytes:
            self._whole = np.empty(n, np.uint8)
        return self._whole[:n].view(dtype).reshape(shape)

    def copy(self, a: Any) -> Any:
        """The elements of a, one after the other; `a` itself if they are so."""
        if a.flags.c_contiguous:
            return a
        out = self.take(a.shape, a.dtype)
        out[...] = a
        return out


# ---------------------------------------------------------------------------------------------- arguments
def numbers(name: str, what: str, given: Any, n: int, least: int) -> Lengths:
    """A whole number for each of n axes, from one for all or a sequence.  TypeError or ValueError for anything else."""
    try:
        out = (operator.index(given),) * n if hasattr(given, "__index__") else tuple(map(operator.index, given))
    except TypeError:
        raise TypeError(f"{name}: {what} is a whole number or {n} of them, given {given!r:.60}") from None
    if len(out) != n or min(out) < least:
        raise ValueError(f"{name}: {what} is a number from {least} on, or {n} of them, given {given!r:.60}")
    return out


def pairs(name: str, given: Any, n: int) -> list[Lengths]:
    """How much padding (before, after) each of n axes has: one number for all, a number or a pair for each."""
    each = list(given) if hasattr(given, "__iter__") else [given] * n
    if len(each) != n or isinstance(given, str):
        raise ValueError(
            f"{name}: padding is a number from 0 on, or {n} of them or of pairs (before, after), given {given!r:.60}"
        )
    return [numbers(name, "padding", p, 2, 0) for p in each]


def place(
    name: str,
    size: Lengths,
    kernel: Lengths,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool = False,
    same: bool = False,
) -> tuple[Windows, list[Lengths]]:
    """(the windows on arrays of this size, the padding), checked.

    ceil_mode: also a last window that goes beyond the padding, if it starts before the end of x.
    same: padding may also be "valid", none, or "same": as many windows as x has elements, over the stride.
    ValueError for a kernel larger than the padded array, and for arguments out of range.
    """
    n = len(size)
    stride = numbers(name, "stride", stride, n, 1)
    dilation = numbers(name, "dilation", dilation, n, 1)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    if same and isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"{name}: padding is 'same', 'valid' or numbers, given {padding!r:.60}")
        total = [max((-(-m // s) - 1) * s + r - m, 0) for m, s, r in zip(size, stride, reach)]
        around = [(t // 2, t - t // 2) if padding == "same" else (0, 0) for t in total]
    else:
        around = pairs(name, padding, n)
    counts = []
    for m, r, s, (before, after) in zip(size, reach, stride, around):
        rest = m + before + after - r
        count = (-(-rest // s) if ceil_mode else rest // s) + 1
        if count < 1:
            raise ValueError(
                f"{name}: a window reaches over {tuple(reach)} elements, more than the padded input has: "
                f"{tuple([m + a + b for m, (a, b) in zip(size, around)])}"
            )
        counts.append(count - (ceil_mode and (count - 1) * s >= m + before))
    before = tuple([a for a, _ in around])
    return Windows(size, kernel, stride, dilation, before, tuple(counts)), around


def spatial(name: str, shape: Lengths, n: int) -> Lengths:
    """The last n axes of (batch, channels, *spatial) or (channels, *spatial).  ValueError for another rank."""
    if len(shape) not in (n + 1, n + 2):
        raise ValueError(
            f"{name}: takes (batch, channels, *{n} axes) or (channels, *{n} axes), given an array of shape {shape}"
        )
    return tuple(shape[-n:])
