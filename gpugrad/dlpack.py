"""Floor 6: DLPack, arrays handed from library to library without a copy.

NumPy does not know bfloat16 there.  Its tensors go through NumPy as uint16, the type in the capsule changed on the way:
a byte, at one place in DLTensor.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from . import array as _array
from .array import Device, cupy_or_reason
from .autograd import requires_grad
from .core import Tensor, wrap
from .dtypes import bfloat16
from .ops.casting import to_device

_UINT, _BFLOAT = 1, 4  # DLDataTypeCode
_HOSTS, _GPUS = (1, 3), (2, 13)  # DLDeviceType: the CPU's memory, pinned too; CUDA's, managed too
_CODES = {b"dltensor": 20, b"dltensor_versioned": 52}  # where the type's code is: before it data, device and ndim
_api = ctypes.pythonapi


def from_dlpack(x: Any, device: str | Device | None = None, copy: bool | None = None) -> Tensor:
    """A Tensor with the memory of `x`, an array or tensor of any library with DLPack: PyTorch, JAX, TensorFlow, ...

    device  where it is to be; None: where x is.  copy: True always, False never, None where another device needs it
    Without a copy both see what either writes; memory that its owner calls read-only stays so.  The Tensor has no
    history.
    TypeError for what has no DLPack; BufferError for a dtype or device that NumPy and CuPy do not have, a tensor that
    requires grad, and a copy that is needed and not allowed.
    """
    if not (hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__")):
        raise TypeError(f"from_dlpack: a {type(x).__name__} has no __dlpack__; write gg.tensor(x) for lists and arrays")
    kind, _ = x.__dlpack_device__()
    if kind in _HOSTS:
        made: Any = np.from_dlpack
    elif kind in _GPUS:
        cupy, reason = cupy_or_reason()
        if cupy is None:
            raise BufferError(f"from_dlpack: the tensor is on a GPU, and {reason}")
        made = cupy.from_dlpack
    else:
        raise BufferError(f"from_dlpack: it is on a device of DLPack's type {int(kind)}; known are CPUs and CUDA")
    source = _Source(x)
    try:
        a = made(source)
    except (RuntimeError, TypeError) as e:  # NumPy's and CuPy's, of a dtype
        raise BufferError(f"from_dlpack: {e}") from None
    t = wrap(a.view(bfloat16) if source.bfloat else a)
    if device is not None and (to := _array.device(device)) != _array.device_of(t.array):
        if copy is False:
            raise BufferError(f"from_dlpack: to get to {to} it takes a copy: leave out copy=False")
        return to_device(t, to)
    if copy:
        t.array = _array.xp(a).array(t.array)
    return t


def to_dlpack(
    t: Tensor,
    *,
    stream: Any = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """The capsule of t, whose memory is shared: another library's from_dlpack(t) asks for it, with these options.

    What runs backwards through memory (t[::-1]) is copied: PyTorch takes no such strides, and ends the process.
    BufferError for a tensor that requires grad, as in PyTorch, and for what DLPack does not have: another order of
    bytes; read-only memory, where the asker does not know of that; a copy that is needed and not allowed.
    """
    if requires_grad(t):
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    a = _array_of(t)
    if min(a.strides, default=0) < 0:
        if copy is False:
            raise BufferError("a tensor with negative strides takes a copy: leave out copy=False")
        a = a.copy()
    options = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
    if a.dtype != bfloat16:
        return a.__dlpack__(**options)
    capsule = a.view(np.uint16).__dlpack__(**options)
    _recode(capsule, _UINT, _BFLOAT)
    return capsule


def dlpack_device(t: Tensor) -> tuple[int, int]:
    """(the type, the number) of the device of t, as DLPack counts."""
    return _array_of(t).__dlpack_device__()


def _array_of(t: Tensor) -> Any:
    """The array of t: of NumPy's scalars, which have no DLPack, a copy."""
    return np.asarray(t.array) if isinstance(t.array, np.generic) else t.array


class _Source:
    """What an array library asks in the place of `x`, whose bfloat16 it gets as uint16."""

    def __init__(self, x: Any) -> None:
        self._x, self.bfloat = x, False

    def __dlpack_device__(self) -> Any:
        return self._x.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        capsule = self._x.__dlpack__(**options)
        self.bfloat = _recode(capsule, _BFLOAT, _UINT)
        return capsule


def _recode(capsule: Any, old: int, new: int) -> bool:
    """Change the type's code in a capsule that nobody has taken yet; False if it is not `old`, of 16 bits."""
    name = _call("PyCapsule_GetName", ctypes.c_char_p, ctypes.py_object(capsule))
    if name not in _CODES:
        raise BufferError(f"from_dlpack: a capsule is called dltensor or dltensor_versioned, not {name!r}")
    start = _call("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.py_object(capsule), ctypes.c_char_p(name))
    dtype = (ctypes.c_uint8 * 2).from_address(start + _CODES[name])  # the code, the bits
    if tuple(dtype) != (old, 16):
        return False
    dtype[0] = new
    return True


def _call(name: str, answers: Any, *args: Any) -> Any:
    f = _api[name]  # a new function object: `_api.name` would be one for the whole program
    f.restype = answers
    return f(*args)
