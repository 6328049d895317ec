"""Element by element: arithmetic, powers, complex numbers, exponentials, trigonometry.

A rule goes by what stays exact and in range: `hypot` and `asinh` do not square what a half type may not hold.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import builtins
import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..array import asarray, device_of, library
from ..core import raw, wrap
from ..dtypes import bool_, complex128, float64, wide
from ..forward import as_float, boxed, number, select, ufunc
from ..fused import activate, activate_grad
from ..op import elementwise, op
from .blocks import PART, by_blocks, fits
from .casting import astype, view, zeros_like
from .logic import signbit, where

LN2, LN10, INF = math.log(2), math.log(10), math.inf


# ---------------------------------------------------------------------------------------------- arithmetic
add = elementwise(ufunc("add", doc="x + y."), x=lambda g: g, y=lambda g: g)
subtract = elementwise(ufunc("subtract", doc="x - y."), x=lambda g: g, y=lambda g: -g)
multiply = elementwise(ufunc("multiply", doc="x y."), x=lambda g, y: g * y, y=lambda g, x: g * x, linear="each")
negative = elementwise(ufunc("negative", doc="-x."), x=lambda g: -g)


def total(xs: Sequence[Any]) -> Any:
    """The sum of all tensors.  ValueError if there is none."""
    if not xs:
        raise ValueError("total: inputs must be an iterable of at least one tensor")
    return functools.reduce(add, xs)


positive = elementwise(ufunc("positive", doc="x itself, a new tensor."), x=lambda g: g)


@elementwise(x=lambda g, y: g / y, y=lambda g, y, out: -g * out / y)
def divide(xp: Any, x: Any, y: Any) -> Any:
    """x / y; integers are divided as floats."""
    return xp.true_divide(as_float(x, y), as_float(y, x))


def _power(xp: Any, x: Any, y: Any) -> Any:
    """x ** y.

    Kink: at x = 0 the gradient for y is 0, the limit for y > 0, and at x = y = 0 that for x is 0, too.
    """
    return x**y


_power.host = operator.pow  # squares faster than numpy.power


def _pow_x(g: Any, x: Any, y: Any) -> Any:
    if isinstance(y, (bool, int, float, complex)):
        return zeros_like(g) if y == 0 else g * (x * 2) if y == 2 else g * (x ** (y - 1) * y)
    return g * y * x ** where((raw(x) == 0) & (raw(y) == 0), 1, y - 1)


def _pow_y(g: Any, x: Any, out: Any) -> Any:
    if isinstance(x, (bool, int, float, complex)):
        return zeros_like(g) if x == 0 else g * out * np.log(complex(x) if g.dtype.kind == "c" else x).item()
    at_zero = raw(x) == 0
    return where(at_zero, 0, g * out * log(astype(where(at_zero, 1, x), g.dtype)))


pow = elementwise(_power, name="pow", x=_pow_x, y=_pow_y)


def float_power(x: Any, y: Any) -> Any:
    """x ** y in float64, or in complex128 where one of them is complex."""
    arrays = [a for a in map(raw, (x, y)) if library(a) is not None]
    kinds = [np.asarray(v).dtype.kind if library(raw(v)) is None else raw(v).dtype.kind for v in (x, y)]
    wanted, place = complex128 if "c" in kinds else float64, device_of(arrays[0]) if arrays else None

    def widened(v: Any) -> Any:
        if library(raw(v)) is not None:
            return astype(v, wanted)
        return v if arrays and isinstance(v, (int, float, complex)) else wrap(asarray(v, wanted, place))

    return pow(widened(x), widened(y))


square = elementwise(ufunc("square", doc="x²."), x=lambda g, x: g * (x * 2))
sqrt = elementwise(ufunc("sqrt", True, "√x.\n\nKink: infinite at 0."), x=lambda g, out: g * 0.5 / out)


@elementwise(x=lambda g, out: g * (out * out * out) * -0.5)
def rsqrt(xp: Any, x: Any) -> Any:
    """1 / √x."""
    return xp.reciprocal(xp.sqrt(as_float(x)))


cbrt = elementwise(ufunc("cbrt", True, "∛x.\n\nKink: infinite at 0."), x=lambda g, out: g / (out * out * 3))


@elementwise(
    x=lambda g, weight: g * (1 - weight),
    y=lambda g, weight: g * weight,
    weight=lambda g, x, y: g * (y - x),
)
def lerp(xp: Any, x: Any, y: Any, weight: Any) -> Any:
    """x + weight (y - x), on the way from x to y: x itself at weight 0 and y at weight 1."""
    x, y, weight = as_float(x), as_float(y, x), as_float(weight, x)
    step = y - x
    first, second = x + step * weight, y - step * (1 - weight)
    if not hasattr(weight, "dtype"):
        return first if builtins.abs(weight) < 0.5 else second
    return select(xp, xp.abs(weight) < 0.5, first, second)


reciprocal = elementwise(ufunc("reciprocal", True, "1 / x."), x=lambda g, out: -g * out * out)


# ---------------------------------------------------------------------------------------------- complex numbers
@elementwise(x=lambda g, x: g * (conj(sign(x)) if x.dtype.kind == "c" else _sign(x)))
def abs(xp: Any, x: Any) -> Any:
    """|x|; of a complex array, a real one.

    Kink: 0 at 0.
    """
    return xp.abs(x)


_sign = elementwise(ufunc("sign"), x=lambda g: zeros_like(g))


def sign(x: Any) -> Any:
    """-1, 0 or 1; of a complex number x / |x|, which is not flat.

    Kink: 0 at 0.
    """
    if getattr(raw(x), "dtype", bool_).kind != "c":
        return _sign(x)
    size = abs(x)
    return where(raw(size) == 0, 0, x / where(size == 0, 1, size))


@op(x=lambda g: conj(g), batch="broadcast", linear=True)
def conj(xp: Any, x: Any) -> Any:
    """The complex conjugate; a real array itself."""
    return xp.conj(x) if x.dtype.kind == "c" else view(x)


@op(x=lambda g: g, batch="broadcast", linear=True)
def real(xp: Any, x: Any) -> Any:
    """The real part."""
    return x.real if x.dtype.kind == "c" else view(x)


@op(x=lambda g: g * -1j, batch="broadcast", linear=True)  # of a real x the engine takes the real part, 0
def imag(xp: Any, x: Any) -> Any:
    """The imaginary part; of a real array, zeros."""
    return x.imag if x.dtype.kind == "c" else xp.zeros_like(x)


@elementwise(name="angle", x=lambda g: zeros_like(g))
def _half_turn(xp: Any, x: Any) -> Any:
    x = as_float(x)
    return select(xp, xp.isnan(x), x, (x < 0) * x.dtype.type(math.pi))


def angle(x: Any) -> Any:
    """The angle of complex numbers with the positive axis; of real ones 0, and π for negative ones.

    Kink: 0 at 0.
    """
    x = boxed(x, "angle")
    return atan2(imag(x), real(x)) if raw(x).dtype.kind == "c" else _half_turn(x)


@elementwise(
    x=lambda g, x, out: where(raw(x) == 0, 0, where(signbit(raw(x)) == signbit(raw(out)), g, -g)),
    y=lambda g: zeros_like(g),
)
def copysign(xp: Any, x: Any, y: Any) -> Any:
    """|x| with the sign of y, that of a zero included.

    Kink: 0 at x = 0.
    """
    return xp.copysign(as_float(x, y), as_float(y, x))


# ---------------------------------------------------------------------------------------------- exponentials
exp = elementwise(ufunc("exp", True, "exp(x)."), x=lambda g, out: g * out)
exp2 = elementwise(ufunc("exp2", True, "2 ** x."), x=lambda g, out: g * (out * LN2))
expm1 = elementwise(ufunc("expm1", True, "exp(x) - 1, exact for small x."), x=lambda g, x: g * exp(x))
log = elementwise(ufunc("log", True, "The natural logarithm."), x=lambda g, x: g / x)
log2 = elementwise(ufunc("log2", True, "The logarithm to base 2."), x=lambda g, x: g / (x * LN2))
log10 = elementwise(ufunc("log10", True, "The logarithm to base 10."), x=lambda g, x: g / (x * LN10))
_log1p_real = ufunc("log1p", True)


@elementwise(x=lambda g, x: g / (x + 1))
def log1p(xp: Any, x: Any) -> Any:
    """log(1 + x), exact for small x."""
    if x.dtype.kind != "c":
        return _log1p_real(xp, x)
    small = xp.abs(x) < 0.5  # NumPy's own adds 1 to them
    z = select(xp, small, x, x.dtype.type(0))
    a, b = z.real, z.imag
    near = xp.log1p(a * (a + 2) + b * b) * 0.5 + xp.arctan2(b, a + 1) * 1j
    return select(xp, small, near, xp.log(x + 1))


@elementwise(x=lambda g, x: g * (_share(x) * _share(-x)))
def _share(xp: Any, x: Any) -> Any:
    """1 / (1 + exp(-x)).  Its rule goes by x: 1 less the output has no digits where that is 1."""
    return xp.exp(xp.minimum(x, x.dtype.type(0))) / (xp.exp(-xp.abs(x)) + 1)


def _weight(x: Any, y: Any, scale: float) -> Any:
    """The part of x in the sum: 0 where both are -inf, 1 for each that is the inf."""
    equal = (raw(x) == raw(y)) & ((raw(x) == INF) | (raw(x) == -INF))
    return _share((x - where(equal, 0, y)) * scale)


def _log_of_sum(forward: Any, scale: float) -> Any:
    return elementwise(forward, x=lambda g, x, y: g * _weight(x, y, scale), y=lambda g, x, y: g * _weight(y, x, scale))


_NEVER = ", without overflow.\n\nKink: 0 for both where both are -inf."
logaddexp = _log_of_sum(ufunc("logaddexp", True, f"log(exp(x) + exp(y)){_NEVER}"), 1.0)
logaddexp2 = _log_of_sum(ufunc("logaddexp2", True, f"The logarithm to base 2 of 2 ** x + 2 ** y{_NEVER}"), LN2)


# ---------------------------------------------------------------------------------------------- trigonometry
sin = elementwise(ufunc("sin", True, "The sine."), x=lambda g, x: g * cos(x))
cos = elementwise(ufunc("cos", True, "The cosine."), x=lambda g, x: -g * sin(x))
tan = elementwise(ufunc("tan", True, "The tangent."), x=lambda g, out: g * (out * out + 1))


@elementwise(x=lambda g, x: g * (x * -2))
def _co_square(xp: Any, x: Any) -> Any:
    """1 - x², exact near ±1; the sum of its factors' derivatives would not be, near 0."""
    return (1 - x) * (1 + x)


