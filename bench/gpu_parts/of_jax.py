"""JAX, as bench/gpu.py asks it: training steps under `jit`.  Its time is the host's, until the last result is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .clocks import Clock
from .inputs import MOMENTUM, Arrays, Model


class Library:
    """Training steps of JAX on a GPU, or on the CPU in a dry run."""

    def __init__(self, dry: bool) -> None:
        kind = jax.devices()[0].platform
        if (kind == "cpu") != dry:
            raise RuntimeError(f"JAX is on {kind} here")
        self._last: Any = None
        wait = lambda: jax.block_until_ready(self._last)
        mark = lambda: (wait(), time.perf_counter())[1]
        self.clock = Clock(mark, lambda a, b: (b - a) * 1e3, wait, lambda seconds: None)

    def settings(self, tf32: bool) -> None:
        """Whether products and convolutions of float32 may use TF32, which is JAX's default on a GPU."""
        jax.config.update("jax_default_matmul_precision", "tensorfloat32" if tf32 else "float32")

    def numpy(self, a: Any) -> np.ndarray:
        return np.asarray(a, np.float64)

    def step(self, m: Model, x: np.ndarray, labels: np.ndarray, weights: Arrays, dtype: str) -> Callable[[], Any]:
        kind = getattr(jnp, dtype)
        inputs, targets = jnp.asarray(x, kind), jnp.asarray(labels)
        forward = {"mlp": _mlp, "transformer": _transformer, "convnet": _convnet}[m.kind]

        def loss_of(p: Any, inputs: Any, targets: Any) -> Any:
            logits = forward(m, p, inputs).astype(jnp.float32)
            picked = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)
            return -picked.mean()

        def momentum(p: Any, state: Any, *data: Any) -> Any:
            loss, g = jax.value_and_grad(loss_of)(p, *data)
            v = jax.tree.map(lambda v, g: MOMENTUM * v + g, state, g)
            return loss, jax.tree.map(lambda x, v: x - m.rate * v, p, v), v

        def adam(p: Any, state: Any, *data: Any) -> Any:
            (t, ms, vs), (loss, g) = state, jax.value_and_grad(loss_of)(p, *data)
            ms = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, ms, g)
            vs = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, vs, g)
            c1, c2 = 1 - 0.9**t, 1 - 0.999**t
            move = lambda x, m_, v: (x - m.rate * (m_ / c1) / (jnp.sqrt(v / c2) + 1e-8)).astype(x.dtype)
            return loss, jax.tree.map(move, p, ms, vs), (t + 1, ms, vs)

        p = {k: jnp.asarray(v, kind) for k, v in weights.items()}
        zeros = lambda: jax.tree.map(jnp.zeros_like, p)
        state = (jnp.float32(1), zeros(), zeros()) if m.optimizer == "adam" else zeros()
        update = jax.jit(adam if m.optimizer == "adam" else momentum, donate_argnums=(0, 1))

        def step() -> Any:
            nonlocal p, state
            self._last, p, state = update(p, state, inputs, targets)
            return self._last

        return step

    def peak(self, f: Callable[[], Any]) -> int | None:
        """The most bytes of the device in use since the process began."""
        jax.block_until_ready(f())
        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


# ---------------------------------------------------------------------------------------------- models
def _mlp(m: Model, p: dict[str, Any], x: Any) -> Any:
    last = len(m.widths) - 2
    for i in range(last):
        x = jax.nn.relu(x @ p[f"layer{i}.w"] + p[f"layer{i}.b"])
    return x @ p[f"layer{last}.w"] + p[f"layer{last}.b"]


def _transformer(m: Model, p: dict[str, Any], x: Any) -> Any:
    d, of = m.widths[0], m.widths[0] // m.heads
    linear = lambda name, h: h @ p[f"{name}.w"] + p[f"{name}.b"]
    act = lambda h: jax.nn.gelu(h, approximate=m.activation == "gelu_tanh")

    def norm(name: str, h: Any) -> Any:
        wide = h.astype(jnp.float32)
        centered = wide - wide.mean(-1, keepdims=True)
        y = centered * jax.lax.rsqrt((centered**2).mean(-1, keepdims=True) + 1e-5)
        return y.astype(h.dtype) * p[f"{name}.w"] + p[f"{name}.b"]

    def attention(i: int, h: Any) -> Any:
        heads = linear(f"{i}.qkv", h).reshape(m.batch, m.length, 3, m.heads, of)
        q, k, v = heads.transpose(2, 0, 3, 1, 4)
        h = jax.nn.softmax(q @ k.swapaxes(-1, -2) * of**-0.5) @ v
        return linear(f"{i}.out", h.transpose(0, 2, 1, 3).reshape(m.batch, m.length, d))

    for i in range(m.layers):
        x = x + attention(i, norm(f"{i}.norm1", x))
        x = x + linear(f"{i}.down", act(linear(f"{i}.up", norm(f"{i}.norm2", x))))
    return linear("head", norm("norm", x))


def _convnet(m: Model, p: dict[str, Any], x: Any) -> Any:
    for i in range(len(m.widths) - 1):
        x = jax.lax.conv_general_dilated(x, p[f"conv{i}.w"], (1, 1), "SAME") + p[f"conv{i}.b"][:, None, None]
        x = jax.lax.reduce_window(jax.nn.relu(x), -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return x.mean((2, 3)) @ p["head.w"] + p["head.b"]
