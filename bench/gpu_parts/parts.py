"""The parts of a run: each yields rows as it gets them, and stops at its deadline."""

from __future__ import annotations

import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any, NamedTuple

from common import BENCH, ROOT, Worker, environment

from .inputs import ADAM_PARAMETERS, HOST_BOUNDS, HOST_OPS, MODELS, PRECISIONS
from .products import PRODUCT_ERROR, PRODUCTS, TINY_PRODUCTS

Row = dict[str, Any]
Rows = Iterator[Row]
MIB = 2**20
BOTH = ("gpugrad", "torch")
EAGER = {"torch": "ratio", "fused": "ratio_fused"}  # what the steps' times are set against, and under which name
ADAMS = ("PyTorch's default", "PyTorch's fused=True")
DRY = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
START = 90.0  # seconds within which a library has to import, compile and answer for the first time


class Options(NamedTuple):
    quick: bool = False
    dry: bool = False

    def installed(self, *libraries: str) -> list[str]:
        """Those of the libraries that are there."""
        packages = {"compiled": "torch", "fused": "torch"}
        return [k for k in libraries if k == "gpugrad" or find_spec(packages.get(k, k)) is not None]


# ---------------------------------------------------------------------------------------------- processes
class Libraries(AbstractContextManager):
    """A process for each library, started when it is first asked."""

    def __init__(self, options: Options, deadline: float) -> None:
        self.options, self.deadline = options, deadline
        self._workers: dict[str, Worker] = {}

    def ask(self, library: str, /, **request: Any) -> Any:
        """The answer; RuntimeError or TimeoutError with what went wrong."""
        if library not in self._workers:
            dry = ["--dry-run"] if self.options.dry else []
            # JAX takes three quarters of the memory otherwise, and the others share the GPU with it.
            self._workers[library] = Worker(
                str(BENCH / "gpu_worker.py"), library, *dry, XLA_PYTHON_CLIENT_PREALLOCATE="false",
                **(DRY if self.options.dry else {}),
            )  # fmt: skip
        limit = START if library != "compiled" else 2 * START
        try:
            return self._workers[library].ask(min(limit, max(self.deadline - time.monotonic() + 20, 5)), **request)
        except (RuntimeError, TimeoutError) as e:
            if not str(e).startswith("NotImplementedError"):  # after a failed launch a CUDA context is of no use
                self.end(library)
            raise

    def attempt(self, row: Row, library: str, /, **request: Any) -> Any:
        """The answer, or None, with what went wrong in the row."""
        try:
            return self.ask(library, **request)
        except (RuntimeError, TimeoutError) as e:
            row.setdefault("failed", {})[library] = str(e).removeprefix("NotImplementedError: ")[:300]
            return None

    def alternating(self, rows: dict[str, Row], rounds: int, do: str, seconds: float) -> dict[str, float]:
        """The median of what each library has prepared, timed in turn: a change of the GPU's clocks meets all.

        rows: where to say what went wrong, by library; those are left out of the answer.
        """
        times: dict[str, list[float]] = {k: [] for k in rows}
        for _ in range(rounds):
            for k in list(times):
                t = self.attempt(rows[k], k, do=do, seconds=seconds)
                if t is None:
                    del times[k]
                else:
                    times[k].append(t)
        return {k: statistics.median(v) for k, v in times.items()}

    def end(self, library: str) -> None:
        if library in self._workers:
            self._workers.pop(library).close()

    def __exit__(self, *exc: object) -> None:
        for library in list(self._workers):
            self.end(library)


def within(plan: list[Any], deadline: float, left: list[Row]) -> Iterator[Any]:
    """The plan's items until the deadline; then a row in `left` says how many there was no time for."""
    for i, item in enumerate(plan):
        if time.monotonic() > deadline:
            left.append({"left": len(plan) - i})
            return
        yield item


# ---------------------------------------------------------------------------------------------- what is measured
def kernels(o: Options, deadline: float) -> Rows:
    """Each fused kernel beside the copy of the same size."""
    if o.dry:
        raise RuntimeError("a dry run has no kernels; tests/test_bench.py runs these rows on the host build")
    sizes = [64] if o.quick else [64, 256]
    dtypes = ["float32", "bfloat16"] if o.quick else ["float32", "bfloat16", "float16", "float64"]
    left: list[Row] = []
    with Libraries(o, deadline) as libraries:
        (copy, _), *rows = libraries.ask("gpugrad", do="rows")
        for dtype in dtypes:
            first: Row = {"name": copy, "dtype": dtype, "figure": False}
            first["sizes"] = ceiling = {mib: {"GB/s": _rate(libraries, first, mib)} for mib in sizes}
            yield first
            for name, figure in within(rows, deadline, left):
                row: Row = {"name": name, "dtype": dtype, "figure": figure, "sizes": {}}
                for mib in sizes:
                    rate, most = _rate(libraries, row, mib), ceiling[mib]["GB/s"]
                    if rate is not None and most is not None:
                        row["sizes"][mib] = {"GB/s": rate, "of_copy": rate / most}
                if "failed" not in row:
                    launch = {"do": "launch", "name": name, "dtype": dtype, "seconds": 0.02}
                    row["host_us"] = libraries.attempt(row, "gpugrad", **launch)
                yield row
    yield from left


