"""layer_norm and rms_norm along the last axis on the CPU: all passes over a block of rows while it is in the cache.

With s = rstd weight and m the mean, the norm is x s + (bias - m s), and its pullback g s - x b + c with numbers b and c
for each row.  Both lose digits where m is many standard deviations from 0; there the mean is subtracted first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dtypes import wide
from .blocks import matrix, over_blocks

FAR = 4  # standard deviations


def full_dtype(*arrays: Any) -> np.dtype:
    """That in which arrays, or None, are added up."""
    return np.result_type(*[wide(a.dtype) for a in arrays if a is not None])


def _rows(dtype: np.dtype, columns: int, *rows: Any) -> np.ndarray:
    """A matrix of these rows, each an array or a number for all columns."""
    out = np.empty((len(rows), columns), dtype)
    for part, row in zip(out, rows):
        part[...] = row
    return out


def forward(x: Any, weight: Any, bias: Any, *, eps: float, center: bool) -> Any:
    """((x - mean) rstd weight + bias, mean, rstd)."""
    full, dtype = full_dtype(x, weight, bias), np.result_type(*[a.dtype for a in (x, weight, bias) if a is not None])
    lead, whole = x.shape[:-1], matrix(x)
    count, columns = whole.shape
    out, base, means = np.empty(whole.shape, dtype), np.zeros(count, full), np.zeros(count, full)
    numbers = np.ones((count, 3), full)  # rstd, -mean rstd, 1
    weight, bias = 1 if weight is None else weight, 0 if bias is None else bias
    scale, shift = _rows(full, columns, weight, 0), _rows(full, columns, 0, weight, bias)
    each = np.full(columns, 1 / columns, full)

    def work(parts: Sequence[slice]) -> None:
        spare = np.empty(whole[parts[0]].shape, full)
        for at in parts:
            z, m, by_row = whole[at].astype(full, copy=False), means[at], numbers[at]
            var = np.vecdot(z, z) * each[0]
            if center:
                m[...] = np.vecdot(z, each)
                square = m * m
                if not (square <= FAR**2 * (var - square)).all():
                    base[at], z = m, z - m[:, None]
                    m[...] = np.vecdot(z, each)  # what the mean was rounded by
                    var, square = np.vecdot(z, z) * each[0], m * m
                var -= square
            np.reciprocal(np.sqrt(var + eps), out=by_row[:, 0])
            np.multiply(-m, by_row[:, 0], out=by_row[:, 1])
            part = np.matmul(by_row[:, :2], scale, out=out[at] if dtype == full else None)
            part *= z
            part += np.matmul(by_row, shift, out=spare[: len(z)])
            if dtype != full:
                out[at] = part

    over_blocks(work, whole)
    mean, rstd = [v.astype(wide(x.dtype)).reshape(lead) for v in (base + means, numbers[:, 0])]
    return out.reshape(x.shape), mean if center else None, rstd


def pull(g: Any, x: Any, weight: Any, more: Any, mean: Any, rstd: Any, *, sums: bool = True) -> tuple[Any, Any, Any]:
    """(rstd (a - M(a) - n M(a n)) + more, sum(g n), sum(g)), where a = g weight and n = (x - mean) rstd.

    sums: over all axes but the last, None unless asked for; and no sum(g) where there is no mean.
    """
    full, center = full_dtype(g, x, weight), mean is not None
    whole_g, whole, beside = matrix(g), matrix(x), matrix(more)
    count, columns = whole.shape
    r = rstd.reshape(-1).astype(full, copy=False)
    means = mean.reshape(-1).astype(full, copy=False) if center else np.zeros_like(r)
    far = not (abs(means * r) <= FAR).all()
    out, cubes, numbers = np.empty(whole.shape, g.dtype), r * r * r, _rows(full, count, r, means * r, 1)
    turned = np.ascontiguousarray(numbers[:2].T)  # of a transposed matrix OpenBLAS would take threads sooner
    scale = _rows(full, columns, 1 if weight is None else weight, 0)
    over, totals = scale[0] / full.type(columns), {}

    def work(parts: Sequence[slice]) -> None:
        spare, by_g, by_product = np.empty(whole[parts[0]].shape, full), *np.zeros((2, 2, columns), full)
        for at in parts:
            a, z = whole_g[at].astype(full, copy=False), whole[at].astype(full, copy=False)
            m, by_row = means[at], numbers[:, at]
            if far:
                z = z - m[:, None]
                m = np.vecdot(z, np.full(columns, 1 / columns, full))  # what the mean was rounded by
                by_row = _rows(full, len(z), r[at], m * r[at], 1)
            product = np.multiply(a, z, out=spare[: len(z)])
            if sums:
                by_product += by_row[:2] @ product
                by_g += by_row[1:] @ a
            first = np.vecdot(a, over) if center else 0
            by = (np.vecdot(product, over) - m * first) * cubes[at]
            part = np.matmul(turned[at], scale, out=out[at] if out.dtype == full else None)
            part *= a
            part -= np.multiply(z, by[:, None], out=product)
            if center:
                part += (m * by - first * r[at])[:, None]
            if beside is not None:
                part += beside[at]
            if out.dtype != full:
                out[at] = part
        totals[parts[0].start] = by_product[0] - by_g[0], by_g[1]

    over_blocks(work, whole)
    dx = out.reshape(x.shape)
    if not sums:
        return dx, None, None
    product, plain = np.sum([totals[i] for i in sorted(totals)], axis=0).astype(
        g.dtype
    )  # in one order: rounds the same
    return dx, product, plain if center else None


def grad(g: Any, x: Any, weight: Any, more: Any, mean: Any, rstd: Any, *, eps: float) -> Any:
    """The first part of `pull`."""
    return pull(g, x, weight, more, mean, rstd, sums=False)[0]
