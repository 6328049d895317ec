"""PyTorch's creation functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import random
from ..adapt import adapted
from ..core import Tensor as CoreTensor, wrap
from ..dtypes import int64
from ..op import findable
from ..ops import casting
from ..tensor import arange as _arange, eye, full as _full, linspace as _linspace, ones, zeros
from ..views import given as shape_of
from .functions import kept
from .tensor import Tensor, created, tensor


def _creation(f: Callable[..., Any], sized: bool = False, doc: str | None = None) -> Callable[..., Any]:
    """f(*args), or f(shape), as PyTorch's users call it."""

    def call(*args: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, **named: Any) -> Tensor:
        given = (shape_of(args, named.pop("size", None)),) if sized else args
        return created(f(*given, dtype=dtype, device=device, **named), requires_grad)

    call.__name__, call.__doc__ = f.__name__, doc or f.__doc__
    return call


def arange(start: Any = None, end: Any = None, step: Any = 1, dtype: Any = None, device: Any = None) -> CoreTensor:
    """start, start + step, … up to but without end; int64 unless an argument is a float."""
    start, end = (0, start) if end is None else (start or 0, end)
    whole = not any([isinstance(a, float) for a in (start, end, step)])
    return _arange(start, end, step, dtype=dtype or (int64 if whole else None), device=device)


def linspace(start: float, end: float, steps: int, dtype: Any = None, device: Any = None) -> CoreTensor:
    """`steps` equally spaced numbers from start to end, both included."""
    return _linspace(start, end, steps, dtype, device)


def full(size: Any, fill_value: Any, dtype: Any = None, device: Any = None) -> CoreTensor:
    """A tensor filled with one number; int64 for a whole one."""
    return _full(size, fill_value, dtype or (int64 if type(fill_value) is int else None), device)


def randint(low: Any = None, high: Any = None, size: Any = None, dtype: Any = None, device: Any = None) -> CoreTensor:
    """Uniform integers in low .. high - 1, or with two arguments in 0 .. low - 1."""
    if size is None:
        high, size = None, high
    if high is None or low is None:
        low, high = 0, low if high is None else high
    return casting.astype(random.randint(low, high, size, device), dtype or int64)


def randperm(n: int, dtype: Any = None, device: Any = None) -> CoreTensor:
    """0 .. n - 1 in random order."""
    return casting.astype(random.permutation(n, device), dtype or int64)


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


def is_tensor(obj: Any) -> bool:
    """Whether obj is a tensor."""
    return isinstance(obj, Tensor)


def _like(f: Callable[..., Any]) -> Callable[..., Any]:
    made = _creation(f, doc=f"{f.__doc__}  In the shape, dtype and device of a tensor, unless said otherwise.")

    def call(input: Any, *args: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
        own = kept(input).array
        return made(
            own.shape, *args, dtype=dtype or own.dtype, device=device or input.device, requires_grad=requires_grad
        )

    call.__name__, call.__doc__ = f"{f.__name__}_like", made.__doc__
    return call


_SIZED = {"zeros": zeros, "ones": ones, "empty": zeros, "randn": random.normal, "rand": random.uniform}
CREATION: dict[str, Any] = {
    **{name: _creation(f, sized=True) for name, f in _SIZED.items()},
    **{f"{name}_like": _like(f) for name, f in {**_SIZED, "full": full}.items()},
    **{f.__name__: _creation(f) for f in (eye, linspace, arange, full, randint, randperm)},
    "from_numpy": from_numpy, "as_tensor": as_tensor, "is_tensor": is_tensor,
    "manual_seed": adapted(random.seed, "seed"),
}  # fmt: skip
findable(CREATION, "gpugrad.torch")
