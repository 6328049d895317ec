"""Products: matmul, tensordot, einsum; the norm of vectors.  Half types accumulate in float32."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..array import xp as xp_of
from ..core import raw
from ..dtypes import DTypeLike, as_dtype, default_float, float16, float32, is_inexact, wide
from ..forward import boxed, checked_axes, fit
from ..gemm import halves
from ..gemm.products import array_product, misfit, product, usable
from ..op import op
from .casting import astype
from .examples import product_batch
from .index import getitem
from .logic import equal, not_equal, where
from .math import abs, conj, multiply, pow
from .reduce import max as largest, min as smallest, sum
from .shape import expand_dims, matrix_transpose, permute_dims, reshape, squeeze


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
    last="x",
    batch=product_batch,
    linear="each",
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


def matvec(x: Any, y: Any) -> Any:
    """The products of matrices x (..., n, m) and vectors y (..., m)."""
    return squeeze(matmul(x, expand_dims(y, -1)), axis=-1)


def outer(x: Any, y: Any) -> Any:
    """All products of an element of x with one of y, both flattened: (n,) and (m,) -> (n, m)."""
    x, y = fit([x, y], "outer")
    return multiply(reshape(x, (-1, 1)), reshape(y, (1, -1)))


def tensordot(x: Any, y: Any, axes: int | tuple[Any, Any] = 2) -> Any:
    """The product summed over pairs of axes: the last `axes` of x with the first of y, or those of two lists.

    ValueError if an axis is not there, or a pair differs in length.
    """
    x, y = fit([x, y], "tensordot")
    sx, sy = raw(x).shape, raw(y).shape
    nx, ny = len(sx), len(sy)
    if hasattr(axes, "__index__"):
        axes = operator.index(axes)  # type: ignore[arg-type]
        if not 0 <= axes <= min(nx, ny):
            raise ValueError(f"tensordot: {axes} axes of x {sx} and y {sy}; both have {min(nx, ny)}")
        axes = (tuple(range(nx - axes, nx)), tuple(range(axes)))
    if not isinstance(axes, (tuple, list, np.ndarray)) or len(axes) != 2 or any([a is None for a in axes]):
        raise ValueError(f"tensordot: axes is a number, or the axes of x and those of y, not {axes!r}")
    ax, ay = [list(checked_axes("tensordot", a, n)) for a, n in zip(axes, (nx, ny))]
    if [sx[a] for a in ax] != [sy[a] for a in ay]:
        raise ValueError(f"tensordot: axes {ax} of {sx} and {ay} of {sy} differ in length")
    fx, fy = [i for i in range(nx) if i not in ax], [i for i in range(ny) if i not in ay]
    k = math.prod([sx[a] for a in ax])
    left = reshape(permute_dims(x, fx + ax), (math.prod([sx[i] for i in fx]), k))
    right = reshape(permute_dims(y, ay + fy), (k, math.prod([sy[i] for i in fy])))
    return reshape(product_op(left, right), [sx[i] for i in fx] + [sy[i] for i in fy])


# ---------------------------------------------------------------------------------------------- einsum
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@lru_cache(4096)
def _letters(subscripts: str, ranks: tuple[int, ...]) -> tuple[tuple[str, ...], str]:
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
            if extra > len(spare):
                raise ValueError(f"einsum: no letters are left for the {extra} axes of '...' in {subscripts!r}")
            dots = "".join(spare[len(spare) - extra :])
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
    return tuple(full), out


# What follows from subscripts and shapes is worked out once.
@lru_cache(4096)
def _placing(term: str, shape: tuple[int, ...], groups: tuple[str, ...]) -> tuple[Any, Any, Any]:
    """(axes to be summed, the order of the rest, their shape) for an axis for each of the groups; None: as it is."""
    letters = "".join(groups)
    left = [c for c in term if c in letters]
    sizes = dict(zip(term, shape))
    own, to = tuple([sizes[c] for c in letters]), tuple([math.prod([sizes[c] for c in group]) for group in groups])
    gone = tuple([i for i, c in enumerate(term) if c not in letters])
    order = tuple([left.index(c) for c in letters])
    return gone or None, None if order == tuple(range(len(left))) else order, None if own == to else to


def _placed(x: Any, term: str, groups: tuple[str, ...]) -> Any:
    """x, whose axes are `term`, with an axis for each of the groups, summed over the letters that none of them has."""
    gone, order, to = _placing(term, raw(x).shape, groups)
    x = x if gone is None else sum(x, axis=gone)
    x = x if order is None else permute_dims(x, order)
    return x if to is None else reshape(x, to)


@lru_cache(4096)
def _pairing(tx: str, sx: tuple[int, ...], ty: str, sy: tuple[int, ...], keep: str) -> tuple[Any, ...]:
    """How two operands are multiplied: (the groups of x, of y, the result's term and its shape, and where something is
    summed: whether x, and y, are transposed then, so that each is a matrix (..., own, summed), a view if possible).
    """
    both = "".join([c for c in tx if c in ty and c in keep])
    summed = "".join([c for c in tx if c in ty and c not in keep])
    fx, fy = ["".join([c for c in one if c in keep and c not in other]) for one, other in ((tx, ty), (ty, tx))]
    sizes, term = dict(zip(tx + ty, sx + sy)), both + fx + fy
    shape = tuple([sizes[c] for c in term])
    if not summed:
        return (*both, *fx, *[""] * len(fy)), (*both, *[""] * len(fx), *fy), term, shape, None
    turned = [[c for c in t if c in both + summed + own][-1] in own for t, own in ((tx, fx), (ty, fy))]
    gx, gy = [(*both, summed, own) if turn else (*both, own, summed) for own, turn in zip((fx, fy), turned)]
    return gx, gy, term, shape, turned


def _contracted(x: Any, tx: str, y: Any, ty: str, keep: str) -> tuple[Any, str]:
    """The product of x and y, summed over the letters that are not to be kept, and its term."""
    gx, gy, term, shape, turned = _pairing(tx, raw(x).shape, ty, raw(y).shape, keep)
    x, y = _placed(x, tx, gx), _placed(y, ty, gy)
    if turned is None:
        return multiply(x, y), term
    out = product_op(matrix_transpose(x) if turned[0] else x, y if turned[1] else matrix_transpose(y))
    return out if raw(out).shape == shape else reshape(out, shape), term


@lru_cache(4096)
def _path(terms: tuple[str, ...], out: str, shapes: tuple[Any, ...], way: Any, limit: int | None) -> list[Any]:
    """Which operands are multiplied next; what becomes of them goes to the end."""
    import opt_einsum

    if isinstance(way, tuple):
        return list(way)
    options: Any = {"shapes": True, "optimize": way, "memory_limit": limit}
    path: Any = opt_einsum.contract_path(",".join(terms) + "->" + out, *shapes, **options)[0]
    return path


def _way(optimize: Any, n: int) -> tuple[Any, int | None]:
    """`optimize` for n operands as (how opt_einsum finds the path, how many elements a result may have), or (the path,
    None).  ValueError for what it may not be.
    """
    from opt_einsum.paths import get_path_fn

    way, limit = optimize, None
    if isinstance(way, (tuple, list)) and len(way) == 2 and isinstance(way[1], (int, float)):
        way, limit = way[0], int(way[1])
    if isinstance(way, bool) or callable(way):
        return way, limit
    if isinstance(way, str):
        try:
            get_path_fn(way)
        except KeyError as e:
            raise ValueError(f"einsum: optimize: {e.args[0]}") from None
        return way, limit
    path = list(way) if isinstance(way, (tuple, list)) else []
    path = [tuple(step) if isinstance(step, list) else step for step in path[path[:1] == ["einsum_path"] :]]
    left = n
    for step in path:
        if not isinstance(step, tuple) or not step or len({*step} & {*range(left)}) < len(step):
            left = 0
            break
        left -= len(step) - 1
    if left != 1:
        raise ValueError(
            f"einsum: optimize is opt_einsum's name of a way to find the path, a bool, or a path that leaves one of "
            f"{n} operands, such as [(0, 1), (0, 1)] for three; not {optimize!r}"
        )
    return tuple(path), None


def _spelled(args: Sequence[Any]) -> tuple[str, list[Any]]:
    """Operands, each followed by a list of its indices, and perhaps the output's list, as (subscripts, operands)."""
    *pairs, out = args if len(args) % 2 else (*args, None)
    lists = [*pairs[1::2], *([] if out is None else [out])]
    if not lists or not all([isinstance(one, (list, tuple)) for one in lists]):
        raise TypeError(
            "einsum: subscripts come first, as a string such as 'ij,jk->ik', or each operand has a list of integers; "
            f"given {type(args[0]).__name__}"
        )
    if any([i is not Ellipsis and not 0 <= i < len(LETTERS) for one in lists for i in one]):
        raise ValueError(f"einsum: indices are integers from 0 to {len(LETTERS) - 1}, given {lists}")
    spell = lambda one: "".join(["..." if i is Ellipsis else LETTERS[i] for i in one])
    return ",".join(map(spell, pairs[1::2])) + ("" if out is None else "->" + spell(out)), list(pairs[::2])


