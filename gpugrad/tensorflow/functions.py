"""TensorFlow's functions: the core's own wherever the conventions agree; thin adapters where only arguments differ."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import random as _random
from ..array import DTypeLike, as_dtype, float32, int32, int64
from ..core import Tensor, raw, wrap
from ..forward import ufunc
from ..op import findable, op
from ..ops import activation, index, linalg, loss, math, reduce, shape as _shape
from ..tensor import OPERATORS, arange, eye, full, linspace, ones, ones_like, zeros, zeros_like
from .errors import InvalidArgumentError
from .tensor import Conventions, EagerTensor, as_tf, convert_to_tensor, made, spoken

# ---------------------------------------------------------------------------------------------- the same functions
SAME: dict[str, Any] = {
    **{n: getattr(math, n) for n in (
        "abs", "acos", "acosh", "add", "asin", "asinh", "atan", "atan2", "atanh", "conj", "cos", "cosh", "divide",
        "equal", "exp", "expm1", "greater", "greater_equal", "imag", "less", "less_equal", "log", "log1p",
        "logical_and", "logical_not", "logical_or", "logical_xor", "multiply", "negative", "not_equal", "pow", "real",
        "reciprocal", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient", "subtract", "tan", "tanh",
    )},
    "erf": activation.erf, "floordiv": math.floor_divide, "floormod": math.remainder, "mod": math.remainder,
    "identity": math.positive, "is_finite": math.isfinite, "is_inf": math.isinf, "is_nan": math.isnan,
    "reduce_sum": reduce.sum, "reduce_mean": reduce.mean, "reduce_max": reduce.max, "reduce_min": reduce.min,
    "reduce_prod": reduce.prod, "reduce_logsumexp": reduce.logsumexp, "reduce_any": reduce.any,
    "reduce_all": reduce.all, "sigmoid": activation.sigmoid, "softplus": activation.softplus,
    "reshape": _shape.reshape, "broadcast_to": _shape.broadcast_to, "tensordot": linalg.tensordot,
    "roll": _shape.roll, "reverse": _shape.flip,
}  # fmt: skip
SAME = findable({n: spoken(f) for n, f in SAME.items()}, "gpugrad.tensorflow.math")

# ---------------------------------------------------------------------------------------------- other conventions
maximum = op(  # at a tie the first operand takes the gradient
    ufunc("maximum"),
    x=lambda g, x, y: math.where(raw(x) >= raw(y), g, 0),
    y=lambda g, x, y: math.where(raw(x) < raw(y), g, 0),
)
minimum = op(
    ufunc("minimum"),
    x=lambda g, x, y: math.where(raw(x) <= raw(y), g, 0),
    y=lambda g, x, y: math.where(raw(x) > raw(y), g, 0),
)


maximum, minimum = findable({"maximum": spoken(maximum), "minimum": spoken(minimum)}, __name__).values()


def _without_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    def call(x: Any, name: str | None = None) -> Any:
        return f(math.stop_gradient(convert_to_tensor(x)))

    call.__name__, call.__doc__ = f.__name__, f"{f.__doc__}  The gradient is None."
    return call


round, floor, ceil, rint = (_without_gradient(f) for f in (math.round, math.floor, math.ceil, math.round))


def argmax(input: Any, axis: int | None = None, output_type: DTypeLike = int64, name: str | None = None) -> Any:
    """Where the largest is along `axis` (None: the first)."""
    return cast(reduce.argmax(convert_to_tensor(input), axis=0 if axis is None else axis), output_type)


def argmin(input: Any, axis: int | None = None, output_type: DTypeLike = int64, name: str | None = None) -> Any:
    """Where the smallest is along `axis` (None: the first)."""
    return cast(reduce.argmin(convert_to_tensor(input), axis=0 if axis is None else axis), output_type)


# ---------------------------------------------------------------------------------------------- other arguments
def cast(x: Any, dtype: DTypeLike, name: str | None = None) -> Any:
    """x in another dtype; integers have no gradient."""
    return math.astype(convert_to_tensor(x), dtype)


def matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False, name: str | None = None) -> Any:
    """The matrix product a @ b, of either's transpose where asked.  Both have two axes or more."""
    a, b = convert_to_tensor(a), convert_to_tensor(b)
    if builtins.min(a.array.ndim, b.array.ndim) < 2:
        raise InvalidArgumentError(
            f"In[0] and In[1] have different ndims or less than 2: {a.array.ndim}D vs. {b.array.ndim}D [Op:MatMul]. "
            "Use tf.linalg.matvec or tf.tensordot for vectors."
        )
    return linalg.matmul(
        _shape.matrix_transpose(a) if transpose_a else a, _shape.matrix_transpose(b) if transpose_b else b
    )


