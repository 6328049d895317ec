"""Pooling and interpolation, against loops over windows and sums over weights."""

import itertools
import math

import numpy as np

from gpugrad import nn

from .row import row


def pool(f, x, kernel, stride, padding=0, dilation=1, ceil=False, n=2):
    """f of the elements of x that each window has, as one axis."""
    kernel, stride, padding, dilation = [
        v if isinstance(v, tuple) else (v,) * n for v in (kernel, stride, padding, dilation)
    ]
    places = []
    for size, k, s, p, d in zip(x.shape[-n:], kernel, stride, padding, dilation):
        count = (size + 2 * p - d * (k - 1) - 1 + (s - 1 if ceil else 0)) // s + 1
        starts = [i * s - p for i in range(count) if i * s - p < size]
        places.append([[i for i in range(a, a + d * k, d) if 0 <= i < size] for a in starts])
    return _over(f, x, places)  # fmt: skip


def adaptive(f, x, *size):
    places = [
        [list(range(i * n // m, -(-(i + 1) * n // m))) for i in range(m)] for m, n in zip(size, x.shape[-len(size) :])
    ]
    return _over(f, x, places)


def _over(f, x, places):
    n = len(places)
    out = np.empty((*x.shape[:-n], *map(len, places)), x.dtype)
    for at in itertools.product(*[range(len(p)) for p in places]):
        window = x[(..., *np.ix_(*[p[i] for p, i in zip(places, at)]))]
        out[(..., *at)] = f(window.reshape(*x.shape[:-n], math.prod(window.shape[-n:])))
    return out


largest, mean = lambda w: w.max(-1), lambda w: w.mean(-1)


def resampled(x, *matrices):
    """Each of the last axes times its matrix (to, from)."""
    for i, m in enumerate(matrices):
        x = np.moveaxis(np.moveaxis(x, i - len(matrices), -1) @ np.array(m).T, -1, i - len(matrices))
    return x


def nearest(length, count):
    return np.eye(length)[[i * length // count for i in range(count)]]


def linear(length, at):
    """The weights with which each position is between whole ones."""
    at = np.clip(at, 0, length - 1)
    return np.maximum(0, 1 - np.abs(np.asarray(at)[:, None] - np.arange(length)))


def cubic(length, at, a=-0.75):
    out = np.zeros((len(at), length))
    for weights, t in zip(out, at):
        for i in range(int(np.floor(t)) - 1, int(np.floor(t)) + 3):
            d = abs(t - i)
            w = (a + 2) * d**3 - (a + 3) * d**2 + 1 if d <= 1 else a * (d**3 - 5 * d**2 + 8 * d - 4)
            weights[min(max(i, 0), length - 1)] += w
    return out


def centres(length, count):
    return (np.arange(count) + 0.5) * length / count - 0.5


ROWS = [
    row("max_pool1d", lambda x: nn.max_pool1d(x, 2), lambda x: pool(largest, x, 2, 2, n=1), (2, 2, 5)),
    row("max_pool2d", lambda x: nn.max_pool2d(x, 2), lambda x: pool(largest, x, 2, 2), (2, 2, 4, 5),
        kinks=[(([[[[1, 1], [1, 1]]]],), ([[[[1, 0], [0, 0]]]],)), (([[[[0, 2], [2, 2]]]],), ([[[[0, 1], [0, 0]]]],))],
        empty=((0, 2, 4, 4),)),
    row("max_pool2d all", lambda x: nn.max_pool2d(x, (3, 2), (2, 1), (1, 0), (1, 2), ceil_mode=True),
        lambda x: pool(largest, x, (3, 2), (2, 1), (1, 0), (1, 2), True), (2, 1, 6, 5)),
    row("max_pool2d indices", lambda x: nn.max_pool2d(x, 3, 1, padding=1, return_indices=True)[0],
        lambda x: pool(largest, x, 3, 1, 1), (2, 3, 3)),
    row("max_pool2d padding", lambda x: nn.max_pool2d(x, 2, padding=1), lambda x: pool(largest, x, 2, 2, 1), (1, 1, 3, 3),
        low=-2.0, high=-1.0),
    row("max_pool3d", lambda x: nn.max_pool3d(x, 2, 1), lambda x: pool(largest, x, 2, 1, n=3), (1, 2, 3, 2, 3)),
    row("avg_pool1d", lambda x: nn.avg_pool1d(x, 3, 1, padding=1), lambda x: pool(lambda w: w.sum(-1) / 3, x, 3, 1, 1, n=1),
        (2, 2, 5), complex=True),
    row("avg_pool2d", lambda x: nn.avg_pool2d(x, 2), lambda x: pool(mean, x, 2, 2), (2, 2, 4, 5), complex=True, empty=((0, 2, 4, 4),)),
    row("avg_pool2d ceil", lambda x: nn.avg_pool2d(x, 2, ceil_mode=True), lambda x: pool(mean, x, 2, 2, ceil=True), (2, 1, 3, 5)),
    row("avg_pool2d padding", lambda x: nn.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        lambda x: pool(mean, x, 3, 2, 1), (2, 1, 4, 5), complex=True),
    row("avg_pool2d divisor", lambda x: nn.avg_pool2d(x, (2, 3), 1, divisor_override=5),
        lambda x: pool(lambda w: w.sum(-1) / 5, x, (2, 3), 1), (2, 3, 4)),
    row("avg_pool3d", lambda x: nn.avg_pool3d(x, 2, 1), lambda x: pool(mean, x, 2, 1, n=3), (1, 2, 3, 2, 3)),
    row("adaptive_avg_pool1d", lambda x: nn.adaptive_avg_pool1d(x, 3), lambda x: adaptive(mean, x, 3), (2, 2, 5), complex=True),
    row("adaptive_avg_pool2d", lambda x: nn.adaptive_avg_pool2d(x, 2), lambda x: adaptive(mean, x, 2, 2), (2, 1, 4, 6), complex=True),
    row("adaptive_avg_pool2d uneven", lambda x: nn.adaptive_avg_pool2d(x, (3, None)), lambda x: adaptive(mean, x, 3, 3), (2, 4, 3)),
    row("adaptive_avg_pool3d", lambda x: nn.adaptive_avg_pool3d(x, (2, 1, 5)), lambda x: adaptive(mean, x, 2, 1, 5), (1, 1, 3, 2, 3)),
    row("adaptive_max_pool1d", lambda x: nn.adaptive_max_pool1d(x, 3), lambda x: adaptive(largest, x, 3), (2, 2, 5)),
    row("adaptive_max_pool2d", lambda x: nn.adaptive_max_pool2d(x, (2, 5)), lambda x: adaptive(largest, x, 2, 5), (2, 1, 3, 4),
        kinks=[(([[[[1, 1]]]],), ([[[[6, 4]]]],))]),
    row("adaptive_max_pool3d", lambda x: nn.adaptive_max_pool3d(x, 2, return_indices=True)[0],
        lambda x: adaptive(largest, x, 2, 2, 2), (1, 1, 3, 2, 3)),
    row("global_avg_pool", nn.global_avg_pool, lambda x: x.mean((2, 3)), (2, 3, 2, 3), complex=True),
    row("global_avg_pool keepdims", lambda x: nn.global_avg_pool(x, keepdims=True), lambda x: x.mean(2, keepdims=True), (2, 3, 4)),
    row("global_max_pool", nn.global_max_pool, lambda x: x.max((2, 3)), (2, 3, 2, 3), kinks=[(([[[2, 2, 1]]],), ([[[1, 0, 0]]],))]),
    row("global_max_pool keepdims", lambda x: nn.global_max_pool(x, keepdims=True), lambda x: x.max(2, keepdims=True), (2, 3, 4)),
    row("interpolate", lambda x: nn.interpolate(x, (4, 2)), lambda x: resampled(x, nearest(2, 4), nearest(3, 2)), (2, 2, 2, 3), complex=True),
    row("interpolate scale", lambda x: nn.interpolate(x, scale_factor=2.5), lambda x: resampled(x, nearest(4, 10)), (2, 1, 4)),
    row("interpolate nearest-exact", lambda x: nn.interpolate(x, 3, mode="nearest-exact"),
        lambda x: x[..., [0, 2, 4]], (2, 1, 5)),
    row("interpolate linear", lambda x: nn.interpolate(x, scale_factor=1.7, mode="linear"),
        lambda x: resampled(x, linear(3, (np.arange(5) + 0.5) / 1.7 - 0.5)), (2, 2, 3), complex=True),
    row("interpolate bilinear", lambda x: nn.interpolate(x, (5, 2), mode="bilinear"),
        lambda x: resampled(x, linear(3, centres(3, 5)), linear(4, centres(4, 2))), (2, 1, 3, 4)),
    row("interpolate bilinear corners", lambda x: nn.interpolate(x, (5, 1), mode="bilinear", align_corners=True),
        lambda x: resampled(x, linear(3, np.linspace(0, 2, 5)), linear(4, [0])), (2, 1, 3, 4)),
    row("interpolate trilinear", lambda x: nn.interpolate(x, 3, mode="trilinear"),
        lambda x: resampled(x, *[linear(2, centres(2, 3))] * 3), (1, 1, 2, 2, 2)),
    row("interpolate bicubic", lambda x: nn.interpolate(x, (5, 2), mode="bicubic"),
        lambda x: resampled(x, cubic(3, centres(3, 5)), cubic(4, centres(4, 2))), (1, 2, 3, 4)),
    row("interpolate area", lambda x: nn.interpolate(x, (3, 2), mode="area"), lambda x: adaptive(mean, x, 3, 2), (1, 2, 4, 3)),
]  # fmt: skip
