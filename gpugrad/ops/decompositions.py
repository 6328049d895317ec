"""Decompositions: cholesky, qr, eigh, svd.

Where vectors are not a function of the matrix, their gradient is NaN: eigenvectors of eigenvalues that are equal to
rounding, singular vectors of equal or vanishing singular values.  Values alone (`eigvalsh`, `svdvals`, or the values of
`eigh` and `svd`) have their gradient there.  It is right for functions that do not depend on what a decomposition is
free to choose: the sign or phase of a vector, the basis of what is left over.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..array import xp as xp_of
from ..core import raw
from ..op import Parts, op
from .casting import zeros_like
from .linalg import product_op
from .logic import where
from .matrices import NO_EIGENVALUES, NO_SVD, adjoint, bar, lapack, matrices, narrowed
from .shape import concat, expand_dims, matrix_transpose, split, tril, triu
from .solve import triangular


# ---------------------------------------------------------------------------------------------- cholesky
def _cholesky_rule(g: Any, out: Any) -> Any:
    p = product_op(adjoint(out), bar(g))
    p = tril(p) + tril(p, k=-1)  # the lower triangle, the diagonal half as much as the rest, times two
    upper = adjoint(out)
    half = adjoint(triangular(upper, (p + adjoint(p)) * 0.25, upper=True))
    return bar(triangular(upper, half, upper=True))


@op(x=_cholesky_rule, name="cholesky", batch="broadcast")
def _cholesky(xp: Any, x: Any) -> Any:
    out = lapack("a matrix is not positive definite", xp.linalg.cholesky, x)
    return out if xp is np else checked_factor(xp, x, out)


def checked_factor(xp: Any, x: Any, out: Any) -> Any:
    """`out`, NaN where it cannot be the factor: CuPy's function leaves what it had when it stopped."""
    near = 100 * x.shape[-1] * np.finfo(x.dtype).eps
    size, given = (xp.abs(out) ** 2).sum(axis=-1), xp.diagonal(x, 0, -2, -1).real
    good = (xp.abs(size - given) <= near * given) & (xp.diagonal(out, 0, -2, -1).real > 0)
    return xp.where(good.all(axis=-1)[..., None, None], out, xp.full_like(out, math.nan))


def cholesky(x: Any, upper: bool = False) -> Any:
    """The lower triangular L with x = L L*, of positive definite x; upper=True: U with x = U* U.

    x (..., n, n) equals its conjugate transpose; only the triangle in question is read, and the gradient has both.
    LinAlgError if x is not square, and on the CPU if it is not positive definite; on a GPU that gives NaN.
    """
    a = matrices("cholesky", x, square=True)
    return narrowed(adjoint(_cholesky(adjoint(a))) if upper else _cholesky(a), x)


# ---------------------------------------------------------------------------------------------- qr
class QRResult(NamedTuple):
    Q: Any
    R: Any


def _cut(x: Any, k: int, axis: int) -> tuple[Any, Any]:
    return split(x, (k, raw(x).shape[axis] - k), axis)  # type: ignore[return-value]


def _without(g: Any, v: Any, k: int) -> tuple[Any, Any]:
    """The first k columns of v, and their cotangent with what the others, their complement, add to it."""
    if raw(v).shape[-1] == k:
        return g, v
    (first, more), (v, rest) = _cut(g, k, -1), _cut(v, k, -1)
    return first - product_op(rest, product_op(adjoint(more), v)), v


def _plus(*terms: Any) -> Any:
    first, *others = [t for t in terms if t is not None]
    for t in others:
        first = first + t
    return first


def _qr_rule(g: Parts, q: Any, r: Any) -> Any:
    """Walter and Lehmann 2010; complex as Roberts and Roberts 2020.  Of wide matrices the first square is factored."""
    m, n = raw(q).shape[-2], raw(r).shape[-1]
    k = min(m, n)
    gq, gr = [bar(g[i]) if i in g else None for i in (0, 1)]
    if gq is not None:
        gq, q = _without(gq, q, k)
    elif raw(q).shape[-1] > k:
        q = _cut(q, k, -1)[0]
    if raw(r).shape[-2] > k:
        r, gr = _cut(r, k, -2)[0], None if gr is None else _cut(gr, k, -2)[0]
    right = None
    if n > m:
        r, more = _cut(r, m, -1)
        if gr is not None:
            gr, rest = _cut(gr, m, -1)
            gq, right = _plus(gq, product_op(q, product_op(more, adjoint(rest)))), product_op(q, rest)
    inner = _plus(
        None if gr is None else product_op(gr, adjoint(r)), None if gq is None else -product_op(adjoint(q), gq)
    )
    inner = triu(inner) + triu(inner, k=1)
    total = _plus(product_op(q, (inner + adjoint(inner)) * 0.5), gq)
    total = adjoint(triangular(r, adjoint(total), upper=True))
    if right is None and n > m:
        right = zeros_like(more)
    return bar(total if right is None else concat([total, right], -1))