def matvec(a: Any, b: Any, transpose_a: bool = False, name: str | None = None) -> Any:
    """The product of matrices a and vectors b."""
    return squeeze(matmul(a, expand_dims(b, -1), transpose_a), -1)


def transpose(a: Any, perm: Sequence[int] | None = None, conjugate: bool = False, name: str = "") -> Any:
    """The axes in the order `perm` (None: reversed)."""
    a = convert_to_tensor(a)
    out = _shape.permute_dims(a, range(a.array.ndim)[::-1] if perm is None else [int(p) for p in _integers(perm)])
    return math.conj(out) if conjugate else out


def _integers(x: Any) -> list[int]:
    """A tensor, array or sequence of integers as a list."""
    return np.asarray(x).tolist()


def squeeze(input: Any, axis: Any = None, name: str | None = None) -> Any:
    """Without the axes of length 1, or without those of `axis`."""
    return _shape.squeeze(convert_to_tensor(input), axis=tuple(axis) if isinstance(axis, list) else axis)


def expand_dims(input: Any, axis: int, name: str | None = None) -> Any:
    """With a new axis of length 1 at `axis`."""
    return _shape.expand_dims(convert_to_tensor(input), axis)


def concat(values: Sequence[Any], axis: int, name: str = "concat") -> Any:
    """One tensor after the other along `axis`."""
    return _shape.concat([convert_to_tensor(v) for v in values], axis)


def stack(values: Sequence[Any], axis: int = 0, name: str = "stack") -> Any:
    """Tensors of one shape, side by side along a new axis."""
    return _shape.stack([convert_to_tensor(v) for v in values], axis)


def unstack(value: Any, num: int | None = None, axis: int = 0, name: str = "unstack") -> list[Any]:
    """The slices along `axis`, without it."""
    return list(_shape.unstack(convert_to_tensor(value), axis))


def split(value: Any, num_or_size_splits: Any, axis: int = 0, num: int | None = None, name: str = "split") -> list[Any]:
    """Parts along `axis`: so many equal ones, or of these sizes."""
    return list(_shape.split(convert_to_tensor(value), num_or_size_splits, axis))


def gather(params: Any, indices: Any, axis: int = 0, name: str | None = None) -> Any:
    """The slices of params at `indices` along `axis`."""
    return index.take(convert_to_tensor(params), np.asarray(indices), axis)


def gather_nd(params: Any, indices: Any, name: str | None = None) -> Any:
    """The slices of params at the index vectors in the last axis of `indices`."""
    return index.getitem(convert_to_tensor(params), tuple(np.moveaxis(np.asarray(indices), -1, 0)))


def boolean_mask(tensor: Any, mask: Any, axis: int = 0, name: str = "boolean_mask") -> Any:
    """The elements where `mask` holds, from `axis` on."""
    return index.getitem(convert_to_tensor(tensor), (*[builtins.slice(None)] * axis, np.asarray(mask)))


def tile(input: Any, multiples: Any, name: str | None = None) -> Any:
    """The tensor repeated so many times along each axis."""
    x = convert_to_tensor(input)
    for axis, times in enumerate(_integers(multiples)):
        x = _shape.concat([x] * times, axis)
    return x


