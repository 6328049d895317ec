"""Floor 1: CUDA kernels from `kernels/*.cu`: found, compiled for a dtype when first used, their arguments checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .array import Array, bfloat16, device_of, float16, float32, float64, library
from .files import resource

CTYPES = {float32: "float", float64: "double", float16: "__half", bfloat16: "__nv_bfloat16"}
BLOCK, MAX_GRID = 256, 4096
_INCLUDE = re.compile(r'^\s*#include\s+"([\w.]+)"\s*$', re.M)
_KERNEL = re.compile(r"template\s*<typename T>\s*__global__\s+void\s+(\w+)\s*\(([^)]*)\)")


@cache
def source(name: str) -> str:
    """The text of `kernels/NAME` with every `#include "x.cuh"` in its place, once.

    CuPy's compile cache is keyed by this text alone: a header it cannot see would go stale.
    """
    return _inlined(name, set())


def _inlined(name: str, done: set[str]) -> str:
    done.add(name)
    with open(resource("kernels", name), encoding="utf-8") as f:
        text = f.read()
    return _INCLUDE.sub(lambda m: "" if m[1] in done else _inlined(m[1], done), text)


@cache
def signature(name: str, kernel: str) -> tuple[str, ...]:
    """The parameter types of a kernel, read from its source: ("const T*", "T*", "long long").

    LookupError if the file has no such kernel.
    """
    for found, parameters in _KERNEL.findall(source(name)):
        if found == kernel:
            return tuple([_type(p) for p in parameters.split(",")])
    raise LookupError(f"kernels/{name} has no kernel {kernel!r}")


def _type(parameter: str) -> str:
    words = parameter.replace("__restrict__", "").replace("*", "* ").split()
    return " ".join(words[:-1])


@cache
def _compiled(lib: Any, device: Any, name: str, kernel: str, dtype: np.dtype) -> Any:
    """The kernel for one dtype on one device; None where the library has no compiler."""
    return lib.compile(source(name), f"{kernel}<{CTYPES[dtype]}>", device)


def kernel(name: str, kernel: str, otherwise: Callable[..., Array]) -> Callable[..., Array]:
    """`kernel` of `kernels/NAME.cu` as an op's `gpu=` forward: arrays of one dtype in, a new array out, broadcast.

    Strided operands are copied to contiguous ones first.  `otherwise(xp, *arrays)`, the array functions, stands in for
    dtypes that the kernel is not made for, and for libraries that compile none.
    """

    def forward(xp: Any, *arrays: Any) -> Array:
        dtype = getattr(arrays[0], "dtype", None)
        lib = library(arrays[0])
        if dtype not in CTYPES or any(getattr(a, "dtype", None) != dtype for a in arrays):
            return otherwise(xp, *arrays)
        device = device_of(arrays[0])
        function = _compiled(lib, device, f"{name}.cu", kernel, dtype)  # type: ignore[arg-type]
        if function is None:
            return otherwise(xp, *arrays)
        wanted = signature(f"{name}.cu", kernel)
        if len(arrays) != wanted.count("const T*"):
            raise TypeError(f"kernel {kernel} takes {wanted.count('const T*')} arrays, given {len(arrays)}")
        for a in arrays[1:]:
            if device_of(a) != device:
                raise TypeError(f"kernel {kernel}: one array is on {device}, another on {device_of(a)}")
        shape = np.broadcast_shapes(*[a.shape for a in arrays])
        with lib.scope(device):  # type: ignore[union-attr]
            whole = [xp.ascontiguousarray(a if a.shape == shape else xp.broadcast_to(a, shape)) for a in arrays]
            out = xp.empty(shape, dtype)
            if out.size:
                grid = min((out.size + BLOCK - 1) // BLOCK, MAX_GRID)
                function((grid,), (BLOCK,), (*whole, out, np.int64(out.size)))
        return out

    forward.__name__ = kernel
    return forward
