"""Sums, means, extremes and other reductions.  Half types accumulate in float32."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core import raw
from ..dtypes import DTypeLike, default_float, is_inexact, wide
from ..forward import accumulated, as_float, boxed, checked_axis, explain, fit, narrow
from ..fused import column_sums
from ..kernels import usable
from ..op import op
from .casting import astype
from .logic import const, isnan, logical_not, where
from .math import conj, divide, multiply
from .scan import divisible, exp_below, products_of_others
from .shape import broadcast_to, permute_dims, reshape

Axis = int | tuple[int, ...] | None


def axes_of(axis: Axis, ndim: int) -> tuple[int, ...]:
    """`axis` as a tuple of non-negative numbers; one that is out of bounds stays so."""
    if axis is None:
        return tuple(range(ndim))
    given = (axis,) if hasattr(axis, "__index__") else axis
    return tuple([a % ndim if -ndim <= a < ndim else a for a in given]) if ndim else ()


def count(shape: tuple[int, ...], axis: Axis) -> int:
    """How many elements each result is made of."""
    if axis is None:
        return math.prod(shape)
    return math.prod([shape[a] for a in axes_of(axis, len(shape))])


def _last(axis: Axis, ndim: int) -> tuple[int, ...]:
    """All axes in order, those of `axis` at the end."""
    axes = axes_of(axis, ndim)
    return (*[i for i in range(ndim) if i not in axes], *axes)


def rows_of(x: Any, axis: Axis) -> Any:
    """x with one axis, the last, instead of those of `axis`."""
    order, n = _last(axis, len(x.shape)), len(axes_of(axis, len(x.shape)))
    kept = [x.shape[i] for i in order[: len(order) - n]]
    return reshape(permute_dims(x, order), (*kept, count(x.shape, axis)))


def expand(g: Any, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Any:
    """`g`, reduced over `axis` of `shape`, with the reduced axes back as ones."""
    if keepdims or (axis is None and not g.shape):
        return g
    axes = axes_of(axis, len(shape))
    return reshape(g, tuple([1 if i in axes else n for i, n in enumerate(shape)]))


def spread(g: Any, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Any:
    """The pullback of `sum`: `g` on every element that went into it."""
    return broadcast_to(expand(g, shape, axis, keepdims), shape)


def _sum(xp: Any, x: Any, *, axis: Axis = None, keepdims: bool = False, dtype: DTypeLike = None) -> Any:
    """The sum over `axis` (None: all); of `dtype`, if given."""
    if dtype is not None or wide(x.dtype) is not x.dtype:
        return accumulated(xp.sum, x, dtype, axis=axis, keepdims=keepdims)
    if xp is np:  # without the detour over the method, 1 us
        return np.add.reduce(x, axis=axis, keepdims=keepdims)
    return x.sum(axis=axis, keepdims=keepdims)


def _sum_gpu(xp: Any, x: Any, *, axis: Axis = None, keepdims: bool = False, dtype: DTypeLike = None) -> Any:
    """Sums down the columns of contiguous arrays, the gradient of a bias, by our own kernel."""
    if axis is None or keepdims or dtype is not None or x.ndim < 2 or not (usable(x) and x.flags.c_contiguous):
        return _sum(xp, x, axis=axis, keepdims=keepdims, dtype=dtype)
    if sorted(axes_of(axis, x.ndim)) != list(range(x.ndim - 1)):
        return _sum(xp, x, axis=axis)
    return column_sums(x)


sum = op(
    _sum,
    name="sum",
    gpu=_sum_gpu,
    x=lambda g, shape, axis, keepdims: spread(g, shape, axis, keepdims),
    batch="along",
    linear=True,
)


def _distance(x: Any, axis: Axis) -> Any:
    """How far each element is from the mean, conjugated: d|z|² = 2 Re(conj(z) dz)."""
    d = x - mean(x, axis=axis, keepdims=True)
    return conj(d) if d.dtype.kind == "c" else d


def _mean_rule(g: Any, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Any:
    return spread(g * (1 / (count(shape, axis) or 1)), shape, axis, keepdims)


@op(x=_mean_rule, batch="along", linear=True)
def mean(xp: Any, x: Any, *, axis: Axis = None, keepdims: bool = False, dtype: DTypeLike = None) -> Any:
    """The mean over `axis` (None: all), of `dtype`, if given; of integers, in the default float dtype."""
    x = as_float(x)
    if dtype is None and xp is np and x.size:  # as NumPy's own, without its detour over Python: 2 us
        total = np.add.reduce(x, axis=axis, keepdims=keepdims, dtype=wide(x.dtype))
        return narrow(total / total.dtype.type(count(x.shape, axis)), x)
    return accumulated(xp.mean, x, dtype, axis=axis, keepdims=keepdims)


def average(x: Any, axis: Axis = None, weights: Any = None, keepdims: bool = False) -> Any:
    """Σ w x / Σ w over `axis` (None: all); without `weights` the mean.

    `weights` has the shape of x, or is a vector for one axis.  ValueError otherwise.
    """
    if weights is None:
        return mean(x, axis=axis, keepdims=keepdims)
    x, weights = fit([x, weights], "average")
    have, wanted = raw(weights).shape, raw(x).shape
    if len(have) == 1 and hasattr(axis, "__index__"):
        axis = checked_axis("average", axis, len(wanted))
        weights = reshape(weights, [-1 if i == axis else 1 for i in range(len(wanted))])
        fits = have[0] == wanted[axis]
    else:
        fits = have == wanted
    if not fits:
        raise ValueError(
            f"average: weights have shape {list(have)}; give the shape of x, {list(wanted)}, or a vector for one axis"
        )
    whole = sum(broadcast_to(weights, wanted), axis=axis, keepdims=keepdims)
    return divide(sum(multiply(x, weights), axis=axis, keepdims=keepdims), whole)


def nansum(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The sum over `axis` (None: all) of what is not NaN."""
    return sum(where(isnan(x), 0, x), axis=axis, keepdims=keepdims)


