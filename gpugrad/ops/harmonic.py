"""The chain rule of Laplacians, through what works element by element: on the CPU one pass over memory each way.

A term t (n + 1, ...) of a value has its derivatives by n coordinates, and in the last row its Laplacian.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core import raw
from ..dtypes import float32, float64
from ..op import op
from ..recording import active, pushing
from .examples import own
from .linalg import array_matmul, matmul, weight_grad
from .math import multiply as times, square
from .reduce import sum
from .shape import aligned, concat, expand_dims, matrix_transpose, moveaxis
from .tall import by_rows, inner, multiply, small


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
    if t.shape[1:] == slope.shape:
        by_rows(lambda s, b, t, out: _chain(_squares(t), s, b, t, out), (slope, bend), (t, out))
    else:
        by_rows(_chain, (_squares(t), slope, bend), (t, out))
    return out


def _chain(squares: Any, slope: Any, bend: Any, t: Any, out: Any) -> None:
    more = bend * squares
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
    np.multiply(_squares(t), g[-1], out=dbend)
    twice = bend * g[-1]
    twice += twice
    part = np.empty_like(twice)
    np.multiply(g[-1], t[-1], out=dslope)
    np.multiply(g[-1], slope, out=dt[-1])
    for gi, ti, di in zip(g[:-1], t, dt):  # a row at a time: what is between the steps stays in the cache
        dslope += np.multiply(gi, ti, out=part)
        np.multiply(gi, slope, out=di)
        di += np.multiply(ti, twice, out=part)


def _matching(slope: Any, bend: Any, t: Any) -> bool:
    """Whether these are NumPy's arrays for loops over rows: t is shaped like the others, or has one row for all."""
    shape, own = slope.shape, t.shape[1:]
    return (
        type(slope) is type(bend) is type(t) is np.ndarray
        and t.dtype in (float32, float64)
        and slope.dtype is bend.dtype is t.dtype
        and len(shape) > 0 < slope.size
        and len(t) > 1
        and bend.shape == shape
        and (own == shape or (len(own) == len(shape) and own[-1] == shape[-1] == math.prod(own)))
    )


def _batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    slope, bend, t, *weight = [own(x, e, level.n) for x, e in zip(xs, each)]
    t = moveaxis(t, 0, 1)
    if weight:
        t = matmul(t, aligned(weight[0], raw(slope).ndim - 1))
    return (moveaxis(chained(slope, bend, t), 0, 1),)


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


# ---------------------------------------------------------------------------------------------- after a product
def _product(xp: Any, slope: Any, bend: Any, t: Any, weight: Any) -> Any:
    """chained(slope, bend, t @ weight)."""
    return _chained(xp, slope, bend, array_matmul(xp, t, weight))


def _product_host(slope: Any, bend: Any, t: Any, weight: Any) -> Any:
    if not _suits(slope, bend, t, weight):
        return chained(slope, bend, array_matmul(np, t, weight))
    out = np.empty((len(t), *slope.shape), t.dtype)

    def work(s: Any, b: Any, t: Any, out: Any) -> None:
        multiply(t, weight, out)
        _chain(_squares(out), s, b, out, out)

    by_rows(work, (slope, bend), (t, out))
    return out


def _product_back(g: Any, slope: Any, bend: Any, t: Any, weight: Any) -> tuple[Any, Any, Any, Any]:
    """The cotangents of slope, bend, t and weight.  The product is made again: that is cheaper than memory for it."""
    if type(g) is np.ndarray and g.dtype is t.dtype and _suits(slope, bend, t, weight):
        return _product_back_host(g, slope, bend, t, weight)
    ds, db, dz = _back(g, slope, bend, matmul(t, weight))
    return ds, db, matmul(dz, matrix_transpose(weight)), weight_grad(dz, t, (0, 0))


def _product_back_host(g: Any, slope: Any, bend: Any, t: Any, weight: Any) -> tuple[Any, Any, Any, Any]:
    ds, db, dt = np.empty(slope.shape, t.dtype), np.empty(slope.shape, t.dtype), np.empty(t.shape, t.dtype)
    turned = np.ascontiguousarray(weight.T)  # small products of it are faster

    def work(s: Any, b: Any, ds: Any, db: Any, t: Any, g: Any, dt: Any) -> Any:
        z, dz = np.empty(g.shape, g.dtype), np.empty(g.shape, g.dtype)
        multiply(t, weight, z)
        _chain_back(s, b, ds, db, z, g, dz)
        multiply(dz, turned, dt)
        return inner(t, dz)

    parts = by_rows(work, (slope, bend, ds, db), (t, g, dt))
    return ds, db, dt, np.add.reduce(parts, axis=0)


def _suits(slope: Any, bend: Any, t: Any, weight: Any) -> bool:
    """Whether these are NumPy's arrays, and the weight small: the product of some rows stays in the cache."""
    return (
        small(t, weight)
        and type(slope) is type(bend) is np.ndarray
        and slope.dtype is bend.dtype is t.dtype
        and slope.shape == bend.shape == (*t.shape[1:-1], weight.shape[1])
    )


_product.host = _product_host
chained_linear = op(
    _product,
    name="chained_linear",
    batch=_batch,
    via=_product_back,
    slope=lambda p: p[0],
    bend=lambda p: p[1],
    t=lambda p: p[2],
    weight=lambda p: p[3],
)


def chained_product(slope: Any, bend: Any, t: Any, weight: Any = None) -> Any:
    """chained(slope, bend, t), of t @ weight if that is given; on the CPU, if it is small, in one pass each way.

    In forward mode the steps, whose derivatives are known, where those of the one op would be found by walks.
    """
    if any([tape in pushing for tape in active().tapes]):
        return _steps(slope, bend, t if weight is None else matmul(t, weight))
    if weight is None:
        return chained(slope, bend, t)
    if _suits(*map(raw, (slope, bend, t, weight))):
        return chained_linear(slope, bend, t, weight)
    return chained(slope, bend, matmul(t, weight))


def _steps(slope: Any, bend: Any, t: Any) -> Any:
    along = times(slope, t)
    more = times(bend, sum(square(t[:-1]), axis=0))
    return concat([along[:-1], expand_dims(along[-1] + more, 0)])
