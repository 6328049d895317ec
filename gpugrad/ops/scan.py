"""Along one axis, step by step: running sums, products and extremes.

On a GPU a running extreme takes log2(n) steps, each for all elements at once (Hillis and Steele 1986); so does
`recurrence` everywhere.  Half types accumulate in float32.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from typing import Any

import numpy as np

from ..array import NUMPY, library, xp as xp_of
from ..core import raw
from ..dtypes import DTypeLike, wide
from ..forward import accumulated, as_float, boxed, checked_axis, narrow
from ..op import op
from .casting import astype
from .index import take_along_axis
from .logic import const, where
from .math import exp
from .pad import pad
from .shape import flip


def along(axis: int, ndim: int, part: slice) -> tuple[slice, ...]:
    """The index of `part` of one axis, and of all of the others."""
    return (*[slice(None)] * (axis % ndim), part)


@op(x=lambda g, axis, back: shifted(g, axis=axis, back=not back), batch="along")
def shifted(xp: Any, x: Any, *, axis: int, back: bool = False, fill: float = 0) -> Any:
    """Each element one place further along `axis`, or one back, and `fill` in the place that is left."""
    out = xp.full(x.shape, fill, x.dtype)
    early, late = along(axis, x.ndim, slice(None, -1)), along(axis, x.ndim, slice(1, None))
    if back:
        out[early] = x[late]
    else:
        out[late] = x[early]
    return out


@op(
    via=lambda g, a, axis, back: recurrence(shifted(a, axis=axis, back=not back), g, axis=axis, back=not back),
    a=lambda g, out, axis, back: g * shifted(out, axis=axis, back=back),
    b=lambda g: g,
    batch="along",
)
def recurrence(xp: Any, a: Any, b: Any, *, axis: int, back: bool = False) -> Any:
    """h[i] = a[i] h[i-1] + b[i] along `axis`, or h[i] = a[i] h[i+1] + b[i] if `back`; a[i] of the first is not used.

    Its pullback is the recurrence the other way round: l[i] = g[i] + a[i+1] l[i+1].  Half types become float32.
    """
    dtype = np.result_type(wide(a.dtype), wide(b.dtype))
    a, b = xp.array(a, dtype), xp.array(b, dtype)
    step, n = 1, b.shape[axis]
    while step < n:  # h[i] = a[i] h[i-step] + b[i] becomes the same with twice the step
        now, other = along(axis, b.ndim, slice(step, None)), along(axis, b.ndim, slice(None, -step))
        if back:
            now, other = other, now
        b[now] = b[now] + a[now] * b[other]
        a[now] = a[now] * a[other]
        step *= 2
    return b


# ---------------------------------------------------------------------------------------------- sums and products
def _accumulated(f: Any, x: Any, axis: Any, dtype: Any) -> Any:
    if axis is None or not x.ndim:
        raise ValueError("axis is an integer; for the flattened array write x.reshape(-1)")
    return accumulated(f, x, dtype, axis=axis)


@op(x=lambda g, axis: flip(cumsum(flip(g, axis=axis), axis=axis), axis=axis), batch="along", linear=True)
def cumsum(xp: Any, x: Any, *, axis: int = -1, dtype: DTypeLike = None) -> Any:
    """Running sums along `axis`, an integer; of `dtype`, if given."""
    return _accumulated(xp.cumsum, x, axis, dtype)


def running_sum(x: Any, axis: int = -1, exclusive: bool = False, reverse: bool = False) -> Any:
    """`cumsum`; `exclusive`: without the element itself; `reverse`: from the end."""
    x = flip(x, axis=axis) if reverse else x
    out = cumsum(x, axis=axis)
    out = out - x if exclusive else out
    return flip(out, axis=axis) if reverse else out


def divisible(out: Any) -> bool:
    """Whether no product is 0, infinite or too small to have all digits: asked on the CPU, where it is soon seen."""
    if library(out) is not NUMPY or wide(out.dtype) != out.dtype:
        return False
    size = np.abs(out)
    return bool(((size >= np.finfo(out.dtype).tiny) & (size < np.inf)).all())


def _cumprod_rule(g: Any, x: Any, out: Any, axis: int) -> Any:
    if divisible(raw(out)):
        with np.errstate(over="ignore"):
            each = g * out
        if divisible(np.where(raw(g) == 0, 1, raw(each))):
            return running_sum(each, axis, reverse=True) / x
    # The product of those before, times l[i] = g[i] + x[i+1] l[i+1]: nothing is divided by, so zeros do no harm.
    x, out = astype(x, wide(x.dtype)), astype(out, wide(out.dtype))
    return shifted(out, axis=axis, fill=1) * recurrence(shifted(x, axis=axis, back=True), g, axis=axis, back=True)


@op(x=_cumprod_rule, batch="along")
def cumprod(xp: Any, x: Any, *, axis: int = -1, dtype: DTypeLike = None) -> Any:
    """Running products along `axis`, an integer; of `dtype`, if given.  All derivatives are right at zeros."""
    return _accumulated(xp.cumprod, x, axis, dtype)


def products_of_others(x: Any) -> Any:
    """For each element the product of all others along the last axis."""
    before = shifted(cumprod(x, axis=-1), axis=-1, fill=1)
    x = flip(x, axis=-1)
    return before * flip(shifted(cumprod(x, axis=-1), axis=-1, fill=1), axis=-1)


def _cumulative(f: Any, start: int, x: Any, axis: int | None, dtype: DTypeLike, include_initial: bool) -> Any:
    name = f"cumulative_{f.__name__.removeprefix('cum')}"
    x = boxed(x, name)
    n = raw(x).ndim
    if axis is None and n != 1:
        raise ValueError(f"{name}: axis may be left out for a vector only; x has {n} axes")
    axis = checked_axis(name, 0 if axis is None else axis, n)
    out = f(x, axis=axis, dtype=dtype)
    before = [(int(include_initial and i == axis), 0) for i in range(n)]
    return pad(out, before, constant_values=start) if include_initial else out


def cumulative_sum(x: Any, axis: int | None = None, dtype: DTypeLike = None, include_initial: bool = False) -> Any:
    """Running sums along `axis`, which a vector need not say; `include_initial`: after a 0."""
    return _cumulative(cumsum, 0, x, axis, dtype, include_initial)


def cumulative_prod(x: Any, axis: int | None = None, dtype: DTypeLike = None, include_initial: bool = False) -> Any:
    """Running products along `axis`, which a vector need not say; `include_initial`: after a 1."""
    return _cumulative(cumprod, 1, x, axis, dtype, include_initial)


# ---------------------------------------------------------------------------------------------- extremes
def _running(xp: Any, x: Any, name: str, axis: int) -> Any:
    """The running result of the ufunc `name`; CuPy's ufuncs do not accumulate."""
    combine = getattr(xp, name)
    if xp is np:
        return combine.accumulate(x, axis)
    out, step = xp.array(x), 1
    while step < x.shape[axis]:
        late, early = along(axis, x.ndim, slice(step, None)), along(axis, x.ndim, slice(None, -step))
        out[late] = combine(out[late], out[early])
        step *= 2
    return out


