"""Sums, means, extremes and other reductions.  Half types accumulate in float32.

Kinks: max and min share the gradient equally among ties.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ..array import xp as xp_of
from ..core import raw
from ..dtypes import wide
from ..forward import as_float
from ..fused import column_sums
from ..kernels import usable
from ..op import op
from .logic import const, where
from .math import conj, exp
from .shape import broadcast_to, flip, permute_dims, reshape

Axis = int | tuple[int, ...] | None


def axes_of(axis: Axis, ndim: int) -> tuple[int, ...]:
    """`axis` as a tuple of non-negative numbers."""
    if axis is None:
        return tuple(range(ndim))
    return tuple([a % ndim for a in ((axis,) if hasattr(axis, "__index__") else axis)]) if ndim else ()


def axis_of(name: str, axis: Any, ndim: int) -> int:
    """`axis`, one integer, from 0 on.  ValueError, in the words of op `name`, if there is no such axis."""
    if not (hasattr(axis, "__index__") and -ndim <= axis < ndim):
        raise ValueError(f"{name}: axis {axis} is none of an array of {ndim} axes; give an integer")
    return operator.index(axis) % ndim


def _plain(axis: Any) -> Axis:
    return tuple(axis) if isinstance(axis, list) else axis


def count(shape: tuple[int, ...], axis: Axis) -> int:
    """How many elements each result is made of."""
    if axis is None:
        return math.prod(shape)
    return math.prod([shape[a] for a in axes_of(axis, len(shape))])


def _share(part: float, whole: float) -> float:
    """part / whole, as floats divide."""
    return part / whole if whole else math.nan if not part else math.copysign(math.inf, part)


def expand(g: Any, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Any:
    """`g`, reduced over `axis` of `shape`, with the reduced axes back as ones."""
    if keepdims or (axis is None and not g.shape):
        return g
    axes = axes_of(axis, len(shape))
    return reshape(g, tuple([1 if i in axes else n for i, n in enumerate(shape)]))


def spread(g: Any, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Any:
    """The pullback of `sum`: `g` on every element that went into it."""
    return broadcast_to(expand(g, shape, axis, keepdims), shape)


def _narrow(out: Any, x: Any) -> Any:
    return out if out.dtype is x.dtype or wide(x.dtype) is x.dtype else out.astype(x.dtype)


def _sum(xp: Any, x: Any, *, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Any:
    """The sum over `axis` (None: all)."""
    if dtype is None and wide(x.dtype) is not x.dtype:
        return x.sum(axis=axis, keepdims=keepdims, dtype=wide(x.dtype)).astype(x.dtype)
    if xp is np:  # without the detour over the method, 1 us
        return np.add.reduce(x, axis=axis, keepdims=keepdims, dtype=dtype)
    return x.sum(axis=axis, keepdims=keepdims, dtype=dtype)


def _sum_gpu(xp: Any, x: Any, *, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Any:
    """Sums down the columns of contiguous arrays, the gradient of a bias, by our own kernel."""
    if axis is None or keepdims or dtype is not None or x.ndim < 2 or not (usable(x) and x.flags.c_contiguous):
        return _sum(xp, x, axis=axis, keepdims=keepdims, dtype=dtype)
    if sorted(axes_of(axis, x.ndim)) != list(range(x.ndim - 1)):
        return _sum(xp, x, axis=axis)
    return column_sums(x)


sum = op(_sum, name="sum", gpu=_sum_gpu, x=lambda g, shape, axis, keepdims: spread(g, shape, axis, keepdims))


def _distance(x: Any, axis: Axis) -> Any:
    """How far each element is from the mean, conjugated: d|z|² = 2 Re(conj(z) dz)."""
    d = x - mean(x, axis=axis, keepdims=True)
    return conj(d) if d.dtype.kind == "c" else d


def _mean_rule(g: Any, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Any:
    return spread(g * (1 / (count(shape, axis) or 1)), shape, axis, keepdims)


@op(x=_mean_rule)
def mean(xp: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The mean over `axis` (None: all); of integers, in the default float dtype."""
    x = as_float(x)
    if xp is np and x.size:  # as NumPy's own, without its detour over Python: 2 us
        total = np.add.reduce(x, axis=axis, keepdims=keepdims, dtype=wide(x.dtype))
        return _narrow(total / total.dtype.type(count(x.shape, axis)), x)
    return _narrow(x.mean(axis=axis, keepdims=keepdims, dtype=wide(x.dtype)), x)


def _extreme_rule(g: Any, x: Any, out: Any, axis: Axis, keepdims: bool) -> Any:
    x, out = raw(x), raw(out)
    ties = (x == expand(out, x.shape, axis, keepdims)).astype(g.dtype)
    share = (ties / ties.sum(axis=axis, keepdims=True, dtype=wide(g.dtype))).astype(g.dtype, copy=False)
    return expand(g, x.shape, axis, keepdims) * share


