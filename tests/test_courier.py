"""Copies between a GPU and pinned memory beside the computing, on streams that run as late or as early as they may.

`Gpu` has the names of CuPy that a Courier uses.  Its streams are queues: what is put there happens when the schedule
says so, but after what it waits for.  Its pool gives the memory of an array that is dropped to the next one at once, as
CuPy's does, so whoever drops an array too early finds another's values.
"""

import contextlib
import ctypes
import gc
import importlib
import random
import weakref

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.courier import Courier


@pytest.fixture(autouse=True)
def collector_off():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Stream:
    def __init__(self, gpu):
        self.gpu, self.queue, self.ptr = gpu, [], len(gpu.streams)
        gpu.streams.append(self)

    def wait_event(self, event):
        self.queue.append(lambda: event.done)

    def put(self, f):
        self.queue.append(lambda: (f(), True)[1])
        self.gpu.schedule()

    def step(self):
        """Do the first thing, if it may be done.  Whether it was."""
        if self.queue and self.queue[0]():
            self.queue.pop(0)
            return True
        return False


class Event:
    def __init__(self, disable_timing):
        self.done = False

    def record(self, stream):
        stream.queue.append(lambda: setattr(self, "done", True) or True)


class Data:
    def __init__(self, gpu, nbytes):
        self.gpu, self.nbytes = gpu, nbytes
        free = gpu.free.setdefault(nbytes, [])
        self.memory = free.pop() if free else np.full(nbytes, 0xFF, np.uint8)
        self.ptr = self.memory.ctypes.data
        gpu.blocks[self.ptr] = self.memory
        gpu.used += nbytes
        gpu.peak = max(gpu.peak, gpu.used)

    def __del__(self):
        self.gpu.used -= self.nbytes
        self.gpu.free[self.nbytes].append(self.memory)


class Gpu:
    """Streams that run `late` (when nothing else is left to do), `early`, or at `random`."""

    def __init__(self, order, seed=0):
        self.order, self.random = order, random.Random(seed)
        self.streams, self.free, self.blocks, self.pinned = [], {}, {}, []
        self.used = self.peak = 0
        self.gone = set()  # addresses of pinned memory that was given back
        self.cuda = self.runtime = self
        self.compute = Stream(self)
        self.memcpyDeviceToHost, self.memcpyHostToDevice, self.Event = 2, 1, Event

    def Stream(self, non_blocking):
        assert non_blocking
        return Stream(self)

    def Device(self, index):
        return contextlib.nullcontext()

    def get_current_stream(self):
        return self.compute

    def alloc_pinned_memory(self, nbytes):
        memory = np.full(nbytes, 0xEE, np.uint8)
        self.blocks[memory.ctypes.data] = memory
        self.gone.discard(memory.ctypes.data)
        block = (ctypes.c_ubyte * nbytes).from_buffer(memory)
        weakref.finalize(block, self._unpinned, memory)
        self.pinned.append(nbytes)
        return block

    def _unpinned(self, memory):
        memory.fill(0xEE)  # who gets it next writes to it at once
        self.gone.add(memory.ctypes.data)

    def ndarray(self, shape, dtype):
        return Array(self, shape, dtype)

    def memcpyAsync(self, to, source, nbytes, direction, stream):
        a, b = self.blocks[to], self.blocks[source]
        assert nbytes == a.nbytes == b.nbytes

        def copy():
            assert not self.gone & {to, source}, "a copy of pinned memory that has another owner by now"
            np.copyto(a, b)

        self.streams[stream].put(copy)

    def schedule(self):
        if self.order == "early":
            self.run()
        elif self.order == "random":
            for _ in range(self.random.randrange(4)):
                self.random.choice(self.streams).step()

    def run(self, streams=None):
        """All that can be done."""
        while any([s.step() for s in (streams or self.streams)]):
            pass

    def synchronize(self):
        """What the computing stream has been told, with as little of the others' as that needs."""
        while self.compute.queue:
            if self.order == "random":
                self.random.choice(self.streams).step()
            elif not self.compute.step():
                assert any([s.step() for s in self.streams[1:]]), "a stream waits for what never happens"

    # what a program computes, on the computing stream
    def filled(self, value, n):
        x = Array(self, (n,), np.dtype("float32"))
        view = x.data.memory.view(np.float32)
        self.compute.put(lambda: view.fill(value))
        return x

    def total(self, x, into):
        view = x.data.memory.view(np.float32)
        self.compute.put(lambda: into.append(set(view.tolist())))


