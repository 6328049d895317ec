"""Element-wise arithmetic, exponentials, trigonometry, comparisons.

Kinks: abs'(0) = 0; maximum and minimum share the gradient at a tie; clip passes it at the bound; sign, floor, ceil,
round and trunc have gradient 0.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..array import Device, asarray, device as _device, device_of, library
from ..core import Tensor, raw, wrap
from ..dtypes import DTypeLike, as_dtype, bool_, complex64, default_float, is_inexact, wide
from ..forward import as_float, boxed, number, operand, pair, select, ufunc
from ..fused import activate, activate_grad
from ..op import op
from ..origin import CONSTANT, INTEGER, STOPPED
from ..recording import lost

LN2, LN10 = 0.6931471805599453, 2.302585092994046


def const(f: Any) -> Any:
    """A function of arrays that has no gradient (comparisons, indices): its result is never tracked."""

    def call(*args: Any, **static: Any) -> Any:
        for a in args:
            if isinstance(a, Tensor) or library(a) is not None:
                break
        else:
            args = (boxed(args[0], f.__name__), *args[1:])
        out = f(*args, **static)
        for a in args:
            if isinstance(a, Tensor):
                return lost(wrap(raw(out), None, a.kind), f.__name__, args, CONSTANT)
        return out

    call.__name__ = call.__qualname__ = f.__name__
    call.__module__, call.__doc__ = f.__module__, f.__doc__  # where pickle finds it
    return call


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


@op(x=lambda g, x, out: g * _sign(x) if x.dtype.kind != "c" else g * (conj(x) / where(out == 0, 1, out)))
def abs(xp: Any, x: Any) -> Any:
    """|x|; of a complex array, a real one."""
    return xp.abs(x)


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


# ---------------------------------------------------------------------------------------------- choosing
def _share(g: Any, x: Any, y: Any, first: Any) -> Any:
    """`g` where the condition holds, half of it at a tie."""
    x, y = raw(x), raw(y)
    mask = (first(x, y) + (x == y) * 0.5).astype(g.dtype)
    return g * mask


maximum = op(
    ufunc("maximum"),
    x=lambda g, x, y: _share(g, x, y, operator.gt),
    y=lambda g, x, y: _share(g, x, y, operator.lt),
)
minimum = op(
    ufunc("minimum"),
    x=lambda g, x, y: _share(g, x, y, operator.lt),
    y=lambda g, x, y: _share(g, x, y, operator.gt),
)


@op(x=lambda g, x, min, max: _where(_inside(raw(x), min, max), g, 0))
def _clip(xp: Any, x: Any, *, min: Any = None, max: Any = None) -> Any:
    if min is not None:
        x = xp.maximum(*pair(x, min))
    return x if max is None else xp.minimum(*pair(x, max))


def _inside(x: Any, low: Any, high: Any) -> Any:
    inside = x == x
    if low is not None:
        inside = inside & (x >= low)
    return inside if high is None else inside & (x <= high)


def clip(x: Any, min: Any = None, max: Any = None) -> Any:
    """x limited to [min, max], numbers or arrays, which have a gradient too where they limit x.

    ValueError for a number that is NaN, and for numbers with min > max.
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


def where(condition: Any, x: Any, y: Any) -> Any:
    """x where `condition` holds, else y.  No gradient reaches the condition.

    The condition is a Tensor or an array; x and y may be numbers (both: the result is of the default float dtype, or of
    integers).
    """
    condition = boxed(condition, "where")
    mask = raw(condition)
    if not any([isinstance(v, Tensor) or library(v) is not None for v in (x, y)]):
        kind = default_float() if isinstance(x, float) or isinstance(y, float) else None
        x = asarray(x, kind, device_of(mask))
    # NumPy's scalars are weak beside a Tensor; beside an array they may be a 0-d result.
    if isinstance(y, np.generic) and isinstance(x, Tensor):
        y = operand(y, x.array)
    elif isinstance(x, np.generic) and isinstance(y, Tensor):
        x = operand(x, y.array)
    out = _where(mask, x, y)
    if isinstance(condition, Tensor):
        out = out if isinstance(out, Tensor) else wrap(out, None, condition.kind)
        lost(out, "where", (condition,), CONSTANT)
    return out


@op(mask=None, x=lambda g, mask: _where(mask, g, 0), y=lambda g, mask: _where(mask, 0, g))
def _where(xp: Any, mask: Any, x: Any, y: Any) -> Any:
    """x where mask, else y."""
    if not hasattr(x, "dtype"):
        y, x = _weak(xp, y, x)
    elif not hasattr(y, "dtype"):
        x, y = _weak(xp, x, y)
    return select(xp, mask, x, y)


