"""relu and the smooth activations; the others made of pieces are in piecewise.py.

Each fused gradient is an op with a rule of its own, so every order works.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from ..array import special
from ..core import raw
from ..dtypes import float32, is_float, wide
from ..forward import as_float, number, select
from ..fused import activate, activate_grad, relu_mask as _fused_mask
from ..kernels import usable
from ..op import elementwise, op
from . import normal
from .blocks import pointwise, pointwise_over
from .casting import astype
from .choice import clip
from .gate import ZERO_ELSE, above_zero, gate, gate_over
from .logic import where
from .math import exp, expm1, square, tanh
from .normal import INV_SQRT_2PI

SQRT_2_PI = math.sqrt(2 / math.pi)


def _over(f: Any) -> Any:
    """f(xp, g, x), the pullback of an activation by its input, which writes over g."""
    return lambda g, x: pointwise_over(f, g, x)


def _ordered(dtype: np.dtype) -> np.dtype:
    if dtype.kind == "c":
        raise TypeError("x is real: complex numbers have no order")
    return dtype


def _relu(xp: Any, x: Any) -> Any:
    """max(x, 0).  Keeps its output; of large arrays a bit an element.

    Kink: 0 at 0.
    """
    return xp.maximum(x, _ordered(x.dtype).type(0))


def _relu_grad(xp: Any, g: Any, y: Any) -> Any:
    """g where y > 0, else 0: the pullback of relu by its output."""
    return select(xp, y > 0, g, g.dtype.type(0))  # not a product: an infinite g stays out where y is 0


def _relu_grad_host(g: Any, y: Any) -> Any:
    if g.shape != y.shape or not y.ndim or not is_float(g.dtype):
        return np.where(y > number(0, y.dtype), g, number(0, g.dtype))
    bits = (y > number(0, y.dtype)).astype(f"u{g.itemsize}")  # `where` is 8 times slower on random signs
    np.negative(bits, out=bits)  # 1 becomes all ones
    bits &= g.view(bits.dtype)
    return bits.view(g.dtype)


@cache
def _zero(dtype: np.dtype) -> np.ndarray:
    return number(0, _ordered(dtype))


_relu.host = lambda x: np.maximum(x, _zero(x.dtype))
_relu_grad.host = _relu_grad_host

relu = elementwise(
    _relu,
    name="relu",
    gpu=activate("relu", _relu),
    x=lambda g, out: relu_grad(g, out),
    lean=(lambda out: above_zero(out), *ZERO_ELSE),
)
relu_grad = elementwise(  # linear in g, flat in y
    _relu_grad,
    name="relu_grad",
    gpu=activate_grad("relu", _relu_grad),
    g=lambda h, y: relu_grad(h, y),
    y=None,
)


def _relu_mask(xp: Any, x: Any) -> Any:
    """max(x, 0), as `relu`.  Keeps a bit an element, of small arrays, too; on a GPU it is left in the same pass.

    Kink: 0 at 0.
    """
    return xp.maximum(x, _ordered(x.dtype).type(0)), above_zero(x)


relu_mask = op(
    _relu_mask,
    name="relu_mask",
    aux=("bits",),
    gpu=lambda xp, x: _fused_mask(x) if usable(x) else _relu_mask(xp, x),
    x=lambda g, bits: gate(g, bits),
    over=lambda g, bits: gate_over(g, bits),
)


@pointwise
def _sigmoid(xp: Any, x: Any) -> Any:
    """1 / (1 + exp(-x)), without overflow."""
    x = as_float(x)
    if x.dtype.kind == "c":
        below = x.real < 0
        e = xp.exp(select(xp, below, x, -x))
        return select(xp, below, e, e.dtype.type(1)) / (e + 1)
    tail = xp.exp(-xp.abs(x))  # never overflows; below 0 the result has all its digits
    tail /= tail + tail.dtype.type(1)
    out = (x >= 0).astype(x.dtype)
    out -= tail
    return xp.abs(out)


sigmoid = elementwise(
    _sigmoid, name="sigmoid", gpu=activate("sigmoid", _sigmoid), x=lambda g, out: sigmoid_grad(g, out)
)


def _sigmoid_grad(xp: Any, g: Any, y: Any) -> Any:
    """g y (1 - y), the pullback of sigmoid by its output."""
    return g * (y * (1 - y))


def _sigmoid_grad_host(g: Any, y: Any) -> Any:
    if not (y.ndim and g.dtype is y.dtype and g.shape == y.shape):
        return _sigmoid_grad(np, g, y)
    out = np.subtract(number(1, y.dtype), y)
    np.multiply(out, y, out)
    return np.multiply(out, g, out)


_sigmoid_grad.host = _sigmoid_grad_host
sigmoid_grad = elementwise(
    _sigmoid_grad,
    name="sigmoid_grad",
    gpu=activate_grad("sigmoid", _sigmoid_grad),
    g=lambda h, y: sigmoid_grad(h, y),
    y=lambda h, g, y: h * g * (1 - y * 2),
)


def real_float(x: Any) -> Any:
    """x in a float dtype.  TypeError for complex numbers, which have no order."""
    x = as_float(x)
    _ordered(x.dtype)
    return x


def _wide(x: Any) -> Any:
    x = as_float(x)
    return x.astype(wide(x.dtype), copy=False)


def _narrow(out: Any, x: Any) -> Any:
    """`out` in the dtype of x, or in the float dtype that stands for it."""
    return out.astype(as_float(x).dtype, copy=False)


def _log_1_exp(xp: Any, z: Any) -> Any:
    """log(1 + exp(z)): NumPy's logaddexp(z, 0) takes 30 times as long."""
    return xp.log1p(xp.exp(-xp.abs(z))) + xp.maximum(z, z.dtype.type(0))


