"""float16 to float32 and back on the CPU, by their bits: NumPy's own casts cost as much as a small product.

The bits of a float16, moved to where float32 has its exponent, are that number times 2⁻¹¹², whatever it is, but for
infinity and NaN.
"""

from __future__ import annotations

import numpy as np

from ..dtypes import float16, float32

SMALL = 4096  # elements for which NumPy's cast is as fast
_SCALE = np.float32(2.0**112)
_BITS = np.int32(0x8FFFE000 - 2**32)  # the sign, and what float16 has of the rest


def widened(x: np.ndarray) -> np.ndarray:
    """float16 as float32."""
    if x.size < SMALL or (x.view(np.uint16) & np.uint16(0x7FFF)).max() > 0x7BFF:
        return x.astype(float32)
    bits = x.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= _BITS
    out = bits.view(np.float32)
    out *= _SCALE
    return out


def narrowed(x: np.ndarray) -> np.ndarray:
    """float32 as float16, to the nearest, ties to even; what float16 has less than 11 bits for is rounded twice."""
    if x.size < SMALL or not (x.max() < 65504 and x.min() > -65504):
        return x.astype(float16)
    bits = (x * (1 / _SCALE)).view(np.uint32)
    rounded = bits >> 13
    rounded &= 1
    rounded += 0xFFF
    rounded += bits
    rounded >>= 13
    bits >>= 16
    bits &= 0x8000
    rounded |= bits
    return rounded.astype(np.uint16).view(np.float16)
