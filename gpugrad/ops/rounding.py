"""Whole numbers near x, quotients and remainders by them.  A step has gradient 0, at its edge too."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from typing import Any

from ..dtypes import is_inexact
from ..forward import ufunc
from ..op import op
from .casting import view, zeros_like


def _steps(name: str, ufuncs: str = "") -> Any:
    numpys = ufunc(ufuncs or name)

    def forward(xp: Any, x: Any) -> Any:
        return numpys(xp, x) if is_inexact(x.dtype) else view(x)  # CuPy would answer floats for integers

    forward.__doc__ = numpys.__doc__
    return op(forward, name=name, x=lambda g: zeros_like(g))


floor, ceil, trunc, round = _steps("floor"), _steps("ceil"), _steps("trunc"), _steps("round", "rint")


@op(x=lambda g: g, y=lambda g, x, y: -g * floor_divide(x, y))
def remainder(xp: Any, x: Any, y: Any) -> Any:
    """x - floor(x / y) * y, the sign of y."""
    return xp.remainder(x, y)


@op(x=lambda g: zeros_like(g), y=lambda g: zeros_like(g))
def floor_divide(xp: Any, x: Any, y: Any) -> Any:
    """floor(x / y)."""
    return xp.floor_divide(x, y)
