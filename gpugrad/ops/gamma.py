"""The gamma function and its relatives: SciPy's on the CPU, CuPy's on a GPU.  Half types are computed in float32.

Two derivatives have no closed form: that of the incomplete gamma function by its shape and that of zeta by its
exponent.  Each is a family of ops, numbered by the order n, whose rules lead to the next one, so every order works.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from ..array import special
from ..core import raw
from ..forward import boxed, fit, promoted, select
from ..levels import looked_at
from ..op import elementwise
from .casting import astype
from .logic import where
from .special import full, full_arrays, paired, scipys

# ---------------------------------------------------------------------------------------------- gamma, digamma, beta
gammaln = elementwise(
    scipys("gammaln", "log |Γ(x)|, inf at 0, -1, -2, ..."), args=["x"], x=lambda g, x: g * digamma(full(x))
)
gamma = elementwise(
    scipys("gamma", "Γ(x), where Γ(n + 1) = n!."), args=["x"], x=lambda g, x, out: g * full(out) * digamma(full(x))
)
digamma = elementwise(
    scipys("digamma", "ψ(x), the derivative of log Γ(x)."), args=["x"], x=lambda g, x: g * polygamma(1, full(x))
)


@elementwise(name="polygamma", x=lambda g, x, n: g * polygamma(n + 1, full(x)))
def _polygamma(xp: Any, x: Any, *, n: int) -> Any:
    """(-1)^(n+1) n! ζ(n + 1, x), in float64, which holds the factors; far left of 0 by the sum over all integers.

    That has the period 1: ζ(s, x) + (-1)^s ζ(s, 1 - x).
    """
    if n > 170:
        raise ValueError(f"n is at most 170, given {n}; the factorial of more is beyond float64")
    (z,), dtype = full_arrays((x,))
    z = z.astype(np.float64, copy=False)
    zeta, left = partial(special(z).zeta, xp.asarray(n + 1, z.dtype)), z < -_TERMS
    out = zeta(select(xp, left, 1 - z, z))
    if xp is not np or left.any():
        part = select(xp, left, z - xp.floor(z), z.dtype.type(0.5))
        out = select(xp, left, zeta(part) - (-1) ** n * (zeta(1 - part) - out), out)
    return xp.asarray(out * ((-1) ** (n + 1) * float(math.factorial(n)))).astype(dtype, copy=False)


def polygamma(n: int, x: Any) -> Any:
    """The n-th derivative of digamma; n is a number.

    TypeError for an n that is no integer, ValueError for a negative one and above 170, where n! is beyond float64.
    """
    if not hasattr(n, "__index__"):
        raise TypeError(f"polygamma: n is an integer, given {n!r:.60}")
    if n < 0:
        raise ValueError(f"polygamma: n must be 0 or more, given {n}")
    return _polygamma(x, n=int(n)) if n else digamma(x)


def multigammaln(a: Any, d: int) -> Any:
    """The logarithm of the multivariate gamma function of dimension d, for a > (d - 1) / 2.

    d (d - 1) / 4 log(π) + Σ gammaln(a - j / 2) over j < d.  ValueError unless d is an integer from 1, and on the CPU
    for an a that is too small; on a GPU that gives NaN.
    """
    if not hasattr(d, "__index__") or d < 1:
        raise ValueError(f"multigammaln: d is an integer from 1, given {d!r:.60}")
    a = boxed(a, "multigammaln")
    small = raw(a) <= (d - 1) / 2
    seen = looked_at(raw(a))
    if seen is not None and (few := seen[seen <= (d - 1) / 2]).size:
        raise ValueError(f"multigammaln: a is above {(d - 1) / 2} for d = {d}, given {few[0]}")
    first = where(small, math.nan, gammaln(a))
    out = full(first) + d * (d - 1) / 4 * math.log(math.pi)
    for j in range(1, d):
        out = out + gammaln(full(a) - j / 2)
    return astype(out, raw(first).dtype)


@cache
def _gauss() -> list[tuple[float, float]]:
    """Nodes and weights of Gauss' formula for the integral from 0 to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(10)
    return list(zip(((nodes + 1) / 2).tolist(), (weights / 2).tolist(), strict=True))


