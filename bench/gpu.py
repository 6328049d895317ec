"""What gpugrad reaches on a GPU, checked and timed beside PyTorch and JAX, every library in a process of its own.

    python bench/gpu.py [--only PART ...] [--quick] [--seconds N] [--output FOLDER] [--dry-run]

Parts: tests (those marked cuda), memcheck and racecheck (compute-sanitizer over the kernels' tests), kernels (GB/s
beside the copy's), gemm (TFLOP/s beside PyTorch's), host (time an op), steps (training steps, memory).  Each has a
share of the time, and what it leaves is the next ones'.  gpu-DEVICE-DATE.json and .md are written as rows come.  Peers
that are not installed are left out; a part that fails says so and the others go on.  The card's settings are read, and
left as they are.  Packages that the interpreter lacks are taken from build/wheels (`make wheels`).  Exit status 1 if a
check fails or a part ends early; a figure that is missed is no failure.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import traceback
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from common import answer_of, machine
from gpu_parts.parts import PARTS, Options
from gpu_parts.report import report
from wheels import borrowed

PACKAGES = (
    "numpy", "ml_dtypes", "optree", "cupy-cuda13x", "cupy-cuda12x", "nvmath-python", "nvidia-cublas", "torch", "triton",
    "jax", "jaxlib",
)  # fmt: skip
DRY = ("gemm", "host", "steps")


def gpu() -> dict[str, str]:
    """The card, the driver and the clocks as nvidia-smi reads them; {} without a GPU."""
    asked = ("name", "driver_version", "memory.total", "clocks.sm", "clocks.mem", "power.limit", "temperature.gpu")
    found = answer_of("nvidia-smi", f"--query-gpu={','.join(asked)}", "--format=csv,noheader", "--id=0")
    return dict(zip(asked, [v.strip() for v in found.split(",")])) if found else {}


def write(path: Path, text: str) -> None:
    """All of it or nothing: the run may be cut off."""
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def run(
    parts: list[str], o: Options, seconds: float, output: Path | None, lent: Sequence[str] = ()
) -> dict[str, list[dict[str, Any]]]:
    """The rows of each part.  lent: the packages that were not installed."""
    card = gpu() if not o.dry else {}
    about = {
        **machine(*PACKAGES), "date": date.today().isoformat(), "gpu": card or {"name": "dry run"},
        "commit": answer_of("git", "describe", "--always", "--dirty") or "unknown", "lent": list(lent),
    }  # fmt: skip
    stem = "gpu-" + re.sub(r"[^a-z0-9]+", "-", about["gpu"]["name"].lower()) + f"-{about['date']}"
    results: dict[str, list[dict[str, Any]]] = {}

    def save() -> None:
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            write(output / f"{stem}.json", json.dumps({"about": about, "results": results}, indent=1) + "\n")
            write(output / f"{stem}.md", report(about, results))

    end = time.monotonic() + seconds
    for i, part in enumerate(parts):
        start, (rows_of, share) = time.monotonic(), PARTS[part]
        rows = results[part] = []
        deadline = start + (end - start) * share / sum([PARTS[p][1] for p in parts[i:]])
        try:
            for row in rows_of(o, deadline):
                rows.append(row)
                save()
        except Exception as e:
            traceback.print_exc()
            rows.append({"broken": f"{type(e).__name__}: {str(e)[:500]}"})
        print(f"{part}: {len(rows)} rows, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        about["gpu"] |= {f"{k}, at the end": v for k, v in gpu().items() if k.startswith("clocks") and not o.dry}
        save()
    print(report(about, results))
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts (all; in a dry run gemm, host and steps)")
    parser.add_argument("--quick", action="store_true", help="fewer sizes and dtypes, nothing compiled")
    parser.add_argument("--seconds", type=float, default=540, help="for all parts together (%(default)s)")
    parser.add_argument("--output", type=Path, help="folder for gpu-DEVICE-DATE.json and .md")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU, to try this script")
    args = parser.parse_args()
    o = Options(args.quick, args.dry_run)
    if not o.dry and not gpu():
        print("bench/gpu.py: nvidia-smi shows no GPU here; --dry-run tries the script without one", file=sys.stderr)
        return 2
    parts = [p for p in PARTS if p in (args.only or (DRY if o.dry else PARTS))]
    with borrowed() as lent:
        results = run(parts, o, args.seconds, args.output, lent)
    return int(any(["broken" in r or r.get("ok") is False for rows in results.values() for r in rows]))


if __name__ == "__main__":
    sys.exit(main())
