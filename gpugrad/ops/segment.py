"""Reductions of the rows that carry the same number."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from ..array import NUMPY, library, to_host, xp as xp_of
from ..core import raw
from ..dtypes import default_float, is_inexact, wide
from ..forward import boxed, indices as as_indices
from .casting import astype
from .index import put_add, told
from .math import divide
from .places import integers
from .scatter import Places


def _prepared(name: str, data: Any, ids: Any, count: int | None) -> tuple[Any, Any, int, int]:
    """(data, segments, how many there are, with one more where a GPU's may be out of range), checked."""
    data = boxed(data, name)
    i = as_indices(ids)
    if count is None:
        count = int(to_host(i).max(initial=-1)) + 1
    if not hasattr(count, "__index__"):
        raise TypeError(f"{name}: num_segments is an integer, not {count!r:.60}")
    count = index(count)
    if count < 0:
        raise ValueError(f"{name}: num_segments is a number from 0 on, not {count}")
    i = integers(name, ids, raw(data), count, low=0)
    if not i.ndim or i.shape != raw(data).shape[: i.ndim]:
        raise ValueError(f"{name}: segment_ids of shape {i.shape} do not number the rows of data {raw(data).shape}")
    if library(i) is NUMPY:
        return data, i, count, count
    xp = xp_of(i)
    return data, xp.where((i >= 0) & (i < count), i.astype(np.int64), count), count, count + 1


def segment_sum(data: Any, segment_ids: Any, num_segments: int | None = None) -> Any:
    """out[k] is the sum of data[i] over all i with segment_ids[i] = k; 0 where there is none.

    The numbers, in any order, are for the first axes of data, as many as they have; num_segments is by default the
    largest and one, for which a GPU is waited for.
    IndexError for a number from num_segments on, or below 0; on a GPU, which is not waited for, that row is left out.
    ValueError for shapes that do not fit.
    """
    data, ids, count, room = _prepared("segment_sum", data, segment_ids, num_segments)
    out = put_add(data, ids, (room, *raw(data).shape[ids.ndim :]))
    return told("segment_sum", out if room == count else out[:count], segment_ids)


def segment_mean(data: Any, segment_ids: Any, num_segments: int | None = None) -> Any:
    """out[k] is the mean of data[i] over all i with segment_ids[i] = k; 0 where there is none.

    See `segment_sum`.
    """
    data, ids, count, _ = _prepared("segment_mean", data, segment_ids, num_segments)
    dtype = raw(data).dtype if is_inexact(raw(data).dtype) else default_float()
    sums = segment_sum(astype(data, wide(dtype)), segment_ids, count)
    ones = xp_of(ids).ones(ids.shape, raw(sums).real.dtype)
    rows = xp_of(ids).maximum(segment_sum(ones, ids, count), 1)
    return astype(divide(sums, rows.reshape(count, *[1] * (raw(sums).ndim - 1))), dtype)


def _extreme(name: str, data: Any, segment_ids: Any, num_segments: int | None, lowest: bool) -> Any:
    data, ids, count, room = _prepared(name, data, segment_ids, num_segments)
    dtype = raw(data).dtype
    if is_inexact(dtype):
        bounds: Any = -np.inf, np.inf
    else:
        bounds = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.kind in "iu" else (False, True)
    start = bounds[0 if lowest else 1]
    empty = xp_of(raw(data)).full((room, *raw(data).shape[ids.ndim :]), start, dtype)
    places = Places(empty, ids)
    out = places.max(data) if lowest else places.min(data)
    return told(name, out if room == count else out[:count], segment_ids)


def segment_max(data: Any, segment_ids: Any, num_segments: int | None = None) -> Any:
    """out[k] is the largest data[i] with segment_ids[i] = k; where there is none, -inf or the smallest integer.

    See `segment_sum`.

    Kink: the largest share the gradient equally.
    """
    return _extreme("segment_max", data, segment_ids, num_segments, True)


def segment_min(data: Any, segment_ids: Any, num_segments: int | None = None) -> Any:
    """out[k] is the smallest data[i] with segment_ids[i] = k; where there is none, inf or the largest integer.

    See `segment_sum`.

    Kink: the smallest share the gradient equally.
    """
    return _extreme("segment_min", data, segment_ids, num_segments, False)


def segment_prod(data: Any, segment_ids: Any, num_segments: int | None = None) -> Any:
    """out[k] is the product of data[i] over all i with segment_ids[i] = k; 1 where there is none.

    See `segment_sum`.
    """
    data, ids, count, room = _prepared("segment_prod", data, segment_ids, num_segments)
    ones = xp_of(raw(data)).ones((room, *raw(data).shape[ids.ndim :]), raw(data).dtype)
    out = Places(ones, ids).multiply(data)
    return told("segment_prod", out if room == count else out[:count], segment_ids)
