"""Rows of a table by index, and the gradient of the table."""

from __future__ import annotations

import math

from ..array import Array
from ..dtypes import wide
from ..kernels import Place, by_row, ceil, place
from ..launch import Launch, Launcher
from .shape import whole

PIECE = 128  # rows that are added up one after the other: kernels/embedding.cu


def _gather(p: Place, table: Array, index: Array) -> Launch:
    entries, cols = _matrix(table)
    team, grid, block = by_row(index.size, cols)
    run = p.get("embedding", "gather", table.dtype, index.dtype, team) if index.size and cols else None
    return Launch(run, grid, block, [((*index.shape, cols), table.dtype)], (entries, index.size, cols))


_launch = Launcher(_gather)


def gather(table: Array, index: Array) -> Array:
    """table[index] for a table (entries, columns) and int32 or int64 indices.  One out of range gives a row of NaN."""
    return _launch((table, index))[0]


def scatter_add(g: Array, index: Array, entries: int, deterministic: bool = False) -> Array:
    """(entries, columns): each row of g (..., columns) added to the row that its index names, the others 0.

    deterministic: the same bits on every run, by sorting the indices; a run of equal ones is added up in pieces, at
    once.  Without it by atomic additions.
    """
    p = place(g, index)
    cols, rows = g.shape[-1], math.prod(index.shape)
    with p.scope():
        g, index = whole(p, "g", g, (*index.shape, cols)), p.whole(index).reshape(-1)
        xp = p.lib.xp
        team, grid, block = by_row(rows, cols)
        if deterministic:
            out = xp.zeros((entries, cols), g.dtype)
            if g.size:
                order = xp.argsort(index, kind="stable")
                ordered, pieces = index[order], ceil(rows, PIECE)
                partial = p.empty((2, pieces, cols), wide(g.dtype))
                run = p.get("embedding", "scatter_add_sorted", g.dtype, index.dtype, team)
                run(grid, block, g, order, ordered, out, partial, entries, rows, cols)
                if pieces > 1:
                    team, grid, block = by_row(pieces - 1, cols)
                    run = p.get("embedding", "scatter_add_pieces", g.dtype, index.dtype, team)
                    run(grid, block, ordered, partial, out, entries, rows, cols)
            return out
        total = xp.zeros((entries, cols), wide(g.dtype))
        if g.size:
            run = p.get("embedding", "scatter_add", g.dtype, index.dtype, team)
            run(grid, block, g, index, total, entries, rows, cols)
        return total.astype(g.dtype, copy=False)


def _matrix(table: Array) -> tuple[int, int]:
    if table.ndim != 2:
        raise ValueError(f"an embedding's table has two axes, given the shape {table.shape}")
    return table.shape
