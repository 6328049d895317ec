"""layer_norm and rms_norm along the last axis, in one pass; with a residual added before in the same pass.

Their gradients are ops with rules of their own.  With n = (x - mean) rstd and M the mean over the normalized axes, the
pullback of n is P(a) = rstd (a - M(a) - n M(a n)), without M(a) where no mean is subtracted; it is symmetric in a.
That of P(a) with respect to x is -rstd (n M(h P(a)) + M(a n) P(h) + M(h n) P(a)).
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import fused
from ..core import raw
from ..dtypes import wide
from ..forward import as_float, boxed
from ..kernels import usable
from ..levels import innermost
from ..op import Parts, op
from . import norm_rows
from .blocks import fits
from .casting import astype, view
from .examples import own
from .math import add, multiply, rsqrt, square
from .reduce import mean as mean_of, sum as total_of
from .shape import aligned

Axes = tuple[int, ...]


def present(*arrays: Any) -> list[Any]:
    """Those that are not None."""
    return [a for a in arrays if a is not None]


# ---------------------------------------------------------------------------------------------- to every order
def normalized(x: Any, axes: Axes, eps: float, center: bool) -> tuple[Any, Any]:
    """(n, rstd) of x over `axes`, as ops."""
    x = astype(x, wide(x.dtype))
    d = x - mean_of(x, axis=axes, keepdims=True) if center else x
    rstd = rsqrt(mean_of(square(d), axis=axes, keepdims=True) + eps)
    return d * rstd, rstd


def curvature(h: Any, a: Any, x: Any, axes: Axes, eps: float, center: bool) -> Any:
    """The pullback of P(a) with respect to x, of the cotangent h."""
    over = lambda v: mean_of(v, axis=axes, keepdims=True)
    n, rstd = normalized(x, axes, eps, center)
    pull = lambda v: rstd * ((v - over(v) if center else v) - n * over(v * n))
    pulled_h, pulled_a = pull(h), pull(a)
    return -rstd * (n * over(h * pulled_a) + over(a * n) * pulled_h + over(h * n) * pulled_a)


def times(x: Any, weight: Any) -> Any:
    """x * weight; None counts as ones."""
    return x if weight is None else multiply(x, weight)


# ---------------------------------------------------------------------------------------------- forward
def _row_means(d: Any) -> Any:
    return d.sum(-1, keepdims=True) / d.dtype.type(d.shape[-1])


def _far(means: np.ndarray) -> bool:
    """Whether a row is so far from 0, in standard deviations, that the rounding of its mean is seen."""
    return bool(means.size) and not -16 < means.min() <= means.max() < 16


def _forward(xp: Any, x: Any, weight: Any, bias: Any, *, eps: float, center: bool) -> Any:
    """((x - mean) rstd weight + bias, mean, rstd) along the last axis."""
    x = as_float(x)
    d, mean = x.astype(wide(x.dtype), copy=False), None
    if center:
        mean = _row_means(d)
        d = d - mean
    squares = d * d
    rstd = 1 / xp.sqrt(_row_means(squares) + eps)
    if center and (xp is not np or _far(mean * rstd)):
        rest = _row_means(d)  # what the mean was rounded by
        d, mean = d - rest, mean + rest
        rstd = 1 / xp.sqrt(_row_means(xp.multiply(d, d, out=squares)) + eps)
    out = xp.multiply(d, rstd, out=squares)
    dtype = np.result_type(*[a.dtype for a in present(x, weight, bias)])
    for a, f in ((weight, xp.multiply), (bias, xp.add)):
        if a is not None:
            out = f(out, a, out=out) if a.dtype == out.dtype else f(out, a)
    return out.astype(dtype, copy=False), None if mean is None else mean[..., 0], rstd[..., 0]


def _host(rows: Callable[..., Any], otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """The forward for NumPy's arrays: a block of rows at a time."""

    def host(*arrays: Any, **static: Any) -> Any:
        return rows(*arrays, **static) if fits(*present(*arrays)) else otherwise(np, *arrays, **static)

    return host


_forward.host = _host(norm_rows.forward, _forward)


def forward(xp: Any, x: Any, weight: Any, bias: Any, *, eps: float, center: bool) -> Any:
    """By the kernel where it is for these arrays."""
    if not usable(x, weight, bias):
        own = _forward.host if xp is np else partial(_forward, xp)
        return own(x, weight, bias, eps=eps, center=center)
    out, _, mean, rstd = fused.norm(x, weight, bias, eps=eps, center=center)
    return out, mean, rstd


