"""A weighted sum of several arrays of one shape."""

from __future__ import annotations

from collections.abc import Sequence

from ..array import Array
from ..kernels import Place, by_element
from ..launch import Launch, Launcher
from .shape import check

MOST = 7  # arrays in one launch (kernels/weighted.cu)


def _weighted_sum(p: Place, x: Array, *others: Array | None) -> Launch:
    for other in others:
        check(x.shape, x=other)
    run = p.get("weighted", "weighted_sum", x.dtype) if x.size else None
    return Launch(run, *by_element(x.size, x.dtype), [(x.shape, x.dtype)], (x.size,))


_launch = Launcher(_weighted_sum)


def weighted_sum(xs: Sequence[Array], weights: Sequence[float]) -> Array:
    """The sum of w * x, summed up wide.  ValueError for more than MOST arrays, and for those of several shapes."""
    if len(xs) > MOST:
        raise ValueError(f"weighted_sum takes {MOST} arrays at most in one launch, given {len(xs)}")
    more = MOST - len(xs)
    return _launch((*xs, *[None] * more), varying=(*weights, *[0.0] * more))[0]
