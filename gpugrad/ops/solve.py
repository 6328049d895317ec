"""Linear systems: inv, solve, triangular systems.

On the CPU a singular matrix is a LinAlgError; a GPU does not wait for its values to be checked, and answers inf or NaN.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..array import library
from ..core import raw
from ..forward import fit
from ..op import op
from .linalg import product_op
from .matrices import LinAlgError, lapack, matrices, narrowed, widened
from .shape import expand_dims, matrix_transpose, squeeze, tril, triu

SINGULAR = "a matrix is singular: it has no inverse; linalg.pinv and linalg.lstsq take it"
BLOCK = 16  # rows of a triangle that are solved one by one; what they leave for the others is a product


# ---------------------------------------------------------------------------------------------- inverse
@op(
    x=lambda g, out: -product_op(product_op(matrix_transpose(out), g), matrix_transpose(out)),
    name="inv",
    batch="broadcast",
)
def _inv(xp: Any, x: Any) -> Any:
    return lapack(SINGULAR, xp.linalg.inv, x)


def inv(x: Any) -> Any:
    """x⁻¹, the inverse of each matrix.

    x (..., n, n).  LinAlgError if x is not square, and on the CPU if it is singular; on a GPU that gives inf or NaN.
    """
    return narrowed(_inv(matrices("inv", x, square=True)), x)


# ---------------------------------------------------------------------------------------------- solve
def _beside(xp: Any, f: Callable[..., Any], a: Any, b: Any) -> Any:
    """f(a, b) of one matrix and many right-hand sides, laid beside each other."""
    columns = xp.moveaxis(b, -2, 0)
    x = f(xp, a, columns.reshape(len(a), math.prod(columns.shape[1:])))
    return xp.moveaxis(x.reshape(columns.shape), 0, -2)


def _solved(xp: Any, a: Any, b: Any) -> Any:
    """a⁻¹ b of arrays; one matrix for many right-hand sides is factored once."""
    if a.ndim == 2 < b.ndim:
        return _beside(xp, _solved, a, b)
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = [xp.broadcast_to(m, lead + m.shape[-2:]) for m in (a, b)]  # CuPy's does not broadcast
    return lapack(SINGULAR, xp.linalg.solve, a, b)


_solve = op(
    _solved,
    name="solve",
    batch="broadcast",
    via=lambda g, a: _solve(matrix_transpose(a), g),
    a=lambda g, out: -product_op(g, matrix_transpose(out)),
    b=lambda g: g,
)


def system(name: str, a: Any, b: Any, square: bool = True) -> tuple[Any, Any, bool]:
    """(a, b, whether b was one vector), widened, b as matrices of a's rows.  LinAlgError, ValueError."""
    a, b = fit([a, b], name)
    a, b = matrices(name, a, square, "a"), widened(b)
    rows, given = raw(a).shape[-2], raw(b).shape
    vector = len(given) == 1
    if not given or given[-1 if vector else -2] != rows:
        raise ValueError(
            f"{name}: b has the shape {given}; with a of shape {raw(a).shape} it is ({rows},) or (..., {rows}, k)"
        )
    _leads(name, raw(a).shape, given)
    return a, expand_dims(b, -1) if vector else b, vector


