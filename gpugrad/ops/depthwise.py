"""Convolution on the CPU where each channel has kernels of its own: shifted images times a number a channel, added up.

A channel's images lie one after the other in a row, with their padding, so an element of the kernel meets the elements
of all windows in one piece of that row.  With a stride there is a row for each place modulo the stride.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .threads import in_threads
from .windows import Room, Windows

BLOCK = 1 << 16  # elements of rows at a time: three such arrays are in the second level cache
MOST = 49  # elements of a kernel: each is two passes

Part = tuple[slice, slice]  # images, channels


def suits(x: Any, groups: int, channels: int, at: Windows) -> bool:
    """Whether x is an array of NumPy's, each of so many channels is a group, and kernels are small."""
    return type(x) is np.ndarray and channels == groups > 1 and math.prod(at.kernel) <= MOST and x.size > 0


class Rows:
    """Where elements of images are in rows, and those that a kernel's elements meet.

    lengths: of an image with its padding, in each row; inside: those of its elements where windows start.
    places: [(row of it, its first element)] for each element of the kernel.
    moves: [(elements of the image, where in the row)] for each row; what is not there is padding.
    """

    def __init__(self, at: Windows) -> None:
        self.lengths = tuple([-(-n // s) for n, s in zip(at.span, at.stride)])
        self.inside = (..., *[slice(0, n) for n in at.counts])
        phases: dict[tuple[int, ...], int] = {}  # those that the kernel's elements have
        self.places = []
        for element in itertools.product(*map(range, at.kernel)):
            on = [i * d for i, d in zip(element, at.dilation)]
            shift = 0
            for i, s, length in zip(on, at.stride, self.lengths):
                shift = shift * length + i // s
            phase = tuple([i % s for i, s in zip(on, at.stride)])
            self.places.append((phases.setdefault(phase, len(phases)), shift))
        self.moves = []
        for phase in phases:
            of, onto = [], []
            for p, s, before, size, length in zip(phase, at.stride, at.before, at.size, self.lengths):
                first = max(-((p - before) // s), 0)
                start = first * s + p - before
                n = max(min(-(-(size - start) // s), length - first), 0)
                of.append(slice(start, start + (n - 1) * s + 1, s) if n else slice(0, 0))
                onto.append(slice(first, first + n))
            self.moves.append(((..., *of), (..., *onto)))

    def fill(self, x: Any, arrays: list[Any]) -> None:
        """Write images x, with their padding, into arrays of the rows."""
        for (of, onto), a in zip(self.moves, arrays):
            a.fill(0)
            a[onto] = x[of]

    def parts(self, images: int, channels: int) -> list[Part]:
        """What is computed at a time."""
        size = math.prod(self.lengths) * (len(self.moves) + 2) // 3
        some = min(max(BLOCK // size, 1), images)
        many = min(max(BLOCK // (size * some), 1), channels)
        cut = lambda n, step: [slice(i, min(i + step, n)) for i in range(0, n, step)]
        return list(itertools.product(cut(images, some), cut(channels, many)))

    def blocks(self, parts: Iterable[Part], dtype: np.dtype, n: int) -> Iterator[tuple[Any, ...]]:
        """(images, channels, an array (images, channels, *lengths), its rows), with n arrays, for one part at a time.

        An array is a view of memory in which each channel has a row; that has any values.
        """
        room = Room()
        for images, channels in parts:
            shape = (channels.stop - channels.start, images.stop - images.start, *self.lengths)
            arrays = room.take((n, *shape), dtype)
            yield images, channels, arrays.swapaxes(1, 2), arrays.reshape(n, shape[0], -1)

    def pieces(self, rows: list[Any]) -> Iterator[Any]:
        """For each element of the kernel, what it meets."""
        n = rows[0].shape[1] - max([shift for _, shift in self.places])
        for phase, shift in self.places:
            yield rows[phase][:, shift : shift + n]


def correlate(x: Any, w: Any, at: Windows, bias: Any, spread: Callable[..., None]) -> Any:
    """The products of w (channels, out, 1, *kernel) with windows of x, plus bias: (images, channels * out, *counts)."""
    by, numbers = Rows(at), w.reshape(*w.shape[:2], -1)
    out = np.empty((len(x), *w.shape[:2], *at.counts), x.dtype)

    def work(parts: Iterable[Part], _: int) -> None:
        for images, channels, arrays, rows in by.blocks(parts, x.dtype, len(by.moves) + 2):
            by.fill(x[images, channels], arrays)
            *phases, total, product = rows
            for j in range(w.shape[1]):
                for i, piece in enumerate(by.pieces(phases)):
                    total, product = [a[:, : piece.shape[1]] for a in (total, product)]
                    np.multiply(piece, numbers[channels, j, i, None], out=product if i else total)
                    if i:
                        total += product
                if bias is not None:
                    total += bias.reshape(w.shape[:2])[channels, j, None]
                out[images, channels, j] = arrays[-2][by.inside]

    spread(np, work, by.parts(len(x), x.shape[1]), out.size, numbers.shape[-1])
    return out.reshape(len(x), -1, *at.counts)


def spread_input(g: Any, w: Any, at: Windows, spread: Callable[..., None]) -> Any:
    """g (images, channels * out, *counts) on all elements of its window, times w: the cotangent of x."""
    by, numbers = Rows(at), w.reshape(*w.shape[:2], -1)
    g = g.reshape(len(g), *w.shape[:2], *at.counts)
    out = np.zeros((len(g), len(w), *at.size), g.dtype)

    def work(parts: Iterable[Part], _: int) -> None:
        for images, channels, arrays, rows in by.blocks(parts, g.dtype, len(by.moves) + 2):
            *phases, given, product = rows
            for a in phases:
                a.fill(0)
            for j in range(w.shape[1]):
                given.fill(0)
                arrays[-2][by.inside] = g[images, channels, j]
                for i, piece in enumerate(by.pieces(phases)):
                    product = product[:, : piece.shape[1]]
                    piece += np.multiply(given[:, : piece.shape[1]], numbers[channels, j, i, None], out=product)
            for (of, onto), a in zip(by.moves, arrays):
                out[images, channels][of] = a[onto]

    spread(np, work, by.parts(len(g), len(w)), g.size, numbers.shape[-1])
    return out


def weight(g: Any, x: Any, at: Windows, spread: Callable[..., None]) -> Any:
    """g (images, channels * out, *counts) times its windows of x, summed: (channels * out, 1, *kernel)."""
    by, channels = Rows(at), x.shape[1]
    g = g.reshape(len(g), channels, g.shape[1] // channels, *at.counts)
    totals = {}

    def work(parts: Sequence[Part], _: int) -> None:
        total = np.zeros((*g.shape[1:3], len(by.places)), g.dtype)
        for images, some, arrays, rows in by.blocks(parts, g.dtype, len(by.moves) + 1):
            by.fill(x[images, some], arrays)
            *phases, given = rows
            for j in range(g.shape[2]):
                given.fill(0)
                arrays[-1][by.inside] = g[images, some, j]
                for i, piece in enumerate(by.pieces(phases)):
                    total[some, j, i] += np.vecdot(piece, given[:, : piece.shape[1]])
        totals[tuple([(i.start, c.start) for i, c in parts[:1]])] = total

    spread(np, work, by.parts(len(x), channels), g.size, len(by.places), in_threads)
    out, *others = [totals[i] for i in sorted(totals)]  # in one order, for the same rounding
    for other in others:
        out += other
    return out.reshape(-1, 1, *at.kernel)
