"""Sequences of LSTM, GRU and plain recurrent layers as one op each.

A sequence keeps its inputs, outputs and activated gates.  The way back is a loop over the steps for the cotangents of
the gates; those of the weights are then one product over all steps.  It runs on arrays and Tensors alike: lifted, the
gates are computed again from what has a history.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .. import fused
from ..array import xp as xp_of
from ..core import Tensor, raw
from ..dtypes import wide
from ..gemm.products import product
from ..kernels import usable
from ..op import Parts, op
from .activation import relu_grad
from .examples import join, own, part
from .linalg import matmul
from .math import add, tanh
from .recurrent_step import gru_gates, gru_grad, gru_step, in_wide, lstm_gates, lstm_grad, lstm_step
from .reduce import sum
from .shape import concat, expand_dims, matrix_transpose, reshape, stack, unstack


# ---------------------------------------------------------------------------------------------- what all share
def _times(xp: Any, x: Any, y: Any) -> Any:
    return np.matmul(x, y) if xp is np else product(x, y)


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
    arrays = tuple(in_wide(*arrays)) if any([type(a) is np.ndarray for a in arrays]) else arrays
    return [unstack(a) if isinstance(a, Tensor) else a for a in arrays]


def _recurrent(xp: Any, h: Any, u: Any) -> Any:
    """h uᵀ.  On the CPU as the transpose of u hᵀ, for which OpenBLAS needs two thirds of the time where h is small."""
    return np.matmul(u, h.T).T if xp is np else product(h, u.swapaxes(0, 1))


def _room(y: Any, width: int) -> Any:
    """For what the way back finds at each step of y: on the CPU an array (steps, rows, width), else a list."""
    if type(y) is not np.ndarray:
        return [None] * raw(y).shape[0]
    return np.empty((*y.shape[:2], width), wide(y.dtype))


def _joined(room: Any, dtype: np.dtype) -> Any:
    if isinstance(room, np.ndarray):
        return room.astype(dtype, copy=False)
    return stack(room) if isinstance(room[0], Tensor) else xp_of(room[0]).stack(room)  # no op for each length


def _batch(rows: dict[int, int]) -> Any:
    """Of all examples the rows go through the steps together, where weights are the same for all.

    rows: which operands have rows, and along which axis.
    """

    def batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
        if any([e for i, e in enumerate(each) if i not in rows]):
            return NotImplemented
        xs = [join(own(v, each[i], level.n), rows[i]) if i in rows else v for i, v in enumerate(xs)]
        apart = lambda v: tuple(map(apart, v)) if isinstance(v, tuple) else part(v, level.n, 1)
        return apart(call(*xs, **static))

    return batch


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
    """(outputs, cells) of all steps of an LSTM: `lstm_cell(x[t] wᵀ + b, h uᵀ, c)`, each output the h of the next step.

    x (steps, rows, inputs), w (4 n, inputs), u (4 n, m), b (4 n,) or None, h (rows, m), c (rows, n); r (m, n), by whose
    transpose outputs are multiplied, or None: then m is n.  Kept are the activated gates; the way back is a product for
    each step and one for each weight.
    """
    dtype = x.dtype
    if xp is np:
        x, w, u, b, h, c, r = in_wide(x, w, u, b, h, c, r)
    gates = _inputs(xp, x, w, b)
    hs, cells, kernels, kept = [], [], xp is not np and usable(gates, u, h, c, r), []
    for z in gates:
        back = _recurrent(xp, h, u)
        if kernels:
            h, c, z = fused.lstm_cell(z, back, c)
            kept.append(z)
        else:
            z += back
            h, c = lstm_step(xp, z, c)
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
        gates = lstm_gates(add(_affine(x, w, b), matmul(before, matrix_transpose(u))))
    found, outs = _room(y, raw(gates).shape[-1]), [None] * raw(y).shape[0]
    by_y, by_cell, starts, cells, activated = _each(g.get(0), g.get(1), starts, cells, gates)
    dh = dc = None
    for t in reversed(range(len(outs))):
        outs[t], dc = _plus(dh, by_y, t), _plus(dc, by_cell, t)
        dh = outs[t] if r is None or outs[t] is None else matmul(outs[t], r)
        dz, dc = lstm_grad(dh, dc, activated[t], starts[t], cells[t], found[t])
        found[t], dh = dz, matmul(dz, u)
    return _Lstm(_joined(found, raw(y).dtype), outs, dh, dc, gates, before)


def _plus(d: Any, g: Any, t: int) -> Any:
    return d if g is None else g[t] if d is None else add(d, g[t])


def _projection(p: _Lstm, cells: Any) -> Any:
    """The cotangent of r in (o tanh(cell)) rᵀ."""
    n, first = raw(cells).shape[-1], raw(p.before)[0]
    outs = [xp_of(first).zeros_like(first) if d is None else d for d in p.outs]  # nobody may ask for the last one
    return _weight(stack(outs), p.gates[..., 3 * n :] * tanh(cells))


lstm = op(
    _lstm_forward,
    name="lstm",
    batch=_batch({0: 1, 4: 0, 5: 0}),
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


# ---------------------------------------------------------------------------------------------- GRU, all steps
class _Steps(NamedTuple):
    """Cotangents of what the inputs and the last outputs give to the gates, and of h; what the steps start from."""

    inputs: Any
    back: Any
    h: Any
    before: Any


def _gru_forward(xp: Any, x: Any, w: Any, u: Any, b: Any, d: Any, h: Any) -> Any:
    """The outputs of all steps of a GRU: `gru_cell(x[t] wᵀ + b, h uᵀ + d, h)`, each output the h of the next step.

    x (steps, rows, inputs), w (3 n, inputs), u (3 n, n), b and d (3 n,) or None, h (rows, n).
    """
    dtype = x.dtype
    if xp is np:
        x, w, u, b, d, h = in_wide(x, w, u, b, d, h)
    hs, gates, kernels = [], [], xp is not np and usable(x, u, h, d)
    for z in _inputs(xp, x, w, b):
        back = _recurrent(xp, h, u)
        if d is not None:
            back += d
        h, kept = fused.gru_cell(z, back, h) if kernels else gru_step(xp, z, back, h)
        hs.append(h)
        gates.append(kept)
    y, gates = [xp.stack(a).astype(dtype, copy=False) for a in (hs, gates)]
    return y, gates


def _gru_back(g: Any, x: Any, w: Any, u: Any, b: Any, d: Any, h: Any, out: Any, gates: Any) -> _Steps:
    before = _shifted(h, out)
    if isinstance(out, Tensor):
        gates = gru_gates(_affine(x, w, b), _affine(before, u, d))
    n = raw(u).shape[0]
    inputs, back = _room(out, n), _room(out, n)
    gs, starts, gates = _each(g, before, gates)
    dh = None
    for t in reversed(range(raw(out).shape[0])):
        dx, dback, dh = gru_grad(_plus(dh, gs, t), gates[t], starts[t], inputs[t], back[t])
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
    batch=_batch({0: 1, 5: 0}),
    args=["x", "w", "u", "b", "d", "h"],
    aux=("gates",),
    via=lambda g, x, w, u, b, d, h, out, gates: _gru_back(g, x, w, u, b, d, h, out, gates),
    d=lambda p: _sums(p.back),
    **_RULES,
)


# ---------------------------------------------------------------------------------------------- tanh or relu, all steps
def _rnn_forward(xp: Any, x: Any, w: Any, u: Any, b: Any, h: Any, *, relu: bool = False) -> Any:
    """The outputs of all steps, tanh(x[t] wᵀ + b + h uᵀ), or relu of that; each is the h of the next step.

    x (steps, rows, inputs), w (n, inputs), u (n, n), b (n,) or None, h (rows, n).
    Kink: of relu, 0 at 0.
    """
    dtype = x.dtype
    if xp is np:
        x, w, u, b, h = in_wide(x, w, u, b, h)
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
    batch=_batch({0: 1, 4: 0}),
    args=["x", "w", "u", "b", "h"],
    via=lambda g, u, h, out, relu: _rnn_back(g, u, h, out, relu),
    **_RULES,
)
