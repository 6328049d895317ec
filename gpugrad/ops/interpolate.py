"""Interpolation: an array at other lengths of its axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..array import xp as xp_of
from ..core import raw
from ..dtypes import float32, is_inexact
from ..forward import boxed
from .adaptive_pool import floating, mean_of_windows
from .casting import astype
from .rows import rows_at
from .windows import numbers


def _sources(length: int, count: int, scale: float | None, align: bool) -> np.ndarray:
    """Where each of `count` elements lies between `length` ones."""
    if align:
        return np.arange(count) * ((length - 1) / (count - 1) if count > 1 else 0.0)
    return (np.arange(count) + 0.5) * (length / count if scale is None else 1 / scale) - 0.5


def _nearest(x: Any, axis: int, count: int, scale: float | None, shift: float) -> Any:
    length = x.shape[axis]
    step = float32.type(length / count if scale is None else 1 / scale)  # float32, as PyTorch: ties go the same way
    index = np.floor((np.arange(count, dtype=float32) + float32.type(shift)) * step).astype(np.int64)
    return rows_at(x, index=np.minimum(index, length - 1), axis=axis)


def _weighted(x: Any, axis: int, taps: Sequence[tuple[np.ndarray, np.ndarray]]) -> Any:
    """The sum of slices of x along `axis` times weights, both given by position."""
    array = raw(x)
    xp, out = xp_of(array), None
    for index, weight in taps:
        index = np.clip(index, 0, array.shape[axis] - 1)
        by = xp.asarray(weight.astype(array.dtype)).reshape(-1, *[1] * (-axis - 1))
        part = rows_at(x, index=index, axis=axis) * by
        out = part if out is None else out + part
    return out


def _linear(x: Any, axis: int, count: int, scale: float | None, align: bool) -> Any:
    at = np.maximum(_sources(x.shape[axis], count, scale, align), 0)
    low = np.minimum(np.floor(at).astype(np.int64), x.shape[axis] - 1)
    part = np.minimum(at - low, 1)
    return _weighted(x, axis, [(low, 1 - part), (low + 1, part)])


def _cubic(x: Any, axis: int, count: int, scale: float | None, align: bool, a: float = -0.75) -> Any:
    """Keys 1981, with PyTorch's slope."""
    at = _sources(x.shape[axis], count, scale, align)
    low = np.floor(at).astype(np.int64)
    t = at - low
    near = lambda d: ((a + 2) * d - (a + 3)) * d * d + 1
    far = lambda d: ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    taps = [(low - 1, far(t + 1)), (low, near(t)), (low + 1, near(1 - t)), (low + 2, far(2 - t))]
    return _weighted(x, axis, taps)


_AXES = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}
_MODES = ("nearest", "nearest-exact", "area", *_AXES)


def interpolate(
    x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool = False
) -> Any:
    """x (batch, channels, *lengths) at other lengths: `size`, or ⌊lengths scale_factor⌋; one number, or one an axis.

    mode: "nearest": the element at ⌊i length / size⌋; "nearest-exact": at ⌊(i + 0.5) length / size⌋; "linear" (one
    axis), "bilinear" (two), "trilinear" (three), "bicubic" (two; Keys 1981) between the elements around
    (i + 0.5) length / size - 0.5, or with align_corners around i (length - 1) / (size - 1); "area": the mean, as
    `adaptive_avg_pool2d`.  ValueError for another mode, and for arguments out of range.

    PyTorch's antialias is not there; nor is recompute_scale_factor: for that, give the size.
    """
    x = boxed(x, "interpolate")
    lengths = raw(x).shape[2:]
    n = len(lengths)
    if not n or 0 in lengths:
        raise ValueError(f"interpolate: takes (batch, channels, *lengths), none of them 0, given {raw(x).shape}")
    if mode not in _MODES or _AXES.get(mode, n) != n:
        raise ValueError(f"interpolate: mode {mode!r} is not one of {_MODES} for {n} axes: {_AXES}")
    if align_corners and mode not in _AXES:
        raise ValueError(f"interpolate: align_corners does not go with mode {mode!r}")
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: give size or scale_factor, one of them")
    if size is None:
        scales = [float(scale_factor)] * n if np.ndim(scale_factor) == 0 else [float(s) for s in scale_factor]
        if len(scales) != n or not all([0 < s < math.inf for s in scales]):
            raise ValueError(f"interpolate: scale_factor is a positive number or {n} of them, given {scale_factor}")
        size = tuple([math.floor(m * s) for m, s in zip(lengths, scales)])
    else:
        scales = [None] * n
    size = numbers("interpolate", "size", size, n, 1)
    if mode == "area":
        return mean_of_windows(x, size)
    dtype = raw(x).dtype
    if mode in _AXES:
        x = floating(x)
    for axis in sorted(range(-n, 0), key=lambda a: (size[a] / lengths[a], -a)):  # the least work first
        count, scale = size[axis], scales[axis]
        if mode in ("nearest", "nearest-exact"):
            x = _nearest(x, axis, count, scale, 0.0 if mode == "nearest" else 0.5)
        else:
            x = (_cubic if mode == "bicubic" else _linear)(x, axis, count, scale, align_corners)
    return astype(x, dtype) if dtype != raw(x).dtype and is_inexact(dtype) else x
