"""Reading and writing elements."""

import numpy as np

import gpugrad as gg

from .row import row

ROWS = [
    *[row(f"getitem {k}", lambda x, k=k: x[k], lambda x, k=k: x[k]) for k in (
        1, -1, slice(None, None, 2), (slice(None), 1), (..., None, 0), (slice(2, 0, -1), slice(1, 3)), [0, 2, 2],
        (np.array([[0, 1], [2, 2]]), np.array([1, 1])), (slice(None), np.array([3, 3, 0])),
        np.arange(12).reshape(3, 4) % 3 == 0, np.array([True, False, True]), (np.array([True, False, True]), 2))],
    row("take", lambda x: gg.take(x, np.array([[0, 3], [1, 1]]), axis=1), lambda x: np.take(x, [[0, 3], [1, 1]], axis=1)),
    row("take flat", lambda x: gg.take(x, np.array([0, 11, 0])), lambda x: np.take(x, [0, 11, 0])),
    row("take_along_axis", lambda x: gg.take_along_axis(x, np.array([[0, 0, 1]] * 3), axis=1),
        lambda x: np.take_along_axis(x, np.array([[0, 0, 1]] * 3), axis=1)),
    row("repeat", lambda x: gg.repeat(x, [2, 0, 1], axis=0), lambda x: np.repeat(x, [2, 0, 1], axis=0)),
    row("repeat all", lambda x: gg.repeat(x, 2), lambda x: np.repeat(x, 2)),
]  # fmt: skip
