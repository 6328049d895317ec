"""What gpugrad itself costs on the host before a kernel runs: microseconds an op, on CuPy's own array objects.

    python bench/launch.py [--quick] [--output FOLDER]

No GPU.  The arrays are CuPy's, in host memory (tests/cupyhost.py); allocation and launch are stubbed: an output is one
of a few arrays that are used again and again, a launch or a product of cuBLASLt is a call that does nothing, nobody
asks the driver for the current device or stream.  So the figures are the Python of gpugrad alone; on a GPU CuPy's
allocation and launch come on top.  Ops that CuPy's own kernels do (add, sums) cannot run here.
"""

from __future__ import annotations

import argparse
import sys
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, machine, publish, table

sys.path.insert(0, str(ROOT / "tests"))

import cupyhost

import gpugrad as gg
from gpugrad import nn

ROWS, WIDTH, VARIABLES = 64, 128, 100
TARGETS = {"relu": 2.0, "softmax": 4.0, "layer_norm": 4.0, "linear": 4.0}  # us an op, recorded


class Stubbed(cupyhost.HostCupy):
    """CuPy's library whose outputs are used again, and whose kernels do nothing."""

    def __init__(self) -> None:
        super().__init__(lambda code, kernel, device: lambda grid, block, args: None)
        outputs: dict[Any, Any] = {}

        def empty(shape: Any, dtype: Any) -> Any:
            try:
                return outputs[shape, dtype.num]
            except KeyError:
                made = outputs[shape, dtype.num] = cupyhost.put(np.zeros(shape, dtype))
                return made

        self.empty = self.xp.empty = empty
        self._blas.lt.matmul = lambda *args: None
        self._set = self._blas.lt.matmul_desc_set_attribute

    def hush(self, on: bool) -> None:
        """Whether setting an epilogue's address does nothing, too: the stand-in's takes longer than cuBLASLt's own."""
        self._blas.lt.matmul_desc_set_attribute = (lambda *args: None) if on else self._set


def programs() -> dict[str, tuple[Callable[..., Any], list[Any], list[bool]]]:
    """By name: (an op, its tensors, which of them need a gradient)."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: cupyhost.put(rng.standard_normal(shape), np.float32)
    labels = gg.tensor(cupyhost.put(rng.integers(0, WIDTH, ROWS)))
    x, w, v = draw(ROWS, WIDTH), draw(WIDTH, WIDTH), draw(WIDTH)
    return {
        "relu": (nn.relu, [x], [True]),
        "matmul": (gg.matmul, [x, w], [True, True]),
        "linear": (nn.linear, [x, w, v], [True, True, True]),
        "linear, relu": (lambda *a: nn.linear(*a, activation="relu"), [x, w, v], [True, True, True]),
        "softmax": (nn.softmax, [x], [True]),
        "layer_norm": (lambda x, w, b: nn.layer_norm(x, (WIDTH,), w, b), [x, v, draw(WIDTH)], [True, True, True]),
        "cross_entropy": (lambda x: nn.cross_entropy(x, labels, reduction="none"), [x], [True]),
        "dropout": (lambda x: nn.dropout(x, 0.5), [x], [True]),
        "embedding": (lambda t: nn.embedding(labels, t), [w], [True]),
    }


def best(f: Callable[[], Any], seconds: float) -> float:
    """Microseconds of one call, of this thread's processor time: the least over about `seconds` of trying."""
    f()
    lowest, end = float("inf"), time.perf_counter() + seconds
    while True:
        lowest = min(lowest, timeit.timeit(f, number=400, timer=time.thread_time) / 400)
        if time.perf_counter() > end:
            return lowest * 1e6


def measure(lib: Stubbed, seconds: float) -> dict[str, dict[str, float]]:
    """Microseconds by op: unrecorded, recorded, recorded and pulled back."""
    out: dict[str, dict[str, float]] = {}
    for name, (f, arrays, needs) in programs().items():
        plain = [gg.tensor(a) for a in arrays]
        leaves = [gg.tensor(a, requires_grad=n) for a, n in zip(arrays, needs)]
        wanted = [t for t, n in zip(leaves, needs) if n]
        y = f(*leaves)
        seed = gg.tensor(cupyhost.put(np.ones(y.shape, y.dtype)))

        def back(f: Any = f, leaves: Any = leaves, wanted: Any = wanted, seed: Any = seed) -> None:
            gg.autograd.grad(f(*leaves), wanted, seed)

        lib.hush(False)
        back()
        lib.hush(True)
        out[name] = {
            "unrecorded": best(lambda f=f, xs=plain: f(*xs), seconds),
            "recorded": best(lambda f=f, xs=leaves: f(*xs), seconds),
            "with backward": best(back, seconds),
        }
    return out | {name: {"recorded": best(f, seconds)} for name, f in optimizers().items()}


def optimizers() -> dict[str, Callable[[], None]]:
    """By name: a step of many variables, over the time of which is that of one."""
    out = {}
    for name, make in {"Adam": gg.optim.Adam, "SGD": gg.optim.SGD}.items():
        vs = [gg.Variable(np.ones(WIDTH, np.float32), device="cpu") for _ in range(VARIABLES)]
        for v in vs:
            v.array = cupyhost.put(v.array)
        gs = [gg.tensor(cupyhost.put(np.ones(WIDTH, np.float32))) for _ in vs]
        optimizer = make(vs, 0.1)
        out[f"{name} step, {VARIABLES} variables"] = lambda o=optimizer, vs=vs, gs=gs: o.apply_gradients(zip(gs, vs))
    return out


def report(r: dict[str, dict[str, float]]) -> str:
    """The table, as Markdown."""
    hows = ("unrecorded", "recorded", "with backward")
    rows = [(name, *[found.get(how) for how in hows], TARGETS.get(name)) for name, found in r.items()]
    return "\n".join(table(["us an op", *hows, "target, recorded"], rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a fraction of the time")
    parser.add_argument("--output", type=Path, help="folder for launch-DATE.md and .json")
    args = parser.parse_args()
    with cupyhost.taking_part(Stubbed()) as lib:
        results = measure(lib, 0.02 if args.quick else 1.0)
    about = machine("numpy", "cupy-cuda13x", "cupy-cuda12x", "ml_dtypes")
    lines = [
        "No GPU: CuPy's array objects in host memory, allocation and launch stubbed.", "Minima of processor time.", "",
        report(results),
    ]  # fmt: skip
    publish("launch", "What a launch costs the host", about, lines, args.output, results=results)


if __name__ == "__main__":
    main()
