"""Uniform and normal numbers and integers, from a key and the number of the draw: nothing is kept between.

On the CPU they are NumPy's, of its Philox 4x64; elsewhere Philox 4x32 makes the bits and array functions the rest.
Either way the upper half of the counter is the number of the draw plus 1: `dropout` draws where it is 0.
"""

from __future__ import annotations

import math
import threading
from operator import index
from typing import Any

import numpy as np

from .. import array as _array, fused
from ..array import Array, Device, default_device, device_of, library
from ..core import Tensor, raw, wrap
from ..dtypes import DTypeLike, as_dtype, bfloat16, default_float, float16, float32, float64, int64, is_inexact
from ..forward import boxed, promoted, size_of
from ..generator import Generator, counters
from ..hooks import exhausting
from .casting import astype


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

    def permutation(self, n: int) -> Array:
        """The integers 0 .. n - 1 in random order."""
        return self.random((n,), float64).argsort()


# ---------------------------------------------------------------------------------------------- what is asked for
_GRID = {float16: 2.0**11, bfloat16: 2.0**8}  # of the numbers in [0, 1) that half types have


class Place:
    """Where and how numbers are drawn: shape, dtype and device, from what was asked for and the parameters."""

    def __init__(
        self, shape: Any, dtype: DTypeLike, device: Any, seed: int | None, generator: Generator | None, *parameters: Any
    ) -> None:
        arrays = [a for a in map(raw, parameters) if library(a) is not None]
        kinds = [a.dtype for a in arrays if is_inexact(a.dtype)]
        size = size_of(shape)
        self.shape = np.broadcast_shapes(size, *[a.shape for a in arrays]) if arrays else size
        self.dtype = as_dtype(dtype) if dtype is not None else promoted(*kinds) if kinds else default_float()
        if device is None:
            self.device = device_of(arrays[0]) if arrays else default_device()
        else:
            self.device = _array.device(device)
        self.seed, self.generator = seed, generator

    def draw(self, method: str, *args: Any, **options: Any) -> Any:
        """A new array of such numbers."""
        key, offset = counters(self.device, 1, self.seed, self.generator)
        lib = self.device.library
        with exhausting(f"a draw of {method}"), lib.scope(self.device):
            drawn = getattr(source(self.device, key, offset), method)(*args, **options)
            return lib.asarray(drawn, None, self.device)

    def numbers(self, method: str) -> Any:
        """Floats, in a dtype to compute in."""
        return self.draw(method, self.shape, dtype=self.dtype if self.dtype in (float32, float64) else float32)

    def uniform(self) -> Any:
        """Numbers in [0, 1)."""
        x = self.numbers("random")
        grid = _GRID.get(self.dtype)  # the nearest number of a half type may be 1
        return x if grid is None else self.device.library.xp.floor(x * grid) / grid

    def moved(self, x: Any, scale: Any, shift: Any) -> Tensor:
        """x scale + shift, with gradients to them where they are Tensors."""
        if all([isinstance(p, (int, float)) for p in (scale, shift)]):
            x = x if scale == 1 and shift == 0 else x * scale + shift
            return wrap(x.astype(self.dtype, copy=False))
        t = wrap(x.astype(self.dtype, copy=False))
        return fitted(shift, t) + fitted(scale, t) * t


def integers(name: str, at: Place, low: Any, high: Any, endpoint: bool = False) -> Tensor:
    """Integers from low to high - 1, or to high if `endpoint`, of the dtype of the place.

    TypeError for bounds that are no integers; ValueError unless low < high, and for what the dtype does not hold.
    """
    try:
        first, end = index(low), index(high) + bool(endpoint)
    except TypeError:
        raise TypeError(f"{name}: low and high are integers, given {low!r:.60} and {high!r:.60}") from None
    if not first < end:
        raise ValueError(f"{name}: low must be below high, given {low} and {high}")
    if at.dtype.kind not in "iu":
        raise TypeError(f"{name}: dtype {at.dtype} is none of integers")
    limits = [np.iinfo(d) for d in (at.dtype, int64)]  # they are drawn in 64 bits
    if [d for d in limits if first < d.min or end - 1 > d.max]:
        raise ValueError(f"{name}: {at.dtype} does not hold all of {first} .. {end - 1}")
    return wrap(at.draw("integers", first, end, at.shape).astype(at.dtype, copy=False))


def fitted(parameter: Any, t: Tensor) -> Any:
    """A parameter in the dtype of t; a number as it is."""
    return astype(parameter, t.array.dtype) if library(raw(parameter)) is not None else parameter


def given(name: str, dtype: DTypeLike, *parameters: Any) -> list[Any]:
    """The parameters of a distribution, lists as Tensors.  TypeError for a dtype without fractions."""
    if dtype is not None and not is_inexact(as_dtype(dtype)):
        raise TypeError(f"{name}: dtype {as_dtype(dtype)} holds no fractions; give a floating one")
    return [p if isinstance(p, (int, float)) else boxed(p, name) for p in parameters]


def check(name: str, what: str, good: Any, value: Any) -> None:
    """ValueError unless all are good; of parameters on a GPU, which is not waited for, nothing is said."""
    if good is not True and library(good) in (None, _array.NUMPY) and not np.all(good):
        raise ValueError(f"{name}: {what}, given {value if library(raw(value)) is None else 'others'}")
