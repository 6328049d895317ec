"""A small neural ODE, a spiral in the plane learnt by an MLP of 64: solution and gradient, beside peers.

    python bench/ode.py [--quick] [--output FOLDER]

Every library solves the same equation from the same weights at the same times and tolerances, in float32, in a process
of its own; the minimum of several runs is shown, and how often f was called.  JAX compiles the whole program, and its
gradient is the adjoint one.  Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from common import ROOT, machine, publish, table

TOLERANCES = {"rtol": 1e-5, "atol": 1e-6}
BATCH, WIDTH, POINTS, SPAN = 64, 64, 20, 3.0


def inputs() -> dict[str, Any]:
    """The weights, where the spirals begin, and the times."""
    import numpy as np

    rng = np.random.default_rng(0)
    f32 = lambda x: np.asarray(x, np.float32)
    return {
        "w1": f32(rng.standard_normal((2, WIDTH)) / 2), "b1": f32(rng.standard_normal(WIDTH) / 2),
        "w2": f32(rng.standard_normal((WIDTH, 2)) / 8), "b2": f32(rng.standard_normal(2) / 8),
        "y0": f32(rng.standard_normal((BATCH, 2))), "t": np.linspace(0, SPAN, POINTS),
    }  # fmt: skip


def best(run: Callable[[], Any], times: int) -> float:
    """Milliseconds of the fastest of several runs, after one that does not count."""
    run()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return min(taken) * 1e3


def gpugrad(times: int) -> Iterator[dict[str, Any]]:
    """Each way to a gradient."""
    sys.path.insert(0, str(ROOT))
    import gpugrad as gg

    given = inputs()
    t, y0 = given.pop("t"), gg.tensor(given.pop("y0"))
    weights = {k: gg.tensor(v, requires_grad=True) for k, v in given.items()}
    calls = [0]

    def f(t: Any, y: Any, w: Any) -> Any:
        calls[0] += 1
        z = y**3
        return gg.tanh(z @ w["w1"] + w["b1"]) @ w["w2"] + w["b2"]

    for way, options in {
        "discrete": {},
        "checkpoint=8": {"checkpoint": 8},
        "adjoint": {"gradient": "adjoint"},
    }.items():
        solve = lambda options=options: gg.ode.solve(f, y0, t, weights, **TOLERANCES, **options)
        loss = lambda solve=solve: gg.mean(solve() ** 2)

        def forward(solve: Any = solve) -> Any:
            with gg.no_grad():
                return solve()

        both = lambda loss=loss: gg.grad(loss(), list(weights.values()))
        calls[0] = 0
        forward()
        ahead, calls[0] = calls[0], 0
        norm = sum([float((g * g).sum()) for g in both()]) ** 0.5
        count = calls[0]
        yield {
            "by": "gpugrad", "way": way, "forward": best(forward, times), "both": best(both, times),
            "calls forward": ahead, "calls both": count, "norm": norm,
        }  # fmt: skip


def jax(times: int) -> Iterator[dict[str, Any]]:
    import jax
    import jax.numpy as jnp
    from jax.experimental.ode import odeint

    given = inputs()
    t, y0 = jnp.asarray(given.pop("t"), jnp.float32), jnp.asarray(given.pop("y0"))
    calls = [0]

    def count() -> None:
        calls[0] += 1

    def program(counting: bool) -> Any:
        def f(y: Any, t: Any, w: Any) -> Any:
            if counting:
                jax.debug.callback(count)
            return jnp.tanh(y**3 @ w["w1"] + w["b1"]) @ w["w2"] + w["b2"]

        solve = jax.jit(lambda w: odeint(f, y0, t, w, **TOLERANCES))
        return solve, jax.jit(jax.grad(lambda w: (odeint(f, y0, t, w, **TOLERANCES) ** 2).mean()))

    counts = []
    for run in program(True):
        calls[0] = 0
        jax.block_until_ready(run(given))
        jax.effects_barrier()
        counts.append(calls[0])
    solve, grad = program(False)
    norm = sum([float((g * g).sum()) for g in grad(given).values()]) ** 0.5
    timed = [best(lambda run=run: jax.block_until_ready(run(given)), times) for run in (solve, grad)]
    yield {
        "by": "jax.experimental.ode", "way": "adjoint", "forward": timed[0], "both": timed[1],
        "calls forward": counts[0], "calls both": counts[1], "norm": norm,
    }  # fmt: skip


def torchdiffeq(times: int) -> Iterator[dict[str, Any]]:
    import torch
    from torchdiffeq import odeint, odeint_adjoint

    given = inputs()
    t, y0 = torch.tensor(given.pop("t"), dtype=torch.float32), torch.tensor(given.pop("y0"))

    class Field(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0
            for k, v in given.items():
                setattr(self, k, torch.nn.Parameter(torch.tensor(v)))

        def forward(self, t: Any, y: Any) -> Any:
            self.calls += 1
            return torch.tanh(y**3 @ self.w1 + self.b1) @ self.w2 + self.b2

    field = Field()
    for way, solver in {"discrete": odeint, "adjoint": odeint_adjoint}.items():
        solve = lambda solver=solver: solver(field, y0, t, method="dopri5", **TOLERANCES)
        both = lambda solve=solve: torch.autograd.grad((solve() ** 2).mean(), list(field.parameters()))
        with torch.no_grad():
            field.calls = 0
            solve()
            ahead = field.calls
            forward = best(solve, times)
        field.calls = 0
        norm = sum([float((g * g).sum()) for g in both()]) ** 0.5
        calls = field.calls
        yield {
            "by": "torchdiffeq", "way": way, "forward": forward, "both": best(both, times), "calls forward": ahead,
            "calls both": calls, "norm": norm,
        }  # fmt: skip


SIDES = {"gpugrad": gpugrad, "jax": jax, "torchdiffeq": torchdiffeq}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one run each")
    parser.add_argument("--only", choices=SIDES, help="this library alone, its rows as JSON")
    parser.add_argument("--output", type=Path, help="a folder for the report")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(list(SIDES[options.only](1 if options.quick else 10))))
        return 0
    rows = []
    for name in SIDES:
        if name != "gpugrad" and importlib.util.find_spec(name) is None:
            continue
        quick = ["--quick"] * options.quick
        done = subprocess.run(
            [sys.executable, str(Path(__file__)), "--only", name, *quick], capture_output=True, text=True, cwd=ROOT
        )
        if done.returncode:
            print(f"{name} failed:\n{done.stderr}", file=sys.stderr)
            return 1
        rows += json.loads(done.stdout)
    head = ["by", "way", "forward, ms", "with gradient, ms", "f forward", "f with gradient", "norm of the gradient"]
    keys = ("by", "way", "forward", "both", "calls forward", "calls both", "norm")
    lines = table(head, [[row[k] for k in keys] for row in rows])
    publish(
        "ode", "A neural differential equation on the CPU", machine("numpy", *SIDES), lines, options.output, rows=rows
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
