"""PyTorch's creation functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import autograd, random as _random
from ..array import int64
from ..core import Tensor as CoreTensor, wrap
from ..ops import math
from ..tensor import (
    arange as _arange,
    eye as _eye,
    full as _full,
    linspace as _linspace,
    ones as _ones,
    ones_like as _ones_like,
    zeros as _zeros,
    zeros_like as _zeros_like,
)
from .functions import _shape_of
from .tensor import Tensor, as_torch, created, tensor


def _creation(f: Callable[..., Any], shaped: bool = False) -> Callable[..., Any]:
    def call(*args: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
        given = (_shape_of(args),) if shaped else args
        return created(f(*given, dtype=dtype, device=device), requires_grad)

    call.__name__, call.__doc__ = f.__name__, f.__doc__
    return call


def _arange64(*args: Any, dtype: Any = None, device: Any = None) -> CoreTensor:
    """start, start + step, … up to but without stop; int64 unless an argument is a float."""
    whole = not any([isinstance(a, float) for a in args])
    return _arange(*args, dtype=dtype or (int64 if whole else None), device=device)


_arange64.__name__ = "arange"


def full(size: Any, fill_value: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor filled with one number."""
    out = as_torch(_full(size, fill_value, dtype or (int64 if type(fill_value) is int else None), device))
    return autograd.require_grad(out) if requires_grad else out  # type: ignore[return-value]


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares the array's memory."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    return wrap(array.view(), None, Tensor)  # type: ignore[return-value]


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor as it is; of an array, one that shares its memory; else a new one."""
    if isinstance(data, Tensor):
        return data.to(device, dtype) if dtype is not None or device is not None else data  # type: ignore[return-value]
    shared = isinstance(data, np.ndarray) and dtype is None and device is None
    return from_numpy(data) if shared else tensor(data, dtype, device)


def _normal(shape: Any, dtype: Any = None, device: Any = None) -> CoreTensor:
    """Normal numbers."""
    return _random.normal(shape, dtype=dtype, device=device)


def _uniform(shape: Any, dtype: Any = None, device: Any = None) -> CoreTensor:
    """Uniform numbers in [0, 1)."""
    return _random.uniform(shape, dtype=dtype, device=device)


def randint(low: int, high: Any = None, size: Any = None, dtype: Any = None, device: Any = None) -> Tensor:
    """Uniform integers in low .. high - 1, or with two arguments in 0 .. low - 1."""
    if size is None:
        low, high, size = 0, low, high
    return as_torch(math.astype(_random.randint(low, high, size, device), dtype or int64))


def randperm(n: int, device: Any = None) -> Tensor:
    """0 .. n - 1 in random order."""
    return as_torch(_random.permutation(n, device))


def manual_seed(seed: int) -> None:
    """Start the generators anew."""
    _random.seed(seed)


def is_tensor(obj: Any) -> bool:
    """Whether obj is a tensor."""
    return isinstance(obj, Tensor)


CREATION: dict[str, Any] = {
    "zeros": _creation(_zeros, True), "ones": _creation(_ones, True), "eye": _creation(_eye),
    "arange": _creation(_arange64), "linspace": _creation(_linspace), "randn": _creation(_normal, True),
    "rand": _creation(_uniform, True), "empty": _creation(_zeros, True), "zeros_like": _zeros_like,
    "ones_like": _ones_like, "full": full, "from_numpy": from_numpy, "as_tensor": as_tensor, "randint": randint,
    "randperm": randperm, "manual_seed": manual_seed, "is_tensor": is_tensor,
}  # fmt: skip
for _name, _like in (("randn_like", _normal), ("rand_like", _uniform)):
    CREATION[_name] = lambda input, dtype=None, device=None, f=_like: as_torch(
        f(input.array.shape, dtype or input.array.dtype, device or input.device)
    )
