"""Error functions, the normal distribution, entropies, logit, Bessel functions: SciPy's on the CPU, CuPy's on a GPU.

Half types are computed in float32, here and in the rules.  Complex numbers go where SciPy takes them, on the CPU only.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..array import special
from ..core import raw
from ..dtypes import wide
from ..forward import as_float, fit, promoted, select
from ..op import elementwise
from .casting import astype
from .choice import clip
from .logic import where
from .math import abs, exp, log, log1p, sign

SQRT_2, SQRT_PI, SQRT_2PI = math.sqrt(2), math.sqrt(math.pi), math.sqrt(2 * math.pi)


# ---------------------------------------------------------------------------------------------- dtypes and operands
def full(x: Any) -> Any:
    """Tensor or array x in the dtype that rules compute in: float32 for the half types."""
    return astype(x, wide(raw(x).dtype))


def full_arrays(xs: tuple[Any, ...]) -> tuple[list[Any], np.dtype]:
    """(arrays xs in the dtype to compute in, the dtype of the result)."""
    xs = tuple([as_float(x, xs[i - 1]) for i, x in enumerate(xs)])
    dtype = promoted(*[x.dtype for x in xs]) if len(xs) > 1 else xs[0].dtype
    return [x.astype(wide(dtype), copy=False) for x in xs], dtype


def computed(name: str, f: Callable[..., Any], doc: str | None = None) -> Callable[..., Any]:
    """The forward that calls f(xp, *arrays, **static) in the dtype to compute in, and answers in that of the input."""

    def forward(xp: Any, *xs: Any, **static: Any) -> Any:
        zs, dtype = full_arrays(xs)
        return xp.asarray(f(xp, *zs, **static)).astype(dtype, copy=False)

    forward.__name__, forward.__doc__ = name, doc or f.__doc__
    return forward


def scipys(name: str, doc: str) -> Callable[..., Any]:
    """The forward that calls SciPy's or CuPy's function `name`."""
    return computed(name, lambda xp, *zs: getattr(special(zs[0]), name)(*zs), doc)


def paired(f: Any) -> Any:
    """Op f of two operands; numbers and lists among them become arrays that go with the other."""

    def call(x: Any, y: Any) -> Any:
        return f(*fit([x, y], f.op.name))

    call.__name__ = call.__qualname__ = f.op.name
    call.__module__, call.__doc__, call.op = f.__module__, f.__doc__, f.op  # type: ignore[attr-defined]
    return call


# ---------------------------------------------------------------------------------------------- error functions
def _erf_slope(x: Any) -> Any:
    z = full(x)
    return exp(-(z * z)) * (2 / SQRT_PI)


erf = elementwise(
    scipys("erf", "The error function, 2/√π ∫ exp(-t²) dt from 0 to x."), args=["x"], x=lambda g, x: g * _erf_slope(x)
)
erfc = elementwise(
    scipys("erfc", "1 - erf(x), which keeps the upper tail."), args=["x"], x=lambda g, x: -g * _erf_slope(x)
)
erfinv = elementwise(
    scipys("erfinv", "The y with erf(y) = x, for x in [-1, 1]; ±inf at the ends, NaN beyond."),
    args=["x"],
    x=lambda g, out: g * exp(full(out) ** 2) * (SQRT_PI / 2),
)
erfcinv = elementwise(
    scipys("erfcinv", "The y with erfc(y) = x, for x in [0, 2]; ±inf at the ends, NaN beyond."),
    args=["x"],
    x=lambda g, out: -g * exp(full(out) ** 2) * (SQRT_PI / 2),
)


def _iterated(xp: Any, x: Any, *, n: int) -> Any:
    """exp(x²) times the n-th repeated integral of erfc (Abramowitz & Stegun 7.2).

    By the recurrence in n up to x = 2; beyond, where that would cancel, by the continued fraction of the ratios.
    """
    far = x.real > 2
    near, right = select(xp, far, x.dtype.type(0), x), select(xp, far, x, x.dtype.type(2))
    before, out = 2 / SQRT_PI, special(x).erfcx(near)
    for k in range(1, n + 1):
        before, out = out, before / (2 * k) - near * out / k
    tail, ratio = special(x).erfcx(right), 1 / (right + xp.sqrt(right * right + 2 * (n + 40)))
    for k in range(n + 38, 0, -1):
        ratio = 1 / (2 * (right + (k + 1) * ratio))
        tail = tail * ratio if k <= n else tail
    return select(xp, far, tail, out)


erfcx = elementwise(
    scipys("erfcx", "exp(x²) erfc(x), which neither underflows nor cancels on the right."),
    args=["x"],
    x=lambda g, x: g * -2 * erfcx_integral(full(x), n=1),
)
erfcx_integral = elementwise(
    _iterated, name="erfcx_integral", x=lambda g, x, n: g * (-2 * (n + 1)) * erfcx_integral(x, n=n + 1)
)


# ---------------------------------------------------------------------------------------------- the normal distribution
def _normal_density(x: Any) -> Any:
    z = full(x)
    return exp(z * z * -0.5) * (1 / SQRT_2PI)


ndtr = elementwise(
    scipys("ndtr", "The normal distribution function, 1/√(2π) ∫ exp(-t²/2) dt from -inf to x."),
    args=["x"],
    x=lambda g, x: g * _normal_density(x),
)
ndtri = elementwise(
    scipys("ndtri", "The y with ndtr(y) = x, for x in [0, 1]; ±inf at the ends, NaN beyond."),
    args=["x"],
    x=lambda g, out: g * exp(full(out) ** 2 * 0.5) * SQRT_2PI,
)
log_ndtr = elementwise(
    scipys("log_ndtr", "log(ndtr(x)), without log(0) in the lower tail."),
    args=["x"],
    x=lambda g, x: g * mills(full(x)),
)


def _mills(xp: Any, x: Any) -> Any:
    """The density of the normal distribution over its distribution function: the inverse Mills ratio, at -x."""
    return math.sqrt(2 / math.pi) / special(x).erfcx(x * -(1 / SQRT_2))


def _beyond(x: Any, ratio: Any) -> Any:
    """x + the ratio, which is about -1/x in the lower tail."""
    left = raw(x) < 0
    z = where(left, x, 0.0) * -(1 / SQRT_2)
    return where(left, erfcx_integral(z, n=1) / erfcx(z) * SQRT_2, x + ratio)


mills = elementwise(_mills, name="mills", x=lambda g, x, out: -g * out * _beyond(x, out))


# ---------------------------------------------------------------------------------------------- x log y
def _outside(x: Any, y: Any, end: float) -> Any:
    """Where x is 0 and the logarithm of y - end is infinite or none."""
    return (raw(x) == 0) & (raw(y) == end if raw(y).dtype.kind == "c" else raw(y) <= end)


def _xlogy(xp: Any, x: Any, y: Any) -> Any:
    """x log(y), and 0 where x is 0 unless y is NaN.

    Kink: 0 for both at x = 0, y <= 0.
    """
    return x * xp.log(select(xp, (x == 0) & (y == y), y.dtype.type(1), y))


def _xlog1py(xp: Any, x: Any, y: Any) -> Any:
    """x log(1 + y), and 0 where x is 0 unless y is NaN.

    Kink: 0 for both at x = 0, y <= -1.
    """
    return x * log1p(select(xp, (x == 0) & (y == y), y.dtype.type(0), y))


xlogy = paired(
    elementwise(
        computed("xlogy", _xlogy),
        args=["x", "y"],
        x=lambda g, x, y: g * log(where(_outside(x, y, 0), 1, full(y))),
        y=lambda g, x, y: g * full(x) / where(_outside(x, y, 0), 1, full(y)),
    )
)
xlog1py = paired(
    elementwise(
        computed("xlog1py", _xlog1py),
        args=["x", "y"],
        x=lambda g, x, y: g * log1p(where(_outside(x, y, -1), 0, full(y))),
        y=lambda g, x, y: g * full(x) / (where(_outside(x, y, -1), 0, full(y)) + 1),
    )
)


def _entr(xp: Any, x: Any) -> Any:
    """-x log(x), 0 at 0, -inf below.

    Kink: inf at 0, NaN below.
    """
    y = select(xp, x > 0, x, x.dtype.type(1))
    return select(xp, x > 0, -y * xp.log(y), select(xp, x < 0, x.dtype.type(-math.inf), x))


entr = elementwise(computed("entr", _entr), args=["x"], x=lambda g, x: g * (-1 - log(full(x))))


def _of_pair(x: Any, y: Any, value: Any) -> Any:
    """`value` where x and y are not negative, NaN elsewhere."""
    return where((raw(x) >= 0) & (raw(y) >= 0), value, math.nan)


def _over(x: Any, y: Any) -> Any:
    """x / y, and 0 where both are 0."""
    return full(x) / where((raw(x) == 0) & (raw(y) == 0), 1, full(y))


@elementwise(name="log_ratio", x=lambda g, x: g / x, y=lambda g, y: -g / y)
def _log_ratio(xp: Any, x: Any, y: Any) -> Any:
    """log(x / y), also where the quotient is nearly 1 or leaves the range."""
    apart = xp.log(x) - xp.log(y)
    far, one = xp.abs(apart) > 0.9 * math.log(np.finfo(apart.dtype).max), x.dtype.type(1)
    x, y = select(xp, far, one, x), select(xp, far, one, y)
    near = xp.abs(x / y - 1) < 0.5
    return select(xp, far, apart, select(xp, near, xp.log1p((x - y) / y), xp.log(x / y)))


def _divergence(xp: Any, x: Any, y: Any, inside: Callable[..., Any], edge: Any) -> Any:
    """inside(x, y, log(x / y)) where both are positive, `edge` at x = 0 <= y, else inf; NaN where one is."""
    positive, one = (x > 0) & (y > 0), x.dtype.type(1)
    a, b = select(xp, positive, x, one), select(xp, positive, y, one)
    outside = select(xp, (x == 0) & (y >= 0), edge, select(xp, (x == x) & (y == y), x.dtype.type(math.inf), x + y))
    return select(xp, positive, inside(a, b, _log_ratio(a, b)), outside)


def _rel_entr(xp: Any, x: Any, y: Any) -> Any:
    """x log(x / y), 0 at x = 0 <= y, inf where one is < 0.

    Kink: NaN for x and 0 for y where both are 0.
    """
    return _divergence(xp, x, y, lambda x, y, log_ratio: x * log_ratio, x.dtype.type(0))


def _kl_div(xp: Any, x: Any, y: Any) -> Any:
    """x log(x / y) - x + y, inf where one is < 0.

    Kink: NaN for x and 1 for y where both are 0.
    """
    return _divergence(xp, x, y, lambda x, y, log_ratio: x * log_ratio - x + y, y)


rel_entr = paired(
    elementwise(
        computed("rel_entr", _rel_entr),
        args=["x", "y"],
        x=lambda g, x, y: g * _of_pair(x, y, _log_ratio(full(x), full(y)) + 1),
        y=lambda g, x, y: -g * _of_pair(x, y, _over(x, y)),
    )
)
kl_div = paired(
    elementwise(
        computed("kl_div", _kl_div),
        args=["x", "y"],
        x=lambda g, x, y: g * _of_pair(x, y, _log_ratio(full(x), full(y))),
        y=lambda g, x, y: g * _of_pair(x, y, _over(y - x, y) + ((raw(x) == 0) & (raw(y) == 0))),
    )
)


# ---------------------------------------------------------------------------------------------- logit
def _logit(xp: Any, x: Any) -> Any:
    if x.dtype.kind == "c":
        return xp.log(x / (1 - x))
    middle = xp.abs(x - 0.5) < 0.2  # where the logarithm of a quotient near 1 would lose digits
    inner, outer = select(xp, middle, x, x.dtype.type(0.5)), select(xp, middle, x.dtype.type(0.5), x)
    return select(xp, middle, 2 * xp.arctanh(2 * inner - 1), xp.log(outer / (1 - outer)))


def _logit_slope(x: Any) -> Any:
    z = full(x)
    slope = 1 / (z * (1 - z))
    return slope if z.dtype.kind == "c" else where((raw(z) >= 0) & (raw(z) <= 1), slope, math.nan)


_logit_op = elementwise(computed("logit", _logit), name="logit", args=["x"], x=lambda g, x: g * _logit_slope(x))


def logit(x: Any, eps: float | None = None) -> Any:
    """log(x / (1 - x)), for x in [0, 1]; ±inf at the ends, NaN beyond; with `eps`, of x limited to [eps, 1 - eps].

    ValueError unless 0 <= eps <= 1/2.

    Kink: 1 / (x (1 - x)) at eps and 1 - eps, 0 beyond.
    """
    if eps is None:
        return _logit_op(x)
    if not 0 <= eps <= 0.5:
        raise ValueError(f"logit: eps is a number from 0 to 0.5, given {eps}")
    return _logit_op(clip(x, eps, 1 - eps))


# ---------------------------------------------------------------------------------------------- Bessel functions
def _far(dtype: np.dtype) -> float:
    """Where the asymptotic series begins to have all digits of the dtype."""
    return 10.0 if dtype.itemsize == 4 else 30.0


def _tail(xp: Any, x: Any, *, order: int, n: int) -> Any:
    """The n-th derivative of exp(-x) I_order(x) for large x, by the asymptotic series (A&S 9.7.1)."""
    a, terms = 1 / SQRT_2PI, []
    for k in range(20):
        terms.append(a * math.prod(-(k + 0.5 + i) for i in range(n)))
        a *= ((2 * k + 1) ** 2 - 4 * order**2) / (8 * (k + 1))
    r = 1 / x
    total = xp.zeros_like(x)
    for term in reversed(terms):
        total = total * r + term
    return total * r**n * xp.sqrt(r)


bessel_tail = elementwise(_tail, name="bessel_tail", x=lambda g, x, order, n: g * bessel_tail(x, order=order, n=n + 1))


def _scaled(xp: Any, x: Any, order: int) -> Any:
    """exp(-|x|) I_order(x), order 0 or 1.  CuPy's is 0 times inf where I overflows: the series there."""
    name = f"i{order}e"
    if xp is np:
        return getattr(special(x), name)(x)
    size, limit = xp.abs(x), x.dtype.type(_far(x.dtype))
    far = size > limit
    tail = _tail(xp, select(xp, far, size, limit), order=order, n=0)
    tail = select(xp, x < 0, -tail, tail) if order else tail
    return select(xp, far, tail, getattr(special(x), name)(select(xp, far, limit, x)))


