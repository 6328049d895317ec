"""gpugrad, as bench/gpu.py asks it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import gpugrad as gg
from gpugrad.array import to_host
from gpugrad.dtypes import as_dtype

from . import kernels
from .clocks import CYCLES, HOST, Clock
from .inputs import HOST_OPS, HOST_SHAPE, MOMENTUM, TILE, Arrays, Model, fill, normal


class Library:
    """Arrays, products, ops and training steps of gpugrad on a GPU, or on the CPU in a dry run."""

    def __init__(self, dry: bool) -> None:
        self.device = "cpu" if dry else "cuda"
        gg.set_default_device(self.device)
        self.xp, self.clock = np, HOST
        if not dry:
            import cupy

            self.xp, self.clock = cupy, _clock(cupy)

    def settings(self, tf32: bool) -> None:
        """Whether products of float32 may use TF32."""
        change = getattr(gg, "set_float32_matmul_precision", None)
        if change is not None:
            change("high" if tf32 else "highest")
        elif tf32:
            raise NotImplementedError("gpugrad has no TF32 yet")

    # ------------------------------------------------------------------------------------ arrays
    def array(self, shape: tuple[int, ...], dtype: str, seed: int) -> Any:
        block = gg.tensor(normal(min(TILE, math.prod(shape)), seed=seed), dtype=dtype).array
        return fill(self.xp.empty((math.prod(shape),), as_dtype(dtype)), block).reshape(shape)

    def numpy(self, a: Any) -> np.ndarray:
        return to_host(getattr(a, "array", a)).astype(np.float32)

    # ------------------------------------------------------------------------------------ parts
    def rows(self) -> list[list[Any]]:
        return [[r.name, r.figure] for r in (kernels.COPY, *kernels.ROWS)]

    def kernel(self, name: str, dtype: str, size: int, cols: int, seconds: float) -> dict[str, float]:
        return kernels.measure(self.clock, self.device, name, dtype, size, cols, seconds)

    def launch(self, name: str, dtype: str, seconds: float) -> float:
        return kernels.launch_us(self.clock, self.device, name, dtype, seconds)

    def product(self, form: str, x: Any, y: Any, bias: Any) -> Callable[[], Any]:
        x, y, bias = gg.tensor(x), gg.tensor(y), gg.tensor(bias)
        if form.startswith("linear"):
            return lambda: gg.nn.linear(x, y, bias, activation=form.rpartition(" ")[2])
        x = gg.matrix_transpose(x) if form == "x.T @ y" else x
        y = gg.matrix_transpose(y) if form == "x @ y.T" else y
        return lambda: gg.matmul(x, y)

    def op(self, name: str, how: str) -> Callable[[], Any]:
        rows, cols = HOST_SHAPE
        leaf = lambda *shape, scale=1.0: gg.tensor(normal(*shape) * np.float32(scale), requires_grad=how != "bare")
        x, w, b, labels = leaf(rows, cols), leaf(cols, cols, scale=cols**-0.5), leaf(cols), gg.tensor(np.arange(rows))
        apply = {
            "relu": gg.nn.relu,
            "add": lambda h: gg.add(h, b),
            "matmul": lambda h: gg.matmul(h, w),
            "linear": lambda h: gg.nn.linear(h, w, b),
            "softmax": gg.nn.softmax,
            "layer_norm": lambda h: gg.nn.layer_norm(h, (cols,), b, b),
            "cross_entropy": lambda h: gg.nn.cross_entropy(h, labels),
        }[name]
        used = {"add": [x, b], "matmul": [x, w], "linear": [x, w, b], "layer_norm": [x, b]}.get(name, [x])

        def forward() -> Any:
            h = x
            for _ in range(HOST_OPS[name]):
                h = apply(h)
            return h

        ones = gg.ones_like(forward())
        return (lambda: gg.grad(forward(), used, ones)) if how == "backward" else forward

    def adam(self, count: int, fused: bool) -> Callable[[], Any]:
        variables = [gg.Parameter(normal(64, 64)) for _ in range(count)]
        for v in variables:
            v.grad = gg.tensor(normal(64, 64, seed=1))
        return gg.optim.Adam(variables, 1e-4).step

    def step(self, m: Model, x: np.ndarray, labels: np.ndarray, weights: Arrays, dtype: str) -> Callable[[], Any]:
        p = {k: gg.Parameter(v, name=k, dtype=dtype) for k, v in weights.items()}
        inputs, targets = gg.tensor(x, dtype=dtype), gg.tensor(labels)
        forward = {"mlp": _mlp, "transformer": _transformer, "convnet": _convnet}[m.kind]
        optimizer = (
            gg.optim.Adam(p.values(), m.rate) if m.optimizer == "adam" else gg.optim.SGD(p.values(), m.rate, MOMENTUM)
        )

        def step() -> Any:
            optimizer.zero_grad()
            loss = gg.nn.cross_entropy(forward(m, p, inputs), targets)
            loss.backward()
            optimizer.step()
            return loss

        return step

    def peak(self, f: Callable[[], Any]) -> int | None:
        """The most bytes of the device in use during a call, what was in use before included."""
        if self.device == "cpu":
            return None
        hook = _peak_hook(self.xp)
        with hook:
            f()
        return hook.peak


def _clock(cupy: Any) -> Clock:
    # One thread that looks at the clock: it leaves the memory and the caches alone.
    code = r"""extern "C" __global__ void hold(long long cycles) {
        long long start = clock64();
        while (clock64() - start < cycles) {}
    }"""
    spin = cupy.RawKernel(code, "hold")

    def record() -> Any:
        event = cupy.cuda.Event()
        event.record()
        return event

    return Clock(
        record,
        cupy.cuda.get_elapsed_time,
        lambda: cupy.cuda.runtime.deviceSynchronize(),
        lambda seconds: spin((1,), (1,), (np.int64(seconds * CYCLES),)),
    )


def _peak_hook(cupy: Any) -> Any:
    """A hook on CuPy's pool, which has no count of its own of the most that was in use."""

    class Peak(cupy.cuda.MemoryHook):
        name = "gpugrad's bench"

        def __init__(self) -> None:
            self.now = self.peak = cupy.get_default_memory_pool().used_bytes()

        def malloc_postprocess(self, **about: Any) -> None:
            self.now += about["mem_size"] if about["mem_ptr"] else 0
            self.peak = max(self.peak, self.now)

        def free_postprocess(self, **about: Any) -> None:
            self.now -= about["mem_size"]

    return Peak()


