"""Floor 6: values as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .array import to_host
from .core import Tensor
from .dtypes import bfloat16
from .levels import Traced


def _number(values: np.ndarray) -> Callable[[Any], str]:
    """How PyTorch prints floats: 4 decimals, "2." where all are whole, exponents where sizes differ by 1,000."""
    finite = np.abs(values[np.isfinite(values) & (values != 0)].astype(np.float64))
    low, high = (finite.min(), finite.max()) if finite.size else (1.0, 1.0)
    whole, wide = bool((finite == np.ceil(finite)).all()), high / low > 1000 or high > 1e8
    if whole:
        form = "{:.4e}".format if wide else "{:.0f}.".format
    else:
        form = "{:.4e}".format if wide or low < 1e-4 else "{:.4f}".format
    plain = lambda v: form(v) if np.isfinite(v) else str(float(v))
    width = max([len(plain(v)) for v in values.ravel()[:1000] if np.isfinite(v)], default=0)
    return lambda v: plain(v).rjust(width)


def text(t: Tensor) -> str:
    """The values of a tensor, as PyTorch prints them."""
    if isinstance(t.array, Traced):
        return repr(t.array)
    values = to_host(t.array)
    values = values.astype(np.float32) if values.dtype == bfloat16 else values
    if not values.ndim:
        return (_number(values.reshape(1))(values) if values.dtype.kind == "f" else str(values)).strip()
    options: Any = {"formatter": {"float_kind": _number(values)}} if values.dtype.kind == "f" else {}
    return np.array2string(values, separator=", ", prefix="tensor(", threshold=1000, max_line_width=80, **options)
