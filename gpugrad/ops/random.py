"""Random numbers of continuous distributions.  Those that a parameter scales and shifts have gradients to it.

A draw is made of a seed and a counter alone.  So the same seed gives the same numbers on the same device, whatever
other threads and devices draw, and what was drawn once can be drawn again.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes

from ..array import Device, library
from ..core import Tensor, raw, wrap
from ..dtypes import DTypeLike, as_dtype, float32, float64
from ..generator import Generator
from . import math
from .casting import astype
from .draw import Place, check, fitted, given, integers
from .gamma import gammaincinv, gammaln
from .logic import where


def normal(
    shape: Any = (), mean: Any = 0.0, std: Any = 1.0, dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Normal numbers.  `mean` and `std` may be Tensors, which are broadcast and have gradients: dx = dmean + z dstd.

    With `seed`, the next of a stream of its own; with `generator`, of that one.  ValueError unless std >= 0, TypeError
    for a dtype that holds no fractions.
    """
    mean, std = given("normal", dtype, mean, std)
    at = Place(shape, dtype, device, seed, generator, mean, std)
    check("normal", "std must be 0 or more", raw(std) >= 0, std)
    return at.moved(at.numbers("standard_normal"), std, mean)


def truncated_normal(
    shape: Any = (), mean: Any = 0.0, std: Any = 1.0, dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Normal numbers; those further than 2 std from the mean are drawn again.  As `normal` in all else."""
    mean, std = given("truncated_normal", dtype, mean, std)
    at = Place(shape, dtype, device, seed, generator, mean, std)
    check("truncated_normal", "std must be 0 or more", raw(std) >= 0, std)
    x = at.numbers("standard_normal")
    while n := int((beyond := abs(x) > 2).sum()):
        x[beyond] = at.draw("standard_normal", (n,), dtype=x.dtype)
    return at.moved(x, std, mean)


def uniform(
    shape: Any = (), low: Any = 0.0, high: Any = None, dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Uniform numbers in [low, high), high being 1 unless it is said; of an integer dtype, integers.

    `low` and `high` may be Tensors, which are broadcast and have gradients.  With `seed`, the next of a stream of its
    own; with `generator`, of that one.  ValueError unless low <= high, for integers that the dtype does not hold, and
    for integers without high.
    """
    if dtype is not None and as_dtype(dtype).kind in "iu":
        if high is None:
            raise ValueError(f"Must specify maxval for integer dtype {as_dtype(dtype)}: the number to stay below")
        return integers("uniform", Place(shape, dtype, device, seed, generator), low, high)
    low, high = given("uniform", dtype, low, 1.0 if high is None else high)
    at = Place(shape, dtype, device, seed, generator, low, high)
    check("uniform", "low must not be above high", raw(low) <= raw(high), (low, high))
    x = at.moved(at.uniform(), high - low, low)
    if library(raw(high)) is None and (low, high) == (0, 1):
        return x
    # What was rounded up to high goes below it, by as much as does not matter to its gradient.
    y, top = raw(x), fitted(high, x)
    below = raw(top) - abs(raw(top)) * float(ml_dtypes.finfo(at.dtype).eps)
    return x + where((y >= raw(top)) & (raw(low) < raw(high)), (below - y).astype(y.dtype), 0)


def exponential(
    shape: Any = (), scale: Any = 1.0, dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Exponential numbers of mean `scale`, which may be a Tensor and has a gradient.  ValueError unless scale >= 0."""
    (scale,) = given("exponential", dtype, scale)
    at = Place(shape, dtype, device, seed, generator, scale)
    check("exponential", "scale must be 0 or more", raw(scale) >= 0, scale)
    return at.moved(standard_exponential(at), scale, 0.0)


def gumbel(
    shape: Any = (), loc: Any = 0.0, scale: Any = 1.0, dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Gumbel numbers, -log of exponential ones; `loc` and `scale` as in `normal`.  ValueError unless scale >= 0."""
    loc, scale = given("gumbel", dtype, loc, scale)
    at = Place(shape, dtype, device, seed, generator, loc, scale)
    check("gumbel", "scale must be 0 or more", raw(scale) >= 0, scale)
    return at.moved(standard_gumbel(at), scale, loc)


def laplace(
    shape: Any = (), loc: Any = 0.0, scale: Any = 1.0, dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Laplace numbers, exponential to both sides; `loc` and `scale` as in `normal`.  ValueError unless scale >= 0."""
    loc, scale = given("laplace", dtype, loc, scale)
    at = Place(shape, dtype, device, seed, generator, loc, scale)
    check("laplace", "scale must be 0 or more", raw(scale) >= 0, scale)
    xp, side = at.device.library.xp, at.numbers("random") * 2 - 1
    return at.moved(-xp.sign(side) * xp.log1p(-abs(side) * (1 - 2.0**-24)), scale, loc)


def gamma(
    a: Any, shape: Any = (), scale: Any = 1.0, dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Numbers of the gamma distribution of shape `a`, by its inverse; `a` and `scale` may be Tensors with gradients.

    Needs SciPy on the CPU.  ValueError unless a > 0 and scale >= 0.
    """
    a, scale = given("gamma", dtype, a, scale)
    at = Place(shape, dtype, device, seed, generator, a, scale)
    check("gamma", "a must be above 0", raw(a) > 0, a)
    check("gamma", "scale must be 0 or more", raw(scale) >= 0, scale)
    x = math.exp(_log_gamma(at, a))
    return astype(math.multiply(x, fitted(scale, x)), at.dtype)


def _log_gamma(at: Place, a: Any) -> Any:
    """Logarithms of gamma numbers, in float64: for a small `a` the numbers themselves are soon too small for it."""
    xp = at.device.library.xp
    level = xp.maximum(at.draw("random", at.shape, dtype=float64), 2.0**-54)
    a = astype(a, float64) if library(raw(a)) is not None else wrap(xp.full_like(level, a))
    first = (math.log(level) + gammaln(a + 1)) / a  # of level = x^a / Γ(a + 1) (1 - ...)
    small = raw(first) < -40
    x = gammaincinv(where(small, 1.0, a), xp.where(small, 0.5, level))
    return where(small, first, math.log(x))


def beta(
    a: Any, b: Any, shape: Any = (), dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Numbers of the beta distribution, x / (x + y) of two gamma ones; `a` and `b` may be Tensors with gradients.

    Needs SciPy on the CPU.  ValueError unless a > 0 and b > 0.
    """
    a, b = given("beta", dtype, a, b)
    at = Place(shape, dtype, device, seed, generator, a, b)
    check("beta", "a must be above 0", raw(a) > 0, a)
    check("beta", "b must be above 0", raw(b) > 0, b)
    x, y = _log_gamma(at, a), _log_gamma(at, b)
    return astype(math.exp(-math.logaddexp(y - x, 0.0)), at.dtype)


def standard_exponential(at: Place) -> Any:
    """Exponential numbers, none of them 0."""
    xp, x = at.device.library.xp, at.numbers("random")
    return xp.maximum(-xp.log1p(-x), x.dtype.type(2.0**-25 if x.dtype == float32 else 2.0**-54))


def standard_gumbel(at: Place) -> Any:
    return -at.device.library.xp.log(standard_exponential(at))
