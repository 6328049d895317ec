"""What every library computes: sizes, and the same random numbers for all."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Arrays = dict[str, np.ndarray]
TILE = 2**20  # random numbers that are drawn; what is larger repeats them

# ---------------------------------------------------------------------------------------------- precisions
# (dtype, whether products of float32 may use TF32, how far two libraries' losses may be apart)
PRECISIONS = {
    "float32": ("float32", False, 2e-4),
    "TF32": ("float32", True, 5e-3),
    "bfloat16": ("bfloat16", False, 3e-2),
    "float16": ("float16", False, 2e-2),
}
# How far products may be from float64's, ‖out - ref‖ / ‖ref‖.
PRODUCT_ERROR = {"float32": 1e-5, "TF32": 3e-3, "bfloat16": 1e-2, "float16": 2e-3}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal numbers in float32."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def fill(flat: Any, block: Any) -> Any:
    """The 1-D array `flat`, filled with `block` over and over."""
    n = block.shape[0]
    for start in range(0, flat.shape[0], n):
        part = flat[start : start + n]
        part[...] = block[: part.shape[0]]
    return flat


# ---------------------------------------------------------------------------------------------- products
class Product(NamedTuple):
    """(batch of) n x k by k x m.  form: which operand is a transposed view, as gradients have them; or "linear"."""

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


PRODUCTS = [
    *[Product(n, n, n) for n in (4096, 8192, 2048, 1024, 512)],
    Product(1024, 4096, 4096), Product(1024, 784, 4096), Product(1024, 4096, 10),  # the MLP
    Product(4096, 1024, 4096, form="x.T @ y"), Product(1024, 4096, 4096, form="x @ y.T"),  # and its gradients
    Product(4096, 512, 1536), Product(4096, 512, 2048), Product(4096, 2048, 512),  # the transformer
    Product(256, 64, 256, 128, "x @ y.T"), Product(256, 256, 64, 128),
    Product(1024, 4096, 4096, form="linear, relu"), Product(4096, 512, 2048, form="linear, gelu"),
]  # fmt: skip
TINY_PRODUCTS = [
    Product(8, 12, 4), Product(6, 5, 7, form="x.T @ y"), Product(5, 6, 4, 3, "x @ y.T"), Product(4, 6, 5, 2),
    Product(6, 8, 4, form="linear, relu"), Product(6, 8, 4, form="linear, gelu"),
]  # fmt: skip


def operands(p: Product) -> dict[str, tuple[int, ...]]:
    """The shapes in which the operands are in memory."""
    x = (p.k, p.n) if p.form == "x.T @ y" else (p.n, p.k)
    y = (p.m, p.k) if p.form == "x @ y.T" else (p.k, p.m)
    return {k: (p.batch, *v) if p.batch else v for k, v in {"x": x, "y": y}.items()}


def product_error(p: Product, x: np.ndarray, y: np.ndarray, bias: np.ndarray, out: np.ndarray) -> float:
    """How far a corner of the product is from float64's.  x, y: the first rows and columns as they are multiplied."""
    exact = x.astype(np.float64) @ y.astype(np.float64)
    if p.form.startswith("linear"):
        exact = exact + bias
        exact = np.maximum(exact, 0) if p.form.endswith("relu") else exact * _phi(exact)
    found = out.astype(np.float64)
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def _phi(x: np.ndarray) -> np.ndarray:
    """The normal distribution function, by quadrature: NumPy has no erf."""
    t = np.linspace(0, 1, 2001)
    return 0.5 + np.trapezoid(np.exp(-((x[..., None] * t) ** 2) / 2), t) * x / np.sqrt(2 * np.pi)


# ---------------------------------------------------------------------------------------------- models
class Model(NamedTuple):
    """Sizes of a training step, and the optimizer: SGD with momentum, or Adam."""

    kind: str
    batch: int
    optimizer: str
    rate: float
    widths: tuple[int, ...] = ()  # of the MLP's layers; channels of the convnet's; (width, hidden) of the transformer
    layers: int = 0
    length: int = 0
    heads: int = 0
    classes: int = 10


