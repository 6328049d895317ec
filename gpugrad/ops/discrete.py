"""Random integers, orders and choices, which have no gradient; and dropout."""

from __future__ import annotations

import math
from operator import index
from typing import Any

import numpy as np

from ..array import Device, device_of, xp as xp_of
from ..core import Tensor, raw, wrap
from ..dtypes import DTypeLike, float64, int64, wide
from ..forward import boxed, checked_axis, size_of
from ..generator import Generator, counters
from ..origin import CONSTANT
from ..recording import lost
from . import dropout as _dropout
from .draw import Place, check, given, integers
from .index import take
from .random import standard_gumbel


def randint(
    low: int, high: int, shape: Any = (), device: str | Device | None = None, seed: int | None = None,
    generator: Generator | None = None, dtype: DTypeLike = int64, endpoint: bool = False,
) -> Tensor:  # fmt: skip
    """Uniform integers in low .. high - 1, of `dtype`; `endpoint`: in low .. high.

    TypeError for bounds and a dtype that are none of integers; ValueError unless low < high (low <= high with
    `endpoint`), and for integers that the dtype does not hold.
    """
    return integers("randint", Place(shape, dtype, device, seed, generator), low, high, endpoint)


def permutation(
    n: int, device: str | Device | None = None, seed: int | None = None, generator: Generator | None = None
) -> Tensor:
    """The integers 0 .. n - 1 in random order.  ValueError for a negative n, TypeError for no integer."""
    if index(n) < 0:
        raise ValueError(f"permutation: n is a number from 0 on, not {n}")
    return wrap(Place((), None, device, seed, generator).draw("permutation", index(n)))


def shuffle(x: Any, axis: int = 0, seed: int | None = None, generator: Generator | None = None) -> Any:
    """The slices of x along `axis` in random order; a gradient goes back to where they were.

    ValueError for a wrong axis.
    """
    x = boxed(x, "shuffle")
    axis = checked_axis("shuffle", axis, raw(x).ndim)
    return take(x, permutation(x.shape[axis], device_of(raw(x)), seed, generator), axis)


