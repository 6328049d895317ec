"""Floor 0: special functions of NumPy arrays: SciPy's; without it, erf and ndtr are Python's, an element at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np


@cache
def _scipy() -> Any:
    try:
        from scipy import special  # pyright: ignore[reportMissingImports]  (optional)
    except ImportError:
        return None
    return special


def __getattr__(name: str) -> Any:
    """SciPy's function of this name.  ImportError where SciPy is missing."""
    if name.startswith("__"):
        raise AttributeError(name)
    special = _scipy()
    if special is None:
        raise ImportError(f"{name} on the CPU is SciPy's, which is not installed: pip install 'gpugrad[scipy]'")
    return getattr(special, name)


def _each(f: Callable[[float], float], x: np.ndarray) -> np.ndarray:
    return np.fromiter(map(f, x.ravel().tolist()), np.float64, x.size).reshape(x.shape)


def erf(x: np.ndarray) -> np.ndarray:
    """The error function of float32 or float64."""
    special = _scipy()
    return np.asarray(_each(math.erf, x) if special is None else special.erf(x)).astype(x.dtype, copy=False)


def ndtr(x: np.ndarray) -> np.ndarray:
    """The normal distribution function, ½ erfc(-x / √2): ½ (1 + erf) would lose its lower tail.  float32 or float64."""
    special = _scipy()
    out = _each(math.erfc, x * -math.sqrt(0.5)) * 0.5 if special is None else special.ndtr(x)
    return np.asarray(out).astype(x.dtype, copy=False)
