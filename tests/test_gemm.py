"""Products through cuBLASLt, on the host (tests/cublaslt.py stands for the library) and on a GPU, against float64."""

import contextlib
import functools
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType, SimpleNamespace

import cublaslt
import numpy as np
import pytest
import standin
from cublaslt import CublasLt
from cudahost import Allocator, HostLibrary
from test_fused import assert_close

import gpugrad as gg
from gpugrad import blas, gemm
from gpugrad.array import Device, register, to_host, unregister
from gpugrad.blas import PER_THREAD, Blas, Matrix, Problem
from gpugrad.dtypes import float32
from gpugrad.gemm import products
from gpugrad.gemm.epilogues import EPILOGUES

DTYPES = ["float32", "float64", "float16", "bfloat16"]
HALF = ["float16", "bfloat16"]
AUX = [(act, dtype) for act in ("relu", "gelu_tanh") for dtype in EPILOGUES[act][2]]


def matches(lib, out, expected, label):
    """The host is held to 2 ulp; on a GPU cuBLASLt may round half types once more, before the bias for example."""
    if isinstance(lib, HostLibrary):
        assert_close(to_host(out), expected, out.dtype, label)
    else:
        near(out, expected, out.dtype, 2, np.abs(expected).max())


def near(found, expected, dtype, times, scale):
    eps = {"float32": 1e-6, "float64": 1e-14, "float16": 2e-3, "bfloat16": 1.6e-2}[dtype.name]
    np.testing.assert_allclose(to_host(found).astype(float), expected, rtol=times * eps, atol=times * eps * scale)


def values(dtype, *shape, seed=0):
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(gg.dtypes.as_dtype(dtype))


def exact(*arrays):
    return [to_host(a).astype(np.float64) for a in arrays]


def same(found, expected, rtol=1e-5):
    np.testing.assert_allclose(to_host(found), to_host(expected), rtol=rtol, atol=rtol)


class Gpu:
    """A real GPU in the place of the host build."""

    def put(self, value):
        return gg.tensor(value, device="cuda").array

    def check(self):
        pass


@pytest.fixture(params=["host", pytest.param("cuda", marks=pytest.mark.cuda)])
def lib(request):
    """Where the arrays are; with `put` and `check`."""
    return request.getfixturevalue("host") if request.param == "host" else Gpu()


@pytest.fixture
def lt(host, monkeypatch):
    """The stand-in for cuBLASLt with nothing planned yet."""
    fresh = CublasLt()
    monkeypatch.setattr(host, "_blas", Blas(fresh, fresh.stream, host._workspace, 2**16, alone=True))
    monkeypatch.setattr(products, "_homes", {})
    return fresh


@pytest.fixture
def precision():
    yield gemm.set_float32_matmul_precision
    gemm.set_float32_matmul_precision("highest")


def turned(lib, value):
    """The same matrix, column-major."""
    return lib.put(np.ascontiguousarray(value.swapaxes(-1, -2))).swapaxes(-1, -2)


def sliced(lib, value):
    """The same matrix with columns of others around it."""
    wide = np.full((*value.shape[:-1], value.shape[-1] + 5), np.nan, value.dtype)
    wide[..., 2:-3] = value
    return lib.put(wide)[..., 2:-3]


LAYOUTS = {"rows": lambda lib, v: lib.put(v), "columns": turned, "sliced": sliced}
LAYOUTS["sliced columns"] = lambda lib, v: sliced(lib, np.ascontiguousarray(v.swapaxes(-1, -2))).swapaxes(-1, -2)


# ---------------------------------------------------------------------------------------------- products
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 9, 4), (6, 1, 5), (4, 33, 1), (1, 1, 1), (17, 40, 23)], ids=str)
def test_layouts(lib, dtype, shape):
    n, k, m = shape
    x, y = values(dtype, n, k), values(dtype, k, m, seed=1)
    expected = np.matmul(*exact(x, y))
    for first, put_x in LAYOUTS.items():
        for second, put_y in LAYOUTS.items():
            out = gemm.product(put_x(lib, x), put_y(lib, y))
            assert out.dtype == x.dtype and out.flags.c_contiguous
            matches(lib, out, expected, f"{first} @ {second}")
            lib.check()


