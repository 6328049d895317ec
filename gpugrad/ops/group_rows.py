"""group_norm and its pullback on the CPU: all passes over a block of groups while it is in the cache.

A group is a row of channels, which have a weight each.  As in `norm_rows` the norm is x s + t with numbers s and t a
channel, the mean subtracted first where it is many standard deviations from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dtypes import wide
from .blocks import over_blocks
from .norm_rows import FAR, full_dtype


def _by_row(a: Any, otherwise: int, count: int, groups: int, full: np.dtype) -> np.ndarray:
    """The numbers of the channels of each of so many rows."""
    if a is None:
        return np.full((count, 1), otherwise, full)
    return np.tile(a.astype(full, copy=False).reshape(groups, -1), (count // groups, 1))


def forward(x: Any, weight: Any, bias: Any, groups: int, eps: float) -> Any:
    """((x - mean) rstd weight + bias, mean, rstd); the last two are (images, groups)."""
    full, dtype = full_dtype(x, weight, bias), np.result_type(*[a.dtype for a in (x, weight, bias) if a is not None])
    count, channels = len(x) * groups, x.shape[1] // groups
    whole = x.reshape(count, -1)
    columns = whole.shape[1]
    out = np.empty((count, channels, columns // channels), dtype)
    means, bases, rstds = np.empty(count, full), np.zeros(count, full), np.empty(count, full)
    weights, biases = _by_row(weight, 1, count, groups, full), _by_row(bias, 0, count, groups, full)
    each = np.full(columns, 1 / columns, full)

    def work(parts: Sequence[slice]) -> None:
        for at in parts:
            z = whole[at].astype(full, copy=False)
            m, var = np.vecdot(z, each), np.vecdot(z, z) * each[0]
            square = m * m
            if not (square <= FAR**2 * (var - square)).all():
                bases[at], z = m, z - m[:, None]
                m, var = np.vecdot(z, each), np.vecdot(z, z) * each[0]  # what the mean was rounded by
                square = m * m
            means[at] = m
            r = rstds[at] = 1 / np.sqrt(var - square + eps)
            scale = r[:, None] * weights[at]
            part = out[at] if dtype == full else np.empty(out[at].shape, full)
            np.multiply(z.reshape(part.shape), scale[..., None], out=part)
            part += (biases[at] - m[:, None] * scale)[..., None]
            if dtype != full:
                out[at] = part

    over_blocks(work, whole)
    mean, rstd = [v.astype(wide(x.dtype), copy=False).reshape(len(x), groups) for v in (bases + means, rstds)]
    return out.reshape(x.shape), mean, rstd


def pull(g: Any, x: Any, weight: Any, mean: Any, rstd: Any, groups: int) -> tuple[Any, Any, Any]:
    """(rstd (a - M(a) - n M(a n)), sum(g n), sum(g)), with a = g weight, n = (x - mean) rstd; the sums by channel."""
    full = full_dtype(g, x, weight)
    count, channels = len(x) * groups, x.shape[1] // groups
    whole, given = x.reshape(count, -1), g.reshape(count, channels, -1)
    columns = whole.shape[1]
    means, rstds = [a.reshape(-1).astype(full, copy=False) for a in (mean, rstd)]
    far = not (abs(means * rstds) <= FAR).all()
    weights = _by_row(weight, 1, count, groups, full)
    out, plain, product = np.empty(given.shape, g.dtype), *np.empty((2, count, channels), full)
    ones = np.ones(given.shape[2], full)

    def work(parts: Sequence[slice]) -> None:
        for at in parts:
            a, z, m, r = given[at].astype(full, copy=False), whole[at].astype(full, copy=False), means[at], rstds[at]
            if far:
                z = z - m[:, None]
                m = np.vecdot(z, np.full(columns, 1 / columns, full))  # what the mean was rounded by
            plain[at] = np.vecdot(a, ones)
            product[at] = (np.vecdot(a, z.reshape(a.shape)) - m[:, None] * plain[at]) * r[:, None]
            first, second = [(v[at] * weights[at]).sum(1) / full.type(columns) for v in (plain, product)]
            by = second * r * r
            part = np.multiply(a, (r[:, None] * weights[at])[..., None])
            rest = z * by[:, None]
            rest += (first * r - m * by)[:, None]
            np.subtract(part, rest.reshape(part.shape), out=out[at], casting="same_kind")

    over_blocks(work, whole)
    sums = [v.reshape(len(x), -1).sum(0).astype(g.dtype, copy=False) for v in (product, plain)]
    return out.reshape(x.shape), *sums
