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
from ..array import xp as xp_of
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


def _empty(like: Any, *shape: int) -> Any:
    return xp_of(like).empty_like(like, shape=shape)


def _wide(*arrays: Any) -> list[Any]:
    """Arrays as they are computed with on the CPU, where half types have no products of their own."""
    return [None if a is None else a.astype(wide(a.dtype), copy=False) for a in arrays]


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


def _each(a: Any) -> Any:
    """a by step: of a Tensor its slices, whose gradients are joined once."""
    return unstack(a) if isinstance(a, Tensor) else a


def _in_order(found: Sequence[Any]) -> Any:
    """What a loop from the last step to the first one found, by step."""
    return stack(found[::-1])


# ---------------------------------------------------------------------------------------------- LSTM, one step
def _lstm(xp: Any, x: Any, back: Any, c: Any) -> Any:
    """c' = f c + i m and tanh(c') o, where i, f, m, o are the gates: sigmoids of x + back, of m the tanh."""
    z = x + back
    n = c.shape[-1]
    _squash(xp, z[..., : 2 * n])
    _squash(xp, z[..., 3 * n :])
    m = z[..., 2 * n : 3 * n]
    xp.tanh(m, out=m)
    cell = z[..., n : 2 * n] * c
    cell += z[..., :n] * m
    out = xp.tanh(cell)
    out *= z[..., 3 * n :]
    return (out, cell), z


def _lstm_any(xp: Any, x: Any, back: Any, c: Any) -> Any:
    if xp is not np and usable(x, back, c):
        out, cell, gates = fused.lstm_cell(x, back, c)
        return (out, cell), gates
    dtype = c.dtype
    (out, cell), gates = _lstm(xp, *_wide(x, back, c))
    return (out.astype(dtype, copy=False), cell.astype(dtype, copy=False)), gates.astype(dtype, copy=False)


def _lstm_gates(z: Any) -> Any:
    i, f, m, o = split(z, 4, -1)
    return concat([sigmoid(i), sigmoid(f), tanh(m), sigmoid(o)], -1)


def _lstm_grad(g: Any, more: Any, gates: Any, c: Any, cell: Any) -> tuple[Any, Any]:
    """The cotangents of the gates before their activation and of c, from those of out and cell; one may be None."""
    if not isinstance(gates, Tensor) and usable(gates, c, cell, g, more):
        return fused.lstm_cell_grad(gates, c, cell, g, more)
    i, f, m, o = split(gates, 4, -1)
    if g is None:
        by_o, total = o * 0, more
    else:
        t = tanh(cell)
        by_o, total = g * t * (o * (1 - o)), g * o * (1 - t * t)
        total = total if more is None else total + more
    parts = [total * m * (i * (1 - i)), total * c * (f * (1 - f)), total * i * (1 - m * m), by_o]
    return concat(parts, -1), total * f


def _lstm_cell_pull(g: Parts, x: Any, back: Any, c: Any, cell: Any, gates: Any) -> tuple[Any, Any, Any]:
    if isinstance(x, Tensor):
        gates = _lstm_gates(add(x, back))
    dz, dc = _lstm_grad(g.get(0), g.get(1), gates, c, cell)
    return dz, dz, dc


lstm_cell = op(_lstm_any, name="lstm_cell", several=("y", "cell"), aux=("gates",), pull=_lstm_cell_pull)


# ---------------------------------------------------------------------------------------------- LSTM, all steps
class _Lstm(NamedTuple):
    """Cotangents: of the gates before their activation, of the outputs, of h and c; and what the steps start from."""

    gates: Any
    outs: Any
    h: Any
    c: Any
    before: Any


def _lstm_forward(xp: Any, x: Any, w: Any, u: Any, b: Any, h: Any, c: Any, r: Any) -> Any:
    dtype = x.dtype
    if xp is np:
        x, w, u, b, h, c, r = _wide(x, w, u, b, h, c, r)
    z = _inputs(xp, x, w, b)
    steps, (rows, n) = x.shape[0], c.shape
    out, cells, gates = _empty(z, steps, rows, h.shape[-1]), _empty(z, steps, rows, n), _empty(z, *z.shape)
    turned = u.swapaxes(0, 1)
    for t in range(steps):
        (h, c), gates[t] = _lstm_any(xp, z[t], _times(xp, h, turned), c)
        h = h if r is None else _times(xp, h, r.swapaxes(0, 1))
        out[t], cells[t] = h, c
    narrow = [a.astype(dtype, copy=False) for a in (out, cells, gates)]
    return tuple(narrow[:2]), narrow[2]


def _lstm_back(
    g: Parts, x: Any, w: Any, u: Any, b: Any, h: Any, c: Any, r: Any, y: Any, cells: Any, gates: Any
) -> _Lstm:
    before, starts = _shifted(h, y), _shifted(c, cells)
    if isinstance(x, Tensor):
        gates = _lstm_gates(add(_affine(x, w, b), matmul(before, matrix_transpose(u))))
    by_out, by_cell, starts, cells, gates = [_each(a) for a in (g.get(0), g.get(1), starts, cells, gates)]
    dh = dc = None
    found, outs = [], []
    for t in reversed(range(raw(y).shape[0])):
        dh, dc = _plus(dh, by_out, t), _plus(dc, by_cell, t)
        outs.append(dh)
        dz, dc = _lstm_grad(dh if r is None or dh is None else matmul(dh, r), dc, gates[t], starts[t], cells[t])
        found.append(dz)
        dh = matmul(dz, u)
    return _Lstm(_in_order(found), outs[::-1], dh, dc, before)


