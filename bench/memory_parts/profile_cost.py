"""What `gg.profile.memory()` costs while it is open: a block, a recorded op, a step; and reading it afterwards.

python -m bench.memory_parts.profile_cost
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

import gpugrad as gg


def least(f: Callable[[], Any], rounds: int) -> float:
    """Seconds of f: the minimum over rounds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return min(times)


def blocks(n: int, nbytes: int) -> Callable[[], None]:
    """Allocate and free so many blocks."""

    def run() -> None:
        for _ in range(n):
            np.empty(nbytes, np.int8)

    return run


def chain(n: int) -> Callable[[], None]:
    """Record n products of 4 kB, and pull back."""
    x = gg.tensor(np.ones(1000, np.float32), requires_grad=True)

    def run() -> None:
        y = x
        for _ in range(n):
            y = y * x
        gg.sum(y).backward()

    return run


def model(batch: int, width: int, layers: int) -> Callable[[], None]:
    """A step of a network on a tape."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    ws = [gg.Variable(draw(width, width) / np.sqrt(np.float32(width))) for _ in range(layers)]
    x = gg.tensor(draw(batch, width))

    def run() -> None:
        with gg.GradientTape() as tape:
            y = x
            for w in ws:
                y = gg.nn.relu(y @ w)
            loss = (y * y).mean()
        tape.gradient(loss, ws)

    return run


def main() -> None:
    """Print a row for each case: microseconds of one, off and on."""
    gc.disable()
    cases = {
        "a block of 4 kB": (blocks(2000, 4096), 2000),
        "a block of 100 B (summed)": (blocks(2000, 100), 2000),
        "a product of 4 kB, and its gradient": (chain(1000), 1000),
        "a step: batch 256, 4 x 256": (model(256, 256, 4), 1),
        "a step: batch 4096, 8 x 512": (model(4096, 512, 8), 1),
    }
    print(f"{'one of':<38}{'off, us':>12}{'on, us':>12}{'added, us':>12}")
    for name, (f, n) in cases.items():
        took = []
        for context in (nullcontext, gg.profile.memory):

            def run(f: Callable[[], None] = f, context: Any = context) -> None:
                with context():
                    f()

            took.append(least(run, 7) / n * 1e6)
        off, on = took
        print(f"{name:<38}{off:>12.2f}{on:>12.2f}{on - off:>12.2f}")
    with gg.profile.memory() as m:
        blocks(100_000, 4096)()
    for what, read in {"timeline": m.timeline, "stack": m.stack, "text": m.__str__, "to_dict": m.to_dict}.items():
        print(f"{what} of 100,000 blocks: {least(read, 3):.2f} s")


if __name__ == "__main__":
    main()
