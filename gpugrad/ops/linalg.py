"""Products: matmul, tensordot, einsum.  Half types accumulate in float32."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ..array import xp as xp_of
from ..core import raw
from ..dtypes import float16, float32, is_inexact, wide
from ..forward import boxed, fit
from ..gemm import halves
from ..gemm.products import array_product, misfit, product, usable
from ..op import op
from .casting import astype
from .index import getitem
from .logic import equal, not_equal, where
from .math import abs, multiply, pow, sqrt, square
from .matrices import bar
from .reduce import max as largest, min as smallest, sum
from .shape import expand_dims, matrix_transpose, permute_dims, reshape, roll, squeeze


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
        if xp is np and x.dtype == y.dtype == float16:
            return halves.narrowed(array_product(halves.widened(x), halves.widened(y)))
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


def _pair(name: str, x: Any, y: Any) -> tuple[Any, Any, Any]:
    """x and y, half types in float32, and the dtype of what becomes of them."""
    x, y = fit([x, y], name)
    a, b = raw(x).dtype, raw(y).dtype
    dtype = a if a == b else np.result_type(a, b)
    return astype(x, wide(a)), astype(y, wide(b)), dtype


def vecdot(x: Any, y: Any, axis: int = -1) -> Any:
    """Σ x̄ y along one axis, x̄ the complex conjugate of x.

    The other axes broadcast.  ValueError if the two differ in length along `axis`.
    """
    x, y, dtype = _pair("vecdot", x, y)
    if raw(x).shape[axis : axis + 1 or None] != raw(y).shape[axis : axis + 1 or None]:
        raise ValueError(f"vecdot: x {raw(x).shape} and y {raw(y).shape} differ in length along axis {axis}")
    return astype(sum(multiply(bar(x), y), axis=axis), dtype)


def dot(x: Any, y: Any) -> Any:
    """The product summed over the last axis of x and the second last of y (the only one of a vector); without axes x y.

    As `numpy.dot`: (..., k) and (..., k, m), whose leading axes are all there in the result.  `matmul` has batches.
    ValueError if the lengths differ.
    """
    x, y = fit([x, y], "dot")
    nx, ny = len(raw(x).shape), len(raw(y).shape)
    if nx == 0 or ny == 0:
        return multiply(x, y)
    return matmul(x, y) if ny <= 2 and nx <= 2 else tensordot(x, y, ([-1], [-2 if ny > 1 else -1]))


def inner(x: Any, y: Any) -> Any:
    """The product summed over the last axes of both; without axes x y.  ValueError if the lengths differ."""
    x, y = fit([x, y], "inner")
    if not raw(x).shape or not raw(y).shape:
        return multiply(x, y)
    return tensordot(x, y, ([-1], [-1]))


def matvec(x: Any, y: Any) -> Any:
    """The products of matrices x (..., n, m) and vectors y (..., m)."""
    return squeeze(matmul(x, expand_dims(y, -1)), axis=-1)


def outer(x: Any, y: Any) -> Any:
    """All products of an element of x with one of y, both flattened: (n,) and (m,) -> (n, m)."""
    x, y = fit([x, y], "outer")
    return multiply(reshape(x, (-1, 1)), reshape(y, (1, -1)))


def kron(x: Any, y: Any) -> Any:
    """Kronecker's product: blocks of y, each times an element of x.

    (a, b, ...) and (c, d, ...) -> (a c, b d, ...); the one with fewer axes gets ones in front.
    """
    x, y = fit([x, y], "kron")
    n = max(len(raw(x).shape), len(raw(y).shape))
    sx, sy = [(1,) * (n - len(raw(v).shape)) + raw(v).shape for v in (x, y)]
    rows, columns = [m for k in sx for m in (k, 1)], [m for k in sy for m in (1, k)]
    return reshape(multiply(reshape(x, rows), reshape(y, columns)), [i * k for i, k in zip(sx, sy)])


def cross(x: Any, y: Any, axis: int = -1) -> Any:
    """The cross product of vectors of three along `axis`; the other axes broadcast.  ValueError for another length."""
    x, y, dtype = _pair("cross", x, y)
    for v in (x, y):
        if raw(v).shape[axis : axis + 1 or None] != (3,):
            raise ValueError(
                f"cross: x and y have 3 elements along axis {axis}, given {raw(x).shape} and {raw(y).shape}"
            )
    next_, last = [lambda v, s=s: roll(v, s, axis) for s in (-1, -2)]
    return astype(next_(x) * last(y) - last(x) * next_(y), dtype)


def tensordot(x: Any, y: Any, axes: int | tuple[Any, Any] = 2) -> Any:
    """The product summed over pairs of axes: the last `axes` of x with the first of y, or two lists of them.

    ValueError if an axis is not there, or a pair differs in length.
    """
    x, y = fit([x, y], "tensordot")
    sx, sy = raw(x).shape, raw(y).shape
    nx, ny = len(sx), len(sy)
    if isinstance(axes, int):
        if not 0 <= axes <= min(nx, ny):
            raise ValueError(f"tensordot: {axes} axes of x {sx} and y {sy}; both have {min(nx, ny)}")
        axes = (range(nx - axes, nx), range(axes))
    ax, ay = [
        list(normalize_axis_tuple(tuple(a) if isinstance(a, Sequence) else a, n, f"tensordot: axes of {v}"))
        for a, n, v in zip(axes, (nx, ny), "xy")
    ]
    if [sx[a] for a in ax] != [sy[a] for a in ay]:
        raise ValueError(f"tensordot: axes {ax} of {sx} and {ay} of {sy} differ in length")
    fx, fy = [i for i in range(nx) if i not in ax], [i for i in range(ny) if i not in ay]
    k = math.prod([sx[a] for a in ax])
    left = reshape(permute_dims(x, fx + ax), (math.prod([sx[i] for i in fx]), k))
    right = reshape(permute_dims(y, ay + fy), (k, math.prod([sy[i] for i in fy])))
    return reshape(product_op(left, right), [sx[i] for i in fx] + [sy[i] for i in fy])


# ---------------------------------------------------------------------------------------------- einsum
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _letters(subscripts: str, ranks: list[int]) -> tuple[list[str], str]:
    """(a term an operand, the output's) with `...` spelled out and the output made explicit."""
    text = subscripts.replace(" ", "")
    left, arrow, out = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"einsum: {subscripts!r} names {len(terms)} operands, given {len(ranks)}")
    spare = [c for c in LETTERS if c not in text]
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


