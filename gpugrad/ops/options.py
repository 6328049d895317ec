"""Ops with the options and the results that PyTorch gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..array import to_host, xp
from ..core import Tensor, raw, wrap
from ..forward import checked_axis
from . import (
    casting,
    choice,
    decompositions,
    determinant,
    diagonal,
    index,
    least_squares,
    linalg,
    logic,
    math,
    pad as padding,
    products,
    reduce,
    rounding,
    scan,
    scatter as scattering,
    shape,
    sorting,
)


def scaled(f: Callable[..., Any]) -> Callable[..., Any]:
    """f of two arrays, the second one times alpha first."""

    def call(input: Any, other: Any, alpha: Any = 1) -> Any:
        return f(input, other if type(alpha) is int and alpha == 1 else math.multiply(other, alpha))

    call.__name__, call.__doc__ = f.__name__, f"{f.__doc__}  The second one times alpha first."
    return call


def quotient(divide: Callable[..., Any]) -> Callable[..., Any]:
    """`divide` with a rounding mode."""

    def div(input: Any, other: Any, rounding_mode: str | None = None) -> Any:
        """The quotient, as it is, or rounded: "floor", or "trunc" to zero.  RuntimeError for another mode."""
        if rounding_mode is None:
            return divide(input, other)
        if rounding_mode not in ("trunc", "floor"):
            raise RuntimeError(
                f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found {rounding_mode!r}"
            )
        down = rounding.floor_divide(input, other)
        return down if rounding_mode == "floor" else casting.astype(rounding.trunc(divide(input, other)), down.dtype)

    return div


def dot(x: Any, y: Any) -> Any:
    """The sum of the products of two vectors.  ValueError for what is no vector."""
    a, b = raw(x).ndim, raw(y).ndim
    if (a, b) != (1, 1):
        raise ValueError(f"1D tensors expected, but got {a}D and {b}D tensors. For matrices write matmul(x, y).")
    return linalg.matmul(x, y)


def repeat(x: Any, repetitions: Sequence[int]) -> Any:
    """So many times along each axis, of which there may be more than it has.  ValueError for less."""
    if len(repetitions) < raw(x).ndim:
        raise ValueError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor. Write tile."
        )
    return shape.tile(x, repetitions)


def trace(x: Any) -> Any:
    """The sum of the diagonal."""
    return reduce.sum(diagonal.diag(x))


def addmm(x: Any, y: Any, z: Any, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta x + alpha y @ z."""
    return math.add(math.multiply(x, beta), math.multiply(linalg.matmul(y, z), alpha))


def addcmul(x: Any, y: Any, z: Any, value: Any = 1) -> Any:
    """x + value y z."""
    return math.add(x, math.multiply(math.multiply(y, z), value))


def addcdiv(x: Any, y: Any, z: Any, value: Any = 1) -> Any:
    """x + value y / z."""
    return math.add(x, math.multiply(math.divide(y, z), value))


def dist(x: Any, y: Any, p: float = 2) -> Any:
    """The p-norm of x - y."""
    return linalg.vector_norm(math.subtract(x, y), ord=p)


def cross(x: Any, y: Any, axis: int | None = None) -> Any:
    """The cross product of vectors of three along `axis`, or along the first axis of length 3."""
    lengths = raw(x).shape
    if axis is None and 3 not in lengths:
        raise ValueError(f"no dimension of size 3 in input, which has the shape {list(lengths)}")
    return products.cross(x, y, lengths.index(3) if axis is None else axis)


def vdot(x: Any, y: Any) -> Any:
    """The product of the complex conjugate of a vector with another one.  ValueError for what is no vector."""
    return dot(math.conj(x), y)


def logdet(x: Any) -> Any:
    """The logarithm of the determinant of each matrix; NaN where that is negative."""
    sign, size = determinant.slogdet(x)
    return logic.where(logic.less(sign, 0), np.nan, size)


