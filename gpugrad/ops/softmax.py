"""softmax, log_softmax and the cross-entropy of rows with labels.  On a GPU each is one kernel, and so is its pullback.

Each fused gradient is an op with rules of its own, so every order works.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import fused
from ..array import xp as xp_of
from ..core import raw
from ..dtypes import int32, int64, wide
from ..forward import as_float
from ..kernels import usable
from ..op import op
from .blocks import by_blocks, fits
from .casting import astype
from .examples import join, own, part
from .logic import where
from .math import divide, exp, negative
from .reduce import sum
from .shape import broadcast_to, expand_dims, reshape


def _along_last(f: Callable[..., Any], otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """The `gpu=` forward of f, which works along the last axis; another one is moved there first, which copies."""

    def forward(xp: Any, *arrays: Any, axis: Any = -1) -> Any:
        if not (usable(*arrays) and arrays[0].ndim and isinstance(axis, int)):
            return otherwise(xp, *arrays, axis=axis)
        if axis in (-1, arrays[0].ndim - 1):
            return f(*arrays)
        return xp.moveaxis(f(*[xp.moveaxis(a, axis, -1) for a in arrays]), -1, axis)

    return forward


# ---------------------------------------------------------------------------------------------- softmax
def _softmax(xp: Any, x: Any, *, axis: int = -1) -> Any:
    """exp(x) / sum(exp(x)) along `axis`, without overflow."""
    x = as_float(x)
    e = xp.exp(_below(x, axis))
    e /= e.sum(axis=axis, keepdims=True)
    return e.astype(x.dtype, copy=False)


def _log_softmax(xp: Any, x: Any, *, axis: int = -1) -> Any:
    """log(softmax(x)) along `axis`, without overflow or log(0)."""
    x = as_float(x)
    z = _below(x, axis)
    z -= xp.log(xp.exp(z).sum(axis=axis, keepdims=True))
    return z.astype(x.dtype, copy=False)


def _below(x: Any, axis: int) -> Any:
    """x less its largest along `axis`, a new array to compute with."""
    x = x.astype(wide(x.dtype), copy=False)
    return x - x.max(axis=axis, keepdims=True) if x.size else x.copy()


def _softmax_grad(xp: Any, g: Any, y: Any, *, axis: int = -1) -> Any:
    """y (g - sum(g y)), the pullback of softmax by its output."""
    if not y.ndim:  # of one element it is constant
        return g - g
    z = y.astype(wide(y.dtype), copy=False)
    out = g * z
    out = xp.subtract(g, out.sum(axis=axis, keepdims=True), out=out)
    out *= z
    return out.astype(g.dtype, copy=False)


def _log_softmax_grad(xp: Any, g: Any, y: Any, *, axis: int = -1) -> Any:
    """g - exp(y) sum(g), the pullback of log_softmax by its output."""
    if not y.ndim:
        return g - g
    out = xp.exp(y.astype(wide(y.dtype), copy=False))
    out *= g.sum(axis=axis, keepdims=True, dtype=wide(g.dtype))
    return xp.subtract(g, out, out=out).astype(g.dtype, copy=False)


# On the CPU, by blocks of rows.
_SMALL, _LARGE = 1e-14, 1e30


def _sums(x: Any) -> Any:
    return np.vecdot(x, np.ones(x.shape[1], x.dtype))


def _softmax_rows(z: Any, out: Any) -> None:
    """The largest is looked for only where an exp overflowed or a row vanished."""
    with np.errstate(over="ignore"):
        total = _sums(np.exp(z, out=out))
    if not _SMALL <= total.min() <= total.max() <= _LARGE:
        np.subtract(z, z.max(-1, keepdims=True), out=out)
        total = _sums(np.exp(out, out=out))
    out *= np.reciprocal(total)[:, None]


def _log_softmax_rows(z: Any, out: Any) -> None:
    np.subtract(z, z.max(-1, keepdims=True), out=out)
    out -= np.log(_sums(np.exp(out)))[:, None]


def _softmax_grad_rows(g: Any, y: Any, out: Any) -> None:
    np.subtract(g, np.vecdot(g, y)[:, None], out=out)
    out *= y


def _log_softmax_grad_rows(g: Any, y: Any, out: Any) -> None:
    np.exp(y, out=out)
    out *= _sums(g)[:, None]
    np.subtract(g, out, out=out)


def _host(f: Callable[..., Any], rows: Callable[..., None]) -> Callable[..., Any]:
    """The forward for NumPy's arrays: f by blocks of rows along the last axis, if they are of one shape and dtype."""

    def host(*arrays: Any, axis: int = -1) -> Any:
        arrays = tuple(map(as_float, arrays))
        x, y = arrays[0], arrays[-1]
        if axis not in (-1, x.ndim - 1) or x.shape != y.shape or x.dtype != y.dtype or not fits(x):
            return f(np, *arrays, axis=axis)
        return by_blocks(rows, x.dtype, *arrays)

    return host


_softmax.host = _host(_softmax, _softmax_rows)
_log_softmax.host = _host(_log_softmax, _log_softmax_rows)
_softmax_grad.host = _host(_softmax_grad, _softmax_grad_rows)
_log_softmax_grad.host = _host(_log_softmax_grad, _log_softmax_grad_rows)


