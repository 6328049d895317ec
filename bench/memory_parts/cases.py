"""What is computed: the inputs of each case, which all libraries take, and the figures that gpugrad is to meet.

a   ten times relu(x 1.01 + 0.01), on 4 million floats
b   an MLP: a batch of 4096, eight layers of 512 with relu
c   a pre-norm attention block: 8 x 512 x 512, 8 heads, an MLP of four times the width with gelu

The loss is the mean of the squares; all arrays are inputs, and each has a gradient.
"""

from __future__ import annotations

import numpy as np

CASES = {"a": "10 × relu(x·1.01 + .01), 4M floats", "b": "MLP, batch 4096, 8 × 512", "c": "attention block 8×512×512"}
HEADS, WIDTH, LAYERS = 8, 512, 8
BOUNDS = {"b": 32e6, "c": 80e6}  # of `max_bytes`
# (case, way): MB
LIMITS = {("a", "once"): 70, ("b", "once"): 100, ("c", "once"): 170, ("c", "checkpoint"): 120}
# (case, way): the ratio to PyTorch's `retain_graph=True`
RATIOS = {("a", "persistent"): 0.5, ("b", "persistent"): 1.1}


def arrays(case: str, small: bool = False) -> dict[str, np.ndarray]:
    """The inputs, `small` with few rows: for a first step that loads what libraries load late."""
    rng, d = np.random.default_rng(0), WIDTH
    normal = lambda *shape: (0.05 * rng.standard_normal(shape)).astype(np.float32)
    if case == "a":
        return {"x": normal(4_000 if small else 4_000_000)}
    if case == "b":
        layers = [(f"w{i}", normal(d, d)) for i in range(LAYERS)] + [(f"b{i}", normal(d)) for i in range(LAYERS)]
        return {"x": normal(8 if small else 4096, d), **dict(layers)}
    ones, zeros = np.ones(d, np.float32), np.zeros(d, np.float32)
    return {
        "x": normal(1, 8, d) if small else normal(8, 512, d),
        "gain1": ones, "shift1": zeros, "w_in": normal(d, 3 * d), "b_in": normal(3 * d),
        "w_out": normal(d, d), "b_out": normal(d), "gain2": ones, "shift2": zeros,
        "w1": normal(d, 4 * d), "b1": normal(4 * d), "w2": normal(4 * d, d), "b2": normal(d),
    }  # fmt: skip
