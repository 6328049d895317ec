"""Convolution and pooling of arrays whose last axis has the channels, with TensorFlow's paddings; contrast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core import raw
from ..op import op
from . import conv, pool, shape


def _batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    images, factor = xs
    rank = raw(images).ndim - each[0]
    if rank < 3 or raw(factor).ndim - each[1]:
        return NotImplemented
    return call(images, shape.aligned(factor, rank) if each[1] else factor)


@op(batch=_batch)  # without a gradient, as TensorFlow's
def AdjustContrastv2(xp: Any, images: Any, factor: Any) -> Any:
    """(x - mean) factor + mean, the mean of each channel over height and width; images (..., height, width, channels).

    LookupError when its gradient is asked for, unless tf.RegisterGradient has given it one.
    """
    mean = images.mean((-3, -2), keepdims=True)
    return (images - mean) * factor + mean


def convolution(x: Any, w: Any, strides: Any, padding: Any, data_format: str | None, dilations: Any) -> Any:
    """Σ w x over windows of x (batch, *axes, channels); w (*window, channels, filters); padding "SAME" or "VALID".

    data_format: with NC at the start, x is (batch, channels, *axes).
    """
    n, first = raw(w).ndim - 2, (data_format or "").startswith("NC")
    x = x if first else shape.moveaxis(x, -1, 1)
    f = {1: conv.conv1d, 2: conv.conv2d, 3: conv.conv3d}[n]
    over = [_inner(s, n, first) for s in (strides, 1 if dilations is None else dilations)]
    padding = padding.lower() if isinstance(padding, str) else [tuple(p) for p in _spatial(padding, n, first)]
    groups = raw(x).shape[1] // raw(w).shape[-2]
    out = f(x, shape.moveaxis(w, (-1, -2), (0, 1)), None, over[0], padding, over[1], groups)
    return out if first else shape.moveaxis(out, 1, -1)


def _inner(given: Any, n: int, first: bool) -> Any:
    """A number for each of n axes, of one, of n, or of all n + 2 axes."""
    given = [given] if isinstance(given, int) else list(given)
    return tuple(given * n if len(given) == 1 else given if len(given) == n else _spatial(given, n, first))


def _spatial(given: Sequence[Any], n: int, first: bool) -> Sequence[Any]:
    return given[2:] if first else given[1 : n + 1]


_POOLS = {1: (pool.max_pool1d, pool.avg_pool1d), 2: (pool.max_pool2d, pool.avg_pool2d)}
_POOLS[3] = pool.max_pool3d, pool.avg_pool3d


def _pooled(which: int, x: Any, kernel: Any, strides: Any, padding: str, data_format: str | None, **more: Any) -> Any:
    n, first = raw(x).ndim - 2, (data_format or "").startswith("NC")
    if padding not in ("SAME", "VALID"):
        raise ValueError(f"padding is 'SAME' or 'VALID', not {padding!r}")
    x = x if first else shape.moveaxis(x, -1, 1)
    kernel, strides = _inner(kernel, n, first), _inner(strides, n, first)
    around: Any = 0
    if padding == "SAME":
        total = [max((-(-m // s) - 1) * s + k - m, 0) for m, k, s in zip(raw(x).shape[2:], kernel, strides)]
        around = [(t // 2, t - t // 2) for t in total]
    out = _POOLS[n][which](x, kernel, strides, around, **more)
    return out if first else shape.moveaxis(out, 1, -1)


def max_pool(x: Any, ksize: Any, strides: Any, padding: str, data_format: str | None = None) -> Any:
    """The largest of each window of x (batch, *axes, channels); padding "SAME" or "VALID"."""
    return _pooled(0, x, ksize, strides, padding, data_format)


def avg_pool(x: Any, ksize: Any, strides: Any, padding: str, data_format: str | None = None) -> Any:
    """The mean of each window of x (batch, *axes, channels), without what "SAME" pads."""
    return _pooled(1, x, ksize, strides, padding, data_format, count_include_pad=False)
