"""How much memory one forward and its gradients take, beside PyTorch, TensorFlow and JAX; and whether training leaks.

    python bench/memory.py [--quick] [--only CASE] [--before COMMIT] [--gpu] [--output FOLDER]

The cases are in bench/memory_parts.  Every library and way has a process of its own.  Peak memory is how far one step
raises the process's resident set, gradients included, inputs not; before it, a step on a few rows has loaded what
libraries load late.  Times are the least of rounds, in which the ways take turns.  Libraries that are not installed are
left out.  --before COMMIT measures gpugrad as it was there, too.  --gpu measures on a GPU, beside PyTorch: the peak is
then that of the arrays there, as CuPy's hook and PyTorch's allocator count them.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import math
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from common import ROOT, Worker, least, machine, publish, resident, rise, serve, table, verdict
from memory_parts.cases import CASES, LIMITS, RATIOS, arrays

# Parts run again; single ops run again, within BOUNDS; saved in bfloat16: where there is something to spare.
SPARING = {"checkpoint": "c", "max_bytes": "bc", "bfloat16": "bc"}
# library: (its module in memory_parts, its ways)
LIBRARIES = {
    "gpugrad": ("ours", ("once", "persistent", "checkpoint", "max_bytes", "bfloat16")),
    "PyTorch": ("pytorch", ("once", "persistent", "checkpoint")),
    "TensorFlow": ("tensorflow", ("once", "persistent", "checkpoint")),
    "JAX jit": ("jax_jit", ("once",)),
}
BEFORE, ON_GPU = "gpugrad before", "GPUGRAD_BENCH_ON_GPU"
GPU = ("gpugrad", "PyTorch")  # the libraries that are measured there
SLOWER, GROWTH = 1.1, 2.0  # allowed: the ratio of times to `BEFORE`; MB in training
STEPS, FIRST = 100_000, 1_000  # of training; of those, the ones that may still fill caches


# ---------------------------------------------------------------------------------------------- in the worker
class Session:
    """One case in one library and way."""

    def __init__(self, module: str, case: str, way: str) -> None:
        self.library, self.gpu = import_module(f"memory_parts.{module}"), bool(os.environ.get(ON_GPU))
        if self.gpu:
            self.library.on_gpu()
        step = self.library.step
        step(case, way, arrays(case, small=True))()
        self.step = step(case, way, arrays(case))

    def peak(self) -> dict[str, float]:
        """MB that one step, the first of its size, takes; and what tells whether libraries compute the same."""
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        loss, grads = 0.0, []

        def once() -> None:
            nonlocal loss, grads
            loss, grads = self.step()

        taken = self.library.gpu_peak(once) if self.gpu else rise(once)
        return {"MB": taken / 1e6, "loss": loss, "norm": math.sqrt(sum(float((g * g).sum()) for g in grads))}

    def once(self, seconds: float) -> float:
        """Milliseconds of a step: `least`."""
        return least(self.step, seconds)


class Training:
    """A small MLP that is trained, with the collector off."""

    def __init__(self) -> None:
        import gpugrad as gg
        from gpugrad import nn

        gg.random.seed(0)
        model = nn.Sequential(nn.Linear(64, 64, activation="relu"), nn.Dropout(0.1), nn.Linear(64, 10))
        rate = gg.optim.Adam(model.trainable_variables, 1e-3)
        x, y = gg.random.normal((32, 64)), gg.tensor([i % 10 for i in range(32)])

        def step() -> None:
            with gg.GradientTape() as tape:
                loss = nn.cross_entropy(model(x), y)
            rate.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables))

        self.step = step

    def growth(self, steps: int, first: int) -> list[float]:
        """MB of the resident set after each hundredth of the steps, above what it was after the `first` ones."""
        gc.disable()
        found, start = [], 0
        for i in range(1, steps + 1):
            self.step()
            if i == first:
                start = resident("VmRSS")
            elif i > first and i % max(1, steps // 100) == 0:
                found.append((resident("VmRSS") - start) / 1e6)
        return found


# ---------------------------------------------------------------------------------------------- the run
def measured(case: str, rounds: int, seconds: float, before: str | None, gpu: bool) -> Iterator[dict[str, Any]]:
    """{"case", "by", "way", "MB", "ms", "loss", "norm"} for all that is installed."""
    with ExitStack() as stack:
        found, workers = [], []
        for by, (module, ways) in LIBRARIES.items():
            for way in ways:
                if case not in SPARING.get(way, case) or (gpu and by not in GPU):
                    continue
                worker = stack.enter_context(
                    closing(Worker(__file__, module, case, way, **({ON_GPU: "1"} if gpu else {})))
                )
                if (peak := worker.ask(300, do="peak")) is not None:
                    found.append({"case": case, "by": by, "way": way, **peak, "ms": float("inf")})
                    workers.append(worker)
        if before:
            # Its own gpugrad comes first on the path; the cases are this commit's.
            worker = Worker(__file__, "ours", case, "once", GPUGRAD_BEFORE=before)
            stack.enter_context(closing(worker))
            found.append({"case": case, "by": BEFORE, "way": "once", **worker.ask(300, do="peak"), "ms": float("inf")})
            workers.append(worker)
        for _ in range(rounds):
            for one, worker in zip(found, workers):
                one["ms"] = min(one["ms"], worker.ask(300, do="once", seconds=seconds))
    for one in found[1:]:
        for what in ("loss", "norm"):
            if not math.isclose(one[what], found[0][what], rel_tol=1e-3):
                raise SystemExit(f"{one['by']} computes another {what} than {found[0]['by']}: {one}, {found[0]}")
    yield from found


def verdicts(rows: list[dict[str, Any]], growth: list[float] | None) -> Iterator[tuple[str, float, float]]:
    """(what is asked, what was reached, what is allowed)."""
    at = {(r["case"], r["by"], r["way"]): r for r in rows}
    for (case, way), limit in LIMITS.items():
        if one := at.get((case, "gpugrad", way)):
            yield f"({case}) {way}: MB", one["MB"], limit
    for (case, way), limit in RATIOS.items():
        ours, theirs = at.get((case, "gpugrad", way)), at.get((case, "PyTorch", way))
        if ours and theirs:
            yield f"({case}) {way}: memory over PyTorch's", ours["MB"] / theirs["MB"], limit
    for case in CASES:
        ours, then = at.get((case, "gpugrad", "once")), at.get((case, BEFORE, "once"))
        if ours and then:
            yield f"({case}) once: time over that before", ours["ms"] / then["ms"], SLOWER
    if growth:
        yield f"training: MB grown by, after the first {FIRST:,} steps", max(growth), GROWTH


def unpacked(commit: str, folder: str) -> str:
    """Where gpugrad as of `commit` is, in `folder`."""
    archive = Path(folder) / "before.tar"
    subprocess.run(["git", "archive", "-o", str(archive), commit, "gpugrad", "kernels"], check=True, cwd=ROOT)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


def main() -> None:
    if len(sys.argv) == 4 and sys.argv[1] in [module for module, _ in LIBRARIES.values()]:
        if before := os.environ.get("GPUGRAD_BEFORE"):
            sys.path.insert(0, before)
        return serve(partial(Session, *sys.argv[1:]))
    if sys.argv[1:] == ["training"]:
        return serve(Training)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round: to see that everything runs")
    parser.add_argument("--only", choices=[*CASES, "training"], help="this alone")
    parser.add_argument("--before", metavar="COMMIT", help="measure gpugrad as of this commit, too")
    parser.add_argument("--gpu", action="store_true", help="on a GPU")
    parser.add_argument("--output", type=Path, help="a folder for the report")
    args = parser.parse_args()
    rounds, seconds = (1, 0.0) if args.quick else (5, 0.3)
    if args.gpu and args.before:
        parser.error("--before is for the CPU")
    steps = STEPS // 20 if args.quick else STEPS
    about = machine(
        "numpy", "scipy", "torch", "tensorflow-cpu", "jax", *(["cupy-cuda12x", "cupy-cuda13x"] if args.gpu else [])
    )
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        before = unpacked(args.before, folder) if args.before else None
        for case in CASES:
            if args.only in (None, case):
                rows += measured(case, rounds, seconds, before, args.gpu)
    growth = None
    if args.only in (None, "training") and not args.gpu:
        with closing(Worker(__file__, "training")) as worker:
            growth = worker.ask(1200, do="growth", steps=steps, first=FIRST)
    asked = [] if args.gpu else verdicts(rows, growth)  # the figures are the CPU's
    figures = [[what, value, limit, verdict(value, limit, False)] for what, value, limit in asked]
    where = "a GPU" if args.gpu else "the CPU"
    columns = ("case", "by", "way", "MB", "ms")
    lines = [
        *[f"- ({case}) {what}" for case, what in CASES.items()], "",
        *table(columns, [[r[k] for k in columns] for r in rows]),
        "", *([f"Training, {steps:,} steps, the collector off: the resident set grew by at most "
               f"{max(growth):.2f} MB after the first {FIRST:,}, and by {growth[-1]:.2f} MB in the end.", ""]
              if growth else []),
        *table(["figure", "reached", "allowed", ""], figures),
    ]  # fmt: skip
    name, title = "memory-gpu" if args.gpu else "memory", f"Peak memory of one forward and its gradients, on {where}"
    publish(name, title, about, lines, args.output, before=args.before, rows=rows, growth=growth)


if __name__ == "__main__":
    main()
