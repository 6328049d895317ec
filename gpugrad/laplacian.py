"""Floor 6: `laplacian`, by the forward Laplacian (Li et al. 2023, arXiv 2307.08214).

One run of the function carries each value's derivatives along all coordinates, and their second derivatives already
summed: Taylor mode to order 2, for all coordinates at once, with the last term collapsed.  It has no tape and its
memory is that of the gradient, which goes forward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod
from typing import Any

import numpy as np
import optree

from .array import asarray, device_of, xp
from .backprop import backprop
from .batching import Examples, called
from .core import Tape, Tensor, identity, leaf, wrap
from .dtypes import is_inexact
from .forward import checked_axes
from .forward_mode import _fitting, cast
from .ops.casting import view
from .ops.harmonic import chained_product
from .ops.math import add
from .ops.reduce import sum
from .ops.shape import aligned, broadcast_to, concat, expand_dims, reshape
from .recording import enter, replace
from .taylor import FUSED, Expansion, Terms, boxed, own, plus, run, shaped, through, times
from .tensor import tensor

AFFINE = {"add", "subtract", "positive", "negative"}  # of whose pullbacks the shape is that of what they are given


class Harmonic(Expansion):
    """A `laplacian` that runs.  A tensor has one term, Batched: its derivatives by n coordinates, then its Laplacian.

    That may be smaller than the tensor, and broadcasts to it: for x it is one matrix for all points.
    """

    def __init__(self, name: str, x: Tensor, lines: Any) -> None:
        n = lines.shape[0]
        self.rows, self.directions = Examples(name, n), Examples(name, n - 1)
        self.rows.device = self.directions.device = device_of(x.array)
        self.line = Expansion(name, 2)
        self.made: dict[Any, Any] = {}  # arrays of ones, by shape and dtype
        super().__init__(name, 1, [[x, wrap(self.rows.batched(lines))]])

    def close(self) -> None:
        self.rows.open = self.directions.open = False

    def terms(self, t: Any) -> Terms:
        """A Tensor and its Laplacian."""
        known = self._of(t.node)
        return [t, None if known is None else self.rows.outward(shaped(known, t)[0])[-1]]

    def expanded(self, op: Any, out: Any, xs: list[Terms], static: dict[str, Any], moving: list[int]) -> Any:
        if op.batch != "elementwise" and op.own != "matmul" and op.own not in FUSED:
            xs = [[x[0], *shaped(x[1:], x[0])] if i in moving else x for i, x in enumerate(xs)]
        return super().expanded(op, out, xs, static, moving)

    def fitted(self, terms: Sequence[Any], out: Tensor) -> Terms:
        return [None if t is None else cast(boxed(t), out.array) for t in terms]

    def product(self, op: Any, out: Any, xs: list[Terms], static: dict[str, Any]) -> Terms:
        """x Δy + y Δx + 2 Σ ∂x ∂y."""
        if op.own == "matmul":
            xs = [[x[0], *[t if t is None else _whole(t, x[0], axis) for t in x[1:]]] for x, axis in zip(xs, (-1, -2))]
        (t,) = super().product(op, out, xs, static)
        if xs[0][1] is None or xs[1][1] is None:
            return [t]
        (_, dx, _), (_, dy, _), *rest = self.spread(xs, [0, 1])
        both = self.total(called(op, [dx, dy, *[r[0] for r in rest]], static)[0])
        rows = self.rows.outward(boxed(t))
        return self.fitted([self.joined(rows[:-1], rows[-1] + both * 2)], rows[-1])

    def pointwise(self, op: Any, out: Tensor, xs: list[Terms], static: dict, moving: list[int]) -> Terms:
        """f' Δx + f'' Σ (∂x)², of one operand."""
        slope, bend = self.slopes(op, out, xs, static, moving)
        if bend is None:  # linear in all of them
            saved = (*[x[0] for x in xs], out, *static.values(), None)
            terms = [xs[i][1] if op.own in AFFINE else shaped(xs[i][1:], out)[0] for i in moving]
            found = [boxed(d) for i, t in zip(moving, terms) if (d := through(op, i, t, saved, out)) is not None]
            t = reduce(add, found) if found else None
        elif len(moving) == 1 and xs[moving[0]][0].dtype.kind != "c":  # whose abs has another slope in each direction
            t = self.batched(chained_product(slope, bend, aligned(self.rows.outward(xs[moving[0]][1]), len(out.shape))))
        else:
            d, l = self.line.pointwise(op, out, self.spread(xs, moving), static, moving)
            t = self.joined(self.directions.outward(d), self.total(l))
        return self.fitted([t], out)

    def slopes(self, op: Any, out: Tensor, xs: list[Terms], static: dict, moving: list[int]) -> Terms:
        """f' and f'', the same for all directions; None for 0."""
        if len(moving) > 1 or "c" in (out.dtype.kind, xs[moving[0]][0].dtype.kind):
            ones = [[x[0], self.ones(x[0]), None] if i in moving else [x[0], None, None] for i, x in enumerate(xs)]
            return self.line.pointwise(op, out, ones, static, moving)
        (i,), tape = moving, Tape(set(), beside=True)
        x, y = own([xs[i][0]])[0], own([out])[0]
        tape.watched |= {identity(leaf(x)), identity(leaf(y))}
        enter(tape)
        try:
            slope = through(
                op, i, self.ones(out), (*[x if v is xs[i] else v[0] for v in xs], y, *static.values(), None), out
            )
            slope = None if slope is None else _fitting(boxed(slope), out.array)
        finally:
            replace(tape)
        if slope is None:
            return [None, None]
        by_out = i not in op.needs[i]  # then y' = f' is all that f' depends on
        found: Any = backprop([slope], [slope if by_out else None], tape, [x, y], False, True)
        return [slope, found[1] if by_out else plus(found[0], times(found[1], slope))]

    def ones(self, like: Tensor) -> Tensor:
        """Ones shaped like a Tensor: one array for all that are."""
        a = like.array
        if (key := (a.shape, a.dtype)) not in self.made:
            self.made[key] = xp(a).ones(a.shape, a.dtype)
        return wrap(view(self.made[key]))

    def ruled(self, op: Any, values: tuple, n: Any, known: list[Any]) -> Any:
        raise NotImplementedError(
            f"{self.name}: {op.name} has a gradient of its own, which says nothing of Laplacians. Sum over the "
            "coordinates e what gg.taylor(f, (x,), ([e, None],)) answers last"
        )

    def fused(self, activation: Any, out: Tensor, xs: list[Terms]) -> Terms:
        (x, t), (weight, dweight), (_, dbias) = xs
        if activation is None or dweight is not None or dbias is not None:
            return super().fused(activation, out, xs)
        given = self.given(activation, out, xs)
        slope, bend = self.slopes(activation, out, [[given, None]], activation.static, [0])
        if bend is None:
            return super().fused(activation, out, xs)
        t = aligned(self.rows.outward(_whole(t, x, -1)), len(out.shape))
        return self.fitted([self.batched(chained_product(slope, bend, t, weight))], out)

    def nested(self, op: Any, xs: list[Terms], static: dict, moving: list[int]) -> list[list[Any]]:
        found = self.line.nested(op, self.spread(xs, moving), static, moving)
        return [[self.joined(self.directions.outward(d), self.total(l)) for d, l in zip(*found)]]

    def spread(self, xs: list[Terms], moving: list[int]) -> list[Terms]:
        """Value, first and second derivative along each direction by itself: the Laplacian is shared equally."""
        n, rows = self.directions.n, {i: self.rows.outward(xs[i][1]) for i in moving}
        part = lambda t: [wrap(self.directions.batched(t[:-1])), t[-1] / n]
        return [[x[0], *(part(rows[i]) if i in rows else (None, None))] for i, x in enumerate(xs)]

    def total(self, t: Any) -> Tensor:
        """t, of each direction, summed over them."""
        a = boxed(t)
        return sum(self.directions.outward(a), axis=0) if self.directions.has(a.array) else a * self.directions.n

    def joined(self, d: Tensor, l: Tensor) -> Tensor:
        """The term of these derivatives and that Laplacian."""
        return self.batched(concat([d, expand_dims(l, 0)]))

    def batched(self, rows: Any) -> Tensor:
        """A term of these rows."""
        return wrap(self.rows.batched(rows))


