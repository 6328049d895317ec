"""TensorFlow's functions: the core's own wherever the conventions agree, else under TensorFlow's parameters."""

from __future__ import annotations

import builtins
import functools
import operator
from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..adapt import adapted
from ..array import DTypeLike, as_dtype, int32
from ..core import Tensor, raw, wrap
from ..forward import ufunc
from ..op import findable, op
from ..ops import activation, index, linalg, math, norm as norms, reduce, shape as _shape
from ..tensor import OPERATORS, arange, eye, full, linspace, ones, ones_like, zeros, zeros_like
from .errors import InvalidArgumentError
from .tensor import Conventions, as_tf, convert_to_tensor, spoken

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
def _tied(name: str, first: Callable[[Any, Any], Any]) -> Any:
    """The larger or smaller of two; at a tie the first operand takes the gradient."""
    return spoken(
        op(
            ufunc(name),
            x=lambda g, x, y: math.where(first(raw(x), raw(y)), g, 0),
            y=lambda g, x, y: math.where(first(raw(x), raw(y)), 0, g),
        )
    )


maximum, minimum = _tied("maximum", operator.ge), _tied("minimum", operator.le)
findable({"maximum": maximum, "minimum": minimum}, __name__)


def _norm(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return math.sqrt(reduce.sum(math.square(math.abs(x)), axis=axis, keepdims=keepdims))


def norm(
    tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: bool | None = None, name: str | None = None
) -> Any:
    """The Euclidean length, or the 1-norm or the maximum norm.  Of zero, the Euclidean norm's gradient is NaN."""
    x, options = convert_to_tensor(tensor), {"axis": axis, "keepdims": bool(keepdims)}
    if ord in ("euclidean", 2):
        return _norm(x, **options)
    if ord == 1:
        return reduce.sum(math.abs(x), **options)
    if ord == np.inf:
        return reduce.max(math.abs(x), **options)
    raise ValueError(f"norm: ord is 'euclidean', 1, 2 or np.inf, not {ord!r}")


# ---------------------------------------------------------------------------------------------- other parameters
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


def transpose(a: Any, perm: Any = None, conjugate: bool = False, name: str = "transpose") -> Any:
    """The axes in the order `perm` (None: reversed)."""
    a = convert_to_tensor(a)
    out = _shape.permute_dims(a, range(a.array.ndim)[::-1] if perm is None else _integers(perm))
    return math.conj(out) if conjugate else out


def where(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Any:
    """x where the condition holds, else y; without them, where it holds: an index vector a row."""
    if x is None and y is None:
        return as_tf(wrap(np.argwhere(np.asarray(condition))))
    numbers = [isinstance(v, (int, float)) for v in (x, y)]
    x, y = [v if number and not all(numbers) else convert_to_tensor(v) for v, number in zip((x, y), numbers)]
    return math.where(convert_to_tensor(condition), x, y)


def einsum(equation: str, *inputs: Any, name: str | None = None) -> Any:
    """The sum of products that the equation writes, as "ij,jk->ik"."""
    return linalg.einsum(equation, *_each(inputs))


def meshgrid(*args: Any, indexing: str = "xy", name: str | None = None) -> list[Any]:
    """The coordinates of a grid from those of its axes; "xy" has the first two axes exchanged, "ij" has not."""
    return list(_shape.meshgrid(*_each(args), indexing=indexing))


# ---------------------------------------------------------------------------------------------- a row each
def _integers(x: Any) -> Any:
    """A tensor, array or sequence of integers as a list, one number as a number."""
    return np.asarray(x).tolist()


def _each(values: Sequence[Any]) -> list[Any]:
    return [None if v is None else convert_to_tensor(v) for v in values]


def _made(f: Callable[..., Any]) -> Callable[..., Any]:
    """A creation function of the core's, making tf.Tensors."""
    return lambda *args, **options: as_tf(f(*args, **options))


def _listed(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **options: list(f(*args, **options))


def _count(f: Callable[[Any], Any]) -> Callable[..., Any]:
    """A property of the array as an integer tensor."""
    return lambda x, dtype=None: as_tf(wrap(np.asarray(f(x.array), as_dtype(dtype or int32))))


def _place(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axis, dtype: math.astype(f(x, axis=axis or 0), dtype)


def _flat(f: Callable[..., Any]) -> Callable[..., Any]:
    """The values of f, which no gradient passes: None, where the core has zeros."""
    return lambda x: f(math.stop_gradient(x))


TopKV2 = namedtuple("TopKV2", "values indices")


def _top_k(x: Any, k: Any, dtype: DTypeLike) -> TopKV2:
    values, places = index.top_k(x, int(k))
    return TopKV2(values, math.astype(places, dtype))


def _directed(f: Callable[..., Any]) -> Callable[..., Any]:
    def call(x: Any, axis: int, direction: str) -> Any:
        if direction not in ("ASCENDING", "DESCENDING"):
            raise ValueError(
                f"Argument `direction` should be one of 'ASCENDING' or 'DESCENDING'. Received: {direction!r}"
            )
        out = f(x, axis, direction == "DESCENDING")
        return math.astype(out, int32) if f is index.argsort else out

    return call


def row(f: Callable[..., Any], parameters: str, doc: str | None = None, box: Any = convert_to_tensor) -> Any:
    """`f` under TensorFlow's parameters, the last of which is always `name`."""
    return adapted(f, parameters if "-name=" in parameters else f"{parameters}, -name=None", box, doc)


def named(rows: dict[str, Any], module: str) -> dict[str, Any]:
    """The functions of rows, under the names that users call them by."""
    for name, f in rows.items():
        f.__name__ = name
    return findable(rows, module)


AXES = "input_tensor, axis=None, keepdims=False"
PLACE = "input, axis=None, output_type:dtype='int64'"
ROWS = named({
    "add_n": row(lambda xs: functools.reduce(math.add, xs), "inputs", "The sum of all tensors.", _each),
    "argmax": row(_place(reduce.argmax), PLACE, "Where the largest is along `axis` (None: the first)."),
    "argmin": row(_place(reduce.argmin), PLACE, "Where the smallest is along `axis` (None: the first)."),
    "argsort": row(_directed(index.argsort), "values, axis=-1, direction='ASCENDING', -stable=False",
        "The indices that sort along `axis`."),
    "boolean_mask": row(index.boolean_mask, "tensor, mask, axis=None, -name='boolean_mask'"),
    "cast": row(math.astype, "x, dtype"),
    "ceil": row(_flat(math.ceil), "x", "The next integer from x up.  The gradient is None."),
    "clip_by_global_norm": row(norms.clip_by_global_norm, "t_list, clip_norm:limit, use_norm:length=None", box=_each),
    "clip_by_norm": row(norms.clip_by_norm, "t, clip_norm:limit, axes:axis=None"),
    "clip_by_value": row(math.clip, "t, clip_value_min:min, clip_value_max:max"),
    "concat": row(_shape.concat, "values, axis, -name='concat'", box=_each),
    "cumsum": row(reduce.running_sum, "x, axis=0, exclusive=False, reverse=False"),
    "expand_dims": row(_shape.expand_dims, "input, axis"),
    "eye": row(_made(eye), "num_rows, num_columns:m=None, dtype=None", "The identity matrix.", None),
    "fill": row(_made(full), "dims, value:fill_value", "A tensor filled with one number.", _integers),
    "floor": row(_flat(math.floor), "x", "The next integer from x down.  The gradient is None."),
    "gather": row(lambda x, indices, axis: index.take(x, indices, axis or 0),
        "params, indices, -validate_indices=None, axis=None", "The slices of params at `indices` along `axis`."),
    "gather_nd": row(index.gather_nd, "params, indices"),
    "global_norm": row(norms.global_norm, "t_list", box=_each),
    "l2_normalize": row(norms.normalize, "x, axis=None, epsilon=1e-12"),
    "linspace": row(_made(linspace), "start, stop, num", "`num` equally spaced numbers, both ends included.", None),
    "log_sigmoid": row(activation.log_sigmoid, "x"),
    "matvec": row(lambda a, b, t: linalg.matvec(_shape.matrix_transpose(a) if t else a, convert_to_tensor(b)),
        "a, b, transpose_a:t=False", "The products of matrices a and vectors b."),
    "one_hot": row(index.one_hot,
        "indices, depth:num_classes, on_value:on=None, off_value:off=None, axis=None, dtype=None"),
    "ones": row(_made(ones), "shape, dtype=None", "A tensor of ones.", _integers),
    "ones_like": row(ones_like, "input, dtype=None"),
    "pad": row(_shape.pad, "tensor, paddings:pad_width, mode='CONSTANT', constant_values=0"),
    "range": row(lambda start, stop, step, dtype: as_tf(arange(start, _integers(stop), _integers(step), dtype)),
        "start, limit:stop=None, delta:step=1, dtype=None, -name='range'",
        "start, start + delta, … up to but without limit; integers unless an argument is a float.", _integers),
    "rank": row(_count(lambda a: a.ndim), "input", "The number of axes."),
    "reduce_euclidean_norm": row(_norm, AXES, "The root of the sum of squares.  Of zero, the gradient is NaN."),
    "reduce_std": row(reduce.std, AXES),
    "reduce_variance": row(reduce.var, AXES),
    "repeat": row(index.repeat, "input, repeats, axis=None"),
    "rsqrt": row(math.rsqrt, "x"),
    "rint": row(_flat(math.round), "x", "The nearest integer, the even one of two.  The gradient is None."),
    "round": row(_flat(math.round), "x", "The nearest integer, the even one of two.  The gradient is None."),
    "shape": row(_count(lambda a: a.shape), "input, out_type:dtype=None", "The shape as an integer tensor."),
    "size": row(_count(lambda a: a.size), "input, out_type:dtype=None", "The number of elements."),
    "slice": row(index.window, "input_, begin, size"),
    "sort": row(_directed(index.sort), "values, axis=-1, direction='ASCENDING'", "Sorted along `axis`."),
    "split": row(_listed(_shape.split), "value, num_or_size_splits:sizes_or_sections, axis=0, -num=None, -name='split'",
        "Parts along `axis`: so many equal ones, or of these sizes."),
    "squared_difference": row(lambda x, y: math.square(math.subtract(x, y)), "x, y", "(x - y)²."),
    "squeeze": row(_shape.squeeze, "input, axis=None"),
    "stack": row(_shape.stack, "values, axis=0, -name='stack'", box=_each),
    "tile": row(_shape.tile, "input, multiples:repetitions"),
    "top_k": row(_top_k, "input, k=1, -sorted=True, index_type:dtype='int32'",
        "(values, indices) of the k largest in each row, the largest first."),
    "unstack": row(_listed(_shape.unstack), "value, -num=None, axis=0, -name='unstack'",
        "The slices along `axis`, without it."),
    "zeros": row(_made(zeros), "shape, dtype=None", "A tensor of zeros.", _integers),
    "zeros_like": row(zeros_like, "input, dtype=None"),
}, "gpugrad.tensorflow")  # fmt: skip

TOP = (
    "add_n argmax argmin argsort boolean_mask cast clip_by_global_norm clip_by_norm clip_by_value concat cumsum einsum "
    "expand_dims eye fill gather gather_nd linspace matmul maximum meshgrid minimum norm one_hot ones ones_like pad "
    "range rank repeat round shape size slice sort split squeeze stack tile transpose unstack where zeros zeros_like"
).split()
MATH = (
    "add_n argmax argmin ceil cumsum floor l2_normalize log_sigmoid maximum minimum reduce_euclidean_norm reduce_std "
    "reduce_variance rint round rsqrt squared_difference top_k"
).split()
LINALG = "einsum eye global_norm l2_normalize matmul matvec norm".split()


def pick(names: Sequence[str]) -> dict[str, Any]:
    """The functions of these names, a row's or a written one."""
    return {n: ROWS[n] if n in ROWS else globals()[n] for n in names}


def is_tensor(x: Any) -> bool:
    """Whether x is a tensor or a variable."""
    return isinstance(x, Tensor)


for _operator, _name in OPERATORS.items():  # the short path for EagerTensors
    setattr(Conventions, f"__{_operator}__", SAME[_name])
