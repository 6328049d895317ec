"""batch_norm of arrays (batch, channels, ...)."""

from __future__ import annotations

import math

from ..array import Array
from ..dtypes import wide
from ..kernels import BLOCK, MAX_GRID, Place, by_column, by_element, ceil, pack, place
from .shape import fold, whole


def _channels(x: Array) -> tuple[int, int, int]:
    if x.ndim < 2:
        raise ValueError(f"batch_norm takes (batch, channels, ...), given the shape {x.shape}")
    return x.shape[0], x.shape[1], math.prod(x.shape[2:])


def _sums(p: Place, kernel: str, arrays: list[Array], outer: int, channels: int, inner: int) -> tuple[Array, int]:
    """Two numbers for each chunk of each channel, (2, chunks, channels), and the elements of a chunk.

    Some 1024 blocks in all, each thread with four elements or more; where channels are columns, grids by column.
    """
    dtype = arrays[0].dtype
    if inner == 1:
        grid, block = by_column(outer, channels, dtype)
        partial = p.empty((2, grid[1], channels), wide(dtype))
        p.get("batch_norm", f"{kernel}_columns", dtype)(grid, block, *arrays, partial, outer, channels)
        return partial, ceil(outer, grid[1])
    chunks, width = max(1, min(ceil(outer * inner, 4 * BLOCK), ceil(1024, channels), 256)), pack(dtype)
    chunk = ceil(outer * inner, chunks * width) * width  # of whole packs
    partial = p.empty((2, chunks, channels), wide(dtype))
    p.get("batch_norm", kernel, dtype)((channels, chunks), (BLOCK,), *arrays, partial, outer, channels, inner, chunk)
    return partial, chunk


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
        partial, chunk = _sums(p, "batch_sums", [x], outer, channels, inner)
        run, blocks = p.get("batch_norm", "batch_statistics", x.dtype), (min(ceil(channels, BLOCK), MAX_GRID),)
        sizes = (partial.shape[1], channels, inner, chunk, outer * inner)
        run(blocks, (BLOCK,), x, partial, mean, rstd, running_mean, running_var, momentum, eps, *sizes)
        _normalize(p, x, gamma, beta, mean, rstd, out)
    return out, mean, rstd


def batch_norm_inference(
    x: Array, gamma: Array | None, beta: Array | None, running_mean: Array, running_var: Array, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """(out, mean, rstd) by the running statistics; those are wide, and what is answered is no view of them."""
    p = place(x, gamma, beta, running_mean, running_var)
    _, channels, _ = _channels(x)
    with p.scope():
        x, gamma, beta = p.whole(x), whole(p, "gamma", gamma, (channels,)), whole(p, "beta", beta, (channels,))
        running = [whole(p, "running statistics", a, (channels,)) for a in (running_mean, running_var)]
        mean, rstd = (p.empty((channels,), wide(x.dtype)) for _ in range(2))
        out = p.empty(x.shape, x.dtype)
        if channels:
            run, grid = p.get("batch_norm", "running_statistics", x.dtype), (min(ceil(channels, BLOCK), MAX_GRID),)
            run(grid, (BLOCK,), *running, mean, rstd, eps, channels)
        if x.size:
            _normalize(p, x, gamma, beta, mean, rstd, out)
    return out, mean, rstd


def _normalize(p: Place, x: Array, *arrays: Array | None) -> None:
    outer, channels, inner = _channels(x)
    if inner == 1:
        run = p.get("batch_norm", "batch_norm_columns", x.dtype)
        run(*by_column(outer, channels, x.dtype), x, *arrays, outer, channels)
    else:
        run = p.get("batch_norm", "batch_norm", x.dtype)
        run(*by_element(x.size, x.dtype), x, *arrays, x.size, channels, inner)


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
        partial, _ = _sums(p, "batch_grad_sums", [g, x, mean, rstd], outer, channels, inner)
        dgamma, dbeta = fold(partial, wide(x.dtype))
        arrays = g, x, gamma, mean, rstd, dgamma, dbeta, dx
        if inner == 1:
            run = p.get("batch_norm", "batch_norm_grad_columns", x.dtype)
            run(*by_column(outer, channels, x.dtype), *arrays, outer, channels)
        else:
            run = p.get("batch_norm", "batch_norm_grad", x.dtype)
            run(*by_element(x.size, x.dtype), *arrays, x.size, channels, inner, outer * inner)
    return dx, dgamma, dbeta
