"""dropout and Dropout."""

from __future__ import annotations

from typing import Any

from .. import random
from ..array import device_of
from ..core import raw
from ..forward import boxed
from ..ops import dropout as ops
from ..ops.math import multiply
from .module import Module


def dropout(
    x: Any, rate: float = 0.5, seed: int | None = None, residual: Any = None, generator: random.Generator | None = None
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
    key, offset = random.counters(device_of(a), ops.offsets(a.size), seed, generator)
    if residual is None:
        return ops.dropout(x, rate=rate, seed=key, offset=offset)
    return ops.dropout_add(x, residual, rate=rate, seed=key, offset=offset)


class Dropout(Module):
    """In training, each element is zero with probability p and the others are larger by 1 / (1 - p)."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p = p

    def forward(self, x: Any) -> Any:
        if not self.training:
            return x
        return dropout(x, self.p) if self.p < 1 else multiply(x, 0.0)
