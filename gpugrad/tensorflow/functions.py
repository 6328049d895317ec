"""TensorFlow's functions: the core's own wherever the conventions agree, else a row of the table.

A row says under which names users find a function, what the core calls it, and TensorFlow's parameters.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import random
from ..adapt import adapted, chosen
from ..core import Tensor, raw, wrap
from ..dtypes import as_dtype, int32
from ..op import findable
from ..ops import (
    activation,
    casting,
    choice,
    conventions,
    index,
    linalg,
    logic,
    loss,
    math,
    norm as norms,
    piecewise,
    reduce,
    rounding,
    scan,
    shape as _shape,
    softmax as softmaxes,
    sorting,
    special,
)  # fmt: skip
from ..ops.pad import pad as _pad
from ..origin import CONSTANT
from ..recording import lost
from ..tensor import OPERATORS, arange, eye, full, linspace, ones, ones_like, zeros, zeros_like
from .errors import InvalidArgumentError
from .tensor import Conventions, as_tf, convert_to_tensor, spoken

# ---------------------------------------------------------------------------------------------- the same functions
ELEMENTS = (
    "abs acos acosh add asin asinh atan atan2 atanh conj cos cosh divide exp expm1 imag log log1p multiply negative "
    "pow real reciprocal sin sinh square subtract tan tanh"
).split()
SAME: dict[str, Any] = {
    **{n: spoken(getattr(math, n), *(("y", "x") if n == "atan2" else ())) for n in ELEMENTS},
    **{f"reduce_{f.__name__}": spoken(f, "input_tensor") for f in (
        reduce.sum, reduce.mean, reduce.max, reduce.min, reduce.prod, reduce.logsumexp
    )},
    "erf": spoken(special.erf), "floordiv": spoken(rounding.floor_divide), "floormod": spoken(rounding.remainder),
    "identity": spoken(math.positive, "input"), "mod": spoken(rounding.remainder),
    "reverse": spoken(_shape.flip, "tensor"),
    "sigmoid": spoken(activation.sigmoid), "softplus": spoken(activation.softplus, "features"),
}  # fmt: skip
NN_SAME = {
    **{n: SAME[n] for n in ("sigmoid", "softplus", "tanh")},
    **{f.__name__: spoken(f, "features") for f in (activation.relu, activation.silu, piecewise.elu)},
}
NN_SAME["swish"] = NN_SAME["silu"]
findable(NN_SAME, "gpugrad.tensorflow.nn")
findable(SAME, "gpugrad.tensorflow.math")


# ---------------------------------------------------------------------------------------------- other conventions
TIES = {n: spoken(getattr(conventions, n)) for n in ("maximum", "minimum", "sqrt", "rsqrt")}
maximum, minimum, sqrt, rsqrt = findable(TIES, "gpugrad.tensorflow.math").values()


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
    return logic.where(convert_to_tensor(condition), x, y)


def einsum(equation: str, *inputs: Any, name: str | None = None) -> Any:
    """The sum of products that the equation writes, as "ij,jk->ik"."""
    return linalg.einsum(equation, *_each(inputs))


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


def _last(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axis: f(x, axis=-1 if axis is None else axis)


def _place(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axis, dtype: casting.astype(f(x, axis=axis or 0), dtype)


def _flat(f: Callable[..., Any]) -> Callable[..., Any]:
    """The values of f, which no gradient passes: None, where the core has zeros."""
    return lambda x: lost(wrap(f(x.array), None, x.kind), f.__name__, (x,), CONSTANT)


def row(f: Callable[..., Any], parameters: str, doc: str | None = None, box: Any = convert_to_tensor) -> Any:
    """`f` under TensorFlow's parameters, the last of which is `name` unless they say so."""
    return adapted(f, parameters if "-name=" in parameters else f"{parameters}, -name=None", box, doc)