def _difference(xp: Any, x: Any, y: Any, *, n: int) -> Any:
    """ψ_n(x) - ψ_n(x + y) with ψ_n = polygamma(n, .); for a y smaller than x as an integral: it would cancel."""
    near, one = (x > 0) & (y < x) & (y > x * -0.5), x.dtype.type(1)
    a, b = select(xp, near, x, one), select(xp, near, y, one)
    slope = sum([weight * polygamma(n + 1, a + b * node) for node, weight in _gauss()])
    return select(xp, near, -b * slope, polygamma(n, x) - polygamma(n, x + y))


polygamma_fall = elementwise(
    _difference,
    name="polygamma_fall",
    x=lambda g, x, y, n: g * polygamma_fall(x, y, n=n + 1),
    y=lambda g, x, y, n: -g * polygamma(n + 1, x + y),
)


def _fall(x: Any, y: Any) -> Any:
    """ψ(x) - ψ(x + y)."""
    return polygamma_fall(*_full_pair(x, y), n=0)


def _beta_slope(x: Any, y: Any, out: Any) -> Any:
    """The derivative of beta by x.  Near (0, 0), where poles would cancel, that of c (1/x + 1/y) with a smooth c."""
    x, y = _full_pair(x, y)
    small = (raw(x) > 0) & (raw(x) < 0.5) & (raw(y) > 0) & (raw(y) < 0.5)
    a, b = where(small, x, 0.25), where(small, y, 0.25)
    c = beta(a + 1, b + 1) * (a + b + 1)
    near = c * (_fall(a + 1, b) * (1 / a + 1 / b) - 1 / (a * a))
    return where(small, near, full(out) * _fall(where(small, 1.0, x), y))


beta = paired(
    elementwise(
        scipys("beta", "Γ(x) Γ(y) / Γ(x + y)."),
        args=["x", "y"],
        x=lambda g, x, y, out: g * _beta_slope(x, y, out),
        y=lambda g, x, y, out: g * _beta_slope(y, x, out),
    )
)
betaln = paired(
    elementwise(
        scipys("betaln", "log |Γ(x) Γ(y) / Γ(x + y)|."),
        args=["x", "y"],
        x=lambda g, x, y: g * _fall(x, y),
        y=lambda g, x, y: g * _fall(y, x),
    )
)


# ---------------------------------------------------------------------------------------------- incomplete gamma
def _bell(slopes: Sequence[Any]) -> Any:
    """The n-th derivative of exp(f) over exp(f), of the n first derivatives of f: the complete Bell polynomial."""
    found: list[Any] = [1.0]
    for n in range(len(slopes)):
        found.append(sum([math.comb(n, i) * found[n - i] * slopes[i] for i in range(n + 1)]))
    return found[-1]


def _log_density(xp: Any, a: Any, x: Any) -> Any:
    """(a - 1) log(x) - x - log Γ(a); for large a by Stirling's series, its large terms being taken out."""
    large = (a > 10) & (x > a / 2)
    b, y = select(xp, large, a, a.dtype.type(10)), select(xp, large, x, x.dtype.type(10))
    r = 1 / b
    series = r * (1 / 12 - r * r * (1 / 360 - r * r * (1 / 1260 - r * r * (1 / 1680 - r * r / 1188))))
    off = (y - b) / b
    stirling = b * (xp.log1p(off) - off) + 0.5 * xp.log(b / (2 * math.pi)) - series - xp.log(y)
    return select(xp, large, stirling, special(x).xlogy(a - 1, x) - x - special(a).gammaln(a))


