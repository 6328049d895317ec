"""layer_norm, rms_norm and batch_norm, as functions.  Names and defaults are PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import Tensor, raw
from ..dtypes import default_float, is_inexact, wide
from ..ops import batch_norm as _batch
from ..ops.batch_norm import real_input, running_statistics
from ..ops.normalization import norm
from ..ops.shape import reshape
from ..repeat import repeated


# ---------------------------------------------------------------------------------------------- over the last axes
def _over_last(
    name: str,
    x: Any,
    normalized_shape: int | Sequence[int],
    weight: Any,
    bias: Any,
    residual: Any,
    eps: float,
    center: bool,
) -> Any:
    x, shape = real_input(name, x), _lengths(name, normalized_shape)
    whole = raw(x).shape
    if not shape or whole[-len(shape) :] != shape:
        raise ValueError(f"{name}: the last axes of {whole} are not {shape}")
    for what, a in (("weight", weight), ("bias", bias)):
        if a is not None and raw(a).shape != shape:
            raise ValueError(f"{name}: {what} has shape {raw(a).shape}; it must have the normalized shape, {shape}")
    if len(shape) == 1:
        return norm(x, weight, bias, residual, eps, center)
    flat = (*whole[: -len(shape)], math.prod(shape))
    reshaped = lambda a, to: None if a is None else reshape(a, to)
    out = norm(
        reshape(x, flat), reshaped(weight, flat[-1:]), reshaped(bias, flat[-1:]), reshaped(residual, flat), eps, center
    )
    return reshape(out, whole) if residual is None else tuple([reshape(o, whole) for o in out])


def _lengths(name: str, given: int | Sequence[int]) -> tuple[int, ...]:
    lengths = (given,) if isinstance(given, int) else given
    if isinstance(lengths, Tensor) or not all([isinstance(n, int) for n in lengths]):
        raise TypeError(
            f"{name}: normalized_shape is the lengths of the last axes, as (64,); given {type(given).__name__}"
        )
    return tuple(lengths)


def layer_norm(
    x: Any,
    normalized_shape: int | Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    residual: Any = None,
) -> Any:
    """x with mean 0 and variance 1 over its last axes (Ba et al. 2016), times weight, plus bias.

    With a residual, of the shape of x: (that of x + residual, x + residual), on a GPU in one pass.
    ValueError unless the last axes of x have the lengths `normalized_shape`, and weight and bias that shape.
    """
    return _over_last("layer_norm", x, normalized_shape, weight, bias, residual, eps, True)


def rms_norm(
    x: Any, normalized_shape: int | Sequence[int], weight: Any = None, eps: float | None = None, residual: Any = None
) -> Any:
    """x over the root of its mean square over its last axes (Zhang & Sennrich 2019), times weight.

    eps: added to the mean square; None: the distance from 1 to the next number, in the dtype it is computed in.
    With a residual, of the shape of x: (that of x + residual, x + residual), on a GPU in one pass.
    ValueError unless the last axes of x have the lengths `normalized_shape`, and weight that shape.
    """
    x = real_input("rms_norm", x)
    if eps is None:
        dtype = raw(x).dtype
        eps = float(np.finfo(wide(dtype) if is_inexact(dtype) else default_float()).eps)
    return _over_last("rms_norm", x, normalized_shape, weight, None, residual, eps, False)


# ---------------------------------------------------------------------------------------------- over the batch
def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """x (batch, channels, ...) with mean 0 and variance 1 in each channel, times weight, plus bias.

    Ioffe & Szegedy 2015.
    training: by the mean and the variance of this batch, towards which the running ones (None: there are none; the
    variance unbiased) are moved in place by `momentum` of the way.  Else by the running ones, which have no gradient.
    ValueError for shapes that do not fit, and in training for less than two values a channel.
    """
    x = real_input("batch_norm", x)
    shape = raw(x).shape
    if len(shape) < 2:
        raise ValueError(f"batch_norm: takes (batch, channels, ...), given the shape {shape}")
    given = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for name, a in given.items():
        if a is not None and raw(a).shape != shape[1:2]:
            raise ValueError(f"batch_norm: {name} has shape {raw(a).shape}; it has a number a channel, {shape[1:2]}")
    running = running_statistics("batch_norm", running_mean, running_var)
    options = {"running_mean": running[0], "running_var": running[1], "eps": eps}
    if training:
        if math.prod(shape) < 2 * shape[1]:
            raise ValueError(f"batch_norm: training needs more than 1 value per channel, given the shape {shape}")
        if repeated():
            options |= {"running_mean": None, "running_var": None}
        return _batch.batch_norm(x, weight, bias, momentum=momentum, **options)
    if running_mean is None or running_var is None:
        raise ValueError("batch_norm: without training=True it needs running_mean and running_var")
    return _batch.batch_norm_inference(x, weight, bias, **options)