asin = elementwise(ufunc("arcsin", True, "The inverse sine."), name="asin", x=lambda g, x: g / sqrt(_co_square(x)))
acos = elementwise(ufunc("arccos", True, "The inverse cosine."), name="acos", x=lambda g, x: -g / sqrt(_co_square(x)))
atan = elementwise(ufunc("arctan", True, "The inverse tangent."), name="atan", x=lambda g, x: g / (x * x + 1))


def _radius(x: Any, y: Any) -> Any:
    """√(x² + y²), or 1 where that is 0."""
    r = hypot(x, y)
    return where(r == 0, 1, r)


def _atan2_x(g: Any, x: Any, y: Any) -> Any:
    r = _radius(x, y)
    return g / r * (y / r)


_ATAN2 = """The angle of the point (y, x) with the positive axis: the inverse tangent of x / y, in its quadrant.

Kink: 0 for both at (0, 0).
"""
atan2 = elementwise(ufunc("arctan2", True, _ATAN2), name="atan2", x=_atan2_x, y=lambda g, x, y: -_atan2_x(g, y, x))
hypot = elementwise(
    ufunc("hypot", True, "√(x² + y²), without overflow.\n\nKink: 0 for both at (0, 0)."),
    x=lambda g, x, out: g * (x / where(out == 0, 1, out)),
    y=lambda g, y, out: g * (y / where(out == 0, 1, out)),
)
sinh = elementwise(ufunc("sinh", True, "The hyperbolic sine."), x=lambda g, x: g * cosh(x))
cosh = elementwise(ufunc("cosh", True, "The hyperbolic cosine."), x=lambda g, x: g * sinh(x))
_tanh = ufunc("tanh", True, "The hyperbolic tangent.")
tanh = elementwise(_tanh, gpu=activate("tanh", _tanh), x=lambda g, out: tanh_grad(g, out))
asinh = elementwise(
    ufunc("arcsinh", True, "The inverse hyperbolic sine."), name="asinh", x=lambda g, out: g / cosh(out)
)
acosh = elementwise(
    ufunc("arccosh", True, "The inverse hyperbolic cosine."),
    name="acosh",
    x=lambda g, x: g / (sqrt(x - 1) * sqrt(x + 1)),
)
atanh = elementwise(
    ufunc("arctanh", True, "The inverse hyperbolic tangent."), name="atanh", x=lambda g, x: g / _co_square(x)
)
deg2rad = elementwise(ufunc("deg2rad", True, "π x / 180, degrees as radians."), x=lambda g: g * (math.pi / 180))
rad2deg = elementwise(ufunc("rad2deg", True, "180 x / π, radians as degrees."), x=lambda g: g * (180 / math.pi))


