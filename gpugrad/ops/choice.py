"""The larger, the smaller, limits; what stands for what is not finite."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
import operator
from typing import Any

import ml_dtypes

from ..array import xp as xp_of
from ..core import Tensor, raw
from ..dtypes import is_inexact
from ..forward import as_float, boxed, pair, select, ufunc
from ..op import elementwise
from .casting import view, zeros_like
from .gate import ZERO_ELSE, bits_where
from .logic import greater, isfinite, less, logical_or, not_equal, pick, where
from .math import add, imag, multiply, real


def _chosen(g: Any, x: Any, y: Any, beaten: Any) -> Any:
    """What of `g` an operand takes: nothing where it is beaten, half at a tie."""
    return where(beaten, 0, where(raw(x) == raw(y), g * 0.5, g))


def _two(forward: Any, beaten_x: Any, beaten_y: Any) -> Any:
    return elementwise(
        forward,
        x=lambda g, x, y: _chosen(g, x, y, beaten_x(raw(x), raw(y))),
        y=lambda g, x, y: _chosen(g, x, y, beaten_y(raw(x), raw(y))),
        exact=("x", "y"),
    )


_TIE = """

Complex numbers are ordered by their real parts, then by the imaginary ones, as in NumPy.

Kink: at a tie each takes half of the gradient."""
maximum = _two(
    ufunc("maximum", doc=f"The larger of x and y; NaN where one of them is.{_TIE}"),
    lambda x, y: x < y,
    lambda x, y: y < x,
)
minimum = _two(
    ufunc("minimum", doc=f"The smaller of x and y; NaN where one of them is.{_TIE}"),
    lambda x, y: x > y,
    lambda x, y: y > x,
)
fmax = _two(
    ufunc("fmax", doc=f"The larger of x and y; the other where one of them is NaN.{_TIE}"),
    lambda x, y: (x < y) | ((x != x) & (y == y)),
    lambda x, y: (y < x) | (y != y),
)
fmin = _two(
    ufunc("fmin", doc=f"The smaller of x and y; the other where one of them is NaN.{_TIE}"),
    lambda x, y: (x > y) | ((x != x) & (y == y)),
    lambda x, y: (y > x) | (y != y),
)


def _inside_bits(x: Any, min: Any, max: Any) -> Any:
    if all([bound is None or isinstance(bound, (int, float)) for bound in (min, max)]):
        return bits_where(lambda part: _inside(part, min, max), x)
    return xp_of(x).packbits(_inside(x, min, max).reshape(-1))


@elementwise(x=lambda g, x, min, max: pick(_inside(raw(x), min, max), g, 0), lean=(_inside_bits, *ZERO_ELSE))
def _clip(xp: Any, x: Any, *, min: Any = None, max: Any = None) -> Any:
    if min is not None:
        x = xp.maximum(*pair(x, min))
    return x if max is None else xp.minimum(*pair(x, max))


def _inside(x: Any, low: Any, high: Any) -> Any:
    inside = x == x
    if low is not None:
        inside = inside & operator.ge(*pair(x, low))  # a bound that is a number is rounded to the dtype of x
    return inside if high is None else inside & operator.le(*pair(x, high))


def clip(x: Any, min: Any = None, max: Any = None) -> Any:
    """x limited to [min, max], numbers or arrays, which have a gradient too where they limit x.

    ValueError for a number that is NaN, and for numbers with min > max.

    Kink: 1 for x at a bound.
    """
    for name, bound in (("min", min), ("max", max)):
        if isinstance(bound, float) and bound != bound:
            raise ValueError(f"clip: {name} is NaN; give a number, or None for no bound")
    if isinstance(min, (int, float)) and isinstance(max, (int, float)) and min > max:
        raise ValueError(f"clip: min {min} is above max {max}")
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        for bound, beyond in ((min, less), (max, greater)):
            if bound is not None:
                x = where(logical_or(beyond(x, bound), not_equal(bound, bound)), bound, x)  # a NaN limits, too
        return x
    return _clip(x, min=min, max=max)


@elementwise(x=lambda g: zeros_like(g), values=lambda g, x: where(raw(x) == 0, g, 0), exact=("x",))
def heaviside(xp: Any, x: Any, values: Any) -> Any:
    """0 for negative x, 1 for positive ones, `values` at 0.

    Kink: 0 for x at 0.
    """
    return xp.heaviside(as_float(x, values), as_float(values, x))


@elementwise(
    name="nan_to_num",
    x=lambda g, x: pick(isfinite(raw(x)), g, 0),
    lean=(lambda x: bits_where(isfinite, x), *ZERO_ELSE),
)
def _finite(xp: Any, x: Any, *, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    if not is_inexact(x.dtype):
        return view(x)
    kind, limits = x.dtype.type, ml_dtypes.finfo(x.dtype)
    high, low = limits.max if posinf is None else posinf, limits.min if neginf is None else neginf
    x = select(xp, x == math.inf, kind(high), select(xp, x == -math.inf, kind(low), x))
    return select(xp, xp.isnan(x), kind(nan), x)


def nan_to_num(x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """x with `nan` for NaN, `posinf` for inf and `neginf` for -inf (None: the dtype's largest and lowest number).

    Of complex numbers each part is replaced by itself.

    Kink: 0 where something is replaced.
    """
    x = boxed(x, "nan_to_num")
    if raw(x).dtype.kind != "c":
        return _finite(x, nan=nan, posinf=posinf, neginf=neginf)
    across, up = [_finite(part(x), nan=nan, posinf=posinf, neginf=neginf) for part in (real, imag)]
    return add(across, multiply(up, 1j))
