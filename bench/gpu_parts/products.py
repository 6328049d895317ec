"""The products that are timed: their sizes, what they are of, and float64's answer."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .inputs import Arrays

Shapes = dict[str, tuple[int, ...]]
# How far products may be from float64's, ‖out - ref‖ / ‖ref‖.
PRODUCT_ERROR = {"float32": 1e-5, "TF32": 3e-3, "bfloat16": 1e-2, "float16": 2e-3, "float64": 1e-13}
INNER = 16  # a product this deep makes what an activation was given
CORNER = slice(4), slice(64)  # of a product: what is compared


class Product(NamedTuple):
    """(batch of) n x k by k x m.

    form: "x @ y", with .T where an operand is a transposed view, as gradients have them; "out += x.T @ y", the gradient
    of weights used twice; "linear, ACT" with a bias and an activation or "none"; "linear_grad, ACT", back through the
    activation of the layer before: dz = (x @ y.T) * act'(z), and its sums down columns.
    """

    n: int
    k: int
    m: int
    batch: int = 0
    form: str = "x @ y"

    @property
    def flop(self) -> float:
        return 2.0 * max(self.batch, 1) * self.n * self.k * self.m

    @property
    def label(self) -> str:
        batch = f"{self.batch} x " if self.batch else ""
        return f"{batch}{self.n} x {self.k} x {self.m}, {self.form}"

    @property
    def kind(self) -> str:
        """The form without its activation."""
        return self.form.partition(",")[0]

    @property
    def activation(self) -> str:
        return self.form.partition(", ")[2]

    @property
    def turned(self) -> tuple[bool, bool]:
        """Whether x and y are transposed views."""
        return "x.T" in self.form, "y.T" in self.form or self.kind == "linear_grad"


EPILOGUES = ("none", "relu", "gelu_tanh", "gelu")
PRODUCTS = [
    *[Product(n, n, n) for n in (4096, 8192, 2048, 1024, 512)],
    *[Product(1024, 4096, 4096, form=f"linear, {act}") for act in EPILOGUES],
    *[Product(1024, 4096, 4096, form=f"linear_grad, {act}") for act in ("relu", "gelu_tanh")],
    Product(4096, 1024, 4096, form="x.T @ y"), Product(1024, 4096, 4096, form="x @ y.T"),
    Product(4096, 1024, 4096, form="out += x.T @ y"),
    Product(1024, 4096, 4096), Product(1024, 784, 4096), Product(1024, 4096, 10),  # the MLP
    Product(4096, 512, 1536), Product(4096, 512, 2048), Product(4096, 2048, 512),  # the transformer
    Product(256, 64, 256, 128, "x @ y.T"), Product(256, 256, 64, 128), Product(256, 256, 64, 128, "x.T @ y"),
    *[Product(4096, 512, 2048, form=f"linear, {act}") for act in EPILOGUES],
    Product(4096, 512, 2048, form="linear_grad, gelu_tanh"),
]  # fmt: skip
TINY_PRODUCTS = [
    Product(8, 12, 4), Product(6, 5, 7, form="x.T @ y"), Product(5, 6, 4, 3, "x @ y.T"), Product(4, 6, 5, 2),
    Product(6, 5, 7, form="out += x.T @ y"), *[Product(6, 8, 4, form=f"linear, {act}") for act in EPILOGUES],
    *[Product(6, 8, 4, form=f"linear_grad, {act}") for act in ("relu", "gelu_tanh")],
]  # fmt: skip


def operands(p: Product) -> Shapes:
    """The shapes in which the operands are in memory."""
    x, y = (p.n, p.k), (p.k, p.m)
    left, right = p.turned
    shapes: Shapes = {"x": x[::-1] if left else x, "y": y[::-1] if right else y}
    if p.batch:
        return {k: (p.batch, *v) for k, v in shapes.items()}
    if p.kind == "out += x.T @ y":
        shapes["out"] = (p.n, p.m)
    if p.kind.startswith("linear"):
        shapes["bias"] = (p.m,)
    if p.kind == "linear_grad":  # z = a @ b + bias
        shapes |= {"a": (p.n, INNER), "b": (INNER, p.m)}
    return shapes


def corner(p: Product, name: str, a: Arrays) -> np.ndarray:
    """What of an operand, or of the output, the corner of the product is made of; as it is multiplied."""
    rows, cols = CORNER
    a = a[0] if p.batch else a
    left, right = p.turned
    match name:
        case "x":
            return a[:, rows].T if left else a[rows]
        case "y":
            return a[cols].T if right else a[:, cols]
        case "bias":
            return a[cols]
        case "a":
            return a[rows]
        case "b":
            return a[:, cols]
    return a[rows, cols]


def product_error(p: Product, out: np.ndarray, given: Arrays) -> float:
    """How far the corner of a product is from float64's.  given: the corners of what it was made of."""
    v = {k: a.astype(np.float64) for k, a in given.items()}
    exact = v["x"] @ v["y"] + v.get("out", 0)
    if p.kind == "linear":
        exact = _activated(p.activation, exact + v["bias"])
    elif p.kind == "linear_grad":
        exact *= _slope(p.activation, v["a"] @ v["b"] + v["bias"])
    return relative(out, exact)


def relative(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(found.astype(np.float64) - exact) / np.linalg.norm(exact))


def _activated(activation: str, z: np.ndarray) -> np.ndarray:
    match activation:
        case "none":
            return z
        case "relu":
            return np.maximum(z, 0)
        case "gelu":
            return z * _phi(z)
    return z * (1 + np.tanh(_inner(z))) / 2


def _slope(activation: str, z: np.ndarray) -> np.ndarray:
    if activation == "relu":
        return (z > 0).astype(np.float64)
    t = np.tanh(_inner(z))
    return (1 + t) / 2 + z / 2 * (1 - t * t) * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * z**2)


def _inner(z: np.ndarray) -> np.ndarray:
    return np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)


_phi = np.vectorize(lambda v: (1 + math.erf(v / math.sqrt(2))) / 2, otypes=[np.float64])  # NumPy has no erf
