"""Reading and gathering elements."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..array import NUMPY, library, to_host, xp as xp_of
from ..core import Tensor, raw, wrap
from ..dtypes import as_dtype, default_float, wide
from ..forward import boxed, placed
from ..op import op
from ..origin import CONSTANT
from ..recording import lost


def _raw_key(key: Any) -> Any:
    """An index with the arrays of Tensors in place of the Tensors."""
    if isinstance(key, Tensor):
        return key.array
    return tuple([raw(k) for k in key]) if isinstance(key, tuple) else key


def _placed(k: Any, x: Any) -> Any:
    return placed(k, x) if isinstance(k, np.ndarray) else k


def _is_basic(key: Any) -> bool:
    """Whether `key` selects every element at most once: slices, integers, None and Ellipsis."""
    parts = key if isinstance(key, tuple) else (key,)
    return all([k is None or k is Ellipsis or (isinstance(k, (slice, int)) and not isinstance(k, bool)) for k in parts])


@op(x=lambda g, shape, key: put_add(g, key=key, shape=shape), name="getitem")
def _getitem(xp: Any, x: Any, *, key: Any) -> Any:
    return x[key]


def getitem(x: Any, key: Any) -> Any:
    """x[key]: integers, slices, None, Ellipsis, integer and boolean arrays, mixed as NumPy allows.

    IndexError for an index out of bounds.  The gradient of an element selected twice is the sum of both.
    """
    x = boxed(x, "getitem")
    by = [k for k in (key if isinstance(key, tuple) else (key,)) if isinstance(k, Tensor)]
    key = _raw_key(key)
    if library(raw(x)) is not NUMPY:  # once, not for each use of the key
        key = tuple([_placed(k, raw(x)) for k in key]) if isinstance(key, tuple) else _placed(key, raw(x))
    if isinstance(key, list):
        key = xp_of(raw(x)).asarray(key, None if key else int)  # which nobody can change later
    parts = key if isinstance(key, tuple) else (key,)
    for k in parts:
        if isinstance(k, (str, float)):
            raise IndexError(f"getitem: {k!r} is no index; integers, slices, None, ... and integer or bool arrays are")
    out = _getitem(x, key=key)
    return lost(out, "getitem", by, CONSTANT) if by and isinstance(out, Tensor) else out


@op(g=lambda h, key: _getitem(h, key=key), name="put_add", args=["g"])
def _put_add(xp: Any, g: Any, *, key: Any, to: tuple[int, ...]) -> Any:
    if _is_basic(key):
        out = xp.zeros(to, g.dtype)
        out[key] = g
        return out
    out = xp.zeros(to, wide(g.dtype))
    xp.add.at(out, key, g.astype(out.dtype, copy=False))
    return out.astype(g.dtype, copy=False)


def put_add(g: Any, key: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of `shape` with g added at `key`: the pullback of `getitem`."""
    return _put_add(g, key=key, to=shape)


def _without(g: Any, key: Any) -> Any:
    return put(g, wrap(xp_of(raw(g)).zeros((), g.dtype)) if isinstance(g, Tensor) else g.dtype.type(0), key=key)


@op(x=_without, value=lambda g, key: _getitem(g, key=key), name="put", args=["x", "value"])
def put(xp: Any, x: Any, value: Any, *, key: Any) -> Any:
    """x with `value`, broadcast, at x[key]."""
    out = xp.array(x)
    out[key] = value
    return out


def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """The slices of x at `indices` along `axis` (None: of the flattened array)."""
    x = boxed(x, "take")
    if isinstance(indices, (list, tuple)):
        indices = xp_of(raw(x)).asarray(indices, None if len(indices) else int)
    if axis is None:
        return getitem(x.reshape(-1), indices)
    return getitem(x, (*[slice(None)] * _checked("take", axis, raw(x).ndim), indices))


def _checked(name: str, axis: int, ndim: int) -> int:
    if not -ndim <= axis < ndim:
        raise ValueError(f"{name}: axis {axis} is out of bounds for an array of {ndim} axes")
    return axis % ndim


def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Any:
    """One element of x for each of `indices`, which match x in all axes but `axis`."""
    x = boxed(x, "take_along_axis")
    array = raw(x)
    indices = placed(indices, array)
    if indices.ndim != array.ndim:
        raise ValueError(
            f"take_along_axis: indices have {indices.ndim} axes and x has {array.ndim}; they must have as many"
        )
    return _along(x, indices, _checked("take_along_axis", axis, array.ndim), array.shape)