def _slopes(xp: Any, a: Any, log_x: Any, n: int) -> list[Any]:
    """The first n derivatives by a of a log(x) - log Γ(a)."""
    return [log_x - digamma(a), *[-polygamma(m, a) for m in range(1, n)]][:n]


def _density(xp: Any, a: Any, x: Any, *, n: int) -> Any:
    """The n-th derivative by a of x^(a-1) exp(-x) / Γ(a), the density of the gamma distribution."""
    out = xp.exp(_log_density(xp, a, x))
    if not n:
        return out
    y = select(xp, x > 0, x, x.dtype.type(1))
    return select(xp, out > 0, out * _bell(_slopes(xp, a, xp.log(y), n)), out)


# Nodes and weights for the integral of a decaying function from 0 to inf: y -> exp(y - exp(-y)), in equal steps (Mori
# & Sugihara 2001).
_STEP = 1 / 16
_NODES = [
    (math.exp(y - math.exp(-y)), _STEP * math.exp(y - math.exp(-y)) * (1 + math.exp(-y)))
    for y in [i * _STEP for i in range(-58, 61)]
]


def _shape_derivative(xp: Any, a: Any, x: Any, *, n: int) -> Any:
    """The n-th derivative of gammainc by its shape a, to about 1e-13 of it in float64.

    The integrand's derivative is integrated from x away from its peak, in log t: down where x < a, else up, where the
    whole integral's derivative is 0.  There a small a is lifted by 1: P(a, x) = P(a + 1, x) + density(a + 1, x).
    """
    inside = (a > 0) & (x > 0) & xp.isfinite(x) & xp.isfinite(a)
    one = a.dtype.type(1)
    a_in, x_in = select(xp, inside, a, one), select(xp, inside, x, one)
    lifted = (a_in < 1.5) & (x_in >= a_in) & (x_in < 5)
    b = select(xp, lifted, a_in + 1, a_in)
    up = x_in >= b
    wide = xp.sqrt(2 / x_in) + 1 / x_in
    width = 1 / (xp.abs(x_in - b) + 1 / select(xp, up, xp.log1p(wide), wide))
    first, *others = _slopes(xp, b, xp.log(x_in), n)
    signed, total = select(xp, up, width, -width), xp.zeros_like(width)
    for node, weight in _NODES:
        v = signed * node
        total = total + weight * xp.exp(b * v - x_in * xp.expm1(v)) * _bell([first + v, *others])
    out = -total * signed * x_in * xp.exp(_log_density(xp, b, x_in))
    out = out + select(xp, lifted, _density(xp, a_in + 1, x_in, n=n), a.dtype.type(0))
    flat = (a > 0) & ((x == 0) | (x == math.inf))
    return select(xp, inside, out, select(xp, flat, a.dtype.type(0), a.dtype.type(math.nan)))


gamma_density = elementwise(
    _density,
    name="gamma_density",
    a=lambda g, a, x, n: g * gamma_density(a, x, n=n + 1),
    x=lambda g, a, x, out, n: g * (((a - 1) / x - 1) * out + (gamma_density(a, x, n=n - 1) * n / x if n else 0)),
)
gammainc_shape = elementwise(
    _shape_derivative,
    name="gammainc_shape",
    a=lambda g, a, x, n: g * gammainc_shape(a, x, n=n + 1),
    x=lambda g, a, x, n: g * gamma_density(a, x, n=n),
)


def _full_pair(x: Any, y: Any) -> tuple[Any, Any]:
    """Both in the dtype that both fit."""
    x, y = full(x), full(y)
    dtype = promoted(x.dtype, y.dtype)
    return astype(x, dtype), astype(y, dtype)


def _by_shape(a: Any, x: Any) -> Any:
    return gammainc_shape(*_full_pair(a, x), n=1)


def _by_end(a: Any, x: Any) -> Any:
    return gamma_density(*_full_pair(a, x), n=0)


