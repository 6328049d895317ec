"""Special functions."""

import numpy as np
from scipy import special as sp

import gpugrad as gg

from .row import binary, row, unary

s = gg.special


ROWS = [
    unary("special.erf", s.erf, sp.erf, complex=True), unary("special.erfc", s.erfc, sp.erfc, complex=True),
    unary("special.erfcx", s.erfcx, sp.erfcx, -1, 4, complex=True),
    unary("special.erfinv", s.erfinv, sp.erfinv, -0.8, 0.8, kinks=(([[0.0, 1.0, -1.0]], [[np.sqrt(np.pi) / 2, np.inf, np.inf]]),)),
    unary("special.erfcinv", s.erfcinv, sp.erfcinv, 0.2, 1.8),
    unary("special.ndtr", s.ndtr, sp.ndtr, complex=True), unary("special.ndtri", s.ndtri, sp.ndtri, 0.1, 0.9),
    unary("special.log_ndtr", s.log_ndtr, sp.log_ndtr, -4, 2),
    unary("special.entr", s.entr, sp.entr, 0.2, 2, kinks=(([[0.0]], [[np.inf]]), ([[-1.0]], [[np.nan]]))),
    unary("special.logit", s.logit, sp.logit, 0.1, 0.9, kinks=(([[0.0, 1.0, -1.0, 2.0]], [[np.inf, np.inf, np.nan, np.nan]]),)),
    unary("special.logit eps", lambda x: s.logit(x, 0.2), lambda x: sp.logit(np.clip(x, 0.2, 0.8)), 0.3, 0.7,
        kinks=(([[0.25, 0.2, 0.1]], [[1 / (0.25 * 0.75), 1 / (0.2 * 0.8), 0.0]]),)),
    unary("special.expit", s.expit, lambda x: 1 / (1 + np.exp(-x)), complex=True),
    unary("special.log_expit", s.log_expit, sp.log_expit),
    unary("special.i0", s.i0, sp.i0), unary("special.i1", s.i1, sp.i1, -4, 4, kinks=(([0.0], [0.5]),)),
    unary("special.i0e", s.i0e, sp.i0e, -4, 4, apart=0.1, kinks=(([0.0], [0.0]),)),
    unary("special.i1e", s.i1e, sp.i1e, -4, 4, apart=0.1, kinks=(([0.0], [0.5]),)),
    *binary("special.xlogy", s.xlogy, sp.xlogy, 0.3, 2, complex=True,
        kinks=(((0.0, 0.0), (0.0, 0.0)), ((0.0, -1.0), (0.0, 0.0)), ((0.0, 2.0), (np.log(2.0), 0.0)))),
    *binary("special.xlog1py", s.xlog1py, sp.xlog1py, -0.5, 2, complex=True,
        kinks=(((0.0, -1.0), (0.0, 0.0)), ((0.0, 1.0), (np.log(2.0), 0.0)))),
    *binary("special.rel_entr", s.rel_entr, sp.rel_entr, 0.3, 2,
        kinks=(((0.0, 2.0), (-np.inf, 0.0)), ((0.0, 0.0), (np.nan, 0.0)), ((-1.0, -2.0), (np.nan, np.nan)))),
    *binary("special.kl_div", s.kl_div, sp.kl_div, 0.3, 2, kinks=(((0.0, 2.0), (-np.inf, 1.0)), ((0.0, 0.0), (np.nan, 1.0)))),
    unary("special.gammaln", s.gammaln, sp.gammaln, 0.5, 4), unary("special.gammaln negative", s.gammaln, sp.gammaln, -1.7, -1.3),
    unary("special.gamma", s.gamma, sp.gamma, 0.5, 4), unary("special.digamma", s.digamma, sp.digamma, 0.5, 4),
    *[unary(f"special.polygamma {n}", lambda x, n=n: s.polygamma(n, x), lambda x, n=n: sp.polygamma(n, x), 1, 4) for n in (0, 1, 3)],
    unary("special.multigammaln", lambda x: s.multigammaln(x, 3), lambda x: np.reshape([sp.multigammaln(v, 3) for v in x.ravel()], x.shape), 2, 4),
    *binary("special.beta", s.beta, sp.beta, 0.5, 3), *binary("special.betaln", s.betaln, sp.betaln, 0.5, 3),
    *[r for name in ("gammainc", "gammaincc") for r in binary(f"special.{name}", getattr(s, name), getattr(sp, name), 0.5, 3)[:3]],
    *binary("special.gammaincinv", s.gammaincinv, sp.gammaincinv, 0.3, 0.9)[:3],
    row("special.gammainc large", s.gammainc, sp.gammainc, (3,), (3,), low=11, high=14),
    *binary("special.zeta", s.zeta, sp.zeta, 1.5, 4)[:3], unary("special.zeta Riemann", s.zeta, sp.zeta, 1.5, 4),
]  # fmt: skip