def _whole(t: Tensor, x: Tensor, axis: int) -> Tensor:
    """t with the length of x along an axis counted from the end, and no fewer axes than that."""
    shape = [*[1] * (-axis - len(t.shape)), *t.shape]
    shape[axis] = x.shape[axis]
    return broadcast_to(t, tuple(shape))


Axis = int | Sequence[int] | None


def value_and_laplacian(f: Callable[[Tensor], Any], x: Any, axis: Axis = -1) -> tuple[Any, Any]:
    """(f(x), the Laplacian of f at x), as `laplacian` has it; the value costs nothing more."""
    x = x if isinstance(x, Tensor) else tensor(x)
    a = x.array
    if not is_inexact(a.dtype) or a.dtype.kind == "c":
        raise TypeError(f"laplacian: x is {a.dtype}; its coordinates are real floats")
    rank = len(a.shape)
    if not rank:
        raise ValueError("laplacian: x is a scalar; it needs an axis of coordinates, reshape it to (1,)")
    axes = checked_axes("laplacian", axis, rank)
    coordinates = [s if i in axes else 1 for i, s in enumerate(a.shape)]
    n = prod(coordinates)
    if not n or not axes:
        raise ValueError(f"laplacian: x has shape {tuple(a.shape)}, and no coordinates along axis {axis}")
    name = f"laplacian({getattr(f, '__name__', type(f).__name__)})"
    lines = asarray(np.eye(n + 1, n), a.dtype, device_of(a)).reshape(n + 1, *coordinates)
    tape = Harmonic(name, reshape(x, a.shape), lines)
    try:
        rows, spec = run(tape, f)
    finally:
        tape.close()
    return tuple([optree.tree_unflatten(spec, list(part)) for part in zip(*rows)])  # type: ignore[return-value]


def laplacian(f: Callable[[Tensor], Any], x: Any, axis: Axis = -1) -> Any:
    """The Laplacian Σ_i ∂²f/∂x_i² at x, by one run of f forward; as `value_and_laplacian`, beside the value.

        gg.laplacian(net, points)  # points (n, 3), net: (n, 3) -> (n, m); the answer is (n, m)

    f      takes x and answers a Tensor, or a tree of them; the answer is shaped like that
    x      points, real: the coordinates are along `axis`, all others number points.  f works on each point by itself:
           the derivatives of an output by several points would be added up
    axis   an axis, several, or None: all elements of x are coordinates of one point

    Element by element Δf(u) = f'(u) Δu + f''(u) Σ_i (∂_i u)²; linear ops take each part by itself, of a product it is
    u Δv + v Δu + 2 Σ_i ∂_i u ∂_i v; other ops are differentiated twice along each coordinate.  Kinks count nothing: of
    relu it is 0 almost everywhere.  Tapes, `backward` and `vmap` around it go through: the gradient of mean(Δf²) by
    weights is one walk back.
    NotImplementedError for gradients of one's own (`custom_gradient`): there `taylor` gives each coordinate's part.
    TypeError for x that is not real and floating; ValueError for axes that are not there.
    """
    return value_and_laplacian(f, x, axis)[1]
