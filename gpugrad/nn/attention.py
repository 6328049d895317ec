"""scaled_dot_product_attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..array import device_of
from ..core import Tensor, raw
from ..dtypes import is_float
from ..forward import fit, placed
from ..generator import own
from ..ops import attention as ops
from ..ops.loss import plain
from ..ops.shape import expand_dims, reshape

_NAME = "scaled_dot_product_attention"


def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(scale query keyᵀ + mask) value, never holding the whole of the scores.

    query       (..., L, E), with key (..., S, E) and value (..., S, F): answers (..., L, F); leading axes broadcast
    attn_mask   what broadcasts to (..., L, S): bool, where a query looks at a key; or floats to be added to the scores,
                which may have a gradient
    dropout_p   the probability with which a weight is 0 and counts nothing; the others are larger by 1 / (1 - p)
    is_causal   query i looks at the keys 0..i; together with a mask, at those that both allow
    scale       a number, which has no gradient; None: 1 / √E
    enable_gqa  a key and value may serve several queries: their third axis from the end divides that of the query

    A query that looks at nothing answers 0 and has no gradient.  Half types are computed in float32.  Kept are query,
    key, value, mask, answer and a number for each query (Vaswani et al. 2017; Dao 2023).  The second order holds the
    scores whole.  TypeError for what is not floating; ValueError for shapes that do not fit.
    """
    query, key, value = fit([query, key, value], _NAME)
    mask = attn_mask if attn_mask is None or isinstance(attn_mask, Tensor) else placed(attn_mask, raw(query))
    _check_dtypes(query, key, value, mask)
    if not 0 <= dropout_p <= 1:
        raise ValueError(f"{_NAME}: dropout_p is a probability, from 0 to 1, not {dropout_p!r}")
    shapes = [raw(a).shape for a in (query, key, value)]
    _check_shapes(*shapes)
    (*_, rows, width), features = shapes[0], shapes[2][-1]
    grouped = enable_gqa and _grouped(*shapes)
    if grouped:  # an axis for the queries of one key
        heads = shapes[1][-3]
        split = lambda a: reshape(a, (*a.shape[:-3], heads, a.shape[-3] // heads, *a.shape[-2:]))
        query, key, value = split(query), expand_dims(key, -3), expand_dims(value, -3)
        if mask is not None and mask.ndim > 2:
            if mask.shape[-3] not in (1, shapes[0][-3]):
                raise ValueError(f"{_NAME}: attn_mask {mask.shape} has not 1 or {shapes[0][-3]} heads, those of query")
            mask = split(mask) if mask.shape[-3] > 1 else expand_dims(mask, -3)
    scores = _scores(raw(query), raw(key), raw(value), raw(mask))
    seed, offset = own().take(device_of(raw(query)), math.prod(scores)) if dropout_p else (0, 0)
    by = max(width, 1) ** -0.5 if scale is None else plain(_NAME, "scale", scale)
    how = ops.How(is_causal, by, float(dropout_p), seed, offset)
    bias = isinstance(mask, Tensor) and mask.node is not None and is_float(mask.dtype)
    out = ops.attention(query, key, value, mask, how=how, bias=bias)
    return reshape(out, (*scores[:-4], shapes[0][-3], rows, features)) if grouped else out


def _check_dtypes(query: Any, key: Any, value: Any, mask: Any) -> None:
    for name, a in (("query", query), ("key", key), ("value", value)):
        if not is_float(raw(a).dtype):
            raise TypeError(f"{_NAME}: {name} is floating, given {raw(a).dtype}")
    if mask is not None and raw(mask).dtype.kind != "b" and not is_float(raw(mask).dtype):
        raise TypeError(f"{_NAME}: attn_mask is bool, or floats to be added, given {raw(mask).dtype}")


def _check_shapes(q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...]) -> None:
    if min(len(q), len(k), len(v)) < 2 or q[-1] != k[-1] or k[-2] != v[-2]:
        raise ValueError(
            f"{_NAME}: query {q}, key {k} and value {v} do not fit; they are (..., L, E), (..., S, E) and (..., S, F)"
        )


def _grouped(q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...]) -> bool:
    """Whether there are more queries than keys.  ValueError if they are not a multiple."""
    if min(len(q), len(k), len(v)) < 3 or k[-3] != v[-3] or not k[-3] or q[-3] % k[-3]:
        raise ValueError(
            f"{_NAME}: with enable_gqa, the third axis from the end of key {k} and value {v} is one number, which "
            f"divides that of query {q}"
        )
    return q[-3] != k[-3]


def _scores(q: Any, k: Any, v: Any, mask: Any) -> tuple[int, ...]:
    """The shape of the scores.  ValueError if leading axes do not broadcast, or the mask does not to the scores."""
    try:
        scores = ops.scores_of(q, k, v, mask)
        fits = mask is None or np.broadcast_shapes(scores, mask.shape) == scores
    except ValueError:
        scores, fits = (), False
    if not fits:
        raise ValueError(
            f"{_NAME}: query {q.shape}, key {k.shape}, value {v.shape} and attn_mask "
            f"{None if mask is None else mask.shape} do not fit; leading axes broadcast, and the mask to (..., L, S)"
        )
    return scores
