"""The cases in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .cases import HEADS, LAYERS, WIDTH


def model(case: str, p: dict[str, Any], around: Callable[[Any], Any]) -> Any:
    """The output for inputs p.  `around` may wrap what is computed again."""
    if case == "a":
        x = p["x"]
        for _ in range(10):
            x = torch.relu(x * 1.01 + 0.01)
        return x
    if case == "b":
        x = p["x"]
        for i in range(LAYERS):
            x = torch.relu(x @ p[f"w{i}"] + p[f"b{i}"])
        return x

    def attention(x: Any) -> Any:
        n, rows, _ = x.shape
        into = F.layer_norm(x, (WIDTH,), p["gain1"], p["shift1"]) @ p["w_in"] + p["b_in"]
        heads = [part.view(n, rows, HEADS, -1).transpose(1, 2) for part in into.split(WIDTH, -1)]
        out = F.scaled_dot_product_attention(*heads).transpose(1, 2)
        return out.reshape(n, rows, WIDTH) @ p["w_out"] + p["b_out"]

    def mlp(x: Any) -> Any:
        hidden = F.gelu(F.layer_norm(x, (WIDTH,), p["gain2"], p["shift2"]) @ p["w1"] + p["b1"])
        return hidden @ p["w2"] + p["b2"]

    x = p["x"] + around(attention)(p["x"])
    return x + around(mlp)(x)


def step(case: str, way: str, arrays: dict[str, Any]) -> Callable[[], tuple[float, list[Any]]]:
    """A forward and its gradients: answers (the loss, the gradients as NumPy's arrays)."""
    p = {name: torch.tensor(a, requires_grad=True) for name, a in arrays.items()}
    around = (lambda f: partial(checkpoint, f, use_reentrant=False)) if way == "checkpoint" else lambda f: f

    def run() -> tuple[float, list[Any]]:
        y = model(case, p, around)
        loss = (y * y).mean()
        grads = torch.autograd.grad(loss, list(p.values()), retain_graph=way == "persistent")
        return loss.item(), [g.cpu().numpy() for g in grads]

    return run


def on_gpu() -> None:
    """From now on arrays are made on the GPU."""
    torch.set_default_device("cuda")


def gpu_peak(f: Callable[[], Any]) -> int:
    """Bytes of the GPU's arrays that f adds at most."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    f()
    return torch.cuda.max_memory_allocated() - before
