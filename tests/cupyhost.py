"""CuPy's own arrays without a GPU or a driver: objects of `cupy.ndarray` whose memory is the host's.

CuPy asks the driver to compute and to copy, not to make an array of memory that it is given, to view, slice, reshape
or transpose it.  So what gpugrad does on the host with such an array runs on the real thing: everything up to a launch.
"""

import contextlib

import cupy
import numpy as np
from cublaslt import CublasLt, memory
from cupy.cuda import MemoryPointer
from cupy.cuda.memory import PythonFunctionAllocatorMemory

from gpugrad import array
from gpugrad.array import register, unregister
from gpugrad.blas import Blas
from gpugrad.cupy_library import CupyLibrary

_blocks = {}  # what an address keeps alive


def _allocate(nbytes, device):
    block = np.full(nbytes + 511, 0xFF, np.uint8)  # as the host build's: what is not written is NaN
    address = block.ctypes.data + -block.ctypes.data % 512  # CuPy's own are multiples of 512, too
    _blocks[address] = block
    return address


def allocate(nbytes):
    """An allocator for `cupy.cuda.using_allocator`."""
    return MemoryPointer(PythonFunctionAllocatorMemory(nbytes, _allocate, _blocks.pop, 0), 0)  # pop(address, device)


def host(x):
    """The elements of a CuPy array in host memory, as NumPy's."""
    if not x.size:
        return np.empty(x.shape, x.dtype)
    return memory(x.data.ptr, x.shape, x.dtype, x.strides)


def put(values, dtype=None):
    """A CuPy array of these values."""
    values = np.asarray(values, dtype)
    with cupy.cuda.using_allocator(allocate):
        out = cupy.ndarray(values.shape, values.dtype)
    host(out)[...] = values
    return out


class Namespace:
    """cupy, with those of its functions that launch what gpugrad needs beside kernels of its own."""

    def __getattr__(self, name):
        return getattr(cupy, name)

    def zeros(self, shape, dtype):
        return put(np.zeros(shape, dtype))

    def zeros_like(self, x):
        return put(np.zeros(x.shape, x.dtype))

    def ones(self, shape, dtype):
        return put(np.ones(shape, dtype))

    def array(self, x, dtype=None):
        return put(host(x), dtype)


class HostCupy(CupyLibrary):
    """gpugrad's library for CuPy, on arrays in host memory: the real one but for what asks the driver.

    make(code, kernel, device) answers a kernel as a function of (grid, block, arguments).
    """

    def __init__(self, make):
        super().__init__(cupy)
        self.xp, self._make = Namespace(), make
        self._current = lambda: 0
        cublaslt = CublasLt()
        self._blas = Blas(cublaslt, cublaslt.stream, self._workspace, 2**16, alone=True)

    def _workspace(self, nbytes):
        block = allocate(nbytes)
        return block, block.ptr

    def asarray(self, value, dtype, device):
        return put(value, dtype)

    def to_host(self, x):
        return host(x).copy()

    def compile(self, code, kernel, device):
        return self._make(code, kernel, device)

    def blas(self, device):
        return self._blas


@contextlib.contextmanager
def taking_part(lib):
    """`lib` in gpugrad's dispatch, as the device `cuda:0`; what CuPy allocates inside is host memory."""
    real = array._cuda()
    register(lib, "cuda")
    try:
        with cupy.cuda.using_allocator(allocate):
            yield lib
    finally:
        unregister("cuda")
        if real is not None:
            register(real, "cuda")
