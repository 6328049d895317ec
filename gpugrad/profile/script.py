"""Floor 7: a script's memory, one way beside another, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from typing import Any

from .measure import notes
from .report import AS_WRITTEN, Comparison, Way
from .state import told
from .ways import chosen, planned


class ScriptError(Exception):
    """The script could not be measured.  `status` is what to exit with."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


def compare_script(
    script: str, args: list[str], ways: Iterable[str] | None = None, steps: int = 3, skip: int = 1,
    device: str | None = None,
) -> tuple[Comparison, int]:  # fmt: skip
    """(one step of a script in several ways, the status that the script as written exited with).

    steps, skip   how many steps are timed, after how many; the step after them is recorded.  Where there are fewer,
                  the last one is recorded
    The first way has the terminal's input and output, the others neither.  ScriptError where the script fails as it is
    written, or has no gradient.
    """
    names = chosen(ways)
    with tempfile.TemporaryDirectory(prefix="gpugrad-memory-") as folder:
        run = lambda way, last, uses, graphs, quiet: _run(
            folder, quiet, script=script, args=args, way=way, last=last, uses=uses, graphs=graphs, device=device
        )
        last = skip + steps
        got, status, _ = run(AS_WRITTEN, last, {}, 0, False)
        _checked(got, status, script)
        if got["way"] is None or got["found"] <= last:  # fewer steps than that
            last = got["found"] - 1
            got, _, said = run(AS_WRITTEN, last, {}, 0, True)
            _checked(got, status, script, said)
        uses, graphs, facts, where = got["uses"], got["graphs"], got["digest"], got["device"]
        first = Way.from_dict(got["way"])
        first.how = planned(AS_WRITTEN, uses, graphs).how
        made = [first]
        for name in names[1:]:
            way = planned(name, uses, graphs)
            if way.failed is None:
                got, code, said = run(name, last, uses, graphs, True)
                way = _read(way, got, code, said, facts)
            made.append(way)
    title = " ".join([os.path.basename(script), *args])
    return Comparison(title, where, made, notes()), status


def _run(folder: str, quiet: bool, **spec: Any) -> tuple[dict[str, Any] | None, int, str]:
    """(what the process wrote down, its exit status, what it said to stderr if it is quiet)."""
    given, out = os.path.join(folder, "spec.json"), os.path.join(folder, "out.json")
    if os.path.exists(out):
        os.remove(out)
    with open(given, "w", encoding="utf-8") as f:
        json.dump({**spec, "out": out}, f)
    command = [sys.executable, "-m", "gpugrad.profile.child", given]
    if quiet:
        null = subprocess.DEVNULL
        done = subprocess.run(command, stdin=null, stdout=null, stderr=subprocess.PIPE, text=True, errors="replace")
    else:
        done = subprocess.run(command)
    if not os.path.exists(out):
        return None, done.returncode, done.stderr or ""
    with open(out, encoding="utf-8") as f:
        return json.load(f), done.returncode, done.stderr or ""


def _checked(got: dict[str, Any] | None, status: int, script: str, said: str = "") -> None:
    """ScriptError unless the script as written did what is needed."""
    name = os.path.basename(script)
    if got is None:
        how = f"was ended by signal {-status}" if status < 0 else f"ended with exit status {status}"
        raise ScriptError(
            f"{name} {how} before a step was measured{_last_line(said)}", 128 - status if status < 0 else status or 1
        )
    failed = got["way"] is not None and got["way"]["failed"]
    if failed:
        raise ScriptError(f"{name} failed after {got['found']} steps: {failed}", status or 1)
    if not got["found"]:
        raise ScriptError(
            f"{name} asked for no gradient{f', and ended with exit status {status}' if status else ''}: there was no "
            "tape.gradient(...), backward() or gg.grad(...) to measure",
            status or 1,
        )


def _read(way: Way, got: dict[str, Any] | None, status: int, said: str, facts: list[str]) -> Way:
    """The way that a process has run."""
    if got is None or got["way"] is None:
        steps = f" after {got['found']} steps" if got else ""
        way.failed = f"exit status {status}{steps}{_last_line(said)}"
        return way
    way = Way.from_dict(got["way"])
    if way.failed is None:
        way.gradients = told(facts, got["digest"])
    return way


def _last_line(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return f": {lines[-1].strip()}" if lines else ""
