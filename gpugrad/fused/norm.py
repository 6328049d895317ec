"""layer_norm and rms_norm along the last axis, with the sum before it in the same pass."""

from __future__ import annotations

from ..array import Array
from ..dtypes import wide
from ..kernels import Place, by_column, by_row, place
from ..launch import Launch, Launcher
from .shape import check, fold, matrix


def _norm(
    p: Place, x: Array, residual: Array | None, gamma: Array | None, beta: Array | None, eps: float, center: bool
) -> Launch:
    rows, cols = matrix(x)
    check(x.shape, residual=residual)
    check((cols,), gamma=gamma, beta=beta)
    team, grid, block = by_row(rows, cols)
    like, statistic = (x.shape, x.dtype), (x.shape[:-1], wide(x.dtype))
    outs = [None if residual is None else like, like, statistic if center else None, statistic]
    return Launch(p.get("norm", "norm", x.dtype, team) if x.size else None, grid, block, outs, (eps, rows, cols))


_launch = Launcher(_norm)


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
    total, out, mean, rstd = _launch((x, residual, gamma, beta), float(eps), center)
    return out, x if total is None else total, mean, rstd


def _norm_grad(
    p: Place, g: Array, total: Array, gamma: Array | None, mean: Array | None, rstd: Array, more: Array | None
) -> Launch:
    rows, cols = matrix(total)
    check(total.shape, g=g, more=more)
    check(total.shape[:-1], mean=mean, rstd=rstd)
    check((cols,), gamma=gamma)
    team, grid, block = by_row(rows, cols)
    run = p.get("norm", "norm_grad", g.dtype, team) if g.size else None
    return Launch(run, grid, block, [(g.shape, g.dtype)], (rows, cols))


_launch_grad = Launcher(_norm_grad)


def norm_grad(
    g: Array, total: Array, mean: Array | None, rstd: Array, gamma: Array | None = None, more: Array | None = None
) -> Array:
    """The cotangent of total: that of x, and of the residual.

    more: what reaches the total beside the norm, added in the same pass.
    """
    return _launch_grad((g, total, gamma, mean, rstd, more))[0]


def _norm_sums(p: Place, g: Array, total: Array, mean: Array | None, rstd: Array) -> Launch:
    rows, cols = matrix(total)
    check(total.shape, g=g)
    check(total.shape[:-1], mean=mean, rstd=rstd)
    if not g.size:
        return Launch(None, (), (), [])
    grid, block = by_column(rows, cols, g.dtype)
    outs = [((1 if mean is None else 2, grid[1], cols), wide(g.dtype))]
    return Launch(p.get("norm", "norm_grad_columns", g.dtype), grid, block, outs, (rows, cols))


_launch_sums = Launcher(_norm_sums)


def norm_sums(g: Array, total: Array, mean: Array | None, rstd: Array) -> tuple[Array, ...]:
    """The cotangents of gamma, and with a mean of beta: sums down columns, always in the same order."""
    partial = _launch_sums((g, total, mean, rstd))
    if partial:
        return tuple(fold(partial[0], g.dtype))
    p = place(g)
    with p.scope():
        return tuple([p.lib.xp.zeros(total.shape[-1:], g.dtype) for _ in range(1 if mean is None else 2)])
