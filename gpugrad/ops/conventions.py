"""Ops with TensorFlow's conventions: who takes the gradient at a tie, roots of 0, channels last, names of results."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..core import raw
from ..forward import ufunc
from ..op import op
from . import (
    casting,
    conv,
    decompositions,
    determinant,
    diagonal,
    gamma,
    index,
    least_squares,
    logic,
    math,
    norm as norms,
    reduce,
    scan,
    scatter,
    shape,
    solve as systems,
    sorting,
)


def _tied(name: str, first: Callable[[Any, Any], Any]) -> Any:
    """The larger or smaller of two; at a tie the first operand takes the gradient."""
    return op(
        ufunc(name),
        x=lambda g, x, y: logic.where(first(raw(x), raw(y)), g, 0),
        y=lambda g, x, y: logic.where(first(raw(x), raw(y)), 0, g),
    )


def _root(name: str, core: Any, rule: Callable[[Any, Any], Any]) -> Any:
    """A root through which a cotangent of 0 comes as 0, where the slope is infinite, too."""
    return op(lambda xp, x: core(x), name=name, args=["x"], x=rule)


maximum, minimum = _tied("maximum", operator.ge), _tied("minimum", operator.le)
sqrt = _root("sqrt", math.sqrt, lambda g, out: g * 0.5 / logic.where(raw(g) == 0, 1, out))
rsqrt = _root("rsqrt", math.rsqrt, lambda g, out: g * -0.5 * logic.where(raw(g) == 0, 0, out) ** 3)


def euclidean_norm(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The root of the sum of squares.  Of zero, the gradient is NaN."""
    return math.sqrt(reduce.sum(math.square(math.abs(x)), axis=axis, keepdims=keepdims))


def norm(x: Any, ord: Any = "euclidean", axis: Any = None, keepdims: bool | None = None) -> Any:
    """The Euclidean length, or the norm `ord` of vectors along an axis or of matrices in two axes.

    Of zero, the Euclidean norm's gradient is NaN.
    """
    pair = isinstance(axis, (list, tuple)) and len(axis) == 2
    if ord in ("euclidean", "fro") or (ord == 2 and not pair):
        return euclidean_norm(x, axis, bool(keepdims))
    if axis is None:
        x = shape.flatten(x)
    return norms.norm(x, ord, tuple(axis) if isinstance(axis, list) else -1 if axis is None else axis, bool(keepdims))


@op  # without a gradient, as TensorFlow's
def AdjustContrastv2(xp: Any, images: Any, factor: Any) -> Any:
    """(x - mean) factor + mean, the mean of each channel over height and width; images (..., height, width, channels).

    LookupError when its gradient is asked for, unless tf.RegisterGradient has given it one.
    """
    mean = images.mean((-3, -2), keepdims=True)
    return (images - mean) * factor + mean


def bias_add(x: Any, bias: Any, data_format: str | None = None) -> Any:
    """A bias for each place of the last axis; of the second, where data_format starts with NC."""
    second = (data_format or "").startswith("NC")
    return math.add(x, shape.reshape(bias, (-1, *[1] * (raw(x).ndim - 2))) if second else bias)


class TopKV2(NamedTuple):
    """What `top_k` answers."""

    values: Any
    indices: Any


def top_k(x: Any, k: Any = 1, dtype: Any = "int32") -> TopKV2:
    """(values, indices) of the k largest in each row, the largest first."""
    values, places = sorting.topk(x, int(k))
    return TopKV2(values, casting.astype(places, dtype))


# ---------------------------------------------------------------------------------------------- element by element
def divide_no_nan(x: Any, y: Any) -> Any:
    """x / y, and 0 where y is 0, with a gradient of 0."""
    zero = raw(y) == 0
    return logic.where(zero, 0, math.divide(x, logic.where(zero, 1, y)))


def multiply_no_nan(x: Any, y: Any) -> Any:
    """x y, and 0 where y is 0, even for an infinite x."""
    zero = raw(y) == 0
    return logic.where(zero, 0, math.multiply(logic.where(zero, 0, x), y))


def reciprocal_no_nan(x: Any) -> Any:
    """1 / x, and 0 where x is 0, with a gradient of 0."""
    zero = raw(x) == 0
    return logic.where(zero, 0, math.reciprocal(logic.where(zero, 1, x)))


def polygamma(n: Any, x: Any) -> Any:
    """The n-th derivative of digamma; n is a number."""
    return gamma.polygamma(int(raw(n)), x)


