"""`HostModule`: CuPy's RawModule on the CPU, compiled by g++ with `cudahost.h` before the kernels."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import re
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
# Four orders in which warps, lanes and blocks take turns (see Order in cudahost.h).  A missing barrier changes what
# some of them compute.
SCHEDULES = (0, 5, 2, 7)
_DYNAMIC = re.compile(r"extern\s+__shared__\s+(?:__align__\(\d+\)\s*)?([\w:<>\s*]+?)\s+(\w+)\s*\[\s*\]\s*;")
_HALVES = ("cuda_bf16.h", "cuda_fp16.h")
_PLAIN = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(')


@cache
def include_folders() -> tuple[str, ...]:
    """CUDA's headers: from NVIDIA's wheels, and `nv/target` from CuPy's.  FileNotFoundError if they are missing."""
    import cupy
    import nvidia

    roots = [Path(p) for p in nvidia.__path__]
    wanted = {"cuda_fp16.h": roots, "crt/host_config.h": roots, "nv/target": [Path(cupy.__file__).parent]}
    found = []
    for name, places in wanted.items():
        hits = [str(p)[: -len(name) - 1] for root in places for p in root.rglob(name)]
        if not hits:
            raise FileNotFoundError(f"{name} is not installed: the host build needs CuPy and the CUDA headers")
        found += hits[:1]
    return tuple(dict.fromkeys(found))


class HostKernel:
    """One instantiation: called as CuPy calls one, with (grid, block, arguments), and then a schedule."""

    def __init__(self, lib: ctypes.CDLL, ident: str, name: str) -> None:
        self.name = name
        self._run = getattr(lib, f"cudahost_run_{ident}")
        self._run.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_uint)
        self._run.argtypes += (ctypes.c_char_p, ctypes.c_size_t)
        count = getattr(lib, f"cudahost_count_{ident}")()
        kinds, sizes = ctypes.create_string_buffer(count + 1), (ctypes.c_int * max(count, 1))()
        getattr(lib, f"cudahost_describe_{ident}")(kinds, sizes)
        self.parameters = list(zip(kinds.raw[:count].decode(), sizes[:count]))

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[Any], shared_mem: int = 0, order: int = 0
    ) -> None:
        """TypeError for arguments that CuPy would hand over as garbage; RuntimeError for what the kernel did wrong."""
        if len(args) != len(self.parameters):
            raise TypeError(f"{self.name}: {len(args)} arguments, the kernel takes {len(self.parameters)}")
        values = [self._value(i, a) for i, a in enumerate(args)]
        pointers = (ctypes.c_void_p * max(1, len(args)))(*[v.ctypes.data for v in values])
        sizes = [(ctypes.c_uint * 3)(*(*size, 1, 1)[:3]) for size in (grid, block)]
        error = ctypes.create_string_buffer(512)
        if self._run(*sizes, shared_mem, pointers, order, error, len(error)):
            raise RuntimeError(f"{self.name}: {error.value.decode()}")

    def _value(self, i: int, a: Any) -> np.ndarray:
        """The bytes of an argument as CuPy would pass them: a Python int is 8 bytes, a Python float a double."""
        kind, size = self.parameters[i]
        where = f"{self.name}, argument {i}"
        if isinstance(a, np.ndarray) and a.dtype.names is None:  # what has named fields is a struct, passed by value
            if kind != "p":
                raise TypeError(f"{where}: an array for a parameter of {size} bytes that is no pointer")
            return np.array(a.ctypes.data, np.uintp)
        value = np.asarray(a)
        if kind == "p" and not (value.dtype == np.uintp and value == 0):
            raise TypeError(f"{where}: {a!r} for a pointer")
        wanted = {"i": "iub", "f": "f", "s": "V", "p": "u"}[kind]
        if value.dtype.kind not in wanted or value.dtype.itemsize != size:
            raise TypeError(f"{where}: {value.dtype} for a parameter of {size} bytes and kind {kind!r}")
        return value


class HostModule:
    """CUDA source built for the host.  `name_expressions` are instantiations, as in RawModule.

    RuntimeError, with the compiler's words, if it does not compile.
    """

    def __init__(
        self, code: str, options: Sequence[str] = (), name_expressions: Sequence[str] = (), *, folder: Path
    ) -> None:
        names = _PLAIN.findall(code)
        self.ids = {n: n for n in names} | {e: f"e{i}" for i, e in enumerate(name_expressions)}
        code = _DYNAMIC.sub(r"\1* \2 = (\1*)(((uintptr_t)cudahost::block->shared.data() + 15) & ~(uintptr_t)15);", code)
        exports = [f"CUDAHOST_EXPORT({ident}, {name})" for name, ident in self.ids.items()]
        text = '#include "cudahost.h"\n#line 1 "kernel.cu"\n' + "\n".join([code, *exports, ""])
        self.lib = ctypes.CDLL(str(_built(text, tuple(o for o in options if o.startswith("-D")), folder)))

    def get_function(self, name: str) -> HostKernel:
        return HostKernel(self.lib, self.ids[name], name)


def _built(text: str, options: tuple[str, ...], folder: Path) -> Path:
    """The shared library for `text`, built once in `folder` however many processes ask."""
    command = ["g++", "-std=c++17", "-O1", "-fPIC", "-w", "-ffp-contract=off", "-fno-strict-aliasing"]
    # an index outside a shared or local array traps, and the launch says so
    command += ["-fsanitize=bounds", "-fsanitize-undefined-trap-on-error", *options]
    command += [f"-I{p}" for p in (HERE, *include_folders())]
    if all(f"#include <{name}>" in text for name in _HALVES):
        command += ["-include", str(_read_once(tuple(command), folder))]
    return _compiled([*command, "-shared"], text, ".cpp", ".so", folder)


def _read_once(command: tuple[str, ...], folder: Path) -> Path:
    """A header that is already compiled: reading cudahost.h and CUDA's half types takes as long as a small kernel."""
    text = "\n".join(['#include "cudahost.h"', *[f"#include <{name}>" for name in _HALVES], ""])
    return _compiled([*command, "-xc++-header"], text, ".h", ".h.gch", folder).with_suffix("")


def _compiled(command: list[str], text: str, source: str, made: str, folder: Path) -> Path:
    """What the compiler makes of `text`, in `folder`.  RuntimeError with its words."""
    headers = [(HERE / name).read_text() for name in ("cudahost.h", "intrinsics.h")]
    key = hashlib.sha256("\0".join([*command, text, *headers]).encode()).hexdigest()[:32]
    out = folder / f"{key}{made}"
    with open(folder / f"{key}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not out.exists():
            file, aside = folder / f"{key}{source}", folder / f"{key}.tmp"
            file.write_text(text)
            done = subprocess.run([*command, str(file), "-o", str(aside)], capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(done.stderr[:4000])
            os.replace(aside, out)
    return out
