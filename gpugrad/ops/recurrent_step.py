"""A step of LSTM and of GRU as one op: the gates, their activations and the new state.

The formulas of the way back are written for arrays and Tensors alike: lifted, the gates are computed again from what
has a history.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import fused
from ..core import Tensor
from ..dtypes import wide
from ..kernels import usable
from ..op import Parts, op
from .activation import sigmoid
from .math import add, tanh
from .shape import concat, split


def _squash(xp: Any, z: Any) -> None:
    """sigmoid(z) = (1 + tanh(z / 2)) / 2, in place: half the time of exp and a division."""
    half = z.dtype.type(0.5)
    z *= half
    xp.tanh(z, out=z)
    z *= half
    z += half


def in_wide(*arrays: Any) -> list[Any]:
    """Arrays as they are computed with on the CPU, where half types have no products of their own."""
    return [None if a is None else a.astype(wide(a.dtype), copy=False) for a in arrays]


def _plain(*arrays: Any) -> bool:
    """Whether none is a Tensor."""
    return not any([isinstance(a, Tensor) for a in arrays])


def _beside(parts: Sequence[Any], into: Any) -> Any:
    """The parts side by side; written `into` an array, if there is one."""
    return concat(parts, -1) if into is None else np.concatenate(parts, -1, out=into)


# ---------------------------------------------------------------------------------------------- LSTM, one step
def lstm_step(xp: Any, z: Any, c: Any) -> tuple[Any, Any]:
    """(o tanh(c'), c' = f c + i m); z, the gates i, f, m, o, becomes their sigmoids, of m the tanh."""
    n = c.shape[-1]
    _squash(xp, z[..., : 2 * n])
    _squash(xp, z[..., 3 * n :])
    m = z[..., 2 * n : 3 * n]
    xp.tanh(m, out=m)
    cell = z[..., n : 2 * n] * c
    cell += z[..., :n] * m
    out = xp.tanh(cell)
    out *= z[..., 3 * n :]
    return out, cell


def _lstm_any(xp: Any, x: Any, back: Any, c: Any) -> Any:
    """(o tanh(c'), c' = f c + i m), a step of an LSTM (Hochreiter & Schmidhuber 1997).

    The gates i, f, m, o are sigmoid(x + back), of m the tanh: x and back (..., 4 n), c, c' and the output (..., n).
    """
    if xp is not np and usable(x, back, c):
        out, cell, gates = fused.lstm_cell(x, back, c)
        return (out, cell), gates
    dtype = c.dtype
    x, back, c = in_wide(x, back, c)
    gates = x + back
    out, cell = lstm_step(xp, gates, c)
    return (out.astype(dtype, copy=False), cell.astype(dtype, copy=False)), gates.astype(dtype, copy=False)


def lstm_gates(z: Any) -> Any:
    i, f, m, o = split(z, 4, -1)
    return concat([sigmoid(i), sigmoid(f), tanh(m), sigmoid(o)], -1)


def lstm_grad(g: Any, more: Any, gates: Any, c: Any, cell: Any, into: Any = None) -> tuple[Any, Any]:
    """The cotangents of the gates before their activation and of c, from those of out and cell; one may be None."""
    if _plain(gates, c, cell, g, more) and usable(gates, c, cell, g, more):
        return fused.lstm_cell_grad(gates, c, cell, g, more)
    i, f, m, o = split(gates, 4, -1)
    if g is None:
        by_o, total = o * 0, more
    else:
        t = tanh(cell)
        by_o, total = g * t * (o * (1 - o)), g * o * (1 - t * t)
        total = total if more is None else total + more
    parts = [total * m * (i * (1 - i)), total * c * (f * (1 - f)), total * i * (1 - m * m), by_o]
    return _beside(parts, into), total * f


def _lstm_cell_pull(g: Parts, x: Any, back: Any, c: Any, cell: Any, gates: Any) -> tuple[Any, Any, Any]:
    if isinstance(cell, Tensor):
        gates = lstm_gates(add(x, back))
    dz, dc = lstm_grad(g.get(0), g.get(1), gates, c, cell)
    return dz, dz, dc


lstm_cell = op(
    _lstm_any, name="lstm_cell", several=("y", "cell"), aux=("gates",), pull=_lstm_cell_pull, batch="leading"
)


# ---------------------------------------------------------------------------------------------- GRU, one step
def gru_step(xp: Any, x: Any, back: Any, h: Any) -> Any:
    """(m + z (h - m), what the way back needs: r, z, m and what of `back` r is multiplied with)."""
    n = h.shape[-1]
    gates = xp.empty_like(h, shape=(*h.shape[:-1], 4 * n))
    xp.add(x[..., : 2 * n], back[..., : 2 * n], out=gates[..., : 2 * n])
    _squash(xp, gates[..., : 2 * n])
    m = gates[..., 2 * n : 3 * n]
    xp.multiply(gates[..., :n], back[..., 2 * n :], out=m)
    m += x[..., 2 * n :]
    xp.tanh(m, out=m)
    gates[..., 3 * n :] = back[..., 2 * n :]
    out = h - m
    out *= gates[..., n : 2 * n]
    out += m
    return out, gates


def _gru_any(xp: Any, x: Any, back: Any, h: Any) -> Any:
    """m + z (h - m), a step of a GRU (Cho et al. 2014); with r, z = sigmoid(x + back) and m = tanh(x + r back).

    A third of the columns of x and back (..., 3 n) is for each of r, z, m; h and the output are (..., n).
    """
    if xp is not np and usable(x, back, h):
        return fused.gru_cell(x, back, h)
    out, gates = gru_step(xp, *in_wide(x, back, h))
    return out.astype(h.dtype, copy=False), gates.astype(h.dtype, copy=False)


def gru_gates(x: Any, back: Any) -> Any:
    """r, z, m and what of `back` r is multiplied with."""
    (rx, zx, mx), (rb, zb, mb) = split(x, 3, -1), split(back, 3, -1)
    r = sigmoid(rx + rb)
    return concat([r, sigmoid(zx + zb), tanh(mx + r * mb), mb], -1)


def gru_grad(g: Any, gates: Any, h: Any, dx: Any = None, dback: Any = None) -> tuple[Any, Any, Any]:
    """The cotangents of x, of `back` and of h; the first two written into arrays, if they are given."""
    if _plain(gates, h, g) and usable(gates, h, g):
        return fused.gru_cell_grad(gates, h, g)
    r, z, m, mb = split(gates, 4, -1)
    dm = g * (1 - z) * (1 - m * m)
    two = [dm * mb * (r * (1 - r)), g * (h - m) * (z * (1 - z))]
    return _beside([*two, dm], dx), _beside([*two, dm * r], dback), g * z


def _gru_cell_pull(g: Any, x: Any, back: Any, h: Any, out: Any, gates: Any) -> tuple[Any, Any, Any]:
    return gru_grad(g, gru_gates(x, back) if isinstance(out, Tensor) else gates, h)


gru_cell = op(_gru_any, name="gru_cell", aux=("gates",), pull=_gru_cell_pull, batch="leading")
