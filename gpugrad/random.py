"""Floor 6: random tensors from a counter-based generator.

A draw is made of a seed and a counter alone.  So the same seed gives the same numbers on the same device, whatever
other threads and devices draw, and what was drawn once can be drawn again: `get_state`, `set_state`.

Numbers that a parameter scales and shifts have gradients to it: mean and std, low and high may be Tensors.
"""

from __future__ import annotations

import math as _math
import threading
from typing import Any

import numpy as np

from . import array as _array
from .array import Device, default_device, device_of, library
from .core import Tensor, raw, wrap
from .dtypes import DTypeLike, as_dtype, bfloat16, default_float, float16, float32, float64, is_inexact
from .forward import boxed
from .generator import Generator as Generator
from .ops import math
from .ops.draw import source
from .ops.gamma import gammaincinv
from .ops.index import argsort, take
from .ops.math import astype
from .origin import CONSTANT
from .recording import lost
from .tensor import _size

_GRID = {float16: 2.0**11, bfloat16: 2.0**8}  # of the numbers in [0, 1) that half types have


# ---------------------------------------------------------------------------------------------- generators
_thread = threading.local()


def _own() -> Generator:
    """This thread's generator, made when it is first asked for."""
    try:
        return _thread.generator
    except AttributeError:
        _thread.generator = Generator()
        return _thread.generator


def seed(value: int) -> None:
    """Start this thread's generator anew: the same seed gives the same numbers on the same device."""
    _own().seed(value)


def get_state() -> dict[str, Any]:
    """Where this thread's generator is, in plain numbers, for `set_state`."""
    return _own().get_state()


def set_state(state: dict[str, Any]) -> None:
    """Let this thread's generator go on from what `get_state` answered.  ValueError for anything else."""
    _own().set_state(state)


def split(n: int) -> list[Generator]:
    """n generators from this thread's, others each time."""
    return _own().split(n)


def counters(
    device: Device, count: int, stream: int | None = None, generator: Generator | None = None
) -> tuple[int, int]:
    """(key, offset) of `count` offsets, for ops that draw the same bits twice."""
    return (generator or _own()).take(device, count, stream)


# ---------------------------------------------------------------------------------------------- drawing
class _Place:
    """Where and how numbers are drawn: shape, dtype and device, from what was asked for and the parameters."""

    def __init__(
        self, shape: Any, dtype: DTypeLike, device: Any, seed: int | None, generator: Any, *given: Any
    ) -> None:
        arrays = [a for a in map(raw, given) if library(a) is not None]
        kinds = [a.dtype for a in arrays if is_inexact(a.dtype)]
        size = _size(shape)
        self.shape = np.broadcast_shapes(size, *[a.shape for a in arrays]) if arrays else size
        self.dtype = as_dtype(dtype) if dtype is not None else np.result_type(*kinds) if kinds else default_float()
        if device is None:
            self.device = device_of(arrays[0]) if arrays else default_device()
        else:
            self.device = _array.device(device)
        self.seed, self.generator = seed, generator

    def draw(self, method: str, *args: int, shape: tuple[int, ...] | None = None, **options: Any) -> Any:
        """A new array of such numbers."""
        key, offset = counters(self.device, 1, self.seed, self.generator)
        with self.device.library.scope(self.device):
            drawn = getattr(source(self.device, key, offset), method)(
                *args, self.shape if shape is None else shape, **options
            )
            return self.device.library.asarray(drawn, None, self.device)

    def numbers(self, method: str) -> Any:
        """Floats, in a dtype to compute in."""
        return self.draw(method, dtype=self.dtype if self.dtype in (float32, float64) else float32)

    def uniform(self) -> Any:
        x = self.numbers("random")
        grid = _GRID.get(self.dtype)  # the nearest number of a half type may be 1
        return x if grid is None else self.device.library.xp.floor(x * grid) / grid

    def moved(self, x: Any, scale: Any, shift: Any) -> Tensor:
        """x scale + shift, with gradients to them where they are Tensors."""
        if all([isinstance(p, (int, float)) for p in (scale, shift)]):
            x = x if scale == 1 and shift == 0 else x * scale + shift
            return wrap(x.astype(self.dtype, copy=False))
        t = wrap(x.astype(self.dtype, copy=False))
        return _fitted(shift, t) + _fitted(scale, t) * t


def _fitted(parameter: Any, t: Tensor) -> Any:
    return astype(parameter, t.array.dtype) if library(raw(parameter)) is not None else parameter


def _given(name: str, *parameters: Any) -> list[Any]:
    """The parameters of a distribution, lists as Tensors."""
    return [p if isinstance(p, (int, float)) else boxed(p, name) for p in parameters]


