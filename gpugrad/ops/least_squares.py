"""Least squares: the pseudoinverse, lstsq, the rank of a matrix."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..array import xp as xp_of
from ..core import raw
from ..op import op
from .decompositions import eigvalsh, svdvals
from .linalg import product_op
from .logic import const
from .math import abs, square
from .matrices import NO_EIGENVALUES, NO_SVD, adjoint, bar, lapack, matrices, narrowed
from .reduce import sum
from .shape import matrix_transpose, squeeze
from .solve import like, system


def _pinv_rule(g: Any, x: Any, out: Any) -> Any:
    """Of constant rank (Golub and Pereyra 1973): dP = -P dx P + P P* dx* (1 - x P) + (1 - P x) dx* P* P."""
    gt, p = matrix_transpose(g), matrix_transpose(out)
    inner = product_op(gt, product_op(out, adjoint(out)))
    outer = product_op(product_op(adjoint(out), out), gt)
    rest = inner - product_op(x, product_op(out, inner)) + outer - product_op(product_op(outer, out), x)
    return bar(rest) - product_op(product_op(p, g), p)


@op(x=_pinv_rule, name="pinv")
def _pinv(xp: Any, x: Any, *, rtol: float, hermitian: bool) -> Any:
    if hermitian:
        s, v = lapack(NO_EIGENVALUES, xp.linalg.eigh, x)
        size = xp.abs(s)
        top, uh = xp.maximum(size[..., :1], size[..., -1:]), v.swapaxes(-1, -2).conj()
    else:
        u, s, vh = lapack(NO_SVD, xp.linalg.svd, x, full_matrices=False)
        size, top, v, uh = s, s[..., :1], vh.swapaxes(-1, -2).conj(), u.swapaxes(-1, -2).conj()
    large = size > rtol * top
    inverse = xp.where(large, 1 / xp.where(large, s, xp.ones_like(s)), xp.zeros_like(s))
    return (v * inverse[..., None, :]) @ uh


def _cutoff(x: Any, rtol: float | None) -> float:
    a = raw(x)
    return float(np.finfo(a.dtype).eps) * max(a.shape[-2:]) if rtol is None or rtol < 0 else float(rtol)


def pinv(x: Any, rcond: float | None = None, hermitian: bool = False, *, rtol: float | None = None) -> Any:
    """The pseudoinverse (Moore and Penrose) of each matrix: 1/s for the singular values s, 0 for small ones.

    x (..., m, n) -> (..., n, m).  Small are those up to rtol (NumPy's older name: rcond) times the largest; None: the
    dtype's epsilon times max(m, n).  hermitian: x equals its conjugate transpose, of which the lower triangle is read.
    The gradient is that of matrices of the same rank (Golub and Pereyra 1973); where the rank changes there is none.
    """
    a = matrices("pinv", x, square=hermitian)
    return narrowed(_pinv(a, rtol=_cutoff(a, rcond if rtol is None else rtol), hermitian=hermitian), x)


class LstsqResult(NamedTuple):
    x: Any
    residuals: Any
    rank: Any
    s: Any


def lstsq(a: Any, b: Any, rcond: float | None = None) -> LstsqResult:
    """The x of least ‖b - a x‖, and of these the shortest; as `pinv(a) b`.

    a (..., m, n), b (m,) or (..., m, k).  Answers (x, the sum of squares of each column of b - a x, the rank of a, its
    singular values); unlike NumPy's, the residuals are there for every rank.  Singular values up to rcond times the
    largest count as 0; None: the dtype's epsilon times max(m, n).  x and the residuals have the gradient of matrices
    of the same rank.  LinAlgError and ValueError as `solve`.
    """
    m, columns, vector = system("lstsq", a, b, square=False)
    rtol = _cutoff(m, rcond)
    x = product_op(_pinv(m, rtol=rtol, hermitian=False), columns)
    residuals = sum(square(abs(columns - product_op(m, x))), axis=-2)
    s = svdvals(m)
    x, residuals = like(squeeze(x, axis=-1) if vector else x, a, b), like(residuals, a, b)
    return LstsqResult(x, residuals, _above(s, rtol), narrowed(s, a))


@const
def _above(s: Any, rtol: float) -> Any:
    size = raw(s)
    top = xp_of(size).maximum(size[..., :1], size[..., -1:])  # they are in order, of either sign
    return (size > top * rtol).sum(axis=-1)


def matrix_rank(x: Any, tol: float | None = None, hermitian: bool = False, *, rtol: float | None = None) -> Any:
    """How many singular values of each matrix are not small.  Integers, no gradient.

    x (..., m, n).  Small are those up to `tol`, or up to rtol times the largest; None: the dtype's epsilon times
    max(m, n).  hermitian: x equals its conjugate transpose, of which the lower triangle is read.
    """
    a = matrices("matrix_rank", x, square=hermitian)
    s = abs(eigvalsh(a)) if hermitian else svdvals(a)
    return _above(s, _cutoff(a, rtol)) if tol is None else _beyond(s, tol)


@const
def _beyond(s: Any, tol: float) -> Any:
    return (raw(s) > tol).sum(axis=-1)
