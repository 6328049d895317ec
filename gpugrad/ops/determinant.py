"""Determinants, with gradients that are exact for singular matrices, too."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..op import Parts, op
from .casting import zeros_like
from .linalg import product_op
from .math import imag
from .matrices import NO_SVD, lapack, matrices, narrowed
from .reduce import sum
from .shape import expand_dims, matrix_transpose
from .solve import inv


@op(x=lambda g, x: _each(g) * cofactors(x), name="det", batch="broadcast")
def _det(xp: Any, x: Any) -> Any:
    return xp.linalg.det(x)


def det(x: Any) -> Any:
    """The determinant of each matrix.

    x (..., n, n) -> (...).  The gradient is the matrix of cofactors, on the CPU from the inverse where that is exact
    enough, else from the singular values; it is finite where they are, and exact for singular x, too, and so is that of
    the gradient; only the third order needs the inverse.  LinAlgError if x is not square.
    """
    return narrowed(_det(matrices("det", x, square=True)), x)


def _each(g: Any) -> Any:
    """A number for each matrix, to go with the matrices."""
    return expand_dims(g, (-2, -1))


def _turned(xp: Any, x: Any) -> tuple[Any, Any, Any, Any]:
    """x = u diag(s) vh as (u, s, vh, det(u) det(vh)): det(x + u e vh) is that number times det(diag(s) + e).

    The number is NaN where x is not finite, which LAPACK refuses.
    """
    finite = xp.isfinite(x).all(axis=(-2, -1))[..., None, None]
    u, s, vh = lapack(NO_SVD, xp.linalg.svd, xp.where(finite, x, xp.zeros_like(x)), full_matrices=False)
    unit = (xp.linalg.det(u) * xp.linalg.det(vh))[..., None, None]
    return u, s, vh, xp.where(finite, unit, xp.full_like(unit, math.nan))


def _split(xp: Any, s: Any) -> tuple[Any, Any]:
    """s as numbers near 1 and powers of two: products of the ones and sums of the others do not overflow on the way."""
    s, powers = xp.frexp(s.astype(np.float64))
    low = s < math.sqrt(0.5)
    return xp.where(low, 2 * s, s), powers - low


def _others(xp: Any, s: Any) -> Any:
    """The products of all s but the i-th."""
    near, powers = _split(xp, s)
    eye = xp.eye(s.shape[-1], dtype=bool)
    product = xp.prod(xp.where(eye, xp.ones_like(near[..., None, :]), near[..., None, :]), axis=-1)
    return xp.ldexp(product, (powers.sum(axis=-1)[..., None] - powers).astype(np.int32)).astype(s.dtype)


def _between(xp: Any, s: Any) -> Any:
    """The products of all s but the i-th and the j-th; on the diagonal, of all but the i-th.  Nothing is divided."""
    n, dtype = s.shape[-1], s.dtype
    s, powers = _split(xp, s)
    i, j, one = xp.arange(n)[:, None], xp.arange(n), xp.ones_like(s[..., None, :])
    rows = s[..., None, :]
    inside = xp.cumprod(xp.where(i < j, rows, one), axis=-1)  # of those after the i-th, with the j-th
    inside = xp.where(j > i + 1, xp.roll(inside, 1, -1), one)  # and without it
    before = xp.prod(xp.where(j < i, rows, one), axis=-1)
    after = xp.where(i <= j, xp.prod(xp.where(j > i, rows, one), axis=-1)[..., None, :], 0)
    upper = before[..., :, None] * (inside * after)
    total = powers.sum(axis=-1)[..., None, None] - powers[..., :, None]
    total = total - xp.where(i == j, 0, powers[..., None, :])
    return xp.ldexp(upper + xp.triu(upper, 1).swapaxes(-1, -2), total.astype(np.int32)).astype(dtype)


@op(x=lambda g, x: cofactors_grad(g, x), batch="broadcast")
def cofactors(xp: Any, x: Any) -> Any:
    """det(x) x⁻ᵀ, the derivative of det by each element; of singular x, too."""
    if xp is not np:  # a GPU is not asked which matrices may be inverted
        return _by_values(xp, x)
    out, exact = _by_inverse(x)
    if not exact.all():
        out[~exact] = _by_values(np, x[~exact])
    return out


def _by_inverse(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(det(x) x⁻ᵀ, for which matrices it has lost no more than a third of the digits)."""
    real = np.finfo(x.dtype)
    with np.errstate(all="ignore"):
        det = np.linalg.det(x)
        some = np.isfinite(det) & (np.abs(det) > real.tiny)
        y = np.linalg.inv(np.where(some[..., None, None], x, np.eye(x.shape[-1], dtype=x.dtype)))
        out = det[..., None, None] * y.swapaxes(-1, -2)
        condition = np.sqrt([(np.abs(m) ** 2).sum(axis=(-2, -1)) for m in (x, y)]).prod(axis=0)
        return out, some & (condition < float(real.eps) ** (-1 / 3)) & np.isfinite(out).all(axis=(-2, -1))