def _check(name: str, what: str, good: Any, given: Any) -> None:
    """ValueError unless all are good; of parameters on a GPU, which is not waited for, nothing is said."""
    if good is not True and library(good) in (None, _array.NUMPY) and not np.all(good):
        raise ValueError(f"{name}: {what}, given {given if library(raw(given)) is None else 'others'}")


# ---------------------------------------------------------------------------------------------- numbers
def normal(
    shape: Any = (), mean: Any = 0.0, std: Any = 1.0, dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Normal numbers.  `mean` and `std` may be Tensors, which are broadcast and have gradients: dx = dmean + z dstd.

    With `seed`, the next of a stream of its own; with `generator`, of that one.  ValueError unless std >= 0.
    """
    mean, std = _given("normal", mean, std)
    at = _Place(shape, dtype, device, seed, generator, mean, std)
    _check("normal", "std must be 0 or more", raw(std) >= 0, std)
    return at.moved(at.numbers("standard_normal"), std, mean)


def truncated_normal(
    shape: Any = (), mean: Any = 0.0, std: Any = 1.0, dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Normal numbers; those further than 2 std from the mean are drawn again.  As `normal` in all else."""
    mean, std = _given("truncated_normal", mean, std)
    at = _Place(shape, dtype, device, seed, generator, mean, std)
    _check("truncated_normal", "std must be 0 or more", raw(std) >= 0, std)
    x = at.numbers("standard_normal")
    while n := int((beyond := abs(x) > 2).sum()):
        x[beyond] = at.draw("standard_normal", shape=(n,), dtype=x.dtype)
    return at.moved(x, std, mean)


def uniform(
    shape: Any = (), low: Any = 0.0, high: Any = None, dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Uniform numbers in [low, high), high being 1 unless it is said; of an integer dtype, integers.

    `low` and `high` may be Tensors, which are broadcast and have gradients.  With `seed`, the next of a stream of its
    own; with `generator`, of that one.  ValueError unless low <= high, and for integers without high.
    """
    if dtype is not None and as_dtype(dtype).kind in "iu":
        if high is None:
            raise ValueError(f"Must specify maxval for integer dtype {as_dtype(dtype)}: the number to stay below")
        return astype(randint(int(low), int(high), shape, device, seed, generator), dtype)
    low, high = _given("uniform", low, 1.0 if high is None else high)
    at = _Place(shape, dtype, device, seed, generator, low, high)
    _check("uniform", "low must not be above high", raw(low) <= raw(high), (low, high))
    return at.moved(at.uniform(), high - low, low)


def exponential(
    shape: Any = (), scale: Any = 1.0, dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Exponential numbers of mean `scale`, which may be a Tensor and has a gradient.  ValueError unless scale >= 0."""
    (scale,) = _given("exponential", scale)
    at = _Place(shape, dtype, device, seed, generator, scale)
    _check("exponential", "scale must be 0 or more", raw(scale) >= 0, scale)
    return at.moved(_waits(at), scale, 0.0)


def gumbel(
    shape: Any = (), loc: Any = 0.0, scale: Any = 1.0, dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Gumbel numbers, -log of exponential ones; `loc` and `scale` as in `normal`.  ValueError unless scale >= 0."""
    loc, scale = _given("gumbel", loc, scale)
    at = _Place(shape, dtype, device, seed, generator, loc, scale)
    _check("gumbel", "scale must be 0 or more", raw(scale) >= 0, scale)
    return at.moved(_gumbel(at), scale, loc)


def laplace(
    shape: Any = (), loc: Any = 0.0, scale: Any = 1.0, dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Laplace numbers, exponential to both sides; `loc` and `scale` as in `normal`.  ValueError unless scale >= 0."""
    loc, scale = _given("laplace", loc, scale)
    at = _Place(shape, dtype, device, seed, generator, loc, scale)
    _check("laplace", "scale must be 0 or more", raw(scale) >= 0, scale)
    xp, side = at.device.library.xp, at.numbers("random") * 2 - 1
    return at.moved(-xp.sign(side) * xp.log1p(-abs(side) * (1 - 2.0**-24)), scale, loc)


def gamma(
    a: Any, shape: Any = (), scale: Any = 1.0, dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Numbers of the gamma distribution of shape `a`, by its inverse; `a` and `scale` may be Tensors with gradients.

    Needs SciPy on the CPU.  ValueError unless a > 0 and scale >= 0.
    """
    a, scale = _given("gamma", a, scale)
    at = _Place(shape, dtype, device, seed, generator, a, scale)
    _check("gamma", "a must be above 0", raw(a) > 0, a)
    _check("gamma", "scale must be 0 or more", raw(scale) >= 0, scale)
    level = wrap(at.uniform().astype(at.dtype, copy=False))
    return math.multiply(gammaincinv(_fitted(a, level), level), _fitted(scale, level))


def beta(
    a: Any, b: Any, shape: Any = (), dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Numbers of the beta distribution, x / (x + y) of two gamma ones; `a` and `b` may be Tensors with gradients."""
    a, b = _given("beta", a, b)
    shape = _Place(shape, dtype, device, seed, generator, a, b).shape
    x, y = [gamma(p, shape, 1.0, dtype, device, seed, generator) for p in (a, b)]
    return math.divide(x, math.add(x, y))


def _waits(at: _Place) -> Any:
    """Exponential numbers, none of them 0."""
    xp, x = at.device.library.xp, at.numbers("random")
    return xp.maximum(-xp.log1p(-x), x.dtype.type(2.0**-25))


def _gumbel(at: _Place) -> Any:
    return -at.device.library.xp.log(_waits(at))


# ---------------------------------------------------------------------------------------------- choices
def randint(
    low: int, high: int, shape: Any = (), device: str | Device | None = None, seed: int | None = None,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Uniform integers in low .. high - 1.  ValueError unless low < high."""
    if not low < high:
        raise ValueError(f"randint: low must be below high, given {low} and {high}")
    return wrap(_Place(shape, None, device, seed, generator).draw("integers", low, high))


def permutation(
    n: int, device: str | Device | None = None, seed: int | None = None, generator: Generator | None = None
) -> Tensor:
    """The integers 0 .. n - 1 in random order."""
    return wrap(_Place((n,), float64, device, seed, generator).numbers("random").argsort())


def shuffle(x: Any, axis: int = 0, seed: int | None = None, generator: Generator | None = None) -> Any:
    """The slices of x along `axis` in random order; a gradient goes back to where they were."""
    x = boxed(x, "shuffle")
    return take(x, permutation(x.shape[axis], device_of(raw(x)), seed, generator), axis)


def bernoulli(
    p: Any = 0.5, shape: Any = (), dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """1 with probability p, else 0, in the dtype of p.  No gradient, as it jumps.  ValueError unless 0 <= p <= 1."""
    (p,) = _given("bernoulli", p)
    at = _Place(shape, dtype, device, seed, generator, p)
    _check("bernoulli", "p is a probability, from 0 to 1", (raw(p) >= 0) & (raw(p) <= 1), p)
    return lost(wrap((at.numbers("random") < raw(p)).astype(at.dtype)), "bernoulli", (p,), CONSTANT)


def categorical(
    logits: Any, shape: Any = (), axis: int = -1, seed: int | None = None, generator: Generator | None = None
) -> Tensor:
    """Integers along `axis` with the probabilities softmax(logits), by the largest of logits + gumbel.  No gradient.

    The result has `shape`, then the other axes of the logits.
    """
    logits = boxed(logits, "categorical")
    if not logits.ndim or not logits.shape[axis]:
        raise ValueError(f"categorical: there is nothing to choose from in logits of shape {logits.shape}")
    z = raw(logits)
    at = _Place((*_size(shape), *z.shape), None, None, seed, generator, z)
    axis = axis if axis < 0 else axis - z.ndim
    drawn = z + _gumbel(at)
    return lost(wrap(drawn.argmax(axis)), "categorical", (logits,), CONSTANT)


def choice(
    a: Any, shape: Any = (), replace: bool = True, p: Any = None, axis: int = 0, seed: int | None = None,
    generator: Generator | None = None,
) -> Any:  # fmt: skip
    """Slices of `a` along `axis` (for a number: of 0 .. a - 1), all equally likely or with probabilities p.

    replace   False: none of them twice (by the largest of log p + gumbel).  A gradient goes back to `a`, none to p.
    ValueError for more than there are without `replace`, and for p of another length.
    """
    number = hasattr(a, "__index__") and not isinstance(a, Tensor)
    a = a if number else boxed(a, "choice")
    device = None if number else device_of(raw(a))
    n, size = int(a) if number else a.shape[axis], _size(shape)
    if p is not None and tuple(raw(boxed(p, "choice")).shape) != (n,):
        raise ValueError(f"choice: p has shape {tuple(raw(boxed(p, 'choice')).shape)}, there are {n} to choose from")
    count = _math.prod(size)
    if n == 0 or (count > n and not replace):
        raise ValueError(f"choice: {count} of {n} without any twice are not to be had")
    if replace and p is None:
        index = randint(0, n, size, device, seed, generator)
    else:
        with np.errstate(divide="ignore"):  # log(0): never chosen
            logits = math.log(raw(boxed(p, "choice"))) if p is not None else np.zeros(n)
        if replace:
            index = categorical(logits, size, seed=seed, generator=generator)
        elif p is None:
            index = permutation(n, device, seed, generator)[:count].reshape(size)
        else:
            at = _Place((n,), None, device_of(logits), seed, generator)
            index = argsort(wrap(-(logits + _gumbel(at))))[:count].reshape(size)
    return index if number else take(a, index, axis)
