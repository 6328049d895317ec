"""Reductions."""

import numpy as np
from scipy import special

import gpugrad as gg

from .row import row

WEIGHTS = np.array([0.5, 1.5, 2.0, 0.25])
ZEROS = np.array([[1.0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 0]])
HOLES = np.arange(12).reshape(3, 4) % 5 == 0
NORMS = [
    (None, None),
    (None, 1),
    (2, -1),
    (3, 0),
    (np.inf, -1),
    (None, (0, 1)),
    ("fro", (-1, 0)),
    ("nuc", None),
    (2, None),
    (1, (1, 0)),
]

ROWS = [
    *[row(f"{name} {axis} {keep}", lambda x, f=f, a=axis, k=keep: f(x, axis=a, keepdims=k),
          lambda x, r=r, a=axis, k=keep: r(x, axis=a, keepdims=k), (2, 3, 4), low=0.3, high=2,
          complex=name not in ("max", "min", "median"), empty=((2, 0, 4),) if axis == -1 else ())
      for name, f, r in [
          ("sum", gg.sum, np.sum), ("mean", gg.mean, np.mean), ("max", gg.max, np.max), ("min", gg.min, np.min),
          ("prod", gg.prod, np.prod), ("var", gg.var, np.var), ("std", gg.std, np.std), ("median", gg.median, np.median),
          ("logsumexp", gg.logsumexp, lambda x, axis, keepdims: np.log(np.exp(x).sum(axis=axis, keepdims=keepdims)))]
      for axis in (None, 1, -1, (0, 2)) for keep in (False, True)],
    *[row(f"{f.__name__} dtype", lambda x, f=f: f(x, axis=0, dtype="float64").astype(x.dtype), lambda x, r=r: r(x, axis=0), low=0.3)
      for f, r in [(gg.sum, np.sum), (gg.mean, np.mean), (gg.prod, np.prod)]],
    row("prod with zeros", lambda x: gg.prod(x * gg.tensor(ZEROS, dtype=x.dtype), axis=1), lambda x: np.prod(x * ZEROS, 1),
        complex=True),
    row("prod at zeros", gg.prod, np.prod, (3,), kinks=[(([2.0, 0, 3],), ([0.0, 6, 0],)), (([0.0, 0, 3],), ([0.0, 0, 0],))]),
    row("var correction", lambda x: gg.var(x, axis=0, correction=1), lambda x: np.var(x, axis=0, ddof=1), complex=True),
    row("std correction", lambda x: gg.std(x, correction=1), lambda x: np.std(x, ddof=1), complex=True,
        kinks=[(([1.0, 1.0],), ([0.0, 0.0],))]),
    row("max at a tie", gg.max, np.max, kinks=[(([1.0, 1.0, 0.0],), ([0.5, 0.5, 0.0],)), (([1.0, np.nan, 2.0],), ([0.0, 1.0, 0.0],))]),
    row("min at a tie", gg.min, np.min, kinks=[(([0.0, 0.0, 1.0],), ([0.5, 0.5, 0.0],)), (([1.0, np.nan, np.nan],), ([0.0, 0.5, 0.5],))]),
    row("logsumexp of nothing", gg.logsumexp, special.logsumexp,
        kinks=[(([-np.inf, -np.inf],), ([0.0, 0.0],)), (([-np.inf, 0.0],), ([0.0, 1.0],)),
            (([np.inf, 0.0, np.inf],), ([0.5, 0.0, 0.5],))], empty=((0,),)),
    row("average", lambda x, w: gg.average(x, weights=w), lambda x, w: np.average(x, weights=w), (3, 4), (3, 4), low=0.3, complex=True),
    row("average axis", lambda x: gg.average(x, -1, gg.tensor(WEIGHTS, dtype=x.dtype)), lambda x: np.average(x, 1, WEIGHTS)),
    row("nansum", gg.nansum, np.nansum), row("nanmean", gg.nanmean, np.nanmean),
    row("nansum axis", lambda x: gg.nansum(gg.where(gg.tensor(HOLES), np.nan, x), axis=0), lambda x: np.nansum(np.where(HOLES, np.nan, x), axis=0)),
    row("nanmean axis", lambda x: gg.nanmean(gg.where(gg.tensor(HOLES), np.nan, x), 1, True),
        lambda x: np.nanmean(np.where(HOLES, np.nan, x), axis=1, keepdims=True)),
    *[row(f"norm {o} {a}", lambda x, o=o, a=a: gg.norm(x, o, a, keepdims=a is not None),
          lambda x, o=o, a=a: np.linalg.norm(x, o, a, keepdims=a is not None), (3, 4), apart=0.1, complex=o != np.inf)
      for o, a in NORMS],
    row("global_norm", lambda x, y: gg.global_norm([x, None, y]), lambda x, y: np.sqrt((x * x).sum() + (y * y).sum()), (3, 4), (2,),
        half=0),  # of half types it is a float32
    *[row(f"quantile {m} {q}".replace("\n", ""), lambda x, m=m, q=q: gg.quantile(x, q, axis=0, method=m),
          lambda x, m=m, q=q: np.quantile(x, q, axis=0, method=m), (5, 2)) for m, q in [
        ("linear", 0.3), ("lower", 0.3), ("higher", 0.3), ("midpoint", 0.3), ("nearest", 0.6), ("hazen", 0.3),
        ("weibull", 0.95), ("median_unbiased", 0.4), ("normal_unbiased", 0.4), ("interpolated_inverted_cdf", 0.1),
        ("inverted_cdf", 0.4), ("averaged_inverted_cdf", 0.4), ("closest_observation", 0.7)]],
    row("quantile at a tie", lambda x: gg.quantile(x, 0.25), lambda x: np.quantile(x, 0.25), kinks=[(([1.0, 1.0],), ([0.75, 0.25],))]),
    row("median at a tie", gg.median, np.median, kinks=[(([1.0, 1.0, 2.0, 0.0],), ([0.5, 0.5, 0.0, 0.0],))]),
    row("quantile several", lambda x: gg.quantile(x, [[0.0, 1.0], [0.5, 0.25]], axis=(0, -1), keepdims=True),
        lambda x: np.quantile(x, [[0, 1], [0.5, 0.25]], axis=(0, -1), keepdims=True), (2, 3, 2)),
]  # fmt: skip