def _by_values(xp: Any, x: Any) -> Any:
    u, s, vh, unit = _turned(xp, x)
    return unit * ((u.conj() * _others(xp, s)[..., None, :]) @ vh.conj())


def _third(h: Any, g: Any, x: Any) -> Any:
    """What the third derivative of det answers to two directions, by the inverse."""
    y = inv(x)
    a, b = product_op(y, g), product_op(y, h)
    ta, tb = [_each(sum(matrix_transpose(y) * m, axis=(-2, -1))) for m in (g, h)]
    both = ta * tb - _each(sum(a * matrix_transpose(b), axis=(-2, -1)))
    rest = product_op(product_op(a, b) + product_op(b, a) - tb * a - ta * b, y)
    return _each(_det(x)) * matrix_transpose(both * y + rest)


@op(g=lambda h, x: cofactors_grad(h, x), x=_third, batch="leading")
def cofactors_grad(xp: Any, g: Any, x: Any) -> Any:
    """The pullback of `cofactors`: what the second derivative of det answers to the direction g."""
    u, s, vh, unit = _turned(xp, x)
    others = _between(xp, s)
    turned = u.swapaxes(-1, -2).conj() @ g @ vh.swapaxes(-1, -2).conj()
    eye = xp.eye(s.shape[-1], dtype=bool)
    off = xp.where(eye, 0, others)
    main = (off * xp.diagonal(turned, 0, -2, -1)[..., None, :]).sum(axis=-1)
    inner = xp.where(eye, main[..., None, :], -turned.swapaxes(-1, -2) * off)
    return unit * (u.conj() @ inner @ vh.conj())


class SlogdetResult(NamedTuple):
    sign: Any
    logabsdet: Any


def _slogdet_rule(g: Parts, x: Any, sign: Any) -> Any:
    total = g[1] if 1 in g else None
    if 0 in g and sign.dtype.kind == "c":  # dsign = i sign Im tr(x⁻¹ dx)
        turn = imag(g[0] * sign) * 1j
        total = turn if total is None else total + turn
    return zeros_like(x) if total is None else _each(total) * matrix_transpose(inv(x))


@op(x=_slogdet_rule, several=("sign", "logabsdet"), name="slogdet", batch="broadcast")
def _slogdet(xp: Any, x: Any) -> Any:
    return tuple(xp.linalg.slogdet(x))


def slogdet(x: Any) -> SlogdetResult:
    """(sign, logarithm of the absolute value) of the determinant of each matrix, where `det` would overflow.

    x (..., n, n) -> (...), (...); the sign of complex x is a complex number of length 1.  Of a singular matrix they are
    0 and -inf; its gradient is a LinAlgError on the CPU, inf or NaN on a GPU.  LinAlgError if x is not square.
    """
    sign, size = _slogdet(matrices("slogdet", x, square=True))
    return SlogdetResult(narrowed(sign, x), narrowed(size, x))