def _scaled_slope(x: Any, order: int, near: Callable[..., Any]) -> Any:
    """The derivative of exp(-|x|) I_order(x): near(x), and far out, where that would cancel, the series'."""
    x = full(x)
    limit = _far(x.dtype)
    far = (raw(x) > limit) | (raw(x) < -limit)
    tail = bessel_tail(where(far, abs(x), limit), order=order, n=1)
    return where(far, tail if order else sign(x) * tail, near(where(far, limit, x)))


def _over_power(xp: Any, x: Any, *, n: int, scaled: bool) -> Any:
    """I_n(x) / xⁿ, a function of x² without a pole; `scaled`: times exp(-|x|).

    By its power series up to |x| = 3, beyond by the recurrence in n, which would cancel below (A&S 9.6.10, 9.6.26).
    """
    far = xp.abs(x) > 3
    square = select(xp, far, x.dtype.type(0), x)
    square = square * square / 4
    term = near = xp.ones_like(x) / (2.0**n * math.factorial(n))
    for k in range(1, 20):
        term = term * square / (k * (n + k))
        near = near + term
    y = select(xp, far, x, x.dtype.type(4))
    if scaled:
        before, out = _scaled(xp, y, 0), _scaled(xp, y, 1) / y
    else:
        before, out = special(y).i0(y), special(y).i1(y) / y
    for k in range(1, n):
        before, out = out, (before - 2 * k * out) / (y * y)
    return select(xp, far, out, near * xp.exp(-xp.abs(x)) if scaled else near)


