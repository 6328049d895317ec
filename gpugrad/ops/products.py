"""Products of vectors: vecdot, dot, inner, kron, cross."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import raw
from ..dtypes import wide
from ..forward import checked_axis, fit
from .casting import astype
from .linalg import matmul, tensordot
from .math import multiply
from .matrices import bar
from .reduce import sum
from .shape import moveaxis, reshape, roll


def _pair(name: str, x: Any, y: Any) -> tuple[Any, Any, Any]:
    """x and y, half types in float32, and the dtype of what becomes of them."""
    x, y = fit([x, y], name)
    a, b = raw(x).dtype, raw(y).dtype
    dtype = a if a == b else np.result_type(a, b)
    return astype(x, wide(a)), astype(y, wide(b)), dtype


def _last(name: str, axis: int, *vs: Any) -> list[Any]:
    """The operands with `axis`, which each counts for itself, as the last."""
    axes = [checked_axis(name, axis, len(raw(v).shape)) for v in vs]
    return [v if a == len(raw(v).shape) - 1 else moveaxis(v, a, -1) for v, a in zip(vs, axes)]


def vecdot(x: Any, y: Any, axis: int = -1) -> Any:
    """Σ x̄ y along one axis, x̄ the complex conjugate of x.

    Each operand counts the axis for itself; the other axes broadcast.  ValueError for an axis that is not there, and if
    the two differ in length along it.
    """
    x, y, dtype = _pair("vecdot", x, y)
    shapes = raw(x).shape, raw(y).shape
    x, y = _last("vecdot", axis, x, y)
    if raw(x).shape[-1] != raw(y).shape[-1]:
        raise ValueError(f"vecdot: x {shapes[0]} and y {shapes[1]} differ in length along axis {axis}")
    return astype(sum(multiply(bar(x), y), axis=-1), dtype)


def dot(x: Any, y: Any) -> Any:
    """The product summed over the last axis of x and the second last of y (the only one of a vector); without axes x y.

    As `numpy.dot`: (..., k) and (..., k, m), whose leading axes are all there in the result.  `matmul` has batches.
    ValueError if the lengths differ.
    """
    x, y = fit([x, y], "dot")
    nx, ny = len(raw(x).shape), len(raw(y).shape)
    if nx == 0 or ny == 0:
        return multiply(x, y)
    return matmul(x, y) if ny <= 2 and nx <= 2 else tensordot(x, y, ([-1], [-2 if ny > 1 else -1]))


def inner(x: Any, y: Any) -> Any:
    """The product summed over the last axes of both; without axes x y.  ValueError if the lengths differ."""
    x, y = fit([x, y], "inner")
    if not raw(x).shape or not raw(y).shape:
        return multiply(x, y)
    return tensordot(x, y, ([-1], [-1]))


def kron(x: Any, y: Any) -> Any:
    """Kronecker's product: blocks of y, each times an element of x.

    (a, b, ...) and (c, d, ...) -> (a c, b d, ...); the one with fewer axes gets ones in front.
    """
    x, y = fit([x, y], "kron")
    n = max(len(raw(x).shape), len(raw(y).shape))
    sx, sy = [(1,) * (n - len(raw(v).shape)) + raw(v).shape for v in (x, y)]
    rows, columns = [m for k in sx for m in (k, 1)], [m for k in sy for m in (1, k)]
    return reshape(multiply(reshape(x, rows), reshape(y, columns)), [i * k for i, k in zip(sx, sy)])


def cross(x: Any, y: Any, axis: int = -1) -> Any:
    """The cross product of vectors of three along `axis`, of each operand and of the result; the other axes broadcast.

    ValueError for another length.
    """
    x, y, dtype = _pair("cross", x, y)
    shapes = raw(x).shape, raw(y).shape
    x, y = _last("cross", axis, x, y)
    if raw(x).shape[-1] != 3 or raw(y).shape[-1] != 3:
        raise ValueError(f"cross: x and y have 3 elements along axis {axis}, given {shapes[0]} and {shapes[1]}")
    next_, last = [lambda v, s=s: roll(v, s, -1) for s in (-1, -2)]
    out = next_(x) * last(y) - last(x) * next_(y)
    return astype(out if axis in (-1, raw(out).ndim - 1) else moveaxis(out, -1, axis), dtype)
