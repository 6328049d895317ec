"""Pooling to a given size: window i of m on an axis of length n is [⌊i n / m⌋, ⌈(i + 1) n / m⌉)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..array import xp as xp_of
from ..core import raw
from ..dtypes import default_float, is_inexact, wide
from ..forward import boxed
from .casting import astype
from .index import take_along_axis
from .logic import const, where
from .math import multiply
from .reduce import mean, sum
from .rows import rows_at
from .shape import reshape
from .windows import Lengths, numbers, spatial


def floating(x: Any) -> Any:
    """x in the dtype in which floats like it are added up."""
    dtype = raw(x).dtype
    return astype(x, wide(dtype) if is_inexact(dtype) else default_float())


def _bounds(length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each of `count` windows starts, and how many elements it has."""
    i = np.arange(count)
    start = i * length // count
    return start, -(-(i + 1) * length // count) - start


def _windows(x: Any, axis: int, count: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """(x with (windows, elements) in the place of `axis`, the last element again in shorter ones; starts, lengths)."""
    shape = x.shape
    start, many = _bounds(shape[axis], count)
    index = start[:, None] + np.minimum(np.arange(many.max()), many[:, None] - 1)
    part = rows_at(x, index=index.reshape(-1), axis=axis)
    return reshape(part, (*shape[:axis], *index.shape, *shape[axis:][1:])), start, many


# ---------------------------------------------------------------------------------------------- the mean
def mean_of_windows(x: Any, size: Lengths) -> Any:
    """The means of the windows that make an array with the last axes `size`."""
    n, shape = len(size), raw(x).shape
    if not any([length % m for length, m in zip(shape[-n:], size)]):  # windows that do not overlap
        apart = [k for length, m in zip(shape[-n:], size) for k in (m, length // m)]
        return mean(reshape(x, (*shape[:-n], *apart)), axis=tuple(range(1 - 2 * n, 0, 2)))
    dtype, x = raw(x).dtype, floating(x)
    for axis, count in zip(range(-n, 0), size):
        x = _axis_mean(x, axis, count)
    return astype(x, dtype) if is_inexact(dtype) else x


def _axis_mean(x: Any, axis: int, count: int) -> Any:
    x, _, many = _windows(x, axis, count)
    array, after = raw(x), [1] * (-axis - 1)
    xp = xp_of(array)
    if many.min() < many.max():
        x = where(xp.asarray(np.arange(many.max()) < many[:, None]).reshape(*array.shape[axis - 1 :][:2], *after), x, 0)
    return multiply(sum(x, axis=axis), xp.asarray((1 / many).astype(array.dtype)).reshape(-1, *after))


# ---------------------------------------------------------------------------------------------- the largest
@const
def _places(x: Any, size: Lengths) -> Any:
    """Where the largest of each window is in the flattened last axes of x, (..., *size)."""
    x, n = raw(x), len(size)
    xp, lead, lengths = xp_of(x), x.ndim - n, x.shape[x.ndim - n :]
    bounds = []
    for axis, count in zip(range(-n, 0), size):
        x, start, many = _windows(x, axis, count)
        bounds.append((start, int(many.max())))
    x = x.transpose((*range(lead), *range(lead, lead + 2 * n, 2), *range(lead + 1, lead + 2 * n, 2)))
    rest = x.reshape(*x.shape[: lead + n], math.prod(x.shape[lead + n :])).argmax(-1)
    out, step = 0, 1
    for i in reversed(range(n)):
        start, many = bounds[i]
        out = out + (xp.asarray(start).reshape(-1, *[1] * (n - 1 - i)) + rest % many) * step
        rest, step = rest // many, step * lengths[i]
    return out


def max_of_windows(x: Any, size: Lengths) -> tuple[Any, Any]:
    """(the largest of the windows that make an array with the last axes `size`, where they are in the flattened x)."""
    lead, places = raw(x).shape[: -len(size)], _places(x, size)
    flat = lambda a, axes: reshape(a, (math.prod(lead), math.prod(axes)))
    out = take_along_axis(flat(x, raw(x).shape[len(lead) :]), raw(flat(places, size)), axis=-1)
    return reshape(out, (*lead, *size)), places


# ---------------------------------------------------------------------------------------------- for users
def _adaptive(name: str, n: int, x: Any, size: Any) -> tuple[Any, Lengths]:
    x = boxed(x, name)
    lengths = spatial(name, raw(x).shape, n)
    if 0 in lengths:
        raise ValueError(f"{name}: there is nothing to pool in an array of shape {raw(x).shape}")
    if isinstance(size, (tuple, list)) and len(size) == n:
        size = [length if m is None else m for m, length in zip(size, lengths)]
    return x, numbers(name, "size", size, n, 1)


def adaptive_avg_pool1d(x: Any, size: Any) -> Any:
    """The means of so many windows of the last axis: see `adaptive_avg_pool2d`."""
    return mean_of_windows(*_adaptive("adaptive_avg_pool1d", 1, x, size))


def adaptive_avg_pool2d(x: Any, size: Any) -> Any:
    """The means of windows of the last two axes, as many as `size` says: one number, or one for each axis.

    x (batch, channels, *lengths) or (channels, *lengths) -> (..., *size); None in size: the length itself.  Window i of
    m on an axis of length n is [⌊i n / m⌋, ⌈(i + 1) n / m⌉).  ValueError for another rank, and for an empty axis.
    """
    return mean_of_windows(*_adaptive("adaptive_avg_pool2d", 2, x, size))


def adaptive_avg_pool3d(x: Any, size: Any) -> Any:
    """The means of so many windows of the last three axes: see `adaptive_avg_pool2d`."""
    return mean_of_windows(*_adaptive("adaptive_avg_pool3d", 3, x, size))


def _max_nd(n: int, x: Any, size: Any, return_indices: bool) -> Any:
    name = f"adaptive_max_pool{n}d"
    x, size = _adaptive(name, n, x, size)
    if raw(x).dtype.kind == "c":
        raise TypeError(f"{name}: complex numbers have no order, given {raw(x).dtype}")
    out = max_of_windows(x, size)
    return out if return_indices else out[0]


def adaptive_max_pool1d(x: Any, size: Any, return_indices: bool = False) -> Any:
    """The largest of so many windows of the last axis: see `adaptive_max_pool2d`."""
    return _max_nd(1, x, size, return_indices)


def adaptive_max_pool2d(x: Any, size: Any, return_indices: bool = False) -> Any:
    """The largest of windows of the last two axes, which are those of `adaptive_avg_pool2d`.

    return_indices: (the largest, where they are in the flattened last axes of x).

    Kink: of several largest the first one gets the gradient.
    """
    return _max_nd(2, x, size, return_indices)


def adaptive_max_pool3d(x: Any, size: Any, return_indices: bool = False) -> Any:
    """The largest of so many windows of the last three axes: see `adaptive_max_pool2d`."""
    return _max_nd(3, x, size, return_indices)


def _global(name: str, x: Any) -> tuple[Any, int]:
    x = boxed(x, name)
    n = raw(x).ndim - 2
    if n < 1:
        raise ValueError(f"{name}: takes (batch, channels, *lengths), given an array of shape {raw(x).shape}")
    return _adaptive(name, n, x, 1)[0], n


def global_avg_pool(x: Any, keepdims: bool = False) -> Any:
    """The mean of each channel of x (batch, channels, *lengths), over all axes after it."""
    x, n = _global("global_avg_pool", x)
    return mean(x, axis=tuple(range(2, 2 + n)), keepdims=keepdims)


def global_max_pool(x: Any, keepdims: bool = False) -> Any:
    """The largest of each channel of x (batch, channels, *lengths), over all axes after it.

    Kink: of several largest the first one gets the gradient.
    """
    x, n = _global("global_max_pool", x)
    out = _max_nd(n, x, 1, False)
    return out if keepdims else reshape(out, raw(x).shape[:2])
