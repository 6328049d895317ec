"""Floor 6: `gpugrad.linalg`, the array API's functions of matrices, with gradients."""

from __future__ import annotations

from typing import Any

from . import habits as _habits
from .dtypes import DTypeLike
from .ops import diagonal as _diagonal
from .ops.decompositions import (
    EighResult as EighResult,
    QRResult as QRResult,
    SVDResult as SVDResult,
    cholesky as cholesky,
    eigh as eigh,
    eigvalsh as eigvalsh,
    qr as qr,
    svd as svd,
    svdvals as svdvals,
)
from .ops.determinant import SlogdetResult as SlogdetResult, det as det, slogdet as slogdet
from .ops.least_squares import LstsqResult as LstsqResult, lstsq as lstsq, matrix_rank as matrix_rank, pinv as pinv
from .ops.linalg import (
    matmul as matmul,
    outer as outer,
    tensordot as tensordot,
    vector_norm as vector_norm,
)
from .ops.matrices import LinAlgError as LinAlgError
from .ops.matrix_functions import matrix_exp as matrix_exp, matrix_norm as matrix_norm, matrix_power as matrix_power
from .ops.products import cross as cross, vecdot as vecdot
from .ops.shape import matrix_transpose as matrix_transpose
from .ops.solve import inv as inv, solve as solve, solve_triangular as solve_triangular


def diagonal(x: Any, offset: int = 0) -> Any:
    """The diagonal of each matrix, `offset` above the main one."""
    return _diagonal.diagonal(x, offset, -2, -1)


def trace(x: Any, offset: int = 0, dtype: DTypeLike = None) -> Any:
    """The sum of the diagonal of each matrix, `offset` above the main one, in another dtype if one is given."""
    return _diagonal.trace(x, offset, -2, -1, dtype)


def __getattr__(name: str) -> Any:
    """An AttributeError that says what to write."""
    raise AttributeError(_habits.missing(f"module {__name__!r}", name, _habits.LINALG))
