"""Sorting and selecting."""

import numpy as np

import gpugrad as gg

from .row import row

ROWS = [
    row("sort", gg.sort, np.sort, complex=True, empty=((2, 0),)),
    row("sort axis", lambda x: gg.sort(x, axis=0, stable=False), lambda x: np.sort(x, axis=0)),
    row("sort descending", lambda x: gg.sort(x, descending=True), lambda x: -np.sort(-x), empty=((2, 0),)),
    row("topk", lambda x: gg.topk(x, 2)[0], lambda x: -np.sort(-x)[:, :2], kinks=[(([1.0, 0, 1, 1],), ([1.0, 0, 1, 0],))]),
    row("topk smallest", lambda x: gg.topk(x, 1, axis=0, largest=False)[0], lambda x: np.sort(x, axis=0)[:1]),
    row("topk of none", lambda x: gg.topk(x, 0)[0], lambda x: x[:, :0]),
    row("topk unsorted", lambda x: gg.sum(gg.topk(x, 3, sorted=False)[0] ** 2, axis=1), lambda x: (np.sort(x)[:, 1:] ** 2).sum(1)),
    row("topk smallest unsorted", lambda x: gg.sum(gg.topk(x, 2, -2, False, sorted=False)[0] ** 2, axis=0),
        lambda x: (np.sort(x, axis=0)[:2] ** 2).sum(0)),
]  # fmt: skip