@elementwise(x=lambda g, x, beta, threshold: g * _softplus_slope(x, beta, threshold))
def softplus(xp: Any, x: Any, *, beta: float = 1.0, threshold: float | None = None) -> Any:
    """log(1 + exp(beta x)) / beta, without overflow.

    Exact everywhere; with a threshold, x itself where beta x is above it, as in PyTorch.  ValueError for beta 0.
    """
    if beta == 0:
        raise ValueError("beta is a number other than 0")
    z = _wide(real_float(x))
    out = _log_1_exp(xp, z if beta == 1 else z * beta) * (1 / beta)
    return _narrow(out if threshold is None else select(xp, z * beta > threshold, z, out), x)


def _softplus_slope(x: Any, beta: float, threshold: float | None) -> Any:
    slope = sigmoid(x if beta == 1 else x * beta)
    return slope if threshold is None else where(raw(x) * beta > threshold, 1, slope)


@elementwise(x=lambda g, out: -g * expm1(out))
def log_sigmoid(xp: Any, x: Any) -> Any:
    """log(sigmoid(x)), without log(0).  Its gradient goes by the output: 1 - exp(out)."""
    z = _wide(real_float(x))
    return _narrow(-_log_1_exp(xp, -z), x)


def _widened(x: Any) -> Any:
    """x, with what is of a half type in float32: second derivatives have products beyond its range."""
    return astype(x, wide(x.dtype))


@pointwise
def _silu(xp: Any, x: Any) -> Any:
    """x sigmoid(x) (swish)."""
    z = _wide(x)
    return _narrow(z * _sigmoid(xp, z), x)


@pointwise
def _silu_grad(xp: Any, g: Any, x: Any) -> Any:
    """g s (1 + x (1 - s)) with s = sigmoid(x)."""
    z = _wide(x)
    s = _sigmoid(xp, z)
    slope = 1 - s
    slope *= z
    slope += 1
    slope *= s
    return _narrow(g * slope, g)


def _silu_curve(x: Any) -> Any:
    x = _widened(x)
    s = sigmoid(x)
    return s * (1 - s) * (2 + x * (1 - s * 2))


silu = elementwise(
    _silu,
    name="silu",
    gpu=activate("silu", _silu),
    x=lambda g, x: silu_grad(g, x),
    over=_over(_silu_grad),
)
silu_grad = elementwise(
    _silu_grad,
    name="silu_grad",
    gpu=activate_grad("silu", _silu_grad),
    g=lambda h, x: silu_grad(h, x),
    x=lambda h, g, x: h * g * _silu_curve(x),
)


def _mish_parts(xp: Any, z: Any) -> tuple[Any, Any]:
    """(t, 1 - t) for t = tanh(softplus(z)) = (w² + 2 w) / (w² + 2 w + 2) with w = exp(z), written as p / q without
    overflow."""
    zero = z.dtype.type(0)
    p, q = xp.exp(xp.minimum(z, zero)), xp.exp(-xp.maximum(z, zero))
    top, rest = p * (p + 2 * q), 2 * q * q
    whole = top + rest
    return top / whole, rest / whole


@pointwise
def _mish(xp: Any, x: Any) -> Any:
    """x tanh(softplus(x)) (Misra 2019)."""
    z = _wide(real_float(x))
    return _narrow(z * _mish_parts(xp, z)[0], x)


@pointwise
def _mish_grad(xp: Any, g: Any, x: Any) -> Any:
    """g (t + x s (1 - t²)) with t = tanh(softplus(x)) and s = sigmoid(x)."""
    z = _wide(x)
    t, rest = _mish_parts(xp, z)
    return _narrow(g * (t + z * _sigmoid(xp, z) * rest * (1 + t)), g)