def _leads(name: str, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    try:
        np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        raise ValueError(f"{name}: the leading axes of a {a} and b {b} do not broadcast") from None


def like(out: Any, a: Any, b: Any) -> Any:
    """`out` in the half type of a and b, if both have it."""
    kinds = {getattr(raw(v), "dtype", None) for v in (a, b)} - {None}
    return narrowed(out, a if hasattr(raw(a), "dtype") else b) if len(kinds) == 1 else out


def solve(a: Any, b: Any, left: bool = True) -> Any:
    """a⁻¹ b: the x with a x = b; left=False: b a⁻¹, the x with x a = b.

    a (..., n, n), b (n,) or (..., n, k), with left=False (..., k, n); leading axes broadcast.  LinAlgError if a is not
    square, and on the CPU if it is singular; on a GPU that gives inf or NaN.  ValueError for shapes that do not fit.
    """
    given = (a, b)
    if not left:
        a, b = _turned("solve", a, b)
    m, columns, vector = system("solve", a, b)
    x = _solve(m, columns)
    return like(squeeze(x, axis=-1) if vector else x if left else matrix_transpose(x), *given)


def _turned(name: str, a: Any, b: Any) -> tuple[Any, Any]:
    """The system aᵀ xᵀ = bᵀ in the place of x a = b."""
    a, b = fit([a, b], name)
    a = matrices(name, a, square=True, argument="a")
    return matrix_transpose(a), matrix_transpose(b) if len(raw(b).shape) > 1 else b


# ---------------------------------------------------------------------------------------------- triangular
def _substituted(xp: Any, a: Any, b: Any, upper: bool, unit: bool) -> Any:
    """a⁻¹ b for triangles a by substitution, which keeps digits that a factorization with pivots loses."""
    n, lead = a.shape[-1], np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    x = xp.zeros(lead + b.shape[-2:], np.result_type(a.dtype, b.dtype)) + b
    for near in range(0, n, BLOCK):
        far = min(near + BLOCK, n)
        for i in range(near, far):
            row, rest = (n - 1 - i, slice(n - far, n - 1 - i)) if upper else (i, slice(i + 1, far))
            own = slice(row, row + 1)
            if not unit:
                x[..., own, :] /= a[..., own, own]
            x[..., rest, :] -= a[..., rest, own] * x[..., own, :]
        done, rest = (slice(n - far, n - near), slice(n - far)) if upper else (slice(near, far), slice(far, n))
        x[..., rest, :] -= a[..., rest, done] @ x[..., done, :]
    return x


@cache
def _lapacks() -> Callable[..., Any] | None:
    try:
        from scipy.linalg import solve_triangular  # pyright: ignore[reportMissingImports]  (optional)
    except ImportError:
        return None
    return solve_triangular


def _cublas(xp: Any, a: Any, b: Any, upper: bool, unit: bool) -> Any:
    from cupyx.scipy.linalg import solve_triangular  # pyright: ignore[reportMissingImports]  (optional)

    lead, dtype = np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), np.result_type(a.dtype, b.dtype)
    a, b = [xp.broadcast_to(m, lead + m.shape[-2:]).astype(dtype, copy=False) for m in (a, b)]
    return solve_triangular(a, b, lower=not upper, unit_diagonal=unit)


@op(
    via=lambda g, a, upper, unit: triangular(matrix_transpose(a), g, upper=not upper, unit=unit),
    a=lambda g, out, upper, unit: (
        -(triu if upper else tril)(product_op(g, matrix_transpose(out)), k=(1 if upper else -1) if unit else 0)
    ),
    b=lambda g: g,
    name="solve_triangular",
    batch="broadcast",
)
def triangular(xp: Any, a: Any, b: Any, *, upper: bool = False, unit: bool = False) -> Any:
    """a⁻¹ b, of which only one triangle of a is read."""
    if a.ndim == 2 < b.ndim:
        return _beside(xp, lambda xp, a, b: triangular(a, b, upper=upper, unit=unit), a, b)
    if xp is np and not unit and not a.diagonal(0, -2, -1).all():
        raise LinAlgError(SINGULAR)
    if xp is np and a.ndim == b.ndim == 2 and b.size and (f := _lapacks()) is not None:
        return f(a, b, lower=not upper, unit_diagonal=unit, check_finite=False)
    if b.size and a.size and library(a).name == "cupy":  # type: ignore[union-attr]
        return _cublas(xp, a, b, upper, unit)
    return _substituted(xp, a, b, upper, unit)


def solve_triangular(a: Any, b: Any, upper: bool = False, left: bool = True, unit_diagonal: bool = False) -> Any:
    """a⁻¹ b for triangular a, of which the other triangle is not read; left=False: b a⁻¹.

    a (..., n, n), b (n,) or (..., n, k), with left=False (..., k, n).  upper: which triangle; unit_diagonal: the
    diagonal counts as ones and is not read either.  LinAlgError and ValueError as `solve`.
    """
    given = (a, b)
    if not left:
        (a, b), upper = _turned("solve_triangular", a, b), not upper
    m, columns, vector = system("solve_triangular", a, b)
    x = triangular(m, columns, upper=upper, unit=unit_diagonal)
    x = squeeze(x, axis=-1) if vector else x if left else matrix_transpose(x)
    return like(x, *given)
