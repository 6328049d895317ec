"""Products of matrices, norms, distances."""

import numpy as np

import gpugrad as gg

from .row import row

INF = np.inf


def norm(x, ord, axis=None, keepdims=False):
    return np.linalg.norm(x, ord, axis, keepdims)


def vector_norm(x, ord, axis=None):
    return (np.abs(x) ** ord).sum(axis) ** (1 / ord)


def distances(x, y, p):
    return norm(x[..., :, None, :] - y[..., None, :, :], p, -1)


ROWS = [
    *[row(f"matmul {a}{b}", gg.matmul, np.matmul, a, b, complex=True) for a, b in [
        ((3, 4), (4, 2)), ((4,), (4,)), ((4,), (4, 2)), ((3, 4), (4,)), ((2, 3, 4), (4, 2)), ((2, 3, 4), (2, 4, 2)),
        ((5, 1, 3, 4), (2, 4, 2)), ((3, 4), (2, 4, 2)), ((2, 3, 4), (4,)), ((4,), (2, 4, 3)), ((2, 3, 1), (2, 1, 4))]],
    row("matmul empty", gg.matmul, np.matmul, (2, 3), (3, 2), empty=((2, 0), (0, 3))),
    *[row(f"dot {a}{b}", gg.dot, np.dot, a, b, complex=True) for a, b in [
        ((4,), (4,)), ((3, 4), (4, 2)), ((2, 3, 4), (4,)), ((2, 3, 4), (2, 4, 3)), ((4,), (2, 4, 3))]],
    *[row(f"inner {a}{b}", gg.inner, np.inner, a, b, complex=True) for a, b in [
        ((4,), (4,)), ((2, 3), (4, 3)), ((2, 3), (3,))]],
    row("outer", gg.outer, np.outer, (3,), (4,), complex=True), row("outer flattened", gg.outer, np.outer, (2, 2), (3,)),
    *[row(f"kron {a}{b}", gg.kron, np.kron, a, b, complex=True) for a, b in [
        ((2,), (3,)), ((2, 3), (3, 2)), ((2,), (2, 3)), ((2, 2, 2), (3, 1)), ((), (3,))]],
    row("cross", gg.cross, np.cross, (2, 3), (2, 3), complex=True), row("cross broadcast", gg.cross, np.cross, (2, 1, 3), (4, 3)),
    row("cross axis", lambda x, y: gg.cross(x, y, axis=0), lambda x, y: np.cross(x, y, axis=0), (3, 2), (3, 2)),
    row("cross axis of each", lambda x, y: gg.cross(x, y, axis=0), lambda x, y: np.cross(x, y, axis=0), (3,), (3, 3)),
    row("cross axis -2", lambda x, y: gg.cross(x, y, axis=-2), lambda x, y: np.cross(x, y, axis=-2), (2, 3, 2), (3, 1)),
    row("vecdot axis of each", lambda x, y: gg.vecdot(x, y, axis=0), lambda x, y: x @ y, (3,), (3, 3)),
    row("vecdot", gg.vecdot, lambda x, y: (x.conj() * y).sum(-1), (3, 4), (4,), complex=True),
    row("vecdot axis", lambda x, y: gg.vecdot(x, y, axis=-2), lambda x, y: (x * y).sum(-2), (2, 3, 4), (3, 1)),
    row("tensordot", lambda x, y: gg.tensordot(x, y, axes=2), lambda x, y: np.tensordot(x, y, 2), (2, 3, 4), (3, 4, 2)),
    row("tensordot axes", lambda x, y: gg.tensordot(x, y, axes=([0, 2], [1, 0])),
        lambda x, y: np.tensordot(x, y, ([0, 2], [1, 0])), (2, 3, 4), (4, 2, 5), complex=True),
    row("tensordot none", lambda x, y: gg.tensordot(x, y, axes=0), lambda x, y: np.tensordot(x, y, 0), (2,), (3, 2)),
    *[row(f"einsum {s}", lambda *xs, s=s: gg.einsum(s, *xs), lambda *xs, s=s: np.einsum(s, *xs), *shapes, complex=True)
      for s, *shapes in [
        ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ij->ji", (2, 3)), ("ij->", (2, 3)), ("ij->j", (2, 3)),
        ("ii->i", (3, 3)), ("ii", (3, 3)), ("i,j->ij", (2,), (3,)), ("...ij,...jk->...ik", (5, 2, 3), (3, 4)),
        ("bij,bjk,kl->bil", (2, 2, 3), (2, 3, 4), (4, 2)), ("ij,kl->i", (2, 3), (2, 2)), ("iij,jk->ik", (2, 2, 3), (3, 2)),
        ("b...,b...->b...", (2, 3), (2, 3)), ("aibj,jcib->ca", (2, 3, 2, 2), (2, 4, 3, 2)), ("ij,ij->", (2, 3), (2, 3)),
        ("bqhd,bkhd->bhqk", (2, 3, 2, 4), (2, 5, 2, 4)), ("...i,...i->...", (4, 1, 3), (2, 3)), ("k,ij,j->i", (1,), (2, 3), (3,)),
        ("a,b,c,d->dcba", (2,), (3,), (2,), (2,))]],
    row("einsum lists", lambda x, y: gg.einsum(x, [0, 1], y, [2, 1], [2, 0]), lambda x, y: y @ x.T, (2, 3), (4, 3)),
    row("linalg.vector_norm", gg.linalg.vector_norm, lambda x: norm(x.reshape(-1), 2), complex=True,
        kinks=(([[0.0, 0.0]], [[0, 0]]),)),
    *[row(f"vector_norm {p}", lambda x, p=p: gg.vector_norm(x, axis=1, ord=p), lambda x, p=p: norm(x, p, 1), (3, 4),
          complex=True, apart=0.1) for p in (1, 2, INF, -INF, 3)],
    row("vector_norm 1.5", lambda x: gg.vector_norm(x, (0, 1), True, 1.5), lambda x: vector_norm(x, 1.5).reshape(1, 1),
        apart=0.3, kinks=(([[[0.0, 0.0]]], [[[0, 0]]]),)),
    row("vector_norm 0.5", lambda x: gg.vector_norm(x, axis=1, ord=0.5), lambda x: vector_norm(x, 0.5, 1), apart=0.5,
        kinks=(([[[0.0, 4.0], [0.0, 0.0]]], [[[0, 1], [0, 0]]]),)),
    row("vector_norm 0", lambda x: gg.vector_norm(x, axis=0, ord=0), lambda x: norm(x, 0, 0)),
    row("vector_norm -2", lambda x: gg.vector_norm(x, axis=0, ord=-2), lambda x: vector_norm(x, -2, 0), apart=0.5),
    *[row(f"linalg.matrix_norm {p}", lambda x, p=p: gg.linalg.matrix_norm(x, p), lambda x, p=p: norm(x, p, (-2, -1)),
          (2, 3, 4), complex=True) for p in ("fro", "nuc", 1, -1, 2, -2, INF, -INF)],
    row("linalg.matrix_norm at 0", gg.linalg.matrix_norm, lambda x: norm(x, "fro", (-2, -1)), (2, 3),
        kinks=(([[[0.0, 0.0]]], [[[0, 0]]]),)),
    row("linalg.matrix_norm axis", lambda x: gg.linalg.matrix_norm(x, 1, True, (0, 2)), lambda x: norm(x, 1, (0, 2), True),
        (3, 2, 4)),
    row("linalg.matrix_norm nuc axis", lambda x: gg.linalg.matrix_norm(x, "nuc", axis=(2, 0)),
        lambda x: norm(x, "nuc", (2, 0)), (3, 2, 4)),
    *[row(f"cdist {p}", lambda x, y, p=p: gg.cdist(x, y, p), lambda x, y, p=p: distances(x, y, p), (2, 3, 4), (4, 4),
          complex=True) for p in (2, 1, 3, INF)],
    row("cdist 0", lambda x, y: gg.cdist(x, y, 0), lambda x, y: distances(x, y, 0), (3, 4), (2, 4)),
    row("cdist equal", gg.cdist, lambda x, y: distances(x, y, 2), (3, 4), (2, 4), empty=((0, 3), (2, 3)),
        kinks=(([[[1.0, 2.0]], [[1.0, 2.0]]], [[[0, 0]], [[0, 0]]]),)),
]  # fmt: skip
