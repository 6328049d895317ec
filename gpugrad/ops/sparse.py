"""Products and solves with sparse matrices: ops of the values that are stored and of dense arrays.

SciPy's on the CPU, CuPy's on a GPU.  The gradient by a matrix is that by its stored values, never a dense one.  Half
types are computed in float32.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..array import Array, library
from ..dtypes import wide
from ..op import op

CACHE, MEMORY = 2**18, 2**26  # bytes of the products that are summed at one time, on the CPU and on a GPU


class Pattern:
    """Where the stored values of a sparse matrix are, row by row: value k is in column indices[k]; those of row i go
    from indptr[i] to indptr[i + 1].  Places may come twice; their values add up.
    """

    __slots__ = ("_rows", "indices", "indptr", "shape")

    def __init__(self, indices: Array, indptr: Array, shape: tuple[int, int]) -> None:
        self.indices, self.indptr, self.shape, self._rows = indices, indptr, shape, None

    def rows(self, xp: Any) -> Array:
        """The row of each value."""
        if self._rows is None:
            values = xp.arange(self.indices.size)
            self._rows = xp.searchsorted(self.indptr, values, side="right") - 1
        return self._rows

    def matrix(self, data: Array, transposed: bool = False) -> Any:
        """SciPy's or CuPy's matrix of these values, or its transpose.  No copies."""
        sparse = library(data).sparse()  # type: ignore[union-attr]
        if transposed:
            return sparse.csc_matrix((data, self.indices, self.indptr), shape=self.shape[::-1])
        return sparse.csr_matrix((data, self.indices, self.indptr), shape=self.shape)


def _fit(*arrays: Array) -> tuple[list[Array], np.dtype]:
    """(arrays in the dtype to compute in, the dtype of the result)."""
    dtype = np.result_type(*[a.dtype for a in arrays])
    return [a.astype(wide(dtype), copy=False) for a in arrays], dtype


# ---------------------------------------------------------------------------------------------- products
def _product(xp: Any, data: Any, x: Any, *, pattern: Pattern, transposed: bool = False) -> Any:
    """A @ x, or Aᵀ @ x."""
    (data, x), dtype = _fit(data, x)
    return (pattern.matrix(data, transposed) @ x).astype(dtype, copy=False)


def _at(xp: Any, g: Any, x: Any, *, pattern: Pattern, transposed: bool = False) -> Any:
    """(g xᵀ) where A has values: for each of them a dot product, in all the cost of A @ x; in blocks."""
    (g, x), dtype = _fit(g, x)
    rows, cols = pattern.rows(xp), pattern.indices
    if transposed:
        rows, cols = cols, rows
    if g.ndim == 1:
        return (g[rows] * x[cols]).astype(dtype, copy=False)
    out = xp.empty(rows.shape, dtype)
    many = max(1, (CACHE if xp is np else MEMORY) // max(1, g.shape[1] * g.dtype.itemsize))
    for i in range(0, rows.size, many):
        some = slice(i, i + many)
        out[some] = (g[rows[some]] * x[cols[some]]).sum(axis=1)
    return out


product = op(
    _product,
    name="sparse_product",
    data=lambda g, x, pattern, transposed: at_pattern(g, x, pattern=pattern, transposed=transposed),
    x=lambda g, data, pattern, transposed: product(data, g, pattern=pattern, transposed=not transposed),
)
at_pattern = op(
    _at,
    name="sparse_at_pattern",
    g=lambda h, x, pattern, transposed: product(h, x, pattern=pattern, transposed=transposed),
    x=lambda h, g, pattern, transposed: product(h, g, pattern=pattern, transposed=not transposed),
)


# ---------------------------------------------------------------------------------------------- direct solves
class Factors:
    """The LU factors of a sparse matrix, for solves with it and with its transpose."""

    __slots__ = ("_lu", "dtype")

    def __init__(self, data: Array, pattern: Pattern) -> None:
        """LinAlgError for a singular matrix."""
        self.dtype = wide(data.dtype)
        # What is stored by rows is the transpose stored by columns, as SuperLU wants it.
        transpose = pattern.matrix(data.astype(self.dtype, copy=False), transposed=True).copy()  # SciPy sorts in place
        try:
            self._lu = library(data).sparse().linalg.splu(transpose)  # type: ignore[union-attr]
        except RuntimeError as e:
            raise np.linalg.LinAlgError(f"solve: the matrix of shape {pattern.shape} is singular ({e})") from None

    def solve(self, b: Array, transposed: bool) -> Array:
        if b.dtype.kind == "c" and self.dtype.kind != "c":
            return self.solve(b.real, transposed) + self.solve(b.imag, transposed) * 1j
        return self._lu.solve(b.astype(self.dtype, copy=False), "N" if transposed else "T")


def factors_of(data: Any, pattern: Pattern) -> Factors | None:
    """The factors; None inside a vmap, where each example may have its own."""
    return None if library(data).traced else Factors(data, pattern)  # type: ignore[union-attr]


def _solve(xp: Any, data: Any, b: Any, *, pattern: Pattern, factors: Factors | None, transposed: bool = False) -> Any:
    """The x with A x = b, or Aᵀ x = b, by the factors of A; None: they are made for this once."""
    factors = factors or Factors(data, pattern)
    return factors.solve(b, transposed).astype(np.result_type(data.dtype, b.dtype), copy=False)


solve = op(
    _solve,
    name="sparse_solve",
    via=lambda g, data, pattern, factors, transposed: solve(
        data, g, pattern=pattern, factors=factors, transposed=not transposed
    ),
    data=lambda g, out, pattern, transposed: -at_pattern(g, out, pattern=pattern, transposed=transposed),
    b=lambda g: g,
)


# ---------------------------------------------------------------------------------------------- conjugate gradients
WILD = "the matrix, b, x0 or the preconditioner holds inf or NaN, or products of theirs overflow"


def _dot(xp: Any, x: Any, y: Any) -> Any:
    """The real part of the inner product of each column."""
    return (xp.conj(x) * y).real.sum(axis=0)


def _cg(
    xp: Any, data: Any, b: Any, x0: Any, *, pattern: Pattern, rtol: float, atol: float, maxiter: int,
    preconditioner: Callable[[Any], Any] | None = None, transposed: bool = False,
) -> Any:  # fmt: skip
    """The x with A x = b, or Aᵀ x = b, of a Hermitian A, by conjugate gradients (Hestenes & Stiefel 1952)."""
    (data, b, x), dtype = _fit(data, b, x0)
    matrix = pattern.matrix(data, transposed)
    precondition = _transpose(xp, preconditioner) if transposed and preconditioner else preconditioner or (lambda r: r)
    norm = xp.sqrt(_dot(xp, b, b))
    bound, zero, one = xp.maximum(norm * rtol, atol), norm.dtype.type(0), norm.dtype.type(1)
    x = x * (norm > 0)  # where b is 0, so is the solution

    def start() -> tuple[Any, Any, Any]:
        r = b - matrix @ x
        z = precondition(r)
        return r, z, _dot(xp, r, z)

    (r, p, rho), steps, drifted = start(), 0, False
    while True:
        size = xp.sqrt(_dot(xp, r, r))
        busy = ~((size <= bound) & (size < np.inf))  # the columns that are not there yet
        if not bool(busy.any()):
            if not drifted:
                return x.astype(dtype, copy=False)
            (r, p, rho), drifted = start(), False  # r, which is updated, drifts from b - A x
            continue
        if steps >= maxiter:
            raise ArithmeticError(
                f"cg: not converged after {steps} iterations: the residual is {float(size.max()):.3g}, rtol={rtol} and "
                f"atol={atol} allow {float(bound.min()):.3g}; more iterations, a preconditioner or solve() may help"
            )
        q = matrix @ p
        curve = _dot(xp, p, q)
        if bool((busy & ~(curve > 0)).any()):
            if not bool(xp.isfinite(size + curve).all()):
                raise ArithmeticError(f"cg: the residual is not finite after {steps} iterations: {WILD}")
            raise np.linalg.LinAlgError("the matrix or the preconditioner is not positive definite")
        step = xp.where(busy, rho, zero) / xp.where(busy, curve, one)
        x, r = x + p * step, r - q * step
        z = precondition(r)
        before, rho = rho, _dot(xp, r, z)
        p = z + p * (xp.where(busy, rho, zero) / xp.where(busy, before, one))
        steps, drifted = steps + 1, True


def _transpose(xp: Any, f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The transpose of a Hermitian map: its conjugate."""
    return lambda r: xp.conj(f(xp.conj(r)))


def _adjoint(g: Any, data: Any, transposed: bool, **options: Any) -> Any:
    return cg(data, g, g * 0, transposed=not transposed, **options)


cg = op(
    _cg,
    name="sparse_cg",
    via=lambda g, data, pattern, rtol, atol, maxiter, preconditioner, transposed: _adjoint(
        g, data, transposed, pattern=pattern, rtol=rtol, atol=atol, maxiter=maxiter, preconditioner=preconditioner
    ),
    data=lambda g, out, pattern, transposed: -at_pattern(g, out, pattern=pattern, transposed=transposed),
    b=lambda g: g,
    x0=None,
)