def _pull(g: Any, x: Any, weight: Any, bias: Any, eps: float, mean: Any, rstd: Any) -> tuple[Any, ...]:
    return _cotangents(g, x, weight, bias, eps, mean, rstd, None)


def _pull_beside(g: Any, x: Any, weight: Any, bias: Any, eps: float, mean: Any, rstd: Any) -> tuple[Any, ...]:
    return _cotangents(g[0], x, weight, bias, eps, mean, rstd, g.get(1)) if 0 in g else (g[1], None, None)


def _cotangents(g: Any, x: Any, weight: Any, bias: Any, eps: float, mean: Any, rstd: Any, more: Any) -> tuple[Any, ...]:
    """Those of x, weight and bias; `more` reaches x beside the norm."""
    arrays = present(g, x, weight, more)
    if all([isinstance(a, np.ndarray) for a in arrays]) and fits(*arrays):
        return norm_rows.pull(g, x, weight, more, mean, rstd, sums=not (weight is None and bias is None))
    dx = norm_grad(g, x, weight, more, mean, rstd, eps=eps)
    if weight is None and bias is None:
        return dx, None, None
    return dx, *norm_sums(g, x, mean, rstd, eps=eps), *(() if mean is not None else (None,))


def _forward_beside(xp: Any, x: Any, weight: Any, bias: Any, *, eps: float, center: bool, made: Any = None) -> Any:
    """The norm of x, and x itself, so that one pullback takes the cotangents of both.

    made: what a kernel has computed already.
    """
    out, mean, rstd = made or forward(xp, x, weight, bias, eps=eps, center=center)
    return (out, view(x)), mean, rstd


def _norm_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    x, weight, bias = xs
    if not (each[1] or each[2]):
        return call(*xs, **static)
    x = own(x, each[0], level.n)
    out, *statistics = call(x, None, None, **static)
    rank, several = raw(x).ndim - 1, isinstance(out, tuple)
    n, *rest = out if several else (out,)
    for v, e, f in ((weight, each[1], multiply), (bias, each[2], add)):
        n = n if v is None else f(n, aligned(v, rank) if e else v)
    return ((n, *rest) if several else n, *statistics)


def _grad_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    g, x, weight, more, mean, rstd = [v if i == 2 else own(v, e, level.n) for i, (v, e) in enumerate(zip(xs, each))]
    if each[2]:
        g, weight = multiply(g, aligned(weight, raw(x).ndim - 1)), None
    return call(g, x, weight, more, mean, rstd, **static)


def _sums_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    """The sums of each example.  From x alone: mean and rstd have no history."""
    g, x, mean, _ = [own(v, e, level.n) for v, e in zip(xs, each)]
    center, rows = mean is not None, tuple(range(1, raw(x).ndim - 1))
    n = _norm[center](x, None, None, eps=static["eps"], center=center)
    sums = total_of(multiply(n, g), axis=rows), total_of(g, axis=rows)
    return (sums if center else sums[:1],)


# By whether the mean is subtracted: one op under two names.
_NAMES, _STATISTICS = {True: "layer_norm", False: "rms_norm"}, ("mean", "rstd")
_norm = {
    c: op(_forward, name=n, gpu=forward, aux=_STATISTICS, pull=_pull, batch=_norm_batch) for c, n in _NAMES.items()
}
_norm_beside = {
    c: op(_forward_beside, name=n, aux=_STATISTICS, pull=_pull_beside, several=True, batch=_norm_batch)
    for c, n in _NAMES.items()
}


@op(x=lambda g: g, residual=lambda g: g)
def _added(xp: Any, x: Any, residual: Any, *, made: Any) -> Any:
    """x + residual, which a kernel has computed already."""
    return made


