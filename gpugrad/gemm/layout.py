"""How cuBLASLt is to see arrays: what lies in memory as a column-major matrix, or a batch of them at one stride."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..array import Array
from ..blas import LIMIT, Matrix, Problem


def _step(shape: Sequence[int], strides: Sequence[int]) -> int | None:
    """The one stride that goes through these axes as if they were one; None if there is none."""
    step = following = None
    for n, s in zip(reversed(shape), reversed(strides)):
        if n != 1:
            if (following is not None and s != following) or s < 0:
                return None
            step, following = s if step is None else step, s * n
    return step or 0


class View(NamedTuple):
    """An array by shape, strides and size of an element."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    size: int

    def matrix(self, batch: tuple[int, ...], fold: bool, rows: bool = False) -> Matrix | None:
        """How cuBLASLt takes it where it lies, transposed if it is row-major; None if it has to be copied.

        batch: what its leading axes are broadcast to; with `fold` they are rows.  rows: it must not be transposed.
        """
        shape, strides, size = self
        n, m = shape[-2:]
        if any([s % size for s in strides]):
            return None
        first = max(0, len(shape) - 2 - len(batch))
        over = [0 if k == 1 else s for k, s in zip(shape[first:-2], strides[first:-2])]
        over = [0] * (len(batch) - len(over)) + over
        down, across = strides[-2:]
        stride = _step((*batch, n), (*over, down)) if fold else _step(batch, over)
        if stride is None:
            return None
        if fold:
            n, down, stride = n * math.prod(batch), stride, 0
        down, across, stride = down // size, across // size, stride // size
        by_row = (across == 1 or m == 1) and (n == 1 or m <= down <= LIMIT)
        by_column = (down == 1 or n == 1) and (m == 1 or n <= across <= LIMIT) and not rows
        if by_row and not (by_column and m == 1):  # a column of neighbours is read faster as such
            return Matrix(False, m if n == 1 else down, stride)
        return Matrix(True, n if m == 1 else across, stride) if by_column else None


def view(a: Array) -> View:
    return View(a.shape, a.strides, a.dtype.itemsize)


def _whole(shape: tuple[int, ...], size: int) -> View:
    """A contiguous array of this shape."""
    strides = [size * math.prod(shape[i + 1 :]) for i in range(len(shape))]
    return View(shape, tuple(strides), size)


def _operand(a: View, batch: tuple[int, ...], fold: bool) -> tuple[Matrix, tuple[int, ...] | None]:
    """(the matrix, the shape in which it is copied first or None)."""
    for shape in (None, a.shape, (*batch, *a.shape[-2:])):
        found = (a if shape is None else _whole(shape, a.size)).matrix(batch, fold)
        if found is not None:
            return found, shape
    raise AssertionError("a contiguous array is a matrix")


def extent(a: View) -> int:
    """Bytes from the first to the last element of an array without negative strides."""
    return sum([(n - 1) * s for n, s in zip(a.shape, a.strides)]) + a.size


def problem(
    x: View, y: View, out: View | None, shape: tuple[int, ...], rows: bool = False, **options: Any
) -> tuple[Problem, tuple[Any, Any] | None] | None:
    """(x @ y as cuBLASLt's problem, the shapes in which x and y are copied first); None if `out` is strided oddly.

    Where y is one matrix, the leading axes of x are rows; or a batch, if that saves copies and `rows` does not forbid.
    """
    batch, best = shape[:-2], None
    folds = [False] if math.prod(y.shape[:-2]) > 1 else [True] if rows or not batch else [True, False]
    for fold in folds:
        d = (out or _whole(shape, x.size)).matrix(batch, fold, rows=True)
        if d is None:
            continue
        (b, copy_x), (a, copy_y) = _operand(x, batch, fold), _operand(y, () if fold else batch, False)
        n, count = (math.prod(shape[:-1]), 1) if fold else (shape[-2], math.prod(batch))
        copies = None if copy_x is copy_y is None else (copy_x, copy_y)
        found = Problem(m=shape[-1], n=n, k=x.shape[-1], a=a, b=b, d=d, batch=count, add=out is not None, **options)
        if copies is None:
            return found, None
        best = best or (found, copies)
    return best
