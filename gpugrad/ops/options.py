"""Ops with the options that PyTorch gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core import raw
from . import casting, diagonal, linalg, math, reduce, rounding, shape


def scaled(f: Callable[..., Any]) -> Callable[..., Any]:
    """f of two arrays, the second one times alpha first."""

    def call(input: Any, other: Any, alpha: Any = 1) -> Any:
        return f(input, other if type(alpha) is int and alpha == 1 else math.multiply(other, alpha))

    call.__name__, call.__doc__ = f.__name__, f"{f.__doc__}  The second one times alpha first."
    return call


def quotient(divide: Callable[..., Any]) -> Callable[..., Any]:
    """`divide` with a rounding mode."""

    def div(input: Any, other: Any, rounding_mode: str | None = None) -> Any:
        """The quotient, as it is, or rounded: "floor", or "trunc" to zero.  RuntimeError for another mode."""
        if rounding_mode is None:
            return divide(input, other)
        if rounding_mode not in ("trunc", "floor"):
            raise RuntimeError(
                f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found {rounding_mode!r}"
            )
        down = rounding.floor_divide(input, other)
        return down if rounding_mode == "floor" else casting.astype(rounding.trunc(divide(input, other)), down.dtype)

    return div


def dot(x: Any, y: Any) -> Any:
    """The sum of the products of two vectors.  ValueError for what is no vector."""
    a, b = raw(x).ndim, raw(y).ndim
    if (a, b) != (1, 1):
        raise ValueError(f"1D tensors expected, but got {a}D and {b}D tensors. For matrices write matmul(x, y).")
    return linalg.matmul(x, y)


def repeat(x: Any, repetitions: Sequence[int]) -> Any:
    """So many times along each axis, of which there may be more than it has.  ValueError for less."""
    if len(repetitions) < raw(x).ndim:
        raise ValueError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor. Write tile."
        )
    return shape.tile(x, repetitions)


def trace(x: Any) -> Any:
    """The sum of the diagonal."""
    return reduce.sum(diagonal.diag(x))
