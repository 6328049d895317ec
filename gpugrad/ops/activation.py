"""Activations.  Kinks: relu'(0) = 0.

Each fused gradient is an op with a rule of its own, so every order works.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from ..array import wide
from ..forward import as_float, number
from ..kernels import kernel
from ..op import op
from .math import exp, negative, tanh, where
from .reduce import sum

SQRT_HALF, SQRT_2_PI, INV_SQRT_2PI = math.sqrt(0.5), math.sqrt(2 / math.pi), 1 / math.sqrt(2 * math.pi)


def _relu(xp: Any, x: Any) -> Any:
    """max(x, 0).  Keeps its output, which the next layer keeps anyway."""
    return xp.maximum(x, x.dtype.type(0))


def _relu_grad(xp: Any, g: Any, y: Any) -> Any:
    """g where y > 0, else 0: the pullback of relu by its output."""
    return xp.where(y > 0, g, g.dtype.type(0))  # not a product: an infinite g stays out where y is 0


def _relu_grad_host(g: Any, y: Any) -> Any:
    return np.where(y > number(0, y.dtype), g, number(0, g.dtype))


_relu.host = lambda x: np.maximum(x, number(0, x.dtype))
_relu_grad.host = _relu_grad_host

relu = op(_relu, name="relu", gpu=kernel("elementwise", "relu", _relu), x=lambda g, out: relu_grad(g, out))
relu_grad = op(  # linear in g, flat in y
    _relu_grad,
    name="relu_grad",
    gpu=kernel("elementwise", "relu_grad", _relu_grad),
    g=lambda h, y: relu_grad(h, y),
    y=None,
)


@op(x=lambda g, out: sigmoid_grad(g, out))
def sigmoid(xp: Any, x: Any) -> Any:
    """1 / (1 + exp(-x)), without overflow."""
    x = as_float(x)
    one = x.dtype.type(1)
    if x.dtype.kind == "c":
        return one / (one + xp.exp(-x))
    e = xp.exp(-xp.abs(x))  # never overflows, and keeps the lower tail
    return xp.where(x < 0, e, one) / (one + e)


def _sigmoid_grad(xp: Any, g: Any, y: Any) -> Any:
    """g y (1 - y), the pullback of sigmoid by its output."""
    return g * (y * (1 - y))


def _sigmoid_grad_host(g: Any, y: Any) -> Any:
    if not (y.ndim and g.dtype is y.dtype):
        return _sigmoid_grad(np, g, y)
    out = np.subtract(number(1, y.dtype), y)
    np.multiply(out, y, out)
    return np.multiply(out, g, out)


_sigmoid_grad.host = _sigmoid_grad_host
sigmoid_grad = op(
    _sigmoid_grad,
    name="sigmoid_grad",
    gpu=kernel("elementwise", "sigmoid_grad", _sigmoid_grad),
    g=lambda h, y: sigmoid_grad(h, y),
    y=lambda h, g, y: h * g * (1 - y * 2),
)


@op(x=lambda g, x: g * sigmoid(x))
def softplus(xp: Any, x: Any) -> Any:
    """log(1 + exp(x)), without overflow."""
    x = as_float(x)
    return xp.logaddexp(x, x.dtype.type(0))


def log_sigmoid(x: Any) -> Any:
    """log(sigmoid(x)), without log(0)."""
    return negative(softplus(negative(x)))


@op(x=lambda g, x: _silu_pull(g, x))
def silu(xp: Any, x: Any) -> Any:
    """x sigmoid(x) (swish)."""
    x = as_float(x)
    return x * sigmoid(x)


def _silu_pull(g: Any, x: Any) -> Any:
    s = sigmoid(x)
    return g * (s * (1 + x * (1 - s)))


@cache
def _scipy_erf() -> Any:
    try:
        from scipy.special import erf  # pyright: ignore[reportMissingImports]  (optional)
    except ImportError:  # exact as well, an element at a time
        return np.vectorize(math.erf, otypes=[np.float64])
    return erf


@op(x=lambda g, x: g * exp(-(x * x)) * (2 / math.sqrt(math.pi)))
def erf(xp: Any, x: Any) -> Any:
    """The error function: SciPy's where it is installed, CuPy's on a GPU."""
    x = as_float(x)
    if xp is np:
        return np.asarray(_scipy_erf()(x.astype(wide(x.dtype)))).astype(x.dtype)
    from cupyx.scipy.special import erf as gpu_erf

    return gpu_erf(x)


@op(x=lambda g, x: g * (ndtr(x) + x * exp(x * x * -0.5) * INV_SQRT_2PI))
def _gelu(xp: Any, x: Any) -> Any:
    x = as_float(x)
    z = x.astype(wide(x.dtype), copy=False)
    return (z * ndtr(z)).astype(x.dtype, copy=False)


def ndtr(x: Any) -> Any:
    """The normal distribution function, (1 + erf(x / sqrt 2)) / 2."""
    return erf(x * SQRT_HALF) * 0.5 + 0.5


@op(x=lambda g, x: _gelu_tanh_pull(g, x))
def _gelu_tanh(xp: Any, x: Any) -> Any:
    x = as_float(x)
    z = x.astype(wide(x.dtype), copy=False)
    return (z * 0.5 * (1 + xp.tanh(SQRT_2_PI * (z + 0.044715 * z * z * z)))).astype(x.dtype, copy=False)


def _gelu_tanh_pull(g: Any, x: Any) -> Any:
    t = tanh(SQRT_2_PI * (x + 0.044715 * x * x * x))
    return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (SQRT_2_PI * (1 + 3 * 0.044715 * x * x)))


def gelu(x: Any, approximate: str = "none") -> Any:
    """x Φ(x) (Hendrycks & Gimpel 2016); approximate="tanh" for their tanh formula.

    ValueError for another `approximate`.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate is 'none' (exact) or 'tanh', not {approximate!r}")
    return _gelu(x) if approximate == "none" else _gelu_tanh(x)


