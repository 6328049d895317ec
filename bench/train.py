"""Training steps a second and peak memory, beside PyTorch and JAX.

    python bench/train.py [--quick] [--only CASE] [--output FOLDER]

The cases are in bench/train_parts: a step is a forward, its gradients and Adam's update, on the same weights and batch
in each library.  Every library and way has a process of its own.  Times are the least of rounds, in which they take
turns.  Peak memory is how far making the model and its first steps raise the process's resident set: weights, Adam's
state, activations, gradients; a model that took a few rows has loaded before what libraries load late.  The losses of
the first steps must agree.  Libraries that are not installed are left out.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import math
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from common import Worker, machine, publish, rise, serve, table, verdict
from train_parts import CASES, LIMITS

# library: (its module in train_parts, its ways)
LIBRARIES = {"gpugrad": ("ours", ("",)), "PyTorch": ("pytorch", ("", "fused")), "JAX jit": ("jax_jit", ("",))}
FIRST = 5  # steps, whose losses are compared


# ---------------------------------------------------------------------------------------------- in the worker
class Session:
    """One case in one library and way."""

    def __init__(self, module: str, case: str, way: str) -> None:
        training = import_module(f"train_parts.{module}").training
        training(case, way, True)()
        self.training = partial(training, case, way)

    def begin(self) -> dict[str, Any]:
        """The losses of the first steps, and the MB that the model and they take."""
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        losses: list[float] = []

        def run() -> None:
            self.step = self.training()
            losses.extend(self.step() for _ in range(FIRST))

        return {"MB": rise(run) / 1e6, "losses": losses}

    def some(self, seconds: float) -> list[float]:
        """Milliseconds of each of the steps that fit into so many seconds, at least three."""
        found, end = [], time.perf_counter() + seconds
        while len(found) < 3 or time.perf_counter() < end:
            start = time.perf_counter()
            self.step()
            found.append((time.perf_counter() - start) * 1e3)
        return found


# ---------------------------------------------------------------------------------------------- the run
def measured(case: str, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """{"case", "by", "least", "median", "MB", "losses"} for all that is installed; times are milliseconds a step."""
    with ExitStack() as stack:
        found, workers = [], []
        for by, (module, ways) in LIBRARIES.items():
            for way in ways:
                worker = stack.enter_context(closing(Worker(__file__, module, case, way)))
                if (begun := worker.ask(300, do="begin")) is not None:
                    found.append({"case": case, "by": f"{by}, {way} Adam" if way else by, **begun, "ms": []})
                    workers.append(worker)
        for _ in range(rounds):
            for one, worker in zip(found, workers):
                one["ms"] += worker.ask(300, do="some", seconds=seconds)
    for one in found:
        ms = one.pop("ms")
        one["least"], one["median"] = min(ms), statistics.median(ms)
        if not all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(one["losses"], found[0]["losses"])):
            raise SystemExit(f"{case}: {one['by']} has the losses {one['losses']}, gpugrad {found[0]['losses']}")
    return found


def verdicts(rows: list[dict[str, Any]]) -> Iterator[tuple[str, float, float | None]]:
    """(what is asked, what was reached, what is allowed: None if nothing is)."""
    at = {(r["case"], r["by"]): r for r in rows}
    for case, limit in LIMITS.items():
        for by, allowed in (("PyTorch", limit), ("PyTorch, fused Adam", None), ("JAX jit", None)):
            if (case, by) in at:
                yield f"{case}: time over that of {by}", at[case, "gpugrad"]["least"] / at[case, by]["least"], allowed


def main() -> None:
    if len(sys.argv) == 4 and sys.argv[1] in [module for module, _ in LIBRARIES.values()]:
        return serve(partial(Session, *sys.argv[1:]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round: to see that everything runs")
    parser.add_argument("--only", choices=CASES, help="this alone")
    parser.add_argument("--output", type=Path, help="a folder for the report")
    args = parser.parse_args()
    rounds, seconds = (1, 0.0) if args.quick else (8, 1.0)
    about = machine("numpy", "scipy", "torch", "jax")
    rows = [r for case in CASES if args.only in (None, case) for r in measured(case, rounds, seconds)]
    figures = [[what, value, limit, "" if limit is None else verdict(value, limit, False)]
               for what, value, limit in verdicts(rows)]  # fmt: skip
    shown = [[CASES[r["case"]], r["by"], 1e3 / r["least"], r["least"], r["median"], r["MB"]] for r in rows]
    lines = [
        *table(("case", "by", "steps/s", "least ms", "median ms", "peak MB"), shown), "",
        *table(("figure", "reached", "allowed", ""), figures),
    ]  # fmt: skip
    publish("train", "Training steps on the CPU", about, lines, args.output, rows=rows)


if __name__ == "__main__":
    main()