def _weak(xp: Any, x: Any, number: Any) -> Any:
    """`pair`, with the number as an array: xp.where alone would make it strong on some versions."""
    x, number = pair(x, number)
    return x, xp.asarray(number, np.result_type(wide(x.dtype), complex64) if isinstance(number, complex) else x.dtype)


# ---------------------------------------------------------------------------------------------- steps: gradient 0
def _steps(name: str, ufuncs: str = "") -> Any:
    numpys = ufunc(ufuncs or name)

    def forward(xp: Any, x: Any) -> Any:
        return numpys(xp, x) if is_inexact(x.dtype) else view(x)  # CuPy would answer floats for integers

    forward.__doc__ = numpys.__doc__
    return op(forward, name=name, x=lambda g: zeros_like(g))


floor, ceil, trunc, round = _steps("floor"), _steps("ceil"), _steps("trunc"), _steps("round", "rint")
_sign = op(ufunc("sign"), x=lambda g: zeros_like(g))


def sign(x: Any) -> Any:
    """-1, 0 or 1; of a complex number x / |x|, which is not flat."""
    if getattr(raw(x), "dtype", bool_).kind != "c":
        return _sign(x)
    size = abs(x)
    return x / where(size == 0, 1, size)


@op(x=lambda g: g, y=lambda g, x, y: -g * floor_divide(x, y))
def remainder(xp: Any, x: Any, y: Any) -> Any:
    """x - floor(x / y) * y, the sign of y."""
    return xp.remainder(x, y)


@op(x=lambda g: zeros_like(g), y=lambda g: zeros_like(g))
def floor_divide(xp: Any, x: Any, y: Any) -> Any:
    """floor(x / y)."""
    return xp.floor_divide(x, y)


@op(x=lambda g: zeros_like(g))
def zeros_like(xp: Any, x: Any, *, dtype: Any = None) -> Any:
    """Zeros of the shape of x."""
    return xp.zeros_like(x, dtype=dtype)


# ---------------------------------------------------------------------------------------------- predicates
def _predicate(name: str) -> Any:
    return const(op(ufunc(name), differentiable=False))


equal, not_equal = _predicate("equal"), _predicate("not_equal")
less, less_equal = _predicate("less"), _predicate("less_equal")
greater, greater_equal = _predicate("greater"), _predicate("greater_equal")
logical_and, logical_or = _predicate("logical_and"), _predicate("logical_or")
bitwise_and, bitwise_or = _predicate("bitwise_and"), _predicate("bitwise_or")
bitwise_xor, bitwise_invert = _predicate("bitwise_xor"), _predicate("invert")
logical_xor, logical_not = _predicate("logical_xor"), _predicate("logical_not")
isfinite, isinf, isnan = _predicate("isfinite"), _predicate("isinf"), _predicate("isnan")


# ---------------------------------------------------------------------------------------------- complex, dtype, device
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


@op(x=lambda g: g)  # the engine casts a cotangent to its input's dtype
def _astype(xp: Any, x: Any, *, dtype: Any = None) -> Any:
    if x.dtype.kind == "c" and dtype.kind != "c":
        x = x.real
    return x.astype(dtype)


def astype(x: Any, dtype: DTypeLike) -> Any:
    """x in another dtype.  From complex to real it keeps the real part; integer dtypes end the gradient's path."""
    d = as_dtype(dtype)
    x = boxed(x, "astype")
    if raw(x).dtype == d:
        return x
    if is_inexact(d) or not isinstance(x, Tensor):
        return _astype(x, dtype=d)
    return lost(wrap(_astype(x.array, dtype=d), None, x.kind), "astype", (x,), INTEGER)


@op(x=lambda g, target, source: _to_device(g, target=source, source=target))
def _to_device(xp: Any, x: Any, *, target: Device, source: Device) -> Any:
    if target.kind == "cpu":
        x = source.library.to_host(x)
    return target.library.asarray(x, None, target)


def to_device(x: Any, device: str | Device) -> Any:
    """x on another device; the gradient travels back.  x itself if it is there already."""
    target = _device(device)
    source = device_of(raw(x))
    return x if source == target else _to_device(x, target=target, source=source)


def stop_gradient(x: Any) -> Any:
    """The values of x, which no tape follows back.  Shares memory with x."""
    return lost(wrap(view(x.array), None, x.kind), "stop_gradient", (x,), STOPPED) if isinstance(x, Tensor) else x


def view(x: Any) -> Any:
    """The same memory as another array object: tapes tell values apart by the object."""
    return np.asarray(x) if isinstance(x, np.generic) else x.view()
