"""Lengths of tensors: scaled to one, or limited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core import raw
from ..dtypes import is_inexact, wide
from ..forward import boxed, checked_axes
from .casting import astype
from .choice import maximum, minimum
from .linalg import vector_norm
from .logic import where
from .math import abs, divide, multiply, rsqrt, sqrt, square, total
from .matrices import widened
from .matrix_functions import matrix_norm
from .reduce import Axis, sum


def _squares(x: Any, **over: Any) -> Any:
    """The sum of |x|², of half types in float32."""
    x = boxed(x, "norm")
    return sum(square(abs(astype(x, wide(x.dtype)) if is_inexact(x.dtype) else x)), **over)


def _like(out: Any, x: Any) -> Any:
    return astype(out, raw(x).dtype) if is_inexact(raw(x).dtype) else out


def norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Any:
    """The `ord`-norm of vectors along an `axis`, 2 if not said, or of matrices in two axes, "fro" if not said.

    As `numpy.linalg.norm`, by `linalg.vector_norm` and `linalg.matrix_norm`: without both it is the 2-norm of all
    elements, with `ord` alone that of a vector or matrix.  ValueError for other axes and for an `ord` that is no norm.
    """
    x = boxed(x, "norm")
    if axis is None and ord is None:
        return vector_norm(x, keepdims=keepdims)
    axes = checked_axes("norm", axis, raw(x).ndim)
    if len(axes) == 1 and not isinstance(ord, str):
        return vector_norm(x, axis=axes, keepdims=keepdims, ord=2 if ord is None else ord)
    if len(axes) == 2:
        return matrix_norm(x, ord="fro" if ord is None else ord, axis=axes, keepdims=keepdims)
    raise ValueError(f"norm: ord {ord!r} over {len(axes)} axes is no norm; over one give a number, or give two axes")


def normalize(x: Any, axis: Axis = None, epsilon: float = 1e-12) -> Any:
    """x over its Euclidean length along `axis` (None: all), which counts as √epsilon where it is shorter."""
    x = boxed(x, "normalize")
    return _like(multiply(x, rsqrt(maximum(_squares(x, axis=axis, keepdims=True), epsilon))), x)


def l2_normalize(x: Any, axis: Axis = -1, eps: float = 1e-12) -> Any:
    """x over its Euclidean length along `axis` (None: all), which counts as `eps` where it is shorter.

    Half types are computed in float32.  The gradient of zeros is 1 / eps, PyTorch's.
    """
    x = boxed(x, "l2_normalize")
    full = widened(x)
    return _like(divide(full, maximum(vector_norm(full, axis, True), eps)), x)


def _limited(name: str, limit: Any, least: str) -> None:
    """ValueError for a limit that is no number `least`, TypeError for text; a Tensor is not looked at."""
    if isinstance(limit, (int, float)) and not (limit >= 0 if least == "from 0 on" else limit > 0):
        raise ValueError(f"{name}: the limit is a number {least}, not {limit!r}")
    if limit is None or isinstance(limit, (str, bytes)):
        raise TypeError(f"{name}: the limit is a number {least}, not {limit!r:.40}")


def clip_by_norm(x: Any, limit: Any, axis: Axis = None) -> Any:
    """x, scaled so that its Euclidean length along `axis` (None: all) is at most `limit`.

    ValueError for a limit that is a number below 0, or NaN.
    """
    _limited("clip_by_norm", limit, "from 0 on")
    x = boxed(x, "clip_by_norm")
    squares = _squares(x, axis=axis, keepdims=True)
    some = raw(squares) > 0
    length = where(some, sqrt(where(some, squares, 1)), 0)  # the gradient of a length of 0 is 0, not NaN
    return _like(divide(multiply(x, limit), maximum(length, limit)), x)


def global_norm(xs: Sequence[Any]) -> Any:
    """The Euclidean length of all tensors together; None among them is left out.  ValueError if there is none."""
    return sqrt(total([_squares(x) for x in xs if x is not None]))


def clip_by_global_norm(xs: Sequence[Any], limit: Any, length: Any = None) -> tuple[list[Any], Any]:
    """(all tensors, scaled by one factor so that their `length` together is at most `limit`, that length).

    NaN where the length is infinite (Pascanu et al. 2013).  ValueError for a limit that is a number not above 0.
    """
    _limited("clip_by_global_norm", limit, "above 0")
    length = global_norm(xs) if length is None else length
    scale = multiply(minimum(1 / length, 1 / limit), limit) + (length - length)
    return [None if x is None else _like(multiply(x, scale), x) for x in xs], length
