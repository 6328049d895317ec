"""Reading and gathering elements.

On the CPU an index out of range is an error, before anything is computed.  On a GPU, which is not waited for, indices
that come from the host are looked at, too; of those that are there, CuPy wraps around what is out of range.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..array import library, to_host, xp as xp_of
from ..core import Tensor, raw, wrap
from ..dtypes import as_dtype, category, default_float, wide
from ..forward import boxed, checked_axis, fit, indices as as_indices, placed
from ..levels import concrete
from ..op import op
from ..origin import CONSTANT
from ..recording import lost
from .casting import astype
from .examples import getitem_batch, put_add_batch, put_batch
from .logic import equal, where
from .places import combine, fitting, integers, is_basic, last, may_repeat, numbered, parts
from .shape import broadcast_to, common, expand_dims, moveaxis, reshape


# ---------------------------------------------------------------------------------------------- by an index
def _raw_key(key: Any) -> Any:
    """An index with the arrays of Tensors in place of the Tensors."""
    if isinstance(key, Tensor):
        return key.array
    return tuple([raw(k) for k in key]) if isinstance(key, tuple) else key


def settled(name: str, x: Any, key: Any) -> Any:
    """`key` with arrays for the Tensors and lists in it, on the device of array `x`.

    IndexError for what is no index, and for a mask of another shape.
    """
    if is_basic(key) or (type(key) is type(x) is np.ndarray and key.dtype.kind in "iu"):
        return key
    found = tuple([_part(name, k) for k in parts(key)])
    fitting(found, x, name)
    found = tuple([placed(k, x) if hasattr(k, "dtype") else k for k in found])
    return found if isinstance(key, tuple) else found[0]


def _part(name: str, k: Any) -> Any:
    if k is None or k is Ellipsis or isinstance(k, (slice, int)):
        return k
    if isinstance(k, np.integer):
        return int(k)
    if isinstance(k, list):
        k = np.asarray([to_host(raw(i)) if isinstance(i, Tensor) else i for i in k], None if k else int)
    if getattr(raw(k), "dtype", np.dtype(float)).kind not in "iub":
        raise IndexError(f"{name}: {k!r:.60} is no index; integers, slices, None, ... and integer or bool arrays are")
    return raw(k)


@op(x=lambda g, shape, key: put_add(g, key=key, shape=shape), name="getitem", batch=getitem_batch, linear=True)
def _getitem(xp: Any, x: Any, *, key: Any) -> Any:
    return x[key]


def getitem(x: Any, key: Any) -> Any:
    """x[key]: integers, slices, None, Ellipsis, integer and boolean arrays, mixed as NumPy allows.

    IndexError for an index out of bounds.  The gradient of an element selected twice is the sum of both.
    """
    x = boxed(x, "getitem")
    return told("getitem", _getitem(x, key=settled("getitem", raw(x), key)), key)


def told(name: str, out: Any, key: Any) -> Any:
    """`out`, with a note that no gradient goes to the Tensors in `key`."""
    if type(key) is np.ndarray or is_basic(key):
        return out
    by = [k for k in parts(key) if isinstance(k, Tensor)]
    return lost(out, name, by, CONSTANT) if by and isinstance(out, Tensor) else out


@op(g=lambda h, key: _getitem(h, key=key), name="put_add", args=["g"], batch=put_add_batch, linear=True)
def _put_add(xp: Any, g: Any, *, key: Any, to: tuple[int, ...]) -> Any:
    out = xp.zeros(to, wide(g.dtype))
    if may_repeat(key):
        combine(xp, xp.add, out, key, g.astype(out.dtype, copy=False))
    else:
        out[key] = g
    return out.astype(g.dtype, copy=False)


def put_add(g: Any, key: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of `shape` with g added at `key`: the pullback of `getitem`."""
    return _put_add(g, key=key, to=shape)


def _without(g: Any, key: Any) -> Any:
    return put(g, wrap(xp_of(raw(g)).zeros((), g.dtype)) if isinstance(g, Tensor) else g.dtype.type(0), key=key)