class Array:
    def __init__(self, gpu, shape, dtype):
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self.nbytes = int(np.prod(shape)) * self.dtype.itemsize
        self.data = Data(gpu, self.nbytes)


N, LAYERS = 64, 12
ORDERS = [("late", 0), ("early", 0), *[("random", s) for s in range(20)]]


@pytest.mark.parametrize("order, seed", ORDERS)
def test_values_come_back_whatever_the_streams_do(order, seed):
    gpu = Gpu(order, seed)
    courier = Courier(gpu, 0)
    stowed = []
    for i in range(LAYERS):
        x = gpu.filled(float(i), N)
        stowed.append(courier.away(x))
        del x
        gpu.filled(-1.0, N)  # a temporary, which gets whatever memory is free
    found = []
    while stowed:
        x = courier.back(stowed.pop())
        gpu.filled(-2.0, N)
        gpu.total(x, found)
        del x
        gpu.filled(-3.0, N)
    gpu.synchronize()
    assert found == [{float(i)} for i in range(LAYERS)][::-1]
    gpu.run()
    courier.wait()
    assert not any([s.queue for s in gpu.streams])


@pytest.mark.parametrize("order", ["late", "early"])
def test_little_gpu_memory_is_held(order):
    gpu = Gpu(order)
    courier = Courier(gpu, 0)
    stowed = []
    for i in range(LAYERS):
        stowed.append(courier.away(gpu.filled(float(i), N)))
    assert gpu.peak <= 4 * N * 4  # two that are copied, one more than that, the next
    gpu.run()
    gpu.peak = gpu.used
    found = []
    while stowed:
        gpu.total(courier.back(stowed.pop()), found)
    gpu.synchronize()
    assert gpu.peak <= 4 * N * 4 and found == [{float(i)} for i in range(LAYERS)][::-1]
    gpu.run()
    courier.wait()
    courier._settle(0)
    assert gpu.used == 0 and not courier._leaving and not courier._returning


@pytest.mark.parametrize("order, seed", ORDERS)
def test_in_any_order_and_read_again(order, seed):
    gpu = Gpu(order, seed)
    courier, rng = Courier(gpu, 0), random.Random(seed)
    stowed = [courier.away(gpu.filled(float(i), N)) for i in range(LAYERS)]
    found, expected = [], []
    for i in [rng.randrange(LAYERS) for _ in range(40)]:
        a = courier.back(stowed[i])
        assert courier.back(stowed[i]) is a
        gpu.total(a, found)
        expected.append({float(i)})
        del a
        gpu.filled(-1.0, N)
    gpu.synchronize()
    assert found == expected


@pytest.mark.parametrize("order, seed", ORDERS)
def test_what_was_fetched_ahead_and_never_read(order, seed):
    gpu = Gpu(order, seed)
    courier = Courier(gpu, 0)
    stowed = [courier.away(gpu.filled(float(i), N)) for i in range(6)]
    gpu.run()
    found, others = [], []
    gpu.total(courier.back(stowed.pop()), found)  # number 4 sets out
    del stowed[-1]
    for i in range(6):
        x = gpu.filled(float(100 + i), N)  # may have the memory of number 4
        gpu.total(x, others)
        del x
    gpu.total(courier.back(stowed.pop()), found)
    gpu.synchronize()
    gpu.run()
    assert found == [{5.0}, {3.0}] and others == [{100.0 + i} for i in range(6)]


