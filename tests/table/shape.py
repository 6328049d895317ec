"""Shapes: reshape, permute, broadcast, join, cut, pad, diagonals."""

import numpy as np

import gpugrad as gg

from .row import row as any_row


def row(*args, **options):
    return any_row(*args, complex=True, **options)


NONE = ((0, 3),)
CUBE = (2, 3, 4)


def embedded(x, k, axis1, axis2):
    """np.diag of each vector along the last axis."""
    n = x.shape[-1] + abs(k)
    out = np.zeros((*x.shape[:-1], n, n), x.dtype)
    for place in np.ndindex(x.shape[:-1]):
        out[place] = np.diag(x[place], k)
    return np.moveaxis(out, (-2, -1), (axis1, axis2))


def _pixels(x):
    out = np.empty((len(x), x.shape[1] // 4, 2 * x.shape[2], 2 * x.shape[3]), x.dtype)
    for i in range(2):
        for j in range(2):
            out[:, :, i::2, j::2] = x[:, 2 * i + j :: 4]
    return out


def _unpixels(x):
    out = np.empty((len(x), x.shape[1] * 4, x.shape[2] // 2, x.shape[3] // 2), x.dtype)
    for i in range(2):
        for j in range(2):
            out[:, 2 * i + j :: 4] = x[:, :, i::2, j::2]
    return out


ROWS = [
    row("reshape", lambda x: gg.reshape(x, (2, -1)), lambda x: x.reshape(2, -1)),
    row("reshape flat", lambda x: gg.reshape(x, -1), np.ravel, empty=NONE),
    row("flatten", gg.flatten, np.ravel, empty=NONE),
    row("flatten axes", lambda x: gg.flatten(x, 1), lambda x: x.reshape(len(x), np.prod(x.shape[1:])), CUBE, empty=((0, 3, 2),)),
    row("unflatten", lambda x: gg.unflatten(x, -1, (2, -1)), lambda x: x.reshape(*x.shape[:-1], 2, -1), (2, 4)),
    row("pixel_shuffle", lambda x: gg.nn.pixel_shuffle(x, 2), _pixels, (2, 8, 3, 2), empty=((0, 4, 2, 2),)),
    row("pixel_unshuffle", lambda x: gg.nn.pixel_unshuffle(x, 2), _unpixels, (2, 2, 4, 6), empty=((0, 1, 2, 2),)),
    row("channel_shuffle", lambda x: gg.nn.channel_shuffle(x, 2), lambda x: x[:, [0, 3, 1, 4, 2, 5]], (2, 6, 3),
        empty=((0, 6, 2),)),
    row("permute_dims", lambda x: gg.permute_dims(x, (2, 0, 1)), lambda x: x.transpose(2, 0, 1), CUBE, empty=((0, 3, 2),)),
    row("permute_dims negative", lambda x: gg.permute_dims(x, (-1, 0, 1)), lambda x: x.transpose(-1, 0, 1), CUBE),
    row("matrix_transpose", gg.matrix_transpose, lambda x: x.swapaxes(-1, -2), CUBE, empty=NONE),
    row("swapaxes", lambda x: gg.swapaxes(x, 0, -1), lambda x: x.swapaxes(0, 2), CUBE),
    row("moveaxis", lambda x: gg.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1), CUBE),
    row("moveaxis several", lambda x: gg.moveaxis(x, (0, 1), (-1, 0)), lambda x: np.moveaxis(x, (0, 1), (-1, 0)), CUBE),
    row("squeeze", gg.squeeze, np.squeeze, (1, 3, 1)),
    row("squeeze axis", lambda x: gg.squeeze(x, axis=0), lambda x: x.squeeze(0), (1, 3, 1)),
    row("squeeze axes", lambda x: gg.squeeze(x, axis=(0, -1)), lambda x: x.squeeze((0, 2)), (1, 3, 1)),
    row("expand_dims", lambda x: gg.expand_dims(x, 1), lambda x: x[:, None], (3,)),
    row("expand_dims axes", lambda x: gg.expand_dims(x, (0, -1)), lambda x: x[None, :, None], (3,)),
    row("expand_dims 0d", gg.expand_dims, lambda x: x[None], ()),
    row("broadcast_to", lambda x: gg.broadcast_to(x, (2, 3, 4)), lambda x: np.broadcast_to(x, (2, 3, 4)), (3, 1)),
    row("broadcast_to 0d", lambda x: gg.broadcast_to(x, 3), lambda x: np.broadcast_to(x, 3), ()),
    row("broadcast_to none", lambda x: gg.broadcast_to(x, (0, 3)), lambda x: np.broadcast_to(x, (0, 3)), (1, 3)),
    row("broadcast_arrays", lambda x, y: gg.broadcast_arrays(x, y)[0], lambda x, y: x + 0 * y, (3, 1), (4,)),
    row("broadcast_arrays both", lambda x, y: gg.broadcast_arrays(x, y)[0] * gg.broadcast_arrays(x, y)[1], np.multiply, (3, 1), (4,)),
    row("flip", gg.flip, np.flip, empty=NONE),
    row("flip axis", lambda x: gg.flip(x, axis=1), lambda x: np.flip(x, 1)),
    row("flip axes", lambda x: gg.flip(x, axis=(0, -1)), lambda x: np.flip(x, (0, 2)), CUBE),
    row("roll", lambda x: gg.roll(x, 2), lambda x: np.roll(x, 2), empty=NONE),
    row("roll axes", lambda x: gg.roll(x, (1, -1), (0, 1)), lambda x: np.roll(x, (1, -1), (0, 1))),
    *[row(f"rot90 {k}", lambda x, k=k: gg.rot90(x, k), lambda x, k=k: np.rot90(x, k)) for k in (1, 2, -1, 4)],
    row("rot90 axes", lambda x: gg.rot90(x, 1, (2, 0)), lambda x: np.rot90(x, 1, (2, 0)), CUBE),
    row("tile", lambda x: gg.tile(x, (2, 1, 3)), lambda x: np.tile(x, (2, 1, 3))),
    row("tile last", lambda x: gg.tile(x, 2), lambda x: np.tile(x, 2), empty=NONE),
    row("meshgrid", lambda x, y: gg.stack(gg.meshgrid(x, y)), lambda x, y: np.stack(np.meshgrid(x, y)), (3,), (2,)),
    row("meshgrid ij", lambda x, y: gg.meshgrid(x, y, indexing="ij")[0], lambda x, y: np.meshgrid(x, y, indexing="ij")[0],
        (3,), (2,)),
    row("meshgrid sparse", lambda x, y: gg.meshgrid(x, y, sparse=True)[1] ** 2, lambda x, y: y[:, None] ** 2, (3,), (2,)),
    row("pad", lambda x: gg.pad(x, [(1, 0), (2, 1)], constant_values=0.5),
        lambda x: np.pad(x, [(1, 0), (2, 1)], constant_values=0.5)),
    row("pad values", lambda x: gg.pad(x, (1, 2), constant_values=((1, 2), (3, 4))),
        lambda x: np.pad(x, (1, 2), constant_values=((1, 2), (3, 4))), empty=NONE),
    row("pad reflect", lambda x: gg.pad(x, [(0, 2), (3, 1)], "reflect"), lambda x: np.pad(x, [(0, 2), (3, 1)], "reflect")),
    row("pad symmetric", lambda x: gg.pad(x, [(3, 2), (4, 1)], "symmetric"),
        lambda x: np.pad(x, [(3, 2), (4, 1)], "symmetric")),
    row("pad edge", lambda x: gg.pad(x, [(0, 2), (3, 1)], "edge"), lambda x: np.pad(x, [(0, 2), (3, 1)], "edge")),
    row("pad wrap", lambda x: gg.pad(x, [(2, 0), (1, 9)], "wrap"), lambda x: np.pad(x, [(2, 0), (1, 9)], "wrap")),
    row("tril", lambda x: gg.tril(x, k=1), lambda x: np.tril(x, 1), CUBE, empty=NONE),
    row("triu", gg.triu, np.triu, empty=NONE), row("triu below", lambda x: gg.triu(x, -1), lambda x: np.triu(x, -1), CUBE),
    row("diag", gg.diag, np.diag, empty=((0, 0),)), row("diag below", lambda x: gg.diag(x, -1), lambda x: np.diag(x, -1)),
    row("diag of vector", lambda x: gg.diag(x, 1), lambda x: np.diag(x, 1), (3,), empty=((0,),)),
    row("diagonal", gg.diagonal, np.diagonal, empty=((0, 3, 2),)),
    row("diagonal axes", lambda x: gg.diagonal(x, 1, 2, 0), lambda x: np.diagonal(x, 1, 2, 0), CUBE),
    row("diagonal outside", lambda x: gg.diagonal(x, 9), lambda x: np.diagonal(x, 9)),
    row("diag_embed", gg.diag_embed, lambda x: embedded(x, 0, -2, -1), empty=NONE),
    row("diag_embed axes", lambda x: gg.diag_embed(x, -2, 2, 0), lambda x: embedded(x, -2, 2, 0)),
    row("trace", gg.trace, np.trace, empty=NONE),
    row("linalg.diagonal", lambda x: gg.linalg.diagonal(x, 1), lambda x: np.diagonal(x, 1, -2, -1), CUBE),
    row("linalg.trace", lambda x: gg.linalg.trace(x, 1), lambda x: np.trace(x, 1, -2, -1), CUBE),
    row("trace axes", lambda x: gg.trace(x, -1, -1, 0), lambda x: np.trace(x, -1, -1, 0), CUBE),
    row("concat", lambda x, y: gg.concat([x, y], axis=1), lambda x, y: np.concatenate([x, y], 1), (3, 2), (3, 4),
        empty=((3, 0), (3, 4))),
    row("concat flat", lambda x, y: gg.concat([x, y], axis=None), lambda x, y: np.concatenate([x, y], None), (3, 2), ()),
    row("stack", lambda x, y: gg.stack([x, y], axis=1), lambda x, y: np.stack([x, y], 1), (3, 2), (3, 2), empty=NONE * 2),
    row("stack last", lambda x, y: gg.stack([x, y], axis=-1), lambda x, y: np.stack([x, y], -1), (3, 2), (3, 2)),
    row("split sizes", lambda x: gg.split(x, [1, 2, 1], axis=-1)[1], lambda x: x[:, 1:3]),
    row("split", lambda x: gg.split(x, 2, axis=1)[0] * gg.split(x, 2, axis=1)[1], lambda x: x[:, :2] * x[:, 2:]),
    row("unstack axis", lambda x: gg.unstack(x, axis=-1)[1], lambda x: x[:, 1]),
    row("unstack", lambda x: gg.unstack(x)[0] * gg.unstack(x)[2], lambda x: x[0] * x[2]),
]  # fmt: skip
