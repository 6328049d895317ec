"""Diagonals: taken, put into a matrix, summed."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from typing import Any

from ..core import raw
from ..dtypes import DTypeLike, as_dtype
from ..forward import boxed, checked_axes
from ..op import op
from . import reduce
from .shape import later


def _places(xp: Any, offset: int, n: int) -> tuple[Any, ...]:
    """The index of a diagonal of n elements in the last two axes."""
    line = xp.arange(n)
    return ..., line + max(-offset, 0), line + max(offset, 0)


@op(
    x=lambda g, shape, offset, axes: _embed(g, to=shape, offset=offset, axes=axes),
    name="diagonal",
    batch="along",
    linear=True,
)
def _diagonal(xp: Any, x: Any, *, offset: int, axes: tuple[int, int]) -> Any:
    return xp.diagonal(x, offset, *axes)


def _embed_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    return call(
        xs[0], to=(level.n, *static["to"]), offset=static["offset"], axes=later(static["axes"], len(static["to"]))
    )


@op(
    x=lambda g, offset, axes: _diagonal(g, offset=offset, axes=axes), name="diag_embed", batch=_embed_batch, linear=True
)
def _embed(xp: Any, x: Any, *, to: tuple[int, ...], offset: int, axes: tuple[int, int]) -> Any:
    out = xp.zeros(to, x.dtype)
    xp.moveaxis(out, axes, (-2, -1))[_places(xp, offset, x.shape[-1])] = x
    return out


def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The `offset`-th diagonals of the matrices in two axes of x, as a last axis in their place.

    ValueError for axes that x does not have, or that are one.
    """
    x = boxed(x, "diagonal")
    return _diagonal(x, offset=offset, axes=tuple(checked_axes("diagonal", (axis1, axis2), raw(x).ndim)))


def diag_embed(x: Any, offset: int = 0, axis1: int = -2, axis2: int = -1) -> Any:
    """Zeros with the last axis of x on the `offset`-th diagonals of matrices, in these two axes of the result.

    ValueError for axes that the result does not have, or that are one.
    """
    x = boxed(x, "diag_embed")
    if not raw(x).ndim:
        raise ValueError("diag_embed: x has at least one axis")
    *shape, n = raw(x).shape
    axes = checked_axes("diag_embed", (axis1, axis2), len(shape) + 2)
    for axis in sorted(axes):
        shape.insert(axis, n + abs(offset))
    return _embed(x, to=tuple(shape), offset=offset, axes=tuple(axes))


def diag(x: Any, k: int = 0) -> Any:
    """The k-th diagonal of matrix x; of a vector, the matrix with it there and zeros elsewhere.

    ValueError for what is neither.
    """
    x = boxed(x, "diag")
    if raw(x).ndim not in (1, 2):
        raise ValueError(f"diag: x has one axis or two, not {raw(x).ndim}; for batches: diagonal, diag_embed")
    return diag_embed(x, k) if raw(x).ndim == 1 else diagonal(x, k)


def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: DTypeLike = None) -> Any:
    """The sum of the `offset`-th diagonal of the matrices in two axes of x; of a batch, a sum for each.

    dtype: that of the sum.  ValueError for axes that x does not have, or that are one.
    """
    x = boxed(x, "trace")
    axes = tuple(checked_axes("trace", (axis1, axis2), raw(x).ndim))
    return reduce.sum(_diagonal(x, offset=offset, axes=axes), axis=-1, dtype=None if dtype is None else as_dtype(dtype))
