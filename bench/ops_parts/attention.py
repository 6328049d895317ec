"""Attention beside PyTorch's own choice of a kernel, and its path that holds the scores."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

from .case import Case, Step

SHAPE = 8, 8, 256, 64  # batch, heads, queries, features


def ours(causal: bool) -> Step:
    import gpugrad as gg

    gg.random.seed(0)
    q, k, v, g = [gg.random.normal(SHAPE) for _ in range(4)]

    def step() -> Any:
        with gg.GradientTape() as tape:
            tape.watch([q, k, v])
            out = gg.nn.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return tape.gradient(out, [q, k, v], g)

    return step


def theirs(causal: bool, plain: bool) -> Step:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q, k, v, g = [torch.randn(SHAPE) for _ in range(4)]
    for x in (q, k, v):
        x.requires_grad_()

    def step() -> Any:
        with sdpa_kernel(SDPBackend.MATH) if plain else nullcontext():
            out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return torch.autograd.grad(out, [q, k, v], g)

    return step


def _makers(causal: bool) -> dict[str, Callable[[], Step]]:
    return {
        "gpugrad": partial(ours, causal),
        "PyTorch": partial(theirs, causal, False),
        "PyTorch's math": partial(theirs, causal, True),
    }


CASES = [
    Case(name, _makers(causal), {("gpugrad", "PyTorch"): 2.0}, {("gpugrad", "PyTorch's math"): 1.0})
    for name, causal in (("attention", False), ("attention causal", True))
]
