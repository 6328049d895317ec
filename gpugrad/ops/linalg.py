"""Products: matmul, tensordot, einsum.  Half types accumulate in float32."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ..array import xp as xp_of
from ..core import raw
from ..dtypes import float32, is_inexact, wide
from ..forward import boxed, fit
from ..gemm.products import array_product, misfit, product, usable
from ..op import op
from .casting import astype
from .index import getitem
from .logic import equal, not_equal, where
from .math import abs, multiply, pow, sqrt, square
from .reduce import max as largest, min as smallest, sum
from .shape import broadcast_to, expand_dims, matrix_transpose, permute_dims, reshape, squeeze


def weight_grad(g: Any, x: Any, shape: tuple[int, ...]) -> Any:
    if len(shape) == 2 and len(x.shape) > 2:  # one product over all rows instead of a batch to be summed
        rows = math.prod(x.shape[:-1])
        x, g = reshape(x, (rows, x.shape[-1])), reshape(g, (rows, g.shape[-1]))
    return product_op(matrix_transpose(x), g)


def add_product(g: Any, x: Any, total: Any) -> Any:
    """total += the cotangent of y in x @ y, in the product itself; None where cuBLASLt does not do that."""
    if type(total) is np.ndarray or len(total.shape) != 2 or not usable(total, x, g):
        return None
    rows = math.prod(x.shape[:-1])
    return product(x.reshape(rows, x.shape[-1]).T, g.reshape(rows, g.shape[-1]), out=total)


def array_matmul(xp: Any, x: Any, y: Any) -> Any:
    if x.shape[-1] != y.shape[-2]:
        raise ValueError(misfit(x.shape, y.shape))
    dtype = x.dtype if x.dtype == y.dtype else np.result_type(x.dtype, y.dtype)
    full = wide(dtype)
    if full is not dtype:  # NumPy's half products are slow and bfloat16's come out in float32
        return array_product(x.astype(full), y.astype(full)).astype(dtype)
    return array_product(x, y)


def _gpu(xp: Any, x: Any, y: Any) -> Any:
    if x.dtype is not y.dtype and x.dtype != y.dtype:
        dtype = np.result_type(x.dtype, y.dtype)
        x, y = x.astype(dtype, copy=False), y.astype(dtype, copy=False)
    return product(x, y)


def host_matmul(x: Any, y: Any) -> Any:
    if x.ndim == y.ndim == 2 and x.dtype is y.dtype is float32 and x.shape[1] == y.shape[0]:
        return np.matmul(x, y)
    return array_matmul(np, x, y)


array_matmul.host = host_matmul
product_op = op(
    array_matmul,
    gpu=_gpu,
    name="matmul",
    adds={"y": add_product},
    x=lambda g, y: product_op(g, matrix_transpose(y)),
    y=weight_grad,
)


def matmul(x: Any, y: Any) -> Any:
    """The matrix product x @ y; of more than two axes, a batch of them; a 1-D operand is a row or a column.

    Shapes (..., n, k) @ (..., k, m) -> (..., n, m), leading axes broadcast.  ValueError if they do not fit.
    """
    a, b = raw(x), raw(y)
    if not (hasattr(a, "ndim") and hasattr(b, "ndim")):
        x, y = fit([x, y], "matmul")
        a, b = raw(x), raw(y)
    nx, ny = a.ndim, b.ndim
    if nx > 1 and ny > 1:
        return product_op(x, y)
    if nx == 0 or ny == 0:
        raise ValueError(f"matmul: both operands need at least one axis, given {a.shape} and {b.shape}; use x * y")
    if nx == 1:
        out = product_op(expand_dims(x, 0), y if ny > 1 else expand_dims(y, 1))
        return squeeze(out, axis=(-2, -1) if ny == 1 else -2)
    return squeeze(product_op(x, expand_dims(y, 1)), axis=-1)


def vecdot(x: Any, y: Any, axis: int = -1) -> Any:
    """The dot product along one axis; of complex arrays without conjugation of either."""
    return sum(multiply(x, y), axis=axis)


def matvec(x: Any, y: Any) -> Any:
    """The products of matrices x (..., n, m) and vectors y (..., m)."""
    return squeeze(matmul(x, expand_dims(y, -1)), axis=-1)


def outer(x: Any, y: Any) -> Any:
    """All products of an element of vector x with one of vector y."""
    x, y = fit([x, y], "outer")
    return multiply(expand_dims(x, 1), expand_dims(y, 0))


def tensordot(x: Any, y: Any, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Any:
    """The product summed over pairs of axes: the last `axes` of x with the first of y, or two lists of them."""
    x, y = fit([x, y], "tensordot")
    nx, ny = len(raw(x).shape), len(raw(y).shape)
    if isinstance(axes, int):
        ax, ay = list(range(nx - axes, nx)), list(range(axes))
    else:
        ax, ay = [[a] if isinstance(a, int) else list(a) for a in axes]
        ax, ay = [a % nx for a in ax], [a % ny for a in ay]
    sx, sy = raw(x).shape, raw(y).shape
    if len(ax) != len(ay) or [sx[a] for a in ax] != [sy[a] for a in ay]:
        raise ValueError(f"tensordot: axes {ax} of {sx} and {ay} of {sy} differ in length")
    fx, fy = [i for i in range(nx) if i not in ax], [i for i in range(ny) if i not in ay]
    k = math.prod([sx[a] for a in ax])
    left = reshape(permute_dims(x, fx + ax), (math.prod([sx[i] for i in fx]), k))
    right = reshape(permute_dims(y, ay + fy), (k, math.prod([sy[i] for i in fy])))
    return reshape(product_op(left, right), [sx[i] for i in fx] + [sy[i] for i in fy])


# ---------------------------------------------------------------------------------------------- einsum
def _letters(subscripts: str, ranks: list[int]) -> tuple[list[str], str]:
    """(a term an operand, the output's) with `...` spelled out and the output made explicit."""
    text = subscripts.replace(" ", "")
    left, arrow, out = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"einsum: {subscripts!r} names {len(terms)} operands, given {len(ranks)}")
    spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" if c not in text]
    full = []
    longest = ""
    for term, rank in zip(terms, ranks, strict=True):
        if "..." in term:
            extra = rank - len(term.replace("...", ""))
            if extra < 0:
                raise ValueError(f"einsum: {term!r} does not fit an operand of {rank} axes")
            dots = "".join(spare[12 - extra : 12])
            longest = max(longest, dots, key=len)
            term = term.replace("...", dots)
        if len(term) != rank or (not term.isalpha() and term):
            raise ValueError(f"einsum: {term!r} does not fit an operand of {rank} axes")
        full.append(term)
    if arrow:
        out = out.replace("...", longest)
    else:
        joined = "".join(full)
        out = longest + "".join(sorted(c for c in set(joined) if joined.count(c) == 1 and c not in longest))
    if not set(out) <= set("".join(full)) or len(set(out)) != len(out):
        raise ValueError(f"einsum: the output of {subscripts!r} must name indices of the operands, each once")
    return full, out


