"""The Laplacian of a network by one run forward, beside nested tapes, PyTorch's nested grad and JAX's Hessians.

    python bench/laplacian.py [--quick]

An MLP 3-64-64-64-1 with tanh at 10,000 points in 3-d: the Laplacian alone, and the gradient of mean(Δf²) by weights.
Every library has a process of its own, asked in turn many times; ratios are of minima, because a busy machine only ever
adds time.  Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial, reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from common import Worker, least, machine, publish, serve, table, verdict

SIZES, POINTS, THREADS = (3, 64, 64, 64, 1), 10_000, "2"
WAYS = ("the Laplacian", "its gradient by the weights")
LIMIT = 0.5  # of nested tapes


def arrays() -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """(points, weights, biases)."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    pairs = [*pairwise(SIZES)]
    return draw(POINTS, 3), [draw(a, b) / np.float32(a**0.5) for a, b in pairs], [draw(b) for _, b in pairs]


def of_gpugrad(nested: bool) -> list[Callable[[], Any]]:
    import gpugrad as gg

    points, weights, biases = arrays()
    x, ws, bs = gg.tensor(points), [*map(gg.Variable, weights)], [*map(gg.Variable, biases)]

    def net(x: Any) -> Any:
        for i, (w, b) in enumerate(zip(ws, bs)):
            x = gg.nn.linear(x, w, b, "tanh" if i < 3 else None)
        return x

    def by_tapes() -> Any:
        with gg.GradientTape(persistent=True) as outer:
            outer.watch(x)
            with gg.GradientTape() as inner:
                inner.watch(x)
                y = net(x)
            g = inner.gradient(y, x)
            parts = [g[:, i] for i in range(3)]
        return reduce(gg.add, [outer.gradient(p, x)[:, i] for i, p in enumerate(parts)])[:, None]

    lap = by_tapes if nested else lambda: gg.laplacian(net, x)

    def trained() -> Any:
        with gg.GradientTape() as tape:
            loss = gg.mean(lap() ** 2)
        return tape.gradient(loss, [*ws, *bs])

    return [lap, trained]


def of_torch() -> list[Callable[[], Any]]:
    import torch

    torch.set_num_threads(int(THREADS))
    points, weights, biases = arrays()
    ws, bs = [[torch.tensor(a, requires_grad=True) for a in part] for part in (weights, biases)]
    x = torch.tensor(points, requires_grad=True)

    def lap(again: bool = False) -> Any:
        y = x
        for i, (w, b) in enumerate(zip(ws, bs)):
            y = y @ w + b
            y = torch.tanh(y) if i < 3 else y
        (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        second = lambda i: torch.autograd.grad(g[:, i].sum(), x, retain_graph=True, create_graph=again)[0][:, i]
        return second(0) + second(1) + second(2)

    return [lap, lambda: torch.autograd.grad((lap(True) ** 2).mean(), [*ws, *bs[:-1]])]


def of_jax() -> list[Callable[[], Any]]:
    import jax
    import jax.numpy as jnp

    points, weights, biases = arrays()
    x, params = jnp.asarray(points), [(jnp.asarray(w), jnp.asarray(b)) for w, b in zip(weights, biases)]

    def net(params: Any, p: Any) -> Any:
        for i, (w, b) in enumerate(params):
            p = p @ w + b
            p = jnp.tanh(p) if i < 3 else p
        return p[0]

    lap = lambda params, x: jax.vmap(lambda p: jnp.trace(jax.hessian(net, 1)(params, p)))(x)
    value, slope = jax.jit(lap), jax.jit(jax.grad(lambda params, x: jnp.mean(lap(params, x) ** 2)))
    return [partial(lambda f: jax.block_until_ready(f(params, x)), f) for f in (value, slope)]


MAKERS: dict[str, Callable[[], list[Callable[[], Any]]]] = {
    "gpugrad": partial(of_gpugrad, False), "gpugrad, nested tapes": partial(of_gpugrad, True),
    "PyTorch, nested grad": of_torch, "JAX, jit of hessian": of_jax,
}  # fmt: skip


class Session:
    """What a worker does for one library."""

    def __init__(self, by: str) -> None:
        self._ways = dict(zip(WAYS, MAKERS[by]()))
        for f in self._ways.values():
            f()

    def once(self, way: str, seconds: float) -> float:
        return least(self._ways[way], seconds)


def measured(rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Seconds: by what is computed, by library."""
    out: dict[str, dict[str, float]] = {way: {} for way in WAYS}
    variables = {"OPENBLAS_NUM_THREADS": THREADS, "OMP_NUM_THREADS": THREADS, "OMP_WAIT_POLICY": "passive"}
    variables["OPENBLAS_THREAD_TIMEOUT"] = "14"  # as gpugrad has it where it is imported before NumPy
    with ExitStack() as stack:
        workers = {by: stack.enter_context(closing(Worker(__file__, by, **variables))) for by in MAKERS}
        for _ in range(rounds):
            for way in WAYS:
                for by, worker in workers.items():
                    t = worker.ask(120, do="once", way=way, seconds=seconds)
                    if t is not None:
                        out[way][by] = min(t, out[way].get(by, t))
    return out


def main() -> None:
    if len(sys.argv) == 2 and sys.argv[1] in MAKERS:
        return serve(partial(Session, sys.argv[1]))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: to see that everything runs")
    parser.add_argument("--output", type=Path, help="a folder for the report")
    args = parser.parse_args()
    found = measured(*((1, 0.0) if args.quick else (30, 0.3)))
    rows = [[way, *[times.get(by) for by in MAKERS]] for way, times in found.items()]
    ratios = {way: times["gpugrad"] / times["gpugrad, nested tapes"] for way, times in found.items()}
    figures = [[f"{way}: over nested tapes", r, LIMIT, verdict(r, LIMIT, False)] for way, r in ratios.items()]
    slept = "OpenBLAS's threads sleep after a product, as where gpugrad is imported before NumPy."
    lines = [f"Milliseconds; the least of many.  {slept}", "", *table(["", *MAKERS], rows), ""]
    lines += table(["figure", "reached", "allowed", ""], figures)
    about = machine("numpy", "torch", "jax")
    publish("laplacian", f"The Laplacian of an MLP, {THREADS} threads", about, lines, args.output, times=found)


if __name__ == "__main__":
    main()
