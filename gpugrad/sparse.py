"""Floor 6: sparse matrices with gradients for the values they store: products, direct and iterative solves.

A = gg.sparse.csr(scipy_matrix)                  # or csr(data, indices, indptr, shape), coo(data, rows, cols, shape)
with gg.GradientTape() as tape:
    tape.watch([A.data, b])
    loss = gg.sum(gg.sparse.solve(A, b) ** 2)
dA, db = tape.gradient(loss, [A.data, b])        # dA has one number for each that A stores
"""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import Any

import numpy as np
import optree

from .array import NUMPY, Device, asarray, device_of, library
from .core import Tensor, raw, wrap
from .dtypes import is_inexact, wide
from .forward import as_float, boxed, fit, placed
from .ops import sparse as ops
from .ops.casting import astype
from .ops.index import take
from .tensor import eye

Solver = Callable[[Any], Tensor]


class CSR:
    """A sparse matrix by rows.

    data     the values it stores: a Tensor, which tapes watch (as they do the matrix) and gradients are for
    indices  the column of each value
    indptr   the values of row i are those from indptr[i] to indptr[i + 1]
    `A @ x` multiplies; `A.T` is the transpose, of the same data.  `-A`, `c * A`, `A / c` with a number c, and the sum
    and difference with a matrix made by `with_data` from the same one keep the places.  Made by `csr` and `coo`.
    """

    __array_ufunc__ = None  # NumPy's numbers leave products to the matrix

    def __init__(self, data: Tensor, pattern: ops.Pattern, transposed: bool = False) -> None:
        self.data, self._pattern, self._transposed = data, pattern, transposed

    def __repr__(self) -> str:
        return f"CSR(shape={self.shape}, nnz={self.nnz}, dtype={self.dtype}, device={self.data.device})"

    @property
    def shape(self) -> tuple[int, int]:
        m, n = self._pattern.shape
        return (n, m) if self._transposed else (m, n)

    @property
    def nnz(self) -> int:
        return self.data.array.size

    @property
    def dtype(self) -> np.dtype:
        return self.data.array.dtype

    @property
    def T(self) -> CSR:
        return CSR(self.data, self._pattern, not self._transposed)

    def with_data(self, data: Any) -> CSR:
        """The matrix that stores these values in the same places."""
        data = _values(data, "with_data")
        if data.array.shape != self.data.array.shape:
            raise ValueError(f"with_data: data of shape {self.data.array.shape} is needed, given {data.array.shape}")
        return CSR(data, self._pattern, self._transposed)

    def __matmul__(self, x: Any) -> Tensor:
        """A @ x, of a vector or a matrix."""
        x = _right("A @ x", self, x, self.shape[1])
        return ops.product(self.data, x, pattern=self._pattern, transposed=self._transposed)

    def __neg__(self) -> CSR:
        return self.with_data(-self.data)

    def __mul__(self, c: Any) -> CSR:
        """c A, of a number c."""
        return self.with_data(self.data * _number("A * c", c))

    __rmul__ = __mul__

    def __truediv__(self, c: Any) -> CSR:
        """A / c, of a number c."""
        return self.with_data(self.data / _number("A / c", c))

    def __add__(self, other: Any) -> CSR:
        """A + B, of matrices that store the same places."""
        return self.with_data(self.data + _same("A + B", self, other))

    def __sub__(self, other: Any) -> CSR:
        """A - B, of matrices that store the same places."""
        return self.with_data(self.data - _same("A - B", self, other))

    def todense(self) -> Tensor:
        """The whole matrix."""
        return self @ eye(self.shape[1], dtype=self.dtype, device=self.data.device)

    def toscipy(self) -> Any:
        """The matrix of SciPy (on a GPU: of CuPy) with these values, a copy; no gradient reaches it.

        TypeError for half types, which they do not have.
        """
        if wide(self.dtype) != self.dtype:
            raise TypeError(
                f"toscipy: there are no matrices of {self.dtype}; write A.with_data(A.data.astype('float32'))"
            )
        return self._pattern.matrix(raw(self.data), self._transposed).copy()


def _number(name: str, c: Any) -> Any:
    if isinstance(c, (int, float, complex)) or getattr(raw(c), "shape", None) == ():
        return c
    raise TypeError(f"{name}: c is a number, not {type(c).__name__}; A @ x is the product, A.todense() is dense")


def _same(name: str, A: CSR, B: Any) -> Tensor:
    """The data of B, which stores the places that A does."""
    if isinstance(B, CSR) and B._pattern is A._pattern and B._transposed == A._transposed:
        return B.data
    raise TypeError(
        f"{name}: B is a matrix made from A by with_data, - or *, which stores the same places, not {B!r:.60}; "
        "A.todense() is dense"
    )