bessel_ratio = elementwise(
    _over_power,
    name="bessel_ratio",
    x=lambda g, x, out, n, scaled: g * (x * bessel_ratio(x, n=n + 1, scaled=scaled) - (sign(x) * out if scaled else 0)),
)
i0 = elementwise(
    scipys("i0", "I₀(x), the modified Bessel function of the first kind of order 0."),
    args=["x"],
    x=lambda g, x: g * i1(full(x)),
)
i1 = elementwise(
    scipys("i1", "I₁(x), the modified Bessel function of the first kind of order 1."),
    args=["x"],
    x=lambda g, x: g * (i0(full(x)) - bessel_ratio(full(x), n=1, scaled=False)),
)
i0e = elementwise(
    computed("i0e", lambda xp, x: _scaled(xp, x, 0), "exp(-|x|) I₀(x), which does not overflow.\n\nKink: 0 at 0."),
    args=["x"],
    x=lambda g, x: g * _scaled_slope(x, 0, lambda x: i1e(x) - sign(x) * i0e(x)),
)
i1e = elementwise(
    computed("i1e", lambda xp, x: _scaled(xp, x, 1), "exp(-|x|) I₁(x), which does not overflow."),
    args=["x"],
    x=lambda g, x: g * _scaled_slope(x, 1, lambda x: i0e(x) - bessel_ratio(x, n=1, scaled=True) - sign(x) * i1e(x)),
)
