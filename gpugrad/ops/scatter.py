"""An array with some elements changed: what `x[key] = value` and `x[key] += value` are where arrays do not change.

An element that is selected twice has the last value set, the sum added, the product, or the largest or smallest.  On
the CPU an index out of range is an error; on a GPU CuPy wraps it around, where it does not come from the host.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..array import to_host, xp as xp_of
from ..core import raw
from ..dtypes import category, wide
from ..forward import boxed, checked_axes, fit, placed, size_of
from ..op import op
from .casting import astype
from .examples import put_batch
from .index import along, beside, getitem, picked, put, put_add, settled, take, told, vectors
from .logic import where
from .math import divide, multiply, negative
from .places import axes_left, combine, integers, may_repeat, numbered, parts
from .shape import broadcast_to, reshape


def _changed(xp: Any, f: Any, x: Any, value: Any, key: Any) -> Any:
    """A copy of x, what `key` selects there changed to f of itself and `value`."""
    if f is not xp.add and x.dtype.kind == "c":
        raise TypeError("complex numbers have no order")
    out = xp.array(x, wide(x.dtype), order="C")
    combine(xp, f, out, key, xp.asarray(value, out.dtype))
    return out.astype(x.dtype, copy=False)


@op(x=lambda g: g, value=lambda g, key: getitem(g, key), args=["x", "value"], batch=put_batch)
def at_add(xp: Any, x: Any, value: Any, *, key: Any) -> Any:
    """x with `value`, broadcast, added to x[key]."""
    return _changed(xp, xp.add, x, value, key)


def _shared(g: Any, x: Any, value: Any, out: Any, key: Any) -> tuple[Any, Any, Any]:
    """(where x came out, where the values did, g over the number of those at its place); NaN ties with NaN."""
    x, value, out = raw(x), raw(value), raw(out)
    same = lambda a, b: (a == b) | (a != a)
    mine, theirs = same(x, out), same(value, out[key])
    return mine, theirs, g / (mine.astype(g.dtype) + put_add(theirs.astype(g.dtype), key, out.shape))


def _extreme_x(g: Any, x: Any, value: Any, out: Any, key: Any) -> Any:
    mine, _, share = _shared(g, x, value, out, key)
    return where(mine, share, 0)


def _extreme_value(g: Any, x: Any, value: Any, out: Any, key: Any) -> Any:
    _, theirs, share = _shared(g, x, value, out, key)
    return where(theirs, getitem(share, key), 0)


@op(x=_extreme_x, value=_extreme_value, args=["x", "value"], exact=("x", "value", "out"), batch=put_batch)
def at_max(xp: Any, x: Any, value: Any, *, key: Any) -> Any:
    """x with the larger of x[key] and `value`, broadcast, in its place."""
    return _changed(xp, xp.maximum, x, value, key)


@op(x=_extreme_x, value=_extreme_value, args=["x", "value"], exact=("x", "value", "out"), batch=put_batch)
def at_min(xp: Any, x: Any, value: Any, *, key: Any) -> Any:
    """x with the smaller of x[key] and `value`, broadcast, in its place."""
    return _changed(xp, xp.minimum, x, value, key)


def _products(x: Any, counts: np.ndarray) -> Any:
    """The product of the first counts[0] rows, that of the next counts[1], and so on.

    Neighbours are multiplied until one row is left of each: nothing is divided by, so zeros do no harm.
    """
    dtype = raw(x).dtype
    x = astype(x, wide(dtype))
    while counts.max() > 1:
        pairs = (counts + 1) // 2
        first = np.cumsum(counts) - counts
        left = np.repeat(first - 2 * (np.cumsum(pairs) - pairs), pairs) + 2 * np.arange(pairs.sum())
        alone = left + 1 == np.repeat(first + counts, pairs)
        mask = placed(alone.reshape(-1, *[1] * (raw(x).ndim - 1)), raw(x))
        x = multiply(take(x, left, axis=0), where(mask, 1, take(x, left + ~alone, axis=0)))
        counts = pairs
    return astype(x, dtype)


def _multiply_at(x: Any, value: Any, key: Any) -> Any:
    """x with x[key] times `value`, broadcast, in its place."""
    shape = raw(x).shape
    if may_repeat(key):
        xp = xp_of(next(k for k in parts(key) if hasattr(k, "dtype")))  # x may be of a vmap alone
        numbers, n = numbered(xp, key, shape)
        host, rest = to_host(numbers).reshape(-1), shape[n:]
        places, counts = np.unique(host, return_counts=True)
        if places.size < host.size:
            factors = reshape(broadcast_to(value, numbers.shape + rest), (host.size, *rest))
            value = _products(take(factors, np.argsort(host, kind="stable"), axis=0), counts)
            flat = reshape(x, (math.prod(shape[:n]), *rest))
            return reshape(_multiply_at(flat, value, placed(places, raw(x))), shape)
    return put(x, multiply(getitem(x, key), value), key=key)


# ---------------------------------------------------------------------------------------------- x.at[key]
class Places:
    """What `x.at[key]` selects; each method answers x with that changed, and leaves x alone.

    Values are broadcast to x[key].  The result has the dtype of x: TypeError for values that it cannot hold, as floats
    in an array of integers, OverflowError for numbers out of its range; IndexError for an index out of range.
    """

    __slots__ = ("_given", "_key", "_name", "_x")

    def __init__(self, x: Any, key: Any, name: str = "") -> None:
        self._x, self._given, self._key, self._name = x, key, settled(name or "at", raw(x), key), name

    def _made(self, name: str, f: Any, value: Any) -> Any:
        name = self._name or f"at.{name}"
        v = beside(name, self._x, value)
        shape, most = raw(v).shape, axes_left(self._key, raw(self._x).ndim)
        if len(shape) > most:  # leading axes of length 1 may go, as in an assignment
            if math.prod(shape[: len(shape) - most]) != 1:
                raise ValueError(f"{name}: values of shape {shape} have more axes than the {most} of x[key]")
            v = reshape(v, shape[len(shape) - most :])
        try:
            out = f(self._x, v, key=self._key)
        except (IndexError, ValueError, TypeError) as e:  # in the user's words: the op may have another name
            raise type(e)(f"{name}: {str(e).partition(': ')[2] or e}") from None
        return told(name, out, self._given)

    def get(self) -> Any:
        """x[key]."""
        return getitem(self._x, self._given)

    def set(self, value: Any) -> Any:
        """x with `value` at key; where an element is selected twice, the last value, which alone has a gradient."""
        return self._made("set", put, value)

    def add(self, value: Any) -> Any:
        """x with `value` added at key; to an element that is selected twice, both."""
        return self._made("add", at_add, value)

    def subtract(self, value: Any) -> Any:
        """x with `value` subtracted at key; from an element that is selected twice, both."""
        return self._made("subtract", lambda x, v, key: at_add(x, negative(v), key=key), value)

    def multiply(self, value: Any) -> Any:
        """x with x[key] times `value`; an element that is selected twice, times both.

        On a GPU it waits for integer arrays in the index.
        """
        return self._made("multiply", _multiply_at, value)

    def divide(self, value: Any) -> Any:
        """x with x[key] over `value`; an element that is selected twice, over both.  TypeError for integers."""
        array = raw(self._x)
        if category(array.dtype) < 2:
            raise TypeError(f"at.divide: an array of {array.dtype} cannot hold quotients; write x.astype(...) first")
        return divide(self._x, Places(xp_of(array).ones_like(array), self._given).multiply(value))

    def max(self, value: Any) -> Any:
        """x with the largest of x[key] and `value`.  TypeError for complex numbers."""
        return self._made("max", at_max, value)

    def min(self, value: Any) -> Any:
        """x with the smallest of x[key] and `value`.  TypeError for complex numbers."""
        return self._made("min", at_min, value)


class At:
    """`x.at`, which takes an index as x does."""

    __slots__ = ("_x",)

    def __init__(self, x: Any) -> None:
        self._x = x

    def __getitem__(self, key: Any) -> Places:
        return Places(self._x, key)


def at(x: Any) -> At:
    """x with some elements changed, as `Tensor.at`: at(x)[key].set(value), add, subtract, multiply, divide, max or min.

    `key` is any index that x takes.  Of an element that is selected twice: the last value is set, and alone has a
    gradient; all values are added, multiplied, compared.  x stays as it is.

    Kinks: max and min share the gradient equally among the element and the values that tie.
    """
    return At(boxed(x, "at"))


# ---------------------------------------------------------------------------------------------- by functions
HOW = ("set", "add", "multiply", "max", "min")


def put_along_axis(x: Any, indices: Any, values: Any, axis: int | None = -1, reduce: str = "set") -> Any:
    """x with `values` at the places that `take_along_axis` reads (axis None: of the flattened array).

    reduce: "set", "add", "multiply", "max" or "min", as `x.at[...]` has them.
    ValueError for shapes that do not match; IndexError for an index out of range.
    """
    x = boxed(x, "put_along_axis")
    if reduce not in HOW:
        raise ValueError(f"put_along_axis: reduce is one of {list(HOW)}, not {reduce!r}")
    shape = raw(x).shape
    if axis is None:
        x, axis = reshape(x, -1), 0
    key = along("put_along_axis", raw(x), indices, axis)
    out = told("put_along_axis", getattr(Places(x, key, "put_along_axis"), reduce)(values), indices)
    return out if raw(out).shape == shape else reshape(out, shape)


def scatter(x: Any, indices: Any, values: Any, axis: int, reduce: str = "set") -> Any:
    """x with values[i, j] at [indices[i, j], j] along the first axis, and so on: where `gather` reads.

    `indices` may be shorter than x, and `values`, an array or a number, longer than they are.  reduce and errors as
    in `put_along_axis`.
    """
    x = boxed(x, "scatter")
    if reduce not in HOW:
        raise ValueError(f"scatter: reduce is one of {list(HOW)}, not {reduce!r}")
    shape = raw(indices).shape
    key = picked("scatter", raw(x), indices, axis)
    if getattr(raw(values), "ndim", 0):
        longer = raw(values).shape
        if len(longer) != len(shape) or any([n < m for n, m in zip(longer, shape)]):
            raise ValueError(f"scatter: the values have the shape {longer}; for indices of {shape} it is no smaller")
        values = getitem(values, tuple([slice(n) for n in shape]))
    return told("scatter", getattr(Places(x, key), reduce)(values), indices)


def index_add(x: Any, indices: Any, values: Any, axis: int = 0, alpha: float = 1) -> Any:
    """x with alpha times `values` added to its slices at `indices` along `axis`.

    IndexError for an index out of range; ValueError for a wrong axis and for values that do not broadcast.
    """
    x = boxed(x, "index_add")
    (axis,) = checked_axes("index_add", axis, raw(x).ndim)
    i = integers("index_add", indices, raw(x), raw(x).shape[axis])
    values = fit([x, values], "index_add")[1]
    values = values if alpha == 1 else multiply(values, alpha)
    return told("index_add", Places(x, (*[slice(None)] * axis, i), "index_add").add(values), indices)


def scatter_nd(indices: Any, updates: Any, shape: int | Sequence[int]) -> Any:
    """Zeros of `shape` with `updates` added at the index vectors in the last axis of `indices`.

    IndexError for an index out of range; ValueError for shapes that do not fit.
    """
    updates = boxed(updates, "scatter_nd")
    shape = size_of(shape)
    key = vectors("scatter_nd", indices, raw(updates), shape)
    expected = key[0].shape + shape[len(key) :]
    if raw(updates).shape != expected:
        raise ValueError(f"scatter_nd: updates have the shape {raw(updates).shape}; for these indices it is {expected}")
    return told("scatter_nd", put_add(updates, key, shape), indices)