def gather(x: Any, indices: Any, axis: int) -> Any:
    """out[i, j] = x[indices[i, j], j] along the first axis, and so on: `indices` may be shorter than x elsewhere.

    IndexError for an index that is negative or out of bounds; ValueError for another number of axes, or longer ones.
    """
    x = boxed(x, "gather")
    array = raw(x)
    indices = placed(indices, array)
    axis = _checked("gather", axis, array.ndim)
    if indices.ndim != array.ndim:
        raise ValueError(f"Index tensor must have the same number of dimensions as input tensor, {array.ndim}")
    for i, (m, n) in enumerate(zip(indices.shape, array.shape)):
        if i != axis and m > n:
            raise ValueError(
                f"Size does not match at dimension {i} expected index {list(indices.shape)} to be no larger than self "
                f"{list(array.shape)} apart from dimension {axis}"
            )
    if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < array.shape[axis]:
        wrong = int(indices.min()) if int(indices.min()) < 0 else int(indices.max())
        raise IndexError(f"gather: index {wrong} is out of bounds for dimension {axis} with size {array.shape[axis]}")
    return _along(x, indices, axis, indices.shape)


def _along(x: Any, indices: Any, axis: int, lengths: tuple[int, ...]) -> Any:
    """One element of x for each of `indices` along `axis`; in the other axes, as many as `lengths` from the first."""
    n, lib = len(lengths), xp_of(raw(x))
    return getitem(
        x,
        tuple(
            [
                indices if i == axis else lib.arange(m).reshape([m if j == i else 1 for j in range(n)])
                for i, m in enumerate(lengths)
            ]
        ),
    )


def repeat(x: Any, repeats: int | Sequence[int], axis: int | None = None) -> Any:
    """Each slice of x along `axis` so many times in a row; None: each element of the flattened array."""
    x = boxed(x, "repeat")
    if axis is None:
        x, axis = x.reshape(-1), 0
    rows = np.repeat(np.arange(raw(x).shape[axis]), to_host(raw(repeats)))
    return take(x, xp_of(raw(x)).asarray(rows), axis)


def diag(x: Any, k: int = 0) -> Any:
    """The k-th diagonal of matrix x; of a vector, the matrix with it there and zeros elsewhere."""
    x = boxed(x, "diag")
    shape = raw(x).shape
    n = shape[0] + abs(k) if len(shape) == 1 else max(0, min(shape[0] + min(k, 0), shape[1] - max(k, 0)))
    rows = xp_of(raw(x)).arange(shape[0] if len(shape) == 1 else n)
    key = (rows + max(-k, 0), rows + max(k, 0))
    return put_add(x, key=key, shape=(n, n)) if len(shape) == 1 else getitem(x, key)


def gather_nd(x: Any, indices: Any) -> Any:
    """The slices of x at the index vectors in the last axis of `indices`."""
    x = boxed(x, "gather_nd")
    return getitem(x, tuple(xp_of(raw(x)).moveaxis(placed(indices, raw(x)), -1, 0)))


def boolean_mask(x: Any, mask: Any, axis: int | None = None) -> Any:
    """The elements where `mask` holds, whose axes are those of x from `axis` (None: the first) on."""
    x = boxed(x, "boolean_mask")
    return getitem(x, (*[slice(None)] * (axis or 0), placed(mask, raw(x))))


def window(x: Any, begin: Sequence[int], size: Sequence[int]) -> Any:
    """So many elements of each axis from `begin` on; of a size of -1, all the rest.

    ValueError if x does not have so many.
    """
    x, begin, size = boxed(x, "window"), np.asarray(begin).tolist(), np.asarray(size).tolist()
    lengths = raw(x).shape
    sizes = [n - b if s == -1 else s for s, b, n in zip(size, begin, lengths, strict=True)]
    for axis, (b, s, n) in enumerate(zip(begin, sizes, lengths, strict=True)):
        if min(b, s) < 0 or b + s > n:
            raise ValueError(
                f"window: Expected size[{axis}] in [0, {n - b}], but got {s}: axis {axis} has {n} elements"
            )
    return getitem(x, tuple([slice(b, b + s) for b, s in zip(begin, sizes)]))


def one_hot(
    indices: Any, num_classes: int, dtype: Any = None, on: Any = None, off: Any = None, axis: int | None = None
) -> Any:
    """For each index a row, along a new axis (None: the last), of `off` (None: 0) with `on` (None: 1) in its place."""
    indices = boxed(indices, "one_hot")
    i = raw(indices)
    xp = xp_of(i)
    hot = i[..., None] == xp.arange(num_classes)
    hot = hot if on is None and off is None else xp.where(hot, 1 if on is None else on, off or 0)
    out = hot.astype(default_float() if dtype is None else as_dtype(dtype))
    out = out if axis is None else xp.moveaxis(out, -1, axis)
    return lost(wrap(out, None, indices.kind), "one_hot", (indices,), CONSTANT) if isinstance(indices, Tensor) else out
