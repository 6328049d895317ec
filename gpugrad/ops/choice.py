"""The larger, the smaller, limits.

Kinks: maximum and minimum share the gradient at a tie; clip passes it at the bound.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import operator
from typing import Any

from ..core import Tensor, raw
from ..forward import pair, ufunc
from ..op import op
from .logic import greater, less, logical_or, not_equal, pick, where


def _share(g: Any, x: Any, y: Any, first: Any) -> Any:
    """`g` where the condition holds, half of it at a tie."""
    x, y = raw(x), raw(y)
    mask = (first(x, y) + (x == y) * 0.5).astype(g.dtype)
    return g * mask


maximum = op(
    ufunc("maximum"),
    x=lambda g, x, y: _share(g, x, y, operator.gt),
    y=lambda g, x, y: _share(g, x, y, operator.lt),
)
minimum = op(
    ufunc("minimum"),
    x=lambda g, x, y: _share(g, x, y, operator.lt),
    y=lambda g, x, y: _share(g, x, y, operator.gt),
)


@op(x=lambda g, x, min, max: pick(_inside(raw(x), min, max), g, 0))
def _clip(xp: Any, x: Any, *, min: Any = None, max: Any = None) -> Any:
    if min is not None:
        x = xp.maximum(*pair(x, min))
    return x if max is None else xp.minimum(*pair(x, max))


def _inside(x: Any, low: Any, high: Any) -> Any:
    inside = x == x
    if low is not None:
        inside = inside & (x >= low)
    return inside if high is None else inside & (x <= high)


def clip(x: Any, min: Any = None, max: Any = None) -> Any:
    """x limited to [min, max], numbers or arrays, which have a gradient too where they limit x.

    ValueError for a number that is NaN, and for numbers with min > max.
    """
    for name, bound in (("min", min), ("max", max)):
        if isinstance(bound, float) and bound != bound:
            raise ValueError(f"clip: {name} is NaN; give a number, or None for no bound")
    if isinstance(min, (int, float)) and isinstance(max, (int, float)) and min > max:
        raise ValueError(f"clip: min {min} is above max {max}")
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        for bound, beyond in ((min, less), (max, greater)):
            if bound is not None:
                x = where(logical_or(beyond(x, bound), not_equal(bound, bound)), bound, x)  # a NaN limits, too
        return x
    return _clip(x, min=min, max=max)
