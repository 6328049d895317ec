"""Columns of numbers in a dtype of floats that may not tell them apart: what is lost is said."""

from __future__ import annotations

import warnings

import numpy as np
from ml_dtypes import finfo

_TRIED = 10_000  # values of a column


def narrowed(a: np.ndarray, dtype: np.dtype, path: str, name: str, tried: set[str]) -> np.ndarray:
    """A column of floats in another dtype of floats.  ValueError for a number that overflows.

    A warning where numbers that differ become equal, among the first ones: once for each name.
    tried   the names that are not looked at; this one joins them
    """
    looks = name not in tried
    tried.add(name)
    with np.errstate(over="ignore"):
        out = a.astype(dtype, copy=False)
    if out.dtype.itemsize < a.dtype.itemsize:
        if np.isfinite(out).sum() < np.isfinite(a).sum():
            raise ValueError(
                f'{path}: column {name!r} has numbers that are too large for {dtype}; write dtype="float64"'
            )
        values = np.unique(a.ravel()[:_TRIED]) if looks else a[:0]
        left = len(np.unique(values.astype(dtype).astype(a.dtype)))
        if left < 0.99 * len(values):  # the last digits of a few, as by chance, are none that matter
            warnings.warn(
                f"{path}: column {name!r} has {len(values)} different numbers among the first {_TRIED:,} values, of "
                f'which {dtype} leaves {left}; subtract an offset in the file, or write dtype="float64"; '
                f'dtype="{dtype}" says that it does not matter',
                stacklevel=3,
            )
    return out


def check_integers(x: np.ndarray, dtype: np.dtype, path: str, name: str) -> None:
    """ValueError for integers that are too large for a dtype of floats to tell them apart."""
    bits = finfo(dtype).nmant + 1
    if x.dtype.kind in "iu" and x.size and (x.max() >= 2**bits or x.min() <= -(2**bits)):
        raise ValueError(
            f"{path}: column {name!r} has integers from 2**{bits} on, which lose digits as {dtype} beside floats in "
            f'one x; leave it out with columns=, or write dtype=: "float64" tells those below 2**53 apart, and '
            f'"{dtype}" says that it does not matter'
        )
