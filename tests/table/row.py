"""A row of the op table, and what its references are made of."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

erf = np.vectorize(math.erf, otypes=[float])


class Row(NamedTuple):
    """One form of one op, and what it is tested with.

    name         the public name, then what is special about this form: "pad reflect"
    f            the op as a function of Tensors, answering one Tensor
    reference    the same in NumPy and SciPy, float64
    shapes       of the inputs, drawn from [low, high), at least `apart` from 0
    elementwise  also tried on 0-d and empty arrays
    complex      also tried on complex128: value, gradient and its gradient
    half         how many times the usual tolerance float16 and bfloat16 get; 0: not tried (the row says why)
    order        up to which order derivatives are compared with central differences
    kinks        ((inputs), (gradients)) for points where the formula does not say the gradient: our conventions
    empty        shapes with an axis of length 0, for which value and gradients are to be as NumPy's
    tolerance    relative, for float64; float32 gets 1e7 times as much
    """

    name: str
    f: Callable[..., Any]
    reference: Callable[..., Any]
    shapes: tuple = ((3, 4),)
    low: float = -2.0
    high: float = 2.0
    apart: float = 0.0
    elementwise: bool = False
    complex: bool = False
    half: float = 1.0
    order: int = 2
    kinks: tuple = ()
    empty: tuple = ()
    tolerance: float = 1e-12

    @property
    def op(self) -> str:
        return self.name.split("(")[0].split(" ")[0]


def row(name: str, f: Any, reference: Any, *shapes: tuple, **options: Any) -> Row:
    return Row(name, f, reference, shapes or ((3, 4),), **options)


def unary(
    name: str, f: Any, reference: Any, low: float = -2.0, high: float = 2.0, apart: float = 0.0, **options: Any
) -> Row:
    return Row(name, f, reference, ((3, 4),), low, high, apart, True, **options)


PAIRS = [((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (4,)), ((), (2, 3)), ((2, 3), ())]


def binary(
    name: str, f: Any, reference: Any, low: float = -2.0, high: float = 2.0, apart: float = 0.0, **options: Any
) -> list[Row]:
    """A row for each way in which two operands are broadcast."""
    return [
        Row(f"{name} {a}{b}".replace(" ", "").replace(name, f"{name} ", 1), f, reference, (a, b), low, high, apart, **options)
        for a, b in PAIRS
    ]  # fmt: skip


def inputs(row: Row, dtype: Any = np.float64) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    out = []
    for shape in row.shapes:
        x = rng.uniform(row.low, row.high, shape)
        if row.apart:
            x = np.where(np.abs(x) < row.apart, row.apart * 2 * np.where(x < 0, -1.0, 1.0), x)
        if np.dtype(dtype).kind == "c":
            x = x + 1j * rng.uniform(row.low, row.high, shape)
        out.append(np.asarray(x, dtype))
    return out


# ------------------------------------------------------------------------------------------ references
def logistic(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def normal(x, axis=-1, center=True, eps=1e-5):
    d = x - x.mean(axis, keepdims=True) if center else x
    return d / np.sqrt((d * d).mean(axis, keepdims=True) + eps)
