"""gate: a cotangent by a condition on each element, of which a bit is kept.

On a GPU relu's bits are in the order of its kernels (uint32); elsewhere they are in NumPy's (uint8).
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..array import xp as xp_of
from ..core import raw
from ..dtypes import is_float
from ..forward import select
from ..fused import positive_bits, relu_mask_grad
from ..kernels import usable
from ..op import op
from .blocks import over_parts
from .logic import pick


def bits_where(condition: Callable[..., Any], x: Any) -> Any:
    """A bit for each element of x: whether the condition, a function of a part of x, holds."""
    xp = xp_of(x)
    if xp is not np or not x.flags.c_contiguous:
        return xp.packbits(condition(x).reshape(-1))
    flat = x.reshape(-1)
    bits = np.empty(-(-flat.size // 8), np.uint8)

    def work(parts: Iterable[slice]) -> None:
        for at in parts:
            bits[at.start // 8 : -(-at.stop // 8)] = np.packbits(condition(flat[at]))

    over_parts(flat.size, work)
    return bits


def above_zero(x: Any) -> Any:
    """A bit for each element of x: whether it is above 0.  For `gate` with `below` 0: its kernel knows no other."""
    zero = x.dtype.type(0)
    return positive_bits(x) if usable(x) else bits_where(lambda part: part > zero, x)


def _gate(xp: Any, g: Any, bits: Any, *, below: float = 0.0) -> Any:
    """g where the bit is set, else `below` g; an infinite g stays out where `below` is 0."""
    if bits.dtype == np.uint32:
        return relu_mask_grad(g, bits)
    if xp is np and not below and g.ndim and is_float(g.dtype) and g.flags.c_contiguous:
        return _passed(g, bits, np.empty(g.shape, g.dtype))
    mask = xp.unpackbits(bits)[: g.size].reshape(g.shape).view(np.bool_)
    return select(xp, mask, g, g * below if below else g.dtype.type(0))


def _passed(g: np.ndarray, bits: np.ndarray, out: np.ndarray) -> np.ndarray:
    """g where the bit is set, else 0, written into `out`."""
    kind = np.dtype(f"u{g.itemsize}")
    given, left = g.reshape(-1).view(kind), out.reshape(-1).view(kind)

    def work(parts: Iterable[slice]) -> None:
        for at in parts:
            ones = np.unpackbits(bits[at.start // 8 : -(-at.stop // 8)], count=at.stop - at.start).astype(kind)
            np.negative(ones, out=ones)  # 1 becomes all ones
            np.bitwise_and(given[at], ones, out=left[at])

    over_parts(given.size, work)
    return out


def gate_over(g: Any, bits: Any, below: float = 0.0) -> Any:
    """`gate`, which may write over g."""
    fits = not below and bits.dtype == np.uint8 and g.ndim and is_float(g.dtype) and g.flags.c_contiguous
    return _passed(g, bits, g) if fits else raw(gate(g, bits, below=below))


def _batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    """What the bits of an example let pass of ones, all examples' cotangents are chosen by."""
    g, bits = xs
    if each[1]:
        return NotImplemented
    ones = xp_of(raw(g)).ones(raw(g).shape[1:], raw(g).dtype)
    return (pick(raw(gate(ones, raw(bits))) != 0, g, g * static["below"] if static["below"] else 0),)


gate = op(_gate, name="gate", g=lambda h, bits, below: gate(h, bits, below=below), bits=None, batch=_batch)
# What `lean=` takes after the bits, where the pullback is 0 if the condition does not hold: the rule, and over g.
ZERO_ELSE = (lambda g, bits: gate(g, bits, below=0.0)), (lambda g, bits: gate_over(g, bits))
