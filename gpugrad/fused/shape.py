"""What a kernel may rely on: shapes that fit.  A launch with shapes that do not would read beside an array."""

from __future__ import annotations

import math
from typing import Any

from ..array import Array
from ..kernels import BLOCK, MAX_GRID, Place, ceil
from ..launch import Launch, Launcher


def matrix(x: Array) -> tuple[int, int]:
    """(rows, columns) of an array seen as a matrix: its last axis is the columns.  ValueError for a 0-d array."""
    if not x.ndim:
        raise ValueError("a kernel that works on rows needs at least one axis, given a 0-d array")
    return math.prod(x.shape[:-1]), x.shape[-1]


def check(shape: tuple[int, ...], **arrays: Any) -> None:
    """ValueError that names an array of another shape; None has every shape."""
    for name, a in arrays.items():
        if a is not None and a.shape != shape:
            raise ValueError(f"{name} has shape {a.shape}, and {shape} is needed here")


def whole(p: Place, name: str, a: Any, shape: tuple[int, ...]) -> Any:
    """`a`, contiguous, if it has this shape; None stays None.  ValueError that names it otherwise."""
    check(shape, **{name: a})
    return None if a is None else p.whole(a)


def _fold(p: Place, partial: Array, dtype: Any) -> Launch:
    *sums, chunks, cols = partial.shape
    count, out = math.prod(sums), ((cols,), dtype)
    grid = min(ceil(cols, BLOCK), MAX_GRID), count
    return Launch(p.get("bias", "fold", dtype), grid, (BLOCK,), [out, out if count == 2 else None], (chunks, cols))


_launch = Launcher(_fold)


def fold(partial: Array, dtype: Any) -> list[Array]:
    """The second stage of sums down columns: from (chunks, columns), or two of them, an array of columns each.

    Arrays of their own: the engine would copy a view before it is a gradient.
    """
    return [out for out in _launch((partial,), dtype) if out is not None]
