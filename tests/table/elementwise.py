"""Element by element: arithmetic, exponentials, trigonometry, steps, choices."""

import numpy as np

import gpugrad as gg

from .row import binary, erf, row, unary

ROWS = [
    *binary("add", gg.add, np.add), *binary("subtract", gg.subtract, np.subtract),
    *binary("multiply", gg.multiply, np.multiply), *binary("divide", gg.divide, np.divide, 0.5, 2),
    *binary("pow", gg.pow, np.power, 0.5, 2), *binary("atan2", gg.atan2, np.arctan2, 0.5, 2),
    *binary("hypot", gg.hypot, np.hypot, 0.5, 2), *binary("logaddexp", gg.logaddexp, np.logaddexp),
    *binary("maximum", gg.maximum, np.maximum), *binary("minimum", gg.minimum, np.minimum),
    *binary("remainder", gg.remainder, np.remainder, 0.6, 0.9),
    unary("negative", gg.negative, np.negative), unary("positive", gg.positive, np.positive),
    unary("abs", gg.abs, np.abs, apart=0.1), unary("square", gg.square, np.square),
    unary("rsqrt", gg.rsqrt, lambda x: 1 / np.sqrt(x), 0.3, 2),
    unary("sqrt", gg.sqrt, np.sqrt, 0.5), unary("reciprocal", gg.reciprocal, np.reciprocal, 0.5),
    unary("exp", gg.exp, np.exp), unary("exp2", gg.exp2, np.exp2), unary("expm1", gg.expm1, np.expm1),
    unary("log", gg.log, np.log, 0.5), unary("log2", gg.log2, np.log2, 0.5), unary("log10", gg.log10, np.log10, 0.5),
    unary("log1p", gg.log1p, np.log1p, -0.5), unary("sin", gg.sin, np.sin), unary("cos", gg.cos, np.cos),
    unary("tan", gg.tan, np.tan, -1, 1), unary("asin", gg.asin, np.arcsin, -0.8, 0.8),
    unary("acos", gg.acos, np.arccos, -0.8, 0.8), unary("atan", gg.atan, np.arctan),
    unary("sinh", gg.sinh, np.sinh), unary("cosh", gg.cosh, np.cosh), unary("tanh", gg.tanh, np.tanh),
    unary("asinh", gg.asinh, np.arcsinh), unary("acosh", gg.acosh, np.arccosh, 1.5, 3),
    unary("atanh", gg.atanh, np.arctanh, -0.8, 0.8), unary("sign", gg.sign, np.sign, apart=0.1),
    unary("floor", gg.floor, np.floor, 0.2, 0.8), unary("ceil", gg.ceil, np.ceil, 0.2, 0.8),
    unary("trunc", gg.trunc, np.trunc, 0.2, 0.8), unary("round", gg.round, np.round, 0.1, 0.4),
    unary("erf", gg.erf, erf), unary("real", gg.real, np.real), unary("conj", gg.conj, np.conj),
    unary("imag", gg.imag, np.imag), unary("clip", lambda x: gg.clip(x, -0.5, 0.7), lambda x: np.clip(x, -0.5, 0.7)),
    unary("clip low", lambda x: gg.clip(x, min=0.1), lambda x: np.clip(x, 0.1, None)),
    unary("astype", lambda x: gg.astype(x, "float64"), lambda x: x.astype("float64")),
    *[unary(f"pow {p}", lambda x, p=p: x**p, lambda x, p=p: x**p, 0.5) for p in (0, 1, 2, 3, -1, 0.5, 2.5)],
    unary("pow of a number", lambda x: 2.0**x, lambda x: 2.0**x), unary("subtract from a number", lambda x: 1 - x, lambda x: 1 - x),
    unary("divide a number", lambda x: 2 / x, lambda x: 2 / x, 0.5), unary("multiply by numbers", lambda x: 0.5 * x * 3, lambda x: 1.5 * x),
    row("where", lambda x, y: gg.where(gg.tensor(np.arange(4) % 2 == 0), x, y), lambda x, y: np.where(np.arange(4) % 2 == 0, x, y),
        (3, 4), (4,)),
    row("where scalar", lambda x: gg.where(gg.tensor(np.arange(4) % 2 == 0), x, 7.0), lambda x: np.where(np.arange(4) % 2 == 0, x, 7.0)),
]  # fmt: skip
