"""Products of matrices."""

import numpy as np

import gpugrad as gg

from .row import row

ROWS = [
    *[row(f"matmul {a}{b}", gg.matmul, np.matmul, a, b) for a, b in [
        ((3, 4), (4, 2)), ((4,), (4,)), ((4,), (4, 2)), ((3, 4), (4,)), ((2, 3, 4), (4, 2)), ((2, 3, 4), (2, 4, 2)),
        ((5, 1, 3, 4), (2, 4, 2)), ((3, 4), (2, 4, 2)), ((2, 3, 4), (4,)), ((4,), (2, 4, 3))]],
    row("outer", gg.outer, np.outer, (3,), (4,)), row("vecdot", gg.vecdot, lambda x, y: (x * y).sum(-1), (3, 4), (4,)),
    row("tensordot", lambda x, y: gg.tensordot(x, y, axes=2), lambda x, y: np.tensordot(x, y, 2), (2, 3, 4), (3, 4, 2)),
    row("tensordot axes", lambda x, y: gg.tensordot(x, y, axes=([0, 2], [1, 0])),
        lambda x, y: np.tensordot(x, y, ([0, 2], [1, 0])), (2, 3, 4), (4, 2, 5)),
    *[row(f"einsum {s}", lambda *xs, s=s: gg.einsum(s, *xs), lambda *xs, s=s: np.einsum(s, *xs), *shapes) for s, *shapes in [
        ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ij->ji", (2, 3)), ("ij->", (2, 3)), ("ij->j", (2, 3)),
        ("ii->i", (3, 3)), ("ii", (3, 3)), ("i,j->ij", (2,), (3,)), ("...ij,...jk->...ik", (5, 2, 3), (3, 4)),
        ("bij,bjk,kl->bil", (2, 2, 3), (2, 3, 4), (4, 2)), ("ij,kl->i", (2, 3), (2, 2)), ("iij,jk->ik", (2, 2, 3), (3, 2)),
        ("b...,b...->b...", (2, 3), (2, 3))]],
]  # fmt: skip
