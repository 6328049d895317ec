"""Floor 6: special functions, under SciPy's names."""

from .ops.activation import log_sigmoid as log_expit, sigmoid as expit  # noqa: F401
from .ops.gamma import (
    beta as beta,
    betaln as betaln,
    digamma as digamma,
    gamma as gamma,
    gammainc as gammainc,
    gammaincc as gammaincc,
    gammaincinv as gammaincinv,
    gammaln as gammaln,
    multigammaln as multigammaln,
    polygamma as polygamma,
    zeta as zeta,
)
from .ops.reduce import logsumexp as logsumexp
from .ops.softmax import log_softmax as log_softmax, softmax as softmax
from .ops.special import (
    entr as entr,
    erf as erf,
    erfc as erfc,
    erfcinv as erfcinv,
    erfcx as erfcx,
    erfinv as erfinv,
    i0 as i0,
    i0e as i0e,
    i1 as i1,
    i1e as i1e,
    kl_div as kl_div,
    log_ndtr as log_ndtr,
    logit as logit,
    ndtr as ndtr,
    ndtri as ndtri,
    rel_entr as rel_entr,
    xlog1py as xlog1py,
    xlogy as xlogy,
)

psi = digamma