def _placed(x: Any, term: str, groups: Sequence[str]) -> Any:
    """x, whose axes are `term`, with an axis for each of the groups, which hold the same letters."""
    shape, order = raw(x).shape, [term.index(c) for group in groups for c in group]
    if order != sorted(order):
        x = permute_dims(x, order)
    return reshape(x, [math.prod([shape[term.index(c)] for c in group]) for group in groups])


def _factor(x: Any, term: str, both: str, summed: str, own: str) -> Any:
    """x as matrices (..., own, summed), a view of x where that is possible."""
    if summed and own and term[-1] not in summed:
        return matrix_transpose(_placed(x, term, [*both, summed, own]))
    return _placed(x, term, [*both, own, summed])


def _reduced(x: Any, term: str, keep: Any) -> tuple[Any, str]:
    """x summed over the axes that nobody else has."""
    gone = [i for i, c in enumerate(term) if c not in keep]
    return (sum(x, axis=tuple(gone)), "".join([c for c in term if c in keep])) if gone else (x, term)


def _contracted(x: Any, tx: str, y: Any, ty: str, keep: set[str]) -> tuple[Any, str]:
    """The product of x and y, summed over what is not kept: matrices, or element by element where nothing is summed."""
    x, tx = _reduced(x, tx, keep | set(ty))
    y, ty = _reduced(y, ty, keep | set(tx))
    both = "".join([c for c in tx if c in ty and c in keep])
    summed = "".join([c for c in tx if c in ty and c not in keep])
    fx, fy = "".join([c for c in tx if c not in ty]), "".join([c for c in ty if c not in tx])
    sizes = dict(zip(tx + ty, raw(x).shape + raw(y).shape))
    term = both + fx + fy
    if summed:
        out = product_op(_factor(x, tx, both, summed, fx), matrix_transpose(_factor(y, ty, both, summed, fy)))
        return reshape(out, [sizes[c] for c in term]), term
    ones = [""] * len(fy)
    return multiply(_placed(x, tx, [*both, *fx, *ones]), _placed(y, ty, [*both, *[""] * len(fx), *fy])), term


def _path(terms: list[str], out: str, shapes: list[tuple[int, ...]], optimize: Any) -> list[tuple[int, ...]]:
    """Which operands are multiplied next; what becomes of them goes to the end."""
    if len(terms) < 3:
        return [tuple(range(len(terms)))]
    import opt_einsum

    path: Any = opt_einsum.contract_path(",".join(terms) + "->" + out, *shapes, shapes=True, optimize=optimize)[0]
    return path


def _spelled(args: Sequence[Any]) -> tuple[str, list[Any]]:
    """Operands, each followed by a list of its indices, and perhaps the output's list, as (subscripts, operands)."""
    *pairs, out = args if len(args) % 2 else (*args, None)
    lists = [*pairs[1::2], *([] if out is None else [out])]
    if not lists or not all([isinstance(one, (list, tuple)) for one in lists]):
        raise TypeError(
            "einsum: subscripts come first, as a string such as 'ij,jk->ik', or each operand has a list of integers; "
            f"given {type(args[0]).__name__}"
        )
    spell = lambda one: "".join(["..." if i is Ellipsis else LETTERS[i] for i in one])
    return ",".join(map(spell, pairs[1::2])) + ("" if out is None else "->" + spell(out)), list(pairs[::2])


