"""Steps and sequences of recurrent layers."""

import numpy as np

import gpugrad as gg
from gpugrad import nn

from .row import logistic, row


def lstm_cell(x, back, c):
    i, f, m, o = np.split(x + back, 4, -1)
    c = logistic(f) * c + logistic(i) * np.tanh(m)
    return logistic(o) * np.tanh(c), c


def gru_cell(x, back, h):
    (r, z, m), (rb, zb, mb) = np.split(x, 3, -1), np.split(back, 3, -1)
    z, m = logistic(z + zb), np.tanh(m + logistic(r + rb) * mb)
    return (1 - z) * m + z * h


def lstm(x, w, u, b, h, c, r=None):
    found = []
    for row_ in x:
        h, c = lstm_cell(row_ @ w.T + b, h @ u.T, c)
        h = h if r is None else h @ r.T
        found.append(np.concatenate([h, c], -1))
    return np.stack(found)


def gru(x, w, u, b, d, h):
    found = []
    for row_ in x:
        h = gru_cell(row_ @ w.T + b, h @ u.T + d, h)
        found.append(h)
    return np.stack(found)


def rnn(x, w, u, b, h, squash=np.tanh):
    found = []
    for row_ in x:
        h = squash(row_ @ w.T + b + h @ u.T)
        found.append(h)
    return np.stack(found)


def both(f):
    """Outputs and cells side by side."""
    return lambda *xs: gg.concat(f(*xs), -1)


X = (3, 2, 2)
ROWS = [
    row("lstm_cell", both(nn.lstm_cell), lambda *xs: np.concatenate(lstm_cell(*xs), -1), (2, 8), (2, 8), (2, 2)),
    row("gru_cell", nn.gru_cell, gru_cell, (2, 6), (2, 6), (2, 2)),
    row("lstm", both(lambda *xs: nn.lstm(*xs, None)), lstm, X, (8, 2), (8, 2), (8,), (2, 2), (2, 2), half=4),
    row("lstm projected", both(nn.lstm), lstm, X, (8, 2), (8, 1), (8,), (2, 1), (2, 2), (1, 2), half=4),
    row("gru", nn.gru, gru, X, (6, 2), (6, 2), (6,), (6,), (2, 2), half=4),
    row("rnn", nn.rnn, rnn, X, (2, 2), (2, 2), (2,), (2, 2), half=4),
    row("rnn relu", lambda *xs: nn.rnn(*xs, relu=True), lambda *xs: rnn(*xs, squash=lambda z: np.maximum(z, 0)),
        X, (2, 2), (2, 2), (2,), (2, 2), half=4),
]  # fmt: skip
