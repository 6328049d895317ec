"""The chain rule of Laplacians, through what works element by element: on the CPU one pass over memory each way.

A term t (n + 1, ...) of a value has its derivatives by n coordinates, and in the last row its Laplacian.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..dtypes import float32, float64
from ..op import op
from .blocks import MANY, PART
from .examples import own
from .linalg import matmul
from .math import square
from .reduce import sum
from .shape import concat, expand_dims, moveaxis
from .threads import shared

SINGLE = 10**6  # multiplications: OpenBLAS gives larger products threads of its own, and copies what they multiply
LEAST = 32  # rows of a product, below which it is slow


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
    _by_rows(_chain, (slope, bend), (t, out))
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
        _by_rows(_chain_back, (slope, bend, ds, db), (t, g, dt))
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


def _by_rows(work: Callable[..., None], values: Any, terms: Any, step: int = 1) -> None:
    """work(rows of values and of terms): of all of them, a multiple of `step` that fits the cache at a time."""
    values, terms = [a.reshape(-1, a.shape[-1]) for a in values], [a.reshape(len(a), -1, a.shape[-1]) for a in terms]
    rows, width = values[0].shape
    n = -(-max(PART // width, 1) // step) * step
    terms = [a if a.shape[1] == rows else np.repeat(a, min(n, rows), 1) for a in terms]  # one row for all

    def run(parts: Iterable[int]) -> None:
        for i in parts:
            k = min(n, rows - i)
            part = slice(i, i + k)
            work(*[a[part] for a in values], *[a[:, part] if a.shape[1] == rows else a[:, :k] for a in terms])

    parts = range(0, rows, n)
    if terms[-1].size >= MANY:
        shared(run, parts)
    else:
        run(parts)


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
    """chained(slope, bend, t @ weight).  Of NumPy's arrays, and a small weight, the product of a block of rows stays in
    the cache.
    """
    fits = all([type(a) is np.ndarray for a in (slope, bend, t, weight)]) and weight.ndim == 2
    piece = SINGLE // max(weight.size, 1) if fits else 0
    if not fits or piece < LEAST or t.shape[1:-1] != slope.shape[:-1] or weight.dtype is not t.dtype:
        return chained(slope, bend, matmul(t, weight))
    out = np.empty((len(t), *slope.shape), t.dtype)
    if not _matching(slope, bend, out):
        return chained(slope, bend, matmul(t, weight))

    def work(s: Any, b: Any, x: Any, out: Any) -> None:
        _multiply(x, weight, out, piece)
        _chain(s, b, out, out)

    _by_rows(work, (slope, bend), (t, out), piece)
    return out


def _multiply(x: Any, w: Any, out: Any, piece: int) -> None:
    """Writes x @ w into out (n, rows, columns), by products of so many rows."""
    whole = x.shape[1] // piece * piece
    cut = lambda a: a[:, :whole].reshape(len(a), -1, piece, a.shape[-1])
    np.matmul(cut(x), w, out=cut(out))
    np.matmul(x[:, whole:], w, out=out[:, whole:])
