"""The tail of the normal distribution for float32 on the CPU, in NumPy's own loops: four times as fast as SciPy's ndtr.

1 - Φ(t) = exp(-t²/2) g(t), and g is smooth: a polynomial of degree 8 in u = 1 / (1 + 0.3 t), fitted for the smallest
relative error on 0 <= t <= 14, beyond which the tail is 0 in float32.  The fit is off by 6e-8; rounding in float32
makes that 1e-7 in the mean, and up to 4e-6 far out, where exp(-t²/2) magnifies the rounding of t².
"""

from __future__ import annotations

import numpy as np

from ..dtypes import float32

_C = float32.type(0.3)
_G = np.array([
    7.26173446e-06, 1.19486103e-01, 1.21931681e-01, 9.46391421e-02, 1.42639824e-01, -7.66575893e-02, 2.28792261e-01,
    -1.69230110e-01, 3.83914560e-02,
], float32)  # fmt: skip
_MOST = float32.type(40)  # so that no square overflows


def tail(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(t, 1 - Φ(t), exp(-t²/2)) for t = |z|, at most 40."""
    t = np.abs(z)
    np.minimum(t, _MOST, out=t)
    u = t * _C
    u += 1
    np.reciprocal(u, out=u)
    out = u * _G[-1]
    for a in _G[-2:0:-1]:
        out += a
        out *= u
    out += _G[0]
    e = np.multiply(t, t, out=u)
    e *= float32.type(-0.5)
    np.exp(e, out=e)
    out *= e
    return t, out, e


def gelu(z: np.ndarray) -> np.ndarray:
    """z Φ(z) = max(z, 0) - |z| (1 - Φ(|z|))."""
    t, q, _ = tail(z)
    q *= t
    return np.subtract(np.maximum(z, 0), q, out=q)


def gelu_slope(z: np.ndarray) -> np.ndarray:
    """Φ(z) + z φ(z): the tail q - t φ(t) where z < 0, else 1 minus that."""
    t, q, e = tail(z)
    e *= t
    e *= float32.type(1 / np.sqrt(2 * np.pi))
    q -= e
    above = (z >= 0).astype(float32)
    sign = above * -2
    sign += 1
    q *= sign
    q += above
    return q