def _plus(d: Any, g: Any, t: int) -> Any:
    return d if g is None else g[t] if d is None else add(d, g[t])


def _projection(p: _Lstm, gates: Any, cells: Any) -> Any:
    """The cotangent of r in (o tanh(cell)) rᵀ."""
    n = raw(cells).shape[-1]
    return _weight(stack(p.outs), gates[..., 3 * n :] * tanh(cells))


lstm = op(
    _lstm_forward,
    name="lstm",
    args=["x", "w", "u", "b", "h", "c", "r"],
    several=("y", "cells"),
    aux=("gates",),
    via=lambda g, x, w, u, b, h, c, r, y, cells, gates: _lstm_back(g, x, w, u, b, h, c, r, y, cells, gates),
    x=lambda p, w: matmul(p.gates, w),
    w=lambda p, x: _weight(p.gates, x),
    u=lambda p: _weight(p.gates, p.before),
    b=lambda p: _sums(p.gates),
    h=lambda p: p.h,
    c=lambda p: p.c,
    r=lambda p, gates, cells: _projection(p, gates, cells),
)


# ---------------------------------------------------------------------------------------------- GRU, one step
def _gru(xp: Any, x: Any, back: Any, h: Any) -> Any:
    """m + z (h - m) with r, z = sigmoid(x + back), m = tanh(x + r back), of a third of the columns each."""
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
    if xp is not np and usable(x, back, h):
        return fused.gru_cell(x, back, h)
    out, gates = _gru(xp, *_wide(x, back, h))
    return out.astype(h.dtype, copy=False), gates.astype(h.dtype, copy=False)


def _gru_gates(x: Any, back: Any) -> Any:
    """r, z, m and what of `back` r is multiplied with."""
    (rx, zx, mx), (rb, zb, mb) = split(x, 3, -1), split(back, 3, -1)
    r = sigmoid(rx + rb)
    return concat([r, sigmoid(zx + zb), tanh(mx + r * mb), mb], -1)


def _gru_grad(g: Any, gates: Any, h: Any) -> tuple[Any, Any, Any]:
    """The cotangents of x, of `back` and of h."""
    if not isinstance(gates, Tensor) and usable(gates, h, g):
        return fused.gru_cell_grad(gates, h, g)
    r, z, m, mb = split(gates, 4, -1)
    dm = g * (1 - z) * (1 - m * m)
    two = [dm * mb * (r * (1 - r)), g * (h - m) * (z * (1 - z))]
    return concat([*two, dm], -1), concat([*two, dm * r], -1), g * z


def _gru_cell_pull(g: Any, x: Any, back: Any, h: Any, gates: Any) -> tuple[Any, Any, Any]:
    return _gru_grad(g, _gru_gates(x, back) if isinstance(x, Tensor) else gates, h)


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
    z, steps, (rows, n) = _inputs(xp, x, w, b), x.shape[0], h.shape
    out, gates = _empty(z, steps, rows, n), _empty(z, steps, rows, 4 * n)
    turned = u.swapaxes(0, 1)
    for t in range(steps):
        back = _times(xp, h, turned)
        if d is not None:
            back += d
        h, gates[t] = _gru_any(xp, z[t], back, h)
        out[t] = h
    return out.astype(dtype, copy=False), gates.astype(dtype, copy=False)


def _gru_back(g: Any, x: Any, w: Any, u: Any, b: Any, d: Any, h: Any, out: Any, gates: Any) -> _Steps:
    before = _shifted(h, out)
    if isinstance(x, Tensor):
        gates = _gru_gates(_affine(x, w, b), _affine(before, u, d))
    gs, starts, gates = [_each(a) for a in (g, before, gates)]
    dh, inputs, back = None, [], []
    for t in reversed(range(raw(out).shape[0])):
        dx, dback, dh = _gru_grad(_plus(dh, gs, t), gates[t], starts[t])
        dh = add(dh, matmul(dback, u))
        inputs.append(dx)
        back.append(dback)
    return _Steps(_in_order(inputs), _in_order(back), dh, before)


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
    out, turned = _inputs(xp, x, w, b), u.swapaxes(0, 1)
    for t in range(x.shape[0]):
        z = out[t]
        z += _times(xp, h, turned)
        h = xp.maximum(z, z.dtype.type(0), out=z) if relu else xp.tanh(z, out=z)
    return out.astype(dtype, copy=False)


def _rnn_back(g: Any, u: Any, h: Any, out: Any, relu: bool) -> _Steps:
    before = _shifted(h, out)
    gs, outs = _each(g), _each(out)
    dh, found = None, []
    for t in reversed(range(raw(out).shape[0])):
        dh, y = _plus(dh, gs, t), outs[t]
        dz = relu_grad(dh, y) if relu else dh * (1 - y * y)
        dh = matmul(dz, u)
        found.append(dz)
    dz = _in_order(found)
    return _Steps(dz, dz, dh, before)


rnn = op(
    _rnn_forward,
    name="rnn",
    args=["x", "w", "u", "b", "h"],
    via=lambda g, u, h, out, relu: _rnn_back(g, u, h, out, relu),
    **_RULES,
)
