"""The cases in JAX: a whole step compiled, its weights and Adam's means written over (donated)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax import lax, numpy as jnp

from .cases import HEADS, LAYERS, RATE, batch, weights


def linear(p: dict[str, Any], name: str, x: Any) -> Any:
    return x @ p[f"{name}weight"].T + p[f"{name}bias"]


def norm(p: dict[str, Any], name: str, x: Any) -> Any:
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + 1e-5) * p[f"{name}weight"] + p[f"{name}bias"]


def conv(p: dict[str, Any], name: str, x: Any) -> Any:
    return lax.conv(x, p[f"{name}weight"], (1, 1), "SAME") + p[f"{name}bias"][:, None, None]


def pool(x: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def model(case: str, p: dict[str, Any], x: Any) -> Any:
    """The output for weights p."""
    relu = jax.nn.relu
    if case == "mlp":
        return linear(p, "4.", relu(linear(p, "2.", relu(linear(p, "0.", x)))))
    if case == "convnet":
        x = pool(relu(conv(p, "2.", relu(conv(p, "0.", x)))))
        x = pool(relu(conv(p, "5.", x)))
        return linear(p, "9.", x.reshape(len(x), -1))
    n, rows, width = x.shape
    for i in range(LAYERS):
        at = f"layers.{i}."
        into = linear(p, f"{at}self_attn.in_proj_", norm(p, f"{at}norm1.", x))
        heads = [a.reshape(n, rows, HEADS, -1) for a in jnp.split(into, 3, axis=-1)]
        out = jax.nn.dot_product_attention(*heads, is_causal=True).reshape(n, rows, width)
        x = x + linear(p, f"{at}self_attn.out_proj.", out)
        hidden = jax.nn.gelu(linear(p, f"{at}linear1.", norm(p, f"{at}norm2.", x)), approximate=False)
        x = x + linear(p, f"{at}linear2.", hidden)
    return x


def loss_of(case: str, p: dict[str, Any], x: Any, y: Any) -> Any:
    out = model(case, p, x)
    if case == "transformer":
        return ((out - y) ** 2).mean()
    return -jnp.take_along_axis(jax.nn.log_softmax(out), y[:, None], 1).mean()


def adam(p: Any, m: Any, v: Any, g: Any, t: Any) -> tuple[Any, Any, Any]:
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return p - RATE / (1 - 0.9**t) * m / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v


def training(case: str, way: str, small: bool = False) -> Callable[[], float]:
    """A step, which answers the loss."""
    p = {name: jnp.asarray(a) for name, a in weights(case).items()}
    m, v = [{name: jnp.zeros_like(a) for name, a in p.items()} for _ in range(2)]
    x, y = map(jnp.asarray, batch(case, small))
    done = 0

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def update(p: Any, m: Any, v: Any, t: Any) -> Any:
        loss, g = jax.value_and_grad(partial(loss_of, case))(p, x, y)
        new = {name: adam(p[name], m[name], v[name], g[name], t) for name in p}
        return loss, *[{name: found[i] for name, found in new.items()} for i in range(3)]

    def step() -> float:
        nonlocal p, m, v, done
        done += 1
        loss, p, m, v = update(p, m, v, float(done))
        return float(loss)

    return step
