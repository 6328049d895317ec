"""Convolutions and the columns of windows, against loops over windows."""

import itertools

import numpy as np
from scipy.special import ndtr

from gpugrad import nn
from gpugrad.ops.conv_activation import conv as fused

from .row import row


def _each(n, value):
    return (value,) * n if np.ndim(value) == 0 else tuple(value)


def _around(padding, n):
    return [p if np.ndim(p) else (p, p) for p in _each(n, padding)]


def columns(x, kernel, stride=1, padding=0, dilation=1):
    """x (batch, channels, *size) -> (batch, channels, *windows, *kernel), element by element of a window."""
    n = len(kernel)
    stride, dilation = _each(n, stride), _each(n, dilation)
    x = np.pad(x, [(0, 0), (0, 0), *_around(padding, n)])
    counts = [(m - d * (k - 1) - 1) // s + 1 for m, k, s, d in zip(x.shape[2:], kernel, stride, dilation)]
    out = np.empty((*x.shape[:2], *counts, *kernel), x.dtype)
    for at in itertools.product(*map(range, counts)):
        corner = [slice(i * s, i * s + d * (k - 1) + 1, d) for i, s, d, k in zip(at, stride, dilation, kernel)]
        out[(slice(None), slice(None), *at)] = x[(slice(None), slice(None), *corner)]
    return out


def added(parts, size, stride=1, padding=0, dilation=1):
    """The transpose of `columns`."""
    n = len(size)
    stride, dilation, around = _each(n, stride), _each(n, dilation), _around(padding, n)
    counts, kernel = parts.shape[2 : 2 + n], parts.shape[2 + n :]
    whole = np.zeros((*parts.shape[:2], *[m + a + b for m, (a, b) in zip(size, around)]), parts.dtype)
    for at in itertools.product(*map(range, counts)):
        corner = [slice(i * s, i * s + d * (k - 1) + 1, d) for i, s, d, k in zip(at, stride, dilation, kernel)]
        whole[(slice(None), slice(None), *corner)] += parts[(slice(None), slice(None), *at)]
    return whole[(slice(None), slice(None), *[slice(a, a + m) for m, (a, _) in zip(size, around)])]


def _spread(a, n):
    return 0 if a is None else a.reshape(-1, *[1] * n)


def conv(x, w, bias=None, groups=1, **options):
    n = w.ndim - 2
    cols = columns(x, w.shape[2:], **options)
    cols = cols.reshape(len(x), groups, x.shape[1] // groups, *cols.shape[2:])
    w = w.reshape(groups, -1, *w.shape[1:])
    out = np.einsum(
        cols, [0, 1, 2, *range(5, 5 + 2 * n)], w, [1, 3, 2, *range(5 + n, 5 + 2 * n)], [0, 1, 3, *range(5, 5 + n)]
    )
    return out.reshape(len(x), groups * w.shape[1], *out.shape[3:]) + _spread(bias, n)  # fmt: skip


def transposed(x, w, size, bias=None, groups=1, **options):
    n = w.ndim - 2
    x = x.reshape(len(x), groups, -1, *x.shape[2:])
    w = w.reshape(groups, -1, *w.shape[1:])
    out = np.einsum(
        x, [0, 1, 2, *range(5, 5 + n)], w, [1, 2, 3, *range(5 + n, 5 + 2 * n)], [0, 1, 3, *range(5, 5 + 2 * n)]
    )
    return added(out.reshape(len(out), -1, *out.shape[3:]), size, **options) + _spread(bias, n)  # fmt: skip


def unfold(x, kernel, **options):
    cols = columns(x, kernel, **options)
    return np.moveaxis(cols, (4, 5), (2, 3)).reshape(len(x), x.shape[1] * kernel[0] * kernel[1], -1)


def fold(x, counts, size, kernel, **options):
    parts = np.moveaxis(x.reshape(len(x), -1, *kernel, *counts), (2, 3), (4, 5))
    return added(parts, size, **options)


ROWS = [
    row("conv1d", nn.conv1d, conv, (2, 2, 5), (3, 2, 2), (3,), complex=True),
    row("conv1d stride dilation", lambda x, w: nn.conv1d(x, w, stride=2, padding=[(1, 2)], dilation=2),
        lambda x, w: conv(x, w, stride=2, padding=[(1, 2)], dilation=2), (2, 1, 6), (2, 1, 2), complex=True),
    row("conv1d unbatched", lambda x, w: nn.conv1d(x, w, padding="valid"), lambda x, w: conv(x[None], w)[0], (2, 4), (1, 2, 3)),
    row("conv2d", nn.conv2d, conv, (2, 2, 4, 3), (3, 2, 2, 3), (3,), complex=True),
    row("conv2d 1x1", nn.conv2d, conv, (2, 3, 2, 3), (2, 3, 1, 1), empty=((0, 3, 2, 3), (2, 3, 1, 1))),
    row("conv2d padding", lambda x, w, b: nn.conv2d(x, w, b, padding=(1, 2)), lambda x, w, b: conv(x, w, b, padding=(1, 2)),
        (2, 2, 3, 4), (2, 2, 3, 2), (2,)),
    row("conv2d same", lambda x, w: nn.conv2d(x, w, padding="same"), lambda x, w: conv(x, w, padding=((0, 1), (1, 1))),
        (1, 2, 4, 3), (2, 2, 2, 3)),
    row("conv2d same stride", lambda x, w: nn.conv2d(x, w, stride=2, padding="same"),
        lambda x, w: conv(x, w, stride=2, padding=((0, 1), (1, 1))), (1, 1, 4, 5), (2, 1, 3, 3)),
    row("conv2d stride dilation", lambda x, w: nn.conv2d(x, w, stride=(2, 1), padding=1, dilation=(1, 2)),
        lambda x, w: conv(x, w, stride=(2, 1), padding=1, dilation=(1, 2)), (2, 1, 6, 4), (2, 1, 3, 2)),
    row("conv2d groups", lambda x, w, b: nn.conv2d(x, w, b, stride=2, groups=2), lambda x, w, b: conv(x, w, b, stride=2, groups=2),
        (2, 4, 5, 4), (6, 2, 2, 2), (6,), complex=True),
    row("conv2d depthwise", lambda x, w: nn.conv2d(x, w, padding=1, groups=3), lambda x, w: conv(x, w, padding=1, groups=3),
        (2, 3, 3, 3), (3, 1, 3, 3), complex=True),
    row("conv2d relu", lambda x, w, b: fused(x, w, b, padding=1, activation="relu"),
        lambda x, w, b: np.maximum(conv(x, w, b, padding=1), 0), (2, 2, 4, 3), (3, 2, 2, 3), (3,), apart=0.1),
    row("conv1d tanh", lambda x, w, b: fused(x, w, b, 2, activation="tanh"),
        lambda x, w, b: np.tanh(conv(x, w, b, stride=2)), (2, 2, 5), (3, 2, 2), (3,)),
    row("conv3d sigmoid", lambda x, w: fused(x, w, activation="sigmoid"),
        lambda x, w: 1 / (1 + np.exp(-conv(x, w))), (1, 2, 3, 2, 3), (2, 2, 2, 2, 2)),
    row("conv2d gelu", lambda x, w, b: fused(x, w, b, groups=2, activation="gelu"),
        lambda x, w, b: (z := conv(x, w, b, groups=2)) * ndtr(z), (1, 2, 3, 3), (2, 1, 2, 2), (2,)),
    row("conv3d", lambda x, w: nn.conv3d(x, w, stride=(1, 2, 1), padding=(0, 1, 0)),
        lambda x, w: conv(x, w, stride=(1, 2, 1), padding=(0, 1, 0)), (1, 2, 3, 2, 3), (2, 2, 2, 2, 2)),
    row("conv_transpose1d", lambda x, w, b: nn.conv_transpose1d(x, w, b, stride=2, padding=1, output_padding=1),
        lambda x, w, b: transposed(x, w, (5,), b, stride=2, padding=[(1, 0)]), (2, 2, 3), (2, 3, 2), (3,), complex=True),
    row("conv_transpose2d", nn.conv_transpose2d, lambda x, w, b: transposed(x, w, (4, 5), b), (2, 2, 3, 3), (2, 1, 2, 3), (1,)),
    row("conv_transpose2d stride dilation", lambda x, w: nn.conv_transpose2d(x, w, stride=(2, 3), padding=(1, 0), dilation=(2, 1)),
        lambda x, w: transposed(x, w, (5, 5), stride=(2, 3), padding=(1, 0), dilation=(2, 1)), (2, 2, 3, 2), (2, 2, 2, 2)),
    row("conv_transpose2d groups", lambda x, w: nn.conv_transpose2d(x, w, groups=2, output_padding=(0, 1), dilation=2),
        lambda x, w: transposed(x, w, (4, 4), groups=2, dilation=2), (1, 4, 2, 3), (4, 1, 2, 1)),
    row("conv_transpose2d same", lambda x, w: nn.conv_transpose2d(x, w, stride=2, padding="same"),
        lambda x, w: transposed(x, w, (4, 6), stride=2, padding=((0, 1), (1, 1))), (1, 2, 2, 3), (2, 2, 3, 4)),
    row("conv_transpose3d unbatched", lambda x, w: nn.conv_transpose3d(x, w, stride=2, padding="valid"),
        lambda x, w: transposed(x[None], w, (3, 4, 3), stride=2)[0], (1, 2, 2, 2), (1, 2, 1, 2, 1)),
    row("unfold", lambda x: nn.unfold(x, (2, 3)), lambda x: unfold(x, (2, 3)), (2, 2, 3, 4), complex=True),
    row("unfold all", lambda x: nn.unfold(x, 2, dilation=(1, 2), padding=1, stride=2),
        lambda x: unfold(x, (2, 2), dilation=(1, 2), padding=1, stride=2), (1, 2, 4, 5)),
    row("unfold unbatched", lambda x: nn.unfold(x, 2), lambda x: unfold(x[None], (2, 2))[0], (2, 3, 3)),
    row("fold", lambda x: nn.fold(x, (4, 5), (2, 3)), lambda x: fold(x, (3, 3), (4, 5), (2, 3)), (2, 12, 9), complex=True),
    row("fold all", lambda x: nn.fold(x, (4, 5), 2, dilation=(1, 2), padding=1, stride=2)[0],
        lambda x: fold(x[None], (3, 3), (4, 5), (2, 2), dilation=(1, 2), padding=1, stride=2)[0, 0], (4, 9)),
]  # fmt: skip