@op(g=lambda h, key, shape: put(wrap(xp_of(raw(h)).zeros(shape, h.dtype)), h, key=key), batch=getitem_batch)
def _kept(xp: Any, g: Any, *, key: Any) -> Any:
    """The pullback of `put` for the values: nothing to those that a later one was written over."""
    out = g[key]
    if not may_repeat(key):
        return out
    numbers, n = numbered(xp, key, g.shape)
    mine = xp.arange(numbers.size).reshape(numbers.shape)
    kept = last(xp, numbers, math.prod(g.shape[:n])) == mine
    return xp.where(kept.reshape(*kept.shape, *[1] * (g.ndim - n)), out, out.dtype.type(0))


@op(x=_without, value=lambda g, key: _kept(g, key=key), name="put", args=["x", "value"], batch=put_batch)
def put(xp: Any, x: Any, value: Any, *, key: Any) -> Any:
    """x with `value`, broadcast, at x[key]; of an element selected twice, the last value."""
    out = xp.array(x)
    if xp is not np and may_repeat(key) and getattr(value, "ndim", 0):  # a GPU writes in no order
        numbers, n = numbered(xp, key, x.shape)
        rest = x.shape[n:]
        value = xp.broadcast_to(value, numbers.shape + rest).reshape(numbers.size, *rest)
        value = value[last(xp, numbers, math.prod(x.shape[:n]))]
    out[key] = value
    return out


# ---------------------------------------------------------------------------------------------- along an axis
def take(x: Any, indices: Any, axis: int | None = None, mode: str = "raise") -> Any:
    """The slices of x at `indices` along `axis` (None: of the flattened array).

    mode: of an index out of range; "raise" an IndexError, "wrap" around, or "clip" to the first and the last.
    """
    x = boxed(x, "take")
    if axis is None:
        x, axis = reshape(x, -1), 0
    axis = checked_axis("take", axis, raw(x).ndim)
    n = raw(x).shape[axis]
    if mode in ("wrap", "clip") and n:
        indices = as_indices(indices)
        indices = indices % n if mode == "wrap" else indices.clip(0, n - 1)
    elif mode not in ("raise", "wrap", "clip"):
        raise ValueError(f"take: mode is 'raise', 'wrap' or 'clip', not {mode!r}")
    i = integers("take", indices, raw(x), n)
    return told("take", _getitem(x, key=(*[slice(None)] * axis, i)), indices)


def along(name: str, x: Any, given: Any, axis: int) -> Any:
    """The index of one element of array `x` for each of the indices `given`, which match x in all axes but `axis`.

    ValueError where they do not; IndexError for an index out of range.
    """
    axis, i = checked_axis(name, axis, x.ndim), as_indices(given)
    if i.ndim != x.ndim:
        raise ValueError(f"{name}: indices have {i.ndim} axes and x has {x.ndim}; they must have as many")
    for a, (m, n) in enumerate(zip(i.shape, x.shape)):
        if a != axis and m != n and 1 not in (m, n):
            raise ValueError(f"{name}: indices of shape {i.shape} do not match x of shape {x.shape} along axis {a}")
    return _key_along(integers(name, given, x, x.shape[axis]), axis, x.shape)


def _key_along(i: Any, axis: int, lengths: tuple[int, ...]) -> tuple[Any, ...]:
    """The index of one element for each of `i` along `axis`; in the other axes, as many as `lengths` from the first."""
    return tuple([i if a == axis else _line(i, a, m, len(lengths)) for a, m in enumerate(lengths)])


def _line(like: Any, axis: int, length: int, ndim: int) -> Any:
    """The numbers from 0 on along one axis of several, on the device of `like`."""
    return xp_of(like).arange(length).reshape([length if a == axis else 1 for a in range(ndim)])


def take_along_axis(x: Any, indices: Any, axis: int | None = -1) -> Any:
    """One element of x for each of `indices`, which match x in all axes but `axis` (None: of the flattened array).

    ValueError for shapes that do not match; IndexError for an index out of range.
    """
    x = boxed(x, "take_along_axis")
    if axis is None:
        x, axis = reshape(x, -1), 0
    return told("take_along_axis", _getitem(x, key=along("take_along_axis", raw(x), indices, axis)), indices)


