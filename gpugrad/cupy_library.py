"""Floor 0: the array protocol for CuPy on an NVIDIA GPU."""

from __future__ import annotations

from sys import getrefcount
from typing import Any

import numpy as np

from .array import NOTHING, Array, Device, Library, makers
from .blas import Blas, of_cupy
from .compiling import explained
from .courier import Courier

# The memory that CuPy allocates itself.  That of others, such as PyTorch's, they may hold unseen.
_OWNED = {"PooledMemory", "Memory", "MemoryAsync", "ManagedMemory"}
_OWNED |= {"PythonFunctionAllocatorMemory", "CFunctionAllocatorMemory"}


class CupyLibrary(Library):
    """CuPy on an NVIDIA GPU."""

    name = "cupy"
    compiles = True

    def __init__(self, cupy: Any) -> None:
        self.xp = cupy
        self.types = (cupy.ndarray,)
        self.empty = cupy.ndarray  # what cupy.empty calls
        self._current = cupy.cuda.runtime.getDevice
        self._couriers: dict[int, Courier] = {}

    def asarray(self, value: Any, dtype: np.dtype | None, device: Device) -> Array:
        with self.xp.cuda.Device(device.index):
            if isinstance(value, self.xp.ndarray) and value.device.id != device.index:
                value = value.copy()
            return self.xp.asarray(value, dtype)

    def to_host(self, x: Array) -> np.ndarray:
        return self.xp.asnumpy(x)

    def device_of(self, x: Array) -> Device:
        return Device("cuda", x.device.id)

    def index(self, x: Array) -> int:
        return x.data.device_id

    def address(self, x: Array) -> int:
        return x.data.ptr

    def sign(self, x: Array | None) -> Any:
        if x is None:
            return None
        memory, dtype = x.data, x.dtype
        return type(x), x.shape, dtype, memory.device_id, x._c_contiguous and not memory.ptr % dtype.itemsize

    def owns(self, x: Array) -> bool:
        # A view holds its base, but for those of as_strided and of ndarray(memptr=...), which hold pointer or memory.
        if x.base is not None or getrefcount(x.data) != 2:  # the array's, and getrefcount's argument
            return False
        return getrefcount(x.data.mem) == 2 and type(x.data.mem).__name__ in _OWNED

    def block(self, x: Array) -> tuple[Any, int]:
        return x.data.mem, x.data.mem.size  # the pool rounds up to 512

    def here(self, index: int) -> bool:
        return self._current() == index

    def scope(self, device: Device) -> Any:
        return NOTHING if self._current() == device.index else self.xp.cuda.Device(device.index)

    def free_bytes(self) -> int:
        """What the driver has left on the device in use, and what the pool has not given back."""
        return self.xp.cuda.runtime.memGetInfo()[0] + self.xp.get_default_memory_pool().free_bytes()

    def wait(self) -> None:
        self.xp.cuda.get_current_stream().synchronize()

    def special(self) -> Any:
        import cupyx.scipy.special  # pyright: ignore[reportMissingImports]

        return cupyx.scipy.special

    def sparse(self) -> Any:
        import cupyx.scipy.sparse.linalg  # pyright: ignore[reportMissingImports]

        return cupyx.scipy.sparse

    def compile(self, code: str, kernel: str, device: Device) -> Any:
        with self.scope(device):
            module = self.xp.RawModule(code=code, options=("-std=c++17",), name_expressions=(kernel,))
            try:
                return module.get_function(kernel).kernel  # CuPy's own launch, without RawKernel's look for the device
            except Exception as e:
                raise explained(kernel, e) from None

    def blas(self, device: Device) -> Blas | None:
        return of_cupy(self.xp, device.index)

    def courier(self, device: Device) -> Courier | None:
        if device.index not in self._couriers:
            self._couriers[device.index] = Courier(self.xp, device.index)
        return self._couriers[device.index]


makers["cuda"] = CupyLibrary
