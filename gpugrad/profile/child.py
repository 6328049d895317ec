"""Floor 7: a script, run as Python would, with its steps followed.  `python -m gpugrad.profile.child SPEC.json`.

SPEC.json says what to run: {"script", "args", "way", "uses", "graphs", "last", "timed", "device", "out"}.  `out` is the
file for {"found", "uses", "graphs", "digest", "device", "way"}: how many steps there were; if `last` was one, its way.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from contextlib import ExitStack
from dataclasses import asdict
from threading import current_thread, main_thread
from typing import Any

from ..array import default_device, set_default_device
from .signals import wait
from .steps import Steps
from .ways import planned, running


class Enough(SystemExit):
    """What was asked for is measured: the program is left as by sys.exit()."""


def main(path: str) -> int:
    """Run the script of a SPEC.json.  Answers the exit status that Python would."""
    with open(path, encoding="utf-8") as f:
        spec = json.load(f)
    way = planned(spec["way"], spec["uses"], spec["graphs"])

    def report() -> None:
        made: dict[str, Any] = {
            "found": steps.done, "uses": steps.uses, "graphs": steps.graphs, "digest": steps.digest.told(),
            "device": str(default_device()), "way": None,
        }  # fmt: skip
        if steps.done > steps.last:
            steps.write(way)
            made["way"] = asdict(way)
        elif way.failed is not None:
            made["way"] = asdict(way)
        with open(spec["out"], "w", encoding="utf-8") as f:
            json.dump(made, f)

    def leave() -> None:
        if current_thread() is main_thread():
            raise Enough(0)
        followed.close()  # other threads may wait for this one, for ever
        report()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    wait()  # a thread may begin to record
    steps = Steps(spec["way"], spec["uses"], spec["last"], spec["timed"], report, leave)
    if spec["device"] is not None:
        set_default_device(spec["device"])
    status = 0
    with ExitStack() as followed:
        followed.enter_context(running(steps, way))
        try:
            run(spec["script"], spec["args"])
        except Enough:
            pass
        except SystemExit as e:
            status = _status(e)
        except BaseException as e:
            status = 130 if isinstance(e, KeyboardInterrupt) else 1
            way.failed = f"{type(e).__name__}: {e}".rstrip(": ")
            _tell(e, spec["script"])
    steps.end()
    report()  # once more: only now is everything known of the way
    return status


def run(script: str, args: list[str]) -> None:
    """Run a script as `python SCRIPT ARGS…` does: its folder first on the path, sys.argv its own, as __main__."""
    sys.argv[:] = [script, *args]
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(script))
    runpy.run_path(script, run_name="__main__")


def _status(e: SystemExit) -> int:
    """The exit status that Python has for this, which says a text."""
    if e.code is None or isinstance(e.code, int):
        return e.code or 0
    print(e.code, file=sys.stderr)
    return 1


def _tell(e: BaseException, script: str) -> None:
    """The traceback that Python would show: from the script on."""
    tb = e.__traceback__
    while tb is not None and not _same(tb.tb_frame.f_code.co_filename, script):
        tb = tb.tb_next
    traceback.print_exception(type(e), e, tb)  # none of a SyntaxError


def _same(a: str, b: str) -> bool:
    return os.path.realpath(a) == os.path.realpath(b)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
