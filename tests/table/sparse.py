"""Sparse matrices: rows of the values that they store, and of what they are multiplied with and solved for."""

import numpy as np

import gpugrad as gg

from .row import row

s = gg.sparse
# Of a 4 x 4 matrix; its diagonal is made large, so that it is far from singular.  One place comes twice.
ROWS_OF, COLS_OF = np.array([0, 0, 1, 1, 2, 2, 3, 3, 3]), np.array([0, 2, 1, 3, 0, 2, 3, 1, 1])
EXTRA = np.where(ROWS_OF == COLS_OF, 6.0, 0.0)
LOWER = np.array([0, 1, 2, 3, 1, 3]), np.array([0, 1, 2, 3, 0, 2])  # half of a Hermitian matrix, its diagonal first


def made(data):
    return s.coo(data + gg.tensor(EXTRA, dtype=data.dtype), ROWS_OF, COLS_OF, (4, 4))


def dense(data):
    out = np.zeros((4, 4), data.dtype)
    np.add.at(out, (ROWS_OF, COLS_OF), data + EXTRA)
    return out


def hermitian(data):
    """Of real numbers for the diagonal and any others."""
    i, j = LOWER
    upper = gg.conj(data[4:])
    values = gg.concat([gg.real(data[:4]).astype(data.dtype) + 6, data[4:], upper])
    return s.coo(values, np.concatenate([i, j[4:]]), np.concatenate([j, i[4:]]), (4, 4))


def dense_hermitian(data):
    i, j = LOWER
    out = np.zeros((4, 4), data.dtype)
    out[i[:4], j[:4]] = data[:4].real + 6
    out[i[4:], j[4:]], out[j[4:], i[4:]] = data[4:], data[4:].conj()
    return out


def cg(data, b, **options):
    tight = 1e-14 if np.dtype(data.dtype).itemsize // (1 + (data.dtype.kind == "c")) == 8 else 1e-6
    return s.cg(hermitian(data), b, rtol=tight, **options)


solve = np.linalg.solve
COLUMNS, VECTOR = ((9,), (4, 3)), ((9,), (4,))
ROWS = [
    row("sparse.CSR.__matmul__", lambda d, x: made(d) @ x, lambda d, x: dense(d) @ x, *COLUMNS, complex=True),
    row("sparse.CSR.__matmul__ vector", lambda d, x: made(d) @ x, lambda d, x: dense(d) @ x, *VECTOR, complex=True),
    row("sparse.CSR.__matmul__ transposed", lambda d, x: made(d).T @ x, lambda d, x: dense(d).T @ x, *COLUMNS, complex=True),
    row("sparse.CSR.todense", lambda d: made(d).todense(), dense, (9,), complex=True),
    row("sparse.solve", lambda d, b: s.solve(made(d), b), lambda d, b: solve(dense(d), b), *COLUMNS, complex=True),
    row("sparse.solve vector", lambda d, b: s.solve(made(d), b), lambda d, b: solve(dense(d), b), *VECTOR, complex=True),
    row("sparse.solve transposed", lambda d, b: s.solve(made(d).T, b), lambda d, b: solve(dense(d).T, b), *COLUMNS, complex=True),
    row("sparse.factorized", lambda d, b: s.factorized(made(d))(b), lambda d, b: solve(dense(d), b), *VECTOR),
    row("sparse.cg", cg, lambda d, b: solve(dense_hermitian(d), b), (6,), (4, 3), complex=True, tolerance=1e-11),
    row("sparse.cg vector", cg, lambda d, b: solve(dense_hermitian(d), b), (6,), (4,), complex=True, tolerance=1e-11),
    row("sparse.cg preconditioned", lambda d, b: cg(d, b, x0=b * 0 + 1, preconditioner=lambda r: r * 0.2),
        lambda d, b: solve(dense_hermitian(d), b), (6,), (4,), tolerance=1e-11),
]  # fmt: skip
