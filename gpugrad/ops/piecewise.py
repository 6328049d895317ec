"""Activations made of pieces.  Corners have PyTorch's slopes; an infinite cotangent stays out where the slope is 0.

What goes by the output keeps that alone, of large arrays a bit an element.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from typing import Any

from ..core import raw
from ..dtypes import wide
from ..forward import boxed, fit, select
from ..op import elementwise, op
from .activation import real_float, sigmoid
from .casting import astype
from .gate import ZERO_ELSE, bits_where, gate
from .logic import greater, where
from .math import abs, exp, multiply, reciprocal, square, subtract, tanh
from .shape import concat, reshape, split

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848, 1.0507009873554804934  # mean 0 and variance 1 stay so


def _wide_and_dtype(x: Any) -> tuple[Any, Any]:
    """(x to compute with, the dtype of the result)."""
    x = real_float(x)
    return x.astype(wide(x.dtype), copy=False), x.dtype


# ---------------------------------------------------------------------------------------------- by the output
def _hardtanh_rule(g: Any, out: Any, min_val: float, max_val: float) -> Any:
    out = raw(out)
    kind = out.dtype.type  # the limits, too, are rounded to the dtype
    return where((out <= kind(min_val)) | (out >= kind(max_val)), 0, g)


def _between(out: Any, low: float, high: float) -> Any:
    low, high = out.dtype.type(low), out.dtype.type(high)  # the limits, too, are rounded to the dtype
    return bits_where(lambda part: ~((part <= low) | (part >= high)), out)


@elementwise(x=_hardtanh_rule, lean=(lambda out, min_val, max_val: _between(out, min_val, max_val), *ZERO_ELSE))
def hardtanh(xp: Any, x: Any, *, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """x limited to [min_val, max_val].  Keeps its output.  ValueError for min_val > max_val.

    Kinks: 0 at both ends.
    """
    if min_val > max_val:
        raise ValueError(f"min_val {min_val} is above max_val {max_val}")
    x = real_float(x)
    return xp.minimum(xp.maximum(x, x.dtype.type(min_val)), x.dtype.type(max_val))


def relu6(x: Any) -> Any:
    """min(max(x, 0), 6) (Krizhevsky 2010).  Keeps its output.

    Kinks: 0 at 0 and at 6.
    """
    return hardtanh(x, min_val=0.0, max_val=6.0)


@elementwise(
    x=lambda g, out: where((raw(out) <= 0) | (raw(out) >= 1), 0, g * (1 / 6)),
    lean=(lambda out: _between(out, 0, 1), lambda g, bits: gate(g * (1 / 6), bits)),
)
def hardsigmoid(xp: Any, x: Any) -> Any:
    """(x + 3) / 6 limited to [0, 1].  Keeps its output.

    Kinks: 0 at -3 and at 3.
    """
    z, dtype = _wide_and_dtype(x)
    out = xp.minimum(xp.maximum(z + 3, z.dtype.type(0)), z.dtype.type(6)) * (1 / 6)
    return out.astype(dtype, copy=False)


def _above_zero(part: Any) -> Any:
    return part > 0


@elementwise(
    name="leaky_relu",
    x=lambda g, out, negative_slope: where(raw(out) > 0, g, g * negative_slope if negative_slope else 0),
    lean=(
        lambda out: bits_where(_above_zero, out),
        lambda g, bits, negative_slope: gate(g, bits, below=negative_slope),
    ),
)
def _leaky_relu(xp: Any, x: Any, *, negative_slope: float) -> Any:
    x = real_float(x)
    return select(xp, x > 0, x, (x * negative_slope).astype(x.dtype, copy=False))


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """x where positive, else negative_slope x.  Keeps its output; with a slope below 0, x.

    Kink: negative_slope at 0.
    """
    if negative_slope < 0:  # the output does not say where x is positive
        x = boxed(x, "leaky_relu")
        return where(greater(x, 0), x, multiply(x, negative_slope))
    return _leaky_relu(x, negative_slope=negative_slope)


def _not_zero(part: Any) -> Any:
    return part != 0


def _lambda(lambd: float) -> None:
    if not lambd >= 0:
        raise ValueError(f"lambd is 0 or more, not {lambd}")


@elementwise(x=lambda g, out: where(raw(out) == 0, 0, g), lean=(lambda out: bits_where(_not_zero, out), *ZERO_ELSE))
def hardshrink(xp: Any, x: Any, *, lambd: float = 0.5) -> Any:
    """x where |x| > lambd, else 0.  Keeps its output.  ValueError for lambd < 0.

    Kinks: 0 at -lambd and at lambd.
    """
    _lambda(lambd)
    x = real_float(x)
    return select(xp, xp.abs(x) <= lambd, x.dtype.type(0), x)


@elementwise(x=lambda g, out: where(raw(out) == 0, 0, g), lean=(lambda out: bits_where(_not_zero, out), *ZERO_ELSE))
def softshrink(xp: Any, x: Any, *, lambd: float = 0.5) -> Any:
    """x nearer to 0 by lambd, 0 where |x| <= lambd.  Keeps its output.  ValueError for lambd < 0.

    Kinks: 0 at -lambd and at lambd.
    """
    _lambda(lambd)
    x = real_float(x)
    bound = x.dtype.type(lambd)
    return x - xp.minimum(xp.maximum(x, -bound), bound)


# ---------------------------------------------------------------------------------------------- by the input
def _elu_rule(g: Any, x: Any, alpha: float, scale: float, input_scale: float) -> Any:
    above = raw(x) > 0
    return where(above, g * scale, g * (exp(where(above, 0, x) * input_scale) * (alpha * scale * input_scale)))


@elementwise(x=_elu_rule)
def elu(xp: Any, x: Any, *, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    """x where positive, else alpha (exp(x) - 1) (Clevert et al. 2015).

    Times scale, and with exp(input_scale x).  Keeps x: far left the output, rounded to -alpha, has lost the slope.
    ValueError unless scale and input_scale are above 0.

    Kink: alpha scale input_scale at 0.
    """
    if scale <= 0 or input_scale <= 0:
        raise ValueError(f"scale and input_scale are above 0, given {scale} and {input_scale}")
    z, dtype = _wide_and_dtype(x)
    below = xp.expm1(xp.minimum(z, z.dtype.type(0)) * input_scale) * (alpha * scale)
    return select(xp, z > 0, z * scale, below).astype(dtype, copy=False)


def selu(x: Any) -> Any:
    """1.0507 x where positive, else 1.0507 · 1.6733 (exp(x) - 1) (Klambauer et al. 2017).  Keeps x.

    Kink: 1.7581 at 0.
    """
    return elu(x, alpha=SELU_ALPHA, scale=SELU_SCALE)


def celu(x: Any, alpha: float = 1.0) -> Any:
    """x where positive, else alpha (exp(x / alpha) - 1) (Barron 2017).  Keeps x.

    ValueError unless alpha is above 0.
    """
    if not alpha > 0:
        raise ValueError(f"celu: alpha is above 0, not {alpha}")
    return elu(x, alpha=alpha, input_scale=1 / alpha)


def _hardswish_rule(g: Any, x: Any) -> Any:
    return where(raw(x) <= -3, 0, where(raw(x) >= 3, g, g * (x * (1 / 3) + 0.5)))


@elementwise(x=_hardswish_rule)
def hardswish(xp: Any, x: Any) -> Any:
    """x hardsigmoid(x) (Howard et al. 2019).

    Kinks: 0 at -3 and 1 at 3.
    """
    z, dtype = _wide_and_dtype(x)
    z = xp.maximum(z, z.dtype.type(-3))
    return (z * (xp.minimum(z + 3, z.dtype.type(6)) / 6)).astype(dtype, copy=False)


@elementwise(
    x=lambda g, x, threshold: where(raw(x) <= threshold, 0, g),
    lean=(lambda x, threshold: bits_where(lambda part: ~(part <= threshold), x), *ZERO_ELSE),
)
def threshold(xp: Any, x: Any, *, threshold: float, value: float) -> Any:
    """x where above `threshold`, else `value`.

    Kink: 0 at the threshold.
    """
    x = real_float(x)
    return select(xp, x <= threshold, x.dtype.type(value), x)


@elementwise(x=lambda g, x: g * square(reciprocal(abs(x) + 1)))  # the square of |x| + 1 may overflow
def softsign(xp: Any, x: Any) -> Any:
    """x / (1 + |x|)."""
    z, dtype = _wide_and_dtype(x)
    return (z / (xp.abs(z) + 1)).astype(dtype, copy=False)


def tanhshrink(x: Any) -> Any:
    """x - tanh(x)."""
    bent = tanh(x)
    return subtract(astype(x, raw(bent).dtype), bent)


# ---------------------------------------------------------------------------------------------- prelu and glu
@elementwise(
    x=lambda g, x, weight: where(raw(x) > 0, g, g * weight),
    weight=lambda g, x: where(raw(x) > 0, 0, g * x),
    name="prelu",
)
def _prelu(xp: Any, x: Any, weight: Any) -> Any:
    x = real_float(x)
    return select(xp, x > 0, x, x * weight)


def prelu(x: Any, weight: Any) -> Any:
    """x where positive, else weight x, with a gradient for the weight as well (He et al. 2015).

    weight: one number, or one for each channel, axis 1 of x.  ValueError for another shape.

    Kink: the weight at 0.
    """
    x, weight = fit([x, weight], "prelu")
    of, shape = raw(weight).shape, raw(x).shape
    channels = shape[1] if len(shape) > 1 else 1
    if of not in ((), (1,), (channels,)):
        raise ValueError(
            f"prelu: weight has shape {list(of)}; it is one number or one for each of the {channels} channels, "
            f"axis 1 of x, whose shape is {list(shape)}"
        )
    return _prelu(x, reshape(weight, (-1, *[1] * (len(shape) - 2)) if len(shape) > 1 else ()))


def _glu_rule(g: Any, x: Any, axis: int) -> Any:
    value, gate = split(x, 2, axis)
    s = sigmoid(gate)
    return concat([g * s, g * value * (s * (1 - s))], axis)


@op(name="glu", x=_glu_rule, batch="along")
def _glu(xp: Any, x: Any, *, axis: int) -> Any:
    value, gate = xp.split(x, 2, axis)
    return value * sigmoid(gate)


def glu(x: Any, axis: int = -1) -> Any:
    """The first half along `axis` times the sigmoid of the second (Dauphin et al. 2017).  Keeps x alone.

    ValueError for an axis of odd length.
    """
    x = boxed(x, "glu")
    shape = raw(x).shape
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"glu: axis {axis} is out of range for x of {len(shape)} axes")
    if shape[axis] % 2:
        raise ValueError(f"glu: axis {axis} of x has the odd length {shape[axis]}; it is cut in two halves")
    return _glu(x, axis=axis)
