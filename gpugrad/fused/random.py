"""Random bits of a counter-based generator."""

from __future__ import annotations

import numpy as np

from ..array import Array, Device
from ..dtypes import float32
from ..kernels import by_element, place


def random_bits(device: Device, n: int, seed: int, draw: int) -> Array:
    """n words of 32 random bits on `device`: those of the Philox 4x32 of this seed whose counter ends in `draw`."""
    lib = device.library
    with lib.scope(device):
        out = lib.empty((n,), np.dtype("uint32"))
        if n:
            run = place(out).get("random", "random_bits")
            run(*by_element(n, float32), out, seed % 2**64, draw % 2**64, n)
        return out
