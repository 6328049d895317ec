"""layer_norm and rms_norm along the last axis on the CPU: what passes over memory NumPy needs, in the cache.

With s = rstd weight and m the mean, the norm is x s + (bias - m s), and its pullback g s - x b + c with numbers b and c
for each row.  Both lose digits where m is many standard deviations from 0; there the mean is subtracted first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import wide
from .blocks import blocks, matrix, sum_of_outer

_FAR = 4  # standard deviations


def _full(*arrays: Any) -> np.dtype:
    return np.result_type(*[wide(a.dtype) for a in arrays if a is not None])


def _two(columns: int, dtype: np.dtype, weight: Any, other: Any) -> np.ndarray:
    """(weight or ones, other or zeros) as two rows."""
    out = np.empty((2, columns), dtype)
    out[0], out[1] = 1 if weight is None else weight, 0 if other is None else other
    return out


def _means(x: Any, y: Any = None) -> Any:
    """Those of the rows of x, or of x * y."""
    return (x @ np.ones(x.shape[1], x.dtype) if y is None else np.vecdot(x, y)) / x.dtype.type(x.shape[1])


def _near(x: Any, mean: Any, rstd: Any) -> tuple[Any, Any]:
    """(x, its means), both less the means where those are far from 0; means of 0 where there are none."""
    if mean is None:
        return x, np.zeros_like(rstd)
    if (abs(mean * rstd) <= _FAR).all():
        return x, mean
    x = x - mean[:, None]
    return x, _means(x)  # what the mean was rounded by


def forward(x: Any, weight: Any, bias: Any, *, eps: float, center: bool) -> Any:
    """((x - mean) rstd weight + bias, mean, rstd)."""
    full, dtype = _full(x, weight, bias), np.result_type(*[a.dtype for a in (x, weight, bias) if a is not None])
    lead, z, mean = x.shape[:-1], matrix(x).astype(wide(x.dtype), copy=False), 0
    m, var = 0, _means(z, z)
    if center:
        m = _means(z)
        if not (m * m <= _FAR**2 * (var - m * m)).all():
            mean, z = m, z - m[:, None]
            m, var = _means(z), _means(z, z)  # what the mean was rounded by
        mean, var = m + mean, var - m * m
    rstd = 1 / np.sqrt(var + eps)
    columns, out = z.shape[1], np.empty(z.shape, dtype)
    scale = sum_of_outer(rstd, 0, _two(columns, full, weight, None))
    shift = sum_of_outer(-m * rstd, 1, _two(columns, full, weight, bias))
    for at in blocks(out):
        part = scale(at, out[at] if dtype == full else None)
        part *= z[at]
        if center or bias is not None:
            part += shift(at)
        if dtype != full:
            out[at] = part
    return out.reshape(x.shape), np.reshape(mean, lead) if center else None, rstd.reshape(lead)


def grad(g: Any, x: Any, weight: Any, more: Any, mean: Any, rstd: Any, *, eps: float) -> Any:
    """rstd (a - M(a) - n M(a n)) + more, where a = g weight and n = (x - mean) rstd."""
    full, center = _full(g, x, weight), mean is not None
    a, z, r = matrix(g).astype(full, copy=False), matrix(x).astype(full, copy=False), rstd.reshape(-1)
    z, m = _near(z, mean.reshape(-1) if center else None, r)
    out, beside = np.empty(z.shape, g.dtype), matrix(more)
    scale = sum_of_outer(r, 0, _two(z.shape[1], full, weight, None))
    for at in blocks(out):
        part = scale(at, out[at] if out.dtype == full else None)
        part *= a[at]
        first = _means(part) if center else np.zeros_like(r[at])
        by = (_means(part, z[at]) - m[at] * first) * r[at] ** 2
        part -= z[at] * by[:, None]
        if center:
            part += (m[at] * by - first)[:, None]
        if beside is not None:
            part += beside[at]
        if out.dtype != full:
            out[at] = part
    return out.reshape(x.shape)


def sums(g: Any, x: Any, mean: Any, rstd: Any, *, eps: float) -> Any:
    """(sum(g n),), and where there is a mean sum(g), over all axes but the last."""
    full, center = _full(g, x), mean is not None
    a, z, r = matrix(g).astype(full, copy=False), matrix(x).astype(full, copy=False), rstd.reshape(-1)
    z, m = _near(z, mean.reshape(-1) if center else None, r)
    product = np.zeros(z.shape[1], full)
    for at in blocks(z):
        product += r[at] @ (a[at] * z[at])
    if not center:
        return (product.astype(g.dtype, copy=False),)
    less, total = np.stack([m * r, np.ones_like(r)]) @ a
    return (product - less).astype(g.dtype, copy=False), total.astype(g.dtype, copy=False)
