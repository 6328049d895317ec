"""TensorFlow's functions: the core's own wherever the conventions agree, else a row of the table.

A row says under which names users find a function, what the core calls it, and TensorFlow's parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import random
from ..adapt import adapted
from ..core import Tensor, wrap
from ..dtypes import as_dtype, int32
from ..op import findable
from ..ops import (
    activation,
    conventions,
    index,
    linalg,
    logic,
    math,
    norm as norms,
    piecewise,
    reduce,
    rounding,
    shape as _shape,
    special,
)  # fmt: skip
from ..origin import CONSTANT
from ..recording import lost
from ..tensor import OPERATORS, arange, eye, full, linspace, ones, ones_like, zeros, zeros_like
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


def _flat(f: Callable[..., Any]) -> Callable[..., Any]:
    """The values of f, which no gradient passes: None, where the core has zeros."""
    return lambda x: lost(wrap(f(x.array), None, x.kind), f.__name__, (x,), CONSTANT)


def row(f: Callable[..., Any], parameters: str, doc: str | None = None, box: Any = convert_to_tensor) -> Any:
    """`f` under TensorFlow's parameters, the last of which is `name` unless they say so."""
    return adapted(f, parameters if "-name=" in parameters else f"{parameters}, -name=None", box, doc)


NORMAL = "shape, mean=0.0, stddev:std=1.0, dtype='float32', seed=None"
TABLE: dict[str, Any] = {
    "add_n math.add_n": row(math.total, "inputs", box=_each),
    "math.ceil": row(_flat(rounding.ceil), "x", "The next integer from x up.  The gradient is None."),
    "clip_by_global_norm": row(norms.clip_by_global_norm, "t_list, clip_norm:limit, use_norm:length=None", box=_each),
    "concat": row(_shape.concat, "values, axis, -name='concat'", box=_each),
    "einsum linalg.einsum": einsum,
    "eye linalg.eye": row(_made(eye), "num_rows, num_columns:m=None, dtype=None", "The identity matrix.", None),
    "fill": row(_made(full), "dims, value:fill_value", "A tensor filled with one number.", _integers),
    "floor math.floor": row(_flat(rounding.floor), "x", "The next integer from x down.  The gradient is None."),
    "linalg.global_norm": row(norms.global_norm, "t_list", box=_each),
    "linspace": row(_made(linspace), "start, stop, num", "`num` equally spaced numbers, both ends included.", None),
    "maximum math.maximum": maximum,
    "meshgrid": row(lambda xs, indexing: list(_shape.meshgrid(*xs, indexing=indexing)), "*args, indexing='xy'",
        "The coordinates of a grid from those of its axes; \"ij\" leaves the first two axes where they are.", _each),
    "minimum math.minimum": minimum,
    "ones": row(_made(ones), "shape, dtype=None", "A tensor of ones.", _integers),
    "ones_like": row(ones_like, "input, dtype=None"),
    "range": row(lambda start, stop, step, dtype: as_tf(arange(start, _integers(stop), _integers(step), dtype)),
        "start, limit:stop=None, delta:step=1, dtype=None, -name='range'", "From start to before limit.", _integers),
    "rank": row(_count(lambda a: a.ndim), "input", "The number of axes."),
    "round math.round math.rint": row(_flat(rounding.round), "x",
        "The nearest integer, the even one of two.  The gradient is None."),
    "math.rsqrt": row(rsqrt, "x", "1 / √x."),
    "shape": row(_count(lambda a: a.shape), "input, out_type:dtype=None", "The shape as an integer tensor."),
    "size": row(_count(lambda a: a.size), "input, out_type:dtype=None", "The number of elements."),
    "split": row(_listed(_shape.split), "value, num_or_size_splits:sizes_or_sections, axis=0, -num=None, -name='split'",
        "Parts along `axis`: so many equal ones, or of these sizes."),
    "sqrt math.sqrt": sqrt,
    "stack": row(_shape.stack, "values, axis=0, -name='stack'", box=_each),
    "unstack": row(_listed(_shape.unstack), "value, -num=None, axis=0, -name='unstack'",
        "The slices along `axis`, without it."),
    "where": where,
    "zeros": row(_made(zeros), "shape, dtype=None", "A tensor of zeros.", _integers),
    "zeros_like": row(zeros_like, "input, dtype=None"),
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
