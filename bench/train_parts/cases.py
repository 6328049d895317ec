"""What is trained: the weights and the batch of each case, which all libraries take.

mlp          784-1024-1024-10 with relu, a batch of 256
transformer  4 pre-norm encoder layers of width 256, 8 heads, a hidden layer of 1024 with gelu, causal: 8 rows of 128
convnet      that of examples/digits.py without its dropout, on 8 x 8 digits, a batch of 64

Weights have PyTorch's names, layouts and order.  Each step is a forward, its gradients and Adam's update.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

RATE = 1e-4
MLP = (784, 1024, 1024, 10)
HEADS, WIDTH, HIDDEN, LAYERS = 8, 256, 1024, 4
CHANNELS, DENSE = (1, 32, 32, 64), (256, 10)  # of the convnet: a pooling after its second and third convolution


def shapes(case: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(name, shape) of each weight."""
    if case == "mlp":
        for i, (a, b) in enumerate(pairwise(MLP)):
            yield f"{2 * i}.weight", (b, a)
            yield f"{2 * i}.bias", (b,)
    elif case == "convnet":
        for i, (a, b) in zip((0, 2, 5), pairwise(CHANNELS)):
            yield f"{i}.weight", (b, a, 3, 3)
            yield f"{i}.bias", (b,)
        yield "9.weight", DENSE[::-1]
        yield "9.bias", DENSE[1:]
    else:
        for i in range(LAYERS):
            for name, rows, columns in (("self_attn.in_proj_", 3 * WIDTH, WIDTH), ("self_attn.out_proj.", WIDTH, WIDTH),
                                        ("linear1.", HIDDEN, WIDTH), ("linear2.", WIDTH, HIDDEN)):  # fmt: skip
                yield f"layers.{i}.{name}weight", (rows, columns)
                yield f"layers.{i}.{name}bias", (rows,)
            for name in ("norm1", "norm2"):
                yield f"layers.{i}.{name}.weight", (WIDTH,)
                yield f"layers.{i}.{name}.bias", (WIDTH,)


def weights(case: str) -> dict[str, np.ndarray]:
    """The weights: normal, over the root of what goes into an output; ones and zeros in norms and biases."""
    rng, found = np.random.default_rng(0), {}
    for name, shape in shapes(case):
        if len(shape) == 1:
            found[name] = np.full(shape, "norm" in name and name.endswith("weight"), np.float32)
        else:
            found[name] = (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    return found


def batch(case: str, small: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(inputs, labels); of the transformer, outputs to come near to.  `small`: for a first step that loads things."""
    rng = np.random.default_rng(1)
    normal = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    if case == "transformer":
        rows = 1 if small else 8
        return normal(rows, 128, WIDTH), normal(rows, 128, WIDTH)
    rows = 4 if small else 256 if case == "mlp" else 64
    x = normal(rows, MLP[0]) if case == "mlp" else normal(rows, 1, 8, 8)
    return x, rng.integers(0, 10, rows)
