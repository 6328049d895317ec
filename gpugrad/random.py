"""Floor 6: random tensors.  `gg.random.seed(n)` makes this thread's numbers repeat on each device."""

from __future__ import annotations

from typing import Any

from . import array as _array
from .array import Device, DTypeLike, as_dtype, default_device, default_float, seed as seed
from .core import Tensor, wrap
from .tensor import _size


def _draw(method: str, shape: Any, dtype: DTypeLike, device: str | Device | None, scale: float, shift: float) -> Tensor:
    d = default_device() if device is None else _array.device(device)
    kind = as_dtype(dtype or default_float())
    drawn = kind if kind in (_array.float32, _array.float64) else _array.float32
    with d.library.scope(d):
        x = getattr(_array.generator(d), method)(_size(shape), dtype=drawn)
        if scale != 1 or shift != 0:
            x = x * scale + shift
        return wrap(d.library.xp.asarray(x).astype(kind, copy=False))


def normal(
    shape: Any = (), mean: float = 0.0, std: float = 1.0, dtype: DTypeLike = None, device: str | Device | None = None
) -> Tensor:
    """Normal numbers.  ValueError unless std >= 0."""
    if not std >= 0:
        raise ValueError(f"normal: std must be 0 or more, given {std}")
    return _draw("standard_normal", shape, dtype, device, std, mean)


def uniform(
    shape: Any = (), low: float = 0.0, high: float = 1.0, dtype: DTypeLike = None, device: str | Device | None = None
) -> Tensor:
    """Uniform numbers in [low, high).  ValueError unless low <= high."""
    if not low <= high:
        raise ValueError(f"uniform: low must not be above high, given {low} and {high}")
    return _draw("random", shape, dtype, device, high - low, low)


def randint(low: int, high: int, shape: Any = (), device: str | Device | None = None) -> Tensor:
    """Uniform integers in low .. high - 1.  ValueError unless low < high."""
    if not low < high:
        raise ValueError(f"randint: low must be below high, given {low} and {high}")
    d = default_device() if device is None else _array.device(device)
    with d.library.scope(d):
        return wrap(d.library.xp.asarray(_array.generator(d).integers(low, high, _size(shape))))


def permutation(n: int, device: str | Device | None = None) -> Tensor:
    """The integers 0 .. n - 1 in random order."""
    d = default_device() if device is None else _array.device(device)
    with d.library.scope(d):
        return wrap(d.library.xp.asarray(_array.generator(d).random(n)).argsort())
