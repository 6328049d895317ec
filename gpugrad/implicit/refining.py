"""Solutions inside a `vmap`: differentiated by steps of Newton's that tapes record."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from ..autograd import no_grad
from ..core import Tensor
from ..levels import concrete, followed
from ..ops.casting import stop_gradient
from ..ops.solve import solve
from ..recording import active
from ..transforms import jacrev
from .blocks import _inverse as checked

ORDER = 3  # to which derivatives are right at least


def refined(name: str, residual: Callable[[Tensor], Tensor], x: Tensor, symmetric: bool, most: int) -> Tensor:
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
