"""Floor 1: linear systems of which only products are known: A is a function that takes a vector to A times it.

Vectors are arrays of one axis of any library; a product of the basis with a vector, and a norm, wait for a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple

import numpy as np

from .array import Array, device_of, library, xp

Product = Callable[[Array], Array]


class Solved(NamedTuple):
    """What a linear solver reached.

    residual   |b - A x| / |b|; of `cg` without the rounding errors that its steps have added up
    falls      whether a direction was met along which x·A x is not positive; x is of the steps before it
    """

    x: Array
    residual: float
    falls: bool = False


def dot(a: Array, b: Array) -> float:
    """The inner product of two real vectors."""
    return float(xp(a).vdot(a, b))


def norm(a: Array) -> float:
    """The Euclidean length, also where the squares are too large or too small for the dtype."""
    most = largest(a)
    return most if not 0 < most < float("inf") else most * sqrt(dot(a / most, a / most))


def largest(a: Array) -> float:
    """The largest absolute value; 0 of nothing, NaN where there is one."""
    return float(abs(a).max()) if a.size else 0.0


def beside(values: np.ndarray, like: Array) -> Array:
    """Host values in the dtype of `like`, on its device."""
    return library(like).asarray(values, like.dtype, device_of(like))  # type: ignore[union-attr]


def host(a: Array) -> np.ndarray:
    return library(a).to_host(a)  # type: ignore[union-attr]


def gmres(product: Product, b: Array, rtol: float, most: int, restart: int = 50) -> Solved:
    """x with A x = b for any regular A (Saad & Schultz 1986), of at most about `most` products.

    rtol      where |b - A x| <= rtol |b|, it ends
    restart   vectors of the basis, each like b: memory
    It also ends where a restart gains nothing.  The basis is made orthogonal twice, a product of matrices each time.
    """
    lib, scale = xp(b), norm(b)
    x = lib.zeros_like(b)
    if not 0 < scale < float("inf"):
        return Solved(x, scale)
    b = r = b / scale
    size, used = norm(r), 0
    while True:
        m = max(1, min(restart, b.size, most - used))
        basis, h = lib.stack([r / size] * min(8, m + 1)), np.zeros((m + 1, m))
        y = np.zeros(0)
        for k in range(m):
            w, spanned = product(basis[k]), basis[: k + 1]
            used, before = used + 1, norm(w)
            for _ in range(2):
                parts = spanned @ w
                w = w - parts @ spanned
                h[: k + 1, k] += host(parts)
            h[k + 1, k] = norm(w)
            if not np.isfinite(h[: k + 2, k]).all():
                return Solved(x * scale, float("nan"))
            start = np.zeros(k + 2)
            start[0] = size
            y = np.linalg.lstsq(h[: k + 2, : k + 1], start)[0]
            left = float(np.linalg.norm(start - h[: k + 2, : k + 1] @ y))
            if left <= rtol or h[k + 1, k] <= 4 * np.finfo(b.dtype).eps * before:
                break
            if k + 1 == len(basis):
                basis = lib.concatenate([basis, basis])  # room for as many again
            basis[k + 1] = w / float(h[k + 1, k])
        x = x + beside(y, b) @ basis[: len(y)]
        r = b - product(x)
        used, before, size = used + 1, size, norm(r)
        if size <= rtol or used >= most or not size < 0.99 * before:
            return Solved(x * scale, size)


def cg(product: Product, b: Array, rtol: float, most: int) -> Solved:
    """x with A x = b for a symmetric positive definite A (Hestenes & Stiefel 1952), of at most `most` products.

    It ends where |b - A x| <= rtol |b|, and at a direction of no positive curvature, with x of the steps before it.
    """
    scale = norm(b)
    x = xp(b).zeros_like(b)
    if not 0 < scale < float("inf"):
        return Solved(x, scale)
    r = p = b / scale
    square = dot(r, r)
    for _ in range(most):
        ap = product(p)
        bend = dot(p, ap)
        if not bend > 0:
            return Solved(x * scale, sqrt(square), True)
        x = x + p * (square / bend)
        r = r - ap * (square / bend)
        before, square = square, dot(r, r)
        if not square > rtol * rtol:
            break
        p = r + p * (square / before)
    return Solved(x * scale, sqrt(square))
