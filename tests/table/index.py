"""Reading elements: by an index, along an axis, by a mask."""

import numpy as np

import gpugrad as gg

from .row import row as any_row


def row(*args, **options):
    return any_row(*args, complex=True, **options)


KEYS = (
    1, -1, (0, 2), (), ..., None, slice(None, None, 2), (slice(None), 1), (..., None, 0), (slice(2, 0, -1), slice(1, 3)),
    [0, 2, 2], ([0, 2, 2], [1, -1, -1]), (np.array([[0, 1], [2, 2]]), np.array([1, 1])), (slice(None), np.array([3, 3, 0])),
    (np.array([0, 0]), slice(1, 3)), (None, np.array([1, 1]), ..., None), (np.array([-1, 2]), 0), [], np.int64(1),
    np.arange(12).reshape(3, 4) % 3 == 0, [True, False, True], (np.array([True, False, True]), 2), np.array(True), False,
    (np.array([True, False, True]), np.array([[3], [3]])),
)  # fmt: skip
MASK = np.arange(12).reshape(3, 4) % 5 > 1
ALONG = np.array([[0, 0, 1]] * 3)
PAIRS = np.array([[[0, 1]], [[2, -1]]])

ROWS = [
    *[row(f"getitem {k}", lambda x, k=k: x[k], lambda x, k=k: x[k]) for k in KEYS],
    row("getitem apart", lambda x: x[[0, 0], :, [1, 3]], lambda x: x[[0, 0], :, [1, 3]], (2, 3, 4), empty=((2, 0, 4),)),
    row("getitem mask between", lambda x: x[:, MASK, None], lambda x: x[:, MASK, None], (2, 3, 4)),
    row("getitem none of none", lambda x: x[[], 1], lambda x: x[[], 1], empty=((0, 3),)),
    row("getitem 0d", lambda x: x[None, ...], lambda x: x[None, ...], ()),
    row("take", lambda x: gg.take(x, np.array([[0, 3], [1, 1]]), axis=1), lambda x: np.take(x, [[0, 3], [1, 1]], axis=1)),
    row("take one", lambda x: gg.take(x, -1, axis=0), lambda x: np.take(x, -1, axis=0)),
    row("take flat", lambda x: gg.take(x, np.array([0, 11, 0])), lambda x: np.take(x, [0, 11, 0])),
    row("take none", lambda x: gg.take(x, [], axis=-1), lambda x: x[:, :0], empty=((0, 0),)),
    *[row(f"take {mode}", lambda x, mode=mode: gg.take(x, [5, -7, 1], axis=1, mode=mode),
        lambda x, mode=mode: np.take(x, [5, -7, 1], axis=1, mode=mode)) for mode in ("wrap", "clip")],
    row("take_along_axis", lambda x: gg.take_along_axis(x, ALONG, axis=1), lambda x: np.take_along_axis(x, ALONG, axis=1)),
    row("take_along_axis one", lambda x: gg.take_along_axis(x, [[1, 0, 2, -1]], axis=0),
        lambda x: np.take_along_axis(x, np.array([[1, 0, 2, -1]]), axis=0)),
    row("take_along_axis flat", lambda x: gg.take_along_axis(x, [3, 3], axis=None), lambda x: x.reshape(-1)[[3, 3]]),
    row("repeat", lambda x: gg.repeat(x, [2, 0, 1], axis=0), lambda x: np.repeat(x, [2, 0, 1], axis=0)),
    row("repeat all", lambda x: gg.repeat(x, 2), lambda x: np.repeat(x, 2), empty=((0, 3),)),
    row("repeat axis", lambda x: gg.repeat(x, 3, axis=-1), lambda x: np.repeat(x, 3, axis=1), empty=((0, 3),)),
    row("gather_nd", lambda x: gg.gather_nd(x, PAIRS), lambda x: x[[[0], [2]], [[1], [-1]]]),
    row("gather_nd rows", lambda x: gg.gather_nd(x, [[2], [2]]), lambda x: x[[2, 2]]),
    row("gather_nd batch_dims", lambda x: gg.gather_nd(x, [[[1], [1]], [[0], [2]]], 1),
        lambda x: np.stack([x[0, [1, 1]], x[1, [0, 2]]]), (2, 3, 4)),
    row("masked_select", lambda x: gg.masked_select(x, MASK), lambda x: x[MASK]),
    row("masked_select broadcast", lambda x: gg.masked_select(x, MASK), lambda x: np.broadcast_to(x, (3, 4))[MASK], (3, 1)),
    row("masked_fill", lambda x: gg.masked_fill(x, MASK, 0.5), lambda x: np.where(MASK, 0.5, x)),
    row("masked_fill broadcast", lambda x, v: gg.masked_fill(x, MASK[0], v), lambda x, v: np.where(MASK[0], v, x),
        (3, 4), (), empty=((0, 4), ())),
]  # fmt: skip