@op(x=_qr_rule, several=("q", "r"), name="qr", batch="broadcast")
def _qr(xp: Any, x: Any, *, mode: str) -> Any:
    return tuple(xp.linalg.qr(x, mode))


def qr(x: Any, mode: str = "reduced") -> Any:
    """x = Q R, of orthonormal columns and an upper triangle.

    x (..., m, n), k = min(m, n).  mode "reduced": Q (..., m, k), R (..., k, n); "complete": Q (..., m, m),
    R (..., m, n); "r": R of "reduced" alone.  ValueError for another mode.  The gradient needs the first k columns of x
    to be linearly independent; where they are not it is not finite, or a LinAlgError.
    """
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"qr: mode is 'reduced', 'complete' or 'r', not {mode!r}")
    q, r = _qr(matrices("qr", x), mode="complete" if mode == "complete" else "reduced")
    return narrowed(r, x) if mode == "r" else QRResult(narrowed(q, x), narrowed(r, x))


# ---------------------------------------------------------------------------------------------- eigh
class EighResult(NamedTuple):
    eigenvalues: Any
    eigenvectors: Any


def _gaps(values: Any) -> Any:
    """1 / (v_j - v_i) off the diagonal, 0 on it; NaN where the gap is lost in rounding."""
    gap = expand_dims(values, -2) - expand_dims(values, -1)
    own, xp = raw(values), xp_of(raw(values))
    gap = where(xp.abs(raw(gap)) <= _rounding(own)[..., None], math.nan, gap)
    return 1 / where(xp.eye(own.shape[-1], dtype=bool), math.inf, gap)


def _rounding(values: Any) -> Any:
    """How far values that are in order may be off: a few of the steps that the largest has."""
    top = xp_of(values).maximum(abs(values[..., :1]), abs(values[..., -1:]))
    return top * (2 * math.sqrt(values.shape[-1]) * float(np.finfo(values.dtype).eps))


def _eigh_rule(g: Parts, w: Any, v: Any) -> Any:
    vt, total = matrix_transpose(v), None
    if 1 in g:
        turned = product_op(vt, g[1])
        total = product_op(bar(v), (turned - adjoint(turned)) * 0.5 * _gaps(w))
    if 0 in g:
        total = _plus(total, bar(v) * expand_dims(g[0], -2))
    return product_op(total, vt)


@op(x=_eigh_rule, several=("w", "v"), name="eigh", batch="broadcast")
def _eigh(xp: Any, x: Any, *, uplo: str) -> Any:
    return tuple(lapack(NO_EIGENVALUES, xp.linalg.eigh, x, UPLO=uplo))


def _triangle(name: str, uplo: str) -> str:
    if not isinstance(uplo, str) or uplo.upper() not in ("L", "U"):
        raise ValueError(f"{name}: UPLO is 'L' or 'U', not {uplo!r}")
    return uplo.upper()


def eigh(x: Any, UPLO: str = "L") -> EighResult:
    """The eigenvalues, ascending, and eigenvectors (columns) of matrices that equal their conjugate transposes.

    x (..., n, n); only the triangle UPLO, "L" or "U", is read, and the gradient has both.  The gradient of eigenvalues
    is there for equal ones, too; that of the eigenvectors of equal eigenvalues is NaN, and so is the second order of
    both.  LinAlgError if x is not square or the iteration does not converge, ValueError for another UPLO.
    """
    uplo = _triangle("eigh", UPLO)
    w, v = _eigh(matrices("eigh", x, square=True), uplo=uplo)
    return EighResult(narrowed(w, x), narrowed(v, x))


