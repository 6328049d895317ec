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
from .state import DIFFER, UNREPEATED, told
from .ways import chosen, planned


class ScriptError(Exception):
    """The script could not be measured.  `status` is what to exit with."""

    def __init__(self, text: str, status: int) -> None:
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
    given = {"script": script, "args": args, "device": device, "uses": {}, "graphs": 0, "timed": steps}
    given["last"] = skip + steps
    with tempfile.TemporaryDirectory(prefix="gpugrad-memory-") as folder:
        first = _run(folder, False, given, AS_WRITTEN)
        status = first["status"]
        _check(first, script)
        if first["way"] is None:  # fewer steps than that
            given["last"] = first["found"] - 1
            first = _run(folder, True, given, AS_WRITTEN)
            _check(first, script)
        given |= {"uses": first["uses"], "graphs": first["graphs"]}
        made = [_way(first, AS_WRITTEN, given)]
        made[0].how = planned(AS_WRITTEN, first["uses"], first["graphs"]).how  # which only now is known
        repeats: bool | None = None
        for name in names[1:]:
            way = planned(name, first["uses"], first["graphs"])
            if way.failed is None:
                got = _run(folder, True, given, name)
                way = _way(got, name, given)
                if way.failed is None:
                    way.gradients = told(first["digest"], got["digest"])
                    if way.gradients == DIFFER and repeats is None:
                        again = _run(folder, True, {**given, "last": 0, "timed": 0}, AS_WRITTEN)
                        repeats = again.get("digest") == first["digest"]
                    if way.gradients == DIFFER and not repeats:
                        way.gradients = UNREPEATED
            made.append(way)
    title = " ".join([os.path.basename(script), *args])
    return Comparison(title, first["device"], made, notes()), status


def _run(folder: str, quiet: bool, given: dict[str, Any], way: str) -> dict[str, Any]:
    """What the process wrote down, which may be nothing; its exit status; what it `said` to stderr, if it is quiet."""
    spec, out = os.path.join(folder, "spec.json"), os.path.join(folder, f"{len(os.listdir(folder))}.json")
    with open(spec, "w", encoding="utf-8") as f:
        json.dump({**given, "way": way, "out": out}, f)
    null = subprocess.DEVNULL
    done = subprocess.run(
        [sys.executable, "-m", "gpugrad.profile.child", spec],
        stdin=null if quiet else None, stdout=null if quiet else None, stderr=subprocess.PIPE if quiet else None,
    )  # fmt: skip
    said = (done.stderr or b"").decode(errors="replace")
    got: dict[str, Any] = {"found": None, "way": None}
    if os.path.exists(out):
        with open(out, encoding="utf-8") as f:
            got = json.load(f)
    return {**got, "status": done.returncode, "said": said}


def _check(got: dict[str, Any], script: str) -> None:
    """ScriptError unless the script as written came to a step and did not fail."""
    name, status, found = os.path.basename(script), got["status"], got["found"]
    if found is None:
        raise ScriptError(f"{name} {_end(got)} before a step was measured", 128 - status if status < 0 else status or 1)
    if got["way"] is not None and got["way"]["failed"]:
        raise ScriptError(f"{name} failed after {found} steps: {got['way']['failed']}", status or 1)
    if not found:
        ended = f", and {_end(got)}" if status else ""
        raise ScriptError(
            f"{name} asked for no gradient{ended}: there was no tape.gradient(...), backward() or gg.grad(...) to "
            "measure",
            status or 1,
        )


def _way(got: dict[str, Any], name: str, given: dict[str, Any]) -> Way:
    """The way that a process has run."""
    if got["way"] is not None:
        return Way.from_dict(got["way"])
    way = planned(name, given["uses"], given["graphs"])
    last = [line for line in got["said"].splitlines() if line.strip()][-1:]
    way.failed = ": ".join([f"it {_end(got)} before the step that was to be recorded", *last])
    return way


def _end(got: dict[str, Any]) -> str:
    status = got["status"]
    return f"was ended by signal {-status}" if status < 0 else f"ended with exit status {status}"
