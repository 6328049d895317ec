"""x @ weight + bias and an activation as one op.

On a GPU bias and activation come with the product, or in one pass after it; on the way back the activation and the
bias's gradient are one pass.  It keeps x, the weight, and the output, what the activation was given, or its slope: no
more arrays than the steps apart would.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import fused, gemm
from ..core import Tensor, raw
from ..dtypes import float32, float64, wide
from ..forward import number
from ..kernels import CTYPES, usable
from ..op import op
from .activation import gelu_erf, gelu_tanh, relu, sigmoid, silu
from .blocks import over_parts, pointwise_over, summed
from .examples import own
from .linalg import add_product, array_matmul, host_matmul, matmul, product_op, weight_grad
from .math import add, tanh
from .normal import gelu_and_slope
from .reduce import sum
from .shape import aligned, matrix_transpose
from .tall import by_rows, multiply, small

ACTIVATIONS: dict[str, Any] = {
    "gelu": gelu_erf, "gelu_tanh": gelu_tanh, "relu": relu, "sigmoid": sigmoid, "silu": silu, "tanh": tanh,
}  # fmt: skip
_BY_INPUT = {a for a, f in ACTIVATIONS.items() if 1 not in f.op.needs[0]}  # whose pullback goes by what they are given
# Those whose input nobody needs any more write over it on the CPU.
_OVER: dict[str, Callable[[Any], Any]] = {
    "relu": lambda z: np.maximum(z, number(0, z.dtype), out=z), "tanh": lambda z: np.tanh(z, out=z),
}  # fmt: skip
# Of NumPy's float32 f(z, out) writes the activation into `out`, and over z its slope, which is what is kept: together
# they take two thirds of the time of one after the other.
_SLOPED: dict[str, Callable[[Any, Any], None]] = {"gelu": gelu_and_slope}


def _keeps_slope(activation: str, z: Any) -> bool:
    return type(z) is np.ndarray and z.dtype is float32 and activation in _SLOPED


def over_output(activation: str, z: Any) -> Any:
    """The activation of NumPy's z, in its memory where that can be."""
    return (_OVER.get(activation) or ACTIVATIONS[activation])(z)


def _rows(x: Any) -> Any:
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _affine(xp: Any, x: Any, weight: Any, bias: Any, over: Callable[[Any], Any] | None = None) -> Any:
    """x @ weight + bias; then `over`, a function that writes over it, of NumPy's."""
    rows = _rows(x)
    if small(rows, weight):
        z = np.empty((len(rows), weight.shape[1]), x.dtype)

        def work(x: Any, z: Any) -> None:
            multiply(x, weight, z)
            z += bias
            if over is not None:
                over(z)

        by_rows(work, (rows, z))
    else:
        z = array_matmul(xp, rows, weight) if xp is not np else host_matmul(rows, weight)
        z += bias
        if over is not None:
            over(z)
    return z if x.ndim == 2 else z.reshape(*x.shape[:-1], weight.shape[1])


def _steps(xp: Any, x: Any, weight: Any, bias: Any, activation: str) -> tuple[Any, Any]:
    """(out, what the activation was given or its slope) by array functions; that may be written over by the output."""
    over = _OVER.get(activation) if xp is np else None
    z = _affine(xp, x, weight, bias, over)
    if over is not None:
        return z, z
    if _keeps_slope(activation, z):
        return _and_slope(z, _SLOPED[activation]), z
    return ACTIVATIONS[activation](z), z


def _and_slope(z: np.ndarray, f: Callable[[Any, Any], None]) -> np.ndarray:
    out = np.empty(z.shape, z.dtype)
    given, made = z.reshape(-1), out.reshape(-1)

    def work(parts: Iterable[slice]) -> None:
        for at in parts:
            f(given[at], made[at])

    over_parts(z.size, work)
    return out


def _gpu(xp: Any, x: Any, weight: Any, bias: Any, activation: str) -> tuple[Any, Any, Any]:
    """(out, what the activation was given, what of it is still to be added)."""
    if found := gemm.linear(x, weight, bias, activation, save=activation == "gelu_tanh"):
        out, z = found
        return out, None if z is None else z[:, : out.shape[-1]].reshape(out.shape), None
    if not usable(x, weight, bias):
        return *_steps(xp, x, weight, bias, activation), None
    z = gemm.product(x, weight)
    return fused.bias_act(z, bias, activation), z, bias


def _gpu_affine(xp: Any, x: Any, weight: Any, bias: Any) -> Any:
    if found := gemm.linear(x, weight, bias, "identity"):
        return found[0]
    if usable(x, weight, bias):
        return fused.bias_act(gemm.product(x, weight), bias, "identity")
    return _affine(xp, x, weight, bias)


def column_sums(g: Any) -> Any:
    """g summed over all axes but the last: the cotangent of a bias."""
    if type(g) is np.ndarray and g.dtype is wide(g.dtype):
        return summed(_rows(g))
    return sum(g, axis=tuple(range(g.ndim - 1)))


def _back(g: Any, out: Any, z: Any, offset: Any, activation: str) -> tuple[Any, Any]:
    """The cotangents of x @ weight and of the bias."""
    saved = out if z is None else z
    if type(g) is not np.ndarray and not isinstance(g, Tensor) and usable(g, saved):
        return fused.bias_act_grad(g, saved, offset, activation)
    return _by_rule(g, out, z if offset is None else add(z, offset), activation)


