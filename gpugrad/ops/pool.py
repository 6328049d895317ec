"""Pooling over windows: the largest or the mean of each."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from ..array import xp as xp_of
from ..core import raw
from ..dtypes import is_float, is_inexact, wide
from ..forward import as_float, boxed, select
from ..op import op
from .index import getitem
from .logic import const
from .windows import Lengths, Windows, canvas, numbers, padded, place, spatial


# ---------------------------------------------------------------------------------------------- the largest
def _lowest(dtype: np.dtype) -> Any:
    return -math.inf if is_inexact(dtype) else False if dtype.kind == "b" else np.iinfo(dtype).min


@lru_cache(256)
def _first(at: Windows) -> np.ndarray:
    """Which element of each window, counted through the window, is the first that is not padding."""
    out = np.zeros((), np.int32)
    for k, d, s, before, m in zip(at.kernel, at.dilation, at.stride, at.before, at.counts):
        out = out[..., None] * k + np.maximum(-(-(before - np.arange(m) * s) // d), 0)
    return out.astype(np.uint8 if math.prod(at.kernel) <= 256 else np.int32)


def _largest(xp: Any, x: Any, *, at: Windows) -> tuple[Any, Any]:
    """(the largest of each window, which of its elements that is, the first of several)."""
    first, x = _first(at), padded(xp, x, at, _lowest(x.dtype))
    (_, elements), *others = at.offsets()
    out = x[(..., *elements)].copy(order="K")
    which = xp.zeros_like(out, first.dtype)
    which += xp.asarray(first)
    for i, (_, elements) in enumerate(others, 1):
        v = x[(..., *elements)].copy(order="K")
        better = v > out
        better |= v != v
        xp.maximum(which, better * first.dtype.type(i), out=which)
        xp.maximum(out, v, out=out)
    return out, which


max_pool_op = op(
    _largest, name="max_pool", aux=("which",), x=lambda g, which, at: pool_put(g, which, at=at), batch="broadcast"
)
largest_and_which = op(
    _largest,
    name="max_pool",
    several=("largest", "which"),
    batch="broadcast",
    x=lambda g, which, at: pool_put(g[0], raw(which), at=at),
)


@op(g=lambda h, which, at: pool_take(h, which, at=at), which=None, batch="leading", linear="each")
def pool_put(xp: Any, g: Any, which: Any, *, at: Windows) -> Any:
    """g added to zeros, each at the element `which` of its window."""
    whole, out = canvas(xp, g.shape[: -len(at.size)], at, wide(g.dtype), which)
    part, zero = g.astype(whole.dtype, copy=False), whole.dtype.type(0)
    if xp is np and part.strides != which.strides:  # in one order: turned once, not at each offset
        part = np.empty_like(which, part.dtype)
        part[...] = g
    alone = xp is np and all([s >= r for s, r in zip(at.stride, at.reach)]) and is_float(whole.dtype)
    bits = f"u{whole.itemsize}"
    for i, (_, elements) in enumerate(at.offsets()):
        some = whole[(..., *elements)]
        if alone:  # no two windows meet: 0 or 1 times the bits of a number, as an infinite one stays out
            np.multiply(which == i, part.view(bits), out=some.view(bits))
        else:
            some += select(xp, which == i, part, zero)
    return (out if out.shape == whole.shape else out.copy(order="K")).astype(g.dtype, copy=False)


@op(x=lambda g, which, at: pool_put(g, which, at=at), which=None, batch="leading", linear="each")
def pool_take(xp: Any, x: Any, which: Any, *, at: Windows) -> Any:
    """The element `which` of each window of x."""
    x = padded(xp, x, at)
    out = xp.zeros(which.shape, x.dtype)
    for i, (_, elements) in enumerate(at.offsets()):
        xp.copyto(out, x[(..., *elements)], where=which == i)
    return out


# ---------------------------------------------------------------------------------------------- the mean
def _along(at: Windows, axis: int) -> list[tuple[Any, ...]]:
    """Where the elements at each place of the windows are along `axis`, which is negative."""
    k, d, s, m = at.kernel[axis], at.dilation[axis], at.stride[axis], at.counts[axis]
    rest = [slice(None)] * (-axis - 1)
    return [(..., slice(i * d, i * d + (m - 1) * s + 1, s), *rest) for i in range(k)]


@op(x=lambda g, at, share: mean_spread(g, at=at, share=share), batch="broadcast", linear=True)
def mean_pool(xp: Any, x: Any, *, at: Windows, share: Any) -> Any:
    """The sum of each window of x, times `share`, a number for each window or one for all."""
    x = as_float(x)
    given = x.dtype
    x = padded(xp, x.astype(wide(given), copy=False), at)
    for axis in range(-len(at.size), 0):  # one after the other: fewer sums than elements in a window
        first, *others = _along(at, axis)
        out = x[first].copy()
        for elements in others:
            out += x[elements]
        x = out
    return (x * _numbers(xp, share, x.dtype)).astype(given, copy=False)


@op(g=lambda h, at, share: mean_pool(h, at=at, share=share), batch="broadcast", linear=True)
def mean_spread(xp: Any, g: Any, *, at: Windows, share: Any) -> Any:
    """g times `share` on all elements of its window: the transpose of `mean_pool`."""
    dtype = wide(g.dtype)
    part = g.astype(dtype, copy=False) * _numbers(xp, share, dtype)
    whole, out = canvas(xp, g.shape[: -len(at.size)], at, dtype)
    for axis in range(-1, -len(at.size) - 1, -1):
        lengths = (*part.shape[:axis], whole.shape[axis], *part.shape[axis:][1:])
        spread = whole if axis == -len(at.size) else xp.zeros(lengths, dtype)
        for elements in _along(at, axis):
            if at.stride[axis] >= at.reach[axis]:  # windows that do not meet
                spread[elements] = part
            else:
                some = spread[elements]
                some += part
        part = spread
    return xp.ascontiguousarray(out).astype(g.dtype, copy=False)


def _numbers(xp: Any, share: Any, dtype: np.dtype) -> Any:
    return share if isinstance(share, float) else xp.asarray(share.astype(dtype))


def _shares(at: Windows, after: Lengths, include: bool) -> Any:
    """1 / how many elements each window has, those in the padding included or not; a float if all have as many."""
    out = np.ones(())
    for n, k, s, before, more, m in zip(at.size, at.kernel, at.stride, at.before, after, at.counts):
        start = np.arange(m) * s - before
        stop = np.minimum(start + k, n + (more if include else 0))
        out = out[..., None] * (stop - (start if include else np.maximum(start, 0)))
    return 1 / out if out.min() < out.max() else 1 / float(out.min())


# ---------------------------------------------------------------------------------------------- for users
def _place(
    name: str, n: int, x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Windows, Lengths]:
    """(the windows, the padding after), checked: each has an element of x."""
    size, kernel = spatial(name, raw(x).shape, n), numbers(name, "kernel", kernel, n, 1)
    at, around = place(name, size, kernel, kernel if stride is None else stride, padding, dilation, ceil_mode)
    for m, k, d, s, before, count in zip(at.size, at.kernel, at.dilation, at.stride, at.before, at.counts):
        if before == 0 and (count - 1) * s < m:
            continue  # each starts on x
        start = np.arange(count) * s - before
        first = np.maximum(-(start // d), 0)
        if ((first >= k) | (start + first * d >= m)).any():
            raise ValueError(f"{name}: padding {padding} is so much that a window {kernel} has no element of x")
    return at, tuple([after for _, after in around])


def _max_nd(
    n: int, x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, return_indices: bool
) -> Any:
    name = f"max_pool{n}d"
    x = boxed(x, name)
    if raw(x).dtype.kind == "c":
        raise TypeError(f"{name}: complex numbers have no order, given {raw(x).dtype}")
    at, _ = _place(name, n, x, kernel, stride, padding, dilation, ceil_mode)
    if not return_indices:
        return max_pool_op(x, at=at)
    out, which = largest_and_which(x, at=at)
    return out, _indices(which, at)


@const
def _indices(which: Any, at: Windows) -> Any:
    """Where the elements `which` are in the flattened axes of x."""
    start = place = np.zeros((), np.int64)  # of each window, of each element in a window
    for i, (k, d, s, before, m) in enumerate(zip(at.kernel, at.dilation, at.stride, at.before, at.counts)):
        step = math.prod(at.size[i + 1 :])
        start = start[..., None] + (np.arange(m) * s - before) * step
        place = place[..., None] + np.arange(k) * d * step
    xp = xp_of(raw(which))
    return getitem(xp.asarray(place.reshape(-1)), raw(which)) + xp.asarray(start)


def _mean_nd(
    n: int, x: Any, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, include: bool, divisor: int | None
) -> Any:
    name = f"avg_pool{n}d"
    x = boxed(x, name)
    at, after = _place(name, n, x, kernel, stride, padding, 1, ceil_mode)
    if divisor == 0:
        raise ValueError(f"{name}: divisor_override is not 0")
    return mean_pool(x, at=at, share=1.0 / divisor if divisor else _shares(at, after, include))


def max_pool1d(
    x: Any,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest of each window of the last axis: see `max_pool2d`."""
    return _max_nd(1, x, kernel, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    x: Any,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest of each window of the last two axes.

    x (batch, channels, *lengths) or (channels, *lengths) -> (..., *windows).  kernel, stride (None: as the kernel),
    dilation: a number, or one for each axis.  padding: none of its elements is the largest; as in `conv2d`.
    ceil_mode: with a last window beyond the end, if it starts before it.  return_indices: (the largest, where they are
    in the flattened last axes of x).  ValueError for arguments out of range, and for a window without an element of x.

    Kink: of several largest the first one gets the gradient.
    """
    return _max_nd(2, x, kernel, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    x: Any,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest of each window of the last three axes: see `max_pool2d`."""
    return _max_nd(3, x, kernel, stride, padding, dilation, ceil_mode, return_indices)


def avg_pool1d(
    x: Any,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The mean of each window of the last axis: see `avg_pool2d`."""
    return _mean_nd(1, x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool2d(
    x: Any,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The mean of each window of the last two axes; arguments as in `max_pool2d`.

    count_include_pad: whether the padding's zeros count.  divisor_override: what the sum is divided by instead.
    """
    return _mean_nd(2, x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    x: Any,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The mean of each window of the last three axes: see `avg_pool2d`."""
    return _mean_nd(3, x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override)
