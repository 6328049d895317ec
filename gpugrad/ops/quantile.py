"""Quantiles and the median: the elements at some places of what is sorted, or between two of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..array import to_host, xp as xp_of
from ..core import raw
from ..dtypes import default_float, is_inexact, wide
from ..forward import boxed, checked_axes, placed
from .casting import astype
from .index import getitem, take_along_axis
from .logic import const, isnan, where
from .reduce import Axis, count, rows_of
from .shape import moveaxis, reshape

# (alpha, beta) of Hyndman and Fan (1996): the quantile q of n sorted elements is at n q + alpha + q (1 - alpha - beta),
# counted from 1.
_BETWEEN = {
    "linear": (1.0, 1.0),
    "hazen": (0.5, 0.5),
    "weibull": (0.0, 0.0),
    "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (3 / 8, 3 / 8),
    "interpolated_inverted_cdf": (0.0, 1.0),
}
_ROUNDED = {
    "lower": np.floor,
    "higher": np.ceil,
    "nearest": np.rint,
    "midpoint": lambda at: (np.floor(at) + np.ceil(at)) / 2,
}


# Those that jump from one element to the next, by n q.
_STEPS = {
    "inverted_cdf": lambda at: np.ceil(at) - 1,
    "averaged_inverted_cdf": lambda at: np.where(at == np.floor(at), at - 0.5, np.ceil(at) - 1),
    "closest_observation": lambda at: np.rint(at) - 1,
}
METHODS = [*_BETWEEN, *_ROUNDED, *_STEPS]


def _place(q: np.ndarray, n: int, method: str) -> np.ndarray:
    """Where each q is among n sorted elements."""
    if method in _STEPS:
        return np.clip(_STEPS[method](n * q), 0, n - 1)
    a, b = _BETWEEN.get(method, (1.0, 1.0))
    at = np.clip((n - 1) * q + (a - 1) * (1 - q) + (1 - b) * q, 0, n - 1)
    return _ROUNDED[method](at) if method in _ROUNDED else at


@const
def _order(x: Any, wanted: np.ndarray) -> Any:
    """The indices of the elements that belong at the places `wanted` of each row, were it sorted."""
    x = raw(x).astype(wide(x.dtype), copy=False)
    order = xp_of(x).argpartition(x, sorted({int(i) for i in wanted}), axis=-1)
    return order[..., placed(wanted, order)]


def _quantile(name: str, x: Any, q: Any, axis: Axis, keepdims: bool, method: str) -> Any:
    x = boxed(x, name)
    shape, dtype = raw(x).shape, raw(x).dtype
    axes = checked_axes(name, axis, len(shape))
    if dtype.kind == "c":
        raise TypeError(f"{name}: complex numbers have no order; x is of dtype {dtype}")
    if method not in METHODS:
        raise ValueError(f"{name}: method {method!r} is none of {', '.join(METHODS)}")
    q = np.asarray(to_host(raw(q)), np.float64)
    if not ((q >= 0) & (q <= 1)).all():
        raise ValueError(f"{name}: q is from 0 to 1, not {q}")
    n = count(shape, axes)
    if not n:
        raise ValueError(f"{name}: there are no elements over axis {axis} of shape {list(shape)}")
    rows = rows_of(x if is_inexact(dtype) else astype(x, default_float()), axes)
    at = _place(q.reshape(-1), n, method)
    low, high = np.floor(at), np.ceil(at)
    part = at - low
    wanted = np.concatenate([low, high, [n - 1]]).astype(np.int64)  # the last is NaN if one is
    chosen = take_along_axis(rows, raw(_order(rows, wanted)), -1)
    chosen = astype(chosen, wide(chosen.dtype))
    below, above, last = [getitem(chosen, (..., s)) for s in (slice(q.size), slice(q.size, -1), slice(-1, None))]
    # From the nearer one, so that it neither leaves the two nor falls; from an end that is infinite, 0 * inf being NaN.
    xp, lower, upper = xp_of(raw(x)), raw(below), raw(above)
    near = (xp.asarray(part < 0.5) & ~xp.isinf(lower)) | xp.isinf(upper)
    part = (xp.asarray(part) - xp.logical_not(near)).astype(chosen.dtype)
    twins = xp.isinf(lower) & (lower == upper)
    step = where(twins, 0, above - where(twins, 0, below))
    out = where(near, below, above) + step * part
    out = astype(where(isnan(last), last, out), rows.dtype)
    kept = [1 if i in axes else m for i, m in enumerate(shape) if keepdims or i not in axes]
    return reshape(moveaxis(out, -1, 0), (*q.shape, *kept))


def quantile(x: Any, q: Any, axis: Axis = None, keepdims: bool = False, method: str = "linear") -> Any:
    """The value below which a part `q`, from 0 to 1, of the elements over `axis` (None: all) lies.

    q is a number or an array, read on the host, of no gradient; its axes come first in the result, as in NumPy.
    Between two elements `method` says what to take: "linear", "lower", "higher", "nearest", "midpoint", or of NumPy's
    others "hazen", "weibull", "median_unbiased", "normal_unbiased", "interpolated_inverted_cdf", "inverted_cdf",
    "averaged_inverted_cdf", "closest_observation".  NaN where one element is NaN.  Integers become the default float
    dtype.  ValueError for another method, a q outside [0, 1], a wrong axis and no elements; TypeError for complex
    numbers.

    Kink: of equal elements any one has the gradient.
    """
    return _quantile("quantile", x, q, axis, keepdims, method)


def median(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The middle element over `axis` (None: all); of an even number the mean of the two in the middle, as in NumPy.

    PyTorch takes the lower of the two: `quantile(x, 0.5, method="lower")`.  NaN where one element is NaN; errors as of
    `quantile`.

    Kink: of equal elements any one has the gradient.
    """
    return _quantile("median", x, 0.5, axis, keepdims, "linear")