def _by_rule(g: Any, out: Any, z: Any, activation: str) -> tuple[Any, Any]:
    dz = ACTIVATIONS[activation].op.rules[0](g, (z, out), g.shape)
    return dz, column_sums(dz)


def _back_over(g: Any, saved: Any, activation: str) -> tuple[Any, Any]:
    """`_back` of NumPy's arrays, which writes over g."""
    if _keeps_slope(activation, saved):
        dz = np.multiply(g, saved, out=g)
        return dz, column_sums(dz)
    rule = ACTIVATIONS[activation].op.rules[0]
    dz = pointwise_over(lambda xp, g, saved: rule(g, (saved, saved), g.shape), g, saved)
    return dz, column_sums(dz)


def _back_by_input(g: Any, x: Any, weight: Any, bias: Any, z: Any, offset: Any, activation: str) -> tuple[Any, Any]:
    if isinstance(g, Tensor):  # z is a cache of values: its history is that of what it was made of
        return _by_rule(g, None, add(matmul(x, weight), bias), activation)
    if _keeps_slope(activation, z):
        dz = g * z
        return dz, column_sums(dz)
    return _back(g, None, z, offset, activation)


def _batch(activation: str | None) -> Any:
    """With weights of each example's own, the steps apart: a batch of products."""

    def batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
        x, weight, bias = xs
        if not (each[1] or each[2]):
            return call(x, weight, bias)
        x = own(x, each[0], level.n)
        rank = raw(x).ndim - 1
        z = matmul(x, aligned(weight, rank) if each[1] else weight)
        z = add(z, aligned(bias, rank) if each[2] else bias)
        out = z if activation is None else ACTIVATIONS[activation](z)
        return (out, None, None) if activation in _BY_INPUT else (out,)  # the caches are not for a pullback of Tensors

    return batch


_RULES: dict[str, Any] = {
    "x": lambda p, weight: product_op(p[0], matrix_transpose(weight)),
    "weight": lambda p, x: weight_grad(p[0], x, (0, 0)),
    "bias": lambda p: p[1],
    "adds": {"weight": lambda p, x, total: add_product(p[0], x, total)},
    "last": "x",
}


def _by_output(activation: str) -> Any:
    """The op of an activation whose pullback goes by its output."""
    return op(
        lambda xp, x, weight, bias: _steps(xp, x, weight, bias, activation)[0],
        gpu=lambda xp, x, weight, bias: _gpu(xp, x, weight, bias, activation)[0],
        name=f"linear_{activation}",
        batch=_batch(activation),
        via=lambda g, out: _back(g, out, None, None, activation),
        over=lambda g, out: _back_over(g, out, activation),
        **_RULES,
    )


def _by_input(activation: str) -> Any:
    """The op of an activation whose pullback goes by what it was given."""
    return op(
        lambda xp, x, weight, bias: (*_steps(xp, x, weight, bias, activation), None),
        gpu=lambda xp, x, weight, bias: _gpu(xp, x, weight, bias, activation),
        name=f"linear_{activation}",
        batch=_batch(activation),
        aux=("z", "offset"),
        via=lambda g, x, weight, bias, z, offset: _back_by_input(g, x, weight, bias, z, offset, activation),
        over=lambda g, z: _back_over(g, z, activation),
        **_RULES,
    )


_LINEAR: dict[str | None, Any] = {
    None: op(
        lambda xp, x, weight, bias: _affine(xp, x, weight, bias),
        gpu=_gpu_affine,
        name="linear",
        batch=_batch(None),
        via=lambda g: (g, column_sums(g)),
        **_RULES,
    ),
    **{a: (_by_input if a in _BY_INPUT else _by_output)(a) for a in ACTIVATIONS},
}


def linear(x: Any, weight: Any, bias: Any = None, activation: str | None = None) -> Any:
    """x @ weight + bias, then the activation by name.

    x (..., in), weight (in, out), bias (out,), or what broadcasts to the product -> (..., out).  activation: "gelu"
    (exact), "gelu_tanh", "relu", "sigmoid", "silu", "tanh" or None; ValueError for another one.
    """
    made = _LINEAR.get(activation)
    if made is None:
        raise ValueError(f"linear: activation is one of {sorted(ACTIVATIONS)} or None, not {activation!r}")
    if fitting(raw(x), raw(weight), raw(bias)) and not (activation in _BY_INPUT and frozen(weight, x, bias)):
        return made(x, weight, bias)
    given, shape = np.shape(raw(x)), np.shape(raw(weight))
    if len(shape) == 2 and given[-1:] != shape[:1]:
        raise ValueError(f"linear: x is (..., in) and weight (in, out), given {given} and {shape}")
    y = matmul(x, weight)
    if bias is not None:
        y = add(y, bias)
    return y if activation is None else ACTIVATIONS[activation](y)


def frozen(weight: Any, *others: Any) -> bool:
    """Whether the others are tracked and the weight is not: then the steps apart keep less, without x."""
    tracked = lambda t: isinstance(t, Tensor) and t.node is not None
    return not tracked(weight) and any([tracked(t) for t in others])


def fitting(x: Any, weight: Any, bias: Any) -> bool:
    """Whether they are what the one op takes: rows, a matrix and a vector, of one real dtype."""
    try:
        d = x.dtype
        return (
            (d is float32 or d is float64 or d in CTYPES)
            and weight.dtype == d
            and bias.dtype == d
            and x.ndim > 1
            and weight.ndim == 2
            and weight.shape == x.shape[-1:] + bias.shape
        )
    except AttributeError:  # numbers and lists
        return False
