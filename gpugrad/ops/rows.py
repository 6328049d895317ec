"""Slices along an axis at positions that are known beforehand, and their transpose, without atomic additions."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import wide
from ..op import op


def _slice(index: np.ndarray) -> Any:
    """The same elements as a slice, where they are equally far apart: many times as fast."""
    steps = np.diff(index)
    if len(index) and (steps == steps[:1]).all() and (not len(steps) or steps[0] > 0):
        step = int(steps[0]) if len(steps) else 1
        return slice(int(index[0]), int(index[-1]) + 1, step)
    return index


@op(
    x=lambda g, shape, index, axis: rows_added(g, index=index, axis=axis, length=shape[axis]),
    batch="broadcast",
    linear=True,
)
def rows_at(xp: Any, x: Any, *, index: np.ndarray, axis: int) -> Any:
    """The slices of x along `axis`, a negative number, at the positions `index`, which are NumPy's."""
    where = _slice(index)
    return x[_at(where, axis)].copy() if isinstance(where, slice) else xp.take(x, xp.asarray(where), axis=axis)


@op(x=lambda g, index, axis: rows_at(g, index=index, axis=axis), batch="broadcast", linear=True)
def rows_added(xp: Any, x: Any, *, index: np.ndarray, axis: int, length: int) -> Any:
    """Zeros of this length along `axis`, with slices of x added at `index`: the transpose of `rows_at`.

    In a pass for each time that a position occurs, none of which meets one twice.
    """
    out = xp.zeros((*x.shape[:axis], length, *x.shape[axis:][1:]), wide(x.dtype))
    order = np.argsort(index, kind="stable")
    ordered = index[order]
    times = np.arange(len(index)) - np.searchsorted(ordered, ordered)  # how often it occurred before
    for t in range(times.max(initial=-1) + 1):
        of, onto = [_slice(v[times == t]) for v in (order, ordered)]
        of, onto = [v if isinstance(v, slice) else xp.asarray(v) for v in (of, onto)]
        out[_at(onto, axis)] += x[_at(of, axis)]
    return out.astype(x.dtype, copy=False)


def _at(key: Any, axis: int) -> tuple[Any, ...]:
    return (..., key, *[slice(None)] * (-axis - 1))