def where(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Any:
    """x where the condition holds, else y; without them, where it holds: an index vector a row."""
    if x is None and y is None:
        return as_tf(wrap(np.argwhere(np.asarray(condition))))
    return math.where(convert_to_tensor(condition), *_alike(x, y))


def _alike(x: Any, y: Any) -> tuple[Any, Any]:
    plain = (int, float, bool)
    if isinstance(x, plain) and isinstance(y, plain):
        return convert_to_tensor(x), convert_to_tensor(y)
    return (x if isinstance(x, plain) else convert_to_tensor(x)), (y if isinstance(y, plain) else convert_to_tensor(y))


def clip_by_value(t: Any, clip_value_min: Any, clip_value_max: Any, name: str | None = None) -> Any:
    """t limited to the two values; at a bound the gradient passes."""
    return math.clip(convert_to_tensor(t), clip_value_min, clip_value_max)


def cumsum(x: Any, axis: int = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None) -> Any:
    """Running sums along `axis`: without the element itself, or from the end."""
    x = convert_to_tensor(x)
    x = _shape.flip(x, axis=axis) if reverse else x
    out = reduce.cumsum(x, axis=axis)
    out = math.subtract(out, x) if exclusive else out
    return _shape.flip(out, axis=axis) if reverse else out


def reduce_std(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """The standard deviation: squared distances from the mean over their number."""
    return reduce.std(convert_to_tensor(input_tensor), axis=axis, keepdims=keepdims)


def reduce_variance(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """The variance: squared distances from the mean over their number."""
    return reduce.var(convert_to_tensor(input_tensor), axis=axis, keepdims=keepdims)


def einsum(equation: str, *inputs: Any, name: str | None = None) -> Any:
    """The sum of products that the equation writes, as "ij,jk->ik"."""
    return linalg.einsum(equation, *[convert_to_tensor(v) for v in inputs])


def add_n(inputs: Sequence[Any], name: str | None = None) -> Any:
    """The sum of all tensors."""
    out, *rest = [convert_to_tensor(v) for v in inputs]
    for v in rest:
        out = math.add(out, v)
    return out


def norm(tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """The Euclidean length, or the 1-norm or the maximum norm.  Of zero, the Euclidean norm's gradient is NaN."""
    x = convert_to_tensor(tensor)
    axis = tuple(axis) if isinstance(axis, list) else axis
    if ord in ("euclidean", 2):
        return math.sqrt(reduce.sum(math.square(math.abs(x)), axis=axis, keepdims=keepdims))
    if ord == 1:
        return reduce.sum(math.abs(x), axis=axis, keepdims=keepdims)
    if ord == np.inf:
        return reduce.max(math.abs(x), axis=axis, keepdims=keepdims)
    raise ValueError(f"norm: ord is 'euclidean', 1, 2 or np.inf, not {ord!r}")


def shape(input: Any, out_type: DTypeLike = int32, name: str | None = None) -> Any:
    """The shape as an integer tensor."""
    return as_tf(wrap(np.asarray(raw(convert_to_tensor(input)).shape, as_dtype(out_type))))


def size(input: Any, out_type: DTypeLike = int32, name: str | None = None) -> Any:
    """The number of elements."""
    return as_tf(wrap(np.asarray(raw(convert_to_tensor(input)).size, as_dtype(out_type))))


def rank(input: Any, name: str | None = None) -> Any:
    """The number of axes."""
    return as_tf(wrap(np.asarray(raw(convert_to_tensor(input)).ndim, int32)))


def fill(dims: Any, value: Any, name: str | None = None) -> EagerTensor:
    """A tensor filled with one number."""
    return as_tf(full(_integers(dims), value))


def one_hot(
    indices: Any, depth: int, on_value: float = 1.0, off_value: float = 0.0, axis: int = -1, dtype: DTypeLike = float32,
    name: str | None = None,
) -> Any:  # fmt: skip
    """A new axis with on_value at the index, off_value elsewhere."""
    out = index.one_hot(convert_to_tensor(indices), depth, dtype)
    out = math.add(math.multiply(out, on_value - off_value), off_value) if (on_value, off_value) != (1, 0) else out
    return _shape.moveaxis(out, -1, axis) if axis != -1 else out


def normal(
    shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: DTypeLike = float32, seed: Any = None, name: Any = None
):
    """Normal numbers."""
    return as_tf(_random.normal(_integers(shape), mean, stddev, dtype))


def uniform(
    shape: Any, minval: float = 0, maxval: Any = None, dtype: DTypeLike = float32, seed: Any = None, name: Any = None
):
    """Uniform numbers in [minval, maxval); integers where dtype is one."""
    if as_dtype(dtype).kind in "iu":
        if maxval is None:
            raise ValueError(
                "Must specify maxval for integer dtype: tf.random.uniform(shape, maxval=10, dtype=tf.int32)"
            )
        return cast(as_tf(_random.randint(int(minval), int(maxval), _integers(shape))), dtype)
    return as_tf(_random.uniform(_integers(shape), minval, 1.0 if maxval is None else maxval, dtype))


CREATION: dict[str, Any] = {
    "zeros": made(zeros), "ones": made(ones), "zeros_like": made(zeros_like), "ones_like": made(ones_like),
    "eye": made(eye), "range": made(arange), "linspace": made(linspace), "fill": fill,
}  # fmt: skip


# ---------------------------------------------------------------------------------------------- tf.nn, tf.image
def softmax(logits: Any, axis: int = -1, name: str | None = None) -> Any:
    """exp(logits) over their sum along `axis`."""
    return activation.softmax(convert_to_tensor(logits), axis=axis)


def log_softmax(logits: Any, axis: int = -1, name: str | None = None) -> Any:
    """The logarithm of softmax."""
    return activation.log_softmax(convert_to_tensor(logits), axis=axis)


def leaky_relu(features: Any, alpha: float = 0.2, name: str | None = None) -> Any:
    """x where positive, else alpha x."""
    return activation.leaky_relu(convert_to_tensor(features), alpha)


def gelu(features: Any, approximate: bool = False, name: str | None = None) -> Any:
    """x times the normal distribution function of x, or its approximation by tanh."""
    return activation.gelu(convert_to_tensor(features), approximate="tanh" if approximate else "none")


def sparse_softmax_cross_entropy_with_logits(labels: Any, logits: Any, name: str | None = None) -> Any:
    """The cross-entropy of each row with its integer label."""
    return loss.cross_entropy(convert_to_tensor(logits), raw(convert_to_tensor(labels)), reduction="none")


def softmax_cross_entropy_with_logits(labels: Any, logits: Any, axis: int = -1, name: str | None = None) -> Any:
    """The cross-entropy of each row with its distribution."""
    logits = convert_to_tensor(logits)
    return math.negative(reduce.sum(math.multiply(labels, log_softmax(logits, axis)), axis=axis))


def sigmoid_cross_entropy_with_logits(labels: Any = None, logits: Any = None, name: str | None = None) -> Any:
    """The cross-entropy of independent yes-or-no answers: max(x, 0) - x z + log(1 + exp(-|x|))."""
    x = convert_to_tensor(logits)
    return math.subtract(activation.softplus(x), math.multiply(x, labels))


def l2_loss(t: Any, name: str | None = None) -> Any:
    """Half the sum of squares."""
    return math.multiply(reduce.sum(math.square(convert_to_tensor(t))), 0.5)


def _adjust_contrast(xp: Any, images: Any, factor: Any) -> Any:
    """(x - mean) factor + mean, with the mean of each channel over height and width."""
    mean = images.mean((-3, -2), keepdims=True)
    return (images - mean) * factor + mean


_adjust_contrast_op = op(_adjust_contrast, name="AdjustContrastv2")  # without a gradient, as TensorFlow's


def adjust_contrast(images: Any, contrast_factor: Any) -> Any:
    """Each channel's distance from its mean over height and width, scaled.  images (..., height, width, channels).

    Has no gradient: LookupError when it is asked for.
    """
    return _adjust_contrast_op(convert_to_tensor(images), convert_to_tensor(contrast_factor))


TOP = (
    "add_n argmax argmin boolean_mask cast clip_by_value concat cumsum einsum expand_dims gather gather_nd matmul "
    "maximum minimum norm one_hot rank round shape size split squeeze stack tile transpose unstack where"
).split()
MATH = (
    "add_n argmax argmin ceil cumsum floor maximum minimum reduce_std reduce_variance rint round softmax log_softmax"
).split()
NN = (
    "softmax log_softmax leaky_relu gelu sparse_softmax_cross_entropy_with_logits softmax_cross_entropy_with_logits "
    "sigmoid_cross_entropy_with_logits l2_loss"
).split()
NN_SAME = findable({n: spoken(f) for n, f in {
    "relu": activation.relu, "sigmoid": activation.sigmoid, "tanh": math.tanh, "softplus": activation.softplus,
    "silu": activation.silu, "swish": activation.silu, "elu": activation.elu,
}.items()}, "gpugrad.tensorflow.nn")  # fmt: skip
LINALG = "einsum matmul matvec norm".split()


def pick(names: Sequence[str]) -> dict[str, Any]:
    """This module's functions of these names."""
    return {n: globals()[n] for n in names}


def is_tensor(x: Any) -> bool:
    """Whether x is a tensor or a variable."""
    return isinstance(x, Tensor)


for _operator, _name in OPERATORS.items():  # the short path for EagerTensors
    setattr(Conventions, f"__{_operator}__", SAME[_name])