def _total(x: Any, axis: int) -> Any:
    return sum(x, axis=axis, keepdims=True)


softmax = op(
    _softmax,
    name="softmax",
    batch="along",
    gpu=_along_last(fused.softmax, _softmax),
    x=lambda g, out, axis: softmax_grad(g, out, axis=axis),
)
softmax_grad = op(  # symmetric in g
    _softmax_grad,
    name="softmax_grad",
    batch="along",
    gpu=_along_last(fused.softmax_grad, _softmax_grad),
    g=lambda h, y, axis: softmax_grad(h, y, axis=axis),
    y=lambda h, g, y, axis: h * (g - _total(g * y, axis)) - g * _total(h * y, axis),
)
log_softmax = op(
    _log_softmax,
    name="log_softmax",
    batch="along",
    gpu=_along_last(partial(fused.softmax, log=True), _log_softmax),
    x=lambda g, out, axis: log_softmax_grad(g, out, axis=axis),
)
log_softmax_grad = op(
    _log_softmax_grad,
    name="log_softmax_grad",
    batch="along",
    gpu=_along_last(partial(fused.softmax_grad, log=True), _log_softmax_grad),
    g=lambda h, y, axis: h - _total(h * exp(y), axis),
    y=lambda h, g, y, axis: -h * exp(y) * _total(g, axis),
)


def softmin(x: Any, axis: int = -1) -> Any:
    """softmax(-x) along `axis`."""
    return softmax(negative(x), axis=axis)


# ---------------------------------------------------------------------------------------------- cross-entropy
def _softmax_xent(
    xp: Any, logits: Any, labels: Any, *, reduction: str = "none", ignore_index: int | None = None
) -> tuple[Any, Any, Any]:
    """Cross-entropy of each row's softmax, reduced; rows whose label is `ignore_index` count nothing.

    Keeps the logits and two numbers a row, no probabilities: the largest logit, and the logarithm of the sum of
    exp(logits - largest).  Off the host, which is not waited for, a label out of range gives NaN.
    """
    z = logits.astype(wide(logits.dtype), copy=False)
    top = z.max(-1, keepdims=True)
    e = z - top
    lse = xp.stack([top[:, 0], xp.log(xp.exp(e, out=e).sum(-1))])
    if _as_they_are(xp, ignore_index):
        loss = _beside(xp, z, labels, lse)
    else:
        places, counts = lookup(xp, labels, z.shape[-1], ignore_index, z.dtype)
        loss = xp.where(counts == 0, 0, _beside(xp, z, places, lse) * counts)
    loss, count = _reduced(loss, labels, reduction, ignore_index)
    return loss.astype(logits.dtype, copy=False), lse, count


def _as_they_are(xp: Any, ignore_index: int | None) -> bool:
    """Whether labels can be looked up as they are: NumPy itself refuses those out of range."""
    return xp is np and ignore_index is None


def _beside(xp: Any, z: Any, labels: Any, lse: Any) -> Any:
    # the large terms first: their difference is small and exact
    return (lse[0] - z[xp.arange(len(labels)), labels]) + lse[1]


def lookup(xp: Any, labels: Any, classes: int, ignore_index: int | None, dtype: np.dtype) -> tuple[Any, Any]:
    """(labels all in range, how much each counts): `ignore_index` 0, another one out of range NaN, the others 1."""
    places, inside = within(xp, labels, classes)
    counts = xp.where(inside, dtype.type(1), dtype.type(np.nan))
    if ignore_index is not None:
        counts = xp.where(kernel_integers(labels) == ignore_index, dtype.type(0), counts)
    return places, counts


def _reduced(loss: Any, labels: Any, reduction: str, ignore_index: int | None) -> tuple[Any, Any]:
    """(the loss, by what it was divided, if that is known on the device only)."""
    if reduction == "none":
        return loss, None
    rows, loss = len(loss), loss.sum()
    if reduction == "sum":
        return loss, None
    if ignore_index is None:
        return loss / rows, None
    count = (kernel_integers(labels) != ignore_index).sum(dtype=loss.dtype)
    return loss / count, count


def _softmax_xent_gpu(
    xp: Any, logits: Any, labels: Any, *, reduction: str = "none", ignore_index: int | None = None
) -> tuple[Any, Any, Any]:
    if not usable(logits):
        return _softmax_xent(xp, logits, labels, reduction=reduction, ignore_index=ignore_index)
    loss, lse = fused.softmax_xent(logits, kernel_integers(labels), ignore_index)
    loss, count = _reduced(loss, labels, reduction, ignore_index)
    if loss.dtype != logits.dtype:  # CuPy's astype takes 1 us to do nothing
        loss = loss.astype(logits.dtype)
    return loss, lse, count


def kernel_integers(a: Any) -> Any:
    """Integers in a dtype that kernels take: themselves, or a copy."""
    return a if a.dtype in (int32, int64) else a.astype(int64)