# ---------------------------------------------------------------------------------------------- models
def _mlp(m: Model, p: dict[str, Any], x: Any) -> Any:
    last = len(m.widths) - 2
    for i in range(last):
        x = gg.nn.linear(x, p[f"layer{i}.w"], p[f"layer{i}.b"], activation="relu")
    return gg.nn.linear(x, p[f"layer{last}.w"], p[f"layer{last}.b"])


def _transformer(m: Model, p: dict[str, Any], x: Any) -> Any:
    d, of = m.widths[0], m.widths[0] // m.heads
    linear = lambda name, h, act=None: gg.nn.linear(h, p[f"{name}.w"], p[f"{name}.b"], activation=act)
    norm = lambda name, h: gg.nn.layer_norm(h, (d,), p[f"{name}.w"], p[f"{name}.b"])

    def attention(i: int, h: Any) -> Any:
        heads = gg.reshape(linear(f"{i}.qkv", h), (m.batch, m.length, 3, m.heads, of))
        q, k, v = gg.unstack(gg.permute_dims(heads, (2, 0, 3, 1, 4)))
        scores = gg.matmul(q, gg.matrix_transpose(k)) * of**-0.5
        h = gg.permute_dims(gg.matmul(gg.nn.softmax(scores), v), (0, 2, 1, 3))
        return linear(f"{i}.out", gg.reshape(h, (m.batch, m.length, d)))

    for i in range(m.layers):
        x = x + attention(i, norm(f"{i}.norm1", x))
        x = x + linear(f"{i}.down", linear(f"{i}.up", norm(f"{i}.norm2", x), "gelu"))
    return linear("head", norm("norm", x))


def _convnet(m: Model, p: dict[str, Any], x: Any) -> Any:
    raise NotImplementedError("gpugrad has no convolution yet")
