"""What the benchmarks share: the machine and its versions, processes of their own, tables in Markdown."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import queue
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent


# ---------------------------------------------------------------------------------------------- about
def versions(*names: str) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for n in names:
        try:
            found[n] = importlib.metadata.version(n)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine(*packages: str) -> dict[str, Any]:
    """The processor, the system and the versions of `packages`."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    cpu = next((s.split(":")[1].strip() for s in lines if s.startswith("model name")), "unknown")
    return {"cpu": cpu, "cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version(),
            "versions": versions(*packages)}  # fmt: skip


def described(about: dict[str, Any]) -> str:
    """`machine()` in one line."""
    found = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    return f"{about['cpu']}, {about['cores']} cores, {about['system']}, Python {about['python']}; {found}"


def answer_of(*command: str) -> str:
    """What a command prints; "" where it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


# ---------------------------------------------------------------------------------------------- tables
def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return lines + ["| " + " | ".join([shown(c).replace("|", "\\|") for c in row]) + " |" for row in rows]


def shown(value: Any) -> str:
    """A cell: three digits of a number, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def verdict(reached: float, limit: float, at_least: bool) -> str:
    """Whether a figure is met.  NaN is not."""
    return "met" if (reached >= limit if at_least else reached <= limit) else "missed"


def publish(
    name: str, title: str, about: dict[str, Any], lines: Iterable[str], folder: Path | None, **data: Any
) -> None:
    """Print a report, and write it into `folder`, if there is one: NAME-DATE.md, and `data` with `about` as .json.

    about   what `machine` answers
    lines   the report, in Markdown, after the title and the machine
    """
    text = "\n".join([f"# {title}", "", f"{date.today()}; {described(about)}", "", *lines])
    print(text)
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"{name}-{date.today()}"
    stem.with_suffix(".md").write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    if data:
        stem.with_suffix(".json").write_text(json.dumps({"about": about, **data}, indent=1) + "\n", encoding="utf-8")


# ---------------------------------------------------------------------------------------------- workers
def environment(**more: str) -> dict[str, str]:
    """This process's, with `more`, and with the checkout where Python looks first: it need not be installed."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}


class Worker:
    """A process that answers requests, one line of JSON each, and dies when it takes too long.

    `ask` raises RuntimeError with what the process said when it fails, TimeoutError when it does not answer in time;
    after that it is gone.
    """

    def __init__(self, *arguments: str, **variables: str) -> None:
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True,
            cwd=ROOT, env=environment(**variables),
        )  # fmt: skip
        self._answers: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")  # it has ended

    def ask(self, limit: float, /, **request: Any) -> Any:
        """The answer to a request, within `limit` seconds."""
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=max(limit, 0.1))
        except queue.Empty:
            self.close()
            raise TimeoutError(f"no answer within {limit:.0f} s") from None
        except (BrokenPipeError, ValueError):
            line = ""
        if not line:
            self._said.seek(0)
            raise RuntimeError(f"the process ended: {self._said.read()[-500:].strip()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._reader.join(5)
        for f in (self._process.stdin, self._process.stdout, self._said):
            with contextlib.suppress(BrokenPipeError):  # what was not yet sent
                if f:
                    f.close()


# ---------------------------------------------------------------------------------------------- in a worker
def serve(make: Callable[[], Any]) -> None:
    """Answer the requests of a `Worker`: {"do": method, **arguments} of what `make` answers, made when first asked."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    session: Any = None
    for line in sys.stdin:
        try:
            request = json.loads(line)
            session = session or make()
            answer = {"value": getattr(session, request.pop("do"))(**request)}
        except ImportError as e:
            answer = {"value": None, "missing": str(e)}
        except Exception as e:
            traceback.print_exc()
            answer = {"error": f"{type(e).__name__}: {str(e).strip()[:300]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def resident(name: str) -> int:
    """Bytes of this process in memory: now ("VmRSS"), or the most so far ("VmHWM")."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def rise(f: Callable[[], Any]) -> int:
    """How far f raises the resident set above what is there before, in bytes, at its highest."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = resident("VmRSS")
    f()
    return resident("VmHWM") - before


def least(step: Callable[[], Any], seconds: float) -> float:
    """Milliseconds of a step, of as many as take about `seconds`: the least."""
    found, end = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        step()
        now = time.perf_counter()
        found = min(found, now - start)
        if now > end:
            return found * 1e3
