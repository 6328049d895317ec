"""Optimizers' steps on the CPU: gpugrad beside PyTorch's three ways and JAX's compiled step.

    python bench/optim.py [--quick] [--output FOLDER]

The gradients are there already: what is timed is the update alone.  Every library has a process of its own, asked in
turn many times; ratios are of minima, because a busy machine only ever adds time.  Peers that are not installed are
left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import Worker, least, machine, publish, serve, table, verdict

SHAPES = {
    "100 of 10,000": [(10_000,)] * 100,
    "MLP 784-1024-1024-10": [(784, 1024), (1024,), (1024, 1024), (1024,), (1024, 10), (10,)],
    "10 of 300": [(300,)] * 10,
}
RATE = 1e-3
# by our name: our options, PyTorch's class
OPTIMIZERS: dict[str, tuple[dict[str, Any], str]] = {
    "Adam": ({}, "Adam"), "AdamW": ({}, "AdamW"), "SGD": ({}, "SGD"), "SGD, decay": ({"weight_decay": 0.01}, "SGD"),
    "SGD, momentum": ({"momentum": 0.9}, "SGD"),
    "RMSprop": ({}, "RMSprop"), "EMA": ({}, "EMA"),
}  # fmt: skip
LIMITS = {("Adam", "100 of 10,000"): 1.0}  # of PyTorch's fused step
THREADS = "2"


def arrays(shapes: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """(variable, gradient) of each shape."""
    rng = np.random.default_rng(0)
    draw = lambda s: rng.standard_normal(s).astype(np.float32)
    return [(draw(s), draw(s)) for s in SHAPES[shapes]]


def of_gpugrad(name: str, pairs: list[Any]) -> Callable[[], Any]:
    import gpugrad as gg

    vs = [gg.nn.Parameter(x) for x, _ in pairs]
    if name == "EMA":
        return started(gg.optim.EMA(vs, 1 - RATE).update)
    for v, (_, g) in zip(vs, pairs):
        v.grad = gg.tensor(g)
    options, kind = OPTIMIZERS[name]
    return getattr(gg.optim, kind)(vs, learning_rate=RATE, **options).step


def of_torch(how: str, name: str, pairs: list[Any]) -> Callable[[], Any] | None:
    import torch

    torch.set_num_threads(int(THREADS))
    vs = [torch.nn.Parameter(torch.from_numpy(x)) for x, _ in pairs]
    if name == "EMA":
        return torch_averages(how, vs)
    for v, (_, g) in zip(vs, pairs):
        v.grad = torch.from_numpy(g)
    options, kind = OPTIMIZERS[name]
    if how == "fused" and kind == "RMSprop":  # PyTorch has none
        return None
    return getattr(torch.optim, kind)(vs, lr=RATE, **options, **({} if how == "for" else {how: True})).step


def torch_averages(how: str, vs: list[Any]) -> Callable[[], Any] | None:
    """What PyTorch has: the bare operation for many tensors, and its class."""
    import torch
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    if how == "fused":
        return None
    if how == "foreach":
        averages, weights = [v.detach().clone() for v in vs], [v.detach() for v in vs]
        return lambda: torch._foreach_lerp_(averages, weights, RATE)
    model = torch.nn.ParameterList(vs)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(1 - RATE))
    return started(partial(averaged.update_parameters, model))


def started(update: Callable[[], Any]) -> Callable[[], Any]:
    """After the first one, which takes the weights as they are."""
    update()
    return update


def of_jax(name: str, pairs: list[Any]) -> Callable[[], Any] | None:
    import jax
    import jax.numpy as jnp

    if name not in ("Adam", "SGD, momentum"):
        return None
    xs, gs = ([jnp.asarray(p[i]) for p in pairs] for i in range(2))
    zeros = lambda: [jnp.zeros_like(x) for x in xs]

    def adam(xs: Any, gs: Any, state: Any) -> Any:
        t, ms, vs = state
        ms = [0.9 * m + 0.1 * g for m, g in zip(ms, gs)]
        vs = [0.999 * v + 0.001 * g * g for v, g in zip(vs, gs)]
        a, b = 1 - 0.9**t, 1 - 0.999**t
        xs = [x - RATE * (m / a) / (jnp.sqrt(v / b) + 1e-8) for x, m, v in zip(xs, ms, vs)]
        return xs, (t + 1, ms, vs)

    def momentum(xs: Any, gs: Any, vs: Any) -> Any:
        vs = [0.9 * v + g for v, g in zip(vs, gs)]
        return [x - RATE * v for x, v in zip(xs, vs)], vs

    update = jax.jit(adam if name == "Adam" else momentum, donate_argnums=(0, 2))
    kept = [xs, (jnp.float32(1), zeros(), zeros()) if name == "Adam" else zeros()]

    def step() -> None:
        kept[:] = jax.block_until_ready(update(kept[0], gs, kept[1]))

    return step


MAKERS: dict[str, Callable[..., Any]] = {
    "gpugrad": of_gpugrad, "PyTorch, fused": partial(of_torch, "fused"),
    "PyTorch, foreach": partial(of_torch, "foreach"), "PyTorch, for": partial(of_torch, "for"), "JAX, jit": of_jax,
}  # fmt: skip


class Session:
    """What a worker does for one library."""

    def __init__(self, by: str) -> None:
        self._make, self._steps = MAKERS[by], {}

    def once(self, name: str, shapes: str, seconds: float) -> float | None:
        """Milliseconds of a step, of as many as take about `seconds`: the least.  None: there is no such optimizer."""
        key = name, shapes
        if key not in self._steps:
            self._steps = {key: self._make(name, arrays(shapes))}
            if self._steps[key] is not None:
                least(self._steps[key], 0.0)
        return None if self._steps[key] is None else least(self._steps[key], seconds)


def measured(rounds: int, seconds: float, only: str) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds: by optimizer, by shapes, by library."""
    out: dict[str, dict[str, dict[str, float]]] = {}
    variables = {"OPENBLAS_NUM_THREADS": THREADS, "OMP_NUM_THREADS": THREADS, "OMP_WAIT_POLICY": "passive"}
    with ExitStack() as stack:
        workers = {by: stack.enter_context(closing(Worker(__file__, by, **variables))) for by in MAKERS}
        for name in [n for n in OPTIMIZERS if only in n]:
            for shapes in SHAPES:
                times: dict[str, float] = {}
                for _ in range(rounds):
                    for by, worker in list(workers.items()):
                        t = worker.ask(120, do="once", name=name, shapes=shapes, seconds=seconds)
                        if t is not None:
                            times[by] = min(t, times.get(by, t))
                out.setdefault(name, {})[shapes] = times
    return out


