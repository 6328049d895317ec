"""PyTorch, as bench/gpu.py asks it: eager, and its steps compiled."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .clocks import CYCLES, HOST, Clock
from .inputs import HOST_OPS, HOST_SHAPE, MOMENTUM, TILE, Arrays, Model, fill, normal
from .products import Product

_TANH = {"approximate": "tanh"}
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "none": lambda z: z, "relu": F.relu, "gelu": F.gelu, "gelu_tanh": lambda z: F.gelu(z, **_TANH),
}  # fmt: skip


class Library:
    """Arrays, products, ops and training steps of PyTorch on a GPU, or on the CPU in a dry run."""

    compiles = False
    fused = False  # whether the optimizer of a step is

    def __init__(self, dry: bool) -> None:
        self.device = "cpu" if dry else "cuda"
        self.clock = HOST if dry else _clock()

    def settings(self, tf32: bool) -> None:
        """Whether products and convolutions of float32 may use TF32."""
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32

    # ------------------------------------------------------------------------------------ arrays
    def put(self, a: np.ndarray, dtype: str | None = None) -> torch.Tensor:
        return torch.tensor(a).to(self.device, getattr(torch, dtype) if dtype else None)

    def array(self, shape: tuple[int, ...], dtype: str, seed: int) -> torch.Tensor:
        block = self.put(normal(min(TILE, math.prod(shape)), seed=seed), dtype)
        return fill(block.new_empty(math.prod(shape)), block).reshape(shape)

    def numpy(self, a: torch.Tensor) -> np.ndarray:
        return a.detach().double().cpu().numpy().copy()  # on the CPU it would be the same memory

    # ------------------------------------------------------------------------------------ parts
    def product(self, p: Product, given: dict[str, Any]) -> Callable[[], Any]:
        x, y = [a.mT if turned else a for a, turned in zip((given["x"], given["y"]), p.turned)]
        if p.kind == "linear":
            act, bias, weight = ACTIVATIONS[p.activation], given["bias"], y.T.contiguous()
            if p.activation == "none":
                return lambda: F.linear(x, weight, bias)
            return lambda: act(F.linear(x, weight, bias))
        if p.kind == "linear_grad":
            return self._linear_grad(p.activation, x, y, torch.addmm(given["bias"], given["a"], given["b"]))
        if p.kind.startswith("out"):
            signed = itertools.cycle((y, -y))
            return lambda: given["out"].addmm_(x, next(signed))
        return lambda: torch.matmul(x, y)

    def _linear_grad(self, activation: str, g: Any, y: Any, z: Any) -> Callable[[], Any]:
        """As autograd does it: z is what the activation was given, for relu its output."""
        aten, saved = torch.ops.aten, F.relu(z) if activation == "relu" else z
        back = {
            "relu": lambda d: aten.threshold_backward(d, saved, 0),
            "gelu_tanh": lambda d: aten.gelu_backward(d, saved, **_TANH),
        }[activation]

        def run() -> Any:
            dz = back(torch.matmul(g, y))
            return dz, dz.sum(0)

        return run

    def bound(self, name: str) -> Callable[[], Any]:
        x, y = self.put(normal(*HOST_SHAPE)), self.put(normal(HOST_SHAPE[1], HOST_SHAPE[1]))
        out = torch.empty_like(x)
        return {
            "launch": lambda: torch.relu_(x),
            "allocation": lambda: torch.empty(HOST_SHAPE, device=self.device),
            "plan": lambda: torch.mm(x, y, out=out),
        }[name]

    def op(self, name: str, how: str) -> Callable[[], Any]:
        rows, cols = HOST_SHAPE
        leaf = lambda *shape, scale=1.0: self.put(normal(*shape) * np.float32(scale)).requires_grad_(how != "bare")
        x, w, b, labels = leaf(rows, cols), leaf(cols, cols, scale=cols**-0.5), leaf(cols), self.put(np.arange(rows))
        apply = {
            "relu": torch.relu,
            "add": lambda h: torch.add(h, b),
            "matmul": lambda h: torch.matmul(h, w),
            "linear": lambda h: F.linear(h, w, b),
            "softmax": lambda h: torch.softmax(h, -1),
            "layer_norm": lambda h: F.layer_norm(h, (cols,), b, b),
            "dropout": lambda h: F.dropout(h, 0.1),
            "cross_entropy": lambda h: F.cross_entropy(h, labels),
            "embedding": lambda h: F.embedding(labels, h),
            "sum": torch.sum,
        }[name]
        used = {"add": [x, b], "matmul": [x, w], "linear": [x, w, b], "layer_norm": [x, b]}.get(name, [x])

        def forward() -> Any:
            h = x
            for _ in range(HOST_OPS[name]):
                h = apply(h)
            return h

        ones = torch.ones_like(forward()).detach()
        return (lambda: torch.autograd.grad(forward(), used, ones)) if how == "backward" else forward

    def adam(self, count: int, fused: bool) -> Callable[[], Any]:
        variables = [self.put(normal(64, 64)).requires_grad_() for _ in range(count)]
        for v in variables:
            v.grad = self.put(normal(64, 64, seed=1))
        return torch.optim.Adam(variables, 1e-4, fused=fused or None).step

    def step(self, m: Model, x: np.ndarray, labels: np.ndarray, weights: Arrays, dtype: str) -> Callable[[], Any]:
        turned = {k: v.T.copy() if v.ndim == 2 else v for k, v in weights.items()}  # F.linear takes (out, in)
        p = {k: self.put(v, dtype).requires_grad_() for k, v in turned.items()}
        inputs, targets = self.put(x, dtype), self.put(labels)
        forward = {"mlp": _mlp, "transformer": _transformer, "convnet": _convnet}[m.kind]
        optimizer = (
            torch.optim.Adam(p.values(), m.rate, fused=self.fused or None)
            if m.optimizer == "adam"
            else torch.optim.SGD(p.values(), m.rate, MOMENTUM, fused=self.fused or None)
        )
        loss_of = lambda: F.cross_entropy(forward(m, p, inputs).flatten(0, -2), targets.flatten())
        loss_of = torch.compile(loss_of) if self.compiles else loss_of

        def step() -> Any:
            optimizer.zero_grad()
            loss = loss_of()
            loss.backward()
            optimizer.step()
            return loss.detach()

        return step

    def peak(self, f: Callable[[], Any]) -> int | None:
        """The most bytes of the device in use during a call, what was in use before included."""
        if self.device == "cpu":
            return None
        torch.cuda.reset_peak_memory_stats()
        f()
        return torch.cuda.max_memory_allocated()


class Compiled(Library):
    compiles = True


class Fused(Library):
    fused = True


def _clock() -> Clock:
    def record() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    hold = lambda seconds: torch.cuda._sleep(round(seconds * CYCLES))
    return Clock(record, lambda a, b: a.elapsed_time(b), torch.cuda.synchronize, hold)


# ---------------------------------------------------------------------------------------------- models
def _mlp(m: Model, p: dict[str, Any], x: Any) -> Any:
    last = len(m.widths) - 2
    for i in range(last):
        x = F.relu(F.linear(x, p[f"layer{i}.w"], p[f"layer{i}.b"]))
    return F.linear(x, p[f"layer{last}.w"], p[f"layer{last}.b"])


def _transformer(m: Model, p: dict[str, Any], x: Any) -> Any:
    d, of = m.widths[0], m.widths[0] // m.heads
    linear = lambda name, h: F.linear(h, p[f"{name}.w"], p[f"{name}.b"])
    norm = lambda name, h: F.layer_norm(h, (d,), p[f"{name}.w"], p[f"{name}.b"])
    act = ACTIVATIONS[m.activation]

    def attention(i: int, h: Any) -> Any:
        heads = linear(f"{i}.qkv", h).view(m.batch, m.length, 3, m.heads, of)
        q, k, v = heads.permute(2, 0, 3, 1, 4).unbind(0)
        h = F.scaled_dot_product_attention(q, k, v)
        return linear(f"{i}.out", h.transpose(1, 2).reshape(m.batch, m.length, d))

    for i in range(m.layers):
        x = x + attention(i, norm(f"{i}.norm1", x))
        x = x + linear(f"{i}.down", act(linear(f"{i}.up", norm(f"{i}.norm2", x))))
    return linear("head", norm("norm", x))


def _convnet(m: Model, p: dict[str, Any], x: Any) -> Any:
    for i in range(len(m.widths) - 1):
        x = F.max_pool2d(F.relu(F.conv2d(x, p[f"conv{i}.w"], p[f"conv{i}.b"], padding=1)), 2)
    return F.linear(x.mean((2, 3)), p["head.w"], p["head.b"])
