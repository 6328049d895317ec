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
    "bfloat16": ("bfloat16", False, 1e-2),
    "float16": ("float16", False, 2e-2),
    "float64": ("float64", False, 1e-9),
}


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
    activation: str = "gelu"  # of the transformer's blocks


_BLOCKS = Model("transformer", 16, "adam", 1e-4, (512, 2048), layers=6, length=256, heads=8, classes=1024)
_TINY_BLOCKS = Model("transformer", 2, "adam", 1e-3, (16, 32), layers=2, length=6, heads=2, classes=11)
MODELS = {
    "mlp": Model("mlp", 1024, "sgd", 1e-2, (784, 4096, 4096, 10)),
    "transformer": _BLOCKS,
    "transformer, gelu by tanh": _BLOCKS._replace(activation="gelu_tanh"),
    "convnet": Model("convnet", 256, "sgd", 1e-2, (3, 64, 128, 256), length=32),
}
TINY_MODELS = {
    "mlp": Model("mlp", 8, "sgd", 1e-2, (12, 16, 16, 10)),
    "transformer": _TINY_BLOCKS,
    "transformer, gelu by tanh": _TINY_BLOCKS._replace(activation="gelu_tanh"),
    "convnet": Model("convnet", 4, "sgd", 1e-2, (3, 4, 6), length=8),
}
TITLES = {
    "mlp": "MLP 784-4096-4096-10, batch 1024, SGD with momentum",
    "transformer": "transformer, 6 blocks, d = 512, T = 256, batch 16, Adam",
    "transformer, gelu by tanh": "the same transformer, where all compute gelu by tanh",
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
    "dropout": CHAIN, "cross_entropy": 1, "embedding": 1, "sum": 1,
}  # fmt: skip
# What an op is made of, so that the cause of a time is in the same table; and whether PyTorch has something like it.
HOST_BOUNDS = {
    "launch": ("a kernel's launch, arguments ready (PyTorch: relu_)", True),
    "raw_kernel": ("the same launch by CuPy's RawKernel", False),
    "allocation": ("an array, made and freed (PyTorch: empty)", True),
    "plan": ("a product that is planned, its addresses ready (PyTorch: mm with out)", True),
    "matmul": ("the same product, cublasLt.matmul alone", False),
}
