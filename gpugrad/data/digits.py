"""Columns of numbers in a dtype of floats that may not tell them apart: what is lost is said."""

from __future__ import annotations

import warnings

import numpy as np
from ml_dtypes import finfo

_TRIED = 10_000  # values of a column


def narrowed(a: np.ndarray, dtype: np.dtype, what: str, looks: bool) -> np.ndarray:
    """An array of floats in another dtype of floats.  ValueError, about `what`, for a number that overflows.

    looks   whether a warning is given where numbers that differ become equal, among the first ones
    """
    with np.errstate(over="ignore"):
        out = a.astype(dtype, copy=False)
    if out.dtype.itemsize < a.dtype.itemsize:
        if np.isfinite(out).sum() < np.isfinite(a).sum():
            raise ValueError(f'{what} has numbers that are too large for {dtype}; write dtype="float64"')
        values = np.unique(a.ravel()[:_TRIED]) if looks else a[:0]
        left = len(np.unique(values.astype(dtype).astype(a.dtype)))
        if left < 0.99 * len(values):  # the last digits of a few, as by chance, are none that matter
            warnings.warn(
                f"{what} has {len(values)} different numbers among the first {_TRIED:,} values, of which {dtype} "
                f'leaves {left}; subtract an offset in the file, or write dtype="float64"; dtype="{dtype}" says that '
                "it does not matter",
                stacklevel=3,
            )
    return out


def check_integers(x: np.ndarray, dtype: np.dtype, what: str) -> None:
    """ValueError, about `what`, for integers that are too large for a dtype of floats to tell them apart."""
    bits = finfo(dtype).nmant + 1
    if x.dtype.kind in "iu" and x.size and (x.max() >= 2**bits or x.min() <= -(2**bits)):
        raise ValueError(
            f"{what} has integers from 2**{bits} on, which lose digits as {dtype} beside floats in one x; leave it out "
            f'with columns=, or write dtype=: "float64" tells those below 2**53 apart, and "{dtype}" says that it does '
            "not matter"
        )
