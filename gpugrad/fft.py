"""Floor 6: `gpugrad.fft`, the array API's Fourier transforms, with gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from .array import Device
from .core import Tensor
from .dtypes import DTypeLike, default_float
from .ops.fft import (
    fft as fft,
    fft2 as fft2,
    fftn as fftn,
    fftshift as fftshift,
    hfft as hfft,
    ifft as ifft,
    ifft2 as ifft2,
    ifftn as ifftn,
    ifftshift as ifftshift,
    ihfft as ihfft,
    irfft as irfft,
    irfft2 as irfft2,
    irfftn as irfftn,
    rfft as rfft,
    rfft2 as rfft2,
    rfftn as rfftn,
)
from .tensor import tensor


def fftfreq(n: int, d: float = 1.0, dtype: DTypeLike = None, device: str | Device | None = None) -> Tensor:
    """The frequencies of `fft` for n samples that are d apart: 0, 1, ... and then the negative ones, over n d.

    ValueError for n below 1.
    """
    return _frequencies("fftfreq", np.fft.fftfreq, n, d, dtype, device)


def rfftfreq(n: int, d: float = 1.0, dtype: DTypeLike = None, device: str | Device | None = None) -> Tensor:
    """The frequencies of `rfft` for n samples that are d apart: 0 to n // 2, over n d.  ValueError for n below 1."""
    return _frequencies("rfftfreq", np.fft.rfftfreq, n, d, dtype, device)


def _frequencies(name: str, f: Any, n: int, d: float, dtype: Any, device: Any) -> Tensor:
    if n < 1:
        raise ValueError(f"{name}: n is 1 or more, not {n}")
    return tensor(f(n, d), dtype=default_float() if dtype is None else dtype, device=device)