gammainc = paired(
    elementwise(
        scipys("gammainc", "1/Γ(a) ∫ t^(a-1) exp(-t) dt from 0 to x, for a > 0 and x >= 0."),
        args=["a", "x"],
        a=lambda g, a, x: g * _by_shape(a, x),
        x=lambda g, a, x: g * _by_end(a, x),
    )
)
gammaincc = paired(
    elementwise(
        scipys("gammaincc", "1 - gammainc(a, x), which keeps the upper tail."),
        args=["a", "x"],
        a=lambda g, a, x: -g * _by_shape(a, x),
        x=lambda g, a, x: -g * _by_end(a, x),
    )
)


gammaincinv = paired(
    elementwise(
        scipys("gammaincinv", "The x with gammainc(a, x) = y, for a > 0 and y in [0, 1]."),
        args=["a", "y"],
        a=lambda g, a, out: -g * _by_shape(a, out) / _by_end(a, out),
        y=lambda g, a, out: g / _by_end(a, out),
    )
)


# ---------------------------------------------------------------------------------------------- zeta
_TERMS = 10  # summed one by one, before the rest is an integral and Bernoulli's terms
_BERNOULLI = [1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330]


def _zeta_derivative(xp: Any, x: Any, q: Any, *, n: int) -> Any:
    """The n-th derivative of zeta by its exponent: that of each term of the Euler-Maclaurin formula.  NaN for q <= 0.

    A term is exp(f) with f made of logarithms: -x log(b), ±log(x + m).
    """
    inside = (x > 1) & (q > 0)
    x, q = select(xp, inside, x, x.dtype.type(2)), select(xp, inside, q, q.dtype.type(1))

    def term(value: Any, base: Any, powers: Sequence[Any] = ()) -> Any:
        """value times its Bell polynomial; `powers`: the sums of ±(x + m)^-r, r from 1."""
        slopes = [(-1) ** r * math.factorial(r) * s for r, s in enumerate(powers)] or [0.0] * n
        return value * _bell([slopes[0] - xp.log(base), *slopes[1:]])

    end = q + _TERMS
    total = term(end**-x, end) * 0.5 + term(end ** (1 - x) / (x - 1), end, [-((x - 1) ** -r) for r in range(1, n + 1)])
    for k in range(_TERMS):
        total = total + term((q + k) ** -x, q + k)
    value, powers = end ** (-x - 1) * x, [x**-r for r in range(1, n + 1)]
    for j, bernoulli in enumerate(_BERNOULLI, 1):
        total = total + bernoulli / math.factorial(2 * j) * term(value, end, powers)
        for m in (2 * j - 1, 2 * j):
            value = value * ((x + m) / end)
            powers = [s + (x + m) ** -r for r, s in enumerate(powers, 1)]
    return select(xp, inside, total, x.dtype.type(math.nan))


zeta_derivative = elementwise(
    _zeta_derivative,
    name="zeta_derivative",
    x=lambda g, x, q, n: g * zeta_derivative(x, q, n=n + 1),
    q=lambda g, x, q, n: (
        -g
        * (x * zeta_derivative(x + 1, q, n=n) + n * (zeta_derivative(x + 1, q, n=n - 1) if n > 1 else zeta(x + 1, q)))
    ),
)
_zeta = elementwise(
    scipys("zeta", ""),
    args=["x", "q"],
    x=lambda g, x, q: g * zeta_derivative(*_full_pair(x, q), n=1),
    q=lambda g, x, q: -g * full(x) * zeta(full(x) + 1, full(q)),
)


def zeta(x: Any, q: Any = 1.0) -> Any:
    """The Hurwitz zeta function, Σ (q + k)^-x over k = 0, 1, ...: Riemann's for q = 1.  inf at x = 1, NaN below.

    The gradient by x takes q > 0, else it is NaN.
    """
    return _zeta(*fit([x, q], "zeta"))
