"""Distances between the rows of two matrices."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core import raw
from ..forward import fit
from ..op import op
from .index import getitem
from .linalg import product_op, vector_norm
from .logic import equal, where
from .math import abs, pow, sign
from .matrices import bar, widened
from .reduce import sum
from .shape import concat, expand_dims, matrix_transpose
from .solve import like

BYTES = 2**17  # of the differences that are taken at one time: a processor's cache
ROWS = 2**22  # bytes of differences with all coordinates


def _gaps(xp: Any, x: Any, y: Any) -> Iterator[tuple[slice, int, Any]]:
    """(some rows of x, a coordinate, how far it is there from each row of y): so near rows lose no digits."""
    lead = math.prod(np.broadcast_shapes(x.shape[:-2], y.shape[:-2]))
    row = max(1, lead * y.shape[-2] * np.result_type(x.dtype, y.dtype).itemsize)
    rows = max(1, BYTES // row if xp is np else x.shape[-2])
    x, y = [xp.ascontiguousarray(v.swapaxes(-1, -2)) for v in (x, y)]
    for i in range(0, x.shape[-1], rows):
        for k in range(x.shape[-2]):
            yield slice(i, i + rows), k, x[..., k, i : i + rows, None] - y[..., k, None, :]


def _distances_rule(g: Any, x: Any, y: Any, out: Any) -> Any:
    """How each row of x changes the distances: (x - y) / distance, conjugated, times g; 0 where x = y."""
    same = raw(out) == 0
    return weighted_gaps(where(same, 0, g / where(same, 1, out)), bar(x), bar(y))


@op(
    x=_distances_rule,
    y=lambda g, x, y, out: _distances_rule(matrix_transpose(g), y, x, matrix_transpose(out)),
    name="cdist",
    exact=("x", "y"),  # near rows differ in their last digits
    batch="broadcast",
)
def _distances(xp: Any, x: Any, y: Any) -> Any:
    dtype = np.result_type(x.dtype, y.dtype)
    lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    out = xp.zeros((*lead, x.shape[-2], y.shape[-2]), np.finfo(dtype).dtype)
    for some, _, d in _gaps(xp, x, y):
        d = xp.abs(d) if dtype.kind == "c" else d
        d *= d
        total = out[..., some, :]
        total += d
    return xp.sqrt(out)


@op(
    w=lambda g, x, y: sum(g * x, axis=-1, keepdims=True) - product_op(g, matrix_transpose(y)),
    x=lambda g, w: sum(w, axis=-1, keepdims=True) * g,
    y=lambda g, w: -product_op(matrix_transpose(w), g),
    batch="broadcast",
)
def weighted_gaps(xp: Any, w: Any, x: Any, y: Any) -> Any:
    """Σ_j w_ij (x_i - y_j) for rows x_i and y_j."""
    lead = np.broadcast_shapes(w.shape[:-2], x.shape[:-2], y.shape[:-2])
    out = xp.empty((*lead, *x.shape[-2:]), np.result_type(w.dtype, x.dtype, y.dtype))
    for some, k, d in _gaps(xp, x, y):
        out[..., some, k] = (w[..., some, :] * d).sum(axis=-1)
    return out


# ---------------------------------------------------------------------------------------------- other norms
def _norms_rule(g: Any, x: Any, y: Any, out: Any, p: float) -> Any:
    """How each row of x changes the distances, some rows at a time: (|x - y| / distance)ᵖ⁻¹ sign(x - y), conjugated."""
    a, b = raw(x), raw(y)
    row = math.prod(raw(out).shape[:-2]) * b.shape[-2] * b.shape[-1] * raw(out).dtype.itemsize
    rows = max(1, (ROWS if type(a) is np.ndarray else 16 * ROWS) // max(1, row))
    parts = []
    for i in range(0, max(1, a.shape[-2]), rows):
        some, own = (
            slice(i, i + rows),
            lambda v, i=i: expand_dims(getitem(v, (..., slice(i, i + rows), slice(None))), -1),
        )
        d = expand_dims(getitem(x, (..., some, slice(None))), -2) - expand_dims(y, -3)
        parts.append(sum(own(g) * _slope(d, own(out), p) * bar(sign(d)), axis=-2))
    return parts[0] if len(parts) == 1 else concat(parts, -2)


def _slope(d: Any, out: Any, p: float) -> Any:
    if p == 1:
        return 1.0
    size = abs(d)
    if p == math.inf:
        ties = equal(raw(size), raw(size).max(axis=-1)[..., None])
        return ties / sum(ties, axis=-1, keepdims=True)
    flat = equal(raw(size), 0)  # where the distance is 0, too
    return where(flat, 0, pow(where(flat, 1, size) / where(equal(raw(out), 0), 1, out), p - 1))


@op(
    x=_norms_rule,
    y=lambda g, x, y, out, p: _norms_rule(matrix_transpose(g), y, x, matrix_transpose(out), p),
    name="cdist",
    exact=("x", "y"),  # near rows differ in their last digits
    batch="broadcast",
)
def _norms(xp: Any, x: Any, y: Any, *, p: float) -> Any:
    dtype = np.result_type(x.dtype, y.dtype)
    lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    out = xp.zeros((*lead, x.shape[-2], y.shape[-2]), np.finfo(dtype).dtype)
    for some, _, d in _gaps(xp, x, y):
        d, total = xp.abs(d), out[..., some, :]
        if p == math.inf:
            total[...] = xp.maximum(total, d)
        else:
            total += d if p == 1 else d**p
    return out if p in (1, math.inf) else out ** (1 / p)


def cdist(x: Any, y: Any, p: float = 2.0) -> Any:
    """The p-norm of the difference of each row of x and each row of y.

    x (..., m, d), y (..., n, d) -> (..., m, n); leading axes broadcast.  p from 0 on, inf included; see `vector_norm`.
    Differences are taken before they are squared or weighed, so near rows lose no digits.  ValueError for shapes
    that do not fit.

    Kink: 0 where two rows are equal.
    """
    x, y = fit([x, y], "cdist")
    a, b = raw(x), raw(y)
    if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != b.shape[-1]:
        raise ValueError(f"cdist: x is (..., m, d) and y (..., n, d), given the shapes {a.shape} and {b.shape}")
    if not p >= 0:
        raise ValueError(f"cdist: p is 0 or more, not {p!r}")
    v, w = widened(x), widened(y)
    if p == 2:
        return like(_distances(v, w), x, y)
    if p:
        return like(_norms(v, w, p=p), x, y)
    return like(vector_norm(expand_dims(v, -2) - expand_dims(w, -3), axis=-1, ord=p), x, y)