def _sinc_rule(g: Any, x: Any, n: int) -> Any:
    slope = _bessel(x, n=n + 1) * -(n + 1)
    return g * ((slope + _bessel(x, n=n - 1) * n if n else slope) * (math.pi / (2 * n + 1)))


@elementwise(name="sinc", x=_sinc_rule)
def _bessel(xp: Any, x: Any, *, n: int) -> Any:
    """The spherical Bessel function j_n(πx).  j_0 is sinc, and j_n' = (n j_(n-1) - (n+1) j_(n+1)) / (2n + 1)."""
    x = as_float(x)
    z = x.astype(wide(x.dtype), copy=False)
    if n == 0:
        return xp.sinc(z).astype(x.dtype, copy=False)
    z = z * math.pi
    near, zero = xp.abs(z) < n + 1, z.dtype.type(0)
    small = select(xp, near, z, zero)  # the power series; further out the recurrence is stable
    term = small**n / math.prod(range(1, 2 * n + 2, 2))
    series, squared = term, small * small
    for k in range(1, n + 12):
        term = term * squared * (-0.5 / (k * (2 * n + 2 * k + 1)))
        series = series + term
    z = select(xp, near, zero + 1, z)
    before, here = xp.cos(z) / z, xp.sin(z) / z
    for k in range(n):
        before, here = here, here * ((2 * k + 1) / z) - before
    return select(xp, near, series, here).astype(x.dtype, copy=False)


