"""Losses."""

import numpy as np

from gpugrad import nn

from .row import row, softmax

ROWS = [
    row("mse_loss", nn.mse_loss, lambda p, t: ((p - t) ** 2).mean(), (3, 4), (3, 4)),
    row("mse_loss sum", lambda p, t: nn.mse_loss(p, t, reduction="sum"), lambda p, t: ((p - t) ** 2).sum(), (3,), (3,)),
    row("cross_entropy", lambda z: nn.cross_entropy(z, np.array([0, 3, 1])),
        lambda z: -np.log(softmax(z)[np.arange(3), [0, 3, 1]]).mean()),
    *[row(f"cross_entropy {r}", lambda z, r=r: nn.cross_entropy(z, np.array([0, 3, 1]), reduction=r),
          lambda z, f=f: f(-np.log(softmax(z)[np.arange(3), [0, 3, 1]]))) for r, f in (("sum", np.sum), ("none", lambda v: v))],
    row("cross_entropy 3-d", lambda z: nn.cross_entropy(z, np.array([[0, 1], [2, 0]]), reduction="none"),
        lambda z: -np.log(np.take_along_axis(softmax(z), np.array([[0, 1], [2, 0]])[..., None], -1)[..., 0]), (2, 2, 3)),
]  # fmt: skip
