"""Equations of the examples of a `vmap`: solved together, and differentiated by steps of Newton's that tapes record."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from math import prod

import numpy as np

from ..array import Array
from ..autograd import no_grad
from ..batching import Examples
from ..core import Tensor, wrap
from ..levels import concrete, followed, innermost
from ..ops.casting import stop_gradient
from ..ops.reduce import sum as total
from ..ops.shape import reshape
from ..ops.solve import solve
from ..recording import active, resume
from ..transforms import jacrev
from .blocks import _inverse as checked
from .solvers import Reached

Map = Callable[[Tensor], Tensor]  # of the vector of all unknowns: a vector, or one number
ORDER = 3  # to which derivatives are right at least


class _Met(Exception):
    """A function of x has answered what each example of `level` has of its own."""

    def __init__(self, level: Examples) -> None:
        self.level = level


def together(f: Map, x: Tensor, run: Callable[[Map, Array, np.ndarray | None], Reached]) -> Reached:
    """What `run(f, x, apart)` reaches; of the vmaps that f or x are inside of, for all examples as one vector.

    f      answers a vector, or a number, which is summed over the examples
    apart  the places of each example's unknowns in x; None outside of a vmap
    """
    levels: list[Examples] = []
    apart = None
    with ExitStack() as around:
        while True:
            level = innermost([x])
            try:
                if isinstance(level, Examples):
                    raise _Met(level)
                found = run(_watched(f), x.array, apart)
                break
            except _Met as met:
                level = met.level
            width = x.array.size if apart is None else apart.shape[1]
            levels.append(level)
            around.enter_context(resume(level.outside(active())))
            f, x = _of_all(level, f), reshape(level.outward(x), (-1,))
            x = wrap(x.array, None, x.kind)
            apart = np.arange(x.array.size).reshape(-1, width)
    answer = wrap(found.x)
    for level in reversed(levels):
        answer = wrap(level.batched(reshape(answer, (level.n, -1))))
    return found._replace(x=answer.array)


def _watched(f: Map) -> Map:
    def call(x: Tensor) -> Tensor:
        y = f(x)
        level = innermost([y])
        if isinstance(level, Examples) and innermost([x]) is not level:
            raise _Met(level)
        return y

    return call


def _of_all(level: Examples, f: Map) -> Map:
    """f around `level`, of the vectors of all its examples as one."""

    def call(x: Tensor) -> Tensor:
        with level.again():
            y = f(wrap(level.batched(reshape(x, (level.n, -1))), None, x.kind))
            rank = len(y.array.shape)
            y = level.outward(y)
        return reshape(y, (-1,)) if rank else total(y)

    return call


def refined(name: str, residual: Map, x: Tensor, symmetric: bool, most: int) -> Tensor:
    """x, a value inside a vmap that solves residual(x) = 0, with derivatives up to the order that open tapes ask for.

    x - J⁻¹ (residual(x) - its value) is x, and has the derivative -J⁻¹ d residual; at what has the derivatives of x up
    to some order, it has those up to twice that order and one.  All is recorded as ops are, inside and around.
    LinAlgError where J is singular; ValueError for more unknowns than `most`.
    """
    for _ in range(max(ORDER, len(active().tapes)).bit_length()):
        r = residual(x)
        if not followed(r):
            break
        if x.array.size > most:
            raise ValueError(
                f"{name}: inside a vmap gradients go through at most {most} unknowns of an example, and x has "
                f"{x.array.size}: write the batch as an axis of x, or solve under no_grad()"
            )
        slopes = jacrev(residual)(x)
        with no_grad():
            matrix = concrete(slopes.array)
            checked(name, matrix.reshape(prod(matrix.shape[:-2]), *matrix.shape[-2:]), symmetric)
        x = x - solve(slopes, r - stop_gradient(r))
    return x