def _mish_curve(x: Any) -> Any:
    x = _widened(x)
    t, s = tanh(softplus(x)), sigmoid(x)
    return (1 - t * t) * s * (2 + x * (1 - s - 2 * t * s))


mish = elementwise(_mish, name="mish", x=lambda g, x: mish_grad(g, x), over=_over(_mish_grad))
mish_grad = elementwise(
    _mish_grad, name="mish_grad", g=lambda h, x: mish_grad(h, x), x=lambda h, g, x: h * g * _mish_curve(x)
)


_FLAT = 40.0  # beyond ±40 both forms are x or 0 in float64, too; powers of x would be inf - inf or inf times 0


@pointwise
def _gelu(xp: Any, x: Any) -> Any:
    z = _wide(x)
    if xp is np and z.ndim and z.dtype == float32:
        return _narrow(normal.gelu(z), x)
    return _narrow(z * special(z).ndtr(z), x)


@pointwise
def _gelu_grad(xp: Any, g: Any, x: Any) -> Any:
    """g (Φ(x) + x φ(x))."""
    z = _wide(x)
    if xp is np and z.ndim and z.dtype == float32:
        return _narrow(g * normal.gelu_slope(z), g)
    slope = z * z
    slope *= -0.5
    slope = xp.exp(slope)
    slope *= z
    slope *= INV_SQRT_2PI
    slope += special(z).ndtr(z)
    return _narrow(g * slope, g)


@pointwise
def _gelu_tanh(xp: Any, x: Any) -> Any:
    z = _wide(x)
    return _narrow(z * 0.5 * (1 + xp.tanh(_inner(z))), x)


def _inner(z: Any) -> Any:
    """What is in the tanh."""
    out = z * z
    out *= 0.044715 * SQRT_2_PI
    out += SQRT_2_PI
    out *= z
    return out


@pointwise
def _gelu_tanh_grad(xp: Any, g: Any, x: Any) -> Any:
    """g times the slope of ½ x (1 + t), where t is the tanh."""
    z = xp.clip(_wide(x), -_FLAT, _FLAT)
    t = xp.tanh(_inner(z))
    slope = z * z
    slope *= 3 * 0.044715 * SQRT_2_PI
    slope += SQRT_2_PI
    slope *= z
    slope *= 1 - t * t
    slope += t
    slope += 1
    slope *= 0.5
    return _narrow(g * slope, g)


def _gelu_tanh_curve(x: Any) -> Any:
    x = clip(_widened(x), -_FLAT, _FLAT)
    t = tanh((x * x * 0.044715 + 1) * x * SQRT_2_PI)
    first = (x * x * (3 * 0.044715) + 1) * SQRT_2_PI  # derivatives of what is in the tanh
    second = x * (6 * 0.044715 * SQRT_2_PI)
    return (1 - t * t) * (first + x * (second * 0.5 - t * first * first))


def _gelu_curve(x: Any) -> Any:
    squared = square(clip(_widened(x), -_FLAT, _FLAT))
    return exp(squared * -0.5) * ((2 - squared) * INV_SQRT_2PI)


gelu_erf = elementwise(
    _gelu,
    name="gelu",
    gpu=activate("gelu", _gelu),
    x=lambda g, x: gelu_grad(g, x),
    over=_over(_gelu_grad),
)
gelu_grad = elementwise(
    _gelu_grad,
    name="gelu_grad",
    gpu=activate_grad("gelu", _gelu_grad),
    g=lambda h, x: gelu_grad(h, x),
    x=lambda h, g, x: h * g * _gelu_curve(x),
)
gelu_tanh = elementwise(
    _gelu_tanh,
    name="gelu_tanh",
    gpu=activate("gelu_tanh", _gelu_tanh),
    x=lambda g, x: gelu_tanh_grad(g, x),
    over=_over(_gelu_tanh_grad),
)
gelu_tanh_grad = elementwise(
    _gelu_tanh_grad,
    name="gelu_tanh_grad",
    gpu=activate_grad("gelu_tanh", _gelu_tanh_grad),
    g=lambda h, x: gelu_tanh_grad(h, x),
    x=lambda h, g, x: h * g * _gelu_tanh_curve(x),
)


def gelu(x: Any, approximate: str = "none") -> Any:
    """x Φ(x) (Hendrycks & Gimpel 2016); approximate="tanh" for their tanh formula.

    ValueError for another `approximate`.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate is 'none' (exact) or 'tanh', not {approximate!r}")
    return gelu_erf(x) if approximate == "none" else gelu_tanh(x)
