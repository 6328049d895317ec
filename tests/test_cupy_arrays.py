"""What gpugrad does on the host with arrays of CuPy, on the real objects: made in host memory, so without a GPU."""

import gc

import numpy as np
import pytest

cupy = pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)

import cupyhost  # noqa: E402
from cupyhost import HostCupy, host, put, taking_part  # noqa: E402

import gpugrad as gg  # noqa: E402
from gpugrad import array, fused, gemm, kernels  # noqa: E402
from gpugrad.array import CPU, Device  # noqa: E402
from gpugrad.dtypes import bfloat16, float16, float32, float64  # noqa: E402
from gpugrad.fused.optimizer import GRADIENT, PARAMETER  # noqa: E402
from gpugrad.ops.activation import relu  # noqa: E402

DTYPES = [float32, float64, float16, bfloat16, *map(np.dtype, ("int32", "int64", "uint8", "bool", "complex64"))]


@pytest.fixture
def noted():
    """(the launches, as (kernel, grid, block, arguments); the library) with kernels that do nothing."""
    launches = []
    make = lambda code, kernel, device: lambda *launch: launches.append((kernel, *launch))
    with taking_part(HostCupy(make)) as lib:
        yield launches, lib


@pytest.fixture
def running(host_library):
    """The library with kernels of the host build, which run."""
    seen = lambda a: host(a) if isinstance(a, cupy.ndarray) else a

    def make(code, kernel, device):
        run = host_library.compile(code, kernel, device)
        return lambda grid, block, args: run(grid, block, tuple([seen(a) for a in args]))

    with taking_part(HostCupy(make)) as lib:
        yield lib


