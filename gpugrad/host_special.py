"""Floor 0: special functions of NumPy arrays: SciPy's.

Without it, erf, erfc, ndtr and gammaln are Python's, an element at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .files import install


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
        raise ImportError(f"{name} on the CPU is SciPy's, which is not installed: {install('scipy')}")
    return getattr(special, name)


def _each(f: Callable[[float], float], x: np.ndarray) -> np.ndarray:
    return np.fromiter(map(f, x.ravel().tolist()), np.float64, x.size).reshape(x.shape)


def _either(name: str, f: Callable[[float], float], x: np.ndarray) -> np.ndarray:
    special = _scipy()
    return np.asarray(_each(f, x) if special is None else getattr(special, name)(x)).astype(x.dtype, copy=False)


def erf(x: np.ndarray) -> np.ndarray:
    """The error function."""
    return _either("erf", math.erf, x)


def erfc(x: np.ndarray) -> np.ndarray:
    """1 - erf(x)."""
    return _either("erfc", math.erfc, x)


def gammaln(x: np.ndarray) -> np.ndarray:
    """log |Γ(x)|."""
    return _either("gammaln", _lgamma, x)


def _lgamma(x: float) -> float:
    return math.inf if x <= 0 and x == math.floor(x) else math.lgamma(x)  # Python raises at a pole


def ndtr(x: np.ndarray) -> np.ndarray:
    """The normal distribution function, ½ erfc(-x / √2): ½ (1 + erf) would lose its lower tail."""
    return _either("ndtr", lambda v: 0.5 * math.erfc(v * -math.sqrt(0.5)), x)
