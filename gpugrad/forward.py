"""Floor 2: what stands around an op's forward: NumPy's ufuncs as forwards, operands made fit, errors made clear."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import cache
from operator import index
from typing import Any

import numpy as np

from .array import NUMPY, asarray, device_of, library, plain, to_host
from .core import Tensor, on, raw, wrap
from .dtypes import as_dtype, bfloat16, complex64, default_float, float16, is_inexact, wide
from .hooks import post_mortem
from .recording import active


def ufunc(name: str, floats: bool = False, doc: str | None = None) -> Callable[..., Any]:
    """The forward that calls `name` of the array's namespace.

    floats   integers become the default float first
    doc      the docstring; None: NumPy's
    """
    numpys: Any = getattr(np, name)
    host = numpys
    if floats:

        def forward(xp: Any, *xs: Any) -> Any:
            return getattr(xp, name)(*[as_float(x, xs[i - 1]) for i, x in enumerate(xs)])  # beside the other of two

        def host(x: Any) -> Any:
            return numpys(x) if x.dtype.kind in "fcV" else numpys(as_float(x))  # V: bfloat16

    else:

        def forward(xp: Any, *xs: Any) -> Any:
            return getattr(xp, name)(*xs)

    forward.__name__ = name
    forward.__doc__ = doc or (numpys.__doc__ and numpys.__doc__.strip().split("\n\n")[1].strip())
    if numpys.nin == 1 or not floats:
        forward.host = host  # type: ignore[attr-defined]
    forward.nin = numpys.nin  # type: ignore[attr-defined]
    return forward


@cache
def number(value: int, dtype: np.dtype) -> np.ndarray:
    """`value` as a 0-d array: a ufunc takes it 300 ns sooner than a Python number or a NumPy scalar."""
    out = np.array(value, dtype)
    out.flags.writeable = False
    return out


def as_float(x: Any, beside: Any = None) -> Any:
    """An integer or bool array in the default float dtype, or a wider one beside it; inexact arrays as they are."""
    d = getattr(x, "dtype", None)
    if d is None:
        return float(x) if isinstance(x, int) else x
    if is_inexact(d):
        return x
    b = getattr(beside, "dtype", None)
    return x.astype(default_float() if b is None or not is_inexact(b) else promoted(default_float(), b))


def promoted(*dtypes: np.dtype) -> np.dtype:
    """The dtype for values of all these, as NumPy has it; float32 for the two half types, neither of which has all."""
    if float16 in dtypes and bfloat16 in dtypes:
        dtypes = tuple(map(wide, dtypes))
    return np.result_type(*dtypes)


def pair(x: Any, b: Any) -> tuple[Any, Any]:
    """Array `x` and what an op makes of the operand `b` beside it; an integer `x` turns floating beside floats."""
    y = operand(b, x)
    if not is_inexact(x.dtype) and (
        isinstance(y, (float, complex)) or (isinstance(b, (list, tuple)) and is_inexact(y.dtype))
    ):
        x = as_float(x)
    return x, y


def operand(b: Any, x: Any) -> Any:
    """What an op makes of an operand that is no Tensor, next to array `x`: scalars are weak, lists are arrays.

    TypeError for what holds no numbers, and for an array of another library.
    """
    if isinstance(b, np.generic):
        b = b.item() if b.dtype != bfloat16 else float(b)
    if isinstance(b, (bool, int, float, complex)):
        d = x.dtype
        if d == bfloat16 and not isinstance(b, complex):
            return library(x).xp.asarray(b, bfloat16)  # type: ignore[union-attr]  # NumPy would answer float32
        return b
    own, other = library(x), library(b)
    if other is None:
        if not isinstance(b, (list, tuple)):
            raise TypeError(
                f"unsupported operand {b!r:.60} of type {type(b).__name__}; "
                "Tensors, arrays, numbers and nested lists of numbers are allowed"
            )
        _refuse_tracked(b)
        host = np.asarray([to_host(y.array) if isinstance(y, Tensor) else y for y in b])
        if host.dtype.kind not in "biufc":
            raise TypeError(f"unsupported operand {b!r:.60}: the list holds {host.dtype}, not numbers")
        like = x.dtype if is_inexact(x.dtype) else default_float()
        if host.dtype.kind == "c":
            host = host.astype(np.result_type(wide(like), complex64))
        elif host.dtype.kind == "f":
            host = host.astype(like)
        elif host.dtype.kind in "iu" and is_inexact(x.dtype):
            host = host.astype(x.dtype)
        return host if own is None else own.asarray(host, None, own.device_of(x))
    if own is not None and other is not own:
        raise TypeError(_two_devices(x, b))
    return plain(b) if other is NUMPY else b


def indices(given: Any) -> Any:
    """What selects elements, as an array: numbers and lists as one of NumPy, arrays and Tensors on their device."""
    a = raw(given)
    return np.asarray(a) if library(a) is None else a


def placed(index: Any, x: Any) -> Any:
    """`indices`, those of NumPy on the device of array `x`.

    Of other operands that is an error: an index is small, and comes from outside.
    """
    i, own = indices(index), library(x)
    return i if own is None or own is NUMPY or library(i) is not NUMPY else own.asarray(i, None, own.device_of(x))


def select(xp: Any, mask: Any, x: Any, y: Any) -> Any:
    """`xp.where` in the dtype of both operands: of bfloat16 CuPy's answers float32, of the two half types none does."""
    if x.dtype != y.dtype and wide(x.dtype) is wide(y.dtype):  # half types and float32
        dtype = promoted(x.dtype, y.dtype)
        x, y = x.astype(dtype, copy=False), y.astype(dtype, copy=False)
    if xp is np and mask.size > _MANY and x.dtype == y.dtype and x.dtype.itemsize <= 8 and mask.dtype == bool:
        return _select_bits(mask, x, y)
    out = xp.where(mask, x, y)
    return out if out.dtype == x.dtype or x.dtype != y.dtype else out.astype(x.dtype)


