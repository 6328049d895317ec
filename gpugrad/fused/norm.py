"""layer_norm and rms_norm along the last axis, with the sum before it in the same pass."""

from __future__ import annotations

from ..array import Array
from ..dtypes import wide
from ..kernels import by_column, by_row, place
from .shape import fold, matrix, whole


def norm(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    residual: Array | None = None,
    eps: float = 1e-5,
    center: bool = True,
) -> tuple[Array, Array, Array | None, Array]:
    """(out, total, mean, rstd) of x (..., columns); total is x + residual, or x itself, and what the pullback needs.

    center: layer_norm (Ba et al. 2016); without it rms_norm (Zhang & Sennrich 2019), whose mean is None.
    """
    p = place(x, gamma, beta, residual)
    rows, cols = matrix(x)
    with p.scope():
        x, residual = p.whole(x), whole(p, "residual", residual, x.shape)
        gamma, beta = whole(p, "gamma", gamma, (cols,)), whole(p, "beta", beta, (cols,))
        out = p.empty(x.shape, x.dtype)
        total = None if residual is None else p.empty(x.shape, x.dtype)
        rstd = p.empty(x.shape[:-1], wide(x.dtype))
        mean = p.empty(x.shape[:-1], wide(x.dtype)) if center else None
        if x.size:
            team, grid, block = by_row(rows, cols)
            run = p.get("norm", "norm", x.dtype, team)
            run(grid, block, x, residual, gamma, beta, total, out, mean, rstd, eps, rows, cols)
    return out, x if total is None else total, mean, rstd


def norm_grad(
    g: Array, total: Array, mean: Array | None, rstd: Array, gamma: Array | None = None, more: Array | None = None
) -> Array:
    """The cotangent of total: that of x, and of the residual.

    more: what reaches the total beside the norm, added in the same pass.
    """
    p = place(g, total, mean, rstd, gamma, more)
    rows, cols = matrix(total)
    with p.scope():
        g, total, more = whole(p, "g", g, total.shape), p.whole(total), whole(p, "more", more, total.shape)
        mean, rstd = whole(p, "mean", mean, total.shape[:-1]), whole(p, "rstd", rstd, total.shape[:-1])
        gamma, dx = whole(p, "gamma", gamma, (cols,)), p.empty(g.shape, g.dtype)
        if dx.size:
            team, grid, block = by_row(rows, cols)
            run = p.get("norm", "norm_grad", g.dtype, team)
            run(grid, block, g, total, gamma, mean, rstd, more, dx, rows, cols)
    return dx


def norm_sums(g: Array, total: Array, mean: Array | None, rstd: Array) -> tuple[Array, ...]:
    """The cotangents of gamma, and with a mean of beta: sums down columns, always in the same order."""
    p = place(g, total, mean, rstd)
    rows, cols = matrix(total)
    sums = 1 if mean is None else 2
    with p.scope():
        g, total = whole(p, "g", g, total.shape), p.whole(total)
        mean, rstd = whole(p, "mean", mean, total.shape[:-1]), whole(p, "rstd", rstd, total.shape[:-1])
        if not g.size:
            return tuple([p.lib.xp.zeros((cols,), g.dtype) for _ in range(sums)])
        grid, block = by_column(rows, cols, g.dtype)
        partial = p.empty((sums, grid[1], cols), wide(g.dtype))
        run = p.get("norm", "norm_grad_columns", g.dtype)
        run(grid, block, g, total, mean, rstd, partial, rows, cols)
        return tuple(fold(p, partial, g.dtype))
