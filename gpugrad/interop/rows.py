"""A row for each op that can be written as ONNX: (graph, call) -> the name of its output, or of each.

`c[0]` is the first input in the dtype of the output, `c("axis")` a static argument, `c.number(2)` a constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..array import library, to_host
from ..dtypes import float32, is_float, is_inexact, wide
from .graph import Graph, Made

Row = Callable[[Graph, Made], Any]
ROWS: dict[str, Row] = {}
INT64, BOOL, INT32 = np.dtype(np.int64), np.dtype(bool), np.dtype(np.int32)


def row(*names: str) -> Callable[[Row], Row]:
    def named(f: Row) -> Row:
        ROWS.update(dict.fromkeys(names, f))
        return f

    return named


# ---------------------------------------------------------------------------------------------- element by element
# Inputs in the dtype of the output, one after the other.
SAME = {
    "abs": "Abs", "acos": "Acos", "acosh": "Acosh", "add": "Add", "asin": "Asin", "asinh": "Asinh", "atan": "Atan",
    "atanh": "Atanh", "ceil": "Ceil", "cos": "Cos", "cosh": "Cosh", "divide": "Div", "erf": "Erf", "exp": "Exp",
    "floor": "Floor", "gelu": "Gelu", "hardswish": "HardSwish", "log": "Log", "matmul": "MatMul", "maximum": "Max",
    "minimum": "Min", "mish": "Mish", "multiply": "Mul", "negative": "Neg", "positive": "Identity", "pow": "Pow",
    "reciprocal": "Reciprocal", "relu": "Relu", "sigmoid": "Sigmoid", "sign": "Sign", "sin": "Sin", "sinh": "Sinh",
    "softsign": "Softsign", "sqrt": "Sqrt", "subtract": "Sub", "tan": "Tan", "tanh": "Tanh", "to_device": "Identity",
}  # fmt: skip
# Inputs in the dtype that both have in NumPy; the output is bool.
COMPARED = {
    "equal": "Equal", "greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less",
    "less_equal": "LessOrEqual",
}  # fmt: skip
LOGICAL = {"logical_and": "And", "logical_not": "Not", "logical_or": "Or", "logical_xor": "Xor"}
BITWISE = {
    "bitwise_and": ("And", "BitwiseAnd"), "bitwise_invert": ("Not", "BitwiseNot"), "bitwise_or": ("Or", "BitwiseOr"),
    "bitwise_xor": ("Xor", "BitwiseXor"),
}  # fmt: skip
FORMULAS: dict[str, Row] = {
    "added": lambda g, c: g.Add(c[0], c[1]),
    "astype": lambda g, c: c[0],
    "at_least": lambda g, c: g.Max(c[0], c.number(c("least"))),
    "deg2rad": lambda g, c: g.Mul(c[0], c.number(math.pi / 180)),
    "exp2": lambda g, c: g.Pow(c.number(2), c[0]),
    "expm1": lambda g, c: _expm1(g, c, c[0]),
    "gelu_tanh": lambda g, c: g.Gelu(c[0], approximate="tanh"),
    "hardshrink": lambda g, c: g.Shrink(c[0], bias=0.0, lambd=float(c("lambd"))),
    "hardsigmoid": lambda g, c: g.HardSigmoid(c[0], alpha=1 / 6, beta=0.5),
    "hardtanh": lambda g, c: g.Clip(c[0], c.number(c("min_val")), c.number(c("max_val"))),
    "isinf": lambda g, c: g.IsInf(c.input(0)),
    "isnan": lambda g, c: g.IsNaN(c.input(0)),
    "leaky_relu": lambda g, c: g.LeakyRelu(c[0], alpha=float(c("negative_slope"))),
    "lerp": lambda g, c: g.Add(c[0], g.Mul(c[2], g.Sub(c[1], c[0]))),
    "log10": lambda g, c: g.Mul(g.Log(c[0]), c.number(1 / math.log(10))),
    "log2": lambda g, c: g.Mul(g.Log(c[0]), c.number(1 / math.log(2))),
    "log_sigmoid": lambda g, c: g.Neg(g.Softplus(g.Neg(c[0]))),
    "not_equal": lambda g, c: g.Not(_compared(g, c, "Equal")),
    "prelu": lambda g, c: g.Where(g.Greater(c[0], c.number(0)), c[0], g.Mul(c[0], c[1])),
    "rad2deg": lambda g, c: g.Mul(c[0], c.number(180 / math.pi)),
    "rsqrt": lambda g, c: g.Reciprocal(g.Sqrt(c[0])),
    "silu": lambda g, c: g.Mul(c[0], g.Sigmoid(c[0])),
    "softshrink": lambda g, c: g.Shrink(c[0], bias=float(c("lambd")), lambd=float(c("lambd"))),
    "square": lambda g, c: g.Mul(c[0], c[0]),
    "threshold": lambda g, c: g.Where(g.Greater(c[0], c.number(c("threshold"))), c[0], c.number(c("value"))),
    "where": lambda g, c: g.Where(c.input(0, BOOL), c[1], c[2]),
    "zeros_like": lambda g, c: g.Expand(c.number(0), g.dims(c.shapes)),
}
ROWS.update(FORMULAS)


def _compared(g: Graph, c: Made, kind: str) -> str:
    types = [a.dtype for a in c.one.args if library(a) is not None]
    dtype = np.result_type(*types)
    if not is_inexact(dtype) and any([isinstance(a, float) for a in c.one.args]):
        dtype = float32
    return getattr(g, kind)(c.input(0, dtype), c.input(1, dtype))


for _name, _kind in SAME.items():
    ROWS[_name] = lambda g, c, kind=_kind: getattr(g, kind)(*[c[i] for i in range(len(c))])
for _name, _kind in COMPARED.items():
    ROWS[_name] = lambda g, c, kind=_kind: _compared(g, c, kind)
for _name, _kind in LOGICAL.items():
    ROWS[_name] = lambda g, c, kind=_kind: getattr(g, kind)(*[c.input(i, BOOL) for i in range(len(c))])
for _name, _kinds in BITWISE.items():
    ROWS[_name] = lambda g, c, kinds=_kinds: getattr(g, kinds[c.dtype != BOOL])(*[c[i] for i in range(len(c))])


@row("clip")
def _clip(g: Graph, c: Made) -> Any:
    low, high = c("min"), c("max")
    if np.ndim(low) or np.ndim(high):
        x = c[0] if low is None else g.Max(c[0], c.number(to_host(low)))
        return x if high is None else g.Min(x, c.number(to_host(high)))
    return g.Clip(c[0], None if low is None else c.number(low), None if high is None else c.number(high))


@row("elu")
def _elu(g: Graph, c: Made) -> Any:
    alpha, scale, inner = [float(c(name)) for name in ("alpha", "scale", "input_scale")]
    if scale == inner == 1:
        return g.Elu(c[0], alpha=alpha)
    below = g.Mul(_expm1(g, c, g.Mul(g.Min(c[0], c.number(0)), c.number(inner))), c.number(alpha * scale))
    return g.Where(g.Greater(c[0], c.number(0)), g.Mul(c[0], c.number(scale)), below)


def _expm1(g: Graph, c: Made, x: str) -> str:
    """By u = exp(x): (u - 1) x / log(u) has the digits that u lost near 1 (Kahan)."""
    one, u = c.number(1), g.Exp(x)
    less = g.Sub(u, one)
    near = g.Where(g.Equal(u, one), x, g.Mul(less, g.Div(x, g.Log(u))))
    return g.Where(g.Less(g.Abs(x), one), near, less)


@row("log1p")
def _log1p(g: Graph, c: Made) -> Any:
    """By u = 1 + x: log(u) x / (u - 1), likewise."""
    x, one = c[0], c.number(1)
    u = g.Add(x, one)
    log = g.Log(u)
    near = g.Where(g.Equal(u, one), x, g.Mul(log, g.Div(x, g.Sub(u, one))))
    return g.Where(g.Less(g.Abs(x), c.number(0.5)), near, log)


@row("glu")
def _glu(g: Graph, c: Made) -> Any:
    one, two = g.Split(c[0], outs=2, axis=c("axis"), num_outputs=2)
    return g.Mul(one, g.Sigmoid(two))


@row("softplus")
def _softplus(g: Graph, c: Made) -> Any:
    beta, threshold = c("beta"), c("threshold")
    z = g.Mul(c[0], c.number(beta))
    out = g.Div(g.Softplus(z), c.number(beta))
    if threshold is None or threshold >= 20:  # where it is x within half a digit of float32
        return out
    return g.Where(g.Greater(z, c.number(threshold)), c[0], out)


@row("softmax", "log_softmax")
def _softmax(g: Graph, c: Made) -> Any:
    if not isinstance(c("axis"), int):
        total = reduce(g, "ReduceLogSumExp", c[0], axes_of(c), True)
        out = g.Sub(c[0], total)
        return g.Exp(out) if c.one.name == "softmax" else out
    return (g.Softmax if c.one.name == "softmax" else g.LogSoftmax)(c[0], axis=c("axis"))


@row("remainder", "fmod", "floor_divide")
def _divided(g: Graph, c: Made) -> Any:
    if c.one.name == "fmod":
        return g.Mod(c[0], c[1], fmod=1)
    if is_float(c.dtype):
        return _divided_floats(g, c)
    rest = g.Mod(c[0], c[1])  # of the sign of the second, so that what is left divides
    return rest if c.one.name == "remainder" else g.Div(g.Sub(c[0], rest), c[1])


def _divided_floats(g: Graph, c: Made) -> str:
    """As NumPy: from what exactly is left, since x / y may round up to a whole number."""
    dtype = wide(c.dtype)
    x, y, zero, one = c.input(0, dtype), c.input(1, dtype), c.number(0, dtype), c.number(1, dtype)
    rest = g.Mod(x, y, fmod=1)  # of the sign of x
    other = g.And(g.Not(g.Equal(rest, zero)), g.Xor(g.Less(rest, zero), g.Less(y, zero)))
    if c.one.name == "remainder":
        return g.cast(g.Where(other, g.Add(rest, y), rest), dtype, c.dtype)
    times = g.Div(g.Sub(x, rest), y)  # whole but for rounding
    times = g.Where(other, g.Sub(times, one), times)
    whole = g.Floor(times)
    whole = g.Where(g.Greater(g.Sub(times, whole), c.number(0.5, dtype)), g.Add(whole, one), whole)
    return g.cast(g.Where(g.Equal(y, zero), g.Div(x, y), whole), dtype, c.dtype)


# ---------------------------------------------------------------------------------------------- products
ACTIVATED: dict[str, Callable[[Graph, str], str]] = {
    "gelu": lambda g, x: g.Gelu(x),
    "gelu_tanh": lambda g, x: g.Gelu(x, approximate="tanh"),
    "relu": lambda g, x: g.Relu(x),
    "sigmoid": lambda g, x: g.Sigmoid(x),
    "silu": lambda g, x: g.Mul(x, g.Sigmoid(x)),
    "tanh": lambda g, x: g.Tanh(x),
}


@row("linear", *[f"linear_{name}" for name in ACTIVATED])
def _linear(g: Graph, c: Made) -> Any:
    if len(c.shape) == 2 and len(c.value(2).shape) == 1:
        out = g.Gemm(c[0], c[1], c[2])
    else:
        out = g.Add(g.MatMul(c[0], c[1]), c[2])
    kind = c.one.name.removeprefix("linear").removeprefix("_")
    return ACTIVATED[kind](g, out) if kind else out


for _name, _f in ACTIVATED.items():
    ROWS[f"feed_forward_{_name}"] = lambda g, c, f=_f: g.Add(
        g.MatMul(f(g, g.Add(g.MatMul(c[0], c[1]), c[2])), c[3]), c[4]
    )


@row("embedding")
def _embedding(g: Graph, c: Made) -> Any:
    return g.Gather(c[0], c.input(1, INT64 if c.value(1).dtype != INT32 else INT32), axis=0)


@row("scaled_dot_product_attention")
def _attention(g: Graph, c: Made) -> Any:
    how, dtype = c("how"), wide(c.dtype)
    if how.rate:
        raise g.error("drops weights at random: export the model in evaluation, model.eval()")
    q, k, v = [c.input(i, dtype) for i in range(3)]
    n = len(c.value(1).shape)
    turned = g.Transpose(k, perm=[*range(n - 2), n - 1, n - 2])
    scores = g.MatMul(g.Mul(q, c.number(how.scale, dtype)), turned)
    seen, mask = [], c.one.args[3]
    if mask is not None and mask.dtype == BOOL:
        seen.append(c.input(3))
    elif mask is not None:
        given, low = c.input(3, dtype), c.number(-1e30, dtype)
        scores = g.Add(scores, g.Max(given, low))
        if not _constant_rows(g, mask):
            seen.append(g.Greater(given, low))
    if how.causal:
        rows, columns = [_numbers(g, *c.value(i).sizes[-2]) for i in (0, 1)]
        seen.append(g.GreaterOrEqual(g.Unsqueeze(rows, g.ints(1)), columns))
    for mask in seen:
        scores = g.Where(mask, scores, c.number(-1e30, dtype))
    weights = g.Softmax(scores, axis=-1)
    for mask in seen:  # a row that looks at nothing answers 0
        weights = g.Where(mask, weights, c.number(0, dtype))
    return g.cast(g.MatMul(weights, v), dtype, c.dtype)


def _constant_rows(g: Graph, mask: Any) -> bool:
    """Whether the mask is a constant that leaves every row something to look at."""
    value = g.known(mask)
    return value is not None and value.name in g.constants and bool((to_host(mask) > -1e30).any(-1).all())


def _numbers(g: Graph, *sizes: int) -> str:
    """0, 1, ... up to a size, which is one of these in each run."""
    if len(set(sizes)) == 1:
        return g.constant(np.arange(sizes[0]))
    return g.Range(g.constant(np.int64(0)), g.Squeeze(g.size(*sizes)), g.constant(np.int64(1)))


# ---------------------------------------------------------------------------------------------- many to one
REDUCED = {
    "logsumexp": "ReduceLogSumExp", "max": "ReduceMax", "mean": "ReduceMean", "min": "ReduceMin", "prod": "ReduceProd",
    "sum": "ReduceSum", "vector_norm": "ReduceL2",
}  # fmt: skip


def axes_of(c: Made) -> list[int] | None:
    axis = c("axis")
    return None if axis is None else [int(a) for a in (axis if isinstance(axis, (tuple, list)) else (axis,))]


def reduce(g: Graph, kind: str, x: str, axes: Sequence[int] | None, keepdims: bool) -> str:
    if axes is not None and not axes:
        return g.Identity(x)
    return getattr(g, kind)(x, None if axes is None else g.ints(*axes), keepdims=int(keepdims))


@row(*REDUCED)
def _reduced(g: Graph, c: Made) -> Any:
    return reduce(g, REDUCED[c.one.name], c[0], axes_of(c), c("keepdims"))


@row("all", "any")
def _truth(g: Graph, c: Made) -> Any:
    kind = "ReduceMin" if c.one.name == "all" else "ReduceMax"
    x = g.cast(c.input(0, BOOL), BOOL, INT32)
    return g.cast(reduce(g, kind, x, axes_of(c), c("keepdims")), INT32, BOOL)


@row("argmax", "argmin")
def _place(g: Graph, c: Made) -> Any:
    axis, kind = c("axis"), g.ArgMax if c.one.name == "argmax" else g.ArgMin
    if axis is None:
        if c("keepdims"):
            raise g.error("over all axes with keepdims has no row: give the axis")
        return g.cast(kind(g.Reshape(c.input(0), g.ints(-1)), axis=0, keepdims=0), INT64, c.dtype)
    return g.cast(kind(c.input(0), axis=axis, keepdims=int(c("keepdims"))), INT64, c.dtype)


@row("var", "std")
def _variance(g: Graph, c: Made) -> Any:
    x, axes = c.value(0), axes_of(c)
    d = g.Sub(c[0], reduce(g, "ReduceMean", c[0], axes, True))
    over = range(len(x.shape)) if axes is None else axes
    if not all([x.fixed(a) for a in over]):
        raise g.error("over an axis of a free size has no row")
    count = math.prod([x.shape[a] for a in over])
    total = reduce(g, "ReduceSum", g.Mul(d, d), axes, c("keepdims"))
    out = g.Mul(total, c.number(1 / max(count - c("correction"), 0)))
    return out if c.one.name == "var" else g.Sqrt(out)


@row("cumsum")
def _cumsum(g: Graph, c: Made) -> Any:
    return g.CumSum(c[0], g.constant(np.int64(c("axis"))))
