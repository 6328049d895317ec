"""Floor 0: the array protocol.  NumPy, CuPy, or whatever a test registers, behind one set of questions.

A `Library` answers for one kind of array: its type, its namespace, how to make one, how to bring it to the
host, which device it is on, how to compile a kernel.  Everything above asks `library(x)` or `xp(x)` and never
imports CuPy itself.  CuPy is imported the first time a GPU is asked for or one of its arrays appears.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from functools import cache
from sys import getrefcount
from types import ModuleType
from typing import Any

import numpy as np

from . import host_special
from .blas import Blas
from .courier import Courier
from .dtypes import DTypeLike, as_dtype, bfloat16, complex64, default_float, int32, wide
from .files import install

Array = Any  # numpy.ndarray, cupy.ndarray, or a registered library's type

NOTHING = nullcontext()

# glibc gives memory back to the system as it is freed, and a training step asks for the same again: page faults take
# 5 to 15% of its time.  A block this large that was freed once, here untouched, tells glibc to keep 64 MB.
np.empty((32 << 20) - (16 << 10), np.uint8)


# ---------------------------------------------------------------------------------------------- libraries
class Library:
    """NumPy on the CPU: the reference implementation of the protocol."""

    name = "numpy"
    xp: ModuleType = np
    types: tuple[type, ...] = (np.ndarray, np.generic)
    compiles = False  # whether `compile` makes kernels
    traced = False  # whether its arrays are those inside a `vmap` or the like

    def asarray(self, value: Any, dtype: np.dtype | None, device: Device) -> Array:
        return np.asarray(value, dtype)

    def to_host(self, x: Array) -> np.ndarray:
        return np.asarray(x)

    def device_of(self, x: Array) -> Device:
        return CPU

    def index(self, x: Array) -> int:
        """The number of the device that `x` is on, among those of this library."""
        return 0

    def address(self, x: Array) -> int:
        """Where the memory of `x` begins."""
        return x.ctypes.data

    def sign(self, x: Array | None) -> Any:
        """What a launch depends on beside the values of `x`: type, shape, dtype, device, whether it is contiguous and
        aligned.  Where x is None, None; AttributeError for what is no array.
        """
        if x is None:
            return None
        whole = x.flags.c_contiguous and not self.address(x) % x.dtype.itemsize
        return type(x), x.shape, x.dtype, self.index(x), whole

    def ready(self, x: Any, dtype: np.dtype, index: int) -> bool:
        """Whether a kernel on device `index` may be handed `x`: of this dtype, there, contiguous and aligned."""
        return isinstance(x, self.types) and self.sign(x)[2:] == (dtype, index, True)

    def alone(self, x: Array) -> bool:
        """Whether only the attribute that `x` was taken from holds it, and nobody else its memory: nobody can tell if
        it is written to.

        Asked as `alone(t.array)`, never with a local variable, which would be one more that holds it.  "No" may be
        wrong, "yes" never is.
        """
        return getrefcount(x) == 3 and self.owns(x)  # the attribute, this call's argument and getrefcount's

    def owns(self, x: Array) -> bool:
        """Whether the memory of `x` is known to be its own, so that whoever else has it, holds `x`."""
        return x.base is None and x.flags.owndata and x.flags.writeable

    def block(self, x: Array) -> tuple[Any, int]:
        """(the object whose death gives the memory of `x` back, the bytes of that); of a scalar, 0 bytes."""
        if isinstance(x, np.generic):
            return x, 0
        nbytes = x.nbytes
        while (base := getattr(x, "base", None)) is not None:
            x, nbytes = base, getattr(base, "nbytes", nbytes)
        return x, nbytes

    def empty(self, shape: Any, dtype: np.dtype) -> Array:
        """A new array whose values are not set, on the device in whose scope this is asked."""
        return self.xp.empty(shape, dtype)

    def here(self, index: int) -> bool:
        """Whether new arrays land on device `index` without its scope."""
        return True

    def scope(self, device: Device) -> Any:
        """A context manager inside which new arrays land on `device`."""
        return NOTHING

    def wait(self) -> None:
        """Return when the device that is in use has done all that it was asked."""

    def special(self) -> Any:
        """The namespace of the special functions, under the names of `scipy.special`."""
        return host_special

    def sparse(self) -> Any:
        """The namespace of sparse matrices, under the names of `scipy.sparse`, `linalg` with it."""
        try:
            import scipy.sparse.linalg  # pyright: ignore[reportMissingImports]
        except ImportError as e:
            raise ImportError(
                f"sparse matrices on the CPU are SciPy's, which is not installed ({e}): {install('scipy')}"
            ) from None
        return scipy.sparse

    def compile(self, code: str, kernel: str, device: Device) -> Any:
        """A CUDA kernel as a function of (grid, block, arguments), where the library `compiles`."""
        raise NotImplementedError(f"{self.name} compiles no kernels")

    def blas(self, device: Device) -> Blas | None:
        """cuBLASLt on `device`; None where it is not there."""
        return None

    def courier(self, device: Device) -> Courier | None:
        """What copies to the host and back beside the computing; None where there is no such thing."""
        return None


NUMPY = Library()
makers: dict[str, Callable[[Any], Library]] = {}  # what makes the library of a kind of device, of its module
by_type: dict[type, Library] = {}
_PLAIN = frozenset((bool, int, float, complex, str, tuple, list, dict, type(None)))  # asked for often, and no arrays
_by_kind: dict[str, Library] = {}


def register(lib: Library, kind: str) -> None:
    """Let arrays of `lib` in, on devices called `kind` (as in `kind:0`)."""
    _by_kind[kind] = lib
    for t in lib.types:
        by_type[t] = lib


def unregister(kind: str) -> None:
    """Undo `register`."""
    lib = _by_kind.pop(kind)
    for t in [t for t, owner in by_type.items() if owner is lib]:
        del by_type[t]


@cache
def cupy_or_reason() -> tuple[Any, str]:
    """(the cupy module, "") where a GPU can be used; (None, why not) elsewhere."""
    try:
        import cupy
    except ImportError as e:
        return None, f"CuPy is not installed ({e}); install it with: {install('cuda13')}"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as e:  # CuPy raises its own CUDARuntimeError; any failure here means: no usable driver
        return None, f"CuPy {cupy.__version__} found no working NVIDIA driver ({e})"
    return (cupy, "") if count else (None, f"CuPy {cupy.__version__} found no NVIDIA GPU")


def _cuda() -> Library | None:
    if "cuda" not in _by_kind and (cupy := cupy_or_reason()[0]) is not None:
        register(makers["cuda"](cupy), "cuda")
    return _by_kind.get("cuda")


def library(x: object) -> Library | None:
    """The library that owns array `x`; None if `x` is no array of any known library."""
    lib = by_type.get(type(x))
    if lib is None and type(x) not in _PLAIN:
        for t in type(x).__mro__[1:]:
            if (lib := by_type.get(t)) is not None:
                break
        else:
            if type(x).__module__.partition(".")[0] != "cupy" or "cupy" not in sys.modules or _cuda() is None:
                return None
            lib = by_type.get(type(x))
        if lib is not None:
            by_type[type(x)] = lib
    return lib


def xp(x: object) -> Any:
    """The namespace (numpy or cupy) for array `x`; numpy for what is no array."""
    lib = library(x)
    return np if lib is None else lib.xp


def special(x: object) -> Any:
    """The namespace of the special functions of array `x`."""
    lib = library(x)
    return host_special if lib is None else lib.special()


# ---------------------------------------------------------------------------------------------- devices
class Device:
    """Where an array lives: `cpu`, or a GPU such as `cuda:0`.  A context manager: new arrays land on it."""

    __slots__ = ("_tokens", "index", "kind")

    def __init__(self, kind: str, index: int = 0) -> None:
        self.kind, self.index = kind, index
        self._tokens: list[Any] = []

    def __repr__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return repr(self) == other or (self.index == 0 and self.kind == other)
        return isinstance(other, Device) and (self.kind, self.index) == (other.kind, other.index)

    def __hash__(self) -> int:
        return hash((self.kind, self.index))

    @property
    def library(self) -> Library:
        return _by_kind[self.kind]

    def __enter__(self) -> Device:
        scope = self.library.scope(self)
        scope.__enter__()
        self._tokens.append((chosen_device.set(self), scope))
        return self

    def __exit__(self, *exc: object) -> None:
        token, scope = self._tokens.pop()
        chosen_device.reset(token)
        scope.__exit__(*exc)


CPU = Device("cpu")
register(NUMPY, "cpu")
chosen_device: ContextVar[Device | None] = ContextVar("gpugrad_device", default=None)
_default: list[Device | None] = [None]


def device(name: str | Device) -> Device:
    """The device called `name`: "cpu", "cuda" (the first GPU) or "cuda:1".

    Used as `with gg.device("cpu"):` new arrays land there.
    ValueError for a name that is none; RuntimeError, with the reason, for a GPU that this machine does not have.
    """
    if isinstance(name, Device):
        return Device(name.kind, name.index)
    if not isinstance(name, str):
        raise TypeError(f"a device is named by a string such as 'cpu' or 'cuda:0', not by {type(name).__name__}")
    kind, _, number = name.partition(":")
    kind = "cuda" if kind == "gpu" else kind
    if number and not number.isdecimal():
        raise ValueError(f"unknown device {name!r}: after the colon comes a number, as in 'cuda:0'")
    if kind == "cuda":
        if _cuda() is None:
            raise RuntimeError(f"there is no device {name!r} here: {cupy_or_reason()[1]}. Use device 'cpu'.")
    elif kind not in _by_kind:
        known = ", ".join(repr(k) for k in sorted({*_by_kind, "cuda"}))
        raise ValueError(f"unknown device {name!r}; known are {known}, and one GPU of several as 'cuda:1'")
    index = int(number or 0)
    count = device_count(kind)
    if index >= count:
        raise RuntimeError(f"there is no device {name!r}: this machine has {count} of that kind, numbered from 0")
    return Device(kind, index)


def placing(where: Any, dtype: DTypeLike = None, at: str | Device | None = None) -> tuple[Device | None, DTypeLike]:
    """(device, dtype) of what `to` is given: a device, a dtype or the name of one of them, and others by name.

    TypeError for two of a kind.
    """
    place, kind = (where, None) if isinstance(where, Device) else (None, where)
    if isinstance(where, str):
        kind = None
        if where.partition(":")[0] not in ("cpu", "cuda", "gpu") and ":" not in where:
            with suppress(TypeError):
                kind = as_dtype(where)
        place = device(where) if kind is None else None
    if (place is not None and at is not None) or (kind is not None and dtype is not None):
        other = dtype if place is None else at
        raise TypeError(f"to() takes one device and one dtype: {where!r} is a second one, beside {other!r}")
    return place if at is None else device(at), dtype if kind is None else kind


def device_count(kind: str = "cuda") -> int:
    """How many devices of `kind` there are."""
    if kind != "cuda":
        return int(kind in _by_kind)
    return _by_kind["cuda"].xp.cuda.runtime.getDeviceCount() if _cuda() is not None else 0


def default_device() -> Device:
    """Where new arrays land: the innermost `with gg.device(...)`, else `set_default_device`, else GPU, else CPU."""
    d = chosen_device.get() or _default[0]
    if d is None:
        _default[0] = d = Device("cuda") if _cuda() is not None else CPU
    return d


def set_default_device(name: str | Device | None) -> None:
    """Where new arrays land from now on, in every thread.  None: the GPU if there is one, else the CPU."""
    _default[0] = None if name is None else device(name)


# ---------------------------------------------------------------------------------------------- making arrays
_KEPT = (np.ndarray, np.generic)


def asarray(value: Any, dtype: DTypeLike = None, dev: str | Device | None = None) -> Array:
    """`value` as an array of the default device (or `dev`); arrays keep their dtype, Python numbers get the default.

    An array that is already right is returned itself, not copied.  TypeError for what holds no numbers.
    """
    lib = library(value)
    target = None if dev is None else device(dev)
    if dtype is not None:
        dtype = as_dtype(dtype)
    if lib is None:
        value, lib = _from_python(value, dtype), NUMPY
        target = target or default_device()
    elif lib is NUMPY and target is None:
        target = default_device()
    if value.dtype.kind not in "biufc" and value.dtype != bfloat16:
        raise TypeError(
            f"cannot make a tensor of dtype {value.dtype} (from {type(value).__name__}); "
            "numbers, nested lists of numbers and numeric arrays are allowed"
        )
    if lib is NUMPY:
        value = plain(value)
    if target is None or (target.kind == "cpu" and lib is NUMPY):
        return value if dtype is None or value.dtype == dtype else value.astype(dtype)
    if target.kind == "cpu":
        return target.library.asarray(lib.to_host(value), dtype, target)
    return target.library.asarray(value, dtype, target)


def plain(x: Any) -> Any:
    """A NumPy array without its subclass: `*` of a matrix is no element-wise product.  TypeError for a masked array."""
    if type(x) is np.ndarray or not isinstance(x, np.ndarray):
        return x
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError("masked arrays are not supported; write x.filled(value), or gg.where(mask, x, y)")
    return np.asarray(x)


def _from_python(value: Any, dtype: np.dtype | None) -> np.ndarray:
    if isinstance(value, (str, bytes)) or value is None:
        raise TypeError(f"cannot make a tensor from {value!r} of type {type(value).__name__}; give numbers or arrays")
    try:
        host = np.asarray(value)
    except ValueError as e:
        raise ValueError(f"cannot make a tensor: {e}; every row of a nested list must have the same length") from None
    if host.dtype.kind not in "biufc" and host.dtype != bfloat16:
        raise TypeError(f"cannot make a tensor from {type(value).__name__} {value!r:.60}; give numbers or arrays")
    if dtype is None:
        # Only what came from Python numbers takes the default; nested lists of arrays keep their own dtype.
        dtype = {"f": default_float(), "c": np.result_type(wide(default_float()), complex64)}.get(host.dtype.kind)
        if host.dtype.kind == "i" and abs(host).max(initial=0) < 2**31:
            dtype = int32
        if _holds_array(value):
            dtype = None
    return host if dtype is None else host.astype(dtype, copy=False)


def _holds_array(value: Any) -> bool:
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return isinstance(value, _KEPT)


def in_order(x: Array) -> Array:
    """x, its last axes next to each other in memory: what an op has made in another order is copied, a view is not."""
    return np.ascontiguousarray(x) if type(x) is np.ndarray and x.base is None and not x.flags.c_contiguous else x


def to_host(x: Array) -> np.ndarray:
    """`x` as a NumPy array (a copy only if it was on another device)."""
    lib = library(x)
    return np.asarray(x) if lib is None else lib.to_host(x)


def device_of(x: Array) -> Device:
    """The device array `x` is on."""
    lib = library(x)
    return CPU if lib is None else lib.device_of(x)
