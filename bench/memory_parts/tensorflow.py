"""The cases in TensorFlow, eager.  It has no attention op: the scores are held, as `MultiHeadAttention` does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from .cases import HEADS, LAYERS, WIDTH


def norm(x: Any, gain: Any, shift: Any) -> Any:
    mean, variance = tf.nn.moments(x, -1, keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, shift, gain, 1e-5)


def model(case: str, p: dict[str, Any], around: Callable[[Any], Any]) -> Any:
    """The output for inputs p.  `around` may wrap what is computed again."""
    if case == "a":
        x = p["x"]
        for _ in range(10):
            x = tf.nn.relu(x * 1.01 + 0.01)
        return x
    if case == "b":
        x = p["x"]
        for i in range(LAYERS):
            x = tf.nn.relu(x @ p[f"w{i}"] + p[f"b{i}"])
        return x

    def attention(x: Any) -> Any:
        n, rows, _ = x.shape
        into = tf.matmul(norm(x, p["gain1"], p["shift1"]), p["w_in"]) + p["b_in"]
        q, k, v = [tf.transpose(tf.reshape(a, (n, rows, HEADS, -1)), (0, 2, 1, 3)) for a in tf.split(into, 3, axis=-1)]
        scores = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) * (WIDTH // HEADS) ** -0.5)
        out = tf.reshape(tf.transpose(tf.matmul(scores, v), (0, 2, 1, 3)), (n, rows, WIDTH))
        return tf.matmul(out, p["w_out"]) + p["b_out"]

    def mlp(x: Any) -> Any:
        hidden = tf.nn.gelu(tf.matmul(norm(x, p["gain2"], p["shift2"]), p["w1"]) + p["b1"])
        return tf.matmul(hidden, p["w2"]) + p["b2"]

    x = p["x"] + around(attention)(p["x"])
    return x + around(mlp)(x)


def step(case: str, way: str, arrays: dict[str, Any]) -> Callable[[], tuple[float, list[Any]]]:
    """A forward and its gradients: answers (the loss, the gradients as NumPy's arrays)."""
    p = {name: tf.Variable(a) for name, a in arrays.items()}
    around = tf.recompute_grad if way == "checkpoint" else lambda f: f

    def run() -> tuple[float, list[Any]]:
        with tf.GradientTape(persistent=way == "persistent") as tape:
            y = model(case, p, around)
            loss = tf.reduce_mean(y * y)
        return float(loss), [g.numpy() for g in tape.gradient(loss, list(p.values()))]

    return run
