"""Windows as columns, and columns added up where their windows lie (im2col and col2im)."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from typing import Any

from ..core import raw
from ..dtypes import wide
from ..forward import boxed
from ..op import op
from .shape import expand_dims, squeeze
from .windows import Lengths, Windows, canvas, numbers, padded, place, spatial, windows


@op(x=lambda g, at: fold_op(g, at=at), name="unfold", batch="joined", linear=True)
def unfold_op(xp: Any, x: Any, *, at: Windows) -> Any:
    """The windows of x (batch, channels, *size), as columns (batch, channels * elements of a window, windows)."""
    columns = x.shape[1] * math.prod(at.kernel)
    return windows(xp, padded(xp, x, at), at).reshape(len(x), columns, math.prod(at.counts))


@op(x=lambda g, at: unfold_op(g, at=at), name="fold", batch="joined", linear=True)
def fold_op(xp: Any, x: Any, *, at: Windows) -> Any:
    """The transpose of `unfold`: each element of the result is the sum of all that show it."""
    channels = x.shape[1] // math.prod(at.kernel)
    whole, out = canvas(xp, (len(x), channels), at, wide(x.dtype))
    x = x.reshape(len(x), channels, *at.kernel, *at.counts)
    for offset, elements in at.offsets():
        some = whole[(..., *elements)]
        some += x[(slice(None), slice(None), *offset)]
    return xp.ascontiguousarray(out).astype(x.dtype, copy=False)


def _kernel(name: str, kernel: Any) -> Lengths:
    return numbers(name, "kernel", kernel, len(kernel) if hasattr(kernel, "__len__") else 2, 1)


def unfold(x: Any, kernel: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """The windows of x as columns (im2col).

    x (batch, channels, *lengths) or (channels, *lengths) -> (..., channels * elements of a window, windows).
    kernel: the lengths of a window; a number means a square one, of two axes.  The others as in `conv2d`.
    ValueError for arguments out of range, and for a window larger than the padded x.
    """
    x, kernel = boxed(x, "unfold"), _kernel("unfold", kernel)
    n = len(kernel)
    at, _ = place("unfold", spatial("unfold", raw(x).shape, n), kernel, stride, padding, dilation)
    return unfold_op(x, at=at) if raw(x).ndim == n + 2 else squeeze(unfold_op(expand_dims(x, 0), at=at), axis=0)


def fold(x: Any, size: Any, kernel: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """An array with the axes `size`, each element the sum of all that show it in the columns x of `unfold` (col2im).

    x (batch, channels * elements of a window, windows), or without the batch -> (..., channels, *size).
    ValueError for columns that are not those of such an array, and for arguments out of range.
    """
    x, kernel = boxed(x, "fold"), _kernel("fold", kernel)
    size = numbers("fold", "size", size, len(kernel), 1)
    at, _ = place("fold", size, kernel, stride, padding, dilation)
    given, depth, count = raw(x).shape, math.prod(kernel), math.prod(at.counts)
    if len(given) not in (2, 3) or given[-2] % depth or given[-1] != count:
        raise ValueError(
            f"fold: takes (batch, channels * {depth}, {count}) or (channels * {depth}, {count}), the columns of an "
            f"array {size} in windows {kernel}; given {given}"
        )
    return fold_op(x, at=at) if len(given) == 3 else squeeze(fold_op(expand_dims(x, 0), at=at), axis=0)