def nanmean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The mean over `axis` (None: all) of what is not NaN; NaN where all is."""
    x = boxed(x, "nanmean")
    dtype = x.dtype if is_inexact(x.dtype) else default_float()
    there = sum(astype(logical_not(isnan(x)), wide(dtype)), axis=axis, keepdims=keepdims)
    return astype(divide(nansum(astype(x, wide(dtype)), axis, keepdims), there), dtype)


def _extreme_rule(g: Any, x: Any, out: Any, axis: Axis, keepdims: bool) -> Any:
    x, out = raw(x), raw(out)
    ties = ((x == expand(out, x.shape, axis, keepdims)) | (x != x)).astype(g.dtype)  # NaN, if there is one, is it
    share = (ties / ties.sum(axis=axis, keepdims=True, dtype=wide(g.dtype))).astype(g.dtype, copy=False)
    return expand(g, x.shape, axis, keepdims) * share


@op(x=_extreme_rule, exact=("x", "out"), batch="along")
def max(xp: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The largest over `axis` (None: all), NaN if there is one.  ValueError if there is none.

    Kink: equal elements share the gradient, so do NaN.
    """
    return x.max(axis=axis, keepdims=keepdims)


@op(x=_extreme_rule, exact=("x", "out"), batch="along")
def min(xp: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The smallest over `axis` (None: all), NaN if there is one.  ValueError if there is none.

    Kink: equal elements share the gradient, so do NaN.
    """
    return x.min(axis=axis, keepdims=keepdims)


def _prod_rule(g: Any, x: Any, out: Any, axis: Axis, keepdims: bool) -> Any:
    """The product of all others."""
    if divisible(raw(out)):
        return expand(g, x.shape, axis, keepdims) * (expand(out, x.shape, axis, keepdims) / x)
    order = _last(axis, len(x.shape))
    others = products_of_others(rows_of(astype(x, wide(x.dtype)), axis))
    others = reshape(others, tuple([x.shape[i] for i in order]))
    back = tuple([order.index(i) for i in range(len(order))])
    return expand(g, x.shape, axis, keepdims) * permute_dims(others, back)


@op(x=_prod_rule, batch="along")
def prod(xp: Any, x: Any, *, axis: Axis = None, keepdims: bool = False, dtype: DTypeLike = None) -> Any:
    """The product over `axis` (None: all), of `dtype`, if given.  Derivatives of all orders are right at zeros."""
    return accumulated(xp.prod, x, dtype, axis=axis, keepdims=keepdims)


def _per_degree(part: int, shape: tuple[int, ...], axis: Axis, correction: float) -> float:
    """part / (count - correction), which is not below 0."""
    n = count(shape, axis) - correction
    return part / n if n > 0 else math.inf


@op(
    batch="along",
    x=lambda g, x, axis, correction, keepdims: (
        expand(g, x.shape, axis, keepdims) * (_distance(x, axis) * _per_degree(2, x.shape, axis, correction))
    ),
)
def var(xp: Any, x: Any, *, axis: Axis = None, correction: float = 0, keepdims: bool = False) -> Any:
    """The variance over `axis` (None: all): Σ |x - mean|² / (count - correction), of complex numbers a real one.

    Infinite or NaN where count - correction is not above 0, and so is the gradient.
    """
    x = as_float(x)
    dtype = None if x.dtype.kind == "c" else wide(x.dtype)  # of complex arrays it is real
    return narrow(x.var(axis=axis, ddof=correction, keepdims=keepdims, dtype=dtype), x)


@op(
    batch="along",
    x=lambda g, x, out, axis, correction, keepdims: (
        # where all are equal the distances are 0
        expand(g / where(out == 0, 1, out), x.shape, axis, keepdims)
        * (_distance(x, axis) * _per_degree(1, x.shape, axis, correction))
    ),
)
def std(xp: Any, x: Any, *, axis: Axis = None, correction: float = 0, keepdims: bool = False) -> Any:
    """The standard deviation over `axis` (None: all), the root of `var`.

    Of equal elements it is 0 where their mean is exact; a rounded mean lies beside them, and the gradient goes by that.

    Kink: 0 where all elements are equal.
    """
    x = as_float(x)
    dtype = None if x.dtype.kind == "c" else wide(x.dtype)  # of complex arrays it is real
    return narrow(x.std(axis=axis, ddof=correction, keepdims=keepdims, dtype=dtype), x)


def _logsumexp_rule(g: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    # Of x alone: `out`, being rounded, would not do.
    shape, x = x.shape, astype(x, wide(x.dtype))
    if not count(shape, axis):
        return spread(g, shape, axis, keepdims)
    share = exp_below(x, raw(x).max(axis=axis, keepdims=True))
    total = sum(share, axis=axis, keepdims=True)
    return expand(g, shape, axis, keepdims) * (share / where(raw(total) == 0, 1, total))


@op(x=_logsumexp_rule, batch="along")
def logsumexp(xp: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """log(sum(exp(x))) over `axis` (None: all), without overflow; -inf, where there is nothing.

    Kink: 0 where all are -inf; where some are inf, they share the gradient.
    """
    given = as_float(x)
    x = given.astype(wide(given.dtype), copy=False)
    if not x.size:
        return xp.full_like(given.sum(axis=axis, keepdims=keepdims), -np.inf)
    top = x.max(axis=axis, keepdims=True)
    finite = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    total = xp.exp(x - finite).sum(axis=axis, keepdims=True)
    y = xp.log(xp.where(total == 0, xp.ones_like(total), total)) + top  # 0: all are -inf, as is the largest
    return (y if keepdims else y.squeeze(axis)).astype(given.dtype, copy=False)


# ---------------------------------------------------------------------------------------------- no gradient
def _told(name: str, x: Any, axis: Any, keepdims: bool, method: str) -> Any:
    """What `method` of array x answers; its errors in the words of op `name`."""
    try:
        return getattr(x, method)(axis=tuple(axis) if isinstance(axis, list) else axis, keepdims=keepdims)
    except (ValueError, TypeError) as e:
        raise explain(name, e, (x,)) from None


@const
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Where the largest is, the first of equal ones, along `axis` (None: in the flattened array).  No gradient."""
    return _told("argmax", raw(x), axis, keepdims, "argmax")


@const
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Where the smallest is, the first of equal ones, along `axis` (None: in the flattened array).  No gradient."""
    return _told("argmin", raw(x), axis, keepdims, "argmin")


@const
def any(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Whether one element along `axis` (None: of all) is true."""
    return _told("any", raw(x), axis, keepdims, "any")


@const
def all(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Whether every element along `axis` (None: of all) is true."""
    return _told("all", raw(x), axis, keepdims, "all")


@const
def count_nonzero(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """How many elements along `axis` (None: of all) are not zero."""
    return _told("count_nonzero", raw(x) != 0, axis, keepdims, "sum")


# ---------------------------------------------------------------------------------------------- for the engine
def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """`g` summed to `shape` where the op broadcast its input, or spread to it where it did not need to be whole."""
    given = g.shape
    lead = len(given) - len(shape)
    if lead >= 0 and given[lead:] == shape:
        return sum(g, axis=tuple(range(lead)))
    axes = (*range(lead), *[i + lead for i, n in enumerate(shape) if lead + i >= 0 and n == 1 and given[i + lead] != 1])
    return reshape(sum(g, axis=axes), shape) if axes else broadcast_to(g, shape)
