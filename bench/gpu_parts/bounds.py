"""What bounds an op's time on the host: a launch, an array, a product, each with its arguments ready."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

import gpugrad as gg
from gpugrad import blas, fused
from gpugrad.kernels import BLOCK, place

from .inputs import HOST_SHAPE, normal

NOTHING = 'extern "C" __global__ void nothing(const float* x, float* out, long long n) {}'


def bound(device: str, name: str) -> Callable[[], Any]:
    """The call.  NotImplementedError where the device has nothing of the kind."""
    lib, (rows, cols) = gg.device(device).library, HOST_SHAPE
    if name == "allocation":
        return lambda: lib.empty(HOST_SHAPE, np.dtype("float32"))
    if not lib.compiles:
        raise NotImplementedError(f"there are no kernels for {device}")
    x, y = [gg.tensor(normal(*shape), device=device).array for shape in (HOST_SHAPE, (cols, cols))]
    out, address = lib.empty(HOST_SHAPE, x.dtype), lib.address
    ready = (1,), (BLOCK,), (x, out, x.size)
    if name == "launch":
        run = place(x).get("elementwise", "activate", x.dtype, fused.activation.ACTIVATIONS.index("relu")).function
        return lambda: run(*ready)
    if name == "raw_kernel":
        kernel = lib.xp.RawKernel(NOTHING, "nothing")
        return lambda: kernel(*ready)
    own = lib.blas(gg.device(device))
    if own is None:
        raise NotImplementedError("cuBLASLt was not found: gpugrad info says why")
    spy = _Spy(own.lt)
    if name == "matmul":
        own = copy.copy(own)
        own.lt = spy
    whole = blas.Matrix(False, cols)
    plan = blas.plan(own, blas.Problem("float32", cols, rows, cols, whole, whole, whole), 256)
    assert plan is not None
    a, b, d = address(y), address(x), address(out)
    if name == "plan":
        return lambda keep=(x, y, out): plan(a, b, d)
    plan(a, b, d)
    (arguments,), matmul = spy.calls, spy.lt.matmul
    return lambda keep=(x, y, out, plan): matmul(*arguments)


class _Spy:
    """cuBLASLt whose products are not done, but noted."""

    def __init__(self, lt: Any) -> None:
        self.lt, self.calls = lt, []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.lt, name)

    def matmul(self, *arguments: Any) -> None:
        self.calls.append(arguments)
