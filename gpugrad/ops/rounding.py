"""Whole numbers near x, quotients and remainders by them.

Kinks: a step has gradient 0, at its edge too.  At a multiple of y, remainders have the slopes of the side they are on.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import is_inexact, wide
from ..forward import select, ufunc
from ..op import elementwise
from .casting import view, zeros_like


def _steps(numpys: Any) -> Any:
    def forward(xp: Any, x: Any) -> Any:
        return numpys(xp, x) if is_inexact(x.dtype) else view(x)  # CuPy would answer floats for integers

    forward.__doc__ = numpys.__doc__
    return elementwise(forward, name=numpys.__name__, x=lambda g: zeros_like(g))


floor = _steps(ufunc("floor", doc="The next integer down; integers as they are.  Its gradient is 0."))
ceil = _steps(ufunc("ceil", doc="The next integer up; integers as they are.  Its gradient is 0."))
trunc = _steps(ufunc("trunc", doc="The next integer towards 0; integers as they are.  Its gradient is 0."))


@elementwise(x=lambda g: zeros_like(g))
def round(xp: Any, x: Any, *, decimals: int = 0) -> Any:
    """The nearest integer, the even one of two, or the nearest number of so many decimals.  Its gradient is 0.

    Negative decimals round to tens, hundreds and so on.
    """
    if is_inexact(x.dtype):
        return xp.round(x.astype(wide(x.dtype), copy=False), decimals).astype(x.dtype, copy=False)
    return view(x) if decimals >= 0 else xp.round(x, decimals)


@elementwise(x=lambda g: g)
def frac(xp: Any, x: Any) -> Any:
    """x - trunc(x), what comes after the point, with the sign of x.

    Kink: 1 at integers, too.
    """
    return x - xp.trunc(x) if is_inexact(x.dtype) else xp.zeros_like(x)


def _times(x: Any, y: Any, out: Any) -> Any:
    """How often y was taken from x; x / y may round to the next integer."""
    return round((x - out) / y)


def _is_numpys(xp: Any, x: Any, y: Any) -> bool:
    return xp is np or not any([is_inexact(v.dtype) if hasattr(v, "dtype") else isinstance(v, float) for v in (x, y)])


def _parts(xp: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """(floor(x / y), the remainder) of floats by way of fmod, which is exact, as NumPy has them.

    CuPy's remainder is x - floor(x / y) y: NaN for an infinite y, and of the wrong quotient where x / y rounds up.
    """
    rest = xp.fmod(x, y)
    x, y = xp.asarray(x, rest.dtype), xp.asarray(y, rest.dtype)
    other = (rest != 0) & ((rest < 0) != (y < 0))  # the sign of x, not that of y
    times = xp.round((x - rest) / y)
    times = select(xp, y == 0, x / y, select(xp, other, times - 1, times))
    size = xp.abs(rest)
    return times, select(xp, other, rest + y, select(xp, y < 0, -size, size))


@elementwise(x=lambda g: g, y=lambda g, x, y: -g * floor_divide(x, y), exact=("x", "y"))
def remainder(xp: Any, x: Any, y: Any) -> Any:
    """x - floor(x / y) y, with the sign of y."""
    return xp.remainder(x, y) if _is_numpys(xp, x, y) else _parts(xp, x, y)[1]


@elementwise(x=lambda g: g, y=lambda g, x, y, out: -g * _times(x, y, out), exact=("x", "y", "out"))
def fmod(xp: Any, x: Any, y: Any) -> Any:
    """x - trunc(x / y) y, with the sign of x."""
    return xp.fmod(x, y)


@elementwise(x=lambda g: zeros_like(g), y=lambda g: zeros_like(g))
def floor_divide(xp: Any, x: Any, y: Any) -> Any:
    """floor(x / y).  Its gradient is 0."""
    return xp.floor_divide(x, y) if _is_numpys(xp, x, y) else _parts(xp, x, y)[0]