def within(xp: Any, index: Any, entries: int) -> tuple[Any, Any]:
    """(indices that are all in range, which ones were): CuPy wraps the others around, to a plausible wrong number."""
    index = kernel_integers(index)
    inside = (index >= 0) & (index < entries)
    return xp.where(inside, index, index.dtype.type(0)), inside


def _softmax_xent_grad(
    xp: Any,
    g: Any,
    logits: Any,
    labels: Any,
    lse: Any,
    count: Any,
    *,
    scale: float = 1.0,
    ignore_index: int | None = None,
) -> Any:
    """g scale (softmax - one-hot) / count, with g a number for each row, or one for all; 0 in ignored rows."""
    p = logits - lse[0][:, None]
    p -= lse[1][:, None]  # not their sum, which large logits would round
    p = xp.exp(p, out=p)
    by = (g[:, None] if g.ndim else g) * p.dtype.type(scale)
    by = by if count is None else by / xp.maximum(count, 1)  # where none counts, all are 0
    if _as_they_are(xp, ignore_index):
        p[xp.arange(len(labels)), labels] -= 1
        p *= by
    else:
        places, counts = lookup(xp, labels, p.shape[-1], ignore_index, p.dtype)
        p[xp.arange(len(labels)), places] -= 1
        p = xp.where(counts[:, None] == 0, 0, p * (by * counts[:, None]))
    return p.astype(logits.dtype, copy=False)


def _softmax_xent_grad_gpu(
    xp: Any,
    g: Any,
    logits: Any,
    labels: Any,
    lse: Any,
    count: Any,
    *,
    scale: float = 1.0,
    ignore_index: int | None = None,
) -> Any:
    if not usable(logits, g):
        return _softmax_xent_grad(xp, g, logits, labels, lse, count, scale=scale, ignore_index=ignore_index)
    return fused.softmax_xent_grad(g, logits, kernel_integers(labels), lse, scale, count, ignore_index)


def _by_g(
    h: Any, logits: Any, labels: Any, lse: Any, count: Any, scale: float, ignore_index: int | None, shape: Any
) -> Any:
    one = xp_of(raw(logits)).ones((), logits.dtype)
    each = softmax_xent_grad(one, logits, labels, lse, count, scale=scale, ignore_index=ignore_index)
    return sum(h * each, axis=-1 if shape else None)


def _by_logits(h: Any, g: Any, logits: Any, labels: Any, count: Any, scale: float, ignore_index: int | None) -> Any:
    h = h * (expand_dims(g, -1) if g.shape else g) * scale
    if count is not None:  # which a half type may not hold
        h = astype(h, wide(h.dtype)) / xp_of(raw(count)).maximum(raw(count), 1)
        logits = astype(logits, h.dtype)
    if ignore_index is not None:
        h = where((kernel_integers(raw(labels)) != ignore_index)[:, None], h, 0)
    return softmax_grad(h, softmax(logits))


def _xent_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    """All rows of all examples together, reduced for each."""
    logits, labels = [own(x, e, level.n) for x, e in zip(xs, each)]
    reduction, ignored = static["reduction"], static["ignore_index"]
    dtype, rows = raw(logits).dtype, raw(labels).shape[1:]
    if reduction != "none":
        logits = astype(logits, wide(dtype))
    loss, lse, _ = call(join(logits), join(labels), reduction="none", ignore_index=ignored)
    loss, lse, count = part(loss, level.n), part(lse, level.n, 1), None
    if reduction != "none":
        loss = sum(loss, axis=1)
    if reduction == "mean" and ignored is not None:
        count = (kernel_integers(raw(labels)) != ignored).sum(1, dtype=wide(dtype))
    if reduction == "mean":
        loss = divide(loss, rows[0] if count is None else count)
    return astype(loss, dtype), lse, count


def _xent_grad_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    g, logits, labels, lse, count = [own(x, e, level.n) for x, e in zip(xs, each)]
    n, rows = raw(labels).shape
    g = astype(g, wide(raw(g).dtype)) if count is not None else g
    g = g if raw(g).ndim > 1 else expand_dims(g, -1)
    g = g if count is None else divide(g, expand_dims(xp_of(raw(count)).maximum(raw(count), 1), -1))
    g = reshape(broadcast_to(g, (n, rows)), n * rows)
    return (part(call(g, join(logits), join(labels), join(lse, 1), None, **static)[0], n),)


softmax_xent = op(
    _softmax_xent,
    batch=_xent_batch,
    name="softmax_xent",
    gpu=_softmax_xent_gpu,
    aux=("lse", "count"),
    logits=lambda g, logits, labels, reduction, ignore_index, lse, count: softmax_xent_grad(
        g,
        logits,
        labels,
        lse,
        count,
        scale=1 / (len(labels) or 1) if reduction == "mean" and count is None else 1.0,
        ignore_index=ignore_index,
    ),
    labels=None,
)
softmax_xent_grad = op(
    _softmax_xent_grad,
    batch=_xent_grad_batch,
    name="softmax_xent_grad",
    gpu=_softmax_xent_grad_gpu,
    g=_by_g,
    logits=_by_logits,
    labels=None,
    lse=None,  # a function of the logits, whose rule has it
    count=None,
)