def main() -> None:
    if len(sys.argv) == 2 and sys.argv[1] in MAKERS:
        return serve(partial(Session, sys.argv[1]))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: to see that everything runs")
    parser.add_argument("--only", default="", help="optimizers whose name has this in it")
    parser.add_argument("--output", type=Path, help="a folder for the report")
    args = parser.parse_args()
    about = machine("numpy", "torch", "jax")
    found = measured(*((1, 0.0) if args.quick else (15, 0.2)), args.only)
    rows = [
        [name, shapes, *[None if by not in times else 1e3 * times[by] for by in MAKERS]]
        for name, by_shapes in found.items() for shapes, times in by_shapes.items()
    ]  # fmt: skip
    figures = [
        [f"{name}, {shapes}: gpugrad over PyTorch, fused", ratio, limit, verdict(ratio, limit, False)]
        for (name, shapes), limit in LIMITS.items()
        if {"gpugrad", "PyTorch, fused"} <= (times := found.get(name, {}).get(shapes, {})).keys()
        for ratio in [times["gpugrad"] / times["PyTorch, fused"]]
    ]
    lines = [
        "Microseconds of one step, gradients given; the least of many.", "",
        *table(["optimizer", "variables", *MAKERS], rows), "",
        *table(["figure", "reached", "allowed", ""], figures),
    ]  # fmt: skip
    publish("optim", f"Optimizers' steps on the CPU, {THREADS} threads", about, lines, args.output, optimizers=found)


if __name__ == "__main__":
    main()
