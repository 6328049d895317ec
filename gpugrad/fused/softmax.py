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
def _softmax_xent(p: Place, logits: Array, labels: Array, ignores: bool, ignored: int) -> Launch:
    shape, dtype = _each_row(logits), wide(logits.dtype)
    check(shape, labels=labels)
    outs = [(shape, dtype), ((2, *shape), dtype)]
    return _rows(p, "softmax_xent", logits, outs, ignores, ignored, index=(labels.dtype,))


def _softmax_xent_grad(
    p: Place,
    g: Array,
    logits: Array,
    labels: Array,
    lse: Array,
    count: Array | None,
    scale: float,
    ignores: bool,
    ignored: int,
) -> Launch:
    shape = _each_row(logits)
    check(shape, labels=labels)
    check((2, *shape), lse=lse)
    check((), count=count)
    if g.size != 1:
        check(shape, g=g)
    each = int(g.size > 1)  # else one cotangent for all rows
    outs = [(logits.shape, logits.dtype)]
    return _rows(p, "softmax_xent_grad", logits, outs, each, scale, ignores, ignored, index=(labels.dtype,))


def _each_row(logits: Array) -> tuple[int, ...]:
    if not matrix(logits)[1]:
        raise ValueError("cross-entropy of no classes: the last axis of the logits is empty")
    return logits.shape[:-1]


_losses, _losses_grad = Launcher(_softmax_xent), Launcher(_softmax_xent_grad)


def softmax_xent(logits: Array, labels: Array, ignore_index: int | None = None) -> tuple[Array, Array]:
    """(loss, lse) of each row of logits (..., classes) with labels (...), both wide.

    lse: (2, ...), the largest logits, and the logarithms of the sums of exp(logits - largest).
    labels: int32 or int64.  One that is `ignore_index` gives a loss of 0, another one out of range NaN.
    """
    loss, lse = _losses((logits, labels), ignore_index is not None, ignore_index or 0)
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
    ignored = ignore_index is not None, ignore_index or 0
    return _losses_grad((g, logits, labels, lse, count), float(scale), *ignored)[0]
