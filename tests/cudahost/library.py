"""The host build behind gpugrad's array protocol: gpugrad's own dispatch, checks and launches, on the CPU."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import standin
from cublaslt import CublasLt

from gpugrad import kernels
from gpugrad.blas import Blas

from .guard import Allocator
from .module import SCHEDULES, HostModule

KERNELS = Path(__file__).parents[2] / "kernels"


class Namespace(standin.Namespace):
    """The stand-in's numpy, whose new arrays are guarded and poisoned."""

    def __init__(self, allocator: Allocator) -> None:
        super().__init__()
        self._allocator = allocator

    def empty(self, shape: Any, dtype: Any = np.float64) -> standin.Array:
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        return standin.Array(self._allocator.empty(shape, np.dtype(dtype)))

    def zeros(self, shape: Any, dtype: Any = np.float64) -> standin.Array:
        out = self.empty(shape, dtype)
        out.fill(0)
        return out


def _together(code: str, kernel: str) -> tuple[str, ...]:
    """What is built with an instantiation, since g++ takes longest to read the headers.

    Of gpugrad's own sources everything; of a user's, which may be for few dtypes, all kernels of the same template.
    """
    if code in {kernels.source(p.name) for p in KERNELS.glob("*.cu")}:
        return kernels.instantiations(code)
    name, bracket, values = kernel.partition("<")
    found = kernels.signatures(code)
    return tuple([f"{k}{bracket}{values}" for k, s in found.items() if s.template == found[name].template])


class HostLibrary(standin.StandIn):
    """A stand-in for CuPy that compiles, and has cuBLASLt (tests/cublaslt.py).

    `order` is the schedule of what follows, with arrays at the start of their pages in every second one; `launched`
    counts the launches of each kernel by its name, `launches` all.
    """

    compiles = True

    def __init__(self, folder: Path) -> None:
        self.folder, self.launched = folder, Counter[str]()
        self.allocator = Allocator()
        self.order = SCHEDULES[0]
        self.xp = Namespace(self.allocator)
        self._modules: dict[tuple[str, ...], HostModule] = {}
        self.cublaslt = CublasLt()
        self._blas = Blas(self.cublaslt, self.cublaslt.stream, self._workspace, 2**16, alone=True)

    @property
    def launches(self) -> int:
        return self.launched.total()

    @property
    def order(self) -> int:
        return self._order

    @order.setter
    def order(self, order: int) -> None:
        self._order = order
        self.allocator.at_start = SCHEDULES.index(order) % 2 == 1

    def asarray(self, value: Any, dtype: np.dtype | None, device: Any) -> standin.Array:
        return self.put(np.asarray(value.host if isinstance(value, standin.Array) else value, dtype))

    def put(self, value: np.ndarray) -> standin.Array:
        """`value` on this library's device, guarded."""
        return standin.Array(self.allocator.put(np.asarray(value)))

    def check(self) -> None:
        """AssertionError if a kernel wrote beside an array."""
        self.allocator.check()

    def blas(self, device: Any) -> Blas:
        return self._blas

    def _workspace(self, nbytes: int) -> tuple[Any, int]:
        memory = self.allocator.empty((nbytes + 256,), np.dtype("uint8"))
        return memory, memory.ctypes.data + -memory.ctypes.data % 256

    def compile(self, code: str, kernel: str, device: Any) -> Any:
        names = _together(code, kernel)
        if (code, *names) not in self._modules:
            self._modules[code, *names] = HostModule(code, name_expressions=names, folder=self.folder)
        function, name = self._modules[code, *names].get_function(kernel), kernel.partition("<")[0]

        def launch(grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...]) -> None:
            self.launched[name] += 1
            given = [a.host if isinstance(a, standin.Array) else a for a in args]
            function(grid, block, given, order=self.order)

        return launch
