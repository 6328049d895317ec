"""On the CPU: arrays a block of rows at a time, so that what several steps share stays in the cache.

NumPy takes a pass over memory for each step; in a block of 1 MB all passes but the first find it in the cache.  Smaller
blocks cost more calls.  Outer products and sums of columns are left to BLAS, which needs half the time of NumPy's own.
Large arrays go to several threads; products in a block are so small that OpenBLAS takes no threads of its own for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..dtypes import is_float, wide
from .threads import in_threads, shared

BLOCK = 1 << 20  # bytes
PART = 1 << 16  # elements
MANY = 1 << 19  # elements that are worth threads
ROWS = 32  # that are added up one after the other


def blocks(x: np.ndarray) -> Iterator[slice]:
    """The rows of matrix x, a block at a time."""
    n = max(BLOCK // max(x.shape[1] * wide(x.dtype).itemsize, 1), 1)
    for i in range(0, len(x), n):
        yield slice(i, i + n)


def over_blocks(work: Callable[[Sequence[slice]], None], x: np.ndarray) -> None:
    """work(blocks of the rows of matrix x), for all of them; a part of them in each thread if there is much to do."""
    parts = list(blocks(x))
    if x.size >= MANY:
        in_threads(work, parts)
    else:
        work(parts)


def fits(*arrays: np.ndarray) -> bool:
    """Whether arrays are for these loops: of real floating dtypes, and with elements."""
    return all([a.ndim > 0 and a.size > 0 and is_float(a.dtype) for a in arrays])


def matrix(x: Any) -> Any:
    """x as a matrix whose rows are along its last axis; None as it is."""
    return None if x is None else x.reshape(-1, x.shape[-1])


def by_blocks(f: Callable[..., None], dtype: np.dtype, *arrays: np.ndarray) -> np.ndarray:
    """What `f(*rows, out)` writes into `out`, for blocks of rows of arrays of one shape: an array like the first one.

    f computes in the dtype in which halves are added up, the result is in `dtype`.
    """
    full, rows = wide(dtype), [matrix(a) for a in arrays]
    out = np.empty(rows[0].shape, dtype)

    def work(parts: Sequence[slice]) -> None:
        for at in parts:
            part = out[at] if full is dtype else np.empty(out[at].shape, full)
            f(*[r[at].astype(full, copy=False) for r in rows], part)
            if full is not dtype:
                out[at] = part

    over_blocks(work, out)
    return out.reshape(arrays[0].shape)


def summed(x: np.ndarray) -> np.ndarray:
    """The sums of the columns of matrix x, a few rows at a time: one after the other, a million lose digits."""
    while len(x) > 2 * ROWS:
        n = len(x) // ROWS
        head = np.add.reduce(x[: n * ROWS].reshape(ROWS, -1), axis=0).reshape(n, x.shape[1])
        x = np.concatenate([head, x[n * ROWS :]]) if len(x) % ROWS else head
    return np.add.reduce(x, axis=0)


# ---------------------------------------------------------------------------------------------- element by element
def over_parts(n: int, work: Callable[[Iterable[slice]], None]) -> None:
    """work(slices of n elements), for all of them; a part of them in each thread if there are many."""
    parts = [slice(i, min(i + PART, n)) for i in range(0, n, PART)]
    if n >= MANY:
        shared(work, parts)
    else:
        work(parts)


def _alike(arrays: Sequence[np.ndarray]) -> bool:
    """Whether their elements go together in the order of memory."""
    return all([a.flags.c_contiguous and a.shape == arrays[0].shape for a in arrays])


def pointwise(f: Any) -> Any:
    """Decorates the forward f(xp, *arrays) of several steps: NumPy's arrays go in parts, whose steps find each other's
    results in the cache; and between the steps there is a part, where there was a whole array.
    """

    def host(*arrays: Any) -> Any:
        n = arrays[0].size
        if n <= PART or not _alike(arrays):
            return f(np, *arrays)
        flat = [a.reshape(-1) for a in arrays]
        first = f(np, *[a[:PART] for a in flat])
        out = np.empty(arrays[0].shape, first.dtype)
        out.reshape(-1)[:PART] = first
        _fill(f, out.reshape(-1)[PART:], [a[PART:] for a in flat])
        return out

    f.host = host
    return f


def pointwise_over(f: Callable[..., Any], g: np.ndarray, *arrays: np.ndarray) -> np.ndarray:
    """f(xp, g, *arrays), written over g where elements go together."""
    if not (g.ndim and _alike((g, *arrays))):
        return f(np, g, *arrays)
    flat = [a.reshape(-1) for a in (g, *arrays)]
    _fill(f, flat[0], flat)
    return g


def _fill(f: Callable[..., Any], out: np.ndarray, arrays: Sequence[np.ndarray]) -> None:
    def work(parts: Iterable[slice]) -> None:
        for at in parts:
            out[at] = f(np, *[a[at] for a in arrays])

    over_parts(out.size, work)