def sinc(x: Any) -> Any:
    """sin(πx) / (πx), 1 at 0; every derivative is exact there, too."""
    return _bessel(x, n=0)


def _tanh_grad(xp: Any, g: Any, y: Any) -> Any:
    """g (1 - y²), the pullback of tanh by its output."""
    return g * (1 - y * y)


def _tanh_grad_host(g: Any, y: Any) -> Any:
    if not (y.ndim and g.dtype is y.dtype and g.shape == y.shape):
        return _tanh_grad(np, g, y)
    out = y * y
    np.subtract(number(1, y.dtype), out, out)
    return np.multiply(out, g, out)


_tanh_grad.host = _tanh_grad_host
tanh_grad = elementwise(
    _tanh_grad,
    name="tanh_grad",
    gpu=activate_grad("tanh", _tanh_grad),
    g=lambda h, y: tanh_grad(h, y),
    y=lambda h, g, y: tanh_bend(h, g, y),
)


def _tanh_bend(xp: Any, h: Any, g: Any, y: Any) -> Any:
    """-2 h g y, the pullback of `tanh_grad` by y: linear in each of three."""
    return h * g * y * -2


def _tanh_bend_over(h: Any, g: Any, y: Any, out: Any) -> None:
    np.multiply(h, g, out=out)
    out *= y
    out *= -2


def _tanh_bend_host(h: Any, g: Any, y: Any) -> Any:
    alike = h.shape == g.shape == y.shape and h.dtype is g.dtype is y.dtype
    if not alike or y.size < PART or not fits(h, g, y):
        return _tanh_bend(np, h, g, y)
    return by_blocks(_tanh_bend_over, y.dtype, h, g, y)


_tanh_bend.host = _tanh_bend_host
tanh_bend = elementwise(
    _tanh_bend,
    name="tanh_bend",
    h=lambda k, g, y: tanh_bend(k, g, y),
    g=lambda k, h, y: tanh_bend(h, k, y),
    y=lambda k, h, g: tanh_bend(h, g, k),
)
