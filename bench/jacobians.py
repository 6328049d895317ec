"""More than a gradient, on the CPU: Jacobians, Hessians, products and per-sample gradients beside PyTorch's.

    python bench/jacobians.py [--quick] [--output FOLDER]

Each library has a process of its own, asked in turn; times are the least of many.  The MLP has three layers of 256 with
tanh between; its Jacobian is that of each of 32 examples, (32, 256, 256).  Memory is the rise of the process's resident
set beside the result, with `max_bytes` given.  Libraries that are not installed are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

from common import Worker, least, machine, publish, rise, serve, table, verdict

WIDTH, BATCH, MANY, VARIABLES = 256, 32, 512, 1000
BOUND = 64 << 20
CASES = {
    "jacobian": "Jacobian of the MLP, batch 32",
    "hessian": "Hessian of Rosenbrock's function of 1,000 variables",
    "per sample": "per-sample gradients of the MLP, batch 32",
    "gradient": "gradient of the MLP, batch 512",
    "hvp": "its Hessian's product, forward over reverse",
    "vhp": "its Hessian's product, reverse over reverse",
}
THREADS = "2"


def arrays() -> tuple[list[Any], list[Any], Any]:
    """(weights, biases, 512 inputs)."""
    import numpy as np

    rng = np.random.default_rng(0)
    draw = lambda *s: rng.standard_normal(s).astype(np.float32)
    return [draw(WIDTH, WIDTH) / WIDTH**0.5 for _ in range(3)], [draw(WIDTH) for _ in range(3)], draw(MANY, WIDTH)


def layers(p: list[Any], x: Any, tanh: Callable[[Any], Any]) -> Any:
    for i, (w, b) in enumerate(p):
        x = x @ w + b
        x = tanh(x) if i < 2 else x
    return x


def rosenbrock(x: Any) -> Any:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def of_gpugrad() -> dict[str, Callable[[], Any]]:
    import gpugrad as gg

    ws, bs, x = arrays()
    p, x, start = (
        [(gg.tensor(w), gg.tensor(b)) for w, b in zip(ws, bs)],
        gg.tensor(x),
        gg.random.normal(VARIABLES, dtype="float64"),
    )
    few = x[:BATCH]
    net = lambda p, x: layers(p, x, gg.tanh)
    loss = lambda p, x: gg.sum(net(p, x) ** 2)
    whole = lambda p: loss(p, x)
    jacobian, bounded = (
        gg.vmap(gg.jacrev(partial(net, p))),
        gg.vmap(gg.jacrev(partial(net, p), max_bytes=BOUND // BATCH)),
    )
    hessian, each, slope = gg.hessian(rosenbrock), gg.vmap(gg.grad(loss), in_axes=(None, 0)), gg.grad(whole)
    return {
        "jacobian": lambda: jacobian(few), "bounded": lambda: bounded(few), "hessian": lambda: hessian(start),
        "per sample": lambda: each(p, few), "gradient": lambda: slope(p),
        "hvp": lambda: gg.hvp(whole, (p,), (p,)), "vhp": lambda: gg.vhp(whole, (p,), (p,)),
    }  # fmt: skip


def of_torch() -> dict[str, Callable[[], Any]]:
    import torch
    from torch import func

    ws, bs, x = arrays()
    p, x = [(torch.tensor(w), torch.tensor(b)) for w, b in zip(ws, bs)], torch.tensor(x)
    few, start = x[:BATCH], torch.randn(VARIABLES, dtype=torch.float64)
    net = lambda p, x: layers(p, x, torch.tanh)
    loss = lambda p, x: (net(p, x) ** 2).sum()
    whole = lambda p: loss(p, x)
    jacobian, each, slope = (
        func.vmap(func.jacrev(partial(net, p))),
        func.vmap(func.grad(loss), (None, 0)),
        func.grad(whole),
    )
    return {
        "jacobian": lambda: jacobian(few),
        "hessian": lambda: torch.autograd.functional.hessian(rosenbrock, start, vectorize=True),
        "per sample": lambda: each(p, few), "gradient": lambda: slope(p),
        "hvp": lambda: func.jvp(slope, (p,), (p,)), "vhp": lambda: func.vjp(slope, p)[1](p),
    }  # fmt: skip


MAKERS: dict[str, Callable[[], dict[str, Callable[[], Any]]]] = {"gpugrad": of_gpugrad, "PyTorch": of_torch}


class Session:
    """What a worker does for one library."""

    def __init__(self, by: str) -> None:
        self.calls = MAKERS[by]()

    def once(self, case: str, seconds: float) -> float:
        """Milliseconds of a call, of as many as take about `seconds`: the least."""
        least(self.calls[case], 0.0)
        return least(self.calls[case], seconds)

    def memory(self, case: str) -> float:
        """The bytes that a call takes beside its result."""
        kept: list[Any] = []
        taken = rise(lambda: kept.append(self.calls[case]()))
        return taken - kept[0].nbytes


def main() -> None:
    if len(sys.argv) == 2 and sys.argv[1] in MAKERS:
        return serve(partial(Session, sys.argv[1]))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: to see that everything runs")
    parser.add_argument("--output", type=Path, help="a folder for the report")
    args = parser.parse_args()
    about = machine("numpy", "torch")
    rounds, seconds = (1, 0.0) if args.quick else (12, 0.3)
    times: dict[str, dict[str, float]] = {case: {} for case in CASES}
    variables = {"OPENBLAS_NUM_THREADS": THREADS, "OMP_NUM_THREADS": THREADS, "OMP_WAIT_POLICY": "passive"}
    with ExitStack() as stack:
        workers = {by: stack.enter_context(closing(Worker(__file__, by, **variables))) for by in MAKERS}
        taken = workers["gpugrad"].ask(120, do="memory", case="bounded")
        for case in CASES:
            for _ in range(rounds):
                for by, worker in list(workers.items()):
                    t = worker.ask(120, do="once", case=case, seconds=seconds)
                    if t is not None:
                        times[case][by] = min(t, times[case].get(by, t))
    figures = [[f"MB beside the result with max_bytes = {BOUND >> 20} MB", taken / 2**20, BOUND / 2**20]]
    for case, limit in (("jacobian", 1.2), ("hessian", 1.0), ("per sample", 1.2)):
        if len(times[case]) == 2:
            figures.append([f"{case}: gpugrad over PyTorch", times[case]["gpugrad"] / times[case]["PyTorch"], limit])
    for case in ("hvp", "vhp"):
        figures.append([f"{case} over gradient", times[case]["gpugrad"] / times["gradient"]["gpugrad"], 3.5])
    lines = [
        "Milliseconds of one call; the least of many.", "",
        *table(["case", *MAKERS], [[CASES[c], *[times[c].get(by) for by in MAKERS]] for c in CASES]), "",
        *table(["figure", "reached", "allowed", ""], [[*f, verdict(f[1], f[2], False)] for f in figures]),
    ]  # fmt: skip
    title = f"Jacobians and Hessians on the CPU, {THREADS} threads"
    publish("jacobians", title, about, lines, args.output, times=times)


if __name__ == "__main__":
    main()
