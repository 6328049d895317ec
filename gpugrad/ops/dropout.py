"""dropout that keeps a seed and an offset instead of a mask: its pullback draws the same bits again."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import fused
from ..array import library, xp as xp_of
from ..core import raw
from ..dtypes import wide
from ..forward import as_float, select
from ..kernels import usable
from ..op import op
from .logic import where
from .shape import aligned


def offsets(n: int) -> int:
    """How many offsets the random bits of n elements take."""
    return -(-n // 4)


def _kept(shape: tuple[int, ...], rate: float, seed: int, offset: int) -> np.ndarray:
    """Which elements stay: 32 random bits each, of NumPy's Philox 4x64 (on a GPU of Philox 4x32: other bits)."""
    n = math.prod(shape)
    words = np.random.Philox(key=seed, counter=offset).random_raw(-(-n // 2)).view(np.uint32)[:n]
    return (words >= np.uint32(min(round(rate * 2**32), 2**32 - 1))).reshape(shape)


def _dropout(xp: Any, x: Any, *, rate: float, seed: int, offset: int) -> Any:
    """x / (1 - rate), or 0 with probability `rate` (Srivastava et al. 2014).  Linear in x."""
    x = as_float(x)
    if rate == 1:
        return xp.zeros_like(x)
    kept: Any = _kept(x.shape, rate, seed, offset)
    if xp is not np:
        lib: Any = library(x)
        kept = lib.asarray(kept, None, lib.device_of(x))
    out = x * wide(x.dtype).type(1 / (1 - rate))
    if out.dtype.kind == "c":
        return select(xp, kept, out, out.dtype.type(0))
    # Of the bits: a tenth of a choice's time, and infinity and NaN are dropped as well.
    bits = out.view(f"u{out.dtype.itemsize}")
    bits *= kept
    return bits.view(out.dtype).astype(x.dtype, copy=False)


def _dropout_gpu(xp: Any, x: Any, *, rate: float, seed: int, offset: int) -> Any:
    if not usable(x):
        return _dropout(xp, x, rate=rate, seed=seed, offset=offset)
    return fused.dropout(x, rate, seed, offset)


def dropped(xp: Any, x: Any, rate: float, seed: int, offset: int) -> Any:
    """`dropout` of an array, in the way of its library."""
    return (_dropout if xp is np else _dropout_gpu)(xp, x, rate=rate, seed=seed, offset=offset)


def _same_for_all(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> tuple:
    """What is dropped is the same for all examples, so that the pullback of one is that of many cotangents, too."""
    x, *residual = xs
    a = raw(x)
    shape = a.shape[1:] if each[0] else a.shape
    scale = dropped(xp_of(a), level.here(xp_of(a).ones(shape, a.dtype)), **static)
    out = where(scale == 0, 0, x * scale)
    if not residual:
        return (out,)
    r = residual[0]
    rank = max(len(shape), len(raw(r).shape) - each[1])
    return ((aligned(out, rank) if each[0] else out) + (aligned(r, rank) if each[1] else r),)


dropout = op(
    _dropout,
    name="dropout",
    batch=_same_for_all,
    gpu=_dropout_gpu,
    x=lambda g, rate, seed, offset: dropout(g, rate=rate, seed=seed, offset=offset),
)


def _dropout_add(xp: Any, x: Any, residual: Any, *, rate: float, seed: int, offset: int) -> Any:
    """dropout(x) + residual, on a GPU in one pass."""
    return _dropout(xp, x, rate=rate, seed=seed, offset=offset) + residual


def _dropout_add_gpu(xp: Any, x: Any, residual: Any, *, rate: float, seed: int, offset: int) -> Any:
    if not usable(x, residual) or x.shape != residual.shape:
        return _dropout_gpu(xp, x, rate=rate, seed=seed, offset=offset) + residual
    return fused.dropout(x, rate, seed, offset, residual)


dropout_add = op(
    _dropout_add,
    name="dropout_add",
    batch=_same_for_all,
    gpu=_dropout_add_gpu,
    x=lambda g, rate, seed, offset: dropout(g, rate=rate, seed=seed, offset=offset),
    residual=lambda g: g,
)