@op(x=_extreme_rule)
def max(xp: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The largest over `axis` (None: all)."""
    return x.max(axis=axis, keepdims=keepdims)


@op(x=_extreme_rule)
def min(xp: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The smallest over `axis` (None: all)."""
    return x.min(axis=axis, keepdims=keepdims)


def _prod_rule(g: Any, x: Any, out: Any, axis: Axis, keepdims: bool) -> Any:
    if (raw(out) != 0).all():
        return expand(g * out, x.shape, axis, keepdims) / x
    # With zeros: the product of the others, as the product of rows in which one's own place holds 1.
    axes = axes_of(axis, len(x.shape))
    rest = tuple([i for i in range(len(x.shape)) if i not in axes])
    order = rest + axes
    moved = permute_dims(x, order)
    n = count(x.shape, axis)
    rows = reshape(moved, (*moved.shape[: len(rest)], 1, n))
    eye = xp_of(raw(x)).eye(n, dtype=bool)
    others = reshape(prod(where(eye, 1, rows), axis=-1), moved.shape)
    back = tuple([order.index(i) for i in range(len(order))])
    return expand(g, x.shape, axis, keepdims) * permute_dims(others, back)


@op(x=_prod_rule)
def prod(xp: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The product over `axis` (None: all).  The gradient is right where factors are zero."""
    return _narrow(x.prod(axis=axis, keepdims=keepdims, dtype=wide(x.dtype) if x.dtype.kind not in "iub" else None), x)


@op(
    x=lambda g, x, axis, correction, keepdims: (
        expand(g, x.shape, axis, keepdims) * (_distance(x, axis) * _share(2, count(x.shape, axis) - correction))
    )
)
def var(xp: Any, x: Any, *, axis: Axis = None, correction: float = 0, keepdims: bool = False) -> Any:
    """The variance over `axis`: squared distances from the mean over (count - correction)."""
    x = as_float(x)
    dtype = None if x.dtype.kind == "c" else wide(x.dtype)  # of complex arrays it is real
    return _narrow(x.var(axis=axis, ddof=correction, keepdims=keepdims, dtype=dtype), x)


@op(
    x=lambda g, x, out, axis, correction, keepdims: (
        # where all are equal the distances are 0, and so is the gradient
        expand(g / where(out == 0, 1, out), x.shape, axis, keepdims)
        * (_distance(x, axis) * _share(1, count(x.shape, axis) - correction))
    )
)
def std(xp: Any, x: Any, *, axis: Axis = None, correction: float = 0, keepdims: bool = False) -> Any:
    """The standard deviation over `axis`, the root of `var`."""
    x = as_float(x)
    dtype = None if x.dtype.kind == "c" else wide(x.dtype)  # of complex arrays it is real
    return _narrow(x.std(axis=axis, ddof=correction, keepdims=keepdims, dtype=dtype), x)


@op(
    x=lambda g, x, out, axis, keepdims: (
        expand(g, x.shape, axis, keepdims) * exp(x - expand(out, x.shape, axis, keepdims))
    )
)
def logsumexp(xp: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """log(sum(exp(x))) over `axis`, without overflow."""
    given = as_float(x)
    x = given.astype(wide(given.dtype), copy=False)
    top = x.max(axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    y = xp.log(xp.exp(x - top).sum(axis=axis, keepdims=True)) + top
    return (y if keepdims else y.squeeze(axis)).astype(given.dtype, copy=False)


@op(x=lambda g, axis: flip(cumsum(flip(g, axis=axis), axis=axis), axis=axis))
def cumsum(xp: Any, x: Any, *, axis: int = -1) -> Any:
    """Running sums along `axis`, an integer."""
    if axis is None:
        raise ValueError("axis is an integer; for the flattened array write cumsum(x.reshape(-1))")
    return _narrow(xp.cumsum(x, axis=axis, dtype=wide(x.dtype) if x.dtype.kind not in "iub" else None), x)


def running_sum(x: Any, axis: int = -1, exclusive: bool = False, reverse: bool = False) -> Any:
    """`cumsum`; `exclusive`: without the element itself; `reverse`: from the end."""
    x = flip(x, axis=axis) if reverse else x
    out = cumsum(x, axis=axis)
    out = out - x if exclusive else out
    return flip(out, axis=axis) if reverse else out


@const
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Where the largest is, along `axis` (None: in the flattened array).  Integers, no gradient."""
    return raw(x).argmax(axis=axis, keepdims=keepdims)


@const
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Where the smallest is, along `axis` (None: in the flattened array).  Integers, no gradient."""
    return raw(x).argmin(axis=axis, keepdims=keepdims)


@const
def any(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Whether one element along `axis` is true."""
    return raw(x).any(axis=_plain(axis), keepdims=keepdims)


@const
def all(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Whether every element along `axis` is true."""
    return raw(x).all(axis=_plain(axis), keepdims=keepdims)


@const
def count_nonzero(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """How many elements along `axis` are not zero."""
    return (raw(x) != 0).sum(axis=_plain(axis), keepdims=keepdims)


# ---------------------------------------------------------------------------------------------- for the engine
def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """`g` summed to `shape` where the op broadcast its input, or spread to it where it did not need to be whole."""
    given = g.shape
    lead = len(given) - len(shape)
    if lead >= 0 and given[lead:] == shape:
        return sum(g, axis=tuple(range(lead)))
    axes = (*range(lead), *[i + lead for i, n in enumerate(shape) if lead + i >= 0 and n == 1 and given[i + lead] != 1])
    return reshape(sum(g, axis=axes), shape) if axes else broadcast_to(g, shape)
