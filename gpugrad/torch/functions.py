"""PyTorch's functions: the core's own wherever the conventions agree; thin adapters where arguments differ."""

from __future__ import annotations

import math as _math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core import Tensor as CoreTensor, raw, wrap
from ..inplace import view as view_of
from ..op import findable, spoken as _spoken
from ..ops import activation, index, linalg, math, reduce, shape as _shape
from .tensor import Tensor

Axes = int | Sequence[int] | None


def spoken(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the core's that refuses what is no tensor."""
    return _spoken(f, Tensor) if hasattr(f, "op") else f


# ---------------------------------------------------------------------------------------------- the same functions
_MATH = (
    "abs acos acosh add asin asinh atan atan2 atanh ceil conj cos cosh exp exp2 expm1 floor floor_divide hypot "
    "isfinite isinf isnan log log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor maximum "
    "minimum pow reciprocal remainder round sign sin sinh sqrt square tan tanh trunc"
).split()
SAME: dict[str, Any] = {
    **{n: getattr(math, n) for n in _MATH},
    "mul": math.multiply, "multiply": math.multiply, "sub": math.subtract, "subtract": math.subtract,
    "div": math.divide, "divide": math.divide, "true_divide": math.divide, "neg": math.negative,
    "negative": math.negative, "eq": math.equal, "ne": math.not_equal, "lt": math.less, "le": math.less_equal,
    "gt": math.greater, "ge": math.greater_equal, "matmul": linalg.matmul, "mm": linalg.matmul, "bmm": linalg.matmul,
    "mv": linalg.matmul, "dot": linalg.matmul, "outer": linalg.outer, "sigmoid": activation.sigmoid,
    "relu": activation.relu, "erf": activation.erf, "tril": _shape.tril, "triu": _shape.triu,
}  # fmt: skip
SAME = {n: spoken(f) for n, f in SAME.items()}
findable({n: f for n, f in SAME.items() if hasattr(f, "op")}, "gpugrad.torch")


# ---------------------------------------------------------------------------------------------- other arguments
def _axis(dim: Axes) -> Any:
    return tuple(dim) if isinstance(dim, (list, tuple)) else dim


def _reduction(f: Callable[..., Any]) -> Callable[..., Any]:
    def call(input: Any, dim: Axes = None, keepdim: bool = False, dtype: Any = None) -> Any:
        out = f(_kept(input), axis=_axis(dim), keepdims=keepdim)
        return out if dtype is None else math.astype(out, dtype)

    call.__name__, call.__doc__ = f.__name__, f.__doc__
    return call


def _kept(x: Any) -> Any:
    return x if isinstance(x, CoreTensor) else Tensor.box(x)


sum, mean, prod, any, all = (_reduction(f) for f in (reduce.sum, reduce.mean, reduce.prod, reduce.any, reduce.all))
amax, amin = _reduction(reduce.max), _reduction(reduce.min)


def logsumexp(input: Any, dim: Axes, keepdim: bool = False) -> Any:
    """log(sum(exp(x))) over `dim`."""
    return reduce.logsumexp(_kept(input), axis=_axis(dim), keepdims=keepdim)


def _spread(f: Callable[..., Any]) -> Callable[..., Any]:
    def call(
        input: Any, dim: Axes = None, unbiased: bool = True, keepdim: bool = False, correction: float | None = None
    ) -> Any:
        if isinstance(dim, bool):  # std(True), std(False)
            dim, unbiased = None, dim
        n = (1 if unbiased else 0) if correction is None else correction
        return f(_kept(input), axis=_axis(dim), correction=n, keepdims=keepdim)

    call.__name__, call.__doc__ = f.__name__, f"{f.__doc__}  Over their number less one, unless said otherwise."
    return call


std, var = _spread(reduce.std), _spread(reduce.var)


class MaxResult(NamedTuple):
    """What max, min, sort and topk along a dimension answer."""

    values: Tensor
    indices: Tensor


def _extreme(whole: Callable[..., Any], where: Callable[..., Any], pair: Callable[..., Any]) -> Callable[..., Any]:
    def call(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
        x = _kept(input)
        if isinstance(dim, CoreTensor):
            return pair(x, dim)
        if dim is None:
            return whole(x)
        places = where(x, axis=dim, keepdims=True)
        values = index.take_along_axis(x, raw(places), dim)
        return MaxResult(*[t if keepdim else _shape.squeeze(t, axis=dim) for t in (values, places)])

    call.__name__ = whole.__name__
    call.__doc__ = (
        f"The {whole.__name__} of all, or with `dim` (values, indices) along it, or of each pair of two tensors."
    )
    return call


max = _extreme(reduce.max, reduce.argmax, math.maximum)
min = _extreme(reduce.min, reduce.argmin, math.minimum)


def argmax(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Where the largest is."""
    return reduce.argmax(_kept(input), axis=dim, keepdims=keepdim)


def argmin(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Where the smallest is."""
    return reduce.argmin(_kept(input), axis=dim, keepdims=keepdim)


def sort(input: Any, dim: int = -1, descending: bool = False) -> MaxResult:
    """(values, indices) in order along `dim`."""
    places = index.argsort(_kept(input), axis=dim, descending=descending)
    return MaxResult(_take_along(input, raw(places), dim), places)


def argsort(input: Any, dim: int = -1, descending: bool = False) -> Any:
    """The indices that sort along `dim`."""
    return index.argsort(_kept(input), axis=dim, descending=descending)


def topk(input: Any, k: int, dim: int = -1, largest: bool = True) -> MaxResult:
    """(values, indices) of the k largest along `dim`, the largest first; or of the smallest."""
    places = raw(argsort(input, dim, largest))
    places = places[(*[slice(None)] * (dim % places.ndim), slice(k))]
    return MaxResult(_take_along(input, places, dim), wrap(places, None, Tensor))  # type: ignore[arg-type]


def cumsum(input: Any, dim: int) -> Any:
    """Running sums along `dim`."""
    return reduce.cumsum(_kept(input), axis=dim)


def norm(input: Any, p: Any = 2, dim: Axes = None, keepdim: bool = False) -> Any:
    """The p-norm, p = 1, 2 or inf.  Of zero, the 2-norm's gradient is 0."""
    x = math.abs(_kept(input))
    if p in (2, "fro"):
        squares = reduce.sum(math.square(x), axis=_axis(dim), keepdims=keepdim)
        zero = math.equal(squares, 0)
        return math.where(zero, 0.0, math.sqrt(math.where(zero, 1.0, squares)))
    if p == 1:
        return sum(x, dim, keepdim)
    if p in (_math.inf, "inf"):
        return amax(x, dim, keepdim)
    return math.pow(sum(math.pow(x, p), dim, keepdim), 1 / p)


def _shape_of(args: tuple) -> Any:
    return args[0] if len(args) == 1 and not hasattr(args[0], "__index__") else args


def reshape(input: Any, *shape: Any) -> Any:
    """The same elements in another shape; -1 stands for the length that fits."""
    x = _kept(input)
    return view_of(x, _shape.reshape(x, _shape_of(shape)), lambda base, part: _shape.reshape(part, base.array.shape))


def view(input: Any, *shape: Any) -> Any:
    """The same elements in another shape, in the same memory where NumPy can."""
    return reshape(input, *shape)


def permute(input: Any, *dims: Any) -> Any:
    """The axes in another order."""
    x, order = _kept(input), list(_shape_of(dims))
    back = [int(i) for i in np.argsort(order)]
    return view_of(x, _shape.permute_dims(x, order), lambda base, part: _shape.permute_dims(part, back))


def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """Two axes exchanged."""
    x = _kept(input)
    return view_of(x, _shape.swapaxes(x, dim0, dim1), lambda base, part: _shape.swapaxes(part, dim0, dim1))


def t(input: Any) -> Any:
    """The transpose of a matrix; a vector as it is.  RuntimeError for more axes."""
    x = _kept(input)
    if x.array.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {x.array.ndim}D; use transpose")
    return transpose(x, 0, 1) if x.array.ndim == 2 else x


def squeeze(input: Any, dim: Axes = None) -> Any:
    """Without the axes of length 1, or without those of `dim` that are."""
    x = _kept(input)
    given = dim if isinstance(dim, (list, tuple)) else (dim,)
    axis = None if dim is None else tuple([d for d in given if x.array.shape[d] == 1])
    out = _shape.squeeze(x, axis=axis)
    return view_of(x, out, lambda base, part: _shape.reshape(part, base.array.shape))


def unsqueeze(input: Any, dim: int) -> Any:
    """With a new axis of length 1."""
    x = _kept(input)
    return view_of(x, _shape.expand_dims(x, dim), lambda base, part: _shape.reshape(part, base.array.shape))


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """The axes from start_dim to end_dim as one."""
    s = _kept(input).array.shape or (1,)
    a, b = start_dim % len(s), end_dim % len(s)
    return reshape(input, (*s[:a], _math.prod(s[a : b + 1]), *s[b + 1 :]))


def expand(input: Any, *sizes: Any) -> Any:
    """Broadcast; -1 keeps a length."""
    x, wanted = _kept(input), tuple(_shape_of(sizes))
    own = (1,) * (len(wanted) - x.array.ndim) + x.array.shape
    return _shape.broadcast_to(x, tuple([o if n == -1 else n for n, o in zip(wanted, own)]))


def cat(tensors: Sequence[Any], dim: int = 0) -> Any:
    """One tensor after the other along `dim`."""
    return _shape.concat([_kept(v) for v in tensors], dim)


def stack(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Tensors of one shape, side by side along a new axis."""
    return _shape.stack([_kept(v) for v in tensors], dim)


def chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """At most so many parts of equal length along `dim`; the last may be shorter."""
    return split(input, -(-_kept(input).array.shape[dim] // chunks), dim)


def split(input: Any, split_size_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """Parts of this length, or of these lengths, along `dim`."""
    n, size = _kept(input).array.shape[dim], split_size_or_sections
    sizes = [len(range(i, n)[:size]) for i in range(0, n, size)] if isinstance(size, int) else list(size)
    return _shape.split(input, sizes, dim)


def unbind(input: Any, dim: int = 0) -> tuple[Any, ...]:
    """The slices along `dim`, without it."""
    return _shape.unstack(_kept(input), dim)


def gather(input: Any, dim: int, index: Any) -> Any:
    """One element for each index along `dim`."""
    return _take_along(_kept(input), raw(index), dim)


_take_along = index.take_along_axis


def index_select(input: Any, dim: int, index: Any) -> Any:
    """The slices at the indices along `dim`."""
    return _take(_kept(input), raw(index), dim)


_take = index.take


def flip(input: Any, dims: Any) -> Any:
    """The elements along `dims` in reverse order."""
    return _shape.flip(_kept(input), axis=_axis(dims))


def roll(input: Any, shifts: Any, dims: Any = None) -> Any:
    """The elements moved along `dims`, around the end."""
    return _shape.roll(_kept(input), shifts, _axis(dims))


def clamp(input: Any, min: Any = None, max: Any = None) -> Any:
    """Limited to [min, max]; at a bound the gradient passes."""
    return math.clip(_kept(input), min, max)


def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """input where the condition holds, else other; without them, the indices where it holds, an axis each."""
    if input is None and other is None:
        return tuple([wrap(i, None, Tensor) for i in np.nonzero(np.asarray(raw(condition)))])
    return math.where(_kept(condition), input, other)


def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """`value` where the mask holds."""
    return math.where(_kept(mask), value, input)


def softmax(input: Any, dim: int | None = None) -> Any:
    """exp(x) over their sum along `dim`."""
    return activation.softmax(_kept(input), axis=-1 if dim is None else dim)


def log_softmax(input: Any, dim: int | None = None) -> Any:
    """The logarithm of softmax."""
    return activation.log_softmax(_kept(input), axis=-1 if dim is None else dim)


def einsum(equation: str, *operands: Any) -> Any:
    """The sum of products that the equation writes, as "ij,jk->ik"."""
    given = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    return linalg.einsum(equation, *[_kept(v) for v in given])


def clone(input: Any) -> Any:
    """A copy, in the graph."""
    return math.positive(_kept(input))


def allclose(input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether all elements are nearly equal."""
    return bool(np.allclose(np.asarray(raw(input)), np.asarray(raw(other)), rtol, atol, equal_nan))


def equal(input: Any, other: Any) -> bool:
    """Whether shapes and all elements are equal."""
    return bool(np.array_equal(np.asarray(raw(input)), np.asarray(raw(other))))


NAMED = (
    "sum mean prod any all amax amin logsumexp std var max min argmax argmin cumsum norm reshape permute transpose t "
    "squeeze unsqueeze flatten cat stack chunk split unbind gather index_select flip roll clamp where masked_fill "
    "softmax log_softmax einsum clone allclose equal sort argsort topk"
).split()
METHODS = [n for n in NAMED if n not in ("cat", "stack", "einsum", "where")] + ["view", "expand"]
TABLE: dict[str, Any] = {**SAME, **{n: globals()[n] for n in NAMED}, "clip": clamp, "concat": cat}
