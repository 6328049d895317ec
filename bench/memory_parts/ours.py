"""The cases in gpugrad."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import gpugrad as gg
from gpugrad import nn

from .cases import BOUNDS, HEADS, LAYERS, WIDTH


def model(case: str, p: dict[str, Any], around: Callable[[Any], Any]) -> Any:
    """The output for inputs p.  `around` may wrap what is computed again."""
    if case == "a":
        x = p["x"]
        for _ in range(10):
            x = nn.relu(x * 1.01 + 0.01)
        return x
    if case == "b":
        x = p["x"]
        for i in range(LAYERS):
            x = nn.relu(x @ p[f"w{i}"] + p[f"b{i}"])
        return x

    def attention(x: Any) -> Any:
        n, rows, _ = x.shape
        into = nn.linear(nn.layer_norm(x, (WIDTH,), p["gain1"], p["shift1"]), p["w_in"], p["b_in"])
        heads = [
            gg.permute_dims(gg.reshape(part, (n, rows, HEADS, -1)), (0, 2, 1, 3)) for part in gg.split(into, 3, axis=-1)
        ]
        out = gg.permute_dims(nn.scaled_dot_product_attention(*heads), (0, 2, 1, 3))
        return nn.linear(gg.reshape(out, (n, rows, WIDTH)), p["w_out"], p["b_out"])

    def mlp(x: Any) -> Any:
        hidden = nn.gelu(nn.linear(nn.layer_norm(x, (WIDTH,), p["gain2"], p["shift2"]), p["w1"], p["b1"]))
        return nn.linear(hidden, p["w2"], p["b2"])

    x = p["x"] + around(attention)(p["x"])
    return x + around(mlp)(x)


def step(case: str, way: str, arrays: dict[str, Any]) -> Callable[[], tuple[float, list[Any]]]:
    """A forward and its gradients: answers (the loss, the gradients as NumPy's arrays)."""
    p = {name: gg.Variable(a) for name, a in arrays.items()}
    around = getattr(gg, "checkpoint", gg.recompute_grad) if way == "checkpoint" else lambda f: f
    forward = lambda: model(case, p, around)
    if way == "max_bytes":
        forward = gg.checkpoint(forward, max_bytes=BOUNDS[case])
        with gg.GradientTape():
            forward()  # the first call makes the plan

    def run() -> tuple[float, list[Any]]:
        with gg.GradientTape(persistent=way == "persistent") as tape:
            with gg.save_as(gg.bfloat16) if way == "bfloat16" else nullcontext():
                y = forward()
            loss = gg.mean(y * y)
        return float(loss), [g.cpu().numpy() for g in tape.gradient(loss, list(p.values()))]

    return run


def on_gpu() -> None:
    """From now on arrays are made on the GPU."""
    gg.set_default_device("cuda")


def gpu_peak(f: Callable[[], Any]) -> int:
    """Bytes of the GPU's arrays that f adds at most."""
    with gg.profile.memory() as m:
        f()
    found = m.summary(m.device)
    return found["peak"] - found["before"]