@pytest.mark.parametrize("order, seed", ORDERS)
def test_what_nobody_reads_may_be_dropped_while_it_is_copied(order, seed):
    gpu = Gpu(order, seed)
    courier = Courier(gpu, 0)
    for i in range(LAYERS):
        courier.away(gpu.filled(float(i), N))
    gpu.run()
    kept = courier.away(gpu.filled(7.0, N))
    assert len(gpu.gone) >= LAYERS  # and then the memory goes back
    found = []
    gpu.total(courier.back(kept), found)
    gpu.synchronize()
    assert found == [{7.0}]


@pytest.mark.parametrize("order, seed", ORDERS)
def test_a_change_in_place_comes_after_the_copy(order, seed):
    gpu = Gpu(order, seed)
    courier = Courier(gpu, 0)
    x = gpu.filled(1.0, N)
    stowed = courier.away(x)
    if order == "late":
        assert courier.back(stowed) is x  # still there
    courier.wait()
    view = x.data.memory.view(np.float32)
    gpu.compute.put(lambda: view.fill(2.0))
    found = []
    gpu.total(courier.back(stowed), found)
    gpu.total(x, found)
    gpu.synchronize()
    assert found == [{1.0}, {2.0}]


def test_the_copy_overlaps_with_what_comes_after():
    """The computing stream waits for no copy to the host while few are under way, and for one fetched ahead little."""
    gpu = Gpu("late")
    courier = Courier(gpu, 0)
    stowed = [courier.away(gpu.filled(float(i), N)) for i in range(2)]
    gpu.run([gpu.compute])
    assert not gpu.compute.queue  # nothing of it waits
    gpu.run()
    for i in range(2, 5):
        stowed.append(courier.away(gpu.filled(float(i), N)))
    gpu.run()
    courier._settle(0)
    courier.back(stowed[4])
    gpu.run([gpu.compute, gpu.streams[1]])
    assert stowed[3].coming is not None and stowed[3].coming[0].done  # there before it is asked for
    before = len(gpu.pinned)
    courier.back(stowed[3])
    assert gpu.compute.step() and len(gpu.pinned) == before == 5  # its wait is over at once


# ---------------------------------------------------------------------------------------------- CuPy's own arrays
class AtOnce:
    """The names of `cupy.cuda` that a Courier uses, without a driver: what is to be done is done at once."""

    memcpyDeviceToHost, memcpyHostToDevice, ptr, done = 2, 1, 0, True
    Device = staticmethod(lambda index: contextlib.nullcontext())
    Stream = Event = staticmethod(lambda **options: AtOnce())
    get_current_stream = staticmethod(lambda: AtOnce())
    alloc_pinned_memory = staticmethod(lambda nbytes: bytearray(nbytes + 512))  # CuPy's are larger, too
    memcpyAsync = staticmethod(lambda to, source, nbytes, direction, stream: ctypes.memmove(to, source, nbytes))
    wait_event = record = staticmethod(lambda other: None)
    runtime = property(lambda self: self)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_arrays_of_cupy(dtype):
    pytest.importorskip("cupy")
    cupyhost = importlib.import_module("cupyhost")
    import cupy

    lib = cupyhost.HostCupy(None)
    names = type("Names", (), {"cuda": AtOnce(), "ndarray": cupy.ndarray})
    values = np.arange(6000).reshape(2, 3000).astype(gg.dtypes.as_dtype(dtype))
    with cupyhost.taking_part(lib):
        courier = Courier(names, 0)
        lib.courier = lambda device: courier
        pack = gg.save_on_cpu(pin_memory=True)
        x = cupyhost.put(values)
        for array, expected in ((x[1], values[1]), (x, values), (x.reshape(6000), values.reshape(6000))):
            stored, unpack = pack._parcel(array, gg.Tensor, True)
            assert type(stored.array) is np.ndarray and stored.array.dtype == x.dtype
            found = unpack(stored)
            assert type(found) is cupy.ndarray and found.shape == expected.shape and found.data.ptr != x.data.ptr
            np.testing.assert_array_equal(cupyhost.host(found), expected)
        again, _ = pack._parcel(x, gg.Tensor, True)
        assert again is stored  # reshaped, it is one block of memory
        assert pack._parcel(x, gg.Tensor, None) is x  # somebody's own
    courier.wait()
