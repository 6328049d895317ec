"""softmax, log_softmax and cross-entropy along the last axis."""

from __future__ import annotations

from typing import Any

from ..array import Array
from ..dtypes import wide
from ..kernels import by_row, place
from .shape import matrix, whole


def softmax(x: Array, log: bool = False) -> Array:
    """softmax of x (..., columns), or its logarithm."""
    p = place(x)
    rows, cols = matrix(x)
    with p.scope():
        x, out = p.whole(x), p.empty(x.shape, x.dtype)
        if x.size:
            team, grid, block = by_row(rows, cols)
            p.get("softmax", "softmax", x.dtype, team)(grid, block, x, out, int(log), rows, cols)
    return out


def softmax_grad(g: Array, y: Array, log: bool = False) -> Array:
    """The cotangent of x, from that of y = softmax(x, log)."""
    p = place(g, y)
    rows, cols = matrix(y)
    with p.scope():
        g, y, dx = whole(p, "g", g, y.shape), p.whole(y), p.empty(y.shape, y.dtype)
        if dx.size:
            team, grid, block = by_row(rows, cols)
            p.get("softmax", "softmax_grad", y.dtype, team)(grid, block, g, y, dx, int(log), rows, cols)
    return dx


def softmax_xent(logits: Array, labels: Array, ignore_index: int | None = None) -> tuple[Array, Array]:
    """(loss, lse) of each row of logits (..., classes) with labels (...), both wide.

    lse: (2, ...), the largest logits, and the logarithms of the sums of exp(logits - largest).
    labels: int32 or int64.  One that is `ignore_index` gives a loss of 0, another one out of range NaN.
    """
    p = place(logits, labels)
    rows, cols = _classes(logits)
    with p.scope():
        logits, labels = p.whole(logits), whole(p, "labels", labels, logits.shape[:-1])
        loss, lse = (p.empty(shape, wide(logits.dtype)) for shape in (labels.shape, (2, *labels.shape)))
        if rows:
            team, grid, block = by_row(rows, cols)
            run = p.get("softmax", "softmax_xent", logits.dtype, team, labels.dtype)
            run(grid, block, logits, labels, loss, lse, ignore_index is not None, ignore_index or 0, rows, cols)
    return loss, lse


def softmax_xent_grad(
    g: Array,
    logits: Array,
    labels: Array,
    lse: Array,
    scale: float = 1.0,
    count: Array | None = None,
    ignore_index: int | None = None,
) -> Array:
    """The cotangent of the logits, g scale (softmax - one-hot), from that of each loss, or of all of them (one g).

    count: one wide number that it is divided by.  Rows whose label is `ignore_index` are 0.
    """
    p = place(g, logits, labels, lse, count)
    rows, cols = _classes(logits)
    with p.scope():
        shape = logits.shape[:-1]
        each = g.shape == shape and rows > 1
        logits, labels = p.whole(logits), whole(p, "labels", labels, shape)
        lse, count = whole(p, "lse", lse, (2, *shape)), whole(p, "count", count, ())
        out = p.empty(logits.shape, logits.dtype)
        g = p.whole(g) if g.size == 1 else whole(p, "g", g, shape)
        if rows:
            team, grid, block = by_row(rows, cols)
            run = p.get("softmax", "softmax_xent_grad", logits.dtype, team, labels.dtype)
            ignored = ignore_index is not None, ignore_index or 0
            run(grid, block, g, logits, labels, lse, count, out, int(each), scale, *ignored, rows, cols)
    return out


def _classes(logits: Any) -> tuple[int, int]:
    rows, cols = matrix(logits)
    if not cols:
        raise ValueError("cross-entropy of no classes: the last axis of the logits is empty")
    return rows, cols
