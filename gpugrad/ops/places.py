"""What an index selects, as arrays: which elements, and whether one of them twice."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..array import NUMPY, library
from ..forward import indices, placed
from ..levels import looked_at


def parts(key: Any) -> tuple[Any, ...]:
    """The parts of an index, one for each axis or so."""
    return key if isinstance(key, tuple) else (key,)


def is_basic(key: Any) -> bool:
    """Whether `key` is made of slices, integers, None and Ellipsis: NumPy answers a view."""
    for k in key if type(key) is tuple else (key,):
        if not (type(k) is slice or type(k) is int or k is None or k is Ellipsis):
            return False
    return True


def may_repeat(key: Any) -> bool:
    """Whether `key` has integer arrays, which alone can select an element twice."""
    return any([k.dtype.kind in "iu" for k in parts(key) if hasattr(k, "dtype")])


def _axes(k: Any) -> int:
    """How many axes a part of an index is for."""
    if k is None or k is Ellipsis or isinstance(k, bool):
        return 0
    return k.ndim if getattr(k, "dtype", np.dtype(int)).kind == "b" else 1


def axes_left(key: Any, ndim: int) -> int:
    """How many axes x[key] has, for an x with `ndim`."""
    given = parts(key)
    own = sum([k is None or isinstance(k, slice) for k in given])
    arrays = [k.ndim if k.dtype.kind in "iu" else 1 for k in given if hasattr(k, "dtype")]
    arrays += [1 for k in given if isinstance(k, bool)]
    return ndim - sum([_axes(k) for k in given]) + own + max(arrays, default=0)


def _least(x: np.ndarray) -> int:
    return int(np.minimum.reduce(x, axis=None))


def _most(x: np.ndarray) -> int:
    return int(np.maximum.reduce(x, axis=None))


def numbered(xp: Any, key: Any, shape: tuple[int, ...]) -> tuple[Any, int]:
    """(numbers, n): where in the first n axes, flattened, `key` selects; the other axes are selected whole."""
    left = list(parts(key))
    if left[-1] is Ellipsis:
        left.pop()
    some = any([k is Ellipsis for k in left])
    while not some and isinstance(left[-1], slice) and left[-1] == slice(None):
        left.pop()
    first = left[0]
    if len(left) == 1 and xp is np and first.size and 0 <= _least(first) and _most(first) < shape[0]:
        return first.astype(np.intp, copy=False), 1
    n = len(shape) if some else sum([_axes(k) for k in left])
    out = 0
    for axis, length in enumerate(shape[:n]):
        step = math.prod(shape[axis + 1 : n])
        line = (xp.arange(length) * step).reshape(-1, *[1] * (n - 1 - axis))
        out = out + xp.broadcast_to(line, shape[:n])[tuple(left)]
    return out, n


def last(xp: Any, numbers: Any, n: int) -> Any:
    """For each of `numbers` below n, the position of the last one that is equal to it."""
    slots = xp.zeros(n, np.int32)
    xp.maximum.at(slots, numbers.reshape(-1), xp.arange(numbers.size, dtype=np.int32))
    return slots[numbers]


def combine(xp: Any, f: Any, out: Any, key: Any, v: Any) -> None:
    """Change contiguous `out`, at what `key` selects, to f of itself and v, once for each time it is selected.

    f is the `add`, `maximum` or `minimum` of xp; v has the dtype of `out`.
    """
    if not may_repeat(key):
        out[key] = f(out[key], v)
    elif xp is np:
        numbers, n = numbered(np, key, out.shape)
        rest = out.shape[n:]
        width = math.prod(rest)
        try:
            v = np.broadcast_to(v, numbers.shape + rest).reshape(numbers.size, width)
        except ValueError:
            raise ValueError(f"values of shape {v.shape} do not broadcast to {numbers.shape + rest}") from None
        combine_rows(f, out.reshape(math.prod(out.shape[:n]), width), numbers.reshape(-1), v)
    else:
        _combine_atomic(xp, f, out, key, v)


def combine_rows(f: Any, out: np.ndarray, rows: np.ndarray, v: np.ndarray) -> None:
    """f.at(out, rows, v) of a contiguous matrix, its rows numbered from 0.

    NumPy's loop for flat indices takes a fifth of the time of that for rows; an assignment, where no row repeats, a
    thirtieth.
    """
    n, width = out.shape
    if width != 1:
        seen = np.zeros(n, bool)
        seen[rows] = True
        if np.count_nonzero(seen) == rows.size:
            out[rows] = f(out[rows], v)
            return
        rows = (rows[:, None] * width + np.arange(width)).reshape(-1)
    f.at(out.reshape(-1), rows, v.reshape(-1))


def _combine_atomic(xp: Any, f: Any, out: Any, key: Any, v: Any) -> None:
    """f.at(out, key, v) by what CuPy, which uses atomic instructions, has right.

    It has no sums of complex numbers nor of some integers; its largest float leaves NaN out, and of doubles it is
    rounded to a float.
    """
    kind = out.dtype.kind
    if kind == "c":
        f.at(out.real, key, v.real)
        f.at(out.imag, key, v.imag)
    elif kind in "iub":
        # In 64 bits without a sign: a sum is right in the lowest bits; half the range on top keeps the order.
        up = np.uint64(2**63 if kind == "i" and f is not xp.add else 0)
        wide = out.astype(np.uint64) + up
        f.at(wide, key, v.astype(np.uint64) + up)
        out[...] = (wide - up).astype(out.dtype)
    elif f is xp.add:
        f.at(out, key, v)
    else:
        sign = 1 if f is xp.maximum else -1
        order = _ordered(xp, out * sign)
        _combine_atomic(xp, xp.maximum, order, key, _ordered(xp, v * sign))
        out[...] = _turned(order).view(out.dtype) * sign


def _ordered(xp: Any, x: Any) -> Any:
    """Integers in the order of floats x, NaN the last."""
    return _turned(xp.where(x == x, x, xp.asarray(np.nan, x.dtype)).view(f"i{x.dtype.itemsize}"))


def _turned(i: Any) -> Any:
    """The bits of floats as integers in their order: of the negative ones all but the sign are turned.  And back."""
    bits = 8 * i.dtype.itemsize - 1
    return i ^ ((i >> bits) & (2**bits - 1))


# ---------------------------------------------------------------------------------------------- checks
def integers(name: str, given: Any, x: Any, n: int, low: int | None = None) -> Any:
    """Indices into `n` places as an array beside array `x`.  `low`: the lowest that is allowed (None: -n).

    TypeError for what are no integers; IndexError for one out of range, of those that are on the host.
    """
    i = indices(given)
    if isinstance(given, (list, tuple)) and not i.size:
        i = i.astype(int)
    if i.dtype.kind not in "iu":
        raise TypeError(f"{name}: indices are integers, not {i.dtype}")
    seen = looked_at(i)
    if seen is not None and seen.size:
        low = -n if low is None else low
        least, most = _least(seen), _most(seen)
        if least < low or most >= n:
            wrong = least if least < low else most
            allowed = f"allowed are {low}..{n - 1}" if n else "the axis is empty"
            raise IndexError(f"{name}: index {wrong} is out of bounds; {allowed}")
    return placed(i, x)


def fitting(key: Any, x: Any, name: str) -> None:
    """IndexError for a mask that has not the shape of the axes it is for, which CuPy might take.

    And for an integer of the host's out of range where x is elsewhere: NumPy looks itself, CuPy wraps it around.
    """
    kinds = "b" if library(x) is NUMPY else "biu"
    if not any([k.dtype.kind in kinds for k in parts(key) if hasattr(k, "dtype")]):
        return
    at, left = 0, x.ndim - sum([_axes(k) for k in parts(key)])
    for k in parts(key):
        at += left if k is Ellipsis else 0
        n = _axes(k)
        if hasattr(k, "dtype") and k.dtype.kind == "b" and k.shape != x.shape[at : at + n]:
            raise IndexError(
                f"{name}: a mask of shape {k.shape} for axes of shape {x.shape[at : at + n]}; the shapes must be equal"
            )
        if hasattr(k, "dtype") and k.dtype.kind in "iu" and kinds != "b" and at < x.ndim:
            integers(name, k, k, x.shape[at])
        at += n
