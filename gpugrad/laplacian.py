"""Floor 6: `laplacian`, by the forward Laplacian (Li et al. 2023, arXiv 2307.08214).

One run of the function carries each value's derivatives along all coordinates, and their second derivatives already
summed: Taylor mode to order 2, for all coordinates at once, with the last term collapsed.  It has no tape and its
memory is that of the gradient, which goes forward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import optree

from .array import asarray, device_of, xp
from .batching import Examples
from .core import Tensor, wrap
from .dtypes import is_inexact
from .forward import checked_axes
from .ops.math import multiply, square
from .ops.reduce import sum
from .ops.shape import reshape
from .taylor import Expansion, Terms, boxed, plus, run, shaped, through, times
from .tensor import tensor


class Harmonic(Expansion):
    """A `laplacian` that runs.  A tensor has two terms: its derivatives by the coordinates, Batched; its Laplacian."""

    def __init__(self, name: str, x: Tensor, lines: Any) -> None:
        self.directions = Examples(name, lines.shape[0])
        self.directions.device = device_of(x.array)
        self.line = Expansion(name, 2)
        super().__init__(name, 2, [[x, wrap(self.directions.batched(lines)), None]])

    def total(self, t: Any) -> Tensor:
        """t, of each direction, summed over them."""
        a = boxed(t)
        return sum(self.directions.outward(a), axis=0) if self.directions.has(a.array) else a * self.directions.n

    def gathered(self, both: Any, j: int, k: int) -> Any:
        return self.total(both) if k == 2 and j == 1 else both

    def pointwise(self, op: Any, out: Tensor, xs: list[Terms], static: dict, moving: list[int]) -> Terms:
        """f' Δx + f'' Σ (∂x)², of one operand; f' and f'' are the same for all directions: Taylor mode along x + t."""
        one = lambda x: wrap(xp(x.array).ones(x.array.shape, x.array.dtype))
        ones = [[x[0], one(x[0]), None] if i in moving else x for i, x in enumerate(xs)]
        first, second = self.line.pointwise(op, out, ones, static, moving)
        d: Any = None
        l: Any = None
        if second is None:  # linear in all of them
            saved = (*[x[0] for x in xs], out, *static.values(), None)
            for i in moving:
                dx, lx = shaped(xs[i][1:], out)
                d = d if dx is None else plus(d, through(op, i, dx, saved, out))
                l = l if lx is None else plus(l, through(op, i, lx, saved, out))
        elif (
            len(moving) == 1 and xs[moving[0]][0].dtype.kind != "c"
        ):  # complex: abs has another slope in each direction
            _, dx, lx = xs[moving[0]]
            d = times(first, dx)
            l = plus(times(first, lx), None if dx is None else multiply(second, self.total(square(dx))))
        else:
            d, l = self.line.pointwise(op, out, self.spread(xs, moving), static, moving)
            l = None if l is None else self.total(l)
        return self.fitted([d, l], out)

    def nested(self, op: Any, xs: list[Terms], static: dict, moving: list[int]) -> list[list[Any]]:
        first, second = self.line.nested(op, self.spread(xs, moving), static, moving)
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
    coordinates = [s if i in axes else 1 for i, s in enumerate(a.shape)]
    n = prod(coordinates)
    if not n or not axes:
        raise ValueError(f"laplacian: x has shape {tuple(a.shape)}, and no coordinates along axis {axis}")
    name = f"laplacian({getattr(f, '__name__', type(f).__name__)})"
    eye = asarray(np.eye(n), a.dtype, device_of(a)).reshape(n, *coordinates)
    tape = Harmonic(name, reshape(x, a.shape), xp(eye).broadcast_to(eye, (n, *a.shape)))
    try:
        rows, spec = run(tape, f)
    finally:
        tape.directions.open = False
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
    weights is one walk back.
    NotImplementedError for gradients of one's own (`custom_gradient`), which say nothing of second derivatives.
    TypeError for x that is not real and floating; ValueError for axes that are not there.
    """
    return value_and_laplacian(f, x, axis)[1]
