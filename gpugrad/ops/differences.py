"""Differences of neighbours, and areas under samples."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from typing import Any

from ..core import raw
from ..dtypes import wide
from ..forward import boxed, checked_axis, fit
from ..op import op
from .casting import astype
from .index import getitem
from .logic import not_equal
from .pad import _pad
from .reduce import sum
from .scan import along
from .shape import broadcast_to, concat, reshape


def _neighbours(x: Any, axis: int) -> tuple[Any, Any]:
    """(all but the first, all but the last) along `axis`."""
    n = raw(x).ndim
    return getitem(x, along(axis, n, slice(1, None))), getitem(x, along(axis, n, slice(None, -1)))


def _edged(g: Any, axis: int) -> Any:
    return _pad(g, width=tuple([(1, 1) if i == axis % len(g.shape) else (0, 0) for i in range(len(g.shape))]))


@op(x=lambda g, axis: -_diff(_edged(g, axis), axis=axis), name="diff", batch="along", linear=True)
def _diff(xp: Any, x: Any, *, axis: int) -> Any:
    return x[along(axis, x.ndim, slice(1, None))] - x[along(axis, x.ndim, slice(None, -1))]


def diff(x: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """x[i+1] - x[i] along `axis`, `n` times; of booleans, whether they differ.

    `prepend` and `append` are numbers or arrays to be joined to x first.  ValueError for a negative n, a wrong axis.
    """
    x = boxed(x, "diff")
    axis = checked_axis("diff", axis, raw(x).ndim)
    if n < 0:
        raise ValueError(f"diff: n is {n}; it is how many times differences are taken, 0 or more")
    parts = fit([p for p in (prepend, x, append) if p is not None], "diff")
    if len(parts) > 1:
        one = [1 if i == axis else m for i, m in enumerate(raw(x).shape)]
        x = concat([p if raw(p).ndim else broadcast_to(p, one) for p in parts], axis)
    for _ in range(min(n, raw(x).shape[axis])):
        x = not_equal(*_neighbours(x, axis)) if raw(x).dtype == bool else _diff(x, axis=axis)
    return x


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """The area under y along `axis`, by the trapezoidal rule: Σ (y[i] + y[i+1]) / 2 times the step.

    The step is `dx`, or x[i+1] - x[i]: x is a vector as long as that axis, or of the shape of y.  ValueError otherwise.
    """
    y = boxed(y, "trapezoid")
    n = raw(y).ndim
    axis = checked_axis("trapezoid", axis, n)
    if x is not None:
        y, x = fit([y, x], "trapezoid")
        have, wanted = raw(x).shape, raw(y).shape
        if len(have) == 1 == have.count(wanted[axis]):
            x = reshape(x, [-1 if i == axis else 1 for i in range(n)])
        elif have != wanted:
            raise ValueError(
                f"trapezoid: x has shape {list(have)}; it is a vector of {wanted[axis]} elements or has the shape of "
                f"y, {list(wanted)}"
            )
        dx = diff(x, axis=axis)
    dtype = raw(y).dtype
    later, earlier = _neighbours(astype(y, wide(dtype)), axis)
    out = sum((later + earlier) * dx, axis=axis) * 0.5
    return astype(out, dtype) if raw(out).dtype == wide(dtype) else out
