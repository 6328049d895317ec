"""Floor 6: the elements of a tensor with other axes, in the same memory where NumPy can, as PyTorch's views."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .core import Tensor
from .inplace import folded, permuted, swapped
from .ops import shape as shapes
from .wording import axis_of


def given(args: tuple, named: Any = None) -> Any:
    """f(2, 3) and f((2, 3)) mean the same, and f(size=(2, 3))."""
    if named is not None:
        return named
    return args[0] if len(args) == 1 and not hasattr(args[0], "__index__") else args


def reshape(x: Tensor, sizes: tuple, shape: Any = None) -> Tensor:
    """The same elements in another shape, in the same memory where NumPy can; -1 stands for the length that fits."""
    return folded(x, lambda base: shapes.reshape(base, given(sizes, shape)))


def flatten(x: Tensor, start: int = 0, end: int = -1) -> Tensor:
    """The axes from start to end as one."""
    s = x.array.shape or (1,)
    a, b = axis_of(start, len(s)), axis_of(end, len(s))
    return reshape(x, ((*s[:a], math.prod(s[a : b + 1]), *s[b + 1 :]),))


def unflatten(x: Tensor, axis: int, sizes: Sequence[int]) -> Tensor:
    """One axis as several ones of these lengths; -1 stands for the one that fits."""
    s, axis = x.array.shape, axis_of(axis, x.array.ndim)
    return reshape(x, ((*s[:axis], *sizes, *s[axis + 1 :]),))


def squeeze(x: Tensor, axis: Any = None) -> Tensor:
    """Without the axes of length 1, or without those of `axis` that are."""
    s, axes = x.array.shape or (1,), axis if isinstance(axis, (list, tuple)) else (axis,)
    gone = None if axis is None else tuple([d for d in axes if s[axis_of(d, x.array.ndim)] == 1])
    return folded(x, lambda base: shapes.squeeze(base, axis=gone))


def unsqueeze(x: Tensor, axis: int) -> Tensor:
    """With a new axis of length 1."""
    return folded(x, lambda base: shapes.expand_dims(base, axis))


def permute(x: Tensor, sizes: tuple, dims: Any = None) -> Tensor:
    """The axes in another order."""
    return permuted(x, given(sizes, dims))


def t(x: Tensor) -> Tensor:
    """The transpose of a matrix; a vector as it is.  RuntimeError for more axes."""
    if x.array.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {x.array.ndim}D; use transpose")
    return swapped(x, 0, 1) if x.array.ndim == 2 else x


def expand(x: Tensor, sizes: tuple, size: Any = None) -> Any:
    """Broadcast; -1 keeps a length."""
    wanted = tuple(given(sizes, size))
    own = (1,) * (len(wanted) - x.array.ndim) + x.array.shape
    return shapes.broadcast_to(x, tuple([o if n == -1 else n for n, o in zip(wanted, own)]))


def select(x: Tensor, axis: int, i: int) -> Any:
    """The slice number i along `axis`, without it."""
    return x[(*[slice(None)] * axis_of(axis, x.array.ndim), i)]


def narrow(x: Tensor, axis: int, start: int, length: int) -> Any:
    """So many slices along `axis`, from `start` on.  ValueError if there are fewer."""
    axis = axis_of(axis, x.array.ndim)
    n = x.array.shape[axis]
    first = start + n if start < 0 else start
    if not (0 <= first and 0 <= length <= n - first):
        raise ValueError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return x[(*[slice(None)] * axis, slice(first, first + length))]
