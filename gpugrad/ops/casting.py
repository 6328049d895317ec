"""Another dtype, another device, another array object, no gradient: what leaves the values as they are."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from typing import Any

import numpy as np

from ..array import Device, device as _device, device_of
from ..core import Tensor, raw, wrap
from ..dtypes import DTypeLike, as_dtype, is_inexact
from ..forward import boxed
from ..op import elementwise, op
from ..origin import INTEGER, STOPPED
from ..recording import lost


@elementwise(x=lambda g: zeros_like(g))
def zeros_like(xp: Any, x: Any, *, dtype: Any = None) -> Any:
    """Zeros of the shape of x."""
    return xp.zeros_like(x, dtype=dtype)


@op(x=lambda g: g, batch="broadcast", linear=True)  # the engine casts a cotangent to its input's dtype
def _astype(xp: Any, x: Any, *, dtype: Any = None) -> Any:
    if x.dtype.kind == "c" and dtype.kind != "c":
        x = x.real
    return x.astype(dtype)


def astype(x: Any, dtype: DTypeLike) -> Any:
    """x in another dtype.  From complex to real it keeps the real part; integer dtypes end the gradient's path."""
    d = as_dtype(dtype)
    x = boxed(x, "astype")
    if raw(x).dtype == d:
        return x
    if is_inexact(d) or not isinstance(x, Tensor):
        return _astype(x, dtype=d)
    return lost(wrap(_astype(x.array, dtype=d), None, x.kind), "astype", (x,), INTEGER)


@op(x=lambda g, target, source: _to_device(g, target=source, source=target), batch="broadcast", linear=True)
def _to_device(xp: Any, x: Any, *, target: Device, source: Device) -> Any:
    if target.kind == "cpu":
        x = source.library.to_host(x)
    return target.library.asarray(x, None, target)


def to_device(x: Any, device: str | Device) -> Any:
    """x on another device; the gradient travels back.  x itself if it is there already."""
    target = _device(device)
    source = device_of(raw(x))
    return x if source == target else _to_device(x, target=target, source=source)


def stop_gradient(x: Any) -> Any:
    """The values of x, which no tape follows back.  Shares memory with x."""
    return lost(wrap(view(x.array), None, x.kind), "stop_gradient", (x,), STOPPED) if isinstance(x, Tensor) else x


def view(x: Any) -> Any:
    """The same memory as another array object: tapes tell values apart by the object."""
    return np.asarray(x) if isinstance(x, np.generic) else x.view()
