"""Convolution in any number of dimensions, as products of matrices over the columns of windows (im2col).

With y = conv(x, w), the sum of g y is linear in each of g, x and w.  Its derivatives are three ops, conv of (x, w),
conv_input of (g, w) and conv_weight of (g, x), and each op's rules are the other two.  None keeps columns: they are
made again, a block at a time.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..array import in_order
from ..core import Tensor, raw
from ..dtypes import wide
from ..forward import as_float, boxed
from ..gemm.products import product
from ..op import op
from . import channels_last
from .examples import conv_batch, conv_input_batch, conv_weight_batch
from .math import add
from .shape import expand_dims, reshape, squeeze
from .threads import cores, in_threads, shared
from .windows import Room, Windows, canvas, numbers, padded, pairs, place, spatial, windows

# How many bytes of columns are made at a time: a core has them in its second level cache when it multiplies, a GPU is
# kept busy by large products.
HOST_BLOCK, GPU_BLOCK = 1 << 19, 1 << 27

# Multiplications: of a product whose second matrix is not transposed that OpenBLAS leaves to one thread, which is also
# when it is fastest; and of a convolution that is worth threads of ours.  OpenBLAS's own cost a busy machine many times
# what they bring.
SINGLE, MANY = 10**6, 1 << 23
FEW = 32  # columns, below which products are slow


def _blocks(xp: Any, images: int, counts: tuple[int, ...], row: int) -> tuple[list[slice], list[slice]]:
    """(images, rows of windows), cut into what is computed at a time; `row` is the bytes of columns of such a row."""
    rows = max((HOST_BLOCK if xp is np else GPU_BLOCK) // max(row, 1), 1)  # in a block
    many, part = max(rows // max(counts[0], 1), 1), -(-counts[0] // max(-(-counts[0] // rows), 1))
    if xp is np and (n := -(-images // many)) > 1:  # as many for each thread
        many = -(-images // (-(-n // cores()) * cores()))
    cut = lambda length, step: [slice(i, min(i + step, length)) for i in range(0, length, max(step, 1))]
    return cut(images, many), cut(counts[0], part)


def _parts(xp: Any, x: Any, at: Windows) -> list[tuple[slice, slice]]:
    """The windows on x, cut into (images, rows of windows) that are gathered at a time."""
    row = x.shape[1] * math.prod(at.kernel) * math.prod(at.counts[1:]) * x.itemsize
    return list(itertools.product(*_blocks(xp, len(x), at.counts, row)))


def _columns(xp: Any, x: Any, at: Windows, groups: int) -> tuple[list[tuple[slice, slice]], Callable[..., Any]]:
    """(blocks of windows, what makes for one thread (images, rows) of a block -> its columns).

    Columns are (groups, elements of a window, windows); on the CPU a thread's are all in the same memory.
    """
    n, depth = len(at.size), x.shape[1] * math.prod(at.kernel)
    view = windows(xp, padded(xp, x, at), at)
    view = view.transpose((*range(1, n + 2), 0, *range(n + 2, 2 * n + 2)))

    def start() -> Callable[[slice, slice], Any]:
        whole = Room().copy if xp is np else lambda a: a

        def take(images: slice, rows: slice) -> Any:
            part = view[(..., images, rows, *[slice(None)] * (n - 1))]
            return whole(part).reshape(groups, depth // groups, math.prod(part.shape[n + 1 :]))

        return take

    return _parts(xp, x, at), start


def _spread(
    xp: Any, work: Callable[..., None], items: list[Any], windows: int, each: int, threads: Any = shared
) -> None:
    """work(some items, how many windows to multiply at a time), on the CPU in threads if there is much to do.

    each: multiplications for a window and group.  Where even few windows are too many for one thread, OpenBLAS's
    threads share the product.  threads: `in_threads` where it matters which one has which items.
    """
    most = SINGLE // max(each, 1)
    if xp is not np or most < FEW:
        work(items, max(windows, 1))
    elif windows * each < MANY:
        work(items, most)
    else:
        threads(lambda part: work(part, most), items)


def _by_group(x: Any, groups: int) -> Any:
    """x (batch, channels, *axes) as a view (groups, channels, batch, *axes)."""
    x = x.reshape(len(x), groups, x.shape[1] // groups, *x.shape[2:])
    return x.transpose((1, 2, 0, *range(3, x.ndim)))


def _correlate(xp: Any, x: Any, w: Any, at: Windows, bias: Any = None, over: Any = None) -> Any:
    """The products of w (groups, out, in, *kernel) with all windows of x, plus bias; then what `over` makes of them.

    over: a function of arrays, which may write over its argument.
    """
    groups, channels = w.shape[:2]
    last = channels_last.suits(x, at, groups)
    if last or (xp is np and groups == 1 and channels_last.many(channels, at.counts[-1], at)):
        return channels_last.correlate(x, w[0], bias, at, _parts(xp, x, at), _spread, last, over)
    matrices = w.reshape(groups, channels, math.prod(w.shape[2:]))
    out = xp.empty((len(x), groups * channels, *at.counts), x.dtype)
    grouped = _by_group(out, groups)
    blocks, start = _columns(xp, x, at, groups)

    def work(parts: Iterable[tuple[slice, slice]], most: int) -> None:
        take = start()
        for images, rows in parts:
            columns, part = take(images, rows), grouped[:, :, images, rows]
            part[...] = _product(xp, matrices, columns, most).reshape(part.shape)

    _spread(xp, work, blocks, len(x) * math.prod(at.counts), math.prod(matrices.shape[1:]))
    if bias is not None:
        out += bias.reshape(len(bias), *[1] * len(at.size))
    return out if over is None else over(out)


def _product(xp: Any, matrices: Any, columns: Any, most: int) -> Any:
    """matrices @ columns, of at most so many columns at a time."""
    if columns.shape[-1] <= most:
        return product(matrices, columns)
    out = xp.empty((*matrices.shape[:-1], columns.shape[-1]), columns.dtype)
    for i in range(0, columns.shape[-1], most):
        xp.matmul(matrices, columns[..., i : i + most], out=out[..., i : i + most])
    return out


def _both(x: Any, y: Any) -> tuple[Any, Any, Any]:
    """(x and y in the dtype in which they are multiplied, that of the result)."""
    x, y = as_float(x, y), as_float(y, x)
    dtype = x.dtype if x.dtype == y.dtype else np.result_type(x.dtype, y.dtype)
    return x.astype(wide(dtype), copy=False), y.astype(wide(dtype), copy=False), dtype


# ---------------------------------------------------------------------------------------------- the three ops
def convolved(xp: Any, x: Any, w: Any, bias: Any, at: Windows, groups: int, over: Any = None) -> Any:
    """Each window of x times w, summed, plus bias; then what `over` makes of them, which may write over them."""
    x, w, dtype = _both(x, w)
    w = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    if dtype == x.dtype and (bias is None or bias.dtype == dtype):
        return _correlate(xp, x, w, at, bias, over)
    out = _correlate(xp, x, w, at)
    if bias is not None:
        dtype = np.result_type(dtype, as_float(bias).dtype)
        out = out + bias.reshape(len(bias), *[1] * len(at.size))
    out = out.astype(dtype, copy=False)
    return out if over is None else over(out)


def _conv(xp: Any, x: Any, w: Any, bias: Any, *, at: Windows, groups: int) -> Any:
    """Each window of x times w, summed, plus bias."""
    return handed(convolved(xp, x, w, bias, at, groups), at)


def handed(made: Any, at: Windows) -> Any:
    """What the caller gets: channels last in memory as they may be, or in order where he asks for that."""
    return in_order(made) if at.ordered else made


def _conv_input(xp: Any, g: Any, w: Any, *, at: Windows, groups: int) -> Any:
    """g on all elements of its window, times w: the cotangent of x."""
    g, w, dtype = _both(g, w)
    w = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    if max(at.stride) == 1:  # a convolution with the reversed windows
        back = w.swapaxes(1, 2)[(..., *[slice(None, None, -1)] * len(at.size))]
        before = tuple([r - 1 - b for r, b in zip(at.reach, at.before)])
        turned = at._replace(size=at.counts, before=before, counts=at.size)
        return handed(_correlate(xp, g, back, turned).astype(dtype, copy=False), at)
    channels = w.shape[2]
    matrices = w.reshape(groups, w.shape[1], math.prod(w.shape[2:])).swapaxes(1, 2)
    whole, out = canvas(xp, (len(g), groups * channels), at, g.dtype)
    grouped, onto = _by_group(g, groups), _by_group(whole, groups)
    row = math.prod(w.shape[2:]) * groups * math.prod(at.counts[1:]) * g.itemsize
    batch, cuts = _blocks(xp, len(g), at.counts, row)

    def work(parts: Iterable[slice], most: int) -> None:
        for images, rows in itertools.product(parts, cuts):  # windows of one image overlap: one thread has them all
            part = grouped[:, :, images, rows]
            columns = _product(xp, matrices, part.reshape(groups, part.shape[1], math.prod(part.shape[2:])), most)
            columns = columns.reshape(groups, channels, *at.kernel, *part.shape[2:])
            for offset, (first, *others) in at.offsets():
                start = first.start + rows.start * at.stride[0]
                first = slice(start, start + (part.shape[3] - 1) * at.stride[0] + 1, at.stride[0])
                some = onto[(slice(None), slice(None), images, first, *others)]
                some += columns[(slice(None), slice(None), *offset)]

    _spread(xp, work, batch, len(g) * math.prod(at.counts), math.prod(matrices.shape[1:]))
    return xp.ascontiguousarray(out).astype(dtype, copy=False)


def _conv_weight(xp: Any, g: Any, x: Any, *, at: Windows, groups: int) -> Any:
    """g times all elements of its window, summed over windows and images: the cotangent of w."""
    g, x, dtype = _both(g, x)
    last = channels_last.suits(x, at, groups)
    if last or (groups == 1 and channels_last.lies(g)):
        return channels_last.weight(g, x, at, _parts(xp, x, at), _spread, last).astype(dtype, copy=False)
    grouped = _by_group(g, groups)
    shape = (groups, x.shape[1] // groups * math.prod(at.kernel), grouped.shape[1])
    (blocks, start), totals = _columns(xp, x, at, groups), {}

    def work(parts: Sequence[tuple[slice, slice]], most: int) -> None:
        take, total = start(), xp.zeros(shape, g.dtype)
        for images, rows in parts:
            columns, part = take(images, rows), grouped[:, :, images, rows]
            part = part.reshape(groups, part.shape[1], math.prod(part.shape[2:]))
            part = xp.ascontiguousarray(part.swapaxes(1, 2))
            for i in range(0, part.shape[1], most):
                total += product(columns[..., i : i + most], part[:, i : i + most])
        totals[tuple([(i.start, r.start) for i, r in parts[:1]])] = total

    _spread(xp, work, blocks, len(x) * math.prod(at.counts), math.prod(shape[1:]), in_threads)
    out, *others = [totals[i] for i in sorted(totals)]  # in one order, for the same rounding
    for other in others:
        out += other
    return out.swapaxes(1, 2).reshape(g.shape[1], x.shape[1] // groups, *at.kernel).astype(dtype, copy=False)


conv_op = op(
    _conv,
    name="conv",
    batch=conv_batch,
    x=lambda g, w, at, groups: conv_input(g, w, at=at, groups=groups),
    w=lambda g, x, at, groups: conv_weight(g, x, at=at, groups=groups),
    bias=lambda g: channels_last.channel_sums(g),
    last="x",
)
conv_input = op(
    _conv_input,
    name="conv_input",
    batch=conv_input_batch,
    linear="each",
    g=lambda h, w, at, groups: conv_op(h, w, None, at=at, groups=groups),
    w=lambda h, g, at, groups: conv_weight(g, h, at=at, groups=groups),
    last="g",
)
conv_weight = op(
    _conv_weight,
    name="conv_weight",
    batch=conv_weight_batch,
    linear="each",
    g=lambda h, x, at, groups: conv_op(x, h, None, at=at, groups=groups),
    x=lambda h, g, at, groups: conv_input(g, h, at=at, groups=groups),
)


# ---------------------------------------------------------------------------------------------- for users
def _operands(name: str, n: int, x: Any, w: Any, bias: Any, groups: Any, into: int) -> tuple[Any, ...]:
    """(x, w, bias) with their shapes checked; axis `into` of w, 0 or 1, is that of the channels of x."""
    x, w = boxed(x, name), boxed(w, name)
    given, shape = raw(x).shape, raw(w).shape
    spatial(name, given, n)
    (groups,) = numbers(name, "groups", groups, 1, 1)
    words = ("in", "out / groups") if into == 0 else ("out", "in / groups")
    if len(shape) != n + 2 or 0 in shape:
        raise ValueError(f"{name}: w has shape ({words[0]}, {words[1]}, *{n} lengths of the kernel), given {shape}")
    channels = given[-n - 1]
    if channels != shape[into] * (groups if into else 1) or shape[0] % groups:
        raise ValueError(
            f"{name}: {channels} channels in {groups} groups do not go with w of shape {shape}; "
            f"that is ({words[0]}, {words[1]}, ...), and groups divides in and out"
        )
    out = shape[0] if into else shape[1] * groups
    if bias is not None and raw(bias := boxed(bias, name)).shape != (out,):
        raise ValueError(f"{name}: bias has shape {raw(bias).shape}; it has a number for each channel out, ({out},)")
    return x, w, bias


def _ordered(at: Windows, x: Any) -> Windows:
    return at._replace(ordered=True) if isinstance(x, Tensor) and x.kind.ordered else at


def _batched(f: Any, x: Any, n: int) -> Any:
    """f of x, which is (batch, channels, *n axes), or without a batch."""
    return f(x) if len(raw(x).shape) == n + 2 else squeeze(f(expand_dims(x, 0)), axis=0)


def _conv_nd(
    n: int, x: Any, w: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int, made: Any = conv_op
) -> Any:
    name = f"conv{n}d"
    x, w, bias = _operands(name, n, x, w, bias, groups, 1)
    at, _ = place(name, raw(x).shape[-n:], raw(w).shape[2:], stride, padding, dilation, same=True)
    at = _ordered(at, x)
    return _batched(lambda x: made(x, w, bias, at=at, groups=groups), x, n)


def conv1d(
    x: Any, w: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Σ w x over windows of the last axis, plus bias: see `conv2d`."""
    return _conv_nd(1, x, w, bias, stride, padding, dilation, groups)


