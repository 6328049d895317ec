"""Floor 2: what stands around an op's forward: NumPy's ufuncs as forwards, operands made fit, errors made clear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .array import bfloat16, default_float, device_of, is_inexact, library
from .core import Tensor


def ufunc(name: str, floats: bool = False) -> Callable[..., Any]:
    """The forward that calls `name` of the array's namespace.  `floats`: integers become the default float first."""
    numpys: Any = getattr(np, name)
    host = numpys
    if floats:

        def forward(xp: Any, *xs: Any) -> Any:
            return getattr(xp, name)(*map(as_float, xs))

        def host(x: Any) -> Any:
            return numpys(x) if x.dtype.kind in "fcV" else numpys(as_float(x))  # V: bfloat16

    else:

        def forward(xp: Any, *xs: Any) -> Any:
            return getattr(xp, name)(*xs)

    forward.__name__ = name
    forward.__doc__ = numpys.__doc__ and numpys.__doc__.strip().split("\n\n")[1].strip()
    if numpys.nin == 1 or not floats:
        forward.host = host  # type: ignore[attr-defined]
    forward.nin = numpys.nin  # type: ignore[attr-defined]
    return forward


def as_float(x: Any) -> Any:
    """An integer or bool array in the default float dtype; floating and complex arrays as they are."""
    d = getattr(x, "dtype", None)
    if d is None:
        return float(x) if isinstance(x, int) else x
    return x if is_inexact(d) else x.astype(default_float())


def pair(x: Any, b: Any) -> tuple[Any, Any]:
    """Array `x` and what an op makes of the operand `b` beside it; an integer `x` turns floating beside a float."""
    y = operand(b, x)
    return (as_float(x), y) if isinstance(y, float) and not is_inexact(x.dtype) else (x, y)


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
        if any(isinstance(y, Tensor) and y.node is not None for y in b):
            raise TypeError(
                "unsupported operand: a list of tracked Tensors; write gg.stack([...]), which keeps their history"
            )
        host = np.asarray([y.data if isinstance(y, Tensor) else y for y in b])
        if host.dtype.kind not in "biufc":
            raise TypeError(f"unsupported operand {b!r:.60}: the list holds {host.dtype}, not numbers")
        if host.dtype.kind == "f":
            host = host.astype(x.dtype if is_inexact(x.dtype) else default_float())
        elif host.dtype.kind in "iu" and is_inexact(x.dtype):
            host = host.astype(x.dtype)
        return host if own is None else own.asarray(host, None, own.device_of(x))
    if own is not None and other is not own:
        raise TypeError(_two_devices(x, b))
    return b


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
    for kind in (IndexError, ValueError, TypeError):
        if isinstance(e, kind) and not isinstance(e, UnicodeError):
            kind = ValueError if isinstance(e, np.exceptions.AxisError) else kind
            return kind(f"{name}: {e} (given {given})")
    return e  # MemoryError, CUDA errors: as they are
