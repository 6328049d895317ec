"""Element-wise arithmetic, powers, exponentials, trigonometry, complex numbers.  Kinks: abs'(0) = 0."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import raw
from ..dtypes import bool_
from ..forward import as_float, number, ufunc
from ..fused import activate, activate_grad
from ..op import op
from .casting import astype, view, zeros_like
from .logic import where

LN2, LN10 = 0.6931471805599453, 2.302585092994046


# ---------------------------------------------------------------------------------------------- arithmetic
add = op(ufunc("add"), x=lambda g: g, y=lambda g: g)
subtract = op(ufunc("subtract"), x=lambda g: g, y=lambda g: -g)
multiply = op(ufunc("multiply"), x=lambda g, y: g * y, y=lambda g, x: g * x)
negative = op(ufunc("negative"), x=lambda g: -g)


def total(xs: Sequence[Any]) -> Any:
    """The sum of all tensors.  ValueError if there is none."""
    if not xs:
        raise ValueError("total: inputs must be an iterable of at least one tensor")
    return functools.reduce(add, xs)


positive = op(ufunc("positive"), x=lambda g: g)


@op(x=lambda g, y: g / y, y=lambda g, y, out: -g * out / y)
def divide(xp: Any, x: Any, y: Any) -> Any:
    """x / y; integers are divided as floats."""
    return xp.true_divide(as_float(x, y), as_float(y, x))


def _power(xp: Any, x: Any, y: Any) -> Any:
    """x ** y.  At x = 0 the gradient with respect to y is 0 (the limit for y > 0)."""
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


pow = op(_power, name="pow", x=_pow_x, y=_pow_y)
square = op(ufunc("square"), x=lambda g, x: g * (x * 2))
sqrt = op(ufunc("sqrt", floats=True), x=lambda g, out: g * 0.5 / out)


@op(x=lambda g, out: g * (out * out * out) * -0.5)
def rsqrt(xp: Any, x: Any) -> Any:
    """1 / √x."""
    return xp.reciprocal(xp.sqrt(as_float(x)))


reciprocal = op(ufunc("reciprocal", floats=True), x=lambda g, out: -g * out * out)


# ---------------------------------------------------------------------------------------------- complex numbers
@op(x=lambda g, x, out: g * _sign(x) if x.dtype.kind != "c" else g * (conj(x) / where(out == 0, 1, out)))
def abs(xp: Any, x: Any) -> Any:
    """|x|; of a complex array, a real one."""
    return xp.abs(x)


_sign = op(ufunc("sign"), x=lambda g: zeros_like(g))


def sign(x: Any) -> Any:
    """-1, 0 or 1; of a complex number x / |x|, which is not flat."""
    if getattr(raw(x), "dtype", bool_).kind != "c":
        return _sign(x)
    size = abs(x)
    return x / where(size == 0, 1, size)


@op(x=lambda g: conj(g))
def conj(xp: Any, x: Any) -> Any:
    """The complex conjugate; a real array itself."""
    return xp.conj(x) if x.dtype.kind == "c" else view(x)


@op(x=lambda g: g)
def real(xp: Any, x: Any) -> Any:
    """The real part."""
    return x.real if x.dtype.kind == "c" else view(x)


@op(x=lambda g, x: g * -1j if x.dtype.kind == "c" else zeros_like(g))
def imag(xp: Any, x: Any) -> Any:
    """The imaginary part."""
    return x.imag if x.dtype.kind == "c" else xp.zeros_like(x)


# ---------------------------------------------------------------------------------------------- exponentials
exp = op(ufunc("exp", floats=True), x=lambda g, out: g * out)
exp2 = op(ufunc("exp2", floats=True), x=lambda g, out: g * (out * LN2))
expm1 = op(ufunc("expm1", floats=True), x=lambda g, out: g * (out + 1))
log = op(ufunc("log", floats=True), x=lambda g, x: g / x)
log2 = op(ufunc("log2", floats=True), x=lambda g, x: g / (x * LN2))
log10 = op(ufunc("log10", floats=True), x=lambda g, x: g / (x * LN10))
log1p = op(ufunc("log1p", floats=True), x=lambda g, x: g / (x + 1))
logaddexp = op(
    ufunc("logaddexp", floats=True), x=lambda g, x, out: g * exp(x - out), y=lambda g, y, out: g * exp(y - out)
)

# ---------------------------------------------------------------------------------------------- trigonometry
sin = op(ufunc("sin", floats=True), x=lambda g, x: g * cos(x))
cos = op(ufunc("cos", floats=True), x=lambda g, x: -g * sin(x))
tan = op(ufunc("tan", floats=True), x=lambda g, out: g * (out * out + 1))
asin = op(ufunc("arcsin", floats=True), name="asin", x=lambda g, x: g / sqrt(1 - x * x))
acos = op(ufunc("arccos", floats=True), name="acos", x=lambda g, x: -g / sqrt(1 - x * x))
atan = op(ufunc("arctan", floats=True), name="atan", x=lambda g, x: g / (x * x + 1))
atan2 = op(
    ufunc("arctan2", floats=True),
    name="atan2",
    x=lambda g, x, y: g * y / (x * x + y * y),
    y=lambda g, x, y: -g * x / (x * x + y * y),
)
sinh = op(ufunc("sinh", floats=True), x=lambda g, x: g * cosh(x))
cosh = op(ufunc("cosh", floats=True), x=lambda g, x: g * sinh(x))
_tanh = ufunc("tanh", floats=True)
tanh = op(_tanh, gpu=activate("tanh", _tanh), x=lambda g, out: tanh_grad(g, out))
asinh = op(ufunc("arcsinh", floats=True), name="asinh", x=lambda g, x: g / sqrt(x * x + 1))
acosh = op(ufunc("arccosh", floats=True), name="acosh", x=lambda g, x: g / (sqrt(x - 1) * sqrt(x + 1)))
atanh = op(ufunc("arctanh", floats=True), name="atanh", x=lambda g, x: g / (1 - x * x))
hypot = op(ufunc("hypot", floats=True), x=lambda g, x, out: g * x / out, y=lambda g, y, out: g * y / out)


def _tanh_grad(xp: Any, g: Any, y: Any) -> Any:
    """g (1 - y²), the pullback of tanh by its output."""
    return g * (1 - y * y)


def _tanh_grad_host(g: Any, y: Any) -> Any:
    if not (y.ndim and g.dtype is y.dtype):
        return _tanh_grad(np, g, y)
    out = y * y
    np.subtract(number(1, y.dtype), out, out)
    return np.multiply(out, g, out)


_tanh_grad.host = _tanh_grad_host
tanh_grad = op(
    _tanh_grad,
    name="tanh_grad",
    gpu=activate_grad("tanh", _tanh_grad),
    g=lambda h, y: tanh_grad(h, y),
    y=lambda h, g, y: h * g * y * -2,
)
