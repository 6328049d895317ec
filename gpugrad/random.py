"""Floor 6: random tensors.  `gg.random.seed(n)` makes this thread's numbers repeat on each device."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from . import array as _array, dtypes as _dtypes
from .array import Device, default_device
from .core import Tensor, wrap
from .dtypes import DTypeLike, as_dtype, default_float
from .ops.casting import astype
from .tensor import _size


class _Generators(threading.local):
    def __init__(self) -> None:
        self.seed: int | None = None
        self.by_device: dict[tuple[Device, int | None], Any] = {}
        self.counters: dict[tuple[Device, int | None], tuple[int, int]] = {}


_generators = _Generators()


def seed(value: int) -> None:
    """Start this thread's generators anew: the same seed gives the same numbers on the same device."""
    _generators.seed = int(value)
    _generators.by_device, _generators.counters = {}, {}


def _mixed(*numbers: int | None) -> int:
    """64 bits that the numbers determine."""
    given = [n % 2**64 for n in numbers if n is not None]
    return int(np.random.SeedSequence(given or None).generate_state(1, np.uint64)[0])


def generator(dev: Device, stream: int | None = None) -> Any:
    """The generator of `dev` (numpy's or cupy's `Generator`), made on first use from the seed.

    A `stream` is a sequence of its own, which the seed (none: 0) and its number determine.
    """
    g = _generators.by_device.get((dev, stream))
    if g is None:
        start = _generators.seed if stream is None else _mixed(_generators.seed or 0, stream)
        g = _generators.by_device[dev, stream] = dev.library.generator(start, dev)
    return g


def counters(dev: Device, count: int, stream: int | None = None) -> tuple[int, int]:
    """(seed, offset) of `count` offsets of a counter-based generator, for ops that draw the same bits twice.

    Nobody else gets these.  Per device and `stream`, as `generator`; after `seed(n)` they repeat.
    """
    found = _generators.counters.get((dev, stream))
    if found is None:
        start = _generators.seed
        found = _mixed() if start is None and stream is None else _mixed(start or 0, stream, 2**32), 0
    _generators.counters[dev, stream] = found[0], found[1] + count
    return found


def _draw(
    method: str, shape: Any, dtype: DTypeLike, device: str | Device | None, scale: float, shift: float,
    seed: int | None = None,
) -> Tensor:  # fmt: skip
    d = default_device() if device is None else _array.device(device)
    kind = as_dtype(dtype or default_float())
    drawn = kind if kind in (_dtypes.float32, _dtypes.float64) else _dtypes.float32
    with d.library.scope(d):
        x = getattr(generator(d, seed), method)(_size(shape), dtype=drawn)
        if scale != 1 or shift != 0:
            x = x * scale + shift
        return wrap(d.library.xp.asarray(x).astype(kind, copy=False))


def normal(
    shape: Any = (), mean: float = 0.0, std: float = 1.0, dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None,
) -> Tensor:  # fmt: skip
    """Normal numbers; with `seed`, those of a stream of its own.  ValueError unless std >= 0."""
    if not std >= 0:
        raise ValueError(f"normal: std must be 0 or more, given {std}")
    return _draw("standard_normal", shape, dtype, device, std, mean, seed)


def truncated_normal(
    shape: Any = (), mean: float = 0.0, std: float = 1.0, dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None,
) -> Tensor:  # fmt: skip
    """Normal numbers; those further than 2 std from the mean are drawn again."""
    t = normal(shape, mean, std, dtype, device, seed)
    x = t.array
    while n := int((beyond := abs(x - mean) > 2 * std).sum()):
        x[beyond] = normal(n, mean, std, x.dtype, device, seed).array
    return t


def uniform(
    shape: Any = (), low: float = 0.0, high: float | None = None, dtype: DTypeLike = None,
    device: str | Device | None = None, seed: int | None = None,
) -> Tensor:  # fmt: skip
    """Uniform numbers in [low, high), high being 1 unless it is said; of an integer dtype, integers.

    With `seed`, those of a stream of its own.  ValueError unless low <= high, and for integers without high.
    """
    if dtype is not None and as_dtype(dtype).kind in "iu":
        if high is None:
            raise ValueError(f"Must specify maxval for integer dtype {as_dtype(dtype)}: the number to stay below")
        return astype(randint(int(low), int(high), shape, device, seed), dtype)
    high = 1.0 if high is None else high
    if not low <= high:
        raise ValueError(f"uniform: low must not be above high, given {low} and {high}")
    return _draw("random", shape, dtype, device, high - low, low, seed)


def randint(
    low: int, high: int, shape: Any = (), device: str | Device | None = None, seed: int | None = None
) -> Tensor:
    """Uniform integers in low .. high - 1.  ValueError unless low < high."""
    if not low < high:
        raise ValueError(f"randint: low must be below high, given {low} and {high}")
    d = default_device() if device is None else _array.device(device)
    with d.library.scope(d):
        return wrap(d.library.xp.asarray(generator(d, seed).integers(low, high, _size(shape))))


def permutation(n: int, device: str | Device | None = None, seed: int | None = None) -> Tensor:
    """The integers 0 .. n - 1 in random order."""
    d = default_device() if device is None else _array.device(device)
    with d.library.scope(d):
        return wrap(d.library.xp.asarray(generator(d, seed).random(n)).argsort())
