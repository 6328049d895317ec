"""Normalizations of each image by itself: over groups of channels, or over each channel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..array import xp as xp_of
from ..core import raw
from ..dtypes import wide
from ..forward import as_float
from ..levels import innermost
from ..op import op
from ..repeat import repeated
from . import group_rows
from .batch_norm import batch_norm_inference, column, real_input, running_statistics, scaled, unmovable
from .blocks import fits
from .examples import join, own, part
from .math import add, multiply
from .normalization import forward, norm, norm_grad, present, times
from .reduce import sum
from .shape import reshape


def _group_norm(xp: Any, x: Any, weight: Any, bias: Any, *, groups: int, eps: float) -> Any:
    x = as_float(x)
    dtype = np.result_type(*[a.dtype for a in present(x, weight, bias)])
    rows = x.reshape(len(x), groups, math.prod(x.shape[1:]) // groups).astype(dtype, copy=False)
    n, mean, rstd = forward(xp, rows, None, None, eps=eps, center=True)
    return scaled(xp, n.reshape(x.shape), weight, bias, dtype), mean, rstd


def _pull(g: Any, x: Any, weight: Any, bias: Any, mean: Any, rstd: Any, groups: int, eps: float) -> tuple[Any, ...]:
    if type(g) is np.ndarray and type(x) is np.ndarray and fits(*present(g, x, weight)):
        dx, dweight, dbias = group_rows.pull(g, x, weight, mean, rstd, groups)
        return dx, None if weight is None else dweight, None if bias is None else dbias
    shape, over = x.shape, (0, *range(2, len(x.shape)))
    rows = lambda a: reshape(a, (shape[0], groups, math.prod(shape[1:]) // groups))
    dx = norm_grad(rows(times(g, column(weight, len(shape)))), rows(x), None, None, mean, rstd, eps=eps)
    dweight = dbias = None
    if weight is not None:
        dweight = sum(multiply(g, reshape(norm(rows(x), None, None, None, eps, True), shape)), axis=over)
    if bias is not None:
        dbias = sum(g, axis=over)
    return reshape(dx, shape), dweight, dbias


def _host(x: Any, weight: Any, bias: Any, *, groups: int, eps: float) -> Any:
    if fits(*present(x, weight, bias)):
        return group_rows.forward(x, weight, bias, groups, eps)
    return _group_norm(np, x, weight, bias, groups=groups, eps=eps)


def _batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    """Images of all examples are one batch."""
    x, weight, bias = xs
    x = own(x, each[0], level.n)
    whole = not (each[1] or each[2])
    out, *statistics = call(join(x), *((weight, bias) if whole else (None, None)), **static)
    out = part(out, level.n)
    for v, e, f in () if whole else ((weight, each[1], multiply), (bias, each[2], add)):
        if v is not None:
            n, shape = (level.n if e else 1), raw(x).shape
            out = f(out, reshape(v, (n, 1, shape[2], *[1] * (len(shape) - 3))))
    return out, *[part(v, level.n) for v in statistics]


_group_norm.host = _host
_group_norm_op = op(_group_norm, name="group_norm", aux=("mean", "rstd"), pull=_pull, batch=_batch)


def _checked(name: str, x: Any, **channels: Any) -> tuple[int, ...]:
    """The shape of x.  ValueError if it is not (batch, channels, ...), or another has no number for each channel."""
    shape = raw(x).shape
    if len(shape) < 2:
        raise ValueError(f"{name}: takes (batch, channels, ...), given the shape {shape}")
    for what, a in channels.items():
        if a is not None and raw(a).shape != shape[1:2]:
            raise ValueError(f"{name}: {what} has shape {raw(a).shape}; it has a number a channel, {shape[1:2]}")
    return shape


def group_norm(x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """x (batch, channels, ...) with mean 0 and variance 1 over each group of channels, times weight, plus bias.

    Wu & He 2018.  weight and bias have a number for each channel.
    ValueError for shapes that do not fit, and for channels that do not make so many groups.
    """
    x = real_input("group_norm", x)
    shape = _checked("group_norm", x, weight=weight, bias=bias)
    if num_groups < 1 or shape[1] % num_groups:
        raise ValueError(f"group_norm: {shape[1]} channels do not make {num_groups} equal groups")
    return _group_norm_op(x, weight, bias, groups=num_groups, eps=eps)


def instance_norm(
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """x (batch, channels, ...) with mean 0 and variance 1 over each channel of each image, times weight, plus bias.

    Ulyanov et al. 2016.
    The running mean and variance (None: there are none; the variance unbiased) are moved in place by `momentum` of the
    way to the batch's average.  Without use_input_stats x is normalized by them; they have no gradient.
    ValueError for shapes that do not fit, and for less than two values a channel.
    """
    name = "instance_norm"
    x = real_input(name, x)
    shape = _checked(name, x, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    running = running_statistics(name, running_mean, running_var)
    if not use_input_stats:
        if len(present(*running)) < 2:
            raise ValueError(f"{name}: without use_input_stats it needs running_mean and running_var")
        return batch_norm_inference(x, weight, bias, running_mean=running[0], running_var=running[1], eps=eps)
    if math.prod(shape[2:]) < 2:
        raise ValueError(f"{name}: needs more than 1 value for each channel of an image, given the shape {shape}")
    out = _group_norm_op(x, weight, bias, groups=shape[1], eps=eps)
    if present(*running) and not repeated():
        if (level := innermost([raw(x)])) is not None:
            raise unmovable(name, level)
        _move(raw(x), running[0], running[1], momentum)
    return out


def _move(x: Any, running_mean: Any, running_var: Any, momentum: float) -> None:
    """The running mean and variance, moved in place to the average of those of all images."""
    rows, xp = x.reshape(*x.shape[:2], -1).astype(wide(as_float(x).dtype), copy=False), xp_of(x)
    found = rows.mean(-1).mean(0), xp.var(rows, axis=-1, ddof=1).mean(0)
    for running, to in zip((running_mean, running_var), found):
        if running is not None:
            running += (momentum * (to - running)).astype(running.dtype, copy=False)
