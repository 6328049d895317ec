"""What the functions of matrices share: arguments are checked, half types and integers computed in float32 or more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import raw
from ..dtypes import bfloat16, default_float, float16, is_inexact, wide
from ..forward import boxed
from .casting import astype
from .math import conj
from .shape import matrix_transpose

LinAlgError = np.linalg.LinAlgError
NO_SVD, NO_EIGENVALUES = "the singular values did not converge", "the eigenvalues did not converge"


def widened(x: Any) -> Any:
    """x in a dtype that LAPACK has: half types in float32, integers in the default float dtype."""
    d = raw(x).dtype
    return astype(x, wide(d if is_inexact(d) else default_float()))


def matrices(name: str, x: Any, square: bool = False, argument: str = "x") -> Any:
    """`widened` x.  LinAlgError, naming the op and its argument, unless x holds matrices, and square ones if so."""
    x = boxed(x, name)
    shape = raw(x).shape
    if len(shape) < 2:
        raise LinAlgError(f"{name}: {argument} needs at least two axes, given the shape {shape}")
    if square and shape[-1] != shape[-2]:
        raise LinAlgError(f"{name}: {argument} needs square matrices, given the shape {shape}")
    return widened(x)


def narrowed(out: Any, x: Any) -> Any:
    """`out`, computed from `widened(x)`, in the dtype of x if that is a half type."""
    d = getattr(raw(x), "dtype", None)
    return astype(out, d) if d in (float16, bfloat16) else out


def lapack(words: str, f: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """f(*args), with `words` in the place of NumPy's where it refuses the values."""
    try:
        return f(*args, **options)
    except LinAlgError:
        raise LinAlgError(words) from None


def bar(x: Any) -> Any:
    """The complex conjugate; a real array as it is."""
    return conj(x) if x.dtype.kind == "c" else x


def adjoint(x: Any) -> Any:
    """The conjugate transposes."""
    return bar(matrix_transpose(x))
