"""Running sums, products and extremes; differences and areas."""

import numpy as np

import gpugrad as gg

from .row import row

ZEROS = np.array([[1.0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 0]])


ROWS = [
    *[row(f"{f.__name__} {a}", lambda x, f=f, a=a: f(x, axis=a), lambda x, r=r, a=a: r(x, axis=a), (2, 5),
          complex=True, empty=((2, 0),))
      for f, r in [(gg.cumsum, np.cumsum), (gg.cumprod, np.cumprod)] for a in (0, -1)],
    row("cumprod of one", gg.cumprod, lambda x: np.cumprod(x, -1), (2, 1)),
    row("cumprod with zeros", lambda x: gg.cumprod(x * gg.tensor(ZEROS, dtype=x.dtype), axis=1), lambda x: np.cumprod(x * ZEROS, 1),
        complex=True),
    row("cumprod at zeros", gg.cumprod, lambda x: np.cumprod(x, -1), (3,),
        kinks=[(([2.0, 0, 3, 0, 4],), ([1.0, 8, 0, 0, 0],)), (([0.0, 2],), ([3.0, 0],))]),
    row("cumulative_sum", gg.cumulative_sum, np.cumulative_sum, (4,)),
    row("cumulative_sum initial", lambda x: gg.cumulative_sum(x, axis=0, include_initial=True),
        lambda x: np.cumulative_sum(x, axis=0, include_initial=True), (3, 2), complex=True),
    row("cumulative_prod", gg.cumulative_prod, np.cumulative_prod, (4,)),
    row("cumulative_prod initial", lambda x: gg.cumulative_prod(x, axis=-1, include_initial=True),
        lambda x: np.cumulative_prod(x, axis=-1, include_initial=True), (3, 2)),
    *[row(f"{f.__name__} {a}", lambda x, f=f, a=a: f(x, axis=a)[0], lambda x, r=r, a=a: r(x, a), (3, 5), empty=((3, 0),))
      for f, r in [(gg.cummax, np.maximum.accumulate), (gg.cummin, np.minimum.accumulate)] for a in (0, -1)],
    row("cummax at a tie", lambda x: gg.cummax(x)[0], lambda x: np.maximum.accumulate(x, -1),
        kinks=[(([1.0, 1, 0, 1],), ([1.0, 2, 0, 1],))]),
    row("cummin at a tie", lambda x: gg.cummin(x)[0], lambda x: np.minimum.accumulate(x, -1),
        kinks=[(([1.0, 1, 2, 1],), ([1.0, 2, 0, 1],))]),
    *[row(f"cumlogsumexp {a}", lambda x, a=a: gg.cumlogsumexp(x, axis=a), lambda x, a=a: np.log(np.cumsum(np.exp(x), axis=a)), (3, 5),
          empty=((3, 0),), kinks=[(([-np.inf, 0.0],), ([0.0, 1.0],)), (([1.0, np.inf, 2.0],), ([1.0, 2.0, 0.0],))]) for a in (0, -1)],
    row("diff", gg.diff, np.diff, complex=True, empty=((2, 0),)), row("diff axis", lambda x: gg.diff(x, axis=0), lambda x: np.diff(x, axis=0)),
    row("diff 2", lambda x: gg.diff(x, n=2), lambda x: np.diff(x, n=2)),
    row("diff 9", lambda x: gg.diff(x, 9, -1), lambda x: np.diff(x, 9)), row("diff 0", lambda x: gg.diff(x, 0), np.positive),
    row("diff joined", lambda x, y: gg.diff(x, axis=0, prepend=1, append=y), lambda x, y: np.diff(x, axis=0, prepend=1, append=y),
        (2, 3), (2, 3)),
    row("trapezoid", gg.trapezoid, np.trapezoid, complex=True), row("trapezoid dx", lambda x: gg.trapezoid(x, dx=0.5, axis=0), lambda x: np.trapezoid(x, dx=0.5, axis=0)),
    row("trapezoid x", lambda y, x: gg.trapezoid(y, x, axis=0), lambda y, x: np.trapezoid(y, x, axis=0), (3, 2), (3,)),
    row("trapezoid all x", lambda y, x: gg.trapezoid(y, x), np.trapezoid, (2, 3), (2, 3), complex=True),
]  # fmt: skip
