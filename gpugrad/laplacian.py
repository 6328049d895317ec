"""Floor 6: `laplacian`, by the forward Laplacian (Li et al. 2023, arXiv 2307.08214).

One run of the function carries each value's derivatives along all coordinates, and their second derivatives already
summed: Taylor mode to order 2, for all coordinates at once, with the last term collapsed.  It has no tape and its
memory is that of the gradient, which goes forward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import optree

from .array import device_of, xp
from .batching import Examples
from .core import Tensor, wrap
from .dtypes import is_inexact
from .forward import checked_axes
from .forward_mode import _fitting as fitting
from .ops.math import multiply, square
from .ops.reduce import sum
from .taylor import Expansion, Terms, boxed, plus, run, through, times
from .tensor import tensor


class Harmonic(Expansion):
    """A `laplacian` that runs.  The terms are the value, its derivatives by the coordinates, Batched, its Laplacian."""

    def __init__(self, name: str, n: int) -> None:
        self.directions = Examples(name, n)
        self.line: Expansion = Expansion(name, 2)
        super().__init__(name, 2)

    def total(self, t: Any) -> Tensor:
        """t, of each direction, summed over them."""
        a = boxed(t)
        return sum(self.directions.outward(a), axis=0) if self.directions.has(a.array) else a * self.directions.n

    def gathered(self, both: Any, j: int, k: int) -> Any:
        return self.total(both) if k == 2 and j == 1 else both

    def pointwise(self, op: Any, out: Tensor, xs: list[Terms], static: dict, moving: list[int], n: int) -> Terms:
        """f' Δx + f'' Σ (∂x)², of one operand; f' and f'' are the same for all directions: Taylor mode along x + t."""
        ones = [
            [x[0], wrap(xp(x[0].array).ones_like(x[0].array)), None] if i in moving else x for i, x in enumerate(xs)
        ]
        _, first, second = self.line.pointwise(op, out, ones, static, moving, n)
        d: Any = None
        l: Any = None
        if second is None:  # linear in all of them
            saved = (*[x[0] for x in xs], out, *[static[s] for s in op.static], None)
            for i in moving:
                dx, lx = self.shaped(xs[i][1:], out)
                d = d if dx is None else plus(d, through(op, i, dx, saved, out))
                l = l if lx is None else plus(l, through(op, i, lx, saved, out))
        elif len(moving) == 1:
            _, dx, lx = xs[moving[0]]
            d = times(first, dx)
            l = plus(times(first, lx), None if dx is None else multiply(second, self.total(square(dx))))
        else:
            _, d, l = self.line.pointwise(op, out, self.spread(xs, moving), static, moving, n)
            l = None if l is None else self.total(l)
        return [out, *[None if t is None else fitting(boxed(t), out.array) for t in (d, l)]]

    def nested(self, op: Any, xs: list[Terms], static: dict, moving: list[int], n: int) -> list[list[Any]]:
        first, second = self.line.nested(op, self.spread(xs, moving), static, moving, n)
        return [first, [self.total(v) for v in second]]

    def spread(self, xs: list[Terms], moving: list[int]) -> list[Terms]:
        """Terms for each direction by itself: the Laplacian is shared equally."""
        n = self.directions.n
        return [[x[0], x[1], times(x[2], 1 / n)] if i in moving else x for i, x in enumerate(xs)]


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
    own = [s if i in axes else 1 for i, s in enumerate(a.shape)]
    n = prod(own)
    if not n:
        raise ValueError(f"laplacian: x has shape {tuple(a.shape)}, and no coordinates along axis {axis}")
    level = Harmonic(f"laplacian({getattr(f, '__name__', type(f).__name__)})", n)
    level.device = level.directions.device = level.line.device = device_of(a)
    lines = xp(a).broadcast_to(xp(a).eye(n, dtype=a.dtype).reshape(n, *own), (n, *a.shape))
    try:
        rows, spec = run(level, f, [[x, wrap(level.directions.batched(level.here(lines))), None]])
    finally:
        level.line.open = level.directions.open = False
    return tuple([optree.tree_unflatten(spec, [r[k] for r in rows]) for k in (0, 2)])  # type: ignore[return-value]


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
    weights is one walk back.  Gradients of one's own (`custom_gradient`) are not asked.
    TypeError for x that is not real and floating; ValueError for axes that are not there.
    """
    return value_and_laplacian(f, x, axis)[1]