def conv2d(
    x: Any, w: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Σ w x over windows of the last two axes, plus bias; w is not reversed.

    x (batch, in, *lengths) or (in, *lengths), w (out, in / groups, *kernel), bias (out,) -> (batch, out, *windows).
    stride, dilation: one number, or one for each axis.  padding: zeros before and after, a number, or for each axis a
    number or a pair; "valid": none; "same": as many windows as elements, over the stride, the odd zero after.
    groups: channels in and out fall into so many groups that do not meet.
    ValueError for shapes that do not fit, arguments out of range, a window larger than the padded x.
    """
    return _conv_nd(2, x, w, bias, stride, padding, dilation, groups)


def conv3d(
    x: Any, w: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Σ w x over windows of the last three axes, plus bias: see `conv2d`."""
    return _conv_nd(3, x, w, bias, stride, padding, dilation, groups)


def _transpose_nd(
    n: int, x: Any, w: Any, bias: Any, stride: Any, padding: Any, output_padding: Any, groups: int, dilation: Any
) -> Any:
    name = f"conv_transpose{n}d"
    x, w, bias = _operands(name, n, x, w, bias, groups, 0)
    counts, kernel = raw(x).shape[-n:], raw(w).shape[2:]
    stride, dilation = numbers(name, "stride", stride, n, 1), numbers(name, "dilation", dilation, n, 1)
    more = numbers(name, "output_padding", output_padding, n, 0)
    if [m for m, s, d in zip(more, stride, dilation) if m >= max(s, d)]:
        raise ValueError(f"{name}: output_padding {more} is not below stride {stride} or dilation {dilation}")
    if padding == "same":
        if any(more):
            raise ValueError(f"{name}: output_padding {more} does not go with padding='same', which says the size")
        at, _ = place(
            name, tuple([m * s for m, s in zip(counts, stride)]), kernel, stride, padding, dilation, same=True
        )
    else:
        around = pairs(name, 0 if padding == "valid" else padding, n)
        at = Windows(counts, kernel, stride, dilation, tuple([before for before, _ in around]), counts)
        at = at._replace(size=tuple([r - a - b + m for r, (a, b), m in zip(at.span, around, more)]))
        if min(at.size) < 1:
            raise ValueError(f"{name}: padding {padding} leaves nothing of the {at.span} elements that there are")
    at = _ordered(at, x)
    out = _batched(lambda x: conv_input(x, w, at=at, groups=groups), x, n)
    return out if bias is None else add(out, reshape(bias, (-1, *[1] * n)))


def conv_transpose1d(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """x spread by w over windows of the last axis, plus bias: see `conv_transpose2d`."""
    return _transpose_nd(1, x, w, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """x spread by w over windows of the last two axes, plus bias: the transpose of `conv2d` as a linear map.

    x (batch, in, *lengths) or (in, *lengths), w (in, out / groups, *kernel), bias (out,) -> (batch, out, *size), where
    size = (lengths - 1) stride + dilation (kernel - 1) + 1 - padding before and after + output_padding.
    padding: what is cut off, as `conv2d` takes it; "same": size = lengths stride.
    ValueError for shapes that do not fit, and for arguments out of range.
    """
    return _transpose_nd(2, x, w, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """x spread by w over windows of the last three axes, plus bias: see `conv_transpose2d`."""
    return _transpose_nd(3, x, w, bias, stride, padding, output_padding, groups, dilation)
