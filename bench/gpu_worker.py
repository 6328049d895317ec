"""One library in a process of its own, which answers bench/gpu.py's requests: python bench/gpu_worker.py LIBRARY."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from typing import Any

from gpu_parts import inputs, products
from gpu_parts.clocks import device_ms, host_us, program_ms
from gpu_parts.inputs import ADAM_PARAMETERS, HOST_OPS, PRECISIONS
from gpu_parts.products import CORNER, Product

# What a library is called by, its module and the class there.
LIBRARIES = {
    "gpugrad": ("of_gpugrad", "Library"), "torch": ("of_torch", "Library"), "compiled": ("of_torch", "Compiled"),
    "fused": ("of_torch", "Fused"), "jax": ("of_jax", "Library"),
}  # fmt: skip


class Session:
    """The last thing prepared is what is timed."""

    def __init__(self, library: str, dry: bool) -> None:
        module, kind = LIBRARIES[library]
        self.library = getattr(importlib.import_module(f"gpu_parts.{module}"), kind)(dry)
        self.clock, self.dry = self.library.clock, dry
        self._call: Any = None
        self._ops = 1

    # ------------------------------------------------------------------------------------ gpugrad's kernels
    def rows(self) -> list[list[Any]]:
        """(name, whether it is to come near the copy) of each row of gpu_parts/kernels.py, the copy first."""
        return self.library.rows()

    def kernel(self, **row: Any) -> dict[str, float]:
        """{ms, bytes} of a row of gpu_parts/kernels.py."""
        return self.library.kernel(**row)

    def launch(self, **row: Any) -> float:
        """Microseconds of the host that a row takes."""
        return self.library.launch(**row)

    # ------------------------------------------------------------------------------------ prepare
    def product(self, product: list[Any], precision: str) -> float:
        """How far the product is from float64's."""
        p, (dtype, tf32, _) = Product(*product), PRECISIONS[precision]
        self.library.settings(False)  # what an activation was given: at 0, TF32 would change signs
        self._call = None  # its arrays go before others come
        shapes, host = products.operands(p), self.library.numpy
        given = {k: self.library.array(s, dtype, seed) for seed, (k, s) in enumerate(shapes.items())}
        corners = {k: host(products.corner(p, k, a)) for k, a in given.items()}
        self._call = self.library.product(p, given)
        self.library.settings(tf32)
        done = self._call()
        out, sums = done if p.kind == "linear_grad" else (done, None)
        error = products.product_error(p, host(products.corner(p, "", out)), corners)
        if sums is not None:
            cols = CORNER[1]
            error = max(error, products.relative(host(sums[cols]), host(out[:, cols]).sum(0)))
        return error

    def bound(self, name: str) -> None:
        """One of what an op is made of."""
        self._call, self._ops = self.library.bound(name), 1

    def op(self, name: str, how: str) -> None:
        """An op on small arrays: "bare", "recorded", or "backward", recorded and differentiated."""
        self._call, self._ops = self.library.op(name, how), HOST_OPS[name]

    def adam(self, how: str) -> None:
        """A step of Adam; `how` is said to PyTorch, which has two."""
        self._call, self._ops = self.library.adam(ADAM_PARAMETERS, fused=how.endswith("fused=True")), 1

    def step(self, model: str, precision: str) -> dict[str, Any]:
        """{losses of the first three steps, seconds of the first}."""
        dtype, tf32, _ = PRECISIONS[precision]
        self.library.settings(tf32)
        m = (inputs.TINY_MODELS if self.dry else inputs.MODELS)[model]
        self._call = None  # its arrays go before others come
        self._call = self.library.step(m, *inputs.data(m), inputs.weights(m), dtype)
        start = time.perf_counter()
        losses = [float(self.library.numpy(self._call()))]
        first = time.perf_counter() - start
        losses += [float(self.library.numpy(self._call())) for _ in range(2)]
        return {"losses": losses, "first_s": first}

    # ------------------------------------------------------------------------------------ time
    def device(self, seconds: float) -> float:
        """Milliseconds of the device."""
        return device_ms(self.clock, [self._call], seconds)

    def program(self, seconds: float) -> float:
        """Milliseconds, host and device together."""
        return program_ms(self.clock, self._call, seconds)

    def host(self, seconds: float) -> float:
        """Microseconds of the host for each op."""
        return host_us(self.clock, self._call, seconds, 5 * self._ops) / self._ops

    def memory(self) -> dict[str, int | None]:
        """{peak bytes of the library's arrays in a call, bytes of the process as the driver counts}."""
        return {"peak": self.library.peak(self._call), "process": None if self.dry else process_bytes()}


def process_bytes() -> int | None:
    """The device memory of this process, contexts and libraries included; None where the driver does not tell."""
    try:
        import pynvml

        pynvml.nvmlInit()
        for i in range(pynvml.nvmlDeviceGetCount()):
            for p in pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByIndex(i)):
                if p.pid == os.getpid():  # in a container the driver may know it by another number
                    return p.usedGpuMemory
    except Exception:  # no such package, no such driver, no permission: all the same to a benchmark
        return None
    return None


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    session: Session | None = None
    for line in sys.stdin:
        try:
            request = json.loads(line)
            session = session or Session(sys.argv[1], dry="--dry-run" in sys.argv)
            answer = {"value": getattr(session, request.pop("do"))(**request)}
        except Exception as e:
            traceback.print_exc()
            answer = {"error": f"{type(e).__name__}: {str(e).strip()[:300]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
