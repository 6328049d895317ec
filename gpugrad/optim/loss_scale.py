"""What a loss was multiplied by, so that its gradients do not vanish in half types: a number, or one that moves."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import fused
from ..array import Array, library, to_host, xp
from ..dtypes import float64
from ..fused.optimizer import FOUND, GOOD, MISSED, ROW, SCALE
from ..kernels import place


class Moving:
    """A loss scale that moves, and what it moves by: `array` has the numbers at SCALE, GOOD, FOUND, MISSED and ROW.

    It is where the gradients are, if kernels are there, so that neither a step nor an update waits; else NumPy's.
    """

    def __init__(self, scale: float, good: float = 0, missed: float = 0, row: float = 0) -> None:
        self.array: Array = np.array([scale, good, 0, missed, row], float64)

    def __getstate__(self) -> dict[str, Any]:
        return {"array": self.read()}

    def at(self, like: Array) -> Array:
        """The array, on the device of `like` from now on."""
        lib = library(like)
        if lib is None or not lib.compiles:
            self.array = self.read()
        elif library(self.array) is not lib or place(self.array) != place(like):
            self.array = fused.moving(like, self.read().tolist())
        return self.array

    def read(self) -> np.ndarray:
        """The numbers, a copy.  Waits for the device."""
        return to_host(self.array).copy()

    def write(self, i: int, value: float) -> None:
        """Set one of the numbers."""
        if type(self.array) is np.ndarray:
            self.array[i] = value
        else:
            with place(self.array).scope():
                self.array[i] = value

    def beside(self, like: Array) -> Array:
        """The scale as a 0-d array of float32 on the device of `like`, without waiting where it is there already."""
        array = self.at(like)
        lib = library(like)
        if type(array) is np.ndarray and lib is not None and lib.name != "numpy":
            return lib.asarray(np.float32(array[SCALE]), None, lib.device_of(like))
        return xp(array).array(fused.entry(array, SCALE), np.float32)

    def update(self, growth: float, backoff: float, interval: int) -> None:
        """After a round of steps: the scale times `backoff` if one was skipped, times `growth` after `interval` others.

        `update_scale` of kernels/optimizer.cu in NumPy.
        """
        a = self.array
        if type(a) is not np.ndarray:
            fused.update_scale(a, growth, backoff, interval)
            return
        if a[FOUND]:
            a[:] = a[SCALE] * backoff, 0, 0, a[MISSED] + 1, a[ROW] + 1
        else:
            a[GOOD], a[ROW] = a[GOOD] + 1, 0
            if a[GOOD] >= interval:
                a[SCALE] = larger if (larger := a[SCALE] * growth) <= 3.4e38 else a[SCALE]
                a[GOOD] = 0


class Scaled(NamedTuple):
    """How the gradients of a step are scaled.

    moving   the loss scale, which is told of a skipped step
    found    None: they are to be divided by it.  A 0-d array: they have been, and it is not 0 if one was not finite
    """

    moving: Moving
    found: Any = None

    def divisor(self, like: Array) -> float:
        """What they are to be divided by.  Waits for the device."""
        return 1.0 if self.found is not None else float(to_host(self.moving.at(like))[SCALE])

    def skips(self, finite: bool) -> bool:
        """Whether the step is to be skipped; if so, the loss scale is told.  Waits for the device."""
        skip = not finite or (self.found is not None and bool(to_host(self.found)))
        if skip:
            self.moving.write(FOUND, 1)
        return skip
