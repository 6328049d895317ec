"""What a kernel may rely on: shapes that fit.  A launch with shapes that do not would read beside an array."""

from __future__ import annotations

import math
from typing import Any

from ..array import Array
from ..kernels import BLOCK, MAX_GRID, Place, ceil


def matrix(x: Array) -> tuple[int, int]:
    """(rows, columns) of an array seen as a matrix: its last axis is the columns.  ValueError for a 0-d array."""
    if not x.ndim:
        raise ValueError("a kernel that works on rows needs at least one axis, given a 0-d array")
    return math.prod(x.shape[:-1]), x.shape[-1]


def whole(p: Place, name: str, a: Any, shape: tuple[int, ...]) -> Any:
    """`a`, contiguous, if it has this shape; None stays None.  ValueError that names it otherwise."""
    if a is None:
        return None
    if a.shape != shape:
        raise ValueError(f"{name} has shape {a.shape}, and {shape} is needed here")
    return p.whole(a)


def fold(p: Place, partial: Array, dtype: Any) -> list[Array]:
    """The second stage of sums down columns: from the chunks' sums (1 or 2, chunks, columns) an array of columns each.

    Arrays of their own: the engine would copy a view before it is a gradient.
    """
    sums, chunks, cols = partial.shape
    out = [p.empty((cols,), dtype) for _ in range(sums)]
    second = out[1] if sums == 2 else None
    run = p.get("bias", "fold", dtype)
    run((min(ceil(cols, BLOCK), MAX_GRID), sums), (BLOCK,), partial, out[0], second, chunks, cols)
    return out