def _rate(libraries: Libraries, row: Row, mib: int) -> float | None:
    """GB/s of a row whose main array has so many MiB."""
    request = {"name": row["name"], "dtype": row["dtype"], "size": mib * MIB, "cols": 1024}
    seconds = 0.03 if libraries.options.quick else 0.06
    found = libraries.attempt(row, "gpugrad", do="kernel", **request, seconds=seconds)
    return None if found is None else found["bytes"] / found["ms"] / 1e6


def gemm(o: Options, deadline: float) -> Rows:
    """Matrix products beside PyTorch's."""
    products = TINY_PRODUCTS if o.dry else PRODUCTS[:7] if o.quick else PRODUCTS
    plan = [(name, p) for name in PRECISIONS for p in products]
    seconds, left = (0.002 if o.dry else 0.04), []
    with Libraries(o, deadline) as libraries:
        for precision, p in within(plan, deadline, left):
            row: Row = {"product": p.label, "precision": precision, "error": {}}
            for k in o.installed(*BOTH):
                error = libraries.attempt(row, k, do="product", product=p, precision=precision)
                if error is not None:
                    row["error"][k] = error
                    if not error <= PRODUCT_ERROR[precision]:
                        row.setdefault("failed", {})[k] = f"a wrong product: off by {error:.2g}"
            right = [k for k in row["error"] if k not in row.get("failed", {})]
            for k, ms in libraries.alternating({k: row for k in right}, 2, "device", seconds).items():
                row[k] = p.flop / ms / 1e9
            yield _with_ratio(row)
    yield from left


def host(o: Options, deadline: float) -> Rows:
    """What the host needs for an op, beside PyTorch."""
    seconds, left = (0.002 if o.dry else 0.05), []
    with Libraries(o, deadline) as libraries:
        for row, request, names in within(list(_host_plan()), deadline, left):
            for k in (names := o.installed(*names)):
                libraries.attempt(row, k, **request)
            ready = [k for k in names if k not in row.get("failed", {})]
            row |= libraries.alternating({k: row for k in ready}, 1 if o.quick else 3, "host", seconds)
            yield _with_ratio(row)
    yield from left


def _host_plan() -> Iterator[tuple[Row, dict[str, Any], tuple[str, ...]]]:
    """(the row, what is asked, whom).  Beside PyTorch's fused optimizer nothing is held to the figure."""
    for name, (title, by_torch) in HOST_BOUNDS.items():
        row = {"op": title, "how": "part of an op", "figure": False}
        yield row, {"do": "bound", "name": name}, BOTH if by_torch else BOTH[:1]
    for op in HOST_OPS:
        for how in ("bare", "recorded", "backward"):
            yield {"op": op, "how": how, "figure": True}, {"do": "op", "name": op, "how": how}, BOTH
    for how in ADAMS:
        row = {"op": f"Adam, {ADAM_PARAMETERS} parameters", "how": how, "figure": how == ADAMS[0]}
        yield row, {"do": "adam", "how": how}, BOTH


def _with_ratio(row: Row) -> dict[str, Any]:
    return {**row, "ratio": row["gpugrad"] / row["torch"]} if {*BOTH} <= {*row} else row