@cache
def _einsum(terms: tuple[str, ...], out: str) -> Any:
    names = [f"x{i}" for i in range(len(terms))]

    def forward(xp: Any, *xs: Any) -> Any:
        dtype = xs[0].dtype if len({x.dtype for x in xs}) == 1 else np.result_type(*[x.dtype for x in xs])
        full = wide(dtype)
        ys = [x if x.dtype == full else x.astype(full) for x in xs] if full is not dtype else xs
        y = xp.einsum(",".join(terms) + "->" + out, *ys, optimize=len(xs) > 2)
        return y.astype(dtype, copy=False)

    def rule(i: int) -> Any:
        others = [n for n in names if n != names[i]]

        def pull(g: Any, *rest: Any) -> Any:
            *xs, shape = rest
            return _einsum_pull(g, xs, shape, [t for j, t in enumerate(terms) if j != i], out, terms[i])

        pull.asks = [*others, "shape"]  # pyright: ignore[reportFunctionMemberAccess]
        return pull

    return op(forward, name="einsum", args=names, **{n: rule(i) for i, n in enumerate(names)})


def _einsum_pull(g: Any, xs: list[Any], shape: tuple[int, ...], others: list[str], out: str, term: str) -> Any:
    """The product of g and the other operands; an index that only this operand has was summed: spread over it."""
    have = set("".join(others)) | set(out)
    kept = "".join([c for c in term if c in have])
    d = _einsum((out, *others), kept)(g, *xs)
    if kept != term:
        d = reshape(d, [n if c in have else 1 for c, n in zip(term, shape, strict=True)])
        d = broadcast_to(d, shape)
    return d


def einsum(subscripts: str, *operands: Any) -> Any:
    """Einstein summation, as `numpy.einsum`: 'ij,jk->ik'; with `...`, and with an index repeated in one operand.

    ValueError if the subscripts do not fit the operands.
    """
    if not isinstance(subscripts, str):
        raise TypeError(
            f"einsum: subscripts come first, as a string such as 'ij,jk->ik'; given {type(subscripts).__name__}"
        )
    xs = fit(operands, "einsum")
    terms, out = _letters(subscripts, [len(x.shape) for x in xs])
    for i in range(len(terms)):
        while len(set(terms[i])) < len(terms[i]):
            c = next(c for c in terms[i] if terms[i].count(c) > 1)
            xs[i], terms[i] = _diagonal(xs[i], terms[i], c)
    return _einsum(tuple(terms), out)(*xs)


def _diagonal(x: Any, term: str, c: str) -> tuple[Any, str]:
    """x restricted to equal values of the repeated index c, which becomes its first axis."""
    places = [i for i, t in enumerate(term) if t == c]
    rest = [i for i, t in enumerate(term) if t != c]
    n = x.shape[places[0]]
    if any(x.shape[p] != n for p in places):
        raise ValueError(f"einsum: index {c!r} of {term!r} has lengths {[x.shape[p] for p in places]}")
    steps = xp_of(raw(x)).arange(n)
    return getitem(permute_dims(x, places + rest), (steps,) * len(places)), c + "".join([term[i] for i in rest])


def vector_norm(x: Any, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Any:
    """The `ord`-norm over `axis` (None: of all elements): (Σ |x|^ord)^(1/ord), the largest |x| for inf, the smallest
    for -inf, how many are not 0 for 0.

    The gradient of the 2-norm of zeros is zero.  Half types are computed in float32.
    """
    x = boxed(x, "vector_norm")
    size, over = abs(astype(x, wide(x.dtype)) if is_inexact(x.dtype) else x), {"axis": axis, "keepdims": keepdims}
    if ord in (1, math.inf, -math.inf):
        out = {1: sum, math.inf: largest, -math.inf: smallest}[ord](size, **over)
    elif ord == 0:
        out = sum(astype(not_equal(size, 0), size.dtype), **over)
    elif ord == 2:
        total = sum(square(size), **over)
        zero = equal(total, 0)
        out = where(zero, 0.0, sqrt(where(zero, 1.0, total)))
    else:
        out = pow(sum(pow(size, ord), **over), 1 / ord)
    return astype(out, abs(raw(x)).dtype) if is_inexact(x.dtype) else out
