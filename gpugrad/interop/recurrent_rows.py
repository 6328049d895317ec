"""The rows of `rows.py` for recurrent layers, whose gates have another order in ONNX."""

from __future__ import annotations

from typing import Any

from .graph import Graph, Made
from .rows import row
from .shape_rows import ROWS as ROWS


def _blocks(g: Graph, name: str, order: str) -> str:
    """Equal blocks of rows in the order of these digits, behind a new axis: the direction."""
    parts = g.Split(name, outs=len(order), axis=0, num_outputs=len(order)) if len(order) > 1 else [name]
    return g.Unsqueeze(g.Concat(*[parts[int(i)] for i in order], axis=0), g.ints(0))


def _sequence(
    g: Graph, c: Made, kind: str, order: str, biases: list[str | None], states: list[str], **options: Any
) -> Any:
    """The node for all steps, whose outputs are those of all steps, then what a state has after the last one."""
    n = c.shape[-1]
    given = [c.number([0.0] * (n * len(order))) if b is None else b for b in biases]
    bias = g.Concat(*[_blocks(g, b, order) for b in given], axis=1)
    weights = [_blocks(g, c[i], order) for i in (1, 2)]
    start = [g.Unsqueeze(s, g.ints(0)) for s in states]
    made = getattr(g, kind)(c[0], *weights, bias, None, *start, outs=len(states) + 1, hidden_size=n, **options)
    return g.Squeeze(made[0], g.ints(1)), *made[1:]


@row("lstm")
def _lstm(g: Graph, c: Made) -> Any:
    if c.one.args[6] is not None:
        raise g.error("with proj_size has no row: ONNX's LSTM has no projection")
    out, _, cell = _sequence(g, c, "LSTM", "0312", [c[3], None], [c[4], c[5]])
    cells = g.free("cells")
    g.lasts[cells] = g.Squeeze(cell, g.ints(0))
    return out, cells


@row("gru")
def _gru(g: Graph, c: Made) -> Any:
    return _sequence(g, c, "GRU", "102", [c[3], c[4]], [c[5]], linear_before_reset=1)[0]


@row("rnn")
def _rnn(g: Graph, c: Made) -> Any:
    return _sequence(g, c, "RNN", "0", [c[3], None], [c[4]], activations=["Relu" if c("relu") else "Tanh"])[0]


@row("lstm_cell")
def _lstm_cell(g: Graph, c: Made) -> Any:
    i, f, m, o = g.Split(g.Add(c[0], c[1]), outs=4, axis=-1, num_outputs=4)
    cell = g.Add(g.Mul(g.Sigmoid(f), c[2]), g.Mul(g.Sigmoid(i), g.Tanh(m)))
    return g.Mul(g.Sigmoid(o), g.Tanh(cell)), cell


@row("gru_cell")
def _gru_cell(g: Graph, c: Made) -> Any:
    (rx, zx, mx), (rb, zb, mb) = [g.Split(c[i], outs=3, axis=-1, num_outputs=3) for i in (0, 1)]
    m = g.Tanh(g.Add(mx, g.Mul(g.Sigmoid(g.Add(rx, rb)), mb)))
    return g.Add(m, g.Mul(g.Sigmoid(g.Add(zx, zb)), g.Sub(c[2], m)))
