"""PyTorch's methods of tensors, bound from the table of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import random as _random
from ..adapt import Later
from ..core import Tensor as CoreTensor
from ..dtypes import as_dtype
from ..inplace import in_place
from ..ops import casting, math, shape as _shape
from ..tensor import OPERATORS, ones as _ones, ones_like, to as _to, zeros as _zeros
from ..views import given
from ..wording import scalar, type_of
from .functions import ARITHMETIC, SAME, SOON, TABLE
from .rows import METHODS, PLACES, made
from .tensor import Tensor, as_torch, tensor


def _fill(self: Tensor, value: Any) -> Any:
    return casting.astype(math.multiply(ones_like(self), value), self.array.dtype)


def _copy(self: Tensor, src: Any) -> Any:
    return _shape.broadcast_to(casting.astype(src, self.array.dtype), self.array.shape)


def _cast(dtype: Any) -> Callable[[Tensor], Any]:
    return lambda self: casting.astype(self, dtype)


def to(
    self: Tensor, *args: Any, dtype: Any = None, device: Any = None, copy: bool = False, non_blocking: bool = False
) -> Any:
    """On another device, in another dtype, or both."""
    for a in args:
        if isinstance(a, CoreTensor):
            dtype, device = a.array.dtype, a.device
        elif isinstance(a, np.dtype):
            dtype = a
        else:
            device = a
    out = _to(self, device, dtype)
    return math.positive(out) if copy and out is self else out


_CASTS = {
    "float": "float32", "double": "float64", "half": "float16", "bfloat16": "bfloat16", "int": "int32", "long": "int64",
    "bool": "bool", "short": "int16",
}  # fmt: skip
_IN_PLACE = (
    "mul div pow exp sqrt abs neg sigmoid tanh relu masked_fill square log sin cos reciprocal trunc floor ceil"
).split()
_IN_PLACE_LATER = (
    "round clamp addmm rsqrt frac lerp addcmul addcdiv clamp_min clamp_max nan_to_num fmod copysign erfinv digamma "
    "lgamma cumprod index_add scatter scatter_add scatter_reduce float_power bitwise_and bitwise_or bitwise_xor"
).split()


def _like(f: Callable[..., Any]) -> Callable[..., Tensor]:
    return lambda self, *size, dtype=None: as_torch(f(given(size), dtype or self.array.dtype, self.device))


def _drawn(f: Callable[..., Any]) -> Callable[..., Tensor]:
    """Random numbers, in place; one after the other f(shape, a, b)."""
    return lambda self, a=0.0, b=1.0: self.copy_(f(self.array.shape, a, b, device=self.device))


def _detach_(self: Tensor) -> Tensor:
    """Leave the graph, in place."""
    self.node = None
    return self


def _bind() -> None:
    T: Any = Tensor
    for name in (*SAME, *ARITHMETIC, *SOON):
        setattr(T, name, TABLE[name])
    T.view = lambda self, *shape, size=None: self.reshape(*shape, shape=size)
    T.__float__, T.__int__, T.type = scalar(float), scalar(int), type_of
    for operator, name in OPERATORS.items():
        setattr(T, f"__{operator}__", {**SAME, **ARITHMETIC}[name])
    for name in _IN_PLACE:
        setattr(T, f"{name}_", in_place(TABLE[name]))
    for name in METHODS:
        setattr(T, name, Later(T, name, lambda name: made(name, "torch" if name in PLACES["torch"] else "Tensor")))
    for name in _IN_PLACE_LATER:
        setattr(T, f"{name}_", Later(T, f"{name}_", lambda name: in_place(made(name[:-1]))))
    T.add_, T.sub_ = in_place(T.add), in_place(T.sub)
    T.fill_, T.copy_, T.zero_ = in_place(_fill), in_place(_copy), lambda self: self.fill_(0)
    T.uniform_, T.normal_ = _drawn(_random.uniform), _drawn(_random.normal)
    T.__iadd__, T.__isub__, T.__imul__, T.__itruediv__, T.__ipow__ = T.add_, T.sub_, T.mul_, T.div_, T.pow_
    for name, dtype in _CASTS.items():
        setattr(T, name, _cast(as_dtype(dtype)))
    T.type_as = lambda self, other: casting.astype(self, other.array.dtype)
    T.to, T.contiguous, T.detach_ = to, lambda self: self, _detach_
    T.view_as = lambda self, other: self.view(other.array.shape)
    T.expand_as = lambda self, other: self.expand(other.array.shape)
    T.new_zeros, T.new_ones = _like(_zeros), _like(_ones)
    T.new_tensor = lambda self, data: tensor(data, self.array.dtype, self.device)
    T.T = property(lambda self: self.permute(*range(self.array.ndim)[::-1]), doc="The axes in reverse order.")


_bind()
