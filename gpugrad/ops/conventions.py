"""Ops with TensorFlow's conventions: who takes the gradient at a tie, roots of 0, options, names of results."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..adapt import chosen
from ..array import to_host
from ..core import raw
from ..forward import boxed, ufunc
from ..op import elementwise
from . import (
    activation,
    casting,
    decompositions,
    determinant,
    diagonal,
    divergence,
    gamma,
    index,
    least_squares,
    linalg as products,
    logic,
    loss as losses,
    math,
    norm as norms,
    pad as padding,
    reduce,
    scan,
    scatter,
    shape,
    softmax as softmaxes,
    solve as systems,
    sorting,
)


def _tied(name: str, first: Callable[[Any, Any], Any]) -> Any:
    """The larger or smaller of two; at a tie the first operand takes the gradient."""
    return elementwise(
        ufunc(name),
        x=lambda g, x, y: logic.where(first(raw(x), raw(y)), g, 0),
        y=lambda g, x, y: logic.where(first(raw(x), raw(y)), 0, g),
    )


def _root(name: str, core: Any, rule: Callable[[Any, Any], Any]) -> Any:
    """A root through which a cotangent of 0 comes as 0, where the slope is infinite, too."""
    return elementwise(lambda xp, x: core(x), name=name, args=["x"], x=rule)


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


def gelu(x: Any, approximate: bool = False) -> Any:
    """x times the normal distribution function of x, or its approximation by tanh."""
    return activation.gelu(x, "tanh" if approximate else "none")


def softmax(x: Any, axis: int | None = None) -> Any:
    """exp(x) over their sum."""
    return softmaxes.softmax(x, axis=-1 if axis is None else axis)


def log_softmax(x: Any, axis: int | None = None) -> Any:
    """log(softmax(x))."""
    return softmaxes.log_softmax(x, axis=-1 if axis is None else axis)


def l2_loss(x: Any) -> Any:
    """Half the sum of squares."""
    return math.multiply(reduce.sum(math.square(x)), 0.5)


def sigmoid_cross_entropy(labels: Any, logits: Any) -> Any:
    """The cross-entropy of a yes-or-no answer in each place."""
    return losses.sigmoid_xent(logits, labels)


def softmax_cross_entropy(labels: Any, logits: Any, axis: int = -1) -> Any:
    """The cross-entropy of each row with its distribution."""
    return math.negative(reduce.sum(math.multiply(softmaxes.log_softmax(logits, axis=axis), labels), axis=axis))


def sparse_softmax_cross_entropy(labels: Any, logits: Any) -> Any:
    """The cross-entropy of each row with its integer label."""
    return losses.label_rows(logits, raw(labels), logits=True)


# ---------------------------------------------------------------------------------------------- element by element
def squared_difference(x: Any, y: Any) -> Any:
    """(x - y)²."""
    return math.square(math.subtract(x, y))


def divide_no_nan(x: Any, y: Any) -> Any:
    """x / y, and 0 where y is 0, with a gradient of 0."""
    zero = raw(y) == 0
    return logic.where(zero, 0, math.divide(x, logic.where(zero, 1, y)))


def multiply_no_nan(x: Any, y: Any) -> Any:
    """x y, and 0 where y is 0, even for an infinite x."""
    a, b = raw(x), raw(y)
    return math.multiply(logic.where((b == 0) & ~((a - a) == 0), 0, x), y)


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


def argmax(x: Any, axis: int | None = None, dtype: Any = "int64") -> Any:
    """Where the largest is along `axis` (None: the first)."""
    return casting.astype(reduce.argmax(x, axis=axis or 0), dtype)


def argmin(x: Any, axis: int | None = None, dtype: Any = "int64") -> Any:
    """Where the smallest is along `axis` (None: the first)."""
    return casting.astype(reduce.argmin(x, axis=axis or 0), dtype)


def argsort(x: Any, axis: int = -1, direction: str = "ASCENDING") -> Any:
    """The indices that sort along `axis`."""
    return casting.astype(sorting.argsort(x, axis, _descending(direction)), "int32")


def sort(x: Any, axis: int = -1, direction: str = "ASCENDING") -> Any:
    """Sorted along `axis`."""
    return sorting.sort(x, axis, _descending(direction))


def _descending(direction: str) -> bool:
    return chosen("direction", direction, {"ASCENDING": False, "DESCENDING": True})


def zero_fraction(x: Any) -> Any:
    """Which part of all elements is 0."""
    return reduce.mean(casting.astype(logic.equal(x, 0), "float32"))


def searchsorted(x: Any, values: Any, side: str = "left", dtype: Any = "int32") -> Any:
    """Where to put `values` into x, sorted along its last axis, so that it stays sorted."""
    return casting.astype(sorting.searchsorted(x, values, side), dtype)


def complex_of(x: Any, y: Any) -> Any:
    """x + i y."""
    dtype = np.result_type(raw(x).dtype, np.complex64)
    return math.add(casting.astype(x, dtype), math.multiply(casting.astype(y, dtype), 1j))


def weighted_cross_entropy(labels: Any, logits: Any, pos_weight: Any) -> Any:
    """The cross-entropy of yes-or-no answers in each place, where a yes weighs `pos_weight`."""
    return divergence.binary_cross_entropy_with_logits(logits, labels, "none", pos_weight=pos_weight)


# ---------------------------------------------------------------------------------------------- places
def gather(x: Any, indices: Any, axis: int | None = None, batch_dims: int = 0) -> Any:
    """The slices of x at `indices` along `axis`, None: the first that is not shared; so many first ones are shared."""
    if not batch_dims:
        return index.take(x, indices, axis or 0)
    if axis not in (None, batch_dims):
        raise ValueError(f"gather: with batch_dims={batch_dims}, axis is {batch_dims}, not {axis}")
    return index.gather_nd(x, to_host(raw(index.as_indices(indices)))[..., None], batch_dims)


def embedding_lookup(x: Any, ids: Any) -> Any:
    """The slices of x that `ids` name."""
    return index.take(x, raw(ids), 0)


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
def matmul(x: Any, y: Any, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    """The matrix product x @ y, of either's transpose where asked.  Both have two axes or more."""
    m, n = raw(x).ndim, raw(y).ndim
    if min(m, n) < 2:
        raise ValueError(
            f"In[0] and In[1] have different ndims or less than 2: {m}D vs. {n}D [Op:MatMul]. "
            "Use tf.linalg.matvec or tf.tensordot for vectors."
        )
    return products.matmul(
        shape.matrix_transpose(x) if transpose_a else x, shape.matrix_transpose(y) if transpose_b else y
    )


