"""Lengths of tensors: scaled to one, or limited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core import raw
from ..forward import boxed
from .math import abs, divide, maximum, minimum, multiply, rsqrt, sqrt, square, total, where
from .reduce import Axis, sum


def normalize(x: Any, axis: Axis = None, epsilon: float = 1e-12) -> Any:
    """x over its Euclidean length along `axis` (None: all), which counts as √epsilon where it is shorter."""
    return multiply(x, rsqrt(maximum(sum(square(abs(x)), axis=axis, keepdims=True), epsilon)))


def clip_by_norm(x: Any, limit: Any, axis: Axis = None) -> Any:
    """x, scaled so that its Euclidean length along `axis` (None: all) is at most `limit`."""
    x = boxed(x, "clip_by_norm")
    squares = sum(square(abs(x)), axis=axis, keepdims=True)
    some = raw(squares) > 0
    length = where(some, sqrt(where(some, squares, 1)), 0)  # the gradient of a length of 0 is 0, not NaN
    return divide(multiply(x, limit), maximum(length, limit))


def global_norm(xs: Sequence[Any]) -> Any:
    """The Euclidean length of all tensors together; None among them is left out.  ValueError if there is none."""
    return sqrt(total([sum(square(abs(x))) for x in xs if x is not None]))


def clip_by_global_norm(xs: Sequence[Any], limit: Any, length: Any = None) -> tuple[list[Any], Any]:
    """(all tensors, scaled by one factor so that their `length` together is at most `limit`, that length).

    NaN where the length is infinite (Pascanu et al. 2013).
    """
    length = global_norm(xs) if length is None else length
    scale = multiply(minimum(1 / length, 1 / limit), limit) + (length - length)
    return [None if x is None else multiply(x, scale) for x in xs], length