def picked(name: str, x: Any, indices: Any, axis: int) -> tuple[Any, ...]:
    """The index of `gather`, checked."""
    indices = placed(indices, x)
    axis = checked_axis(name, axis, x.ndim)
    if indices.ndim != x.ndim:
        raise ValueError(f"Index tensor must have the same number of dimensions as input tensor, {x.ndim}")
    for i, (m, n) in enumerate(zip(indices.shape, x.shape)):
        if i != axis and m > n:
            raise ValueError(
                f"Size does not match at dimension {i} expected index {list(indices.shape)} to be no larger than self "
                f"{list(x.shape)} apart from dimension {axis}"
            )
    seen = concrete(indices)
    if seen.size and not 0 <= int(seen.min()) <= int(seen.max()) < x.shape[axis]:
        wrong = int(seen.min()) if int(seen.min()) < 0 else int(seen.max())
        raise IndexError(f"{name}: index {wrong} is out of bounds for dimension {axis} with size {x.shape[axis]}")
    return _key_along(indices, axis, indices.shape)


def gather(x: Any, indices: Any, axis: int) -> Any:
    """out[i, j] = x[indices[i, j], j] along the first axis, and so on: `indices` may be shorter than x elsewhere.

    IndexError for an index that is negative or out of bounds; ValueError for another number of axes, or longer ones.
    """
    x = boxed(x, "gather")
    return _getitem(x, key=picked("gather", raw(x), indices, axis))


def repeat(x: Any, repeats: int | Sequence[int], axis: int | None = None) -> Any:
    """Each slice of x along `axis` so many times in a row; None: each element of the flattened array.

    ValueError for a number of times that is negative, or not one for each slice.
    """
    x = boxed(x, "repeat")
    if axis is None:
        x, axis = reshape(x, -1), 0
    axis = checked_axis("repeat", axis, raw(x).ndim)
    times, shape = to_host(as_indices(repeats)), raw(x).shape
    if times.size and (times.dtype.kind not in "iu" or times.min() < 0):
        raise ValueError(f"repeat: repeats are integers from 0 on, not {repeats!r:.60}")
    if times.size != 1 and times.shape != (shape[axis],):
        raise ValueError(f"repeat: {times.size} repeats for the {shape[axis]} slices along axis {axis}")
    if times.size == 1:
        k = int(times.item())
        rows = broadcast_to(expand_dims(x, axis + 1), (*shape[: axis + 1], k, *shape[axis + 1 :]))
        return reshape(rows, (*shape[:axis], shape[axis] * k, *shape[axis + 1 :]))
    return take(x, np.repeat(np.arange(shape[axis]), times), axis)


# ---------------------------------------------------------------------------------------------- by several indices
def vectors(name: str, given: Any, like: Any, shape: tuple[int, ...], batch: int = 0) -> tuple[Any, ...]:
    """The index into an array of `shape` that index vectors in the last axis of `given` make, on the device of `like`.

    batch: so many first axes are shared.  IndexError for an index out of range; ValueError for shapes that do not fit.
    """
    i = as_indices(given)
    if not 0 <= batch < i.ndim or not 0 < i.shape[-1] <= len(shape) - batch:
        raise ValueError(f"{name}: index vectors {i.shape} and batch_dims={batch} do not fit an array of shape {shape}")
    if i.shape[:batch] != shape[:batch]:
        raise ValueError(f"{name}: the first {batch} axes of indices {i.shape} and of {shape} are not the same")
    shared = [_line(like, a, n, i.ndim - 1) for a, n in enumerate(i.shape[:batch])]
    return (*shared, *[integers(name, i[..., j], like, shape[batch + j]) for j in range(i.shape[-1])])


