"""gg.profile.memory() on a GPU: CuPy's own hooks, called as its pool calls them; a driver and NVML that are made up."""

import os
import sys
import types

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.profile import gpu_memory, trace

cupy = pytest.importorskip("cupy")
get_memory_hooks = cupy.cuda.memory_hook.get_memory_hooks


class Pool:
    """CuPy's pool, as far as hooks see it: sizes in units of 512, and numbers that are used again."""

    def __init__(self):
        self.sizes, self.device_id = {}, 0

    def malloc(self, nbytes):
        size = -(-nbytes // 512) * 512
        number = next(i for i in range(1000, 10_000, 8) if i not in self.sizes)
        self.sizes[number] = size
        self._tell("malloc", size=nbytes, mem_size=size, mem_ptr=number * 16, pmem_id=number)
        return number

    def fail(self, nbytes):
        self._tell("malloc", size=nbytes, mem_size=nbytes, mem_ptr=0, pmem_id=0)

    def free(self, number):
        size = self.sizes.pop(number)
        self._tell("free", mem_size=size, mem_ptr=number * 16, pmem_id=number)

    def _tell(self, what, size=None, **sizes):
        before = {k: v for k, v in sizes.items() if what == "free" or k == "mem_size"}
        more = {} if size is None else {"size": size}
        for hook in get_memory_hooks().values():
            getattr(hook, f"{what}_preprocess")(device_id=self.device_id, **before, **more)
        for hook in get_memory_hooks().values():
            getattr(hook, f"{what}_postprocess")(device_id=self.device_id, **sizes, **more)

    used_bytes = lambda self: sum(self.sizes.values())
    total_bytes = lambda self: 1 << 20


class Device:
    """cupy.cuda.Device."""

    def __init__(self, index):
        self.pci_bus_id = f"0000:{index:02X}:00.0"

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass


@pytest.fixture
def pool(monkeypatch):
    pool = Pool()
    runtime = types.SimpleNamespace(memGetInfo=lambda: (6000, 10_000))
    cuda = types.SimpleNamespace(MemoryHook=cupy.cuda.MemoryHook, Device=Device, runtime=runtime)
    ours = types.SimpleNamespace(cuda=cuda, get_default_memory_pool=lambda: pool)
    monkeypatch.setattr(trace, "cupy_or_reason", lambda: (ours, ""))
    yield pool
    assert not get_memory_hooks()


def test_blocks_of_the_pool(pool):
    old = pool.malloc(5000)
    with gg.profile.memory() as m:
        a = pool.malloc(100_000)
        b = pool.malloc(100)
        pool.fail(10**12)
        pool.free(old)
        pool.free(a)
        a = pool.malloc(2000)
        np.zeros(10**6)
    assert m.devices == ["cuda:0", "cpu"] and m.device == "cuda:0"
    assert m.peak == 5120 + 100_352 + 512
    assert m.live == pool.used_bytes() == 2048 + 512
    assert [(x.nbytes, x.died is None) for x in m.blocks if x.device == "cuda:0"] == [
        (100_352, False), (5120, False), (2048, True)
    ]  # fmt: skip
    assert m.timeline()[1].max() == m.peak and m.timeline("cpu")[1].max() == 8 * 10**6
    assert not m.errors
    pool.free(a), pool.free(b)


def test_a_number_that_comes_again_is_another_block(pool):
    with gg.profile.memory() as m:
        a = pool.malloc(5000)
        del pool.sizes[a]  # freed by a thread that has no hook
        assert pool.malloc(7000) == a
    assert m.live == pool.used_bytes() == 7168 and len(m.blocks) == 2


def test_two_devices_and_two_profiles(pool):
    with gg.profile.memory() as outer:
        a = pool.malloc(1024)
        with gg.profile.memory() as inner:
            pool.device_id = 1
            b = pool.malloc(4096)
    assert inner.devices == ["cuda:1"] and outer.devices == ["cuda:1", "cuda:0"]
    assert {f.device for f in outer.gpu} == {"cuda:0", "cuda:1"}
    assert (a, b) == tuple(pool.sizes)


def test_figures_say_what_they_are(pool, monkeypatch):
    monkeypatch.setattr(gpu_memory, "of_process", lambda bus: f"not known: {bus}")
    with gg.profile.memory() as m:
        pool.malloc(1000)
        pool.malloc(1000)
    said = {f.what: (f.start, f.end) for f in m.gpu}
    assert said == {
        gpu_memory.POOL_USED: (1024, 2048),
        gpu_memory.POOL_TOTAL: (1 << 20, 1 << 20),
        gpu_memory.DRIVER: (4000, 4000),
        gpu_memory.PROCESS: ("not known: 0000:00:00.0", "not known: 0000:00:00.0"),
    }
    text = str(m)
    assert all(what in text for what in said) and "not known: 0000:00:00.0" in text
    assert m.to_dict()["gpu"][0]["device"] == "cuda:0"


def test_saved_is_known_by_the_number():
    """A CuPy array's memory is the object whose id the hook is told."""
    number = trace._number
    pooled = object()
    assert number(pooled) == id(pooled)
    a = np.zeros(10)
    assert number(a) == a.ctypes.data


# ---------------------------------------------------------------------------------------------- NVML
class NVMLError(Exception):
    pass


def nvml(processes=(), fails=None):
    def init():
        if fails == "init":
            raise NVMLError("Driver Not Loaded")

    def handle(bus):
        if fails == "handle":
            raise NVMLError("Not Found")
        return bus

    calls = []
    process = lambda pid, used: types.SimpleNamespace(pid=pid, usedGpuMemory=used)
    return types.SimpleNamespace(
        NVMLError=NVMLError,
        calls=calls,
        nvmlInit=init,
        nvmlShutdown=lambda: calls.append("shutdown"),
        nvmlDeviceGetHandleByPciBusId=handle,
        nvmlDeviceGetComputeRunningProcesses=lambda h: [process(*p) for p in processes],
    )


@pytest.mark.parametrize(
    "module, said",
    [
        (nvml([(1, 5), (os.getpid(), 700)]), 700),
        (nvml([(1, 5)]), "has no process"),
        (nvml(), "container"),
        (nvml([(os.getpid(), None)]), "driver does not tell"),
        (nvml(fails="init"), "not known: Driver Not Loaded"),
        (nvml(fails="handle"), "not known: Not Found"),
        (None, "not installed"),
    ],
)
def test_nvml_is_believed_or_said_to_be_unknown(monkeypatch, module, said):
    monkeypatch.setitem(sys.modules, "pynvml", module)
    got = gpu_memory.of_process("0000:65:00.0")
    assert got == said if isinstance(said, int) else got.startswith("not known: ") and said in got


# ---------------------------------------------------------------------------------------------- a real GPU
@pytest.mark.cuda
def test_on_a_gpu_live_is_the_pools_figure():
    pool = cupy.get_default_memory_pool()
    gg.tensor(np.ones(10, np.float32), device="cuda")  # the context, the kernels' modules
    used = pool.used_bytes()
    with gg.profile.memory() as m:
        w = gg.Variable(np.ones((200, 300), np.float32))
        x = gg.tensor(np.ones((1000, 200), np.float32))
        with gg.GradientTape(persistent=True) as tape:
            y = gg.tanh(x @ w)
            loss = (y * y).mean()
        assert m.live == pool.used_bytes() - used
        kept = tape.memory().nbytes
        assert m.saved_at(m.now()) in (kept, kept - w.array.data.mem.size)
        g = tape.gradient(loss, w)
        del tape, y, loss
        assert m.live == pool.used_bytes() - used
    assert m.device == "cuda:0" and m.peak >= m.live and not m.errors
    assert {p.name for p in m.phases} == {"forward", "backward"}
    assert {f.what for f in m.gpu} == {
        gpu_memory.POOL_USED, gpu_memory.POOL_TOTAL, gpu_memory.DRIVER, gpu_memory.PROCESS
    }  # fmt: skip
    assert g.shape == w.shape
