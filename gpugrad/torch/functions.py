"""PyTorch's functions: the core's own where conventions agree, rows where the arguments have other names."""

from __future__ import annotations

import math as _math
from collections.abc import Callable, Sequence
from functools import reduce as _reduce
from typing import Any, NamedTuple

import numpy as np

from ..adapt import adapted
from ..core import Tensor as CoreTensor, raw, wrap
from ..dtypes import int64
from ..inplace import folded, permuted, swapped
from ..op import findable, spoken as _spoken
from ..ops import (
    activation,
    casting,
    choice,
    diagonal,
    index,
    linalg,
    logic,
    math,
    options,
    reduce,
    rounding,
    scan,
    shape as _shape,
    softmax as softmaxes,
    sorting,
    special,
)  # fmt: skip
from ..tensor import OPERATORS
from ..wording import axis_of, cast_first, translated
from .tensor import Tensor, promoted, tensor

Axes = int | Sequence[int] | None


def spoken(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the core's that refuses what is no tensor."""
    call: Any = f
    return _spoken(call, Tensor, ("input", "other")[: len(call.op.args)]) if hasattr(call, "op") else call


# ---------------------------------------------------------------------------------------------- the same functions
_NAMES = {
    math: "abs acos acosh asin asinh atan atan2 atanh conj cos cosh exp exp2 expm1 hypot log log10 log1p log2 "
    "logaddexp pow reciprocal sign sin sinh sqrt square tan tanh",
    rounding: "ceil floor floor_divide remainder trunc",
    choice: "maximum minimum",
    logic: "isfinite isinf isnan logical_and logical_not logical_or logical_xor",
}
SAME: dict[str, Any] = {
    **{n: getattr(module, n) for module, names in _NAMES.items() for n in names.split()},
    "mul": math.multiply, "multiply": math.multiply, "true_divide": math.divide, "neg": math.negative,
    "negative": math.negative, "eq": logic.equal, "ne": logic.not_equal, "lt": logic.less, "le": logic.less_equal,
    "gt": logic.greater, "ge": logic.greater_equal, "matmul": linalg.matmul, "sigmoid": activation.sigmoid,
    "relu": activation.relu, "erf": special.erf,
}  # fmt: skip
ALONE = ("isfinite", "isinf", "isnan", "logical_not", "sign")


# ---------------------------------------------------------------------------------------------- other arguments
def kept(x: Any) -> Any:
    """A tensor as it is; TypeError for anything else."""
    return x if isinstance(x, CoreTensor) else Tensor.box(x)


def _axis(dim: Axes) -> Any:
    return tuple(dim) if isinstance(dim, list) else dim


def _signed(x: Any) -> Any:
    return casting.astype(x, int64) if kept(x).array.dtype.kind == "u" else x


def row(f: Callable[..., Any], parameters: str, **turned: Any) -> Any:
    """A function of the core's under PyTorch's parameter names."""
    doc = (f.__doc__ or "").replace("`axis`", "`dim`")
    return adapted(spoken(f), parameters, None if hasattr(f, "op") else kept, doc, translated, **turned)


SAME = {
    n: spoken(f) if hasattr(f, "op") else row(f, "input" if n in ALONE else "input, +other") for n, f in SAME.items()
}
findable(SAME, "gpugrad.torch")
ARITHMETIC = {"add": spoken(math.add), "subtract": spoken(math.subtract), "divide": spoken(math.divide)}
findable({f"Tensor.__{n}__": ARITHMETIC[m] for n, m in OPERATORS.items() if m in ARITHMETIC}, "gpugrad.torch")
add, sub = options.scaled(ARITHMETIC["add"]), options.scaled(ARITHMETIC["subtract"])
div, round = options.quotient(ARITHMETIC["divide"]), row(rounding.round, "input, decimals=0")
dot, trace = row(options.dot, "input, +tensor"), row(options.trace, "input")
mm, bmm = row(linalg.matmul, "input, +mat2"), row(linalg.matmul, "input, +mat2")
mv, outer = row(linalg.matmul, "input, +vec"), row(linalg.outer, "input, +vec2")


def _over(f: Callable[..., Any], more: str = "", signed: bool = False) -> Any:
    parameters = "input, dim|axis:axis=None, keepdim|keepdims:keepdims=False" + more
    return row(f, parameters, dim=_axis, **({"input": _signed} if signed else {}))


_MEAN = "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: {}"
_ROWS = "\"{}_lastdim_kernel_impl\" not implemented for '{{}}'"
sum = _over(reduce.sum, ", -*, dtype=None", True)
mean = _over(cast_first(reduce.mean, _MEAN), ", -*, dtype=None")
prod, any, all = _over(cast_first(reduce.prod), ", -*, dtype=None", True), _over(reduce.any), _over(reduce.all)
amax, amin, argmax, argmin = _over(reduce.max), _over(reduce.min), _over(reduce.argmax), _over(reduce.argmin)
logsumexp = row(reduce.logsumexp, "input, dim|axis:axis, keepdim|keepdims:keepdims=False", dim=_axis)
count_nonzero = row(reduce.count_nonzero, "input, dim:axis=None", dim=_axis)
cumsum = row(cast_first(scan.cumsum), "input, dim|axis:axis, -*, dtype=None", input=_signed)
softmax, log_softmax = [
    row(
        cast_first(f, _ROWS.format(f.__name__)), "input, dim|axis:axis=None, dtype=None",
        dim=lambda d: -1 if d is None else d,
    )
    for f in (softmaxes.softmax, softmaxes.log_softmax)
]  # fmt: skip
argsort = row(sorting.argsort, "input, dim:axis=-1, descending=False, -stable=False")
index_select = row(index.take, "input, dim:axis, index:indices", index=raw)
gather = row(index.gather, "input, dim:axis, index:indices", index=raw)
flip, movedim = row(_shape.flip, "input, dims:axis", dims=_axis), row(_shape.moveaxis, "input, source, destination")
roll = row(_shape.roll, "input, shifts:shift, dims:axis=None", dims=_axis)
tril, triu = row(_shape.tril, "input, diagonal:k=0"), row(_shape.triu, "input, diagonal:k=0")
diag = row(diagonal.diag, "input, diagonal:k=0")
tile = row(_shape.tile, "input, *dims:repetitions", dims=lambda given: shape_of(given))
repeat = row(options.repeat, "input, *repeats:repetitions", repeats=lambda given: shape_of(given))
tensordot = row(linalg.tensordot, "input, +other, dims:axes=2")
repeat_interleave = row(index.repeat, "input, repeats, dim|axis:axis=None")
unbind = row(_shape.unstack, "input, dim:axis=0")
norm = row(
    linalg.vector_norm, "input, p:ord=2, dim:axis=None, keepdim:keepdims=False",
    p=lambda p: {"fro": 2, "inf": _math.inf}.get(p, p), dim=_axis,
)  # fmt: skip
clamp, clone = row(choice.clip, "input, min=None, max=None"), row(math.positive, "input")


def _parts(tensors: Any) -> list[Any]:
    """Those to join, in the dtype in which they meet: an empty vector beside others counts for no more."""
    given = [kept(v) for v in tensors]
    if len({v.array.dtype for v in given}) > 1:
        dtype = _reduce(lambda a, b: promoted(np.empty(1, a), np.empty(1, b)), [v.array.dtype for v in given])
        given = [casting.astype(v, dtype) for v in given]
    return [v for v in given if v.array.shape != (0,)] or given


cat = adapted(_shape.concat, "tensors, dim|axis:axis=0", _parts, None, translated)
stack = adapted(_shape.stack, "tensors, dim|axis:axis=0", lambda tensors: [kept(v) for v in tensors], None, translated)


def _spread(f: Callable[..., Any]) -> Callable[..., Any]:
    f = cast_first(f, "std and var only support floating point and complex dtypes")

    def call(input: Any, dim: Axes, unbiased: bool, keepdim: bool, correction: float | None) -> Any:
        if isinstance(dim, bool):  # std(True), std(False)
            dim, unbiased = None, dim
        n = (1 if unbiased else 0) if correction is None else correction
        return f(kept(input), axis=_axis(dim), correction=n, keepdims=keepdim)

    call.__name__, call.__doc__ = f.__name__, f"{f.__doc__}  Over their number less one, unless said otherwise."
    return adapted(call, "input, dim|axis=None, unbiased=True, keepdim|keepdims=False, correction=None")


std, var = _spread(reduce.std), _spread(reduce.var)


class MaxResult(NamedTuple):
    """What max, min, sort and topk along a dimension answer."""

    values: Tensor
    indices: Tensor


def _extreme(whole: Callable[..., Any], where: Callable[..., Any], pair: Callable[..., Any]) -> Callable[..., Any]:
    def call(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
        x = kept(input)
        if isinstance(dim, CoreTensor):
            return pair(x, dim)
        if dim is None:
            return whole(x)
        places = where(x, dim, True)
        values = gather(x, dim, places)
        return MaxResult(*[t if keepdim else _shape.squeeze(t, axis=dim) for t in (values, places)])

    call.__name__ = whole.__name__
    call.__doc__ = (
        f"The {whole.__name__} of all, or with `dim` (values, indices) along it, or of each pair of two tensors."
    )
    return adapted(call, "input, dim|axis=None, keepdim|keepdims=False")


max, min = _extreme(reduce.max, argmax, choice.maximum), _extreme(reduce.min, argmin, choice.minimum)


def sort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> MaxResult:
    """(values, indices) in order along `dim`; equal elements keep theirs."""
    places = argsort(input, dim, descending)
    return MaxResult(gather(input, dim, places), places)


def topk(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> MaxResult:
    """(values, indices) of the k largest along `dim`, the largest first; or of the smallest."""
    places = raw(argsort(input, dim, largest))
    if k > places.shape[dim]:
        raise RuntimeError(f"selected index k out of range: {k} of {places.shape[dim]} elements")
    places = places[(*[slice(None)] * (dim % places.ndim), slice(k))]
    return MaxResult(gather(input, dim, places), wrap(places, None, Tensor))  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------- views
def shape_of(args: tuple, named: Any = None) -> Any:
    """f(2, 3) and f((2, 3)) mean the same, and f(size=(2, 3))."""
    if named is not None:
        return named
    return args[0] if len(args) == 1 and not hasattr(args[0], "__index__") else args


def reshape(input: Any, *sizes: Any, shape: Any = None) -> Any:
    """The same elements in another shape, in the same memory where NumPy can; -1 stands for the length that fits."""
    return folded(kept(input), lambda base: _shape.reshape(base, shape_of(sizes, shape)))


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """The axes from start_dim to end_dim as one."""
    s = kept(input).array.shape or (1,)
    a, b = axis_of(start_dim, len(s)), axis_of(end_dim, len(s))
    return reshape(input, (*s[:a], _math.prod(s[a : b + 1]), *s[b + 1 :]))


def squeeze(input: Any, dim: Axes = None) -> Any:
    """Without the axes of length 1, or without those of `dim` that are."""
    x = kept(input)
    given: Any = dim if isinstance(dim, (list, tuple)) else (dim,)
    axis = None if dim is None else tuple([d for d in given if (x.array.shape or (1,))[axis_of(d, x.array.ndim)] == 1])
    return folded(x, lambda base: _shape.squeeze(base, axis=axis))


def unsqueeze(input: Any, dim: int) -> Any:
    """With a new axis of length 1."""
    return folded(kept(input), lambda base: _shape.expand_dims(base, dim))


def permute(input: Any, *axes: Any, dims: Any = None) -> Any:
    """The axes in another order."""
    return permuted(kept(input), shape_of(axes, dims))


transpose = row(swapped, "input, dim0:axis1, dim1:axis2")


def t(input: Any) -> Any:
    """The transpose of a matrix; a vector as it is.  RuntimeError for more axes."""
    x = kept(input)
    if x.array.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {x.array.ndim}D; use transpose")
    return transpose(x, 0, 1) if x.array.ndim == 2 else x


def expand(input: Any, *sizes: Any, size: Any = None) -> Any:
    """Broadcast; -1 keeps a length."""
    x, wanted = kept(input), tuple(shape_of(sizes, size))
    own = (1,) * (len(wanted) - x.array.ndim) + x.array.shape
    return _shape.broadcast_to(x, tuple([o if n == -1 else n for n, o in zip(wanted, own)]))


def meshgrid(*tensors: Any, indexing: str = "ij") -> Any:
    """The coordinates of a grid from those of its axes."""
    return _shape.meshgrid(*[kept(v) for v in shape_of(tensors)], indexing=indexing)


# ---------------------------------------------------------------------------------------------- the others
def chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """At most so many parts of equal length along `dim`; the last may be shorter."""
    return split(input, -(-kept(input).array.shape[axis_of(dim, input.array.ndim)] // chunks), dim)


def split(input: Any, split_size_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """Parts of this length, or of these lengths, along `dim`."""
    n, size = kept(input).array.shape[axis_of(dim, input.array.ndim)], split_size_or_sections
    sizes = [len(range(i, n)[:size]) for i in range(0, n, size)] if isinstance(size, int) else list(size)
    try:
        return _shape.split(input, sizes, dim)
    except ValueError as e:
        raise translated(e) from None


def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """input where the condition holds, else other; without them, the indices where it holds, an axis each."""
    if input is None and other is None:
        return tuple([wrap(i, None, Tensor) for i in np.nonzero(np.asarray(raw(condition)))])
    if not isinstance(input, CoreTensor) and not isinstance(other, CoreTensor):
        input, other = tensor([input, other], device=condition.device)
    return logic.where(kept(condition), input, other)


def nonzero(input: Any, as_tuple: bool = False) -> Any:
    """The indices of the elements that are not zero, a row each; or an axis each."""
    found = where(input)
    return found if as_tuple else stack(found, 1)


def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """`value` where the mask holds."""
    return logic.where(kept(mask), value, input)


def _formula(name: str, parameters: str, f: Callable[..., Any], doc: str) -> Any:
    f.__name__ = name
    return adapted(f, parameters, kept, doc)


addmm = _formula(
    "addmm", "input, mat1, mat2, -*, beta=1, alpha=1",
    lambda x, mat1, mat2, beta, alpha: x * beta + linalg.matmul(mat1, mat2) * alpha, "beta input + alpha mat1 @ mat2.",
)  # fmt: skip
lerp = _formula("lerp", "input, end, weight", lambda x, end, weight: x + weight * (end - x), "On the way to end.")
rsqrt = _formula("rsqrt", "input", lambda x: math.reciprocal(math.sqrt(x)), "1 / √input.")
frac = _formula("frac", "input", lambda x: x - rounding.trunc(x), "What comes after the point, with the sign.")


def einsum(equation: str, *operands: Any) -> Any:
    """The sum of products that the equation writes, as "ij,jk->ik"."""
    given = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    try:
        return linalg.einsum(equation, *[kept(v) for v in given])
    except ValueError as e:
        raise translated(e) from None


def allclose(input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether all elements are nearly equal."""
    return bool(np.allclose(np.asarray(raw(input)), np.asarray(raw(other)), rtol, atol, equal_nan))


def equal(input: Any, other: Any) -> bool:
    """Whether shapes and all elements are equal."""
    return bool(np.array_equal(np.asarray(raw(input)), np.asarray(raw(other))))


def result_type(tensor1: Any, tensor2: Any) -> np.dtype:
    """The dtype in which two tensors meet, or a tensor and a number."""
    return promoted(*[raw(v if isinstance(v, CoreTensor) else tensor(v)) for v in (tensor1, tensor2)])


METHODS = (
    "sum mean prod any all amax amin argmax argmin logsumexp count_nonzero cumsum softmax log_softmax argsort "
    "index_select gather flip movedim roll tril triu unbind clamp clone std var max min sort topk norm reshape flatten "
    "squeeze unsqueeze permute transpose t chunk split masked_fill addmm lerp rsqrt frac allclose equal "
    "add sub div round repeat dot mm bmm mv outer diag trace tensordot repeat_interleave tile nonzero"
).split()
TABLE: dict[str, Any] = {
    **SAME, **ARITHMETIC,
    **{n: globals()[n] for n in [*METHODS, "cat", "stack", "where", "einsum", "result_type", "meshgrid"]},
    "clip": clamp, "concat": cat, "swapaxes": transpose, "baddbmm": addmm, "numel": Tensor.numel,
    "is_floating_point": Tensor.is_floating_point,
}  # fmt: skip
findable({n: TABLE[n] for n in METHODS}, "gpugrad.torch")
