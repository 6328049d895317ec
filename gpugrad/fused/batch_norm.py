"""batch_norm of arrays (batch, channels, ...)."""

from __future__ import annotations

import math

from ..array import Array, wide
from ..kernels import BLOCK, MAX_GRID, Place, by_element, ceil, place
from .shape import fold, whole


def _channels(x: Array) -> tuple[int, int, int]:
    if x.ndim < 2:
        raise ValueError(f"batch_norm takes (batch, channels, ...), given the shape {x.shape}")
    return x.shape[0], x.shape[1], math.prod(x.shape[2:])


def _grid(outer: int, channels: int, inner: int) -> tuple[int, int]:
    """Blocks for sums over each channel: some 1024 in all, each thread with four elements or more."""
    return channels, max(1, min(ceil(outer * inner, 4 * BLOCK), ceil(1024, channels), 256))


def batch_norm(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Array, Array, Array]:
    """(out, mean, rstd) by the statistics of this batch (Ioffe & Szegedy 2015); the running ones are moved in place.

    mean, rstd and the running statistics are wide.
    """
    p = place(x, gamma, beta, running_mean, running_var)
    outer, channels, inner = _channels(x)
    with p.scope():
        x, gamma, beta = p.whole(x), whole(p, "gamma", gamma, (channels,)), whole(p, "beta", beta, (channels,))
        for a in (running_mean, running_var):  # written to: no copy will do
            if a is not None and a.shape != (channels,):
                raise ValueError(f"running statistics have shape {(channels,)}, given {a.shape}")
        mean, rstd = (p.empty((channels,), wide(x.dtype)) for _ in range(2))
        out = p.empty(x.shape, x.dtype)
        if not x.size:
            return out, p.lib.xp.zeros((channels,), mean.dtype), p.lib.xp.zeros((channels,), mean.dtype)
        grid = _grid(outer, channels, inner)
        partial = p.empty((2, grid[1], channels), wide(x.dtype))
        p.get("batch_norm", "batch_sums", x.dtype)(grid, (BLOCK,), x, partial, outer, channels, inner)
        run, blocks = p.get("batch_norm", "batch_statistics", x.dtype), (min(ceil(channels, BLOCK), MAX_GRID),)
        sizes = (grid[1], channels, inner, outer * inner)
        run(blocks, (BLOCK,), x, partial, mean, rstd, running_mean, running_var, momentum, eps, *sizes)
        _normalize(p, x, gamma, beta, mean, rstd, out, channels, inner)
    return out, mean, rstd


def _normalize(p: Place, x: Array, gamma, beta, mean: Array, rstd: Array, out: Array, channels: int, inner: int):
    run = p.get("batch_norm", "batch_norm", x.dtype)
    run(*by_element(x.size, x.dtype), x, gamma, beta, mean, rstd, out, x.size, channels, inner)


def batch_norm_grad(
    g: Array, x: Array, mean: Array, rstd: Array, gamma: Array | None = None
) -> tuple[Array, Array, Array]:
    """The cotangents of x, gamma and beta; the last two are wide."""
    p = place(g, x, mean, rstd, gamma)
    outer, channels, inner = _channels(x)
    with p.scope():
        g, x, gamma = whole(p, "g", g, x.shape), p.whole(x), whole(p, "gamma", gamma, (channels,))
        mean, rstd = whole(p, "mean", mean, (channels,)), whole(p, "rstd", rstd, (channels,))
        dx = p.empty(x.shape, x.dtype)
        if not x.size:
            return dx, p.lib.xp.zeros((channels,), mean.dtype), p.lib.xp.zeros((channels,), mean.dtype)
        grid = _grid(outer, channels, inner)
        partial = p.empty((2, grid[1], channels), wide(x.dtype))
        sums = p.get("batch_norm", "batch_grad_sums", x.dtype)
        sums(grid, (BLOCK,), g, x, mean, rstd, partial, outer, channels, inner)
        both = fold(p, partial, wide(x.dtype), 2, grid[1], channels)
        run, sizes = p.get("batch_norm", "batch_norm_grad", x.dtype), (x.size, channels, inner, outer * inner)
        run(*by_element(x.size, x.dtype), g, x, gamma, mean, rstd, both, dx, *sizes)
    return dx, both[0], both[1]
