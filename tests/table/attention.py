"""Attention."""

import numpy as np

from gpugrad import nn

from .row import row, softmax

F = nn.scaled_dot_product_attention
SOME = np.random.default_rng(0).random((3, 5)) > 0.4
SOME[1] = False  # a query that looks at nothing
QKV = ((2, 3, 4), (2, 5, 4), (2, 5, 3))


def weights(q, k, mask=None, causal=False, scale=None):
    s = q @ k.swapaxes(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    looks = np.ones(s.shape[-2:], bool) if mask is None or mask.dtype != bool else mask
    looks = np.broadcast_to(looks & np.tri(*s.shape[-2:], dtype=bool) if causal else looks, s.shape)
    s = np.where(looks, s if mask is None or mask.dtype == bool else s + mask, -1e30)
    return np.where(looks, softmax(s), 0)


def plain(q, k, v, mask=None, causal=False, scale=None):
    return weights(q, k, mask, causal, scale) @ v


def grouped(q, k, v):
    return plain(q, np.repeat(k, 2, -3), np.repeat(v, 2, -3))


ROWS = [
    row("scaled_dot_product_attention", F, plain, *QKV),
    row("scaled_dot_product_attention causal", lambda q, k, v: F(q, k, v, is_causal=True),
        lambda q, k, v: plain(q, k, v, causal=True), (3, 4), (5, 4), (5, 3)),
    row("scaled_dot_product_attention causal more-queries", lambda q, k, v: F(q, k, v, is_causal=True),
        lambda q, k, v: plain(q, k, v, causal=True), (4, 2), (3, 2), (3, 2)),
    row("scaled_dot_product_attention bool-mask scale", lambda q, k, v: F(q, k, v, SOME, scale=0.3),
        lambda q, k, v: plain(q, k, v, SOME, scale=0.3), *QKV),
    row("scaled_dot_product_attention mask", F, plain, *QKV, (3, 5)),
    row("scaled_dot_product_attention mask-of-columns causal", lambda q, k, v, m: F(q, k, v, m, is_causal=True),
        lambda q, k, v, m: plain(q, k, v, m, causal=True), *QKV, (2, 1, 5)),
    row("scaled_dot_product_attention mask-of-rows", F, plain, (2, 2, 3, 4), (2, 5, 4), (5, 3), (2, 1, 3, 1)),
    row("scaled_dot_product_attention gqa", lambda q, k, v: F(q, k, v, enable_gqa=True), grouped, (4, 3, 2), (2, 5, 2), (2, 5, 3)),
]  # fmt: skip
