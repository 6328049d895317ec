"""A weighted sum of arrays of one shape in one op."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from .. import fused
from ..kernels import usable
from ..op import op


@cache
def _weighted(n: int) -> Any:
    def forward(xp: Any, *xs: Any, weights: tuple[float, ...]) -> Any:
        out = xs[0] * weights[0]
        for x, w in zip(xs[1:], weights[1:]):
            out += x * w
        return out

    def gpu(xp: Any, *xs: Any, weights: tuple[float, ...]) -> Any:
        fits = n <= fused.MOST and usable(*xs)
        return fused.weighted_sum(xs, weights) if fits else forward(xp, *xs, weights=weights)

    def pull(g: Any, weights: tuple[float, ...]) -> Any:
        return tuple([g if w == 1.0 else g * w for w in weights])

    return op(forward, gpu=gpu, name="weighted_sum", batch="leading", args=[f"x{i}" for i in range(n)], pull=pull)


def weighted_sum(xs: Sequence[Any], weights: Sequence[float]) -> Any:
    """The sum of w * x over arrays of one shape and dtype and Python numbers, in one launch for up to seven."""
    return _weighted(len(xs))(*xs, weights=tuple(weights))