def _rebuilt(where: tuple[ops.Pattern, bool], data: Any) -> CSR | None:
    """The matrix of what stands in the place of the data: a gradient, or None."""
    return None if data[0] is None else CSR(data[0], *where)


# A tape takes a matrix as it takes a list of one tensor, and answers its gradient as a matrix.
_register: Any = optree.register_pytree_node  # whose types are for collections alone
_register(CSR, lambda A: ((A.data,), (A._pattern, A._transposed)), _rebuilt, namespace="gpugrad")


# ---------------------------------------------------------------------------------------------- making
def csr(data: Any, indices: Any = None, indptr: Any = None, shape: tuple[int, int] | None = None) -> CSR:
    """A sparse matrix, of SciPy's or CuPy's (whatever its format), or of what `scipy.sparse.csr_array` is made of.

    data is a Tensor, an array or a list; integers become floats.  Indices are copied, so is a matrix.  ValueError and
    IndexError for indices that do not fit the shape, if they are on the CPU: a GPU is not waited for.
    """
    if isinstance(data, CSR):
        return data
    if hasattr(data, "tocsr"):
        return _of(data.tocsr(), None)
    if indices is None or indptr is None or shape is None:
        raise TypeError("csr: takes a sparse matrix, or data, indices, indptr and shape")
    data = _values(data, "csr")
    indices, indptr = [_index("csr", i, data) for i in (indices, indptr)]
    m, n = shape
    if data.array.ndim != 1 or indices.shape != data.array.shape or indptr.shape != (m + 1,):
        raise ValueError(
            f"csr: of shape {(m, n)} needs data and indices of one length and {m + 1} of indptr; given shapes "
            f"{data.array.shape}, {indices.shape} and {indptr.shape}"
        )
    if library(indices) is NUMPY:
        if indptr[0] != 0 or indptr[-1] != len(indices) or (indptr[1:] < indptr[:-1]).any():
            raise ValueError(f"csr: indptr is to rise from 0 to {len(indices)}, the number of values; given {indptr}")
        _within("csr", "indices", indices, n)
    kind = np.int32 if max(m, n, indices.size) < 2**31 else np.int64  # once they are known to be in range
    return CSR(data, ops.Pattern(indices.astype(kind), indptr.astype(kind), (int(m), int(n))))


def _of(matrix: Any, device: Device | None) -> CSR:
    """A copy of SciPy's or CuPy's `matrix` on `device`; None: CuPy's where it is, SciPy's where new arrays land."""
    return csr(wrap(asarray(matrix.data.copy(), None, device)), matrix.indices, matrix.indptr, matrix.shape)


def coo(data: Any, rows: Any, cols: Any, shape: tuple[int, int]) -> CSR:
    """A sparse matrix with data[k] in row rows[k] and column cols[k]; what comes twice adds up.

    Its `data` are in the order of rows; gradients go back to the order given here.  Errors as those of `csr`.
    """
    data = _values(data, "coo")
    rows, cols = [_index("coo", i, data).astype(np.int64) for i in (rows, cols)]
    m, n = shape
    if data.array.ndim != 1 or not rows.shape == cols.shape == data.array.shape:
        raise ValueError(
            f"coo: data, rows and cols are vectors of one length, given shapes {data.array.shape}, {rows.shape} and "
            f"{cols.shape}"
        )
    if library(rows) is NUMPY:
        _within("coo", "rows", rows, m)
        _within("coo", "cols", cols, n)
    xp = library(rows).xp  # type: ignore[union-attr]
    order = xp.argsort(rows * n + cols)
    indptr = xp.searchsorted(rows[order], xp.arange(m + 1))
    return csr(take(data, order, 0), cols[order], indptr, (m, n))


def _values(data: Any, name: str) -> Tensor:
    data = boxed(data, name)
    data = data if isinstance(data, Tensor) else wrap(data)
    return data if is_inexact(data.array.dtype) else wrap(as_float(data.array))


def _index(name: str, index: Any, data: Tensor) -> Any:
    """Integers where the data are."""
    index = placed(index, raw(data))
    if index.size and index.dtype.kind not in "iu":
        raise TypeError(f"{name}: rows and columns are integers, given {index.dtype}")
    return index


def _within(name: str, what: str, index: np.ndarray, n: int) -> None:
    if index.size and not (index.min() >= 0 and index.max() < n):
        raise IndexError(f"{name}: {what} are in {index.min()}..{index.max()}, allowed are 0..{n - 1}")


