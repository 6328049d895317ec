"""Shapes: reshape, permute, broadcast, join, cut, pad."""

import numpy as np

import gpugrad as gg

from .row import row

ROWS = [
    row("reshape", lambda x: gg.reshape(x, (2, -1)), lambda x: x.reshape(2, -1)),
    row("flatten", gg.flatten, np.ravel), row("permute_dims", lambda x: gg.permute_dims(x, (2, 0, 1)),
        lambda x: x.transpose(2, 0, 1), (2, 3, 4)),
    row("matrix_transpose", gg.matrix_transpose, lambda x: x.swapaxes(-1, -2), (2, 3, 4)),
    row("swapaxes", lambda x: gg.swapaxes(x, 0, 2), lambda x: x.swapaxes(0, 2), (2, 3, 4)),
    row("moveaxis", lambda x: gg.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1), (2, 3, 4)),
    row("squeeze", gg.squeeze, np.squeeze, (1, 3, 1)), row("squeeze axis", lambda x: gg.squeeze(x, axis=0),
        lambda x: x.squeeze(0), (1, 3, 1)),
    row("expand_dims", lambda x: gg.expand_dims(x, 1), lambda x: x[:, None], (3,)),
    row("broadcast_to", lambda x: gg.broadcast_to(x, (2, 3, 4)), lambda x: np.broadcast_to(x, (2, 3, 4)), (3, 1)),
    row("broadcast_arrays", lambda x, y: gg.broadcast_arrays(x, y)[0] * gg.broadcast_arrays(x, y)[1], np.multiply, (3, 1), (4,)),
    row("flip", gg.flip, np.flip), row("flip axis", lambda x: gg.flip(x, axis=1), lambda x: np.flip(x, 1)),
    row("roll", lambda x: gg.roll(x, 2), lambda x: np.roll(x, 2)),
    row("roll axes", lambda x: gg.roll(x, (1, -1), (0, 1)), lambda x: np.roll(x, (1, -1), (0, 1))),
    row("tile", lambda x: gg.tile(x, (2, 1, 3)), lambda x: np.tile(x, (2, 1, 3))),
    row("meshgrid", lambda x, y: gg.stack(gg.meshgrid(x, y)), lambda x, y: np.stack(np.meshgrid(x, y)), (3,), (2,)),
    row("pad", lambda x: gg.pad(x, [(1, 0), (2, 1)], constant_values=0.5),
        lambda x: np.pad(x, [(1, 0), (2, 1)], constant_values=0.5)),
    row("pad reflect", lambda x: gg.pad(x, [(0, 2), (3, 1)], "reflect"), lambda x: np.pad(x, [(0, 2), (3, 1)], "reflect")),
    row("pad symmetric", lambda x: gg.pad(x, [(3, 2), (4, 1)], "symmetric"),
        lambda x: np.pad(x, [(3, 2), (4, 1)], "symmetric")),
    row("tril", lambda x: gg.tril(x, k=1), lambda x: np.tril(x, 1)), row("triu", gg.triu, np.triu),
    row("concat", lambda x, y: gg.concat([x, y], axis=1), lambda x, y: np.concatenate([x, y], 1), (3, 2), (3, 4)),
    row("concat flat", lambda x, y: gg.concat([x, y], axis=None), lambda x, y: np.concatenate([x, y], None), (3, 2), (2,)),
    row("stack", lambda x, y: gg.stack([x, y], axis=1), lambda x, y: np.stack([x, y], 1), (3, 2), (3, 2)),
    row("split", lambda x: gg.split(x, 2, axis=1)[0] * gg.split(x, 2, axis=1)[1], lambda x: x[:, :2] * x[:, 2:]),
    row("split unused", lambda x: gg.split(x, [1, 2, 1], axis=1)[1], lambda x: x[:, 1:3]),
    row("unstack", lambda x: gg.unstack(x)[0] * gg.unstack(x)[2], lambda x: x[0] * x[2]),
]  # fmt: skip