_MANY = 2048  # from so many elements on NumPy's own `where`, a branch for each, is slower: 8 times on random masks


def _select_bits(mask: np.ndarray, x: Any, y: Any) -> np.ndarray:
    bits = f"u{x.dtype.itemsize}"
    ones = mask.astype(bits)
    np.negative(ones, out=ones)  # 1 becomes all ones
    y = y.view(bits)
    out = np.bitwise_xor(x.view(bits), y)
    out = np.bitwise_and(out, ones, out=out if out.shape == ones.shape else None)
    return np.bitwise_xor(out, y, out=out).view(x.dtype)


def narrow(out: Any, x: Any) -> Any:
    """What was accumulated in a wider dtype, in that of x; another dtype stays."""
    return out if out.dtype is x.dtype or wide(x.dtype) is x.dtype else out.astype(x.dtype)


def accumulated(f: Callable[..., Any], x: Any, dtype: Any, **over: Any) -> Any:
    """What the reduction f makes of x, as `dtype` (None: as x, integers as f has them), summed in float32 at least.

    TypeError for an integer dtype of floats.
    """
    if dtype is None and x.dtype.kind in "iub":
        return f(x, **over)
    dtype = x.dtype if dtype is None else as_dtype(dtype)
    if is_inexact(x.dtype) and not is_inexact(dtype):
        raise TypeError(f"dtype {dtype} holds no fractions; for whole numbers write astype(x, '{dtype}') first")
    out = f(x, dtype=wide(dtype), **over)
    return out if out.dtype == dtype else out.astype(dtype)


def checked_axis(name: str, axis: Any, ndim: int) -> int:
    """`axis`, one integer, from 0 on.  ValueError, in the words of op `name`, if there is no such axis."""
    if not hasattr(axis, "__index__"):
        raise ValueError(f"{name}: axis is an integer, not {axis!r}")
    if not -ndim <= axis < ndim:
        raise ValueError(f"{name}: axis {axis} is out of bounds for an array of {ndim} axes")
    return operator.index(axis) % ndim


def checked_axes(name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """`axis`, one or several or None for all, from 0 on.  ValueError as `checked_axis`, and for one given twice."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple([checked_axis(name, a, ndim) for a in ((axis,) if hasattr(axis, "__index__") else axis)])
    if len(set(axes)) < len(axes):
        raise ValueError(f"{name}: axis {axis} names an axis twice")
    return axes


def boxed(x: Any, name: str) -> Any:
    """A Tensor or an array as it is; a number or a nested list as a Tensor, for op `name`.  TypeError for the rest."""
    if isinstance(x, Tensor) or library(x) is not None:
        return x
    if x is None or isinstance(x, (str, bytes, dict, set)):
        raise TypeError(
            f"{name}: cannot take {x!r:.60} of type {type(x).__name__}; "
            "Tensors, arrays, numbers and nested lists of numbers are allowed"
        )
    _refuse_tracked(x)
    return wrap(asarray(x))


def _refuse_tracked(x: Any) -> None:
    """TypeError for a tracked Tensor in a list: as an array it would lose its history."""
    if isinstance(x, (list, tuple)):
        for y in x:
            _refuse_tracked(y)
    elif isinstance(x, Tensor) and x.node is not None and any([on(x.node, t) for t in active().tapes]):
        raise TypeError(
            f"unsupported operand: a list of tracked Tensors; write {x.prefix}stack([...]), which keeps their history"
        )


def fit(xs: Sequence[Any], name: str) -> list[Any]:
    """xs, with the numbers and lists among them as arrays that go with the first array, or as Tensors if none is."""
    first = next((a for a in map(raw, xs) if library(a) is not None), None)
    if first is None:
        return [boxed(x, name) for x in xs]
    return [
        x if library(raw(x)) is not None
        else operand(x, first) if isinstance(x, (list, tuple))
        else operand([x], first).reshape(())
        for x in xs
    ]  # fmt: skip


def _two_devices(x: Any, y: Any) -> str:
    a, b = device_of(x), device_of(y)
    return f"one operand is on {a} and the other on {b}; move one of them, for example with .to('{a}')"


def explain(name: str, e: Exception, values: Sequence[Any]) -> Exception:
    """The error a user sees when the forward of `name` failed on `values`: the op and what it was given."""
    arrays = [v for v in values if library(v) is not None]
    for v in arrays[1:]:
        if device_of(v) != device_of(arrays[0]):
            return TypeError(f"{name}: {_two_devices(arrays[0], v)}")
    given = ", ".join(f"{v.dtype}{list(v.shape)}" for v in arrays)
    for kind in (np.linalg.LinAlgError, IndexError, ValueError, TypeError):
        if isinstance(e, kind) and not isinstance(e, UnicodeError):
            kind = ValueError if isinstance(e, np.exceptions.AxisError) else kind
            return kind(f"{name}: {e} (given {given})")
    if isinstance(e, MemoryError):
        for tell in post_mortem:
            tell(name, e, values)
    return e  # CUDA errors: as they are


def size_of(shape: Any) -> tuple[int, ...]:
    """A shape, which may be given as a number, as a tuple.  TypeError for anything else."""
    if isinstance(shape, (int, np.integer)):
        return (int(shape),)
    try:
        return tuple([index(n) for n in shape])
    except TypeError:
        raise TypeError(f"a shape is an integer or a tuple of integers, not {shape!r}") from None
