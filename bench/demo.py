"""The demo's figures, seed by seed: test accuracy and time.

python bench/demo.py [--seeds N] [--output FOLDER]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import time
from pathlib import Path

for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # as `make demo`, before NumPy is imported
    os.environ.setdefault(name, "1")

from common import machine, publish  # noqa: E402

from gpugrad import demo  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=4, help="how many seeds, from 0 (%(default)s)")
    parser.add_argument("--output", type=Path, help="folder for demo-DATE.md")
    args = parser.parse_args()
    rows = []
    for seed in [*range(args.seeds), 0]:  # the first once more: the same figure
        start = time.perf_counter()
        with contextlib.redirect_stderr(io.StringIO()):
            accuracy = demo.run("cpu", seed=seed, say=lambda _: None)
        rows.append((seed, accuracy, time.perf_counter() - start))
    lines = [
        "One BLAS thread.  At least 97% and under 20 s.", "",
        "| seed | test accuracy | seconds | |", "|---|---|---|---|",
        *[f"| {s} | {a:.2%} | {t:.1f} | {'met' if a >= 0.97 and t < 20 else 'missed'} |" for s, a, t in rows], "",
        f"Seed 0 twice: {'the same figure' if rows[0][1] == rows[-1][1] else 'two figures'}.",
    ]  # fmt: skip
    publish("demo", "The demo's accuracy and time", machine("numpy"), lines, args.output)


if __name__ == "__main__":
    main()