def matvec(x: Any, y: Any, transpose_a: bool = False) -> Any:
    """The products of matrices x and vectors y."""
    return products.matvec(shape.matrix_transpose(x) if transpose_a else x, y)


def transpose(x: Any, perm: Any = None, conjugate: bool = False) -> Any:
    """The axes in the order `perm` (None: reversed)."""
    axes = range(raw(x).ndim)[::-1] if perm is None else to_host(raw(index.as_indices(perm))).tolist()
    out = shape.permute_dims(x, axes)
    return math.conj(out) if conjugate else out


class Slogdet(NamedTuple):
    """What `slogdet` answers."""

    sign: Any
    log_abs_determinant: Any


def slogdet(x: Any) -> Slogdet:
    """(sign, logarithm of the absolute value) of the determinant of each matrix."""
    return Slogdet(*determinant.slogdet(x))


def logdet(x: Any) -> Any:
    """The logarithm of the determinant of positive definite matrices, by Cholesky's factor."""
    return math.multiply(reduce.sum(math.log(math.real(diag_part(decompositions.cholesky(x)))), axis=-1), 2)


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


def diag_part(x: Any, offset: int = 0) -> Any:
    """The `offset`-th diagonal of each matrix."""
    return diagonal.diagonal(x, offset, -2, -1)


def trace(x: Any) -> Any:
    """The sum of the diagonal of each matrix."""
    return diagonal.trace(x, 0, -2, -1)


def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> Any:
    """x with more elements around it, as `gg.pad`; pad_width has a pair (before, after) for each axis.

    mode: "constant", "reflect" or "symmetric", in capitals, too.  ValueError otherwise.
    """
    x, width = boxed(x, "pad"), np.asarray(to_host(raw(pad_width)))
    if width.shape != (raw(x).ndim, 2):
        raise ValueError(f"pad: paddings are a pair for each of {raw(x).ndim} axes, not of shape {width.shape}")
    if mode.lower() not in ("constant", "reflect", "symmetric"):
        raise ValueError(f"pad: mode is 'CONSTANT', 'REFLECT' or 'SYMMETRIC', not {mode!r}")
    return padding.pad(x, width, mode, constant_values)
