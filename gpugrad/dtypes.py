"""Floor 0: the dtypes that gpugrad computes with."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

DTypeLike = Any

bfloat16 = np.dtype(ml_dtypes.bfloat16)
float16, float32, float64 = np.dtype("float16"), np.dtype("float32"), np.dtype("float64")
complex64, complex128 = np.dtype("complex64"), np.dtype("complex128")
int8, int16, int32, int64 = np.dtype("int8"), np.dtype("int16"), np.dtype("int32"), np.dtype("int64")
uint8, bool_ = np.dtype("uint8"), np.dtype("bool")

_HALF = {float16, bfloat16}


def is_float(dtype: np.dtype) -> bool:
    """Real floating point, bfloat16 included (NumPy files it under kind 'V')."""
    return dtype.kind == "f" or dtype == bfloat16


def is_inexact(dtype: np.dtype) -> bool:
    """A dtype that has gradients: real or complex floating point."""
    return dtype.kind in "fc" or dtype == bfloat16


def category(dtype: np.dtype) -> int:
    """bool, integers, floats, complex numbers, in this order."""
    return 2 if dtype == bfloat16 else {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}[dtype.kind]


def as_dtype(value: DTypeLike) -> np.dtype:
    """`value` as a NumPy dtype.  TypeError if it names none, or one that gpugrad does not compute with."""
    if isinstance(value, str) and value == "bfloat16":
        return bfloat16
    try:
        dtype = np.dtype(value)
    except TypeError:
        raise TypeError(f"{value!r} is no dtype; write for example gg.float32, 'float32' or numpy.float32") from None
    if dtype.kind not in "biufc" and dtype != bfloat16:
        raise TypeError(
            f"dtype {dtype} holds no numbers; gpugrad computes with floating, complex, integer and bool arrays"
        )
    return dtype


def wide(dtype: np.dtype) -> np.dtype:
    """The dtype in which sums and products of `dtype` are accumulated: float32 for the half types."""
    if dtype is float32 or dtype is float64:  # hashing a dtype costs more than the rest
        return dtype
    return float32 if dtype in _HALF else dtype


_default_float: list[np.dtype] = [float32]


def default_float() -> np.dtype:
    """The dtype of floats that come from Python numbers (float32 unless `set_default_dtype` said otherwise)."""
    return _default_float[0]


def set_default_dtype(dtype: DTypeLike) -> None:
    """The dtype that Python floats, and integers met by a float function, turn into.  A real floating dtype."""
    d = as_dtype(dtype)
    if not is_float(d):
        raise TypeError(f"the default dtype must be floating (e.g. gg.float32), got {d}")
    _default_float[0] = d