@const
def _running_places(x: Any, axis: int, extreme: str) -> Any:
    """Where the largest or smallest so far is, the last of equal ones; or the last NaN."""
    x = raw(x).astype(wide(x.dtype), copy=False)
    xp = xp_of(x)
    steps = xp.arange(x.shape[axis]).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    new = (x == _running(xp, x, extreme, axis)) | (x != x)
    return _running(xp, xp.where(new, steps, 0), "maximum", axis)


def _ordered(name: str, x: Any, axis: Any) -> tuple[Any, int]:
    """(x, axis) of an op on numbers that have an order."""
    x = boxed(x, name)
    if raw(x).dtype.kind == "c":
        raise TypeError(f"{name}: complex numbers have no order; x is of dtype {raw(x).dtype}")
    return x, checked_axis(name, axis, raw(x).ndim)


def _running_extreme(name: str, extreme: str, x: Any, axis: int) -> tuple[Any, Any]:
    x, axis = _ordered(name, x, axis)
    places = _running_places(x, axis, extreme)
    return take_along_axis(x, raw(places), axis), places


def cummax(x: Any, axis: int = -1) -> tuple[Any, Any]:
    """(the largest so far along `axis`, where it is).  A NaN stays.  TypeError for complex numbers.

    Kink: of equal elements the last so far has the index and the gradient.
    """
    return _running_extreme("cummax", "maximum", x, axis)


def cummin(x: Any, axis: int = -1) -> tuple[Any, Any]:
    """(the smallest so far along `axis`, where it is).  A NaN stays.  TypeError for complex numbers.

    Kink: of equal elements the last so far has the index and the gradient.
    """
    return _running_extreme("cummin", "minimum", x, axis)


def exp_below(x: Any, top: Any) -> Any:
    """exp(x - top) for an array `top` that no x is above; where that is infinite, 1 for x = inf, 0 for others."""
    xp = xp_of(top)
    endless = xp.isinf(top)
    ends = xp.where(raw(x) == np.inf, 0.0, -np.inf).astype(top.dtype)
    return exp(where(endless, ends, x - xp.where(endless, 0, top).astype(top.dtype)))


def _cumlogsumexp_rule(g: Any, x: Any, axis: int) -> Any:
    # Σ g[k] exp(x[i] - m[k]) / s[k] over k from i on, m being the largest so far and s[k] = Σ exp(x[j] - m[k]).  Both
    # sums are recurrences, whose factors exp(m[k-1] - m[k]) are at most 1.  `out`, being rounded, would not do.
    x = astype(x, wide(x.dtype))
    xp, top = xp_of(raw(x)), _running(xp_of(raw(x)), raw(x), "maximum", axis)
    before = shifted(top, axis=axis, fill=-np.inf)
    same = before == top  # perhaps infinite
    fall = xp.exp(xp.where(same, 0, before) - xp.where(same, 0, top)).astype(top.dtype)
    share = exp_below(x, top)
    total = recurrence(fall, share, axis=axis)
    total = where(raw(total) == 0, 1, total)
    return share * recurrence(shifted(fall, axis=axis, back=True), g / total, axis=axis, back=True)


@op(x=_cumlogsumexp_rule, name="cumlogsumexp", batch="along")
def _cumlogsumexp(xp: Any, x: Any, *, axis: int) -> Any:
    x = as_float(x)
    return narrow(_running(xp, x.astype(wide(x.dtype), copy=False), "logaddexp", axis), x)


def cumlogsumexp(x: Any, axis: int = -1) -> Any:
    """log(cumsum(exp(x))) along `axis`, an integer, without overflow.  TypeError for complex numbers.

    Kink: 0 where all so far are -inf.
    """
    x, axis = _ordered("cumlogsumexp", x, axis)
    return _cumlogsumexp(x, axis=axis)
