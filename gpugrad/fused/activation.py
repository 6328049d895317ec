"""Activations, with a bias in the same pass too; relu that keeps one bit an element; sums down columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..array import Array
from ..dtypes import wide
from ..kernels import BLOCK, MAX_GRID, Place, by_column, ceil, pack, place
from ..launch import Launch, Launcher, kernel
from .shape import check, fold, matrix, whole

ACTIVATIONS = ("identity", "relu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh")  # numbered: kernels/activation.cuh
BY_OUTPUT = {"relu", "sigmoid", "tanh"}  # whose pullback goes by the output


def _number(act: str) -> int:
    if act not in ACTIVATIONS:
        raise ValueError(f"there is no activation {act!r}; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS.index(act)


def activate(act: str, otherwise: Callable[..., Array]) -> Callable[..., Any]:
    """The activation as an op's `gpu=` forward (xp, x); see `gpugrad.launch.kernel`."""
    return kernel("elementwise", "activate", otherwise, _number(act))


def activate_grad(act: str, otherwise: Callable[..., Array]) -> Callable[..., Any]:
    """Its pullback (xp, g, s), with s the output for the activations in BY_OUTPUT, else the input."""
    return kernel("elementwise", "activate_grad", otherwise, _number(act))


def _bias_act(p: Place, x: Array, bias: Array, act: str) -> Launch:
    rows, cols = matrix(x)
    check((cols,), bias=bias)
    if not x.size:
        return Launch(None, (), (), [(x.shape, x.dtype)])
    run = p.get("bias", "bias_act", x.dtype, _number(act))
    return Launch(run, *by_column(rows, cols, x.dtype), [(x.shape, x.dtype)], (rows, cols))


def _bias_act_grad(p: Place, g: Array, saved: Array, bias: Array | None, act: str) -> Launch:
    rows, cols = matrix(saved)
    check(saved.shape, g=g)
    check((cols,), bias=bias)
    if not g.size:
        return Launch(None, (), (), [(g.shape, g.dtype)])
    grid, block = by_column(rows, cols, g.dtype)
    outs = [(g.shape, g.dtype), ((grid[1], cols), wide(g.dtype))]
    return Launch(p.get("bias", "bias_act_grad", g.dtype, _number(act)), grid, block, outs, (rows, cols))


def _column_sums(p: Place, x: Array) -> Launch:
    rows, cols = matrix(x)
    if not x.size:
        return Launch(None, (), (), [])
    grid, block = by_column(rows, cols, x.dtype)
    run = p.get("bias", "column_sums", x.dtype)
    return Launch(run, grid, block, [((grid[1], cols), wide(x.dtype))], (rows, cols))


_forward, _backward, _sums = Launcher(_bias_act), Launcher(_bias_act_grad), Launcher(_column_sums)


def bias_act(x: Array, bias: Array, act: str) -> Array:
    """act(x + bias), with a bias for each column of x (..., columns)."""
    return _forward((x, bias), act)[0]


def bias_act_grad(g: Array, saved: Array, bias: Array | None, act: str) -> tuple[Array, Array]:
    """The cotangents of x and of the bias.  `saved` is the output for the activations in BY_OUTPUT, else x.

    bias: what is to be added to x first; None where x has it already, and for the activations in BY_OUTPUT.
    """
    dx, *partial = _backward((g, saved, bias), act)
    return dx, fold(partial[0], g.dtype)[0] if partial else _zeros(g)


def column_sums(x: Array) -> Array:
    """x (..., columns) summed over all axes but the last, always in the same order."""
    partial = _sums((x,))
    return fold(partial[0], x.dtype)[0] if partial else _zeros(x)


def _zeros(x: Array) -> Array:
    p = place(x)
    with p.scope():
        return p.lib.xp.zeros(x.shape[-1:], x.dtype)


def _tiles(n: int, dtype: np.dtype) -> tuple[int, tuple[int], tuple[int]]:
    """(words of bits, grid, block) for n elements: a warp takes 32 packs, and leaves a word for each of a pack's."""
    tiles = ceil(n, 32 * pack(dtype))
    return tiles * pack(dtype), (min(ceil(tiles, BLOCK // 32), MAX_GRID),), (BLOCK,)


def relu_mask(x: Array) -> tuple[Array, Array]:
    """(relu(x), bits): the bits, an element's in one of them, are all that `relu_mask_grad` needs."""
    p = place(x)
    with p.scope():
        x = p.whole(x)
        words, grid, block = _tiles(x.size, x.dtype)
        out, bits = p.empty(x.shape, x.dtype), p.empty((words,), np.uint32)
        if x.size:
            p.get("elementwise", "relu_mask", x.dtype)(grid, block, x, out, bits, x.size)
    return out, bits


def positive_bits(x: Array) -> Array:
    """The bits that `relu_mask_grad` needs, of relu's output or input."""
    p = place(x)
    with p.scope():
        x = p.whole(x)
        words, grid, block = _tiles(x.size, x.dtype)
        bits = p.empty((words,), np.uint32)
        if x.size:
            p.get("elementwise", "positive_bits", x.dtype)(grid, block, x, bits, x.size)
    return bits


def relu_mask_grad(g: Array, bits: Array) -> Array:
    """g where x was positive, else 0."""
    p = place(g, bits)
    with p.scope():
        g = p.whole(g)
        words, grid, block = _tiles(g.size, g.dtype)
        bits, out = whole(p, "bits", bits, (words,)), p.empty(g.shape, g.dtype)
        if g.size:
            p.get("elementwise", "relu_mask_grad", g.dtype)(grid, block, g, bits, out, g.size)
    return out
