"""A step of LSTM and of GRU: the gates, the new state and what the way back needs in one pass."""

from __future__ import annotations

from ..array import Array
from ..kernels import BLOCK, MAX_GRID, Place, ceil
from ..launch import Launch, Launcher
from .shape import check


def _launch(p: Place, kernel: str, state: Array, outs: list[int]) -> Launch:
    """A thread for each element of the state; outs: how many times as wide as that each output is."""
    *lead, n = state.shape
    run = p.get("recurrent", kernel, state.dtype) if state.size else None
    shapes = [((*lead, k * n), state.dtype) for k in outs]
    return Launch(run, (min(ceil(state.size, BLOCK), MAX_GRID),), (BLOCK,), shapes, (state.size, n))


def _times(shape: tuple[int, ...], k: int) -> tuple[int, ...]:
    return (*shape[:-1], k * shape[-1])


def _lstm(p: Place, x: Array, back: Array, c: Array) -> Launch:
    check(_times(c.shape, 4), x=x, back=back)
    return _launch(p, "lstm_cell", c, [1, 1, 4])


def _lstm_grad(p: Place, gates: Array, c: Array, cell: Array, g: Array | None, more: Array | None) -> Launch:
    check(c.shape, g=g, more=more, cell=cell)
    check(_times(c.shape, 4), gates=gates)
    return _launch(p, "lstm_cell_grad", c, [4, 1])


def _gru(p: Place, x: Array, back: Array, h: Array) -> Launch:
    check(_times(h.shape, 3), x=x, back=back)
    return _launch(p, "gru_cell", h, [1, 4])


def _gru_grad(p: Place, gates: Array, h: Array, g: Array) -> Launch:
    check(h.shape, g=g)
    check(_times(h.shape, 4), gates=gates)
    return _launch(p, "gru_cell_grad", h, [3, 3, 1])


_lstm_forward, _lstm_backward = Launcher(_lstm), Launcher(_lstm_grad)
_gru_forward, _gru_backward = Launcher(_gru), Launcher(_gru_grad)


def lstm_cell(x: Array, back: Array, c: Array) -> tuple[Array, Array, Array]:
    """(out, cell, gates): x and back (..., 4 n) are added up to the gates i, f, m, o, whose activations are answered.

    cell = f c + i m and out = o tanh(cell), like c (..., n).
    """
    out, cell, gates = _lstm_forward((x, back, c))
    return out, cell, gates


def lstm_cell_grad(
    gates: Array, c: Array, cell: Array, g: Array | None, more: Array | None = None
) -> tuple[Array, Array]:
    """The cotangents of x + back and of c, from g, that of out, and `more`, that of cell; None counts as zeros."""
    dx, dc = _lstm_backward((gates, c, cell, g, more))
    return dx, dc


def gru_cell(x: Array, back: Array, h: Array) -> tuple[Array, Array]:
    """(out, gates): out = m + z (h - m) with r, z = sigmoid(x + back), m = tanh(x + r back), a third of columns each.

    gates (..., 4 n) are r, z, m and the last third of `back`.
    """
    out, gates = _gru_forward((x, back, h))
    return out, gates


def gru_cell_grad(gates: Array, h: Array, g: Array) -> tuple[Array, Array, Array]:
    """The cotangents of x, of back and of h."""
    dx, dback, dh = _gru_backward((gates, h, g))
    return dx, dback, dh
