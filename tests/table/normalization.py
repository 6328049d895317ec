"""Normalizations, and layers that are one op."""

import numpy as np

import gpugrad as gg
from gpugrad import nn
from gpugrad.ops import dropout

from .row import normal, row


def _both(out, total):
    """One value of two, so that both have a cotangent."""
    return out * out + total * 3


def _grouped(x, groups, w=None, b=None):
    n = normal(x.reshape(len(x), groups, -1)).reshape(x.shape)
    by = lambda a: a.reshape(-1, *[1] * (x.ndim - 2))
    return n if w is None else n * by(w) + by(b)


def gelu_tanh(x):
    return x * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


ROWS = [
    row("normalize", lambda x: gg.normalize(x, axis=1), lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)),
    row("clip_by_norm", lambda x: gg.clip_by_norm(x, 0.5), lambda x: x * (0.5 / np.linalg.norm(x))),
    row("clip_by_global_norm", lambda x, y: gg.clip_by_global_norm([x, None, y], 0.5)[0][2],
        lambda x, y: y * (0.5 / np.sqrt((x * x).sum() + (y * y).sum())), (3,), (2,)),
    row("layer_norm", lambda x: nn.layer_norm(x, (4,)), normal), row("layer_norm 1-d", lambda x: nn.layer_norm(x, (5,)), normal, (5,)),
    row("layer_norm affine", lambda x, w, b: nn.layer_norm(x, (4,), w, b), lambda x, w, b: normal(x) * w + b, (2, 3, 4), (4,), (4,)),
    row("layer_norm bias", lambda x, b: nn.layer_norm(x, (4,), None, b), lambda x, b: normal(x) + b, (3, 4), (4,)),
    row("layer_norm axes", lambda x, w, b: nn.layer_norm(x, (3, 4), w, b), lambda x, w, b: normal(x, (-2, -1)) * w + b,
        (2, 3, 4), (3, 4), (3, 4)),
    row("layer_norm residual", lambda x, r, w, b: _both(*nn.layer_norm(x, (4,), w, b, residual=r)),
        lambda x, r, w, b: _both(normal(x + r) * w + b, x + r), (3, 4), (3, 4), (4,), (4,)),
    row("layer_norm residual alone", lambda x, r: nn.layer_norm(x, (4,), residual=r)[0], lambda x, r: normal(x + r), (3, 4), (3, 4)),
    row("rms_norm", lambda x: nn.rms_norm(x, (4,), eps=0.1), lambda x: normal(x, center=False, eps=0.1)),
    row("rms_norm weight", lambda x, w: nn.rms_norm(x, (4,), w), lambda x, w: normal(x, center=False, eps=0) * w, (3, 4), (4,)),
    row("rms_norm residual", lambda x, r, w: _both(*nn.rms_norm(x, (4,), w, 0.1, r)),
        lambda x, r, w: _both(normal(x + r, center=False, eps=0.1) * w, x + r), (3, 4), (3, 4), (4,)),
    row("batch_norm", lambda x: nn.batch_norm(x, None, None, training=True), lambda x: normal(x, 0), (5, 2)),
    row("batch_norm affine", lambda x, w, b: nn.batch_norm(x, None, None, w, b, training=True),
        lambda x, w, b: normal(x, (0, 2)) * w[:, None] + b[:, None], (3, 2, 2), (2,), (2,)),
    row("batch_norm inference", lambda x, w, b: nn.batch_norm(x, gg.tensor(np.array([1.0, 2])), gg.tensor(np.array([3.0, 4])), w, b),
        lambda x, w, b: (x - [[1], [2]]) / np.sqrt([[3 + 1e-5], [4 + 1e-5]]) * w[:, None] + b[:, None], (3, 2, 2), (2,), (2,)),
    row("group_norm", lambda x: nn.group_norm(x, 2), lambda x: _grouped(x, 2), (2, 4, 3)),
    row("group_norm affine", lambda x, w, b: nn.group_norm(x, 2, w, b), lambda x, w, b: _grouped(x, 2, w, b), (2, 4, 2, 2), (4,), (4,)),
    row("group_norm one group", lambda x, w: nn.group_norm(x, 1, w), lambda x, w: normal(x) * w, (3, 4), (4,)),
    row("instance_norm", nn.instance_norm, lambda x: normal(x), (2, 3, 4)),
    row("instance_norm affine", lambda x, w, b: nn.instance_norm(x, None, None, w, b), lambda x, w, b: _grouped(x, 3, w, b),
        (2, 3, 2, 2), (3,), (3,)),
    row("instance_norm inference", lambda x: nn.instance_norm(x, gg.tensor(np.array([1.0, 2])), gg.tensor(np.array([3.0, 4])), use_input_stats=False),
        lambda x: (x - [[1], [2]]) / np.sqrt([[3 + 1e-5], [4 + 1e-5]]), (3, 2, 2)),
    row("l2_normalize", nn.l2_normalize, lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True), apart=0.2),
    row("l2_normalize all", lambda x: nn.l2_normalize(x, None), lambda x: x / np.linalg.norm(x),
        kinks=[(([[0.0, 0.0]],), ([[1e12, 1e12]],))]),
    row("dropout", lambda x: dropout.dropout(x, rate=0.4, seed=1, offset=2),
        lambda x: x * dropout._kept(x.shape, 0.4, 1, 2) / 0.6, (5, 7)),
    row("dropout residual", lambda x, r: dropout.dropout_add(x, r, rate=0.4, seed=1, offset=2),
        lambda x, r: x * dropout._kept(x.shape, 0.4, 1, 2) / 0.6 + r, (5, 7), (5, 7)),
    row("embedding", lambda w: nn.embedding([[0, 2], [2, 1]], w), lambda w: w[[[0, 2], [2, 1]]]),
    row("linear", lambda x, w, b: nn.linear(x, w, b, activation="tanh"), lambda x, w, b: np.tanh(x @ w + b), (3, 4), (4, 2), (2,)),
    row("feed_forward", lambda x, v, b, w, c: nn.feed_forward(x, v, b, w, c, activation="gelu_tanh"),
        lambda x, v, b, w, c: gelu_tanh(x @ v + b) @ w + c, (3, 4), (4, 5), (5,), (5, 2), (2,)),
]  # fmt: skip