MODELS = {
    "mlp": Model("mlp", 1024, "sgd", 1e-2, (784, 4096, 4096, 10)),
    "transformer": Model("transformer", 16, "adam", 1e-4, (512, 2048), layers=6, length=256, heads=8, classes=1024),
    "convnet": Model("convnet", 256, "sgd", 1e-2, (3, 64, 128, 256), length=32),
}
TINY_MODELS = {
    "mlp": Model("mlp", 8, "sgd", 1e-2, (12, 16, 16, 10)),
    "transformer": Model("transformer", 2, "adam", 1e-3, (16, 32), layers=2, length=6, heads=2, classes=11),
    "convnet": Model("convnet", 4, "sgd", 1e-2, (3, 4, 6), length=8),
}
TITLES = {
    "mlp": "MLP 784-4096-4096-10, batch 1024, SGD with momentum",
    "transformer": "transformer, 6 blocks, d = 512, T = 256, batch 16, Adam",
    "convnet": "convnet 64-128-256, 3 x 3, 32 x 32 images, batch 256, SGD with momentum",
}
MOMENTUM = 0.9


def data(m: Model) -> tuple[np.ndarray, np.ndarray]:
    """(inputs, labels)."""
    rng = np.random.default_rng(1)
    shape = {
        "mlp": (m.batch, *m.widths[:1]), "transformer": (m.batch, m.length, *m.widths[:1]),
        "convnet": (m.batch, *m.widths[:1], m.length, m.length),
    }[m.kind]  # fmt: skip
    labels = shape[:-1] if m.kind == "transformer" else shape[:1]
    return rng.standard_normal(shape, np.float32), rng.integers(0, m.classes, labels)


def weights(m: Model) -> Arrays:
    """The initial weights: matrices (in, out), kernels (out, in, 3, 3), biases and the norms' gains."""
    rng, out = np.random.default_rng(2), {}

    def linear(name: str, a: int, b: int, scale: float = 1.0) -> None:
        out[f"{name}.w"] = rng.standard_normal((a, b), np.float32) * np.float32(scale / np.sqrt(a))
        out[f"{name}.b"] = 0.1 * rng.standard_normal(b, np.float32)

    def norm(name: str, d: int) -> None:
        out[f"{name}.w"] = 1 + 0.1 * rng.standard_normal(d, np.float32)
        out[f"{name}.b"] = 0.1 * rng.standard_normal(d, np.float32)

    if m.kind == "mlp":
        for i, (a, b) in enumerate(zip(m.widths, m.widths[1:])):
            linear(f"layer{i}", a, b)
    elif m.kind == "transformer":
        d, hidden = m.widths
        for i in range(m.layers):
            norm(f"{i}.norm1", d)
            linear(f"{i}.qkv", d, 3 * d)
            linear(f"{i}.out", d, d, 0.5)
            norm(f"{i}.norm2", d)
            linear(f"{i}.up", d, hidden)
            linear(f"{i}.down", hidden, d, 0.5)
        norm("norm", d)
        linear("head", d, m.classes)
    else:
        for i, (a, b) in enumerate(zip(m.widths, m.widths[1:])):
            out[f"conv{i}.w"] = rng.standard_normal((b, a, 3, 3), np.float32) / np.float32(np.sqrt(9 * a))
            out[f"conv{i}.b"] = 0.1 * rng.standard_normal(b, np.float32)
        linear("head", m.widths[-1], m.classes)
    return out


# ---------------------------------------------------------------------------------------------- host cost
HOST_SHAPE, CHAIN, ADAM_PARAMETERS = (32, 64), 20, 20
# The ops whose host cost is measured, and how often one is applied in a chain.
HOST_OPS = {
    "relu": CHAIN, "add": CHAIN, "matmul": CHAIN, "linear": CHAIN, "softmax": CHAIN, "layer_norm": CHAIN,
    "cross_entropy": 1,
}  # fmt: skip