def gather_nd(x: Any, indices: Any, batch_dims: int = 0) -> Any:
    """The slices of x at the index vectors in the last axis of `indices`; the first `batch_dims` axes are shared.

    IndexError for an index out of range; ValueError for shapes that do not fit.
    """
    x = boxed(x, "gather_nd")
    key = vectors("gather_nd", indices, raw(x), raw(x).shape, batch_dims)
    return told("gather_nd", _getitem(x, key=key), indices)


# ---------------------------------------------------------------------------------------------- by a mask
def _mask(name: str, mask: Any, x: Any) -> Any:
    m = placed(mask, x)
    if m.dtype.kind != "b":
        raise TypeError(f"{name}: a mask is of bool, not {m.dtype}")
    return m


def boolean_mask(x: Any, mask: Any, axis: int | None = None) -> Any:
    """The elements where `mask` holds, whose axes are those of x from `axis` (None: the first) on."""
    x = boxed(x, "boolean_mask")
    return getitem(x, (*[slice(None)] * (axis or 0), placed(mask, raw(x))))


def masked_select(x: Any, mask: Any) -> Any:
    """The elements of x where `mask` holds, in one axis; both are broadcast."""
    x = boxed(x, "masked_select")
    m = _mask("masked_select", mask, raw(x))
    shape = common("masked_select", x, m)
    x = x if raw(x).shape == shape else broadcast_to(x, shape)
    return told("masked_select", _getitem(x, key=xp_of(m).broadcast_to(m, shape)), mask)


def masked_fill(x: Any, mask: Any, value: Any) -> Any:
    """x with `value`, a number or a 0-d array, where `mask` holds, in the dtype of x.

    ValueError for a mask that does not broadcast to x, TypeError or OverflowError for a value that x cannot hold.
    """
    x = boxed(x, "masked_fill")
    m, v = _mask("masked_fill", mask, raw(x)), beside("masked_fill", x, value)
    if raw(v).ndim:
        raise ValueError(f"masked_fill: the value is a number, not an array of shape {raw(v).shape}; see where")
    if common("masked_fill", x, m) != raw(x).shape:
        raise ValueError(f"masked_fill: a mask of shape {m.shape} does not broadcast to x of shape {raw(x).shape}")
    return told("masked_fill", where(m, v, x), mask)


def beside(name: str, x: Any, value: Any) -> Any:
    """`value` as an array, of the dtype and on the device of x.

    TypeError for what x cannot hold, as floats in an array of integers; OverflowError for a number out of its range.
    """
    given, value = value, fit([x, value], name)[1]
    to, of = raw(x).dtype, raw(value).dtype
    if category(of) > category(to):
        raise TypeError(f"{name}: an array of {to} cannot hold values of {of}; write x.astype(...) first")
    if to.kind in "iu" and (isinstance(given, np.generic) or library(raw(given)) is None):
        host, limits = to_host(raw(value)).astype(int), np.iinfo(to)
        if host.size and not limits.min <= host.min() <= host.max() <= limits.max:
            raise OverflowError(f"{name}: {given!r:.60} is out of range for {to}, {limits.min} .. {limits.max}")
    return astype(value, to)


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
    """For each index a row, along a new axis (None: the last), of `off` (None: 0) with `on` (None: 1) in its place.

    An index that is no class, as -1, has a row of `off`.  TypeError for indices that are no integers; ValueError for a
    negative number of classes.
    """
    indices = boxed(indices, "one_hot")
    i = raw(indices)
    if i.dtype.kind not in "iub":
        raise TypeError(f"one_hot: indices are integers, not {i.dtype}")
    if num_classes < 0:
        raise ValueError(f"one_hot: num_classes is a number from 0 on, not {num_classes}")
    xp = xp_of(i)
    hot = equal(expand_dims(i, -1), xp.arange(num_classes))
    hot = hot if on is None and off is None else xp.where(hot, 1 if on is None else on, off or 0)
    out = astype(hot, default_float() if dtype is None else as_dtype(dtype))
    out = out if axis is None else moveaxis(out, -1, axis)
    return lost(wrap(out, None, indices.kind), "one_hot", (indices,), CONSTANT) if isinstance(indices, Tensor) else out
