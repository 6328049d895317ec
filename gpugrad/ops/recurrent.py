"""Recurrent layers: a step of LSTM and GRU as one op; and whole sequences as one op each.

A sequence keeps its inputs, outputs and activated gates.  The way back is a loop over the steps for the cotangents of
the gates; those of the weights are then one product over all steps.  Its formulas are written for arrays and Tensors
alike: lifted, the gates are computed again from what has a history.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import fused
from ..core import Tensor, raw
from ..dtypes import wide
from ..gemm.products import product
from ..kernels import usable
from ..op import Parts, op
from .activation import relu_grad, sigmoid
from .linalg import matmul
from .math import add, tanh
from .reduce import sum
from .shape import concat, expand_dims, matrix_transpose, reshape, split, stack, unstack


# ---------------------------------------------------------------------------------------------- what all share
def _times(xp: Any, x: Any, y: Any) -> Any:
    return np.matmul(x, y) if xp is np else product(x, y)


def _squash(xp: Any, z: Any) -> None:
    """sigmoid(z) = (1 + tanh(z / 2)) / 2, in place: half the time of exp and a division."""
    half = z.dtype.type(0.5)
    z *= half
    xp.tanh(z, out=z)
    z *= half
    z += half


def _wide(*arrays: Any) -> list[Any]:
    """Arrays as they are computed with on the CPU, where half types have no products of their own."""
    return [None if a is None else a.astype(wide(a.dtype), copy=False) for a in arrays]


def _plain(*arrays: Any) -> bool:
    """Whether none is a Tensor."""
    return not any([isinstance(a, Tensor) for a in arrays])


def _inputs(xp: Any, x: Any, w: Any, b: Any) -> Any:
    """x wᵀ + b over all steps: one product."""
    z = _times(xp, x.reshape(-1, x.shape[-1]), w.swapaxes(0, 1)).reshape(*x.shape[:-1], w.shape[0])
    if b is not None:
        z += b
    return z


def _affine(x: Any, w: Any, b: Any) -> Any:
    """The same of Tensors."""
    z = matmul(x, matrix_transpose(w))
    return z if b is None else add(z, b)


def _shifted(first: Any, rest: Any) -> Any:
    """What each step starts from: `first`, then what the steps but the last one answered."""
    return concat([expand_dims(first, 0), rest[:-1]])


def _rows(a: Any) -> Any:
    return reshape(a, (math.prod(raw(a).shape[:-1]), raw(a).shape[-1]))


def _weight(g: Any, x: Any) -> Any:
    """The cotangent of w in x wᵀ: one product over all steps."""
    return matmul(matrix_transpose(_rows(g)), _rows(x))


def _sums(g: Any) -> Any:
    return sum(_rows(g), axis=0)


def _each(*arrays: Any) -> list[Any]:
    """Arrays by step, as they are computed with: of a Tensor its slices, whose gradients are joined once."""
    arrays = tuple(_wide(*arrays)) if any([type(a) is np.ndarray for a in arrays]) else arrays
    return [unstack(a) if isinstance(a, Tensor) else a for a in arrays]


def _recurrent(xp: Any, h: Any, u: Any) -> Any:
    """h uᵀ.  On the CPU as the transpose of u hᵀ, for which OpenBLAS needs two thirds of the time where h is small."""
    return np.matmul(u, h.T).T if xp is np else product(h, u.swapaxes(0, 1))


def _beside(parts: Sequence[Any], into: Any) -> Any:
    """The parts side by side; written `into` an array, if there is one."""
    return concat(parts, -1) if into is None else np.concatenate(parts, -1, out=into)


def _room(y: Any, width: int) -> Any:
    """For what the way back finds at each step of y: on the CPU an array (steps, rows, width), else a list."""
    if type(y) is not np.ndarray:
        return [None] * raw(y).shape[0]
    return np.empty((*y.shape[:2], width), wide(y.dtype))


def _joined(room: Any, dtype: np.dtype) -> Any:
    return room.astype(dtype, copy=False) if isinstance(room, np.ndarray) else stack(room)


# ---------------------------------------------------------------------------------------------- LSTM, one step
def _lstm(xp: Any, z: Any, c: Any) -> tuple[Any, Any]:
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
    """(o tanh(c'), c' = f c + i m), with the gates i, f, m, o = sigmoid(x + back), of m the tanh.

    x and back have the columns of the four gates side by side, c, c' and the output those of one.
    """
    if xp is not np and usable(x, back, c):
        out, cell, gates = fused.lstm_cell(x, back, c)
        return (out, cell), gates
    dtype = c.dtype
    x, back, c = _wide(x, back, c)
    gates = x + back
    out, cell = _lstm(xp, gates, c)
    return (out.astype(dtype, copy=False), cell.astype(dtype, copy=False)), gates.astype(dtype, copy=False)


def _lstm_gates(z: Any) -> Any:
    i, f, m, o = split(z, 4, -1)
    return concat([sigmoid(i), sigmoid(f), tanh(m), sigmoid(o)], -1)


def _lstm_grad(g: Any, more: Any, gates: Any, c: Any, cell: Any, into: Any = None) -> tuple[Any, Any]:
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
        gates = _lstm_gates(add(x, back))
    dz, dc = _lstm_grad(g.get(0), g.get(1), gates, c, cell)
    return dz, dz, dc


lstm_cell = op(_lstm_any, name="lstm_cell", several=("y", "cell"), aux=("gates",), pull=_lstm_cell_pull)


# ---------------------------------------------------------------------------------------------- LSTM, all steps
class _Lstm(NamedTuple):
    """Cotangents: of what goes into the gates, of the outputs, of h and c; the gates, and what the steps start from."""

    inputs: Any
    outs: Any
    h: Any
    c: Any
    gates: Any
    before: Any


def _lstm_forward(xp: Any, x: Any, w: Any, u: Any, b: Any, h: Any, c: Any, r: Any) -> Any:
    dtype = x.dtype
    if xp is np:
        x, w, u, b, h, c, r = _wide(x, w, u, b, h, c, r)
    gates = _inputs(xp, x, w, b)
    hs, cells, kernels, kept = [], [], xp is not np and usable(gates, u, h, c, r), []
    for z in gates:
        back = _recurrent(xp, h, u)
        if kernels:
            h, c, z = fused.lstm_cell(z, back, c)
            kept.append(z)
        else:
            z += back
            h, c = _lstm(xp, z, c)
        h = h if r is None else _times(xp, h, r.swapaxes(0, 1))
        hs.append(h)
        cells.append(c)
    gates = xp.stack(kept) if kernels else gates
    return tuple([xp.stack(a).astype(dtype, copy=False) for a in (hs, cells)]), gates.astype(dtype, copy=False)


def _lstm_back(
    g: Parts, x: Any, w: Any, u: Any, b: Any, h: Any, c: Any, r: Any, y: Any, cells: Any, gates: Any
) -> _Lstm:
    before, starts = _shifted(h, y), _shifted(c, cells)
    if isinstance(y, Tensor):
        gates = _lstm_gates(add(_affine(x, w, b), matmul(before, matrix_transpose(u))))
    found, outs = _room(y, raw(gates).shape[-1]), [None] * raw(y).shape[0]
    by_y, by_cell, starts, cells, activated = _each(g.get(0), g.get(1), starts, cells, gates)
    dh = dc = None
    for t in reversed(range(len(outs))):
        outs[t], dc = _plus(dh, by_y, t), _plus(dc, by_cell, t)
        dh = outs[t] if r is None or outs[t] is None else matmul(outs[t], r)
        dz, dc = _lstm_grad(dh, dc, activated[t], starts[t], cells[t], found[t])
        found[t], dh = dz, matmul(dz, u)
    return _Lstm(_joined(found, raw(y).dtype), outs, dh, dc, gates, before)


def _plus(d: Any, g: Any, t: int) -> Any:
    return d if g is None else g[t] if d is None else add(d, g[t])


def _projection(p: _Lstm, cells: Any) -> Any:
    """The cotangent of r in (o tanh(cell)) rᵀ."""
    n = raw(cells).shape[-1]
    return _weight(stack(p.outs), p.gates[..., 3 * n :] * tanh(cells))


lstm = op(
    _lstm_forward,
    name="lstm",
    args=["x", "w", "u", "b", "h", "c", "r"],
    several=("y", "cells"),
    aux=("gates",),
    via=lambda g, x, w, u, b, h, c, r, y, cells, gates: _lstm_back(g, x, w, u, b, h, c, r, y, cells, gates),
    x=lambda p, w: matmul(p.inputs, w),
    w=lambda p, x: _weight(p.inputs, x),
    u=lambda p: _weight(p.inputs, p.before),
    b=lambda p: _sums(p.inputs),
    h=lambda p: p.h,
    c=lambda p: p.c,
    r=lambda p, cells: _projection(p, cells),
)


# ---------------------------------------------------------------------------------------------- GRU, one step
def _gru(xp: Any, x: Any, back: Any, h: Any) -> Any:
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
    """m + z (h - m), with r, z = sigmoid(x + back) and m = tanh(x + r back), of a third of the columns each."""
    if xp is not np and usable(x, back, h):
        return fused.gru_cell(x, back, h)
    out, gates = _gru(xp, *_wide(x, back, h))
    return out.astype(h.dtype, copy=False), gates.astype(h.dtype, copy=False)


def _gru_gates(x: Any, back: Any) -> Any:
    """r, z, m and what of `back` r is multiplied with."""
    (rx, zx, mx), (rb, zb, mb) = split(x, 3, -1), split(back, 3, -1)
    r = sigmoid(rx + rb)
    return concat([r, sigmoid(zx + zb), tanh(mx + r * mb), mb], -1)


def _gru_grad(g: Any, gates: Any, h: Any, dx: Any = None, dback: Any = None) -> tuple[Any, Any, Any]:
    """The cotangents of x, of `back` and of h; the first two written into arrays, if they are given."""
    if _plain(gates, h, g) and usable(gates, h, g):
        return fused.gru_cell_grad(gates, h, g)
    r, z, m, mb = split(gates, 4, -1)
    dm = g * (1 - z) * (1 - m * m)
    two = [dm * mb * (r * (1 - r)), g * (h - m) * (z * (1 - z))]
    return _beside([*two, dm], dx), _beside([*two, dm * r], dback), g * z


def _gru_cell_pull(g: Any, x: Any, back: Any, h: Any, out: Any, gates: Any) -> tuple[Any, Any, Any]:
    return _gru_grad(g, _gru_gates(x, back) if isinstance(out, Tensor) else gates, h)


gru_cell = op(_gru_any, name="gru_cell", aux=("gates",), pull=_gru_cell_pull)


# ---------------------------------------------------------------------------------------------- GRU, all steps
class _Steps(NamedTuple):
    """Cotangents of what the inputs and the last outputs give to the gates, and of h; what the steps start from."""

    inputs: Any
    back: Any
    h: Any
    before: Any


def _gru_forward(xp: Any, x: Any, w: Any, u: Any, b: Any, d: Any, h: Any) -> Any:
    dtype = x.dtype
    if xp is np:
        x, w, u, b, d, h = _wide(x, w, u, b, d, h)
    hs, gates, kernels = [], [], xp is not np and usable(x, u, h, d)
    for z in _inputs(xp, x, w, b):
        back = _recurrent(xp, h, u)
        if d is not None:
            back += d
        h, kept = fused.gru_cell(z, back, h) if kernels else _gru(xp, z, back, h)
        hs.append(h)
        gates.append(kept)
    y, gates = [xp.stack(a).astype(dtype, copy=False) for a in (hs, gates)]
    return y, gates


def _gru_back(g: Any, x: Any, w: Any, u: Any, b: Any, d: Any, h: Any, out: Any, gates: Any) -> _Steps:
    before = _shifted(h, out)
    if isinstance(out, Tensor):
        gates = _gru_gates(_affine(x, w, b), _affine(before, u, d))
    n = raw(u).shape[0]
    inputs, back = _room(out, n), _room(out, n)
    gs, starts, gates = _each(g, before, gates)
    dh = None
    for t in reversed(range(raw(out).shape[0])):
        dx, dback, dh = _gru_grad(_plus(dh, gs, t), gates[t], starts[t], inputs[t], back[t])
        inputs[t], back[t], dh = dx, dback, add(dh, matmul(dback, u))
    inputs, back = [_joined(a, raw(out).dtype) for a in (inputs, back)]
    return _Steps(inputs, back, dh, before)


_RULES: dict[str, Any] = {
    "x": lambda p, w: matmul(p.inputs, w),
    "w": lambda p, x: _weight(p.inputs, x),
    "u": lambda p: _weight(p.back, p.before),
    "b": lambda p: _sums(p.inputs),
    "h": lambda p: p.h,
}
gru = op(
    _gru_forward,
    name="gru",
    args=["x", "w", "u", "b", "d", "h"],
    aux=("gates",),
    via=lambda g, x, w, u, b, d, h, out, gates: _gru_back(g, x, w, u, b, d, h, out, gates),
    d=lambda p: _sums(p.back),
    **_RULES,
)


# ---------------------------------------------------------------------------------------------- tanh or relu, all steps
def _rnn_forward(xp: Any, x: Any, w: Any, u: Any, b: Any, h: Any, *, relu: bool) -> Any:
    dtype = x.dtype
    if xp is np:
        x, w, u, b, h = _wide(x, w, u, b, h)
    out = _inputs(xp, x, w, b)
    for z in out:
        z += _recurrent(xp, h, u)
        h = xp.maximum(z, z.dtype.type(0), out=z) if relu else xp.tanh(z, out=z)
    return out.astype(dtype, copy=False)


def _rnn_back(g: Any, u: Any, h: Any, out: Any, relu: bool) -> _Steps:
    before, found, dh = _shifted(h, out), _room(out, raw(h).shape[-1]), None
    gs, outs = _each(g, out)
    for t in reversed(range(raw(out).shape[0])):
        dh, y = _plus(dh, gs, t), outs[t]
        found[t] = relu_grad(dh, y) if relu else dh * (1 - y * y)
        dh = matmul(found[t], u)
    dz = _joined(found, raw(out).dtype)
    return _Steps(dz, dz, dh, before)


rnn = op(
    _rnn_forward,
    name="rnn",
    args=["x", "w", "u", "b", "h"],
    via=lambda g, u, h, out, relu: _rnn_back(g, u, h, out, relu),
    **_RULES,
)
