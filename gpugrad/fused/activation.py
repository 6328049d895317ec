"""Activations, with a bias in the same pass too; relu that keeps one bit an element; sums down columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..array import Array
from ..dtypes import wide
from ..kernels import BLOCK, MAX_GRID, by_column, ceil, kernel, pack, place
from .shape import fold, matrix, whole

ACTIVATIONS = ("identity", "relu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh")  # numbered: kernels/activation.cuh
BY_OUTPUT = {"relu", "sigmoid", "tanh"}  # whose pullback goes by the output


def _number(act: str) -> int:
    if act not in ACTIVATIONS:
        raise ValueError(f"there is no activation {act!r}; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS.index(act)


def activate(act: str, otherwise: Callable[..., Array]) -> Callable[..., Any]:
    """The activation as an op's `gpu=` forward (xp, x); see `gpugrad.kernels.kernel`."""
    return kernel("elementwise", "activate", otherwise, _number(act))


def activate_grad(act: str, otherwise: Callable[..., Array]) -> Callable[..., Any]:
    """Its pullback (xp, g, s), with s the output for the activations in BY_OUTPUT, else the input."""
    return kernel("elementwise", "activate_grad", otherwise, _number(act))


def bias_act(x: Array, bias: Array, act: str) -> Array:
    """act(x + bias), with a bias for each column of x (..., columns)."""
    p = place(x, bias)
    rows, cols = matrix(x)
    with p.scope():
        x, bias = p.whole(x), whole(p, "bias", bias, (cols,))
        out = p.empty(x.shape, x.dtype)
        if out.size:
            grid, block = by_column(rows, cols, x.dtype)
            run = p.get("bias", "bias_act", x.dtype, _number(act))
            run(grid, block, x, bias, out, rows, cols)
    return out


def bias_act_grad(g: Array, saved: Array, bias: Array | None, act: str) -> tuple[Array, Array]:
    """The cotangents of x and of the bias.  `saved` is the output for the activations in BY_OUTPUT, else x.

    bias: what is to be added to x first; None where x has it already, and for the activations in BY_OUTPUT.
    """
    p = place(g, saved, bias)
    rows, cols = matrix(saved)
    with p.scope():
        g, saved, bias = whole(p, "g", g, saved.shape), p.whole(saved), whole(p, "bias", bias, (cols,))
        dx = p.empty(g.shape, g.dtype)
        if not dx.size:
            return dx, p.lib.xp.zeros((cols,), g.dtype)
        grid, block = by_column(rows, cols, g.dtype)
        partial = p.empty((1, grid[1], cols), wide(g.dtype))
        run = p.get("bias", "bias_act_grad", g.dtype, _number(act))
        run(grid, block, g, saved, bias, dx, partial, rows, cols)
        return dx, fold(p, partial, g.dtype)[0]


def column_sums(x: Array) -> Array:
    """x (..., columns) summed over all axes but the last, always in the same order."""
    p = place(x)
    rows, cols = matrix(x)
    with p.scope():
        if not x.size:
            return p.lib.xp.zeros((cols,), x.dtype)
        grid, block = by_column(rows, cols, x.dtype)
        partial = p.empty((1, grid[1], cols), wide(x.dtype))
        p.get("bias", "column_sums", x.dtype)(grid, block, p.whole(x), partial, rows, cols)
        return fold(p, partial, x.dtype)[0]


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