def norm(x: Any, weight: Any, bias: Any, residual: Any, eps: float, center: bool) -> Any:
    """x normalized along the last axis, times weight, plus bias; with a residual (that of x + residual, x + residual).

    center: by mean and variance, else by the mean square.  weight, bias (columns,), residual like x: each may be None.
    ValueError for a residual of another shape.
    """
    x = boxed(x, _NAMES[center])
    if residual is None:
        return _norm[center](x, weight, bias, eps=eps, center=center)
    residual = boxed(residual, _NAMES[center])
    arrays = [None if a is None else raw(a) for a in (x, weight, bias, residual)]
    own, other = raw(x).shape, raw(residual).shape
    if own != other:
        raise ValueError(f"the residual has shape {other}, and x {own}; they must be the same")
    if innermost(arrays) is not None or not usable(*arrays):
        return _norm_beside[center](add(x, residual), weight, bias, eps=eps, center=center)
    out, total, mean, rstd = fused.norm(*arrays, eps=eps, center=center)
    total = _added(x, residual, made=total)
    return _norm_beside[center](total, weight, bias, eps=eps, center=center, made=(out, mean, rstd))


# ---------------------------------------------------------------------------------------------- gradients
def _normal(xp: Any, x: Any, mean: Any, rstd: Any) -> Any:
    x = x.astype(wide(x.dtype), copy=False)
    if mean is None:
        return x * rstd[..., None]
    n = x - mean[..., None]
    n *= rstd[..., None]
    return n


def _norm_grad(xp: Any, g: Any, x: Any, weight: Any, more: Any, mean: Any, rstd: Any, *, eps: float) -> Any:
    """P(g weight) + more, the cotangent of x."""
    n, a = _normal(xp, x, mean, rstd), g.astype(wide(g.dtype), copy=False)
    if weight is not None:
        a = a * weight
    count = a.dtype.type(x.shape[-1])
    product = a * n
    n *= product.sum(-1, keepdims=True) / count
    out = xp.subtract(a, n, out=product)
    if mean is not None:
        out -= a.sum(-1, keepdims=True) / count
    out *= rstd[..., None]
    if more is not None:
        out += more
    return out.astype(g.dtype, copy=False)


_norm_grad.host = _host(norm_rows.grad, _norm_grad)


def _norm_grad_gpu(xp: Any, g: Any, x: Any, weight: Any, more: Any, mean: Any, rstd: Any, *, eps: float) -> Any:
    if not usable(g, x, weight, more):
        return _norm_grad(xp, g, x, weight, more, mean, rstd, eps=eps)
    return fused.norm_grad(g, x, mean, rstd, weight, more)


def _norm_sums(xp: Any, g: Any, x: Any, mean: Any, rstd: Any, *, eps: float) -> Any:
    """(sum(g n),), and where there is a mean sum(g), over all axes but the last: the cotangents of weight and bias."""
    rows, dtype = tuple(range(x.ndim - 1)), wide(g.dtype)
    n = _normal(xp, x, mean, rstd)
    n = xp.multiply(n, g, out=n) if g.dtype == n.dtype else n * g
    sums = (n.sum(rows), g.sum(rows, dtype=dtype)) if mean is not None else (n.sum(rows),)
    return tuple([s.astype(g.dtype, copy=False) for s in sums])


def _norm_sums_gpu(xp: Any, g: Any, x: Any, mean: Any, rstd: Any, *, eps: float) -> Any:
    return fused.norm_sums(g, x, mean, rstd) if usable(g, x) else _norm_sums(xp, g, x, mean, rstd, eps=eps)


def _sums_pull_g(h: Parts, x: Any, mean: Any, eps: float) -> Any:
    center = mean is not None
    n = _norm[center](x, None, None, eps=eps, center=center) if 0 in h else 0
    return h.get(0, 0) * n + h.get(1, 0)


norm_grad = op(
    _norm_grad,
    name="norm_grad",
    batch=_grad_batch,
    gpu=_norm_grad_gpu,
    g=lambda h, x, weight, mean, rstd, eps: times(norm_grad(h, x, None, None, mean, rstd, eps=eps), weight),
    x=lambda h, g, x, weight, mean, eps: curvature(h, times(g, weight), x, (-1,), eps, mean is not None),
    weight=lambda h, g, x, mean, rstd, eps: g * norm_grad(h, x, None, None, mean, rstd, eps=eps),
    more=lambda h: h,
    mean=None,  # mean and rstd are functions of x, whose rule has them
    rstd=None,
)
norm_sums = op(
    _norm_sums,
    name="norm_sums",
    batch=_sums_batch,
    gpu=_norm_sums_gpu,
    several=True,
    g=_sums_pull_g,
    x=lambda h, g, x, mean, rstd, eps: norm_grad(g, x, h[0], None, mean, rstd, eps=eps) if 0 in h else g * 0,
    mean=None,
    rstd=None,
)