def steps(o: Options, deadline: float) -> Rows:
    """Training steps: PyTorch, without and with fused optimizers, and gpugrad in turn; then what is compiled."""
    precisions = ["float32"] if o.quick else ["float32", "bfloat16", "TF32"]
    together = o.installed("torch", *(() if o.quick else ("fused",)), "gpugrad")
    pairs = [(together, m, p) for p in precisions for m in MODELS]
    compiled = (
        [] if o.quick else [([k], m, p) for p in precisions for m in MODELS for k in o.installed("jax", "compiled")]
    )
    seconds, left = (0.01 if o.dry else 0.3), []
    expected: dict[tuple[str, str], tuple[str, list[float]]] = {}  # PyTorch's, where it is installed
    eager: dict[tuple[str, str, str], float] = {}  # PyTorch's times, by library too
    with Libraries(o, deadline) as libraries:
        for names, model, precision in within(pairs + compiled, deadline, left):
            rows = {k: {"model": model, "precision": precision, "library": k} for k in names}
            for k, row in rows.items():
                row.update(libraries.attempt(row, k, do="step", model=model, precision=precision) or {})
                if "losses" in row:
                    reference = expected.setdefault((model, precision), (k, row["losses"]))
                    if not close(row["losses"], reference[1], PRECISIONS[precision][2]):
                        row["failed"] = {k: f"other losses than those of {reference[0]}, {reference[1]}: not timed"}
            right = {k: row for k, row in rows.items() if "failed" not in row}
            for k, ms in libraries.alternating(right, 1 if o.dry else 5, "program", seconds).items():
                rows[k]["ms"] = ms
                rows[k].update(libraries.attempt(rows[k], k, do="memory") or {})
            eager |= {(k, model, precision): r["ms"] for k, r in rows.items() if k in EAGER and "ms" in r}
            for k, row in rows.items():
                for library, ratio in EAGER.items():
                    if "ms" in row and (library, model, precision) in eager:
                        row[ratio] = row["ms"] / eager[library, model, precision]
                if k in ("jax", "compiled"):
                    libraries.end(k)  # its peak of memory is that of the process
                yield row
    yield from left


def close(losses: list[float], reference: list[float], tolerance: float) -> bool:
    """Whether two programs' losses are the same; NaN is not."""
    return all([math.isfinite(b) and abs(a - b) <= tolerance * abs(b) for a, b in zip(losses, reference)])


# ---------------------------------------------------------------------------------------------- what is checked
def tests(o: Options, deadline: float) -> Rows:
    """The tests that need a GPU."""
    yield checked([*_pytest("tests"), "--continue-on-collection-errors"], deadline)


def memcheck(o: Options, deadline: float) -> Rows:
    """compute-sanitizer looks for accesses outside arrays; without CuPy's pool, which would hide them."""
    flags = ["--report-api-errors", "no"]
    yield sanitized("memcheck", flags, "float32 or bfloat16", deadline)


def racecheck(o: Options, deadline: float) -> Rows:
    """compute-sanitizer looks for races in shared memory."""
    yield sanitized("racecheck", [], "float32", deadline)


def sanitized(tool: str, flags: list[str], dtypes: str, deadline: float) -> dict[str, Any]:
    """A tool of compute-sanitizer over the kernels' tests."""
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        return {"ok": None, "outcome": "compute-sanitizer is not installed"}
    command = [sanitizer, "--tool", tool, "--error-exitcode", "9", "--target-processes", "all", *flags]
    return checked([*command, *_pytest("tests/test_fused.py"), "--no-pool", "-k", f"on_a_gpu and ({dtypes})"], deadline)


def _pytest(*arguments: str) -> list[str]:
    """pytest as pyproject.toml has it, but of any version: what is installed must do."""
    marks = "ignore::pytest.PytestUnknownMarkWarning"  # the marks are listed in pyproject.toml
    options = ["-c", os.devnull, "--rootdir", str(ROOT), "-W", "error", "-W", marks, "-p", "no:cacheprovider"]
    return [sys.executable, "-m", "pytest", *options, "-q", "-m", "cuda", *arguments]


def checked(command: list[str], deadline: float) -> dict[str, Any]:
    """{command, ok, outcome, seconds, failures} of pytest, which has until the deadline.

    Tests that were all skipped are no success: a GPU is here.
    """
    start, limit = time.monotonic(), max(deadline - time.monotonic(), 1)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True,
            env=environment(),
        )  # fmt: skip
        try:
            ok, stopped = process.wait(limit) == 0, ""
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # a session of its own: the tests under a sanitizer, too
            process.wait()
            ok, stopped = False, f"stopped after {limit:.0f} s; "
        said.seek(0)
        lines = [s.strip() for s in said.read().splitlines() if s.strip()]
    telling = [s.lstrip("= ").rstrip("= ") for s in lines if " SUMMARY: " in s or "========= Error" in s]
    last = [s for s in lines if not s.startswith("=========")][-1:] or ["no output"]
    ok = ok and " passed" in last[0]
    return {
        "command": " ".join([os.path.basename(command[0]), *command[1:]]), "ok": ok,
        "outcome": stopped + "; ".join([*last, *telling[:5]])[:600], "seconds": time.monotonic() - start,
        "failures": [s for s in lines if s.startswith(("FAILED", "ERROR", "E   "))][:40],
    }  # fmt: skip


# The parts in their order: what runs them, and their share of the time.
PARTS: dict[str, tuple[Callable[[Options, float], Rows], float]] = {
    "tests": (tests, 150), "memcheck": (memcheck, 80), "racecheck": (racecheck, 60), "kernels": (kernels, 75),
    "gemm": (gemm, 50), "host": (host, 25), "steps": (steps, 120),
}  # fmt: skip
