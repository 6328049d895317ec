"""gpugrad, as bench/gpu.py asks it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

import gpugrad as gg
from gpugrad import gemm
from gpugrad.array import to_host
from gpugrad.dtypes import as_dtype

from . import bounds, kernels
from .clocks import CYCLES, HOST, Clock
from .inputs import HOST_OPS, HOST_SHAPE, MOMENTUM, TILE, Arrays, Model, fill, normal
from .products import Product


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
        gg.set_float32_matmul_precision("high" if tf32 else "highest")

    # ------------------------------------------------------------------------------------ arrays
    def array(self, shape: tuple[int, ...], dtype: str, seed: int) -> Any:
        block = gg.tensor(normal(min(TILE, math.prod(shape)), seed=seed), dtype=dtype).array
        return fill(self.xp.empty((math.prod(shape),), as_dtype(dtype)), block).reshape(shape)

    def numpy(self, a: Any) -> np.ndarray:
        return to_host(getattr(a, "array", a)).astype(np.float64)

    # ------------------------------------------------------------------------------------ parts
    def rows(self) -> list[list[Any]]:
        return [[r.name, r.figure] for r in (kernels.COPY, *kernels.ROWS)]

    def kernel(self, name: str, dtype: str, size: int, cols: int, seconds: float) -> dict[str, float]:
        return kernels.measure(self.clock, self.device, name, dtype, size, cols, seconds)

    def launch(self, name: str, dtype: str, seconds: float) -> float:
        return kernels.launch_us(self.clock, self.device, name, dtype, seconds)

    def product(self, p: Product, given: dict[str, Any]) -> Callable[[], Any]:
        if p.kind == "linear":
            x, y, bias = [gg.tensor(given[k]) for k in ("x", "y", "bias")]
            return lambda: gg.nn.linear(x, y, bias, activation=None if p.activation == "none" else p.activation)
        if p.kind == "linear_grad":
            made = gemm.linear(given["a"], given["b"], given["bias"], p.activation)
            if made is None:
                raise NotImplementedError("there is no epilogue for this")
            return lambda: gemm.linear_grad(given["x"], given["y"], made[1], p.activation)
        x, y = [a.swapaxes(-1, -2) if turned else a for a, turned in zip((given["x"], given["y"]), p.turned)]
        if p.kind.startswith("out"):
            signed = itertools.cycle((y, -y))  # what is added up stays as large as it is
            return lambda: gemm.product(x, next(signed), given["out"])
        x, y = gg.tensor(x), gg.tensor(y)
        return lambda: gg.matmul(x, y)

    def bound(self, name: str) -> Callable[[], Any]:
        return bounds.bound(self.device, name)

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
            "dropout": lambda h: gg.nn.dropout(h, 0.1),
            "cross_entropy": lambda h: gg.nn.cross_entropy(h, labels),
            "embedding": lambda h: gg.nn.embedding(labels, h),
            "sum": gg.sum,
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
    layers = [(p[f"layer{i}.w"], p[f"layer{i}.b"]) for i in range(len(m.widths) - 1)]
    for w, b in layers[:-2]:
        x = gg.nn.linear(x, w, b, activation="relu")
    return gg.nn.feed_forward(x, *layers[-2], *layers[-1], "relu")


def _transformer(m: Model, p: dict[str, Any], x: Any) -> Any:
    d, of, many = m.widths[0], m.widths[0] // m.heads, m.batch * m.heads
    layer = lambda name: (p[f"{name}.w"], p[f"{name}.b"])

    def norm(name: str, h: Any, total: Any) -> tuple[Any, Any]:
        """(the norm of h + total, h + total); of h itself where there is no total yet."""
        if total is None:
            return gg.nn.layer_norm(h, (d,), *layer(name)), h
        return gg.nn.layer_norm(h, (d,), *layer(name), residual=total)

    def attention(i: int, h: Any) -> Any:
        heads = gg.reshape(gg.nn.linear(h, *layer(f"{i}.qkv")), (m.batch, m.length, 3, m.heads, of))
        q, k, v = gg.unstack(gg.reshape(gg.permute_dims(heads, (2, 0, 3, 1, 4)), (3, many, m.length, of)))
        h = gg.matmul(gg.nn.softmax(gg.matmul(q * of**-0.5, gg.matrix_transpose(k))), v)
        h = gg.permute_dims(gg.reshape(h, (m.batch, m.heads, m.length, of)), (0, 2, 1, 3))
        return gg.nn.linear(gg.reshape(h, (m.batch, m.length, d)), *layer(f"{i}.out"))

    total = None
    for i in range(m.layers):
        h, total = norm(f"{i}.norm1", x, total)
        h, total = norm(f"{i}.norm2", attention(i, h), total)
        x = gg.nn.feed_forward(h, *layer(f"{i}.up"), *layer(f"{i}.down"), m.activation)
    return gg.nn.linear(norm("norm", x, total)[0], *layer("head"))


def _convnet(m: Model, p: dict[str, Any], x: Any) -> Any:
    raise NotImplementedError("gpugrad has no convolution yet")
