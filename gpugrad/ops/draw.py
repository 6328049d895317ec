"""Uniform and normal numbers and integers as arrays, from a key and the number of the draw: nothing is kept between.

On the CPU they are NumPy's, of its Philox 4x64; elsewhere Philox 4x32 makes the bits and array functions the rest.
Either way the upper half of the counter is the number of the draw plus 1: `dropout` draws where it is 0.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from .. import fused
from ..array import Array, Device
from ..dtypes import float32


def source(device: Device, key: int, draw: int) -> Any:
    """What draw number `draw` takes its numbers from: NumPy's Generator, or one with three of its methods."""
    return Words(device, key, draw) if device.library.compiles else _numpys(key, draw + 1)


_made = threading.local()


def _numpys(key: int, upper: int) -> np.random.Generator:
    """NumPy's Generator with this key, the counter's second word being `upper`: a thread's only one, set to that."""
    try:
        bits, state, generator = _made.one
    except AttributeError:
        bits = np.random.Philox(key=0)  # to make one takes 12 us, to set it 2
        _made.one = bits, state, generator = bits, bits.state, np.random.Generator(bits)
    state["state"]["key"] = np.array([key, 0], np.uint64)
    state["state"]["counter"] = np.array([0, upper, 0, 0], np.uint64)
    bits.state = state
    return generator


class Words:
    """The numbers of one draw on a device whose library compiles kernels."""

    def __init__(self, device: Device, key: int, draw: int) -> None:
        self.device, self.key, self.draw = device, key, draw

    def _bits(self, n: int) -> Array:
        return fused.random_bits(self.device, n, self.key, self.draw + 1)

    def _long(self, n: int) -> Array:
        return self._bits(2 * n).view(np.uint64)

    def random(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """Uniform in [0, 1): multiples of 2^-24 for float32, of 2^-53 for float64."""
        n, short = math.prod(shape), dtype == float32
        words = self._bits(n) >> 8 if short else self._long(n) >> 11
        return (words.astype(dtype) * dtype.type(2.0 ** (-24 if short else -53))).reshape(shape)

    def standard_normal(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """By pairs: radius and angle from two words each (Box & Muller 1958)."""
        xp, n, short = self.device.library.xp, math.prod(shape), dtype == float32
        half = -(-n // 2)
        words, steps = (self._bits(2 * half), -32) if short else (self._long(2 * half) >> 11, -53)
        first, second = words[:half].astype(dtype), words[half:].astype(dtype)
        radius = xp.sqrt(xp.log((first + 1) * dtype.type(2.0**steps)) * -2)  # of (0, 1]
        angle = second * dtype.type(2 * math.pi * 2.0**steps)
        return xp.concatenate([radius * xp.cos(angle), radius * xp.sin(angle)])[:n].reshape(shape)

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> Array:
        """Uniform in low .. high - 1, but for (high - low) / 2^64 of the probability."""
        words = self._long(math.prod(shape)) % np.uint64(high - low)
        return (words.astype(np.int64) + low).reshape(shape)
