"""x @ y and out += x @ y.  What is to be done for given shapes, strides and dtypes is worked out once: `Home.ways`."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from .. import blas
from ..array import Array, Device, Library, device_of, library
from ..blas import Plan, Problem
from ..dtypes import wide
from ..kernels import CTYPES
from .layout import extent, problem, view

REMEMBERED = 4096  # ways in one home: a program whose shapes never repeat must not grow
_HERE = nullcontext()

# ---------------------------------------------------------------------------------------------- precision
_precision = ["highest"]


def set_float32_matmul_precision(precision: str) -> None:
    """How float32 matrices are multiplied on a GPU, in all threads: "highest", or "high": in TF32 where it has that.

    TF32 keeps 10 of the 23 bits of each factor; sums stay float32.  "medium" means "high".  As in PyTorch.  Without
    nvmath-python the products are CuPy's, which heed only the environment variable CUPY_TF32.
    ValueError for another word.
    """
    if precision not in ("highest", "high", "medium"):
        raise ValueError(f"a precision is 'highest', 'high' or 'medium', given {precision!r}")
    _precision[0] = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was given last; "highest" at first."""
    return _precision[0]


# ---------------------------------------------------------------------------------------------- where
class Home:
    """A device that has cuBLASLt, and the ways in which products went there, by shapes, strides and dtypes."""

    __slots__ = ("address", "blas", "device", "empty", "lib", "ways")

    def __init__(self, lib: Library, device: Device, own: blas.Blas) -> None:
        self.lib, self.device, self.blas = lib, device, own
        self.address, self.empty = lib.address, lib.xp.empty
        self.ways: dict[Any, Any] = {}

    def scope(self) -> Any:
        """Inside it new arrays and launches are on this device."""
        return _HERE if self.blas.alone else self.lib.scope(self.device)

    def way(self, key: Any, make: Callable[..., Any], *args: Any) -> Any:
        """What `make(self, *args)` answers, made the first time this key is asked for."""
        found = self.ways.get(key)
        if found is None:
            if len(self.ways) >= REMEMBERED:
                self.ways.clear()
            found = self.ways[key] = make(self, *args)
        return found


_homes: dict[Any, Home | None] = {}  # by library where it has one device, by library and device else


def home_of(x: Any, *others: Any) -> Home | None:
    """Where to multiply; None if cuBLASLt is not there.  TypeError for two devices."""
    lib = library(x)
    found = _homes.get(lib)
    if found is not None or lib is None:
        return found
    index = lib.index(x)
    if (lib, index) not in _homes:
        device = lib.device_of(x)
        own = lib.blas(device)
        _homes[lib, index] = home = None if own is None else Home(lib, device, own)
        if home is not None and home.blas.alone:
            _homes[lib] = home
    for a in others:
        if isinstance(a, lib.types) and lib.index(a) != index:
            raise TypeError(f"one array is on {device_of(x)}, another on {device_of(a)}")
    return _homes[lib, index]


def check(x: Any, *others: Any) -> Library:
    """The library of these arrays.  TypeError for two libraries or dtypes, and for what is no array."""
    lib = library(x)
    for a in (x, *others):
        if lib is None or library(a) is None:
            raise TypeError(f"a product takes arrays, given {type(a if lib else x).__name__}")
        if library(a) is not lib:
            raise TypeError(f"one array is on {device_of(x)}, another on {device_of(a)}")
        if a.dtype != x.dtype:
            raise TypeError(f"a product takes arrays of one dtype, given {x.dtype} and {a.dtype}")
    assert lib is not None
    return lib


def usable(*arrays: Any) -> bool:
    """Whether cuBLASLt multiplies these arrays: of one library that has it, of one real floating dtype.

    Arrays on two devices are usable, so that the product says what is wrong.
    """
    lib, dtype = library(arrays[0]), getattr(arrays[0], "dtype", None)
    if lib is None or dtype not in CTYPES or home_of(arrays[0]) is None:
        return False
    return all([library(a) is lib and a.dtype == dtype for a in arrays[1:]])


def signs(lib: Library, *arrays: Any) -> tuple[Any, ...]:
    """What a way depends on.  TypeError for what is no array."""
    try:
        found = (*map(lib.sign, arrays),)
        for sign in found:
            if sign and not sign[-1]:  # of whole arrays it says all
                return *found, *[getattr(a, "strides", None) for a in arrays]
    except AttributeError:
        check(*arrays)
        raise
    return found


