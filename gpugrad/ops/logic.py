"""Comparisons, logic, bits; a choice by a condition."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from typing import Any

import numpy as np

from ..array import asarray, device_of, library
from ..core import Tensor, raw, wrap
from ..dtypes import complex64, default_float, wide
from ..forward import boxed, operand, pair, select, ufunc
from ..op import elementwise
from ..origin import CONSTANT
from ..recording import lost


def const(f: Any) -> Any:
    """A function of arrays that has no gradient (comparisons, indices): its result is never tracked."""

    def call(*args: Any, **static: Any) -> Any:
        for a in args:
            if isinstance(a, Tensor) or library(a) is not None:
                break
        else:
            args = (boxed(args[0], f.__name__), *args[1:])
        out = f(*args, **static)
        for a in args:
            if isinstance(a, Tensor):
                return lost(wrap(raw(out), None, a.kind), f.__name__, args, CONSTANT)
        return out

    call.__name__ = call.__qualname__ = f.__name__
    call.__module__, call.__doc__ = f.__module__, f.__doc__  # where pickle finds it
    return call


def _predicate(name: str, numpys: str = "") -> Any:
    return const(elementwise(ufunc(numpys or name), name=name, differentiable=False))


equal, not_equal = _predicate("equal"), _predicate("not_equal")
less, less_equal = _predicate("less"), _predicate("less_equal")
greater, greater_equal = _predicate("greater"), _predicate("greater_equal")
logical_and, logical_or = _predicate("logical_and"), _predicate("logical_or")
logical_xor, logical_not = _predicate("logical_xor"), _predicate("logical_not")
bitwise_and, bitwise_or = _predicate("bitwise_and"), _predicate("bitwise_or")
bitwise_xor, bitwise_invert = _predicate("bitwise_xor"), _predicate("bitwise_invert", "invert")
bitwise_left_shift = _predicate("bitwise_left_shift", "left_shift")
bitwise_right_shift = _predicate("bitwise_right_shift", "right_shift")
isfinite, isinf, isnan, signbit = [_predicate(name) for name in ("isfinite", "isinf", "isnan", "signbit")]


@const
@elementwise(differentiable=False)
def isclose(xp: Any, x: Any, y: Any, *, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether |x - y| <= atol + rtol |y|, or both are the same infinity, or with `equal_nan` both are NaN."""
    x, y = [v.astype(wide(v.dtype), copy=False) if hasattr(v, "dtype") else v for v in (x, y)]
    return xp.isclose(x, y, rtol, atol, equal_nan)


def where(condition: Any, x: Any, y: Any) -> Any:
    """x where `condition` holds, else y.  No gradient reaches the condition.

    The condition is a Tensor or an array; x and y may be numbers (both: the result is of the default float dtype, or of
    integers).
    """
    condition = boxed(condition, "where")
    mask = raw(condition)
    if not any([isinstance(v, Tensor) or library(v) is not None for v in (x, y)]):
        kind = default_float() if isinstance(x, float) or isinstance(y, float) else None
        x = asarray(x, kind, device_of(mask))
    # NumPy's scalars are weak beside a Tensor; beside an array they may be a 0-d result.
    if isinstance(y, np.generic) and isinstance(x, Tensor):
        y = operand(y, x.array)
    elif isinstance(x, np.generic) and isinstance(y, Tensor):
        x = operand(x, y.array)
    out = pick(mask, x, y)
    if isinstance(condition, Tensor):
        out = out if isinstance(out, Tensor) else wrap(out, None, condition.kind)
        lost(out, "where", (condition,), CONSTANT)
    return out


@elementwise(name="where", mask=None, x=lambda g, mask: pick(mask, g, 0), y=lambda g, mask: pick(mask, 0, g))
def pick(xp: Any, mask: Any, x: Any, y: Any) -> Any:
    """`where` of a mask that is an array."""
    if not hasattr(x, "dtype"):
        y, x = _weak(xp, y, x)
    elif not hasattr(y, "dtype"):
        x, y = _weak(xp, x, y)
    return select(xp, mask, x, y)


def _weak(xp: Any, x: Any, number: Any) -> Any:
    """`pair`, with the number as an array: xp.where alone would make it strong on some versions."""
    x, number = pair(x, number)
    return x, xp.asarray(number, np.result_type(wide(x.dtype), complex64) if isinstance(number, complex) else x.dtype)
