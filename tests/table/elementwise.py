"""Element by element: arithmetic, powers, complex numbers, exponentials, trigonometry, steps, choices."""

import numpy as np

import gpugrad as gg

from .row import binary, erf, row, unary

INF, NAN = np.inf, np.nan
EVEN = np.arange(4) % 2 == 0


def both(name, f, reference, *domain, **options):
    """Rows for real and complex numbers."""
    return binary(name, f, reference, *domain, complex=True, **options)


def pair(name, f, reference, **options):
    """One row: the other ways to broadcast are the engine's, and tried with `binary`."""
    return row(name, f, reference, (3, 4), (4,), **options)


def holomorphic(name, f, reference, *domain, **options):
    return unary(name, f, reference, *domain, complex=True, **options)


def same(name, *domain, numpys="", **options):
    """A row for a function that NumPy has."""
    return unary(name, getattr(gg, name), getattr(np, numpys or name), *domain, **options)


def entire(name, *domain, numpys="", **options):
    return same(name, *domain, numpys=numpys, complex=True, **options)


ROWS = [
    unary("to_device", lambda x: gg.to_device(x, "cpu"), lambda x: x),
    *both("add", gg.add, np.add), pair("subtract", gg.subtract, np.subtract, complex=True),
    *both("multiply", gg.multiply, np.multiply), *both("divide", gg.divide, np.divide, 0.5, 2),
    *both("pow", gg.pow, np.power, 0.5, 2, kinks=(
        ((0.0, 2.0), (0, 0)), ((0.0, 0.0), (0, 0)), ((2.0, 0.0), (0, np.log(2.0))), ((0.0, 0.5), (INF, 0)),
    )),
    row("float_power", lambda x, y: gg.astype(gg.float_power(x, y), x.dtype), np.float_power, (3, 4), (4,),
        low=0.5, complex=True),
    row("float_power 2", lambda x: gg.astype(gg.float_power(x, 2), x.dtype), lambda x: np.float_power(x, 2), complex=True),
    row("lerp", gg.lerp, lambda x, y, w: x + w * (y - x), (3, 4), (4,), (3, 1), complex=True),
    row("lerp number", lambda x, y: gg.lerp(x, y, 0.7), lambda x, y: x + 0.7 * (y - x), (3, 4), (3, 1), complex=True),
    *binary("atan2", gg.atan2, np.arctan2, 0.5, 2, kinks=(((0.0, 0.0), (0, 0)), ((0.0, -1.0), (-1, 0)))),
    pair("hypot", gg.hypot, np.hypot, low=0.5, kinks=(((0.0, 0.0), (0, 0)), ((0.0, -2.0), (0, -1)))),
    pair("logaddexp", gg.logaddexp, np.logaddexp, kinks=(
        ((-INF, -INF), (0, 0)), ((-INF, 1.0), (0, 1)), ((INF, 1.0), (1, 0)),
    )),
    pair("logaddexp2", gg.logaddexp2, np.logaddexp2, kinks=(((-INF, -INF), (0, 0)), ((INF, -INF), (1, 0)))),
    *binary("maximum", gg.maximum, np.maximum, kinks=(((1.0, 1.0), (0.5, 0.5)), ((INF, -INF), (1, 0)))),
    pair("minimum", gg.minimum, np.minimum, kinks=(((1.0, 1.0), (0.5, 0.5)), ((INF, -INF), (0, 1)))),
    pair("fmax", gg.fmax, np.fmax, kinks=(
        ((1.0, 1.0), (0.5, 0.5)), ((NAN, 1.0), (0, 1)), ((1.0, NAN), (1, 0)), ((NAN, NAN), (1, 0)),
    )),
    pair("fmin", gg.fmin, np.fmin, kinks=(((1.0, 1.0), (0.5, 0.5)), ((NAN, 1.0), (0, 1)), ((1.0, NAN), (1, 0)))),
    pair("remainder", gg.remainder, np.remainder, low=0.6, high=0.9, kinks=(((4.0, 2.0), (1, -2)), ((1.0, 0.1), (1, -9)))),
    pair("fmod", gg.fmod, np.fmod, low=0.6, high=0.9, kinks=(
        ((4.0, 2.0), (1, -2)), ((1.0, 0.1), (1, -9)), ((-7.0, 2.0), (1, 3)),
    )),
    pair("floor_divide", gg.floor_divide, np.floor_divide, low=0.6, high=0.9, kinks=(((4.0, 2.0), (0, 0)),)),
    pair("copysign", gg.copysign, np.copysign, apart=0.1,
        kinks=(((0.0, 1.0), (0, 0)), ((1.0, -0.0), (-1, 0)), ((-INF, 1.0), (-1, 0)))),
    pair("heaviside", gg.heaviside, np.heaviside, apart=0.1,
        kinks=((([0.0, 1.0], [0.5, 0.5]), ([0, 0], [1, 0])),)),
    entire("negative"), entire("positive"), entire("square"),
    entire("abs", apart=0.1, kinks=(((0.0,), (0,)),)), entire("sign", apart=0.1, kinks=(((0.0,), (0,)),)),
    entire("angle", apart=0.1, kinks=((([0.0, -1.0, NAN],), ([0, 0, 0],)),)),
    entire("real"), entire("imag"), entire("conj"),
    holomorphic("rsqrt", gg.rsqrt, lambda x: 1 / np.sqrt(x), 0.3, 2),
    entire("sqrt", 0.5, kinks=(((0.0,), (INF,)),)), same("cbrt", apart=0.3, kinks=(((0.0,), (INF,)), ((-8.0,), (1 / 12,)))),
    entire("reciprocal", 0.5), entire("exp"), entire("exp2"), entire("expm1"), entire("log", 0.5), entire("log2", 0.5),
    entire("log10", 0.5), entire("log1p", -0.5),
    entire("sin"), entire("cos"), entire("tan", -1, 1), entire("asin", -0.8, 0.8, numpys="arcsin"),
    entire("acos", -0.8, 0.8, numpys="arccos"), entire("atan", -0.8, 0.8, numpys="arctan"),
    entire("sinh"), entire("cosh"), entire("tanh", -1, 1), entire("asinh", -0.8, 0.8, numpys="arcsinh"),
    entire("acosh", 1.5, 3, numpys="arccosh"), entire("atanh", -0.8, 0.8, numpys="arctanh"),
    entire("sinc", apart=0.1, kinks=(((0.0,), (0,)),)),
    same("deg2rad"), same("rad2deg"),
    same("floor", 0.2, 0.8, kinks=(((1.0,), (0,)),)), same("ceil", 0.2, 0.8, kinks=(((1.0,), (0,)),)),
    same("trunc", 0.2, 0.8, kinks=(((1.0,), (0,)),)), same("round", 0.1, 0.4, kinks=(((0.5,), (0,)),)),
    unary("round decimals", lambda x: gg.round(x * 0 + 0.26 + x / 100, decimals=1), lambda x: np.round(0.26 + x / 100, 1)),
    unary("round tens", lambda x: gg.round(x + 26, decimals=-1), lambda x: np.round(x + 26, -1)),
    unary("frac", gg.frac, lambda x: x - np.trunc(x), 1.2, 1.8, kinks=((([1.0, -1.5],), ([1, 1],)),)),
    unary("erf", gg.erf, erf),
    unary("clip", lambda x: gg.clip(x, -0.5, 0.7), lambda x: np.clip(x, -0.5, 0.7),
          kinks=((([-0.5, 0.7, 1.0, NAN, INF],), ([1, 1, 0, 0, 0],)),)),
    unary("clip low", lambda x: gg.clip(x, min=0.1), lambda x: np.clip(x, 0.1, None)),
    unary("clip high", lambda x: gg.clip(x, max=0.1), lambda x: np.clip(x, None, 0.1)),
    row("clip tensors", gg.clip, lambda x, a, b: np.minimum(np.maximum(x, a), b), (3, 4), (4,), (),
        kinks=((([1.0, 2.0, -1.0, 0.0], [0.0] * 4, 1.0), ([1, 0, 0, 1], [0, 0, 1, 0], 1)),)),
    entire("nan_to_num"),
    unary("nan_to_num numbers", lambda x: gg.nan_to_num(x, 1.0, 2.0, -2.0), np.nan_to_num,
          kinks=((([NAN, INF, -INF, 1.0],), ([0, 0, 0, 1],)),)),
    unary("astype", lambda x: gg.astype(x, "float64"), lambda x: x.astype("float64")),
    *[holomorphic(f"pow {p}", lambda x, p=p: x**p, lambda x, p=p: x**p, 0.5, kinks=(((0.0,), (slope,)),))
      for p, slope in ((0, 0), (1, 1), (2, 0), (3, 0), (-1, -INF), (0.5, INF), (2.5, 0))],
    holomorphic("pow of a number", lambda x: 2.0**x, lambda x: 2.0**x), holomorphic("subtract from a number", lambda x: 1 - x, lambda x: 1 - x),
    holomorphic("divide a number", lambda x: 2 / x, lambda x: 2 / x, 0.5),
    holomorphic("multiply by numbers", lambda x: 0.5 * x * 3, lambda x: 1.5 * x),
    row("where", lambda x, y: gg.where(gg.tensor(EVEN), x, y), lambda x, y: np.where(EVEN, x, y), (3, 4), (4,), complex=True),
    row("where scalar", lambda x: gg.where(gg.tensor(EVEN), x, 7.0), lambda x: np.where(EVEN, x, 7.0), complex=True),
]  # fmt: skip