def einsum(subscripts: Any, *operands: Any, optimize: Any = "auto") -> Any:
    """Einstein summation, as `numpy.einsum`: 'ij,jk->ik'; with `...`, and with an index repeated in one operand.

    Or each operand followed by the list of its indices, and the output's at the end: einsum(x, [0, 1], y, [1, 2],
    [0, 2]).  Operands are multiplied two at a time, as matrices; of more than two, opt_einsum finds the order:
    `optimize` is its name of a way to do so, perhaps beside the number of elements that a result may have, or the path,
    as NumPy has it.  ValueError for another, and if the subscripts do not fit the operands.
    """
    if not isinstance(subscripts, str):
        subscripts, operands = _spelled((subscripts, *operands))  # type: ignore[assignment]
    xs = fit(operands, "einsum")
    dtype = _common(xs)
    terms, out = _letters(subscripts, tuple([len(raw(x).shape) for x in xs]))
    for i, term in enumerate(terms):
        while len(set(term)) < len(term):
            xs[i], term = _diagonal(xs[i], term, next(c for c in term if term.count(c) > 1))
        terms = (*terms[:i], term, *terms[i + 1 :])
    terms, shapes = _fitted(subscripts, terms, tuple([raw(x).shape for x in xs]))
    xs = [x if raw(x).shape == shape else reshape(x, shape) for x, shape in zip(xs, shapes)]
    path = [tuple(range(len(xs)))]
    if len(xs) > 2 or (len(xs) == 2 and not {*terms[0]} ^ {*terms[1]} <= {*out}):  # sums are multiplied again
        xs = [astype(x, wide(raw(x).dtype)) for x in xs]
    if len(xs) > 2 or optimize != "auto":
        path = _path(terms, out, shapes, *_way(optimize, len(xs)))
    for places in path:
        (x, term), *others = [(xs[i], terms[i]) for i in sorted(places)]
        xs, terms = [[v for i, v in enumerate(vs) if i not in places] for vs in (xs, terms)]
        for j, (y, ty) in enumerate(others):
            x, term = _contracted(x, term, y, ty, "".join([*terms, *[t for _, t in others[j + 1 :]], out]))
        xs, terms = [*xs, x], [*terms, term]
    return astype(_placed(xs[0], terms[0], tuple(out)), dtype)


