"""Powers, exponential and norms of matrices."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
import operator
from typing import Any

from ..array import xp as xp_of
from ..core import raw
from ..dtypes import DTypeLike, as_dtype
from ..forward import boxed, checked_axes
from ..op import op
from .casting import astype, zeros_like
from .decompositions import svdvals
from .index import getitem
from .linalg import product_op, vector_norm
from .math import abs
from .matrices import lapack, matrices, narrowed
from .reduce import max as largest, min as smallest, sum
from .shape import concat, expand_dims, matrix_transpose, moveaxis
from .solve import inv


def matrix_power(x: Any, n: int) -> Any:
    """xⁿ, the product of n times x: the identity for n = 0, products of the inverse for n < 0.

    x (..., k, k).  LinAlgError if x is not square, and on the CPU if it is singular and n < 0.
    """
    from_x = matrices("matrix_power", x, square=True)
    n = operator.index(n)
    if n == 0:
        a = raw(from_x)
        return narrowed(zeros_like(from_x) + xp_of(a).eye(a.shape[-1], dtype=a.dtype), x)
    power, out, n = (inv(from_x) if n < 0 else from_x), None, -n if n < 0 else n
    while n:
        if n % 2:
            out = power if out is None else product_op(out, power)
        n //= 2
        power = product_op(power, power) if n else power
    return narrowed(out, x)


# ---------------------------------------------------------------------------------------------- exponential
# Higham 2005: the diagonal Padé approximant of degree 13, for matrices of 1-norm up to THETA.
PADE = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0, 129060195264000.0,
    10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0, 960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip
THETA = 5.371920351148152


def _exp_rule(g: Any, x: Any) -> Any:
    """exp of [[xᵀ, g], [0, xᵀ]] has the derivative of exp at xᵀ along g in its corner (Van Loan 1978).

    There g is as large as x: a larger one would be what the scaling is for, and cost x its digits.
    """
    n, xt = raw(x).shape[-1], matrix_transpose(x)
    scale = _alike(raw(g), raw(x))
    block = concat([concat([xt, g * scale], -1), concat([zeros_like(xt), xt], -1)], -2)
    return getitem(_matrix_exp(block), (..., slice(n), slice(n, None))) / scale


def _alike(g: Any, x: Any) -> Any:
    """For each matrix the power of two by which g becomes about as large as x, or as 1."""
    xp = xp_of(g)
    if not g.size:
        return 1.0
    gs, xs = [xp.abs(m).sum(axis=-1).max(axis=-1)[..., None, None] for m in (g, x.swapaxes(-1, -2))]
    usual = xp.isfinite(gs) & xp.isfinite(xs) & (gs > 0)
    ratio = xp.log2(xp.maximum(xp.where(usual, xs, 1), 1)) - xp.log2(xp.where(usual, gs, 1))
    return xp.exp2(xp.clip(xp.floor(ratio), -120, 120))


@op(x=_exp_rule, name="matrix_exp", batch="broadcast")
def _matrix_exp(xp: Any, x: Any) -> Any:
    if not x.size:
        return x.copy()
    norm = xp.abs(x).sum(axis=-2).max(axis=-1)
    halvings = xp.ceil(xp.log2(xp.maximum(xp.where(xp.isfinite(norm), norm, 0) / THETA, 1)))[..., None, None]
    a = x * xp.exp2(-halvings).astype(norm.dtype)
    b, eye = PADE, xp.eye(x.shape[-1], dtype=x.dtype)
    a2 = a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    odd = a @ (a6 @ (b[13] * a6 + b[11] * a4 + b[9] * a2) + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * eye)
    even = a6 @ (b[12] * a6 + b[10] * a4 + b[8] * a2) + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * eye
    out = lapack("a matrix is not finite", xp.linalg.solve, even - odd, even + odd)
    for i in range(int(halvings.max())):
        out = xp.where(halvings > i, out @ out, out)
    return out


def matrix_exp(x: Any) -> Any:
    """Σ xᵏ / k!, the exponential of each matrix, by scaling and squaring (Higham 2005).

    x (..., n, n).  The gradient is the exponential of a matrix twice as large.  How often a matrix is
    squared depends on its norm, for which a GPU is waited.  LinAlgError if x is not square.
    """
    return narrowed(_matrix_exp(matrices("matrix_exp", x, square=True)), x)


# ---------------------------------------------------------------------------------------------- norms
_SUMS = {1: (-2, largest), -1: (-2, smallest), math.inf: (-1, largest), -math.inf: (-1, smallest)}
_VALUES = {"nuc": sum, 2: largest, -2: smallest}


def matrix_norm(
    x: Any, ord: Any = "fro", keepdims: bool = False, axis: tuple[int, int] = (-2, -1), *, dtype: DTypeLike = None
) -> Any:
    """The norm of each matrix: "fro" √Σ|x|², "nuc" the sum of singular values, 2 the largest, -2 the smallest; 1 the
    largest sum of |x| down a column, -1 the smallest; inf the largest along a row, -inf the smallest.

    axis: those of rows and columns.  dtype: x is taken in this one first.  ValueError for other axes
    and for another ord.

    Kinks: "fro" of zeros has gradient 0; "nuc", 2 and -2 have at a singular value of 0, and at equal ones, the gradient
    by the vectors that the SVD chose, shared among ties; the others share among ties.
    """
    x = boxed(x, "matrix_norm")
    x = x if dtype is None else astype(x, as_dtype(dtype))
    given = matrices("matrix_norm", x)
    axes = checked_axes("matrix_norm", axis, raw(given).ndim)
    if len(axes) != 2:
        raise ValueError(f"matrix_norm: axis is two axes, those of rows and columns, not {axis}")
    if ord in ("fro", "f", None):
        return narrowed(vector_norm(given, axis=axes, keepdims=keepdims), x)
    if ord not in _SUMS and ord not in _VALUES:
        raise ValueError(f"matrix_norm: ord is 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, not {ord!r}")
    n = raw(given).ndim
    a = given if axes == (n - 2, n - 1) else moveaxis(given, axes, (-2, -1))
    if ord in _VALUES:
        out = _VALUES[ord](svdvals(a), axis=-1)
    else:
        along, choose = _SUMS[ord]
        out = choose(sum(abs(a), axis=along), axis=-1)
    if keepdims:
        out = expand_dims(out, tuple(sorted(axes)))
    return narrowed(out, x)