@op(x=lambda g, x, uplo: _eigh_rule(Parts({0: g}), None, _eigh(x, uplo=uplo)[1]), name="eigvalsh", batch="broadcast")
def _eigvalsh(xp: Any, x: Any, *, uplo: str) -> Any:
    return lapack(NO_EIGENVALUES, xp.linalg.eigvalsh, x, UPLO=uplo)


def eigvalsh(x: Any, UPLO: str = "L") -> Any:
    """The eigenvalues, ascending, of matrices that equal their conjugate transposes; see `eigh`.

    The gradient computes the eigenvectors.
    """
    uplo = _triangle("eigvalsh", UPLO)
    return narrowed(_eigvalsh(matrices("eigvalsh", x, square=True), uplo=uplo), x)


# ---------------------------------------------------------------------------------------------- svd
class SVDResult(NamedTuple):
    U: Any
    S: Any
    Vh: Any


def _svd_rule(g: Parts, u: Any, s: Any, vh: Any) -> Any:
    """Townsend 2016; complex as Wan and Zhang 2019."""
    v, k = adjoint(vh), raw(s).shape[-1]
    gu, gv = bar(g[0]) if 0 in g else None, matrix_transpose(g[2]) if 2 in g else None
    if gu is not None:
        gu, u = _without(gu, u, k)
    if gv is not None:
        gv, v = _without(gv, v, k)
    u, v = [a if raw(a).shape[-1] == k else _cut(a, k, -1)[0] for a in (u, v)]
    row, column = expand_dims(s, -2), expand_dims(s, -1)
    inner = outer = None
    if gu is not None or gv is not None:
        xp, own = xp_of(raw(s)), raw(s)
        inverse = 1 / where(own <= _rounding(own), math.nan, s)
        gaps = _gaps(s) / where(xp.eye(k, dtype=bool), 1.0, row + column)
    if gu is not None:
        turned = product_op(adjoint(u), gu)
        turned = turned - adjoint(turned)
        inner = turned * gaps * row
        if turned.dtype.kind == "c":
            inner = inner + where(xp.eye(k, dtype=bool), turned * expand_dims(inverse, -2) * 0.5, 0)
    if gv is not None:
        turned = product_op(adjoint(v), gv)
        inner = _plus(inner, column * (turned - adjoint(turned)) * gaps)
    left = None if inner is None else product_op(u, inner)
    if 1 in g:
        left = _plus(left, u * expand_dims(g[1], -2))
    if gu is not None and raw(u).shape[-2] > k:
        scaled = gu * expand_dims(inverse, -2)
        left = _plus(left, scaled - product_op(u, product_op(adjoint(u), scaled)))
    total = product_op(left, adjoint(v))
    if gv is not None and raw(v).shape[-2] > k:
        scaled = gv * expand_dims(inverse, -2)
        outer = scaled - product_op(v, product_op(adjoint(v), scaled))
        total = total + product_op(u, adjoint(outer))
    return bar(total)


@op(x=_svd_rule, several=("u", "s", "vh"), name="svd", batch="broadcast")
def _svd(xp: Any, x: Any, *, full: bool) -> Any:
    return tuple(lapack(NO_SVD, xp.linalg.svd, x, full_matrices=full))


def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """x = U diag(S) Vh, of orthonormal columns and rows, and singular values S, descending.

    x (..., m, n), k = min(m, n) -> U (..., m, m), S (..., k), Vh (..., n, n); with full_matrices=False U (..., m, k)
    and Vh (..., k, n).  compute_uv=False: S alone.  The gradient of S is there for equal values, too; that of the
    vectors of equal ones, or of zero where x is not square, is NaN, and so is the second order of all.
    """
    if not compute_uv:
        return svdvals(x)
    u, s, vh = _svd(matrices("svd", x), full=full_matrices)
    return SVDResult(narrowed(u, x), narrowed(s, x), narrowed(vh, x))


def _svdvals_rule(g: Any, x: Any) -> Any:
    u, _, vh = _svd(x, full=False)
    return product_op(bar(u) * expand_dims(g, -2), bar(vh))


@op(x=_svdvals_rule, name="svdvals", batch="broadcast")
def _svdvals(xp: Any, x: Any) -> Any:
    return lapack(NO_SVD, xp.linalg.svd, x, compute_uv=False)


def svdvals(x: Any) -> Any:
    """The singular values, descending.  x (..., m, n) -> (..., min(m, n)); see `svd`.

    The gradient computes the vectors.
    """
    return narrowed(_svdvals(matrices("svdvals", x)), x)
