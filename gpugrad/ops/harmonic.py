"""The chain rule of Laplacians, through what works element by element: on the CPU one pass over memory each way.

A term t (n + 1, ...) of a value has its derivatives by n coordinates, and in the last row its Laplacian.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import float32, float64
from ..op import op
from .examples import own
from .linalg import matmul
from .math import square
from .reduce import sum
from .shape import concat, expand_dims, moveaxis
from .tall import by_rows, multiply, piece


def _chained(xp: Any, slope: Any, bend: Any, t: Any) -> Any:
    """The term of f(x) by that of x, t, which broadcasts: slope t, and in the last row bend Σ t² of the others more.

    slope, bend   f'(x) and f''(x), shaped like f(x)
    """
    out = slope * t
    out[-1] += bend * sum(xp.square(t[:-1]), axis=0)
    return out


def _chained_host(slope: Any, bend: Any, t: Any) -> Any:
    if not _matching(slope, bend, t):
        return _chained(np, slope, bend, t)
    out = np.empty((len(t), *slope.shape), t.dtype)
    by_rows(_chain, (slope, bend), (t, out))
    return out


def _chain(slope: Any, bend: Any, t: Any, out: Any) -> None:
    more = _squares(t)
    more *= bend
    np.multiply(t, slope, out=out)
    np.add(out[-1], more, out=out[-1])


def _squares(t: Any) -> Any:
    """Σ t² over all rows but the last."""
    total = np.square(t[0])
    each = np.empty_like(total)
    for row in t[1:-1]:
        total += np.square(row, out=each)
    return total


def _back(g: Any, slope: Any, bend: Any, t: Any) -> tuple[Any, Any, Any]:
    """The cotangents of slope, bend and t."""
    if type(g) is np.ndarray and g.dtype is t.dtype and _matching(slope, bend, t):
        ds, db, dt = np.empty(slope.shape, t.dtype), np.empty(slope.shape, t.dtype), np.empty(g.shape, t.dtype)
        by_rows(_chain_back, (slope, bend, ds, db), (t, g, dt))
        return ds, db, dt
    d, last = t[:-1], g[-1]
    along = concat([d * (last * bend * 2), expand_dims(last * 0, 0)])
    return sum(g * t, axis=0), last * sum(square(d), axis=0), g * slope + along


def _chain_back(slope: Any, bend: Any, dslope: Any, dbend: Any, t: Any, g: Any, dt: Any) -> None:
    np.multiply(g, t, out=dt)
    np.add.reduce(dt, axis=0, out=dslope)
    np.multiply(_squares(t), g[-1], out=dbend)
    twice = bend * g[-1]
    twice += twice
    np.multiply(t, twice, out=dt)
    dt[-1] = 0
    dt += g * slope


def _matching(slope: Any, bend: Any, t: Any) -> bool:
    """Whether these are NumPy's arrays for loops over rows: t is shaped like the others, or has one row for all."""
    shape, own = slope.shape, t.shape[1:]
    return (
        type(t) is np.ndarray
        and t.dtype in (float32, float64)
        and slope.dtype is bend.dtype is t.dtype
        and len(shape) > 0 < slope.size
        and len(t) > 1
        and bend.shape == shape
        and (own == shape or (len(own) == len(shape) and own[-1] == shape[-1] == math.prod(own)))
    )


def _batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    slope, bend, t = [own(x, e, level.n) for x, e in zip(xs, each)]
    return (moveaxis(call(slope, bend, moveaxis(t, 0, 1))[0], 0, 1),)


_chained.host = _chained_host
chained = op(
    _chained,
    name="chained",
    batch=_batch,
    via=_back,
    slope=lambda p: p[0],
    bend=lambda p: p[1],
    t=lambda p: p[2],
)


def chained_product(slope: Any, bend: Any, t: Any, weight: Any) -> Any:
    """chained(slope, bend, t @ weight); on the CPU, with a small weight, in one pass over memory."""
    n = piece(t, weight)
    out = np.empty((len(t), *slope.shape), t.dtype) if n and t.shape[1:-1] == slope.shape[:-1] else None
    if out is None or not _matching(slope, bend, out):
        return chained(slope, bend, matmul(t, weight))

    def work(s: Any, b: Any, x: Any, out: Any) -> None:
        multiply(x, weight, out, n)
        _chain(s, b, out, out)

    by_rows(work, (slope, bend), (t, out), n)
    return out