WAYS = {"ASCENDING": False, "DESCENDING": True}
AXES = "input_tensor, axis=None, keepdims=False"
PLACE = "input, axis=None, output_type:dtype='int64'"
NORMAL = "shape, mean=0.0, stddev:std=1.0, dtype='float32', seed=None"
TABLE: dict[str, Any] = {
    "add_n math.add_n": row(math.total, "inputs", box=_each),
    "argmax math.argmax": row(_place(reduce.argmax), PLACE, "Where the largest is along `axis` (None: the first)."),
    "argmin math.argmin": row(_place(reduce.argmin), PLACE, "Where the smallest is along `axis` (None: the first)."),
    "argsort": row(lambda x, axis, way: casting.astype(sorting.argsort(x, axis, chosen("direction", way, WAYS)), int32),
        "values, axis=-1, direction:way='ASCENDING', -stable=False", "The indices that sort along `axis`."),
    **{f"{n} math.{n}": row(getattr(logic, n), "x, +y") for n in (
        "equal", "greater", "greater_equal", "less", "less_equal", "logical_and", "logical_or", "not_equal",
    )},
    "broadcast_to": row(_shape.broadcast_to, "input, shape"),
    "boolean_mask": row(index.boolean_mask, "tensor, mask, axis=None, -name='boolean_mask'"),
    "cast": row(casting.astype, "x, dtype"),
    "math.ceil": row(_flat(rounding.ceil), "x", "The next integer from x up.  The gradient is None."),
    "clip_by_global_norm": row(norms.clip_by_global_norm, "t_list, clip_norm:limit, use_norm:length=None", box=_each),
    "clip_by_norm": row(norms.clip_by_norm, "t, clip_norm:limit, axes:axis=None"),
    "clip_by_value": row(choice.clip, "t, clip_value_min:min, clip_value_max:max"),
    "concat": row(_shape.concat, "values, axis, -name='concat'", box=_each),
    "cumsum math.cumsum": row(scan.running_sum, "x, axis=0, exclusive=False, reverse=False"),
    "einsum linalg.einsum": einsum,
    "expand_dims": row(_shape.expand_dims, "input, axis"),
    "eye linalg.eye": row(_made(eye), "num_rows, num_columns:m=None, dtype=None", "The identity matrix.", None),
    "fill": row(_made(full), "dims, value:fill_value", "A tensor filled with one number.", _integers),
    "floor math.floor": row(_flat(rounding.floor), "x", "The next integer from x down.  The gradient is None."),
    "gather": row(lambda x, indices, axis: index.take(x, indices, axis or 0),
        "params, indices, -validate_indices=None, axis=None", "The slices of params at `indices` along `axis`."),
    "gather_nd": row(index.gather_nd, "params, indices"),
    "linalg.global_norm": row(norms.global_norm, "t_list", box=_each),
    "math.l2_normalize linalg.l2_normalize nn.l2_normalize": row(norms.normalize, "x, axis=None, epsilon=1e-12"),
    "linspace": row(_made(linspace), "start, stop, num", "`num` equally spaced numbers, both ends included.", None),
    "math.is_finite": row(logic.isfinite, "x"),
    "math.is_inf": row(logic.isinf, "x"),
    "math.is_nan": row(logic.isnan, "x"),
    "logical_not math.logical_not": row(logic.logical_not, "x"),
    "math.logical_xor": row(logic.logical_xor, "x, +y"),
    "math.log_sigmoid": row(activation.log_sigmoid, "x"),
    "matmul linalg.matmul": matmul,
    "linalg.matrix_transpose": row(_shape.matrix_transpose, "a"),
    "linalg.matvec": row(lambda a, b, t: linalg.matvec(_shape.matrix_transpose(a) if t else a, convert_to_tensor(b)),
        "a, b, transpose_a:t=False", "The products of matrices a and vectors b."),
    "maximum math.maximum": maximum,
    "meshgrid": row(lambda xs, indexing: list(_shape.meshgrid(*xs, indexing=indexing)), "*args, indexing='xy'",
        "The coordinates of a grid from those of its axes; \"ij\" leaves the first two axes where they are.", _each),
    "minimum math.minimum": minimum,
    "norm linalg.norm": row(conventions.norm, "tensor, ord='euclidean', axis=None, keepdims=None"),
    "one_hot": row(index.one_hot,
        "indices, depth:num_classes, on_value:on=None, off_value:off=None, axis=None, dtype=None"),
    "ones": row(_made(ones), "shape, dtype=None", "A tensor of ones.", _integers),
    "ones_like": row(ones_like, "input, dtype=None"),
    "pad": row(_pad, "tensor, paddings:pad_width, mode='CONSTANT', constant_values=0"),
    "range": row(lambda start, stop, step, dtype: as_tf(arange(start, _integers(stop), _integers(step), dtype)),
        "start, limit:stop=None, delta:step=1, dtype=None, -name='range'", "From start to before limit.", _integers),
    "rank": row(_count(lambda a: a.ndim), "input", "The number of axes."),
    "reduce_all math.reduce_all": row(reduce.all, AXES),
    "reduce_any math.reduce_any": row(reduce.any, AXES),
    "math.reduce_euclidean_norm": row(conventions.euclidean_norm, AXES),
    "math.reduce_std": row(reduce.std, AXES),
    "math.reduce_variance": row(reduce.var, AXES),
    "repeat": row(index.repeat, "input, repeats, axis=None"),
    "reshape": row(_shape.reshape, "tensor, shape"),
    "roll": row(_shape.roll, "input, shift, axis"),
    "sign math.sign": row(math.sign, "x"),
    "stop_gradient": row(casting.stop_gradient, "input"),
    "tensordot linalg.tensordot": row(linalg.tensordot, "a, +b, axes"),
    "round math.round math.rint": row(_flat(rounding.round), "x",
        "The nearest integer, the even one of two.  The gradient is None."),
    "math.rsqrt": row(rsqrt, "x", "1 / √x."),
    "shape": row(_count(lambda a: a.shape), "input, out_type:dtype=None", "The shape as an integer tensor."),
    "size": row(_count(lambda a: a.size), "input, out_type:dtype=None", "The number of elements."),
    "slice": row(index.window, "input_, begin, size"),
    "sort": row(lambda x, axis, way: sorting.sort(x, axis, chosen("direction", way, WAYS)),
        "values, axis=-1, direction:way='ASCENDING'", "Sorted along `axis`."),
    "split": row(_listed(_shape.split), "value, num_or_size_splits:sizes_or_sections, axis=0, -num=None, -name='split'",
        "Parts along `axis`: so many equal ones, or of these sizes."),
    "math.squared_difference": row(lambda x, y: math.square(math.subtract(x, y)), "x, y", "(x - y)²."),
    "sqrt math.sqrt": sqrt,
    "squeeze": row(_shape.squeeze, "input, axis=None"),
    "stack": row(_shape.stack, "values, axis=0, -name='stack'", box=_each),
    "tile": row(_shape.tile, "input, multiples:repetitions"),
    "math.top_k nn.top_k": row(conventions.top_k, "input, k=1, -sorted=True, index_type:dtype='int32'"),
    "transpose": transpose,
    "unstack": row(_listed(_shape.unstack), "value, -num=None, axis=0, -name='unstack'",
        "The slices along `axis`, without it."),
    "where": where,
    "zeros": row(_made(zeros), "shape, dtype=None", "A tensor of zeros.", _integers),
    "zeros_like": row(zeros_like, "input, dtype=None"),
    "image.adjust_contrast": row(lambda x, factor: conventions.AdjustContrastv2(x, convert_to_tensor(factor)),
        "images, contrast_factor:factor", conventions.AdjustContrastv2.__doc__),
    "nn.bias_add": row(conventions.bias_add, "value, bias, data_format=None"),
    "nn.gelu": row(lambda x, tanh: activation.gelu(x, "tanh" if tanh else "none"), "features, approximate:tanh=False",
        "x times the normal distribution function of x, or its approximation by tanh."),
    "nn.l2_loss": row(lambda x: math.multiply(reduce.sum(math.square(x)), 0.5), "t", "Half the sum of squares."),
    "nn.leaky_relu": row(piecewise.leaky_relu, "features, alpha:negative_slope=0.2"),
    "nn.log_softmax math.log_softmax": row(_last(softmaxes.log_softmax), "logits, axis=None", "log(softmax(logits))."),
    "nn.sigmoid_cross_entropy_with_logits": row(lambda y, x: loss.sigmoid_xent(convert_to_tensor(x), y),
        "labels=None, logits:x=None", "The cross-entropy of a yes-or-no answer in each place."),
    "nn.softmax math.softmax": row(_last(softmaxes.softmax), "logits, axis=None", "exp(logits) over their sum."),
    "nn.softmax_cross_entropy_with_logits": row(
        lambda y, x, axis: math.negative(reduce.sum(math.multiply(softmaxes.log_softmax(x, axis=axis), y), axis=axis)),
        "labels, logits:x, axis=-1", "The cross-entropy of each row with its distribution."),
    "nn.sparse_softmax_cross_entropy_with_logits": row(
        lambda labels, x: loss.label_rows(convert_to_tensor(x), raw(labels), logits=True), "labels, logits:x",
        "The cross-entropy of each row with its integer label."),
    "random.normal": row(_made(random.normal), NORMAL, "Normal numbers.", _integers),
    "random.shuffle": row(lambda x, seed: index.take(x, random.permutation(x.shape[0], x.device, seed), 0),
        "value, seed=None", "The slices along the first axis in random order."),
    "random.truncated_normal": row(_made(random.truncated_normal), NORMAL,
        "Normal numbers; those further than 2 stddev from the mean are drawn again.", _integers),
    "random.uniform": row(_made(random.uniform), "shape, minval:low=0, maxval:high=None, dtype='float32', seed=None",
        "Uniform numbers in [minval, maxval); integers where dtype is one.", _integers),
}  # fmt: skip
for _names, _f in TABLE.items():  # where pickle finds it: the first name
    _module, _, _f.__name__ = f"gpugrad.tensorflow.{_names.split()[0]}".rpartition(".")
    findable({_f.__name__: _f}, _module)


def under(module: str) -> dict[str, Any]:
    """The functions that users find under this module ("": tf itself)."""
    places = [(*name.rpartition("."), f) for names, f in TABLE.items() for name in names.split()]
    return {name: f for place, _, name, f in places if place == module}


is_tensor = adapted(lambda x: isinstance(x, Tensor), "x", None, "Whether x is a tensor or a variable.")
for _operator, _name in OPERATORS.items():  # the short path for EagerTensors
    setattr(Conventions, f"__{_operator}__", SAME[_name])
