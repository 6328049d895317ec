"""softmax, log_softmax and cross-entropy along the last axis."""

from __future__ import annotations

from typing import Any

from ..array import Array
from ..dtypes import wide
from ..kernels import Place, by_row
from ..launch import Launch, Launcher
from .shape import check, matrix


def _rows(p: Place, kernel: str, x: Array, outs: list[Any], *scalars: Any, index: Any = ()) -> Launch:
    """A launch by rows of x; its size is the last of the scalars."""
    rows, cols = matrix(x)
    team, grid, block = by_row(rows, cols)
    run = p.get("softmax", kernel, x.dtype, team, *index) if x.size else None
    return Launch(run, grid, block, outs, (*scalars, rows, cols))


# ---------------------------------------------------------------------------------------------- softmax
def _softmax(p: Place, x: Array, log: int) -> Launch:
    return _rows(p, "softmax", x, [(x.shape, x.dtype)], log)


def _softmax_grad(p: Place, g: Array, y: Array, log: int) -> Launch:
    check(y.shape, g=g)
    return _rows(p, "softmax_grad", y, [(y.shape, y.dtype)], log)


_forward, _backward = Launcher(_softmax), Launcher(_softmax_grad)


def softmax(x: Array, log: bool = False) -> Array:
    """softmax of x (..., columns), or its logarithm."""
    return _forward((x,), int(log))[0]


def softmax_grad(g: Array, y: Array, log: bool = False) -> Array:
    """The cotangent of x, from that of y = softmax(x, log)."""
    return _backward((g, y), int(log))[0]


# ---------------------------------------------------------------------------------------------- cross-entropy
def _softmax_xent(p: Place, logits: Array, labels: Array) -> Launch:
    shape, dtype = _each_row(logits), wide(logits.dtype)
    check(shape, labels=labels)
    return _rows(p, "softmax_xent", logits, [(shape, dtype), (shape, dtype)], index=(labels.dtype,))


def _softmax_xent_grad(p: Place, g: Array, logits: Array, labels: Array, lse: Array, scale: float) -> Launch:
    shape = _each_row(logits)
    check(shape, labels=labels, lse=lse)
    if g.size != 1:
        check(shape, g=g)
    each = int(g.size > 1)  # else one cotangent for all rows
    outs = [(logits.shape, logits.dtype)]
    return _rows(p, "softmax_xent_grad", logits, outs, each, scale, index=(labels.dtype,))


def _each_row(logits: Array) -> tuple[int, ...]:
    if not matrix(logits)[1]:
        raise ValueError("cross-entropy of no classes: the last axis of the logits is empty")
    return logits.shape[:-1]


_losses, _losses_grad = Launcher(_softmax_xent), Launcher(_softmax_xent_grad)


def softmax_xent(logits: Array, labels: Array) -> tuple[Array, Array]:
    """(loss, log-sum-exp) of each row of logits (..., classes) with labels (...), both wide.

    labels: int32 or int64.  One out of range gives NaN.
    """
    loss, lse = _losses((logits, labels))
    return loss, lse


def softmax_xent_grad(g: Array, logits: Array, labels: Array, lse: Array, scale: float = 1.0) -> Array:
    """The cotangent of the logits, g scale (softmax - one-hot), from that of each loss, or of all of them (one g)."""
    return _losses_grad((g, logits, labels, lse), float(scale))[0]