class SVD(NamedTuple):
    """x = U diag(S) V*."""

    U: Any
    S: Any
    V: Any


def svd(x: Any, some: bool = True) -> SVD:
    """x = U diag(S) V* with orthonormal columns of U and V; `some`: only as many as there are singular values."""
    u, s, vh = decompositions.svd(x, full_matrices=not some)
    return SVD(u, s, math.conj(shape.matrix_transpose(vh)))


class LeastSquares(NamedTuple):
    """What `lstsq` answers."""

    solution: Any
    residuals: Any
    rank: Any
    singular_values: Any


def lstsq(a: Any, b: Any, rcond: float | None = None) -> LeastSquares:
    """The x of least ‖b - a x‖, and of these the shortest."""
    return LeastSquares(*least_squares.lstsq(a, b, rcond))


# ---------------------------------------------------------------------------------------------- shapes and places
def chunk(x: Any, chunks: int, axis: int = 0) -> Any:
    """At most so many parts of equal length along `axis`; the last may be shorter."""
    return split(x, -(-_length(x, axis) // chunks), axis)


def split(x: Any, size: Any, axis: int = 0) -> Any:
    """Parts of this length, or of these lengths, along `axis`."""
    n = _length(x, axis)
    sizes = [len(range(i, n)[:size]) for i in range(0, n, size)] if isinstance(size, int) else list(size)
    return shape.split(x, sizes, axis)


def _length(x: Any, axis: int) -> int:
    axis = checked_axis("split", axis, raw(x).ndim)
    return raw(x).shape[axis]


_PADS = {"replicate": "edge", "circular": "wrap"}


def pad(x: Any, widths: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """x with more elements around it, or with fewer: (before, after) of the last axis, of the one before it, ...

    mode: "constant", with `value`, 0 if not said, "reflect", "replicate" or "circular".
    """
    n = raw(x).ndim
    if len(widths) % 2 or len(widths) > 2 * n:
        raise ValueError(f"Padding length must be even and at most twice the number of dimensions, {n}; given {widths}")
    pairs = [*zip(widths[::2], widths[1::2])][::-1]
    pairs = [(0, 0)] * (n - len(pairs)) + pairs
    if any([w < 0 for w in widths]):
        x = x[tuple([slice(max(-a, 0), m - max(-b, 0)) for (a, b), m in zip(pairs, raw(x).shape)])]
        pairs = [(max(a, 0), max(b, 0)) for a, b in pairs]
    return padding.pad(x, pairs, _PADS.get(mode, mode), value or 0)


_HOW = {None: "set", "add": "add", "sum": "add", "multiply": "multiply", "prod": "multiply", "amax": "max"}
_HOW["amin"] = "min"


def scatter(x: Any, axis: int, indices: Any, values: Any, reduce: str | None = None) -> Any:
    """x with values[i, j] at [indices[i, j], j] along the first axis, and so on; or added to it, "sum", and so on."""
    if reduce not in _HOW:
        raise ValueError(f"reduce argument must be one of {[*_HOW]}, not {reduce!r}")
    return scattering.scatter(x, indices, values, axis, _HOW[reduce])


def scatter_add(x: Any, axis: int, indices: Any, values: Any) -> Any:
    """x with values[i, j] added at [indices[i, j], j] along the first axis, and so on."""
    return scattering.scatter(x, indices, values, axis, "add")


def bucketize(x: Any, boundaries: Any, side: str = "left") -> Any:
    """The number of the bucket of each element, between sorted boundaries."""
    return sorting.searchsorted(boundaries, x, side)


# ---------------------------------------------------------------------------------------------- values and indices
class Found(NamedTuple):
    """Values, and where they are."""

    values: Any
    indices: Any


def sort(x: Any, axis: int = -1, descending: bool = False) -> Found:
    """(values, indices) in order along `axis`; equal elements keep theirs."""
    places = sorting.argsort(x, axis, descending)
    return Found(index.gather(x, raw(places), axis), places)


def topk(x: Any, k: int, axis: int = -1, largest: bool = True, sorted: bool = True) -> Found:
    """(values, indices) of the k largest along `axis`, the largest first; or of the smallest."""
    n = raw(x).shape[axis]
    if k > n:
        raise ValueError(f"selected index k out of range: {k} of {n} elements")
    return Found(*sorting.topk(x, k, axis, largest, sorted))


def cummax(x: Any, axis: int) -> Found:
    """(the largest so far along `axis`, where it is)."""
    return Found(*scan.cummax(x, axis))


def cummin(x: Any, axis: int) -> Found:
    """(the smallest so far along `axis`, where it is)."""
    return Found(*scan.cummin(x, axis))


def median(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The middle one of all elements, the lower one of two; with `axis`, (values, indices) along it.  NaN where one is.

    Kink: equal elements share the gradient; along an axis the one of the index has it.  ValueError without elements.
    """
    a = raw(x)
    if not a.size:
        raise ValueError("median: there are no elements")
    if axis is None:
        middle = raw(shape.flatten(x)[raw(_middle(shape.flatten(x), 0))[0]])
        return reduce.max(logic.where((a == middle) | (a != a), x, -np.inf if a.dtype.kind == "f" else a.min()))
    places = _middle(x, axis)
    out = index.gather(x, places, axis), places
    return Found(*[t if keepdims else shape.squeeze(t, axis=axis) for t in out])


@logic.const
def _middle(x: Any, axis: int) -> Any:
    """Where the lower middle of the elements is along `axis`, or a NaN."""
    order, a = raw(sorting.argsort(x, axis)), raw(x)
    n = a.shape[axis]
    middle = xp(a).where((a != a).any(axis=axis, keepdims=True), n - 1, (n - 1) // 2)
    return xp(a).take_along_axis(order, middle, axis)


def _extreme(name: str, whole: Any, where: Any, pair: Any) -> Any:
    def call(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        if isinstance(axis, Tensor):
            return pair(x, axis)
        if axis is None:
            return whole(x)
        places = where(x, axis=axis, keepdims=True)
        out = index.gather(x, raw(places), axis), places
        return Found(*[t if keepdims else shape.squeeze(t, axis=axis) for t in out])

    call.__name__ = name
    call.__doc__ = f"The {name} of all, or with `axis` (values, indices) along it, or of each pair of two tensors."
    return call


largest = _extreme("max", reduce.max, reduce.argmax, choice.maximum)
smallest = _extreme("min", reduce.min, reduce.argmin, choice.minimum)


# ---------------------------------------------------------------------------------------------- spread, conditions
def _spread(f: Any) -> Any:
    def call(x: Any, axis: Any = None, unbiased: bool = True, keepdims: bool = False, correction: Any = None) -> Any:
        if isinstance(axis, bool):  # std(True), std(False)
            axis, unbiased = None, axis
        return f(x, axis=axis, correction=int(unbiased) if correction is None else correction, keepdims=keepdims)

    call.__name__, call.__doc__ = f.__name__, f"{f.__doc__}  Over their number less one, unless said otherwise."
    return call


std, var = _spread(reduce.std), _spread(reduce.var)


def nonzero(x: Any, as_tuple: bool = False) -> Any:
    """The indices of the elements that are not zero, a row each; or an axis each."""
    found = np.nonzero(to_host(raw(x)))
    own = lambda i: wrap(xp(raw(x)).asarray(i), None, x.kind)
    return tuple([own(i) for i in found]) if as_tuple else own(np.stack(found, 1))


def allclose(x: Any, y: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether all elements are nearly equal."""
    return bool(np.allclose(to_host(raw(x)), to_host(raw(y)), rtol, atol, equal_nan))


def equal(x: Any, y: Any) -> bool:
    """Whether shapes and all elements are equal."""
    return bool(np.array_equal(to_host(raw(x)), to_host(raw(y))))
