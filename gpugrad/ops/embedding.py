"""Rows of a table by index, and the sum of rows by index, the pullbacks of each other."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from typing import Any

import numpy as np

from .. import fused
from ..array import NUMPY, library, xp as xp_of
from ..core import raw
from ..dtypes import is_inexact, wide
from ..forward import select
from ..kernels import usable
from ..levels import concrete, looked_at
from ..op import op
from .examples import join, own, part
from .logic import where
from .places import combine, combine_rows
from .shape import expand_dims
from .softmax import kernel_integers, within


def _embedding(xp: Any, table: Any, index: Any, *, padding: int | None = None, deterministic: bool = False) -> Any:
    """table[index], of a table (entries, columns) and integers from 0.

    The gradient of the table is a sum by index, without the rows whose index is `padding`.  `deterministic`: on a GPU
    added up in the same order on every run, not by atomic additions; on the CPU it always is.
    IndexError for an index out of range; on a GPU, which is not waited for, a row of NaN, if the table may have NaN.
    """
    if table.ndim != 2:
        raise ValueError(f"an embedding's table has two axes, given the shape {table.shape}")
    none = not is_inexact(table.dtype)  # there is no NaN for a row that is not there
    check(index, table.shape[0], waits=none)
    if none or library(index) is NUMPY:
        return xp.take(table, index, axis=0)
    places, inside = within(xp, index, table.shape[0])
    return select(xp, inside[..., None], xp.take(table, places, axis=0), xp.asarray(np.nan, table.dtype))


def check(index: Any, entries: int, waits: bool = False) -> None:
    """TypeError if the indices are no integers; IndexError, of NumPy's arrays, for one that is out of range.

    waits: on a GPU, too, which is then waited for.
    """
    if index.dtype.kind not in "iu":
        raise TypeError(f"an embedding takes integer indices, given {index.dtype}: write indices.astype('int64')")
    # Read as unsigned, a negative index is a large one.
    index = concrete(index) if waits else looked_at(index)
    if index is not None and index.size and index.astype(f"u{index.itemsize}", copy=False).max() >= entries:
        raise IndexError(f"indices are in {index.min()}..{index.max()}, allowed are 0..{entries - 1}")


def _embedding_gpu(xp: Any, table: Any, index: Any, *, padding: int | None = None, deterministic: bool = False) -> Any:
    if not usable(table) or index.dtype.kind not in "iu" or table.ndim != 2:
        return _embedding(xp, table, index)
    return fused.gather(table, kernel_integers(index))


def _apart(index: Any, entries: int, level: Any) -> Any:
    """Indices of all examples, those of one after those of the other; what is out of range stays so."""
    index = kernel_integers(raw(index)).astype(np.int64, copy=False)
    start = xp_of(index).arange(level.n).reshape(-1, *[1] * (index.ndim - 1)) * entries
    return xp_of(index).where((index >= 0) & (index < entries), index + start, -1)


def _batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    """With a table of each example's own, all of them are one."""
    table, index = xs
    if not each[0]:
        return call(table, index, **static)
    index, entries, padding = own(index, each[1], level.n), raw(table).shape[1], static["padding"]
    check(raw(index), entries)
    out, *_ = call(join(table), _apart(index, entries, level), deterministic=static["deterministic"])
    if padding is not None:  # rows without a gradient
        out = where(expand_dims(raw(index) == padding, -1), raw(out), out)
    return (out,)


def _sum_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    g, index = [own(x, e, level.n) for x, e in zip(xs, each)]
    entries, padding = static["entries"], static["padding"]
    if padding is not None:
        g = where(expand_dims(raw(index) == padding, -1), 0, g)
    options = {"entries": entries * level.n, "deterministic": static["deterministic"]}
    return (part(call(g, _apart(index, entries, level), **options)[0], level.n),)


embedding = op(
    _embedding,
    batch=_batch,
    name="embedding",
    gpu=_embedding_gpu,
    table=lambda g, index, padding, deterministic, shape: sum_by_index(
        g, index, entries=shape[0], padding=padding, deterministic=deterministic
    ),
    index=None,
)


def _sum_by_index(
    xp: Any, g: Any, index: Any, *, entries: int, padding: int | None = None, deterministic: bool = False
) -> Any:
    """(entries, columns): each row of g (..., columns) added to the row that its index names, the others 0."""
    rows, index = g.reshape(index.size, g.shape[-1]), index.reshape(-1)
    out = xp.zeros((entries, g.shape[-1]), wide(g.dtype))
    if xp is not np:
        places, kept = within(xp, index, entries)
        kept = kept if padding is None else kept & (index != padding)
        combine(xp, xp.add, out, places, xp.where(kept[:, None], rows.astype(out.dtype, copy=False), 0))
        return out.astype(g.dtype, copy=False)
    if padding is not None:
        kept = index != padding
        rows, index = rows[kept], index[kept]
    combine_rows(np.add, out, index, rows.astype(out.dtype, copy=False))
    return out.astype(g.dtype, copy=False)


def _sum_by_index_gpu(
    xp: Any, g: Any, index: Any, *, entries: int, padding: int | None = None, deterministic: bool = False
) -> Any:
    if not usable(g):
        return _sum_by_index(xp, g, index, entries=entries, padding=padding)
    index = kernel_integers(index)
    if padding is not None:
        index = xp.where(index == padding, index.dtype.type(-1), index)  # out of range: left out
    return fused.scatter_add(g, index, entries, deterministic)


def _without(h: Any, index: Any, padding: int | None, deterministic: bool) -> Any:
    rows = embedding(h, index, padding=padding, deterministic=deterministic)
    if padding is None:
        return rows
    return where(expand_dims(xp_of(raw(index)).asarray(raw(index) != padding), -1), rows, 0)


sum_by_index = op(
    _sum_by_index,
    batch=_sum_batch,
    name="sum_by_index",
    gpu=_sum_by_index_gpu,
    g=lambda h, index, padding, deterministic: _without(h, index, padding, deterministic),
    index=None,
)