# ---------------------------------------------------------------------------------------------- a product that is known
class Product:
    """The way of a product through cuBLASLt: what is copied, the problem, and its plans by alignment."""

    __slots__ = ("_copies", "_extents", "_plans", "_problem", "_shape", "_size")

    def __init__(
        self, shape: tuple[int, ...], task: Problem, copies: tuple[Any, Any] | None, extents: tuple[int, ...], size: int
    ) -> None:
        self._shape, self._problem, self._copies, self._extents, self._size = shape, task, copies, extents, size
        self._plans: dict[Any, Plan | None] = {}

    def __call__(self, home: Home, x: Array, y: Array, out: Array | None, v: int = 0, s: int = 0) -> Array | None:
        """The product, with `out` added to it.

        v, s: the addresses of an epilogue's vector and matrix; with them the answer is None if cuBLASLt does not do it.
        """
        if self._copies is not None:
            x, y = [a if shape is None else _copied(home, a, shape) for a, shape in zip((x, y), self._copies)]
        address = home.address
        a, b = address(y), address(x)
        if out is None:
            out = home.empty(self._shape, x.dtype)
            d = address(out)
        else:
            d = address(out)
            left, right, over = self._extents
            if (b < d + over and d < b + left) or (a < d + over and d < a + right):
                return _added(home, x, y, out)  # cuBLASLt would read what it has written
        low = (a | b | d | v | s) & 255
        low &= -low
        # the heuristic looks at how the epilogue's own addresses are aligned
        key = (low, v & 255 & -v, s & 15) if v else low
        try:
            plan = self._plans[key]
        except KeyError:
            if (a | b | d) % self._size:
                plan = None
            else:
                plan = self._plans[key] = blas.plan(home.blas, self._problem, low or 256, v, s)
        if plan is None:
            return None if v else self._otherwise(home, x, y, out, (a | b | d) % self._size)
        if v:
            plan.fused(a, b, d, v, s)
        else:
            plan(a, b, d)
        return out

    def _otherwise(self, home: Home, x: Array, y: Array, out: Array, odd: int) -> Array:
        """The same where cuBLASLt has no algorithm, or an address is no multiple of the size of an element."""
        given = out if self._problem.add else None
        if not odd:
            return _plain(home, x, y, given)
        if home.address(out) % self._size:
            return _added(home, x, y, out)
        x, y = [a.copy() if home.address(a) % self._size else a for a in (x, y)]
        return product(x, y, given)


def _copied(home: Home, a: Array, shape: tuple[int, ...]) -> Array:
    return home.lib.xp.ascontiguousarray(home.lib.xp.broadcast_to(a, shape))


# ---------------------------------------------------------------------------------------------- products
def tf32(dtype: Any) -> bool:
    return dtype.name == "float32" and _precision[0] != "highest"


def product(x: Array, y: Array, out: Array | None = None) -> Array:
    """x @ y; with `out`: out += x @ y, and `out` is returned.

    (..., n, k) @ (..., k, m) -> (..., n, m), leading axes broadcast; x of more than two axes and one y are one product.
    Where cuBLASLt is not there, or is not for these arrays (integers, complex), it is the library's own product.
    TypeError for two dtypes or devices, ValueError for shapes that do not fit.
    """
    home = _homes.get(library(x)) or home_of(x, y, out)
    if home is None:
        return _plain(check(x, y, *(() if out is None else (out,))), x, y, out)
    try:
        key = x.shape, x.strides, x.dtype.char, y.shape, y.strides, y.dtype.char, type(y), _precision[0]
    except AttributeError:
        check(x, y)
        raise
    if out is not None:
        if type(out) is not type(x):
            check(x, y, out)
        key += signs(home.lib, out)
    way = home.ways.get(key) or home.way(key, _way, x, y, out)
    if home.blas.alone:
        return way(home, x, y, out)
    with home.scope():
        return way(home, x, y, out)


def misfit(x: tuple[int, ...], y: tuple[int, ...]) -> str:
    return (
        f"shapes {x} and {y} cannot be multiplied: "
        f"the last axis of the first is {x[-1]}, the second last of the second {y[-2]}"
    )