BATCHES = [
    ((3, 4, 5), (5, 2), "rows of x are one matrix"),
    ((2, 3, 4, 5), (5, 2), "and of two axes"),
    ((3, 4, 5), (1, 1, 5, 2), "ones before y"),
    ((4, 5), (3, 5, 2), "x broadcast"),
    ((3, 4, 5), (3, 5, 2), "a batch"),
    ((2, 3, 4, 5), (2, 3, 5, 2), "a batch of two axes"),
    ((1, 3, 4, 5), (2, 3, 5, 2), "x broadcast in part"),
    ((2, 1, 4, 5), (1, 3, 5, 2), "both broadcast"),
    ((3, 1, 5), (3, 5, 1), "vectors"),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sx, sy, what", BATCHES, ids=[b[2] for b in BATCHES])
def test_batches(lib, dtype, sx, sy, what):
    x, y = values(dtype, *sx), values(dtype, *sy, seed=1)
    expected = np.matmul(*exact(x, y))
    for put_x in LAYOUTS.values():
        for put_y in LAYOUTS.values():
            matches(lib, gemm.product(put_x(lib, x), put_y(lib, y)), expected, what)
    lib.check()


@pytest.mark.parametrize("dtype", DTYPES)
def test_odd_strides_are_copied(lib, dtype):
    x, y = values(dtype, 4, 6, 5), values(dtype, 5, 8, seed=1)
    a, b = lib.put(x), lib.put(y)
    views = [
        (a[:, ::2], x[:, ::2], b, y),
        (a[..., ::-1], x[..., ::-1], b, y),
        (a[::-1], x[::-1], b[:, ::3], y[:, ::3]),
        (a.swapaxes(0, 1), x.swapaxes(0, 1), b, y),
        (a[:, 1:3], x[:, 1:3], b[:, ::-1], y[:, ::-1]),
        (a[0][:, :1], x[0][:, :1], b[3:4], y[3:4]),
    ]
    for i, (p, u, q, v) in enumerate(views):
        matches(lib, gemm.product(p, q), np.matmul(*exact(u, v)), f"view {i}")


def test_elements_that_share_memory(host):
    """Broadcast rows and columns, windows that overlap: no leading dimension says that."""
    x, y = values("float32", 6, 5), values("float32", 5, 5, seed=1)
    windows = np.lib.stride_tricks.sliding_window_view(x.reshape(-1), 5)[:9]
    for v in (np.broadcast_to(x[0], (6, 5)), np.broadcast_to(x[:5, :1], (5, 5)), windows, x[::-1]):
        for w in (v, v.T):
            if w.shape[1] == 5:
                same(gemm.product(standin.Array(w), host.put(y)), w @ y)
            if w.shape[0] == 5:
                same(gemm.product(host.put(y), standin.Array(w)), y @ w)


def test_strides_that_are_no_multiple_of_an_element(host):
    """A field of records."""
    records = np.zeros((4, 5), np.dtype([("a", "f4"), ("b", "i2")]))
    records["a"] = values("float32", 4, 5)
    raw = host.put(records.view(np.uint8).reshape(-1))
    x = standin.Array(np.ndarray((4, 5), np.float32, raw.host, 0, (30, 6)))
    y = host.put(values("float32", 5, 3))
    same(gemm.product(x, y), records["a"] @ to_host(y))
    rows = standin.Array(np.ndarray((4, 4), np.float32, raw.host, 0, (30, 4)))
    same(gemm.product(rows, y[:4]), to_host(rows) @ to_host(y[:4]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("put", LAYOUTS.values(), ids=list(LAYOUTS))
@pytest.mark.parametrize("sx, sy", [((6, 7), (7, 5)), ((3, 4, 7), (7, 5)), ((2, 4, 7), (2, 7, 5))], ids=str)
def test_added_to_what_is_there(lib, dtype, put, sx, sy):
    x, y = values(dtype, *sx), values(dtype, *sy, seed=1)
    start = values(dtype, *sx[:-1], sy[-1], seed=2)
    expected = exact(start)[0] + np.matmul(*exact(x, y))
    out = put(lib, start)
    assert gemm.product(turned(lib, x), lib.put(y), out) is out
    matches(lib, out, expected, "out += x @ y")
    lib.check()


def test_out_of_any_strides(host):
    x, y = host.put(values("float32", 4, 6)), host.put(values("float32", 6, 5))
    base = host.put(np.ones((8, 10), np.float32))
    for out in (base[::2, ::2], base[4:, :5], base[::-2, 9:4:-1]):
        out[...] = 1
        gemm.product(x, y, out)
        same(out, 1 + to_host(x) @ to_host(y))


def test_out_that_overlaps_an_operand(host):
    """cuBLASLt would read what it has already written."""
    for shift in (0, 1, 3):
        base = host.put(values("float32", 9, 6))
        x, out, y = base[:6], base[shift : 6 + shift], host.put(values("float32", 6, 6, seed=1))
        expected = to_host(out) + to_host(x) @ to_host(y)
        same(gemm.product(x, y, out), expected)
        base = host.put(values("float32", 9, 6))
        y, out, x = base[:6], base[shift : 6 + shift], host.put(values("float32", 6, 6, seed=1))
        expected = to_host(out) + to_host(x) @ to_host(y)
        same(gemm.product(x, y, out), expected)


@pytest.mark.parametrize("sx, sy", [((0, 3), (3, 4)), ((2, 0), (0, 4)), ((2, 3), (3, 0)), ((0, 2, 3), (3, 4))], ids=str)
def test_nothing_to_multiply(host, lt, sx, sy):
    x, y = host.put(values("float16", *sx)), host.put(values("float16", *sy))
    out = gemm.product(x, y)
    assert out.dtype == np.float16 and out.shape == (*sx[:-1], sy[-1]) and not to_host(out).any()
    start = host.put(np.ones(out.shape, np.float16))
    assert gemm.product(x, y, start) is start and (to_host(start) == 1).all()
    assert lt.products == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_addresses_of_any_alignment(host, dtype):
    """Also those that are no multiple of an element's size."""
    x, y = values(dtype, 6, 7), values(dtype, 7, 5, seed=1)
    expected = np.matmul(*exact(x, y))
    for shift in (*range(9), 16, 64, 100):
        moved = []
        for v in (x, np.ascontiguousarray(y.T), np.zeros((6, 5), x.dtype)):
            raw = host.put(np.zeros(v.nbytes + 512, np.uint8))
            start = -host.address(raw) % 256 + shift
            moved.append(raw[start : start + v.nbytes].view(v.dtype).reshape(v.shape))
            moved[-1].host[...] = v
        a, b, out = moved
        assert_close(to_host(gemm.product(a, b.T)), expected, x.dtype, f"shift {shift}")
        assert_close(to_host(gemm.product(a, b.T, out)), expected, x.dtype, f"shift {shift}, added")
        assert_close(to_host(out), expected, x.dtype, f"shift {shift}, out")
    host.check()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sizes_above_int32(host, lt, dtype, monkeypatch):
    monkeypatch.setattr(blas, "LIMIT", 6)
    monkeypatch.setattr(gemm.layout, "LIMIT", 100)
    cases = [((20, 3), (3, 4)), ((3, 20), (20, 4)), ((3, 4), (4, 20)), ((13, 15), (15, 17)), ((5, 4, 3), (3, 4))]
    cases += [((7, 2, 3), (7, 3, 2)), ((2, 1, 4, 3), (1, 5, 3, 2)), ((5, 3), (9, 3, 2))]
    for sx, sy in cases:
        x, y = values(dtype, *sx), values(dtype, *sy, seed=1)
        expected = np.matmul(*exact(x, y))
        found = to_host(gemm.product(host.put(x), host.put(y)))
        if dtype in HALF:  # sums over halves of k are rounded in between
            np.testing.assert_allclose(found.astype(float), expected, atol=0.1, rtol=0.05)
        else:
            assert_close(found, expected, x.dtype, f"{sx} @ {sy}")
    assert lt.products > 30


def test_a_leading_dimension_above_int32_is_copied(host, lt, monkeypatch):
    monkeypatch.setattr(gemm.layout, "LIMIT", 20)
    x, y = values("float32", 4, 50), values("float32", 7, 5)
    out = gemm.product(host.put(x)[:, :7], host.put(y))
    assert_close(to_host(out), np.matmul(*exact(x[:, :7], y)), float32, "ld")
    assert lt.last[1][1].ld == 7


# ---------------------------------------------------------------------------------------------- where nothing is copied
@pytest.mark.parametrize(
    "views, batch, operations",
    [
        (lambda x, y: (x[0], y), 1, (0, 0)),
        (lambda x, y: (x[0], y.T.copy().T), 1, (1, 0)),
        (lambda x, y: (x[0].T.copy().T, y), 1, (0, 1)),
        (lambda x, y: (x[0, :, 2:6], y[3:7, 1:3]), 1, (0, 0)),
        (lambda x, y: (x, y), 1, (0, 0)),
        (lambda x, y: (x[:, 1:3], y), 4, (0, 0)),
        (lambda x, y: (x.swapaxes(0, 1), y), 6, (0, 0)),
        (lambda x, y: (x[0], np.broadcast_to(y, (9, 8, 5))), 9, (0, 0)),
        (lambda x, y: (x.swapaxes(1, 2), x[:, :, :5]), 4, (0, 1)),
    ],
    ids=["rows", "y transposed", "x transposed", "slices", "folded", "batch", "permuted", "broadcast", "x^T x"],
)
def test_no_copy(host, lt, monkeypatch, views, batch, operations):
    x, y = views(values("float32", 4, 6, 8), values("float32", 8, 5, seed=1))
    a, b = standin.Array(x), standin.Array(y)
    monkeypatch.setattr(products, "_copied", lambda *args: pytest.fail("copied"))
    same(gemm.product(a, b), x @ y)
    task, (first, *_) = lt.last
    assert (task.TRANSA, task.TRANSB) == operations and first.BATCH_COUNT == batch and lt.products == 1


def test_gradients_of_a_linear_layer_are_three_products(host, lt):
    """(B, T, D) @ (D, H): each is one two-dimensional product, whose transposes are not copied."""
    x = gg.tensor(host.put(values("float32", 3, 4, 5)), requires_grad=True)
    w = gg.tensor(host.put(values("float32", 5, 6)), requires_grad=True)
    out = x @ w
    out.backward(gg.tensor(host.put(np.ones((3, 4, 6), np.float32))))
    assert lt.products == 3 and lt.last[1][0].BATCH_COUNT == 1
    a, b = exact(x.detach().array, w.detach().array)
    assert_close(x.grad.numpy(), np.ones((3, 4, 6)) @ b.T, float32, "dx")
    assert_close(w.grad.numpy(), a.reshape(12, 5).T @ np.ones((12, 6)), float32, "dw")


# ---------------------------------------------------------------------------------------------- plans
def test_a_plan_is_made_once(host, lt):
    x, y = host.put(values("float32", 8, 32)), host.put(values("float32", 32, 8))
    for _ in range(3):
        gemm.product(x, y)
    assert (lt.heuristics, lt.products) == (1, 3)
    gemm.product(host.put(values("float32", 8, 32)), y)  # another array of that shape
    gemm.product(x.astype(np.float16), y.astype(np.float16))
    gemm.product(x, y, gemm.product(x, y))
    assert lt.heuristics == 3 and lt.products == 7
    assert lt.live == 3 * 4  # three layouts and the operation of each


def test_plans_are_not_kept_without_end(host, lt, monkeypatch):
    monkeypatch.setattr(products, "REMEMBERED", 5)
    for n in range(1, 23):
        gemm.product(host.put(values("float32", n, 3)), host.put(values("float32", 3, 2)))
    assert lt.heuristics == 22 and lt.live <= 5 * 4


def test_calls(host, lt):
    """The host's cost of a known product: this many Python calls, those of the stand-in's own left out."""
    x, y = host.put(values("float32", 8, 4)), host.put(values("float32", 4, 8))
    gemm.product(x, y)
    count = 0

    def profile(frame, event, arg):
        nonlocal count
        count += event == "call" and "gpugrad" in frame.f_code.co_filename

    sys.setprofile(profile)
    try:
        gemm.product(x, y)
    finally:
        sys.setprofile(None)
    assert count <= 7, count


def test_long_sums_of_halves_are_float32(host, lt):
    masks = {}
    for dtype in DTYPES:
        gemm.product(host.put(values(dtype, 3, 50)), host.put(values(dtype, 50, 4)))
        masks[dtype] = lt.wanted[lt.MatmulPreferenceAttribute.REDUCTION_SCHEME_MASK]
    assert masks == {"float32": 7, "float64": 7, "float16": 2, "bfloat16": 2}


def test_no_workspace_where_none_is_asked_for(host, lt):
    small, large = [[host.put(values("float32", *s)) for s in ((4, k), (k, 4))] for k in (3, 40)]
    gemm.product(*small)
    assert not host.blas(None)._workspaces
    gemm.product(*large)
    assert list(host.blas(None)._workspaces) == [lt.stream()]


def test_the_current_stream_is_asked_at_each_call(host, lt, monkeypatch):
    x, y = host.put(values("float32", 4, 40)), host.put(values("float32", 40, 4))
    for stream in (7, 9, 7):
        monkeypatch.setattr(lt, "stream", lambda stream=stream: stream)
        host.blas(None).stream = lt.stream
        gemm.product(x, y)
    assert sorted(host.blas(None)._workspaces) == [7, 9]


def test_threads_with_default_streams_of_their_own_share_no_workspace(host):
    blas = host.blas(None)
    mine = blas.workspace(PER_THREAD)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(blas.workspace, PER_THREAD).result() != mine == blas.workspace(PER_THREAD)


# ---------------------------------------------------------------------------------------------- precision
def test_the_names_are_pytorchs(torch):
    for word in ("high", "medium", "highest"):
        torch.set_float32_matmul_precision(word)
        assert torch.get_float32_matmul_precision() == gg.get_float32_matmul_precision() == word


def test_tf32_is_opt_in(host, lt, precision):
    x, y = host.put(values("float32", 9, 30)), host.put(values("float32", 30, 7))
    expected = np.matmul(*exact(x, y))
    errors = {}
    for word in ("highest", "high", "medium", "highest"):
        precision(word)
        assert gemm.get_float32_matmul_precision() == word
        errors[word] = np.abs(to_host(gemm.product(x, y)) - expected).max()
        assert lt.last[0].compute == (68 if word == "highest" else 77)
    assert errors["highest"] < 1e-5 < errors["high"] == errors["medium"] < 1e-2
    gemm.product(x.astype(np.float64), y.astype(np.float64))
    assert lt.last[0].compute == 70
    precision("high")
    gemm.linear(x, y, host.put(values("float32", 7)), "relu")
    assert lt.last[0].compute == 77
    with pytest.raises(ValueError, match="'highest', 'high' or 'medium', given 'low'"):
        precision("low")


# ---------------------------------------------------------------------------------------------- epilogues
def act(z, activation):
    """(act(z), act'(z)) in float64."""
    z = z.astype(np.float64)
    if activation == "identity":
        return z, np.ones_like(z)
    return (np.maximum(z, 0), z > 0) if activation == "relu" else (cublaslt.gelu(z), cublaslt.gelu_slope(z))


def fused_linear(lib, *args):
    """`gemm.linear`; a GPU may have no epilogue for some shapes."""
    answer = gemm.linear(*args)
    if answer is None and isinstance(lib, Gpu):
        pytest.skip("cuBLASLt has no such epilogue here")
    return answer


@pytest.mark.parametrize("put", LAYOUTS.values(), ids=list(LAYOUTS))
@pytest.mark.parametrize("activation, dtype", [*AUX, *[("identity", d) for d in DTYPES]])
@pytest.mark.parametrize("sx, m", [((5, 7), 3), ((2, 3, 4), 130), ((1, 1), 1), ((9, 20), 16)], ids=str)
def test_linear(lib, put, activation, dtype, sx, m):
    x, w, b = values(dtype, *sx), values(dtype, sx[-1], m, seed=1), values(dtype, m, seed=2)
    arrays = put(lib, x), put(lib, w), lib.put(np.repeat(b, 3))[::3]
    out, saved = fused_linear(lib, *arrays, activation)
    z = np.matmul(*exact(x, w)) + exact(b)[0]
    expected, _ = act(z, activation)
    assert out.dtype == x.dtype
    matches(lib, out, expected, "out")
    lib.check()
    if activation == "identity":
        assert saved is None
    elif activation == "relu":
        rows, bits = np.prod(sx[:-1]), np.unpackbits(to_host(saved), axis=1, bitorder="little")
        assert saved.shape == (rows, -(-m // 128) * 16)
        clear = np.abs(z) > 0.01
        assert ((bits[:, :m].reshape(z.shape) == 1) == (z > 0))[clear].all()
    else:
        assert saved.shape == (np.prod(sx[:-1]), -(-m // 8) * 8)
        matches(lib, saved[:, :m].reshape(z.shape), z, "saved")


@pytest.mark.parametrize("fused", [True, False], ids=["in one pass", "in steps"])
@pytest.mark.parametrize("activation, dtype", AUX)
@pytest.mark.parametrize("sx, m, p", [((5, 7), 3, 4), ((2, 3, 4), 130, 5), ((1, 1), 1, 1), ((9, 20), 16, 33)], ids=str)
def test_linear_grad(lib, activation, dtype, sx, m, p, fused):
    if isinstance(lib, HostLibrary) and not fused:
        lib = without(lib, ("DRELU_BGRAD", dtype), ("DGELU_BGRAD", dtype))
    x, w, b = values(dtype, *sx), values(dtype, sx[-1], m, seed=1), values(dtype, m, seed=2)
    g, v = values(dtype, *sx[:-1], p, seed=3), values(dtype, m, p, seed=4)
    try:
        _, saved = fused_linear(lib, lib.put(x), lib.put(w), lib.put(b), activation)
        z = to_host(saved)[:, :m] if activation == "gelu_tanh" else np.matmul(*exact(x, w)) + exact(b)[0]
        bits = np.unpackbits(to_host(saved).view(np.uint8), axis=1, bitorder="little")[:, :m]
        slope = act(z, activation)[1] if activation == "gelu_tanh" else bits
        through = np.matmul(exact(g)[0], exact(v)[0].T)
        expected = through * slope.reshape(through.shape)
        for put in LAYOUTS.values():
            dz, dbias = gemm.linear_grad(put(lib, g), put(lib, v), saved, activation)
            assert dz.dtype == dbias.dtype == x.dtype and dbias.shape == (m,)
            rounded = 1 if fused or dtype not in HALF else 2  # in steps the product is rounded before it goes on
            near(dz, expected, x.dtype, rounded, np.abs(through).max())
            near(dbias, exact(dz)[0].reshape(-1, m).sum(0), x.dtype, 1, np.abs(expected).sum())
        dz, dbias = gemm.activation_grad(lib.put(through.astype(x.dtype)), saved, activation)
        near(dz, expected, x.dtype, 2, np.abs(through).max())
        lib.check()
    finally:
        if isinstance(lib, HostLibrary) and not fused:
            unregister("other")


def without(host, *missing):
    """A host library whose cuBLASLt has no algorithm for these; on the device `other`, to be unregistered."""
    other = HostLibrary(host.folder)
    other._modules = host._modules
    other.cublaslt.without |= set(missing)
    register(other, "other")
    return other


def test_the_bias_gradient_is_of_what_is_stored(host):
    g = host.put(np.ones((3000, 2), np.float16))
    _, saved = gemm.linear(g, g[:2], host.put(np.zeros(2, np.float16)), "relu")
    dz, dbias = gemm.linear_grad(g, host.put(np.full((2, 2), 0.5, np.float16)), saved, "relu")
    assert (to_host(dz) == 1).all() and dbias.tolist() == [3000, 3000]  # float16 sums stop at 2048


@pytest.mark.parametrize("activation", ["identity", "relu", "gelu_tanh"])
def test_where_there_is_no_epilogue(host, lt, activation):
    x, w, b = [host.put(values("float16", *s)) for s in ((4, 5), (5, 6), (6,))]
    lt.without |= {(e, "float16") for e in EPILOGUES[activation][:2]}
    before = lt.products
    for _ in range(2):
        assert gemm.linear(x, w, b, activation) is None
    assert lt.products == before and lt.heuristics == 1  # asked once
    if activation != "identity":
        doubles = [a.astype(np.float64) for a in (x, w, b)]
        assert gemm.linear(*doubles, activation) is None and lt.heuristics == 1  # in no table, not asked
    assert gemm.linear(x, w, b, "silu") is None
    assert gemm.linear(x[:0], w, b, activation) is None and gemm.linear(x[:, :0], w[:0], b, activation) is None
    whole = [a.astype(np.int32) for a in (x, w, b)]
    assert gemm.linear(*whole, activation) is None


def test_a_plan_is_for_one_alignment_of_the_bias(host, lt):
    """The heuristic looks at it, also where another operand is aligned less."""
    flat = host.put(values("float32", 200))
    start = next(k for k in range(64) if not host.address(flat[k:]) % 256)
    x, w = flat[start + 65 : start + 86].reshape(7, 3), host.put(values("float32", 3, 5))
    for b in (flat[start : start + 5], flat[start + 1 : start + 6], flat[start : start + 5]):
        out, _ = gemm.linear(x, w, b, "identity")
        same(out, to_host(x) @ to_host(w) + to_host(b))
    assert lt.heuristics == 2


def test_where_there_is_no_algorithm(host, lt):
    x, y = host.put(values("float16", 4, 5)), host.put(values("float16", 5, 6))
    lt.without.add(("DEFAULT", "float16"))
    for _ in range(2):
        assert_close(to_host(gemm.product(x, y)), np.matmul(*exact(x, y)), x.dtype, "x @ y")
    assert lt.heuristics == 1 and lt.products == 0 and lt.live == 0
    out = host.put(np.ones((4, 6), np.float16))
    assert gemm.product(x, y, out) is out
    near(out, 1 + np.matmul(*exact(x, y)), x.dtype, 1, 4)


def test_threads_share_a_plan_with_an_epilogue(host, lt, monkeypatch):
    """The epilogue's addresses are in the descriptor: another thread must not change them before the launch."""
    held, matmul = set(), lt.matmul

    def launch(*args):
        runs = [way[0] for way in products._homes[host].ways.values()]
        held.update([plan._lock.locked() for run in runs for plan in run._plans.values()])
        matmul(*args)

    monkeypatch.setattr(lt, "matmul", launch)
    w, b = host.put(values("float32", 6, 5)), host.put(values("float32", 5))
    xs = [host.put(values("float32", 7, 6, seed=i)) for i in range(8)]
    expected = [gemm.linear(x, w, b, "relu") for x in xs]
    found = [None] * len(xs)

    def run(i):
        for _ in range(20):
            found[i] = gemm.linear(xs[i], w, b, "relu")

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(xs))]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert held == {True}
    for (out, saved), (o, s) in zip(expected, found):
        np.testing.assert_array_equal(to_host(out), to_host(o))
        np.testing.assert_array_equal(to_host(saved), to_host(s))
    host.check()


# ---------------------------------------------------------------------------------------------- without cuBLASLt
class Plain(standin.StandIn):
    """A library that has none, as CuPy without nvmath-python."""


@pytest.fixture
def plain():
    lib = Plain()
    register(lib, "plain")
    yield lambda value: standin.Array(np.array(value))
    unregister("plain")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sx, sy", [((4, 5), (5, 3)), ((2, 4, 5), (5, 3)), ((2, 4, 5), (2, 5, 3))], ids=str)
def test_without_cublaslt(plain, dtype, sx, sy):
    x, y = values(dtype, *sx), values(dtype, *sy, seed=1)
    assert not gemm.usable(plain(x), plain(y))
    expected = np.matmul(*exact(x, y))
    out = gemm.product(plain(x), plain(y))
    assert type(out) is standin.Array and out.dtype == x.dtype
    assert_close(to_host(out), expected, x.dtype, "x @ y")
    start = plain(np.ones(expected.shape, x.dtype))
    assert gemm.product(plain(x), plain(y), start) is start
    near(start, expected + 1, x.dtype, 1, np.abs(expected).max())
    assert gg.matmul(gg.tensor(plain(x)), gg.tensor(plain(y))).dtype == x.dtype
    assert gemm.linear(plain(x), plain(y), plain(y)[..., 0, :], "relu") is None if y.ndim == 2 else True


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "int32"])
def test_other_dtypes_are_the_librarys_own(host, lt, dtype):
    x, y = (values("float64", 4, 5) * 3).astype(dtype), (values("float64", 5, 3) * 3).astype(dtype)
    assert not gemm.usable(host.put(x), host.put(y))
    same(gemm.product(host.put(x), host.put(y)), x @ y)
    assert lt.products == 0


def test_mixed_dtypes_are_promoted_by_the_op(host, lt):
    x, y = values("float16", 4, 5), values("float64", 5, 3)
    out = gg.matmul(gg.tensor(host.put(x)), gg.tensor(host.put(y)))
    assert out.dtype == np.float64 and lt.products == 1
    np.testing.assert_allclose(out.numpy(), x.astype(np.float64) @ y)


class FakeCuda:
    """As much of cupy.cuda as cuBLASLt needs, over host memory."""

    def __init__(self, count):
        self.runtime = SimpleNamespace(getDeviceCount=lambda: count)
        self.allocator = Allocator()

    def Device(self, index):
        device = contextlib.nullcontext()
        device.compute_capability = ["75", "90", "120"][index]
        return device

    def alloc(self, nbytes):
        return SimpleNamespace(ptr=self.allocator.empty((nbytes,), np.uint8).ctypes.data)

    def get_current_stream(self):
        return SimpleNamespace(ptr=5)


@pytest.fixture
def bindings(monkeypatch):
    """A package nvmath whose module cublasLt is the stand-in."""
    lt, packages = CublasLt(), {name: ModuleType(name) for name in ("nvmath", "nvmath.bindings")}
    packages["nvmath.bindings"].cublasLt = lt
    for name, module in packages.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(blas, "_found", {})
    return lt


@pytest.mark.parametrize("index, mib", [(0, 4), (1, 32), (2, 32)])
def test_what_cupy_brings(bindings, index, mib):
    own = blas.of_cupy(SimpleNamespace(cuda=FakeCuda(count=3)), index)
    assert own is not None and (own.nbytes, own.alone, own.stream()) == (mib * 2**20, False, 5)
    assert own is blas.of_cupy(None, index)  # found once
    assert own.workspace(5) == own.workspace(5) != own.workspace(6)
    plan = blas.plan(own, problem(), 4)
    assert plan is not None and bindings.live == 4


@pytest.mark.parametrize("error", [RuntimeError("no libcublasLt.so"), cublaslt.cuBLASLtError(1)], ids=repr)
def test_without_the_bindings_or_their_library(bindings, monkeypatch, error):
    def missing():
        raise error

    cupy = SimpleNamespace(cuda=FakeCuda(count=1))
    monkeypatch.setattr(bindings, "create", missing)
    assert blas.of_cupy(cupy, 0) is None
    monkeypatch.setitem(sys.modules, "nvmath.bindings", None)
    assert blas.of_cupy(cupy, 1) is None


def test_names_are_cupys():
    cupy = pytest.importorskip("cupy", exc_type=ImportError)
    for name in ("empty", "zeros", "arange", "where", "broadcast_to", "ascontiguousarray"):
        assert callable(getattr(cupy, name))
    for name in ("alloc", "get_current_stream", "Device", "runtime.getDeviceCount", "Device.compute_capability"):
        functools.reduce(getattr, name.split("."), cupy.cuda)
    for name in ("swapaxes", "strides", "astype", "reshape", "copy"):
        assert hasattr(cupy.ndarray, name)


# ---------------------------------------------------------------------------------------------- bad input
def test_what_does_not_fit(host, lt):
    x, y, b = [host.put(values("float32", *s)) for s in ((4, 5), (5, 6), (6,))]
    double = y.astype(np.float64)
    for call, kind, error in [
        (lambda: gemm.product(x, x), ValueError, r"shapes \(4, 5\) and \(4, 5\) cannot be multiplied"),
        (lambda: gemm.product(x, b), ValueError, "two axes or more"),
        (lambda: gemm.product(host.put(values("float32", 2, 4, 5)), host.put(values("float32", 3, 5, 6))),
         ValueError, "broadcast"),
        (lambda: gemm.product(x, double), TypeError, "one dtype, given float32 and float64"),
        (lambda: gemm.product(x, to_host(y)), TypeError, "one array is on standin:?0?, another on cpu"),
        (lambda: gemm.product(x, [[1.0]] * 5), TypeError, "given list"),
        (lambda: gemm.product([[1.0]], x), TypeError, "given list"),
        (lambda: gemm.product(x, y, x), ValueError, r"out has shape \(4, 5\)"),
        (lambda: gemm.product(x, y, np.zeros((4, 6), np.float32)), TypeError, "another on cpu"),
        (lambda: gemm.product(x, y, host.put(np.zeros((4, 6)))), TypeError, "one dtype"),
        (lambda: gemm.linear(x, y, x, "relu"), ValueError, r"a bias \(m,\)"),
        (lambda: gemm.linear(x, y, b.astype(np.float64), "relu"), TypeError, "one dtype"),
        (lambda: gemm.linear(x, y, to_host(b), "relu"), TypeError, "another on cpu"),
        (lambda: gemm.linear_grad(x, y, b, "relu"), ValueError, "cannot be multiplied"),
        (lambda: gemm.linear_grad(x, x, b, "relu"), ValueError, "saved is what linear answered"),
        (lambda: gemm.linear_grad(x, x, b, "silu"), ValueError, "nothing is saved for the activation 'silu'"),
        (lambda: gemm.linear_grad(x, x, None, "relu"), TypeError, "saved is an array"),
        (lambda: gemm.activation_grad(x, b, "relu"), ValueError, "saved is what linear answered"),
    ]:  # fmt: skip
        with pytest.raises(kind, match=error):
            call()
    assert lt.products == 0
    gemm.product(x, y)
    with pytest.raises(TypeError, match="another on cpu"):  # of shapes and strides that are known
        gemm.product(x, to_host(y))
    spread = standin.Array(np.broadcast_to(np.zeros(6, np.float32), (4, 6)))
    for out in (spread, spread.swapaxes(0, 1)):
        with pytest.raises(ValueError, match="out is broadcast|out has shape"):
            gemm.product(x, y, out)
    assert not gemm.usable(x, double) and not gemm.usable(x, to_host(y)) and not gemm.usable(3.0)
    assert gemm.usable(x, y)


def test_two_devices(host, monkeypatch):
    monkeypatch.setattr(products, "_homes", {})
    far = host.put(values("float32", 5, 6))
    monkeypatch.setattr(host, "_blas", Blas(CublasLt(), lambda: 5, host._workspace, 2**16, alone=False))
    monkeypatch.setattr(host, "index", lambda x: int(x is far))
    monkeypatch.setattr(host, "device_of", lambda x: Device("standin", int(x is far)))
    x, y = host.put(values("float32", 4, 5)), host.put(values("float32", 5, 6))
    same(gemm.product(x, y), to_host(x) @ to_host(y))
    for call in (lambda: gemm.product(x, far), lambda: gemm.product(x, y, far), lambda: gemm.linear(x, far, y, "relu")):
        with pytest.raises(TypeError, match="one array is on standin:0, another on standin:1"):
            call()


def test_errors_of_the_library_say_what_was_asked(host, lt, monkeypatch):
    x, y = host.put(values("float32", 4, 5)), host.put(values("float32", 5, 6))
    monkeypatch.setattr(lt, "matmul_algo_get_heuristic", lambda *args: cublaslt.refuse(14, "INTERNAL_ERROR"))
    with pytest.raises(RuntimeError, match=r"cannot plan \(4, 5\) @ \(5, 6\) of float32: status 14"):
        gemm.product(x, y)
    monkeypatch.undo()


def test_a_failing_launch_says_what_was_asked(host, lt, monkeypatch):
    x, y = host.put(values("float32", 2, 4, 5)), host.put(values("float32", 2, 5, 6))
    monkeypatch.setattr(lt, "matmul", lambda *args: cublaslt.refuse(13, "EXECUTION_FAILED"))
    with pytest.raises(RuntimeError, match=r"failed at \(4, 5\) @ \(5, 6\) of float32 2 times: status 13"):
        gemm.product(x, y)


# ---------------------------------------------------------------------------------------------- the stand-in refuses
def problem(**changes):
    rows = dict(dtype="float32", m=4, n=3, k=5, a=Matrix(False, 4), b=Matrix(False, 5), d=Matrix(False, 4))
    return Problem(**{**rows, **changes})


@pytest.mark.parametrize(
    "changes, alignment, status",
    [
        ({"a": Matrix(False, 3)}, 256, "status 7"),  # a column does not fit the leading dimension
        ({"b": Matrix(True, 2)}, 256, "status 7"),
        ({"d": Matrix(False, 3)}, 256, "status 7"),
        ({"k": 0}, 256, "status 7"),
        ({"batch": 2}, 256, "status 7"),  # D's matrices would be one
        ({}, 3, "status 7"),
        ({}, 2, "status 7"),
        ({"epilogue": "RELU_AUX_BIAS", "aux_ld": 64}, 256, "status 7"),
        ({"epilogue": "GELU_AUX_BIAS", "aux_ld": 12}, 256, "status 7"),
        ({"epilogue": "GELU_AUX_BIAS"}, 256, "status 7"),
        ({"epilogue": "RELU_AUX_BIAS", "aux_ld": 128, "dtype": "float64"}, 256, None),
        ({"n": 2**31}, 256, None),
        ({"tf32": True, "dtype": "float16"}, 256, None),
    ],
    ids=str,
)
def test_the_stand_in_refuses(host, lt, changes, alignment, status):
    ask = lambda: blas.plan(host.blas(None), problem(**changes), alignment, 4096, 4096)
    if status is None:
        assert ask() is None
    else:
        with pytest.raises(RuntimeError, match=status):
            ask()
    assert lt.live == 0  # nothing is left behind


def test_the_stand_in_holds_to_alignments(host, lt):
    plan = blas.plan(host.blas(None), problem(), 16)
    a, b, d = [host.allocator.empty((64,), np.float32).ctypes.data & -16 for _ in range(3)]
    with pytest.raises(RuntimeError, match="alignments"):
        plan(a + 4, b, d)
    with pytest.raises(cublaslt.cuBLASLtError, match="4 bytes for the attribute"):
        lt.matmul_desc_set_attribute(plan._mm, lt.MatmulDescAttribute.BIAS_POINTER, a, 4)
    with pytest.raises(cublaslt.cuBLASLtError, match="8 bytes for the attribute"):
        lt.matrix_layout_set_attribute(plan._layouts[0], lt.MatrixLayoutAttribute.BATCH_COUNT, a, 8)


# ---------------------------------------------------------------------------------------------- the real bindings
def test_the_stand_in_is_like_the_real_bindings():
    """Names, values, sizes and positions of arguments are those of nvmath-python, which needs no GPU to be imported."""
    real = pytest.importorskip("nvmath.bindings.cublasLt", exc_type=ImportError)
    from nvmath.bindings import cublas

    mine = CublasLt()
    for kind in ("MatmulDescAttribute", "MatrixLayoutAttribute", "MatmulPreferenceAttribute", "Epilogue"):
        for member in getattr(mine, kind):
            assert getattr(real, kind)[member.name] == member
    for kind, of in (
        ("MatmulDescAttribute", "get_matmul_desc_attribute_dtype"),
        ("MatrixLayoutAttribute", "get_matrix_layout_attribute_dtype"),
        ("MatmulPreferenceAttribute", "get_matmul_preference_attribute_dtype"),
    ):
        for member in getattr(mine, kind):
            assert getattr(real, of)(getattr(real, kind)[member.name]) == getattr(mine, of)(member)
    assert real.matmul_heuristic_result_dtype == mine.matmul_heuristic_result_dtype
    calls = [n for n in dir(CublasLt) if n.split("_")[0] in ("create", "matmul", "matrix")]
    for name in [n for n in calls if callable(getattr(CublasLt, n))]:
        given = getattr(CublasLt, name).__code__
        takes = getattr(real, name).__doc__.splitlines()[0].partition("(")[2].partition(")")[0]
        assert given.co_argcount - 1 == (takes.count(",") + 1 if takes else 0), name
    assert "get_version" in dir(real) and issubclass(real.cuBLASLtError, Exception)
    compute = cublas.ComputeType
    assert {v[1] for v in blas.TYPES.values()} == {compute.COMPUTE_32F, compute.COMPUTE_64F}
    assert compute.COMPUTE_32F_FAST_TF32 == blas.TF32
    assert {cublas.Status.ARCH_MISMATCH, cublas.Status.NOT_SUPPORTED} == blas.REFUSED
    assert (cublas.Operation.N, cublas.Operation.T) == (False, True)


def test_the_bindings_names_of_data_types():
    nvmath = pytest.importorskip("nvmath", exc_type=ImportError)
    names = {"float32": "CUDA_R_32F", "float64": "CUDA_R_64F", "float16": "CUDA_R_16F", "bfloat16": "CUDA_R_16BF"}
    for dtype, (data, _, scale) in blas.TYPES.items():
        assert nvmath.CudaDataType[names[dtype]] == data and cublaslt.DATA[data].name == dtype
        assert scale == (1 if dtype == "float64" else 0)


@pytest.mark.cuda
def test_cublaslt_is_there():
    x = gg.tensor(np.ones((2, 2), np.float32), device="cuda").array
    pytest.importorskip("nvmath.bindings.cublasLt", exc_type=ImportError)
    assert gemm.usable(x, x)
