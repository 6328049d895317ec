"""What ops cost on the CPU, forward and backward, beside PyTorch and beside other ways: time and peak memory.

    python bench/ops.py [--quick] [--only NAME] [--output FOLDER]

The cases are in bench/ops_parts.  Every way of a case runs in a process of its own; they take turns, because a busy
machine is busy for all.  Times are medians of rounds, with all cores and with one thread.  Peak memory is how far the
process's resident set rose above what it had before one step.  Ways that are not installed are left out.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import pkgutil
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import ops_parts
from common import Worker, least, machine, publish, rise, serve, table, verdict
from ops_parts.case import Case

ONE = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")}
MODES = {"all cores": {}, "one thread": ONE}
# glibc keeps freed memory, in which a second step finds room without a trace: large arrays go back to the system.
RETURNED = {"MALLOC_MMAP_THRESHOLD_": "100000"}


def cases() -> list[Case]:
    names = sorted(m.name for m in pkgutil.iter_modules(ops_parts.__path__) if m.name != "case")
    return [c for name in names for c in importlib.import_module(f"ops_parts.{name}").CASES]


# ---------------------------------------------------------------------------------------------- in the worker
class Session:
    """One way of one case."""

    def __init__(self, name: str, way: str) -> None:
        case = next(c for c in cases() if c.name == name)
        self.step = case.makers[way]()

    def peak(self) -> int:
        """Bytes that the resident set rose by during one step."""
        self.step()
        gc.collect()
        return rise(self.step)

    def once(self, seconds: float) -> float:
        """Milliseconds of a step: `least`."""
        return least(self.step, seconds)


# ---------------------------------------------------------------------------------------------- the run
def measured(case: Case, rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """{mode: {way: milliseconds}} and, as "MB", {way: peak}."""
    out: dict[str, dict[str, float]] = {}
    for w in case.makers if case.memory else ():
        with closing(Worker(__file__, case.name, w, **RETURNED)) as worker:
            if (peak := worker.ask(120, do="peak")) is not None:
                out.setdefault("MB", {})[w] = peak / 1e6
    for mode, variables in MODES.items():
        with ExitStack() as stack:
            workers = {
                w: stack.enter_context(closing(Worker(__file__, case.name, w, **variables))) for w in case.makers
            }
            first = {w: worker.ask(120, do="once", seconds=0) for w, worker in workers.items()}
            workers = {w: worker for w, worker in workers.items() if first[w] is not None}
            times: dict[str, list[float]] = {w: [] for w in workers}
            for _ in range(rounds):
                for w, worker in workers.items():
                    times[w].append(worker.ask(120, do="once", seconds=seconds))
            out[mode] = {w: statistics.median(t) for w, t in times.items()}
    return out


def verdicts(case: Case, found: dict[str, dict[str, float]]) -> Iterator[tuple[str, float, float]]:
    """(what is compared, the ratio, what is allowed)."""
    for kind in [*MODES, "MB"]:
        for (ours, theirs), limit in (case.memory if kind == "MB" else case.limits).items():
            if {ours, theirs} <= set(found.get(kind, ())):
                what = "peak memory" if kind == "MB" else f"time, {kind}"
                yield f"{case.name}, {what}: {ours} over {theirs}", found[kind][ours] / found[kind][theirs], limit


def main() -> None:
    if len(sys.argv) == 3 and not sys.argv[1].startswith("-"):
        return serve(partial(Session, *sys.argv[1:]))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: to see that everything runs")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--output", type=Path, help="a folder for the report")
    args = parser.parse_args()
    rounds, seconds = (1, 0.0) if args.quick else (9, 0.3)
    chosen = [c for c in cases() if args.only in c.name]
    if not chosen:
        parser.error(f"--only {args.only!r} is in no name; those are {[c.name for c in cases()]}")
    about = machine("numpy", "scipy", "torch", "ml_dtypes")
    rows, figures, data = [], [], {}
    for case in chosen:
        found = data[case.name] = measured(case, rounds, seconds)
        rows += [
            [case.name, way, *[found[m].get(way) for m in MODES], found.get("MB", {}).get(way)] for way in case.makers
        ]
        figures += [[what, ratio, limit, verdict(ratio, limit, False)] for what, ratio, limit in verdicts(case, found)]
    lines = [
        *table(["op", "by", *[f"ms, {m}" for m in MODES], "peak, MB"], rows), "",
        *table(["figure", "reached", "allowed", ""], figures),
    ]  # fmt: skip
    publish("ops", "Ops on the CPU, forward and backward", about, lines, args.output, ops=data)


if __name__ == "__main__":
    main()
