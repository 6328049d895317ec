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


def softmax_xent(logits: Array, labels: Array) -> tuple[Array, Array]:
    """(loss, log-sum-exp) of each row of logits (..., classes) with labels (...), both wide.

    labels: int32 or int64.  One out of range gives NaN.
    """
    p = place(logits, labels)
    rows, cols = _classes(logits)
    with p.scope():
        logits, labels = p.whole(logits), whole(p, "labels", labels, logits.shape[:-1])
        loss, lse = (p.empty(labels.shape, wide(logits.dtype)) for _ in range(2))
        if rows:
            team, grid, block = by_row(rows, cols)
            run = p.get("softmax", "softmax_xent", logits.dtype, team, labels.dtype)
            run(grid, block, logits, labels, loss, lse, rows, cols)
    return loss, lse


def softmax_xent_grad(g: Array, logits: Array, labels: Array, lse: Array, scale: float = 1.0) -> Array:
    """The cotangent of the logits, g scale (softmax - one-hot), from that of each loss, or of all of them (one g)."""
    p = place(g, logits, labels, lse)
    rows, cols = _classes(logits)
    with p.scope():
        shape = logits.shape[:-1]
        each = g.shape == shape and rows > 1
        logits, labels = p.whole(logits), whole(p, "labels", labels, shape)
        lse, out = whole(p, "lse", lse, shape), p.empty(logits.shape, logits.dtype)
        g = p.whole(g) if g.size == 1 else whole(p, "g", g, shape)
        if rows:
            team, grid, block = by_row(rows, cols)
            run = p.get("softmax", "softmax_xent_grad", logits.dtype, team, labels.dtype)
            run(grid, block, g, logits, labels, lse, out, int(each), scale, rows, cols)
    return out


def _classes(logits: Any) -> tuple[int, int]:
    rows, cols = matrix(logits)
    if not cols:
        raise ValueError("cross-entropy of no classes: the last axis of the logits is empty")
    return rows, cols