def random(*shape, dtype=float32, seed=0):
    return put(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def off(x, nbytes):
    """x at an address that is this many bytes further."""
    block = put(np.zeros(x.nbytes + 64, np.uint8))
    out = cupy.ndarray(x.shape, x.dtype, memptr=block.data + nbytes)
    host(out)[...] = host(x)
    return out


VIEWS = {
    "whole": lambda x: x, "rows": lambda x: x[1:], "reshaped": lambda x: x.reshape(6, 4),
    "copied": lambda x: off(x, 16), "one row": lambda x: x[2],
}  # fmt: skip
STRIDED = {
    "transposed": lambda x: x.T, "columns": lambda x: x[:, 1:], "every second": lambda x: x[::2],
    "reversed": lambda x: x[::-1], "broadcast": lambda x: cupy.broadcast_to(x[:1], (3, 6)),
}  # fmt: skip


# ---------------------------------------------------------------------------------------------- the library
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_questions_about_an_array(noted, dtype):
    lib = noted[1]
    x = put(np.zeros((4, 6)), dtype)
    assert array.library(x) is lib and array.device_of(x) == Device("cuda", 0)
    assert lib.index(x) == 0 and lib.address(x) == x.data.ptr and lib.address(x) % 512 == 0
    assert lib.ready(x, dtype, 0) and not lib.ready(x, dtype, 1)
    assert not any(lib.ready(x, d, 0) for d in DTYPES if d != dtype)
    for name, view in VIEWS.items():
        assert lib.ready(view(x), dtype, 0), name
    for name, view in STRIDED.items():
        assert not lib.ready(view(x), dtype, 0), name
    for nbytes in (1, 2, 4, 8):
        assert lib.ready(off(x, nbytes), dtype, 0) == (nbytes % dtype.itemsize == 0)
    for shape in ((), (0,), (0, 3), (1, 1)):
        assert lib.ready(put(np.zeros(shape), dtype), dtype, 0)
    out = lib.empty((2, 3), dtype)
    assert type(out) is cupy.ndarray and out.shape == (2, 3) and out.dtype == dtype


def test_what_is_no_array_is_not_ready(noted):
    for other in (None, 3.0, np.ones(3, np.float32), [1.0], gg.tensor([1.0])):
        assert not noted[1].ready(other, float32, 0)


def test_values_cross_over(noted):
    x = gg.tensor(np.arange(6.0).reshape(2, 3), device=CPU).array
    lib = noted[1]
    there = lib.asarray(x, float32, Device("cuda"))
    np.testing.assert_array_equal(lib.to_host(there.T), x.T)


# ---------------------------------------------------------------------------------------------- who holds an array
class Holder:
    """Something with an attribute."""

    def __init__(self, x):
        self.array = x


def alone(lib, t):
    return lib.alone(t.array)  # not in an assert, where pytest holds it, too


def as_strided(x):
    return cupy.lib.stride_tricks.as_strided(x, (2, 2), (4, 4))


HOLDERS = {
    "the array": lambda x: x, "the whole as a view": lambda x: x[...], "a view": lambda x: x.view(),
    "another dtype": lambda x: x.view(np.int32), "a slice": lambda x: x[1:], "nothing of it": lambda x: x[:0],
    "transposed": lambda x: x.T, "reshaped": lambda x: x.reshape(-1), "ravelled": lambda x: x.ravel(),
    "a view of a view": lambda x: x.T[1:].reshape(3, 5).T, "broadcast": lambda x: cupy.broadcast_to(x, (3, 4, 6)),
    "squeezed": lambda x: x.squeeze(), "real": lambda x: x.real, "an iterator": iter,
    "as_strided": as_strided, "a view as_strided": lambda x: as_strided(x[1:]),
    "its pointer": lambda x: x.data, "a pointer into it": lambda x: x.data + 8, "its memory": lambda x: x.data.mem,
    "an array of its pointer": lambda x: cupy.ndarray(x.shape, x.dtype, memptr=x.data),
    "an array of its memory": lambda x: cupy.ndarray(3, memptr=cupy.cuda.MemoryPointer(x.data.mem, 8)),
    "an owner": lambda x: cupy.cuda.UnownedMemory(x.data.ptr, x.nbytes, x, 0),
    "a method": lambda x: x.get, "a container": lambda x: [{"x": (x,)}], "a closure": lambda x: lambda: x,
}  # fmt: skip


@pytest.mark.parametrize("holder", HOLDERS)
def test_an_array_is_not_alone_while_somebody_holds_it(noted, holder):
    lib, t = noted[1], Holder(random(4, 6))
    assert alone(lib, t)
    if holder == "a view of a view":
        t.array = random(5, 4)
    held = HOLDERS[holder](t.array)
    assert not alone(lib, t)
    del held
    assert alone(lib, t)


def test_a_view_is_not_alone_and_nor_is_memory_of_others(noted):
    lib, t, x = noted[1], Holder(None), random(4, 6)
    for view in [*[v for k, v in VIEWS.items() if k != "copied"], *STRIDED.values()]:
        t.array = view(x)
        assert not alone(lib, t)
    t.array = random(4)[1:]  # nobody holds its base but the view
    assert not alone(lib, t)
    block = np.zeros(64, np.uint8)
    memory = cupy.cuda.UnownedMemory(block.ctypes.data, 64, block, 0)
    t.array = cupy.ndarray(3, memptr=cupy.cuda.MemoryPointer(memory, 0))
    del memory
    assert not alone(lib, t)


def test_a_local_variable_counts(noted):
    lib, t = noted[1], Holder(random(3))
    x = t.array
    assert not alone(lib, t) and not lib.alone(x)
    del x
    assert alone(lib, t)


def test_numpys_arrays_are_asked_likewise():
    t = Holder(np.zeros((4, 6), np.float32))
    lib = array.NUMPY
    assert alone(lib, t)
    views = [*VIEWS.values(), *[STRIDED[k] for k in ("transposed", "columns", "every second", "reversed")]]
    for hold in [*[v for v in views if v is not VIEWS["copied"]], memoryview, np.from_dlpack, lambda x: x.ctypes]:
        held = hold(t.array)
        assert not alone(lib, t)
        del held
        assert alone(lib, t)
    for other in (np.frombuffer(bytearray(8), np.float32), np.zeros(3)[1:], np.float32(1), np.ones(2).T):
        t.array = other
        del other
        assert not alone(lib, t)
    t.array = np.zeros(3)
    t.array.flags.writeable = False
    assert not alone(lib, t)


# ---------------------------------------------------------------------------------------------- launches
def test_place_and_usable(noted):
    lib, x = noted[1], random(3, 4)
    p = kernels.place(x, None, x.T)
    assert p is kernels.place(x[1:]) and p.lib is lib and p.device == "cuda:0"
    assert kernels.usable(x, x.T) and not kernels.usable(x, put(np.ones(3), float64))
    assert not kernels.usable(put(np.ones(3, np.int32))) and kernels.usable(random(3, dtype=bfloat16))
    with pytest.raises(TypeError, match="one array is on cuda:0, another on cpu"):
        kernels.place(x, np.ones(3, np.float32))
    with pytest.raises(TypeError, match="a kernel takes arrays, given float"):
        kernels.place(x, 1.0)


def test_whole_is_the_array_itself_where_it_can_be(noted):
    x = random(4, 6)
    p = kernels.place(x)
    for view in VIEWS.values():
        v = view(x)
        assert p.whole(v) is v


def test_two_devices(noted):
    lib, x = noted[1], random(4)
    block = np.zeros(64, np.uint8)
    far = cupy.cuda.UnownedMemory(block.ctypes.data, 64, block, 1)
    y = cupy.ndarray(4, np.float32, memptr=cupy.cuda.MemoryPointer(far, 0))
    assert lib.index(y) == 1 and array.device_of(y) == Device("cuda", 1)
    for f in (kernels.place, fused.softmax_grad, gemm.product):
        with pytest.raises(TypeError, match="cuda:0.*cuda:1|cuda:1.*cuda:0"):
            f(x.reshape(2, 2), y.reshape(2, 2))
    with pytest.raises(TypeError, match="x is to be on device 0, this one is on 1"):
        kernels.place(x).get("elementwise", "activate", float32, 1)((1,), (32,), y, x, 4)


@pytest.mark.parametrize("dtype", [float32, float64, float16, bfloat16], ids=str)
@pytest.mark.parametrize("view", VIEWS)
def test_relu_is_handed_the_arrays_themselves(noted, dtype, view):
    launches, _ = noted
    x = VIEWS[view](random(4, 6, dtype=dtype))
    out = relu(gg.tensor(x)).array
    ((kernel, grid, block, (a, b, n)),) = launches
    assert kernel == f"activate<{kernels.CTYPES[dtype]}, 1>" and (grid, block) == kernels.by_element(x.size, dtype)
    assert a.data.ptr == x.data.ptr and b is out and n == x.size
    assert out.shape == x.shape and out.dtype == dtype and out.data.ptr != x.data.ptr


def test_empty_arrays_launch_nothing(noted):
    launches, _ = noted
    assert relu(gg.tensor(put(np.zeros((0, 3), np.float32)))).shape == (0, 3)
    assert fused.softmax(put(np.zeros((0, 3), np.float32))).shape == (0, 3)
    assert launches == [] and relu(gg.tensor(put(np.float32(1)))).shape == ()


def test_arguments_are_checked(noted):
    launches, lib = noted
    x, out = random(4, 6), lib.empty((4, 6), float32)
    launch = kernels.place(x).get("elementwise", "activate", float32, 1)
    wrong = [
        (x.T, "a contiguous, aligned array"), (off(x, 2), "a contiguous, aligned array"),
        (put(np.ones(3), float64), "an array of float32; given ndarray of float64"), (None, "given None"),
        (host(x), "an array of float32; given ndarray"), (x.data, "given <MemoryPointer"),
    ]  # fmt: skip
    for a, error in wrong:
        with pytest.raises(TypeError, match=error):
            launch((1,), (32,), a, out, 24)
    assert launches == []
    launch((1,), (32,), x, out, np.int64(24))
    assert launches == [("activate<float, 1>", (1,), (32,), (x, out, 24))]


# ---------------------------------------------------------------------------------------------- kernels that run
def test_fused_functions(running):
    x, y = random(5, 7), random(5, 7, seed=1)
    a, labels = host(x).astype(float), np.array([0, 6, 3, 3, 1])
    e = np.exp(a - a.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    close = lambda found, expected: np.testing.assert_allclose(host(found), expected, rtol=1e-5, atol=1e-6)
    close(fused.softmax(x), p)
    close(fused.softmax_xent(x, put(labels))[0], -np.log(p[range(5), labels]))
    close(fused.norm(x)[0], (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-5))
    close(fused.gather(x, put(labels % 5)), a[labels % 5])
    close(fused.bias_act(x, random(7, seed=2), "tanh"), np.tanh(a + host(random(7, seed=2))))
    close(fused.column_sums(y), host(y).sum(0))
    close(fused.dropout(x, 0.0, 1, 2), a)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_products(running, dtype):
    x, y = random(3, 4, 5, dtype=dtype), random(5, 6, dtype=dtype, seed=1)
    z = random(3, 4, 6, dtype=dtype, seed=2)
    eps = {"float32": 1e-5, "float64": 1e-13, "float16": 1e-2, "bfloat16": 5e-2}[dtype]
    wide = lambda a: host(a).astype(float)
    close = lambda found, expected: np.testing.assert_allclose(wide(found), expected, rtol=eps, atol=eps)
    close(gemm.product(x, y), wide(x) @ wide(y))
    close(gemm.product(z, y.T), wide(z) @ wide(y).T)
    close(gemm.product(x.swapaxes(-1, -2), z), wide(x).swapaxes(-1, -2) @ wide(z))
    close(gemm.product(x[:, 1:], y[:, :4]), wide(x)[:, 1:] @ wide(y)[:, :4])
    out, expected = z[:, :, :6], wide(z) + wide(x) @ wide(y)
    assert gemm.product(x, y, out) is out
    close(z, expected)
    out, saved = gemm.linear(x, y, random(6, dtype=dtype, seed=3), "identity")
    close(out, wide(x) @ wide(y) + wide(random(6, dtype=dtype, seed=3)))
    assert saved is None


def test_a_table_of_addresses(noted):
    xs = [random(5), random(2, 3), put(np.zeros((0,), np.float32)), random(1, seed=2)]
    table = fused.Table(xs)
    table.set(PARAMETER, xs)
    ((_, rows, blocks),) = table._parts
    assert blocks == 3 and rows[PARAMETER].tolist() == [x.data.ptr for x in xs if x.size]
    for wrong, error in [(random(5, dtype=float64), TypeError), (random(6), ValueError), (host(xs[0]), TypeError)]:
        with pytest.raises(error):
            table.set(GRADIENT, [wrong, *xs[1:]])
    outs = table.allocate(xs, [True, False, False, True])
    assert [a is b for a, b in zip(outs, xs)] == [True, False, False, True]


OPTIMIZERS = {
    "adam": lambda vs: gg.optim.Adam(vs, 0.1), "sgd": lambda vs: gg.optim.SGD(vs, 0.1, 0.9),
    "adamw": lambda vs: gg.optim.AdamW(vs, 0.1),
}  # fmt: skip


def steps(optimizer, vs, put, seeds):
    for seed in seeds:
        rng = np.random.default_rng(seed)
        optimizer.apply_gradients([(put(rng.standard_normal(v.shape).astype(np.float32)), v) for v in vs])


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_an_optimizer_writes_over_arrays_that_nobody_else_holds(running, make):
    gc.disable()
    try:
        ours, theirs = ([gg.Variable(np.full(s, 2.0, np.float32), device="cpu") for s in (5, (2, 3))] for _ in range(2))
        for v in ours:
            v.array = put(v.array)
        a, b = OPTIMIZERS[make](ours), OPTIMIZERS[make](theirs)
        steps(a, ours, put, range(2)), steps(b, theirs, np.asarray, range(2))
        at, blocks = [v.array.data.ptr for v in ours], len(cupyhost._blocks)
        steps(a, ours, put, range(3)), steps(b, theirs, np.asarray, range(3))
        assert [v.array.data.ptr for v in ours] == at and len(cupyhost._blocks) == blocks
        before = host(ours[0].array).copy()
        held = [ours[0].detach(), as_strided(ours[1].array)]
        steps(a, ours, put, [4]), steps(b, theirs, np.asarray, [4])
        assert not {v.array.data.ptr for v in ours} & set(at)
        np.testing.assert_array_equal(host(held[0].array), before)
        for v, w in zip(ours, theirs):
            np.testing.assert_allclose(host(v.array), w.array, rtol=1e-5)
    finally:
        gc.enable()


# ---------------------------------------------------------------------------------------------- memory
def allocated():
    """The bytes that CuPy's arrays have."""
    return sum(b.size - 511 for b in cupyhost._blocks.values())


@pytest.mark.parametrize("persistent", [False, True])
def test_what_a_ledger_says_is_freed_comes_back(running, persistent):
    gc.collect()
    gc.disable()
    try:
        w, b = gg.Variable(random(8, 8)), gg.Variable(random(8))
        x = gg.tensor(random(16, 8))
        with gg.GradientTape(persistent=persistent) as tape:
            h = gg.nn.linear(x, w, b, activation="relu")
            view = h[1:]
            h = gg.nn.linear(h[:12].T, gg.tensor(random(12, 4)), gg.tensor(random(4)), activation="relu")
            h = gg.nn.relu(h)
            y = gg.nn.relu(h)
        found = tape.memory()
        assert {e.device for e in found.entries} == {"cuda:0"} and found.nbytes == tape.nbytes()
        assert {(e.op, e.argument) for e in found.entries if e.released == "drop of tensor view"} == {
            ("linear_relu", "output")
        }
        assert any(e.held for e in found.entries) and found.freed > 0
        before = allocated()
        del tape
        assert before - allocated() == found.freed and y.node.saved is None and view.shape == (15, 8)
    finally:
        gc.enable()


def test_out_of_memory_is_cupys_error_with_a_post_mortem(running):
    Exhausted = cupy.cuda.memory.OutOfMemoryError

    def refuse(nbytes):
        if nbytes > 1000:
            raise Exhausted(nbytes, 5000, 6000)
        return cupyhost.allocate(nbytes)

    w = gg.Variable(random(8, 8))
    x = gg.tensor(random(16, 8))
    with gg.GradientTape(persistent=True) as tape:
        y = gg.nn.relu(gg.nn.linear(x, w, gg.Variable(random(8)), activation="relu"))
    said = ""
    with cupy.cuda.using_allocator(refuse):
        try:  # pytest.raises would leave the arrays in a cycle, and CuPy frees none there without a driver
            gg.nn.relu(gg.tensor(random(100, 8), requires_grad=True))
        except Exhausted as e:
            said = str(e)
            assert e.ledger.freed >= tape.memory().freed > 0 and y.node and type(e.__cause__) is Exhausted
    assert "out of memory in relu of float32[100, 8]. Out of memory allocating" in said and "uses=N" in said
    assert (gg.nn.relu(x).shape) == (16, 8)
