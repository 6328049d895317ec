"""Least squares: the pseudoinverse, lstsq, the rank of a matrix."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..array import xp as xp_of
from ..core import raw
from ..forward import placed
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


@op(x=_pinv_rule, name="pinv", batch="leading")
def _pinv(xp: Any, x: Any, *, rtol: Any, atol: Any = 0.0, hermitian: bool = False) -> Any:
    if hermitian:
        s, v = lapack(NO_EIGENVALUES, xp.linalg.eigh, x)
        size = xp.abs(s)
        uh = v.swapaxes(-1, -2).conj()
    else:
        u, s, vh = lapack(NO_SVD, xp.linalg.svd, x, full_matrices=False)
        size, v, uh = s, vh.swapaxes(-1, -2).conj(), u.swapaxes(-1, -2).conj()
    large = _large(xp, size, rtol, atol)
    inverse = xp.where(large, 1 / xp.where(large, s, xp.ones_like(s)), xp.zeros_like(s))
    return (v * inverse[..., None, :]) @ uh


def _large(xp: Any, size: Any, rtol: Any, atol: Any) -> Any:
    """Which are above both limits; the sizes are in order, one way or the other."""
    top = xp.maximum(size[..., :1], size[..., -1:])
    return (size > rtol * top) & (size > atol)


def _limits(name: str, x: Any, rtol: Any, atol: Any) -> dict[str, Any]:
    """The limits of small values, relative to the largest and absolute, as numbers or with an axis for the values.

    Without both the relative one is the dtype's epsilon times the longer side; an absolute one alone is all.
    """
    a = raw(x)
    if rtol is None or (isinstance(rtol, (int, float)) and rtol < 0):
        rtol = float(np.finfo(a.dtype).eps) * max(a.shape[-2:]) if atol is None else 0.0
    limits = {"rtol": rtol, "atol": 0.0 if atol is None else atol}
    for n, v in limits.items():
        if not isinstance(v, (int, float)):
            limits[n] = v = placed(v, a)[..., None]
            _fits(name, n, v.shape[:-1], a.shape[:-2])
    return limits


def _fits(name: str, argument: str, given: tuple[int, ...], lead: tuple[int, ...]) -> None:
    try:
        fits = np.broadcast_shapes(given, lead) == lead
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name}: {argument} of shape {given} does not broadcast to {lead}, a number for each matrix")


def pinv(x: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None, atol: Any = None) -> Any:
    """The pseudoinverse (Moore and Penrose) of each matrix: 1/s for the singular values s, 0 for small ones.

    x (..., m, n) -> (..., n, m).  Small are those up to rtol (NumPy's older name: rcond) times the largest, and those
    up to atol: numbers, or arrays with one for each matrix.  None: the dtype's epsilon times max(m, n), 0 beside an
    atol.  hermitian: x equals its conjugate transpose, of which the lower triangle is read.  The gradient is that of
    matrices of the same rank (Golub and Pereyra 1973); where the rank changes there is none.  ValueError for rcond and
    rtol together.
    """
    if rcond is not None and rtol is not None:
        raise ValueError("pinv: rcond and rtol are two names of one limit; give one of them")
    a = matrices("pinv", x, square=hermitian)
    limits = _limits("pinv", a, rcond if rtol is None else rtol, atol)
    return narrowed(_pinv(a, hermitian=hermitian, **limits), x)


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
    limits = _limits("lstsq", m, rcond, None)
    x = product_op(_pinv(m, **limits), columns)
    residuals = sum(square(abs(columns - product_op(m, x))), axis=-2)
    s = svdvals(m)
    x, residuals = like(squeeze(x, axis=-1) if vector else x, a, b), like(residuals, a, b)
    return LstsqResult(x, residuals, _above(s, **limits), narrowed(s, a))


@const
def _above(s: Any, rtol: Any, atol: Any) -> Any:
    size = raw(s)
    return _large(xp_of(size), size, rtol, atol).sum(axis=-1)


def matrix_rank(x: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None, atol: Any = None) -> Any:
    """How many singular values of each matrix are not small.  Integers, no gradient.

    x (..., m, n).  Small are those up to rtol times the largest, and those up to atol (NumPy's older name: tol):
    numbers, or arrays with one for each matrix.  None: the dtype's epsilon times max(m, n), 0 beside an atol.
    hermitian: x equals its conjugate transpose, of which the lower triangle is read.  ValueError for tol and another
    limit together.
    """
    if tol is not None and not rtol is atol is None:
        raise ValueError("matrix_rank: tol is all that counts; beside rtol give atol")
    a = matrices("matrix_rank", x, square=hermitian)
    s = abs(eigvalsh(a)) if hermitian else svdvals(a)
    return _above(s, **_limits("matrix_rank", a, rtol, atol if tol is None else tol))
