"""Products of many rows with a small matrix, on the CPU: in pieces that OpenBLAS leaves to one thread, which needs no
copies of what it multiplies then, and in threads of ours; what else is done with the rows finds them in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..dtypes import float32, float64
from .blocks import MANY
from .threads import cores, shared

SINGLE = 10**6  # multiplications: OpenBLAS gives larger products threads of its own
LEAST = 32  # rows of a piece, below which products are slow
BLOCK = 1 << 18  # elements of each array in a block: of smaller ones the calls take longer than what the cache saves


def small(x: Any, weight: Any) -> bool:
    """Whether x @ weight is for this: rows of NumPy's, many, and a weight so small that a piece has some rows."""
    fits = type(x) is type(weight) is np.ndarray and x.dtype is weight.dtype and x.dtype in (float32, float64)
    if not fits or weight.ndim != 2 or x.shape[-1] != len(weight) or min(weight.shape) < 2:
        return False
    rows = x.size // len(weight)
    return rows * max(weight.shape) >= MANY and LEAST <= SINGLE // weight.size <= rows // 4


def _cut(a: Any, size: int) -> tuple[Any, Any]:
    """(pieces of the rows of a, the few that are left), views of a; each is multiplied with a matrix of that size."""
    rows, most = a.shape[-2], SINGLE // size
    n = rows // -(-rows // most)
    whole = rows // n * n
    return a[..., :whole, :].reshape(*a.shape[:-2], -1, n, a.shape[-1]), a[..., whole:, :]


def multiply(x: Any, weight: Any, out: Any) -> None:
    """Writes x @ weight into out, by pieces."""
    for part, made in zip(_cut(x, weight.size), _cut(out, weight.size)):
        np.matmul(part, weight, out=made)


def inner(x: Any, y: Any) -> Any:
    """x^T @ y, summed over all rows, by pieces."""
    size = x.shape[-1] * y.shape[-1]
    made = [np.matmul(a.swapaxes(-1, -2), b) for a, b in zip(_cut(x, size), _cut(y, size))]
    return np.concatenate([m.reshape(-1, *m.shape[-2:]) for m in made]).sum(0)


def by_rows(work: Callable[..., Any], values: Sequence[Any], terms: Sequence[Any] = ()) -> list[Any]:
    """work(rows of each array), for all of them: as many as fit the cache at a time.  What it answers.

    values   arrays (..., columns) of as many rows as the last; to read, there may be one row for all
    terms    (n, ..., columns), whose rows are along axis 1; likewise
    """
    arrays = [a.reshape(-1, a.shape[-1]) for a in values] + [a.reshape(len(a), -1, a.shape[-1]) for a in terms]
    rows, width = arrays[len(values) - 1].shape
    many = max([a.size for a in arrays]) >= MANY
    blocks = -(-rows // max(BLOCK // width, 1))
    if many:  # as many for each thread
        blocks = -(-blocks // cores()) * cores()
    n = -(-rows // blocks)
    arrays = [a if a.shape[-2] == rows else np.repeat(a, n, -2) for a in arrays]
    found: list[Any] = [None] * -(-rows // n)

    def run(parts: Iterable[int]) -> None:
        for i in parts:
            at, k = slice(i * n, (i + 1) * n), min(n, rows - i * n)
            found[i] = work(*[a[..., at, :] if a.shape[-2] == rows else a[..., :k, :] for a in arrays])

    if many:
        shared(run, range(len(found)))
    else:
        run(range(len(found)))
    return found