def bernoulli(
    p: Any = 0.5, shape: Any = (), dtype: DTypeLike = None, device: str | Device | None = None,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """1 with probability p, else 0, in the dtype of p.  No gradient, as it jumps.  ValueError unless 0 <= p <= 1."""
    (p,) = given("bernoulli", None, p)
    at = Place(shape, dtype, device, seed, generator, p)
    check("bernoulli", "p is a probability, from 0 to 1", (raw(p) >= 0) & (raw(p) <= 1), p)
    return lost(wrap((at.numbers("random") < raw(p)).astype(at.dtype)), "bernoulli", (p,), CONSTANT)


def categorical(
    logits: Any, shape: Any = (), axis: int = -1, seed: int | None = None, generator: Generator | None = None
) -> Tensor:
    """Integers along `axis` with the probabilities softmax(logits).  No gradient.

    The result has `shape`, then the other axes of the logits.  Drawn as `choice` does where there are no other axes,
    else by the largest of logits + gumbel.
    ValueError for a wrong axis, where there is nothing to choose from and, on the CPU, for logits that are NaN, inf or
    all -inf.
    """
    logits = boxed(logits, "categorical")
    axis = checked_axis("categorical", axis, logits.ndim)
    if not logits.shape[axis]:
        raise ValueError(f"categorical: there is nothing to choose from in logits of shape {logits.shape}")
    z = raw(logits)
    z = z.astype(wide(z.dtype), copy=False)
    xp, top = xp_of(z), z.max(axis=axis, keepdims=True)
    check("categorical", "the largest of the logits is a finite number", xp.isfinite(top), logits)
    if z.ndim == 1:
        drawn = _by_weight(Place(shape, None, device_of(z), seed, generator), xp.exp(z.astype(float64) - top))
    else:
        dtype = float64 if z.shape[axis] > _FEW else None  # the largest of many numbers of float32 tie
        at = Place((*size_of(shape), *z.shape), dtype, None, seed, generator, z)
        drawn = (z + standard_gumbel(at)).argmax(axis - z.ndim)
    return lost(wrap(drawn), "categorical", (logits,), CONSTANT)


_FEW = 256


def _by_weight(at: Place, weights: Any) -> Any:
    """Indices of weights, each as likely as it weighs: where uniform numbers fall among the running sums."""
    xp = at.device.library.xp
    sums = xp.cumsum(weights.astype(float64))
    return xp.searchsorted(sums / sums[-1], at.draw("random", at.shape, dtype=float64), side="right")


def choice(
    a: Any, shape: Any = (), replace: bool = True, p: Any = None, axis: int = 0, seed: int | None = None,
    generator: Generator | None = None,
) -> Any:  # fmt: skip
    """Slices of `a` along `axis` (a number: integers below it), all equally likely or with probabilities p.

    p         need not sum to 1
    replace   False: none of them twice (by the largest of log p + gumbel).  A gradient goes back to `a`, none to p.
    ValueError for more than there are without `replace`, for p of another length, for a wrong axis and, on the CPU, for
    a p that is negative, not finite or all 0, or has fewer above 0 than are chosen without `replace`.
    """
    number = hasattr(a, "__index__") and not isinstance(a, Tensor)
    a = a if number else boxed(a, "choice")
    axis = axis if number else checked_axis("choice", axis, raw(a).ndim)
    device = None if number else device_of(raw(a))
    n, size = index(a) if number else a.shape[axis], size_of(shape)
    count, there = math.prod(size), n
    if p is not None:
        p = raw(boxed(p, "choice"))
        if p.shape != (n,):
            raise ValueError(f"choice: p has shape {p.shape}, there are {n} to choose from")
        p = p.astype(float64)
        device, xp = device_of(p), xp_of(p)
        check(
            "choice", "p is finite, from 0 on and not all 0", (p >= 0).all() & xp.isfinite(p).all() & (p > 0).any(), p
        )
        there = np.count_nonzero(p) if xp is np else n
    if n < 1 or (count > there and not replace):
        raise ValueError(f"choice: {count} of {there} without any twice are not to be had")
    at = Place(size, int64, device, seed, generator)
    if replace:
        chosen = integers("choice", at, 0, n) if p is None else wrap(_by_weight(at, p))
    elif p is None:
        chosen = permutation(n, device, seed, generator)[:count].reshape(size)
    else:
        with np.errstate(divide="ignore"):  # log(0): never chosen
            keys = -xp_of(p).log(p) - standard_gumbel(Place((n,), float64, device, seed, generator))
        chosen = wrap(keys.argsort()[:count].reshape(size))
    return chosen if number else take(a, chosen, axis)


def dropout(
    x: Any,
    rate: float = 0.5,
    seed: int | None = None,
    residual: Any = None,
    generator: Generator | None = None,
    training: bool = True,
) -> Any:
    """x with each element set to 0 with probability `rate`, the others scaled to keep the mean; plus the residual.

    Srivastava et al. 2014.  What the gradient keeps is a seed and an offset, no mask.  With `seed`, the numbers are the
    next of a stream of their own; with `generator`, of that one.  Without `training`, nothing is dropped.
    ValueError unless 0 <= rate < 1, TypeError for a rate that is a Tensor: it would have no gradient.
    """
    if isinstance(rate, Tensor):
        raise TypeError(f"dropout: rate is a number, of no gradient, not a Tensor of shape {rate.shape}")
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: rate is a number from 0 to below 1, not {rate!r}")
    x = boxed(x, "dropout")
    if not rate or not training:
        return x if residual is None else x + residual
    a = raw(x)
    key, offset = counters(device_of(a), _dropout.offsets(a.size), seed, generator)
    if residual is None:
        return _dropout.dropout(x, rate=rate, seed=key, offset=offset)
    return _dropout.dropout_add(x, residual, rate=rate, seed=key, offset=offset)