def _common(xs: Sequence[Any]) -> np.dtype:
    first, *more = [raw(x).dtype for x in xs]
    return first if all([d == first for d in more]) else np.result_type(first, *more)


@lru_cache(4096)
def _fitted(subscripts: str, terms: tuple[str, ...], shapes: tuple[tuple[int, ...], ...]) -> tuple[Any, Any]:
    """(terms, shapes) without the axes of length 1 that broadcast.  ValueError where an index has two lengths."""
    sizes: dict[str, int] = {}
    for c, n in zip("".join(terms), [n for shape in shapes for n in shape]):
        known = sizes.setdefault(c, n)
        if known != n and 1 not in (known, n):
            raise ValueError(f"einsum: index {c!r} of {subscripts!r} has lengths {known} and {n}")
        sizes[c] = n if known == 1 else known
    kept = [[c for c, n in zip(t, shape) if n == sizes[c]] for t, shape in zip(terms, shapes)]
    return tuple(["".join(k) for k in kept]), tuple([tuple([sizes[c] for c in k]) for k in kept])


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


def _length_rule(g: Any, x: Any, out: Any, axis: Any, keepdims: bool) -> Any:
    if not keepdims:
        g, out = [expand_dims(v, checked_axes("vector_norm", axis, len(raw(x).shape))) for v in (g, out)]
    zero = equal(raw(out), 0)
    return where(zero, 0, g) / where(zero, 1, out) * (conj(x) if x.dtype.kind == "c" else x)


@op(x=_length_rule, name="vector_norm", batch="along")
def _length(xp: Any, x: Any, *, axis: Any, keepdims: bool) -> Any:
    """√Σ|x|²; its gradient is 0 where it is 0."""
    squares = xp.square(x.real) + xp.square(x.imag) if x.dtype.kind == "c" else xp.square(x)
    return xp.sqrt(sum(squares, axis=axis, keepdims=keepdims))


def vector_norm(x: Any, axis: Any = None, keepdims: bool = False, ord: float = 2, *, dtype: DTypeLike = None) -> Any:
    """The `ord`-norm over `axis` (None: of all elements): (Σ |x|^ord)^(1/ord), the largest |x| for inf, the smallest
    for -inf, how many are not 0 for 0.

    dtype: x is taken in this one first.  Half types are computed in float32.

    Kinks: 0 at each 0; shared among ties.
    """
    if isinstance(ord, str):
        raise ValueError(f"vector_norm: ord is a number, not {ord!r}; linalg.matrix_norm has 'fro' and 'nuc'")
    x = boxed(x, "vector_norm")
    x = x if dtype is None else astype(x, as_dtype(dtype))
    d = x.dtype
    if ord == 2:
        axes = None if axis is None else checked_axes("vector_norm", axis, len(raw(x).shape))
        full = astype(x, wide(d if is_inexact(d) else default_float()))
        return astype(_length(full, axis=axes, keepdims=keepdims), _real(d) if is_inexact(d) else default_float())
    size, over = abs(astype(x, wide(d)) if is_inexact(d) else x), {"axis": axis, "keepdims": keepdims}
    if ord in (1, math.inf, -math.inf):
        out = {1: sum, math.inf: largest, -math.inf: smallest}[ord](size, **over)
    elif ord == 0:
        out = sum(astype(not_equal(size, 0), size.dtype), **over)
    else:
        total = sum(_powers(size, ord), **over)
        zero = equal(total, 0)
        out = where(zero, 0.0, pow(where(zero, 1.0, total), 1 / ord))
    return astype(out, _real(d)) if is_inexact(d) else out


def _real(dtype: np.dtype) -> np.dtype:
    """The dtype of the absolute values of an inexact one."""
    return np.finfo(dtype).dtype if dtype.kind == "c" else dtype