@op(x=lambda g, out, axis: out * (g - sum(g * out, axis=axis, keepdims=True)))
def softmax(xp: Any, x: Any, *, axis: int = -1) -> Any:
    """exp(x) / sum(exp(x)) along `axis`, without overflow."""
    x = as_float(x)
    e = xp.exp(x - x.max(axis=axis, keepdims=True))
    return (e / e.sum(axis=axis, keepdims=True, dtype=wide(e.dtype))).astype(x.dtype, copy=False)


@op(x=lambda g, out, axis: g - exp(out) * sum(g, axis=axis, keepdims=True))
def log_softmax(xp: Any, x: Any, *, axis: int = -1) -> Any:
    """log(softmax(x)) along `axis`, without overflow or log(0)."""
    x = as_float(x)
    z = x - x.max(axis=axis, keepdims=True)
    return (z - xp.log(xp.exp(z).sum(axis=axis, keepdims=True, dtype=wide(z.dtype)))).astype(x.dtype, copy=False)


@op(x=lambda g, x, negative_slope: where(x > 0, g, g * negative_slope))
def leaky_relu(xp: Any, x: Any, *, negative_slope: float = 0.01) -> Any:
    """x where positive, else negative_slope x."""
    x = as_float(x)
    return xp.where(x > 0, x, (x * negative_slope).astype(x.dtype, copy=False))


@op(x=lambda g, x, alpha: where(x > 0, g, g * exp(where(x > 0, 0.0, x)) * alpha))
def elu(xp: Any, x: Any, *, alpha: float = 1.0) -> Any:
    """x where positive, else alpha (exp(x) - 1) (Clevert et al. 2015)."""
    x = as_float(x)
    return xp.where(x > 0, x, (alpha * xp.expm1(xp.minimum(x, x.dtype.type(0)))).astype(x.dtype, copy=False))