def _right(name: str, A: CSR, x: Any, n: int) -> Any:
    """The dense operand x, a vector or a matrix of n rows."""
    x = fit([A.data, x], name)[1]
    shape = raw(x).shape
    if len(shape) not in (1, 2) or shape[0] != n:
        raise ValueError(f"{name}: a matrix of shape {A.shape} goes with shapes ({n},) and ({n}, k), given {shape}")
    return x


# ---------------------------------------------------------------------------------------------- solving
def solve(A: Any, b: Any) -> Tensor:
    """The x with A x = b, by the LU factors of A (SuperLU), which the gradients use again.

    A is a CSR or a matrix of SciPy or CuPy; b has shape (n,) or (n, k).  On a GPU the factors are made on the host, as
    CuPy does.  Gradients, by one solve with the transpose: λ = A⁻ᵀ g for b, -λᵢ xⱼ for each value that A stores.
    ValueError unless A is square and b fits, LinAlgError for a singular A.
    """
    A, b = _system("solve", A, b)
    return _direct(A, b, ops.factors_of(raw(A.data), A._pattern))


def factorized(A: Any) -> Solver:
    """`solve` with A for one b after another: a function of b, the factors made once.  Errors as those of `solve`."""
    A = _square("factorized", A, None)
    factors = ops.factors_of(raw(A.data), A._pattern)
    return lambda b: _direct(A, _right("factorized", A, b, A.shape[0]), factors)


def _direct(A: CSR, b: Any, factors: ops.Factors | None) -> Tensor:
    return ops.solve(A.data, b, pattern=A._pattern, factors=factors, transposed=A._transposed)


def cg(
    A: Any, b: Any, x0: Any = None, *, rtol: float = 1e-5, atol: float = 0.0, maxiter: int | None = None,
    preconditioner: Any = None,
) -> Tensor:  # fmt: skip
    """The x with A x = b of a Hermitian positive definite A, by conjugate gradients (Hestenes & Stiefel 1952).

    x0              where to start (None: at 0); no gradient reaches it, as x does not depend on it
    rtol, atol      until |b - A x| <= max(rtol |b|, atol), in each column of b; gradients are as exact
    maxiter         None: 10 n
    preconditioner  about A⁻¹, Hermitian positive definite: a function of an array, or what is multiplied by `@`
    Columns of b are solved side by side.  Gradients as those of `solve`, by another run.  ArithmeticError, with the
    residual, if it does not converge or is not finite; LinAlgError where it shows that A is not positive definite.
    """
    A, b = _system("cg", A, b)
    start = raw(b) * 0 if x0 is None else raw(_right("cg", A, x0, A.shape[0]))
    if start.shape != raw(b).shape:
        raise ValueError(f"cg: x0 has shape {start.shape}, b {raw(b).shape}")
    if not (rtol >= 0 and atol >= 0):
        raise ValueError(f"cg: rtol and atol must be 0 or more, given {rtol} and {atol}")
    if maxiter is not None and not (hasattr(maxiter, "__index__") and index(maxiter) >= 0):
        raise ValueError(f"cg: maxiter is an integer of 0 or more, not {maxiter!r}")
    steps = 10 * A.shape[0] if maxiter is None else index(maxiter)
    options = {"rtol": float(rtol), "atol": float(atol), "maxiter": steps}
    return ops.cg(
        A.data, b, start, pattern=A._pattern, transposed=A._transposed, preconditioner=_map(preconditioner), **options
    )


def _map(preconditioner: Any) -> Callable[[Any], Any] | None:
    """A preconditioner as a function of arrays."""
    if preconditioner is None:
        return None
    if isinstance(preconditioner, CSR):
        preconditioner = preconditioner.toscipy()
    f = preconditioner if callable(preconditioner) else lambda r: preconditioner @ r
    return lambda r: raw(f(r))


def _square(name: str, A: Any, device: Device | None) -> CSR:
    if not isinstance(A, CSR) and not hasattr(A, "tocsr"):
        raise TypeError(f"{name}: A is a gg.sparse.CSR or a sparse matrix of SciPy or CuPy, not {type(A).__name__}")
    A = A if isinstance(A, CSR) else _of(A.tocsr(), device)
    if A.shape[0] != A.shape[1]:
        raise ValueError(f"{name}: A must be square, given shape {A.shape}")
    return A


def _system(name: str, A: Any, b: Any) -> tuple[CSR, Any]:
    """(A, b) checked, in one dtype."""
    A = _square(name, A, None if library(raw(b)) is None else device_of(raw(b)))
    b = _right(name, A, b, A.shape[0])
    dtype = np.result_type(A.dtype, as_float(raw(b), raw(A.data)).dtype)
    return A.with_data(astype(A.data, dtype)), astype(b, dtype)