def cumprod(x: Any, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Any:
    """Running products along `axis`; `exclusive`: without the element itself; `reverse`: from the end."""
    x = shape.flip(x, axis=axis) if reverse else x
    out = scan.cumprod(scan.shifted(x, axis=axis % raw(x).ndim, fill=1) if exclusive else x, axis=axis)
    return shape.flip(out, axis=axis) if reverse else out


def cumulative_logsumexp(x: Any, axis: int = 0, reverse: bool = False) -> Any:
    """log(cumsum(exp(x))) along `axis`; `reverse`: from the end."""
    if not reverse:
        return scan.cumlogsumexp(x, axis=axis)
    return shape.flip(scan.cumlogsumexp(shape.flip(x, axis=axis), axis=axis), axis=axis)


def moments(x: Any, axes: Any, keepdims: bool = False) -> tuple[Any, Any]:
    """(mean, variance) over `axes`."""
    axes = tuple(axes) if isinstance(axes, list) else axes
    return reduce.mean(x, axis=axes, keepdims=keepdims), reduce.var(x, axis=axes, keepdims=keepdims)


def batch_normalization(x: Any, mean: Any, variance: Any, offset: Any, scale: Any, epsilon: float) -> Any:
    """(x - mean) scale / √(variance + epsilon) + offset."""
    factor = math.rsqrt(math.add(variance, epsilon))
    factor = factor if scale is None else math.multiply(factor, scale)
    out = math.multiply(math.subtract(x, mean), factor)
    return out if offset is None else math.add(out, offset)


# ---------------------------------------------------------------------------------------------- places
def tensor_scatter(how: str) -> Callable[..., Any]:
    """x with `updates` at the index vectors in the last axis of `indices`: `how` is a method of x.at[...]."""

    def call(x: Any, indices: Any, updates: Any) -> Any:
        key = index.vectors(f"tensor_scatter_nd_{how}", indices, raw(x), raw(x).shape)
        return getattr(scatter.at(x)[key], how)(updates)

    call.__name__ = f"tensor_scatter_nd_{how}"
    call.__doc__ = f"x with `updates` at the index vectors in the last axis of `indices`, as x.at[...].{how} has it."
    return call


tensor_scatter_nd_add, tensor_scatter_nd_update = tensor_scatter("add"), tensor_scatter("set")
tensor_scatter_nd_sub = tensor_scatter("subtract")
tensor_scatter_nd_max, tensor_scatter_nd_min = tensor_scatter("max"), tensor_scatter("min")


# ---------------------------------------------------------------------------------------------- matrices
class Slogdet(NamedTuple):
    """What `slogdet` answers."""

    sign: Any
    log_abs_determinant: Any


def slogdet(x: Any) -> Slogdet:
    """(sign, logarithm of the absolute value) of the determinant of each matrix."""
    return Slogdet(*determinant.slogdet(x))


def logdet(x: Any) -> Any:
    """The logarithm of the determinant of positive definite matrices, by Cholesky's factor."""
    return math.multiply(reduce.sum(math.log(math.real(_diagonal(decompositions.cholesky(x)))), axis=-1), 2)


def _diagonal(x: Any) -> Any:
    return diagonal.diagonal(x, 0, -2, -1)


def _turned(a: Any, adjoint: bool) -> Any:
    return math.conj(shape.matrix_transpose(a)) if adjoint else a


def inv(x: Any, adjoint: bool = False) -> Any:
    """x⁻¹, the inverse of each matrix, or of its conjugate transpose."""
    return systems.inv(_turned(x, adjoint))


def solve(a: Any, b: Any, adjoint: bool = False) -> Any:
    """The x with a x = b, of matrices b; `adjoint`: with the conjugate transpose of a."""
    return systems.solve(_turned(a, adjoint), b)


def triangular_solve(a: Any, b: Any, lower: bool = True, adjoint: bool = False) -> Any:
    """The x with a x = b, of which the other triangle is not read; `adjoint`: with its conjugate transpose."""
    return systems.solve_triangular(_turned(a, adjoint), b, upper=lower == adjoint)


def svd(x: Any, full_matrices: bool = False, compute_uv: bool = True) -> Any:
    """(s, u, v) with x = u diag(s) v*; without compute_uv only s, descending."""
    if not compute_uv:
        return decompositions.svdvals(x)
    u, s, vh = decompositions.svd(x, full_matrices=full_matrices)
    return s, u, _turned(vh, True)


def qr(x: Any, full_matrices: bool = False) -> tuple[Any, Any]:
    """(q, r) with x = q r, of orthonormal columns and an upper triangle."""
    return decompositions.qr(x, mode="complete" if full_matrices else "reduced")


def lstsq(a: Any, b: Any, fast: bool = True) -> Any:
    """The x of least ‖b - a x‖, and of these the shortest, with or without `fast`."""
    return least_squares.lstsq(a, b).x


def trace(x: Any) -> Any:
    """The sum of the diagonal of each matrix."""
    return diagonal.trace(x, 0, -2, -1)


# ---------------------------------------------------------------------------------------------- images
def convolution(x: Any, w: Any, strides: Any, padding: Any, data_format: str | None, dilations: Any) -> Any:
    """Σ w x over windows of x (batch, *axes, channels); w (*window, channels, filters); padding "SAME" or "VALID".

    data_format: with NC at the start, x is (batch, channels, *axes).
    """
    n, first = raw(w).ndim - 2, (data_format or "").startswith("NC")
    x = x if first else shape.moveaxis(x, -1, 1)
    f = {1: conv.conv1d, 2: conv.conv2d, 3: conv.conv3d}[n]
    over = [_inner(s, n, first) for s in (strides, 1 if dilations is None else dilations)]
    padding = padding.lower() if isinstance(padding, str) else [tuple(p) for p in _spatial(padding, n, first)]
    groups = raw(x).shape[1] // raw(w).shape[-2]
    out = f(x, shape.moveaxis(w, (-1, -2), (0, 1)), None, over[0], padding, over[1], groups)
    return out if first else shape.moveaxis(out, 1, -1)


def _inner(given: Any, n: int, first: bool) -> Any:
    """A number for each of n axes, of one, of n, or of all n + 2 axes."""
    given = [given] if isinstance(given, int) else list(given)
    return tuple(given * n if len(given) == 1 else given if len(given) == n else _spatial(given, n, first))


def _spatial(given: Sequence[Any], n: int, first: bool) -> Sequence[Any]:
    return given[2:] if first else given[1 : n + 1]
