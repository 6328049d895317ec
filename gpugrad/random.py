"""Floor 6: random tensors.  `gg.random.seed(n)` makes this thread's numbers repeat on each device."""

from __future__ import annotations

import threading
from typing import Any

from . import array as _array
from .array import Device, DTypeLike, as_dtype, default_device, default_float
from .core import Tensor, wrap
from .tensor import _size


class _Generators(threading.local):
    def __init__(self) -> None:
        self.seed: int | None = None
        self.by_device: dict[Device, Any] = {}


_generators = _Generators()


def seed(value: int) -> None:
    """Start this thread's generators anew: the same seed gives the same numbers on the same device."""
    _generators.seed = int(value)
    _generators.by_device = {}


def generator(dev: Device) -> Any:
    """The generator of `dev` (numpy's or cupy's `Generator`), made on first use from the seed."""
    g = _generators.by_device.get(dev)
    if g is None:
        g = _generators.by_device[dev] = dev.library.generator(_generators.seed, dev)
    return g


def _draw(method: str, shape: Any, dtype: DTypeLike, device: str | Device | None, scale: float, shift: float) -> Tensor:
    d = default_device() if device is None else _array.device(device)
    kind = as_dtype(dtype or default_float())
    drawn = kind if kind in (_array.float32, _array.float64) else _array.float32
    with d.library.scope(d):
        x = getattr(generator(d), method)(_size(shape), dtype=drawn)
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
        return wrap(d.library.xp.asarray(generator(d).integers(low, high, _size(shape))))


def permutation(n: int, device: str | Device | None = None) -> Tensor:
    """The integers 0 .. n - 1 in random order."""
    d = default_device() if device is None else _array.device(device)
    with d.library.scope(d):
        return wrap(d.library.xp.asarray(generator(d).random(n)).argsort())
