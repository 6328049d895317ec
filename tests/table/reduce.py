"""Reductions and running sums."""

import numpy as np

import gpugrad as gg

from .row import row

ROWS = [
    *[row(f"{name} {axis} {keep}", lambda x, f=f, a=axis, k=keep: f(x, axis=a, keepdims=k),
          lambda x, r=r, a=axis, k=keep: r(x, axis=a, keepdims=k), (2, 3, 4), low=0.3, high=2)
      for name, f, r in [
          ("sum", gg.sum, np.sum), ("mean", gg.mean, np.mean), ("max", gg.max, np.max), ("min", gg.min, np.min),
          ("prod", gg.prod, np.prod), ("var", gg.var, np.var), ("std", gg.std, np.std),
          ("logsumexp", gg.logsumexp, lambda x, axis, keepdims: np.log(np.exp(x).sum(axis=axis, keepdims=keepdims)))]
      for axis in (None, 1, -1, (0, 2)) for keep in (False, True)],
    row("var correction", lambda x: gg.var(x, axis=0, correction=1), lambda x: np.var(x, axis=0, ddof=1)),
    row("std correction", lambda x: gg.std(x, correction=1), lambda x: np.std(x, ddof=1)),
    *[row(f"cumsum {a}", lambda x, a=a: gg.cumsum(x, axis=a), lambda x, a=a: np.cumsum(x, axis=a), (2, 3)) for a in (0, 1)],
]  # fmt: skip
