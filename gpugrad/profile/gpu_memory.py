"""Floor 7: the memory of GPUs: what CuPy's pool hands out, and what pool, driver and NVML say of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

POOL_USED = "in arrays: CuPy's pool, used"
POOL_TOTAL = "held by CuPy's pool, used or free"
DRIVER = "in use on the GPU, by all processes (cudaMemGetInfo)"
PROCESS = "in use by this process (NVML)"


class Figure(NamedTuple):
    """What somebody says of a GPU's memory, in bytes, at the start of a run and at its end.

    Of a GPU that is not the default device the start is when an array was first put there.  In the place of bytes there
    may be "not known: " and why.
    """

    device: str
    what: str
    start: int | str
    end: int | str


def figures(cupy: Any, index: int) -> dict[str, int | str]:
    """What pool, driver and NVML say of a GPU now."""
    with cupy.cuda.Device(index) as device:
        pool = cupy.get_default_memory_pool()
        free, total = cupy.cuda.runtime.memGetInfo()
        used = {POOL_USED: pool.used_bytes(), POOL_TOTAL: pool.total_bytes(), DRIVER: total - free}
        return {**used, PROCESS: of_process(device.pci_bus_id)}


def of_process(bus: str) -> int | str:
    """The bytes that this process has on the GPU at PCI bus id `bus`, as NVML says; or "not known: " and why."""
    try:
        import pynvml
    except ImportError:
        return "not known: pynvml is not installed (pip install nvidia-ml-py)"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as e:
        return f"not known: {e}"
    try:
        # By bus, since NVML's numbers are not CUDA's (CUDA_VISIBLE_DEVICES, order).
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByPciBusId(bus))
    except pynvml.NVMLError as e:
        return f"not known: {e}"
    finally:
        pynvml.nvmlShutdown()
    own = [p.usedGpuMemory for p in processes if p.pid == os.getpid()]
    if not own:
        return f"not known: NVML has no process {os.getpid()} (in a container it has the host's numbers, or none)"
    if None in own:
        return "not known: the driver does not tell NVML (Windows, MIG or missing rights)"
    return sum(own)


def hook(
    cupy: Any, born: Callable[[int, int, int], None], died: Callable[[int, int, int], None]
) -> AbstractContextManager[Any]:
    """A context in which born(GPU, number, bytes) and died(...) are told of what CuPy's pools do in this thread.

    Bytes are the pool's, which rounds up.  The number is that of the pool's block while it is in use.
    """

    class Hook(cupy.cuda.MemoryHook):
        name = f"gpugrad {id(born)}"  # CuPy takes one of a name

        def malloc_postprocess(self, *, device_id: int, size: int, mem_size: int, mem_ptr: int, pmem_id: int) -> None:
            if mem_ptr:  # 0: there was no memory
                born(device_id, pmem_id, mem_size)

        def free_postprocess(self, *, device_id: int, mem_size: int, mem_ptr: int, pmem_id: int) -> None:
            died(device_id, pmem_id, mem_size)

    return Hook()
