"""softmax, log_softmax and the cross-entropy of rows with labels.  On a GPU each is one kernel, and so is its pullback.

Each fused gradient is an op with rules of its own, so every order works.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .. import fused
from ..array import xp as xp_of
from ..core import raw
from ..dtypes import int32, int64, wide
from ..forward import as_float
from ..kernels import usable
from ..op import op
from .math import exp
from .reduce import sum
from .shape import expand_dims


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


def _total(x: Any, axis: int) -> Any:
    return sum(x, axis=axis, keepdims=True)


softmax = op(
    _softmax,
    name="softmax",
    gpu=_along_last(fused.softmax, _softmax),
    x=lambda g, out, axis: softmax_grad(g, out, axis=axis),
)
softmax_grad = op(  # symmetric in g
    _softmax_grad,
    name="softmax_grad",
    gpu=_along_last(fused.softmax_grad, _softmax_grad),
    g=lambda h, y, axis: softmax_grad(h, y, axis=axis),
    y=lambda h, g, y, axis: h * (g - _total(g * y, axis)) - g * _total(h * y, axis),
)
log_softmax = op(
    _log_softmax,
    name="log_softmax",
    gpu=_along_last(partial(fused.softmax, log=True), _log_softmax),
    x=lambda g, out, axis: log_softmax_grad(g, out, axis=axis),
)
log_softmax_grad = op(
    _log_softmax_grad,
    name="log_softmax_grad",
    gpu=_along_last(partial(fused.softmax_grad, log=True), _log_softmax_grad),
    g=lambda h, y, axis: h - _total(h * exp(y), axis),
    y=lambda h, g, y, axis: -h * exp(y) * _total(g, axis),
)


# ---------------------------------------------------------------------------------------------- cross-entropy
def _softmax_xent(xp: Any, logits: Any, labels: Any, *, reduction: str = "none") -> Any:
    """Cross-entropy of each row's softmax, reduced.  Keeps the logits and one log-sum-exp a row, no probabilities."""
    z = logits.astype(wide(logits.dtype), copy=False)
    top = z.max(-1, keepdims=True)
    e = z - top
    size, top = xp.log(xp.exp(e, out=e).sum(-1)), top[:, 0]
    # the large terms first: their difference is small and exact
    return _reduced(size + (top - z[xp.arange(len(labels)), labels]), reduction, logits), size + top


def _reduced(loss: Any, reduction: str, logits: Any) -> Any:
    if reduction != "none":
        count = len(loss)
        loss = loss.sum()
        if reduction == "mean":
            loss = loss / count
    return loss.astype(logits.dtype, copy=False)


def _softmax_xent_gpu(xp: Any, logits: Any, labels: Any, *, reduction: str = "none") -> Any:
    if not usable(logits):
        return _softmax_xent(xp, logits, labels, reduction=reduction)
    loss, lse = fused.softmax_xent(logits, indices(labels))
    return _reduced(loss, reduction, logits), lse


def indices(a: Any) -> Any:
    """Integers in a dtype that kernels take: themselves, or a copy."""
    return a if a.dtype in (int32, int64) else a.astype(int64)


def _softmax_xent_grad(xp: Any, g: Any, logits: Any, labels: Any, lse: Any, *, scale: float = 1.0) -> Any:
    """g scale (softmax - one-hot), with g a number for each row, or one for all."""
    p = logits - lse[:, None]
    p = xp.exp(p, out=p)
    p[xp.arange(len(labels)), labels] -= 1
    p *= (g[:, None] if g.ndim else g) * p.dtype.type(scale)
    return p.astype(logits.dtype, copy=False)


def _softmax_xent_grad_gpu(xp: Any, g: Any, logits: Any, labels: Any, lse: Any, *, scale: float = 1.0) -> Any:
    if not usable(logits, g):
        return _softmax_xent_grad(xp, g, logits, labels, lse, scale=scale)
    return fused.softmax_xent_grad(g, logits, indices(labels), lse, scale)


def _by_g(h: Any, logits: Any, labels: Any, lse: Any, scale: float, shape: tuple[int, ...]) -> Any:
    one = xp_of(raw(logits)).ones((), logits.dtype)
    return sum(h * softmax_xent_grad(one, logits, labels, lse, scale=scale), axis=-1 if shape else None)


softmax_xent = op(
    _softmax_xent,
    name="softmax_xent",
    gpu=_softmax_xent_gpu,
    aux=("lse",),
    logits=lambda g, logits, labels, reduction, lse: softmax_xent_grad(
        g, logits, labels, lse, scale=1 / (len(labels) or 1) if reduction == "mean" else 1.0
    ),
    labels=None,
)
softmax_xent_grad = op(
    _softmax_xent_grad,
    name="softmax_xent_grad",
    gpu=_softmax_xent_grad_gpu,
    g=_by_g,
    logits=lambda h, g, logits, scale: softmax_grad(
        h * (expand_dims(g, -1) if g.shape else g) * scale, softmax(logits)
    ),
    labels=None,
    lse=None,  # a function of the logits, whose rule has it
)
