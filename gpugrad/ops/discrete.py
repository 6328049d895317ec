"""Random integers, orders and choices, which have no gradient; and dropout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..array import Device, device_of
from ..core import Tensor, raw, wrap
from ..dtypes import DTypeLike, float64
from ..forward import boxed, size_of
from ..generator import Generator, counters
from ..origin import CONSTANT
from ..recording import lost
from . import dropout as _dropout
from .draw import Place, check, given
from .index import take
from .math import log
from .random import standard_gumbel
from .sorting import argsort


def randint(
    low: int, high: int, shape: Any = (), device: str | Device | None = None, seed: int | None = None,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Uniform integers in low .. high - 1.  ValueError unless low < high."""
    if not low < high:
        raise ValueError(f"randint: low must be below high, given {low} and {high}")
    return wrap(Place(shape, None, device, seed, generator).draw("integers", low, high))


def permutation(
    n: int, device: str | Device | None = None, seed: int | None = None, generator: Generator | None = None
) -> Tensor:
    """The integers 0 .. n - 1 in random order."""
    return wrap(Place((n,), float64, device, seed, generator).numbers("random").argsort())


def shuffle(x: Any, axis: int = 0, seed: int | None = None, generator: Generator | None = None) -> Any:
    """The slices of x along `axis` in random order; a gradient goes back to where they were."""
    x = boxed(x, "shuffle")
    return take(x, permutation(x.shape[axis], device_of(raw(x)), seed, generator), axis)


def bernoulli(
    p: Any = 0.5, shape: Any = (), dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """1 with probability p, else 0, in the dtype of p.  No gradient, as it jumps.  ValueError unless 0 <= p <= 1."""
    (p,) = given("bernoulli", p)
    at = Place(shape, dtype, device, seed, generator, p)
    check("bernoulli", "p is a probability, from 0 to 1", (raw(p) >= 0) & (raw(p) <= 1), p)
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
    at = Place((*size_of(shape), *z.shape), None, None, seed, generator, z)
    axis = axis if axis < 0 else axis - z.ndim
    drawn = z + standard_gumbel(at)
    return lost(wrap(drawn.argmax(axis)), "categorical", (logits,), CONSTANT)


def choice(
    a: Any, shape: Any = (), replace: bool = True, p: Any = None, axis: int = 0, seed: int | None = None,
    generator: Generator | None = None,
) -> Any:  # fmt: skip
    """Slices of `a` along `axis` (a number: integers below it), all equally likely or with probabilities p.

    replace   False: none of them twice (by the largest of log p + gumbel).  A gradient goes back to `a`, none to p.
    ValueError for more than there are without `replace`, and for p of another length.
    """
    number = hasattr(a, "__index__") and not isinstance(a, Tensor)
    a = a if number else boxed(a, "choice")
    device = None if number else device_of(raw(a))
    n, size = int(a) if number else a.shape[axis], size_of(shape)
    if p is not None and tuple(raw(boxed(p, "choice")).shape) != (n,):
        raise ValueError(f"choice: p has shape {tuple(raw(boxed(p, 'choice')).shape)}, there are {n} to choose from")
    count = math.prod(size)
    if n == 0 or (count > n and not replace):
        raise ValueError(f"choice: {count} of {n} without any twice are not to be had")
    if replace and p is None:
        index = randint(0, n, size, device, seed, generator)
    else:
        with np.errstate(divide="ignore"):  # log(0): never chosen
            logits = log(raw(boxed(p, "choice"))) if p is not None else np.zeros(n)
        if replace:
            index = categorical(logits, size, seed=seed, generator=generator)
        elif p is None:
            index = permutation(n, device, seed, generator)[:count].reshape(size)
        else:
            at = Place((n,), None, device_of(logits), seed, generator)
            index = argsort(wrap(-(logits + standard_gumbel(at))))[:count].reshape(size)
    return index if number else take(a, index, axis)


def dropout(
    x: Any, rate: float = 0.5, seed: int | None = None, residual: Any = None, generator: Generator | None = None
) -> Any:
    """x with each element set to 0 with probability `rate`, the others scaled to keep the mean; plus the residual.

    Srivastava et al. 2014.  What the gradient keeps is a seed and an offset, no mask.  With `seed`, the numbers are the
    next of a stream of their own; with `generator`, of that one.  ValueError unless 0 <= rate < 1.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: rate is a number from 0 to below 1, not {rate!r}")
    x = boxed(x, "dropout")
    if not rate:
        return x if residual is None else x + residual
    a = raw(x)
    key, offset = counters(device_of(a), _dropout.offsets(a.size), seed, generator)
    if residual is None:
        return _dropout.dropout(x, rate=rate, seed=key, offset=offset)
    return _dropout.dropout_add(x, residual, rate=rate, seed=key, offset=offset)
