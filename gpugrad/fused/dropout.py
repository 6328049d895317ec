"""Dropout that keeps a seed and an offset instead of a mask."""

from __future__ import annotations

from ..array import Array
from ..kernels import Place, by_element, place
from ..launch import Launch, Launcher
from .shape import check


def _dropout(p: Place, x: Array, residual: Array | None, more_offset: Array | None, rate: float) -> Launch:
    check(x.shape, residual=residual)
    threshold = min(round(rate * 2**32), 2**32 - 1)  # of 32 random bits
    run = p.get("dropout", "dropout", x.dtype) if x.size else None
    scalars = (threshold, 1 / (1 - rate), x.size)
    return Launch(run, *by_element(x.size, x.dtype), [(x.shape, x.dtype)], scalars)


_launch = Launcher(_dropout)


def dropout(
    x: Array, rate: float, seed: int, offset: int, residual: Array | None = None, more_offset: Array | None = None
) -> Array:
    """x / (1 - rate), or 0 with probability `rate` (Srivastava et al. 2014), plus the residual.

    The pullback is this function of g, with the same rate, seed and offset.  An array of n elements uses n/4
    offsets, rounded up, from `offset` on.  more_offset: a uint64 array of one element, read when the kernel runs and
    added to the offset.  ValueError for a rate that is no probability.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"dropout's rate is a probability, from 0 to 1, not {rate}")
    if rate == 1:
        p = place(x, residual, more_offset)
        with p.scope():
            check(x.shape, residual=residual)
            return p.lib.xp.zeros(x.shape, x.dtype) if residual is None else residual.copy()
    return _launch((x, residual, more_offset), float(rate), varying=(seed % 2**64, offset % 2**64))[0]
