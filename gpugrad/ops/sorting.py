"""Sorting, selecting the largest, searching what is sorted.  NaN counts as larger than every number.

Kinks: among equal elements each has the gradient of the place it was given.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..array import NUMPY, library, xp as xp_of
from ..core import raw
from ..dtypes import wide
from ..forward import boxed, checked_axis, fit
from ..op import op
from .index import take_along_axis
from .logic import const


@const
def argsort(x: Any, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """The indices that sort x along `axis`.  No gradient.

    Equal elements stay in order, unless `stable` is False, which may be faster.  ValueError for a wrong axis.
    """
    x = raw(x)
    axis, kind = checked_axis("argsort", axis, x.ndim), "stable" if stable else None
    x = x.astype(wide(x.dtype), copy=False)
    if not descending:
        return x.argsort(axis=axis, kind=kind)
    back = (*[slice(None)] * axis, slice(None, None, -1))  # so that equal elements stay in order
    return x.shape[axis] - 1 - x[back].argsort(axis=axis, kind=kind)[back]


def sort(x: Any, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """x sorted along `axis`; each gradient goes back to where its element came from.

    `stable` as in `argsort`: it says which of equal elements has which gradient.  ValueError for a wrong axis.
    """
    x = boxed(x, "sort")
    axis = checked_axis("sort", axis, raw(x).ndim)
    return take_along_axis(x, raw(argsort(x, axis=axis, descending=descending, stable=stable)), axis)


@const
def topk_places(x: Any, k: int, axis: int, largest: bool, sorted: bool) -> Any:
    """The indices of `topk`."""
    n, whole = x.shape[axis], slice(None)
    part = lambda s: (*[whole] * axis, s)
    if k in (0, n) or (sorted and library(raw(x)) is not NUMPY):  # CuPy's partition sorts
        return raw(argsort(x, axis=axis, descending=largest))[part(slice(k))]
    x = raw(x).astype(wide(raw(x).dtype), copy=False)
    order = xp_of(x).argpartition(x, n - k if largest else k - 1, axis=axis)
    chosen = order[part(slice(n - k, n) if largest else slice(k))]
    if not sorted:
        return chosen
    last = np.take_along_axis(x, chosen[part(slice(1) if largest else slice(k - 1, k))], axis)
    chosen = np.sort(chosen, axis)
    values = np.take_along_axis(x, chosen, axis)
    if np.count_nonzero(x == last) != np.count_nonzero(values == last) or np.isnan(last).any():
        return raw(argsort(x, axis=axis, descending=largest))[part(slice(k))]  # of equal ones the first, not any
    order = raw(argsort(values, axis=axis, descending=largest))
    return np.take_along_axis(chosen, order, axis)


def topk(x: Any, k: int, axis: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Any, Any]:
    """(values, indices) of the k largest elements along `axis`, the largest first; or of the smallest.

    Of equal elements the first come first; without `sorted` neither their order nor the choice among equals is said.
    ValueError for a wrong axis, or if there are fewer than k.
    """
    x, k = boxed(x, "topk"), operator.index(k)
    axis = checked_axis("topk", axis, raw(x).ndim)
    n = raw(x).shape[axis]
    if not 0 <= k <= n:
        raise ValueError(f"topk: axis {axis} has {n} elements, and k is {k}; it may be from 0 to {n}")
    places = topk_places(x, k, axis, largest, sorted)
    return take_along_axis(x, raw(places), axis), places


def _rows_searched(xp: Any, x: Any, values: Any, *, right: bool) -> Any:
    """How many elements of each row of x come before each value: halving, for all values at once."""
    n = x.shape[-1]
    found = xp.zeros(values.shape, np.int64)
    step = 1 << n.bit_length() >> 1
    while step:
        probe = found + (step - 1)
        at = xp.take_along_axis(x, xp.minimum(probe, n - 1), axis=-1)
        before = (at <= values) | (values != values) if right else (at < values) | ((values != values) & (at == at))
        found = found + step * (before & (probe < n))
        step //= 2
    return found


def _batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    return NotImplemented if each[0] or raw(xs[0]).ndim > 1 else call(*xs, **static)


@const
@op(differentiable=False, name="searchsorted", batch=_batch)
def _searched(xp: Any, x: Any, values: Any, *, right: bool) -> Any:
    dtype = np.result_type(wide(x.dtype), wide(values.dtype))
    x, values = x.astype(dtype, copy=False), values.astype(dtype, copy=False)
    if x.ndim == 1:
        return xp.searchsorted(x, values, side="right" if right else "left")
    return _rows_searched(xp, x, values, right=right)


def searchsorted(x: Any, values: Any, side: str = "left", sorter: Any = None) -> Any:
    """Where to put `values` into x, sorted along its last axis, so that it stays sorted: before equal elements, or with
    side "right" after them.  Integers, no gradient.

    x is a vector, and `values` of any shape; or x has rows, and `values` as many rows.  `sorter` has the indices that
    sort x, if it is not.  Nothing checks whether x is sorted.  ValueError for another side and for shapes that differ
    before the last axis.
    """
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: side is 'left' or 'right', not {side!r}")
    x, values = fit([x, values], "searchsorted")
    rows, wanted = raw(x).shape, raw(values).shape
    if not rows or (len(rows) > 1 and rows[:-1] != wanted[:-1]):
        raise ValueError(
            f"searchsorted: x has shape {list(rows)} and values {list(wanted)}; x is a vector, or both have the same "
            "axes before the last one"
        )
    if sorter is not None:
        x = take_along_axis(x, sorter, -1)
    return _searched(x, values, right=side == "right")