def einsum(subscripts: Any, *operands: Any, optimize: Any = "auto") -> Any:
    """Einstein summation, as `numpy.einsum`: 'ij,jk->ik'; with `...`, and with an index repeated in one operand.

    Or each operand followed by the list of its indices, and the output's at the end: einsum(x, [0, 1], y, [1, 2],
    [0, 2]).  Operands are multiplied two at a time, as matrices; of more than two, opt_einsum finds the order, as
    `optimize` says to it.  ValueError if the subscripts do not fit the operands.
    """
    if not isinstance(subscripts, str):
        subscripts, operands = _spelled((subscripts, *operands))  # type: ignore[assignment]
    xs = fit(operands, "einsum")
    terms, out = _letters(subscripts, [len(raw(x).shape) for x in xs])
    for i in range(len(terms)):
        while len(set(terms[i])) < len(terms[i]):
            c = next(c for c in terms[i] if terms[i].count(c) > 1)
            xs[i], terms[i] = _diagonal(xs[i], terms[i], c)
    xs, terms = map(list, zip(*_fitted(subscripts, xs, terms)))
    kinds = {raw(x).dtype for x in xs}
    dtype = kinds.pop() if len(kinds) == 1 else np.result_type(*kinds)
    if len(xs) > 2:
        xs = [astype(x, wide(raw(x).dtype)) for x in xs]
    for places in _path(terms, out, [raw(x).shape for x in xs], optimize):
        (x, term), *others = [(xs[i], terms[i]) for i in sorted(places)]
        xs, terms = [[v for i, v in enumerate(vs) if i not in places] for vs in (xs, terms)]
        for j, (y, ty) in enumerate(others):
            later = [t for _, t in others[j + 1 :]]
            x, term = _contracted(x, term, y, ty, set("".join([*terms, *later, out])))
        xs, terms = [*xs, x], [*terms, term]
    x, term = _reduced(xs[0], terms[0], out)
    return astype(_placed(x, term, out), dtype)


def _fitted(subscripts: str, xs: list[Any], terms: list[str]) -> list[tuple[Any, str]]:
    """Operands without the axes of length 1 that broadcast.  ValueError where an index has two lengths."""
    sizes: dict[str, int] = {}
    for x, term in zip(xs, terms):
        for c, n in zip(term, raw(x).shape):
            known = sizes.setdefault(c, n)
            if known != n and 1 not in (known, n):
                raise ValueError(f"einsum: index {c!r} of {subscripts!r} has lengths {known} and {n}")
            sizes[c] = n if known == 1 else known
    found = []
    for x, term in zip(xs, terms):
        kept = [c for c, n in zip(term, raw(x).shape) if n == sizes[c]]
        found.append((x if len(kept) == len(term) else reshape(x, [sizes[c] for c in kept]), "".join(kept)))
    return found


def _diagonal(x: Any, term: str, c: str) -> tuple[Any, str]:
    """x restricted to equal values of the repeated index c, which becomes its first axis."""
    places = [i for i, t in enumerate(term) if t == c]
    rest = [i for i, t in enumerate(term) if t != c]
    n = x.shape[places[0]]
    if any(x.shape[p] != n for p in places):
        raise ValueError(f"einsum: index {c!r} of {term!r} has lengths {[x.shape[p] for p in places]}")
    steps = xp_of(raw(x)).arange(n)
    return getitem(permute_dims(x, places + rest), (steps,) * len(places)), c + "".join([term[i] for i in rest])


def _powers(size: Any, p: float) -> Any:
    """size to the power p; at 0 its slope counts as 0, whatever p is."""
    zero = equal(size, 0)
    return where(zero, 0.0 if p > 0 else math.inf, pow(where(zero, 1.0, size), p))


def vector_norm(x: Any, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Any:
    """The `ord`-norm over `axis` (None: of all elements): (Σ |x|^ord)^(1/ord), the largest |x| for inf, the smallest
    for -inf, how many are not 0 for 0.

    Half types are computed in float32.

    Kinks: 0 at each 0; shared among ties.
    """
    if isinstance(ord, str):
        raise ValueError(f"vector_norm: ord is a number, not {ord!r}; linalg.matrix_norm has 'fro' and 'nuc'")
    x = boxed(x, "vector_norm")
    size, over = abs(astype(x, wide(x.dtype)) if is_inexact(x.dtype) else x), {"axis": axis, "keepdims": keepdims}
    if ord in (1, math.inf, -math.inf):
        out = {1: sum, math.inf: largest, -math.inf: smallest}[ord](size, **over)
    elif ord == 0:
        out = sum(astype(not_equal(size, 0), size.dtype), **over)
    else:
        total = sum(square(size) if ord == 2 else _powers(size, ord), **over)
        zero = equal(total, 0)
        total = where(zero, 1.0, total)
        out = where(zero, 0.0, sqrt(total) if ord == 2 else pow(total, 1 / ord))
    return astype(out, abs(raw(x)).dtype) if is_inexact(x.dtype) else out
