"""Products of many rows with a small matrix, on the CPU: in pieces that OpenBLAS leaves to one thread, which needs no
copies of what it multiplies then, and in threads of ours; what else is done with the rows finds them in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..dtypes import float32, float64
from .blocks import MANY, PART
from .threads import shared

SINGLE = 10**6  # multiplications: OpenBLAS gives larger products threads of its own
LEAST = 32  # rows of a piece, below which products are slow


def piece(x: Any, weight: Any) -> int:
    """How many rows of x are multiplied with the weight at a time; 0 where the product is not for this."""
    fits = type(x) is type(weight) is np.ndarray and x.dtype is weight.dtype and x.dtype in (float32, float64)
    if not fits or weight.ndim != 2 or x.shape[-1] != len(weight) or min(weight.shape) < 2:
        return 0
    n = SINGLE // weight.size
    return n if n >= LEAST and x.size >= 4 * n * len(weight) else 0


def multiply(x: Any, weight: Any, out: Any, n: int) -> None:
    """Writes x @ weight into out, n rows at a time."""
    whole = x.shape[-2] // n * n
    cut = lambda a: a[..., :whole, :].reshape(*a.shape[:-2], -1, n, a.shape[-1])
    np.matmul(cut(x), weight, out=cut(out))
    np.matmul(x[..., whole:, :], weight, out=out[..., whole:, :])


def by_rows(work: Callable[..., None], values: Sequence[Any], terms: Sequence[Any] = (), step: int = 1) -> None:
    """work(rows of each array), for all of them: a multiple of `step` that fits the cache at a time.

    values   arrays (..., columns) of as many rows
    terms    (n, ..., columns), whose rows are along axis 1; to read, there may be one row for all
    """
    values = [a.reshape(-1, a.shape[-1]) for a in values]
    terms = [a.reshape(len(a), -1, a.shape[-1]) for a in terms]
    rows, width = values[-1].shape
    n = -(-max(PART // width, 1) // step) * step
    terms = [a if a.shape[1] == rows else np.repeat(a, min(n, rows), 1) for a in terms]

    def run(parts: Iterable[int]) -> None:
        for i in parts:
            k = min(n, rows - i)
            part = slice(i, i + k)
            work(*[a[part] for a in values], *[a[:, part] if a.shape[1] == rows else a[:, :k] for a in terms])

    parts = range(0, rows, n)
    if max([a.size for a in (*values, *terms)]) >= MANY:
        shared(run, parts)
    else:
        run(parts)
