"""Linear systems: inv, solve, triangular systems.

On the CPU a singular matrix is a LinAlgError; a GPU does not wait for its values to be checked, and answers inf or NaN.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core import raw
from ..forward import fit
from ..op import op
from .linalg import product_op
from .matrices import lapack, matrices, narrowed, widened
from .shape import expand_dims, matrix_transpose, squeeze, tril, triu

SINGULAR = "a matrix is singular: it has no inverse; linalg.pinv and linalg.lstsq take it"
BLOCK = 64  # triangles up to this size are solved as any matrix


# ---------------------------------------------------------------------------------------------- inverse
@op(x=lambda g, out: -product_op(product_op(matrix_transpose(out), g), matrix_transpose(out)), name="inv")
def _inv(xp: Any, x: Any) -> Any:
    return lapack(SINGULAR, xp.linalg.inv, x)


def inv(x: Any) -> Any:
    """x⁻¹, the inverse of each matrix.

    x (..., n, n).  LinAlgError if x is not square, and on the CPU if it is singular; on a GPU that gives inf or NaN.
    """
    return narrowed(_inv(matrices("inv", x, square=True)), x)


# ---------------------------------------------------------------------------------------------- solve
def _solved(xp: Any, a: Any, b: Any) -> Any:
    """a⁻¹ b of arrays; one matrix for many right-hand sides is factored once."""
    if a.ndim == 2 < b.ndim:
        columns = xp.moveaxis(b, -2, 0)
        x = _solved(xp, a, columns.reshape(len(a), math.prod(columns.shape[1:])))
        return xp.moveaxis(x.reshape(columns.shape), 0, -2)
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = [xp.broadcast_to(m, lead + m.shape[-2:]) for m in (a, b)]  # CuPy's does not broadcast
    return lapack(SINGULAR, xp.linalg.solve, a, b)


@op(
    via=lambda g, a: _solve(matrix_transpose(a), g),
    a=lambda g, out: -product_op(g, matrix_transpose(out)),
    b=lambda g: g,
    name="solve",
)
def _solve(xp: Any, a: Any, b: Any) -> Any:
    return _solved(xp, a, b)


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


def solve(a: Any, b: Any) -> Any:
    """a⁻¹ b: the x with a x = b.

    a (..., n, n), b (n,) or (..., n, k); leading axes broadcast.  LinAlgError if a is not square, and on the CPU if it
    is singular; on a GPU that gives inf or NaN.  ValueError for shapes that do not fit.
    """
    m, columns, vector = system("solve", a, b)
    x = _solve(m, columns)
    return like(squeeze(x, axis=-1) if vector else x, a, b)


# ---------------------------------------------------------------------------------------------- triangular
def _by_blocks(xp: Any, a: Any, b: Any, upper: bool) -> Any:
    """a⁻¹ b for triangles a: those of halves, and products."""
    n = a.shape[-1]
    if n <= BLOCK:
        return _solved(xp, a, b)
    h = n // 2
    first, second = (slice(h, n), slice(h)) if upper else (slice(h), slice(h, n))
    x = _by_blocks(xp, a[..., first, first], b[..., first, :], upper)
    y = _by_blocks(xp, a[..., second, second], b[..., second, :] - a[..., second, first] @ x, upper)
    lead = y.shape[:-2]
    return xp.concatenate([y, xp.broadcast_to(x, lead + x.shape[-2:])] if upper else [x, y], -2)


@op(
    via=lambda g, a, upper, unit: triangular(matrix_transpose(a), g, upper=not upper, unit=unit),
    a=lambda g, out, upper, unit: (
        -(triu if upper else tril)(product_op(g, matrix_transpose(out)), k=(1 if upper else -1) if unit else 0)
    ),
    b=lambda g: g,
    name="solve_triangular",
)
def triangular(xp: Any, a: Any, b: Any, *, upper: bool = False, unit: bool = False) -> Any:
    """a⁻¹ b, of which only one triangle of a is read."""
    a = (xp.triu if upper else xp.tril)(a, (1 if upper else -1) if unit else 0)
    if unit:
        a = a + xp.eye(a.shape[-1], dtype=a.dtype)
    return _by_blocks(xp, a, b, upper)


def solve_triangular(a: Any, b: Any, upper: bool = False, left: bool = True, unit_diagonal: bool = False) -> Any:
    """a⁻¹ b for triangular a, of which the other triangle is not read; left=False: b a⁻¹.

    a (..., n, n), b (n,) or (..., n, k), with left=False (..., k, n).  upper: which triangle; unit_diagonal: the
    diagonal counts as ones and is not read either.  LinAlgError and ValueError as `solve`.
    """
    given = (a, b)
    if not left:
        a, b = fit([a, b], "solve_triangular")
        a, b, upper = matrix_transpose(a), matrix_transpose(b) if len(raw(b).shape) > 1 else b, not upper
    m, columns, vector = system("solve_triangular", a, b)
    x = triangular(m, columns, upper=upper, unit=unit_diagonal)
    x = squeeze(x, axis=-1) if vector else x if left else matrix_transpose(x)
    return like(x, *given)
