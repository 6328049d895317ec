"""Dropout, of elements and of whole channels, and the activation that is drawn."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from .. import random
from ..core import raw
from ..forward import as_float
from ..ops.discrete import dropout as dropout
from ..ops.logic import greater_equal, where
from ..ops.math import add, multiply
from ..tensor import ones
from .module import Module


class Dropout(Module):
    """In training, each element is zero with probability p and the others are larger by 1 / (1 - p)."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        if p is None or not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p, self.inplace = p, inplace

    def forward(self, input: Any) -> Any:
        if not self.training:
            return input
        return self._dropped(input) if self.p < 1 else multiply(input, 0.0)

    def _dropped(self, x: Any) -> Any:
        return dropout(x, self.p)

    def extra_repr(self) -> str:
        """What stands between the brackets when it is printed, as PyTorch has it."""
        return f"p={self.p}, inplace={self.inplace}"


class _ChannelDropout(Dropout):
    _axes: ClassVar[int]
    _ranks: ClassVar[tuple[int, ...]]

    def _dropped(self, x: Any) -> Any:
        a = raw(x)
        if a.ndim not in self._ranks:
            ranks = " or ".join(map(str, self._ranks))
            raise ValueError(f"{type(self).__name__}: takes arrays of {ranks} axes, given one of shape {a.shape}")
        lead = a.shape[: a.ndim - self._axes]
        return multiply(x, dropout(ones((*lead, *[1] * self._axes), as_float(a).dtype, x.device), self.p))


class Dropout1d(_ChannelDropout):
    """In training, each channel of x ((batch,) channels, length) is zero with probability p (Tompson et al. 2015)."""

    _axes, _ranks = 1, (2, 3)


class Dropout2d(_ChannelDropout):
    """In training, each channel of x (batch, channels, height, width) is zero with probability p: see `Dropout1d`.

    ValueError for three axes, which may be an image or a batch of lines.
    """

    _axes, _ranks = 2, (4,)


class Dropout3d(_ChannelDropout):
    """In training, each channel of x ((batch,) channels, depth, height, width) is zero: see `Dropout1d`."""

    _axes, _ranks = 3, (4, 5)


class AlphaDropout(Dropout):
    """In training, each element is SELU's lowest value with probability p, and mean and variance stay 0 and 1.

    Klambauer et al. 2017.
    """

    def forward(self, input: Any) -> Any:
        if not self.training or not self.p:
            return input
        lowest, p = -1.7580993408473766, self.p  # -scale alpha of SELU
        if p == 1:
            return multiply(input, 0.0)
        a = 1 / math.sqrt((1 - p) * (1 + p * lowest**2))
        kept = random.uniform(raw(input).shape, 0.0, 1.0, device=input.device).array >= p
        return add(multiply(where(kept, input, lowest), a), -a * p * lowest)


class RReLU(Module):
    """x where it is positive, else x times a slope: in training drawn from U(lower, upper), else the mean of both.

    Xu et al. 2015.
    """

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False) -> None:
        if lower > upper:
            raise ValueError(f"RReLU: lower is at most upper, given {lower} and {upper}")
        self.lower, self.upper, self.inplace = lower, upper, inplace

    def forward(self, input: Any) -> Any:
        slope: Any = (self.lower + self.upper) / 2
        if self.training:
            dtype = as_float(raw(input)).dtype
            slope = random.uniform(raw(input).shape, self.lower, self.upper, dtype=dtype, device=input.device)
        return where(greater_equal(raw(input), 0), input, multiply(input, slope))

    def extra_repr(self) -> str:
        """What stands between the brackets when it is printed, as PyTorch has it."""
        return f"lower={self.lower}, upper={self.upper}"