def shape_of(x: Array, y: Array, out: Array | None) -> tuple[int, ...]:
    """The shape of x @ y.  ValueError if they do not fit, or `out` is not of it or broadcast."""
    if x.ndim < 2 or y.ndim < 2:
        raise ValueError(f"a product takes arrays of two axes or more, given shapes {x.shape} and {y.shape}")
    if x.shape[-1] != y.shape[-2]:
        raise ValueError(misfit(x.shape, y.shape))
    shape = (*np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1])
    if out is not None and out.shape != shape:
        raise ValueError(f"out has shape {out.shape}, and the product of {x.shape} and {y.shape} has {shape}")
    if out is not None and any([n > 1 and not s for n, s in zip(out.shape, out.strides)]):
        raise ValueError("out is broadcast: elements of it share memory; give an array of its own")
    return shape


def _way(home: Home, x: Array, y: Array, out: Array | None) -> Any:
    """What does this product, and all others of its shapes, strides and dtypes: called with (home, x, y, out)."""
    check(x, y, *(() if out is None else (out,)))
    shape = shape_of(x, y, out)
    if x.dtype.name not in blas.TYPES:
        return _plain
    if 0 in shape or not x.shape[-1]:
        return _nothing
    if max(*x.shape, *y.shape, math.prod(shape[:-1])) > blas.LIMIT:
        return _halved
    views = view(x), view(y), None if out is None else view(out)
    found = problem(*views, shape, dtype=x.dtype.name, tf32=tf32(x.dtype))
    if found is None:
        return _added if views[2].matrix(shape[:-2], False) is None else _flipped  # type: ignore[union-attr]
    extents = tuple([0 if v is None else extent(v) for v in views])
    return Product(shape, *found, extents, x.dtype.itemsize)  # type: ignore[arg-type]


def _nothing(home: Home, x: Array, y: Array, out: Array | None) -> Array:
    return home.lib.xp.zeros(shape_of(x, y, None), x.dtype) if out is None else out


def _added(home: Home, x: Array, y: Array, out: Array) -> Array:
    out += product(x, y)
    return out


def _flipped(home: Home, x: Array, y: Array, out: Array) -> Array:
    """Where `out` is column-major: out^T += y^T @ x^T."""
    product(y.swapaxes(-1, -2), x.swapaxes(-1, -2), out.swapaxes(-1, -2))
    return out


def _plain(home: Any, x: Array, y: Array, out: Array | None) -> Array:
    """By the library's own product.  Batches of half types in float32: CuPy's are slow or crash."""
    shape_of(x, y, out)
    full = wide(x.dtype)
    if full is x.dtype or y.ndim == 2:
        done = array_product(x, y)
    else:
        done = array_product(x.astype(full), y.astype(full))
    if done.dtype != x.dtype:
        done = done.astype(x.dtype)
    if out is None:
        return done
    out += done
    return out


def array_product(x: Array, y: Array) -> Array:
    """x @ y by the arrays' own operator; leading axes of x become rows where y is one matrix."""
    if x.shape[-1] == 1 and type(x) is np.ndarray:  # a column times a row: NumPy's product takes 2 to 4 times as long
        if x.dtype.kind == "f":
            return np.einsum("...ij,...jk->...ik", x, y, order="C")
        if x.dtype.kind == "c":
            return x * y
    if x.ndim > 2 and y.ndim == 2:
        return (x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) @ y).reshape(*x.shape[:-1], y.shape[-1])
    return x @ y


def _halved(home: Home, x: Array, y: Array, out: Array | None) -> Array:
    """In two halves, where a size is more than cuBLASLt's integers hold."""
    shape = shape_of(x, y, out)
    if out is None:
        out = home.lib.xp.zeros(shape, x.dtype)
    if x.shape[-1] > blas.LIMIT:
        axes = 1, 2, 0
    elif y.shape[-1] > blas.LIMIT:
        axes = 0, 1, 1
    elif x.shape[-2] > blas.LIMIT:
        axes = 2, 0, 2
    else:
        axes = (next(len(shape) - i for i, n in enumerate(shape) if n > 1),) * 3
    for parts in zip(*[_halves(a, axis) for a, axis in zip((x, y, out), axes)]):
        product(*parts)
    return out


def _halves(a: Array, axis: int) -> tuple[Array, Array]:
    """The halves along an axis counted from the end, 1 the last; twice the whole where that broadcasts, or is 0."""
    if not axis or axis > a.ndim or a.shape[-axis] == 1:
        return a, a
    half, rest = a.shape[-axis] // 2, (slice(None),) * (axis - 1)
    return a[(..., slice(half), *rest)], a[(..., slice(half, None), *rest)]
