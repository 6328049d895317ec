"""gpugrad's CUDA kernels on the CPU, against NumPy in float64: every dtype, odd sizes, four schedules, guards."""

import inspect
from pathlib import Path

import numpy as np
import optimizer_cases
import pytest
import standin
from cudahost import SCHEDULES, HostLibrary
from fused_cases import CASES, Fixed, Wide, rounds

import gpugrad as gg
from gpugrad import fused, kernels
from gpugrad.array import register, to_host, unregister
from gpugrad.dtypes import bfloat16, float16, float32, float64, wide
from gpugrad.fused.optimizer import GRADIENT, NORM, PARAMETER, RATE, STATE, STATE2, UPDATED
from gpugrad.ops.softmax import log_softmax, softmax

DTYPES = {"float32": float32, "float64": float64, "float16": float16, "bfloat16": bfloat16}
KERNELS = Path(__file__).parent.parent / "kernels"


def ulp(x, dtype):
    digits, least = {float16: (10, -14), bfloat16: (7, -126)}[dtype]
    exponent = np.maximum(np.floor(np.log2(np.maximum(np.abs(x), 1e-300))), least)
    return 2.0 ** (exponent - digits)


def assert_close(out, expected, dtype, label):
    expected = np.asarray(expected, np.float64)
    assert out.shape == expected.shape, label
    if not expected.size:
        return
    found = out.astype(np.float64)
    bad = ~np.isfinite(expected)
    np.testing.assert_array_equal(found[bad], expected[bad], err_msg=label)
    expected, found = expected[~bad], found[~bad]
    scale = np.abs(expected).max(initial=0)
    allowed = scale * {float64: 1e-14}.get(wide(dtype), 1e-6)
    if out.dtype in (float16, bfloat16):
        allowed = allowed + 2 * ulp(expected, out.dtype)
    error = np.abs(found - expected)
    assert (error <= allowed).all(), f"{label}: off by {error.max():.3g} where the scale is {scale:.3g}"


def test_philox_gives_the_published_words():
    """kat_vectors of Random123, the authors' own library: counter, key, result."""
    digits = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]
    for c, k, expected in [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (*digits, [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
    ]:
        assert rounds(c, k).tolist() == expected


# ---------------------------------------------------------------------------------------------- against float64
def run(lib, name, dtype, shape, orders):
    f, _, order_matters = CASES[name]
    inputs, call, reference = f(np.random.default_rng(sum(shape) + 1), shape)
    rounded = [
        a.value if isinstance(a, Fixed) else a.value.astype(wide(dtype)) if isinstance(a, Wide) else a.astype(dtype)
        for a in inputs
    ]
    exact = [r if isinstance(a, Fixed) else r.astype(np.float64) for a, r in zip(inputs, rounded)]
    more = {"dtype": dtype} if "dtype" in inspect.signature(reference).parameters else {}
    expected = reference(*exact, **more)
    first = None
    for order in orders:
        lib.order = order
        given = [lib.put(r) for r in rounded]
        outputs = [to_host(out) for out in call(*given)]
        lib.check()
        assert len(outputs) == len(expected)
        for i, (out, e) in enumerate(zip(outputs, expected)):
            assert_close(out, e, dtype, f"{name} of {shape}, output {i}, schedule {order}")
        bits = [out.tobytes() for out in outputs]
        first = first or bits
        assert bits == first or order_matters, f"{name} of {shape}: schedule {order} gives other bits"
        for a, r in zip(given, rounded):
            assert to_host(a).tobytes() == r.tobytes(), f"{name} changed what it was given"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_kernels(host, name, dtype):
    before = host.launches
    for shape in CASES[name][1]:
        run(host, name, DTYPES[dtype], shape, SCHEDULES)
    assert host.launches > before


class Gpu:
    """A real GPU in the place of the host build."""

    order = 0

    def put(self, value):
        return gg.tensor(value, device="cuda").array

    def check(self):
        pass


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_kernels_on_a_gpu(name, dtype):
    for shape in CASES[name][1]:
        run(Gpu(), name, DTYPES[dtype], shape, range(2))


def test_every_kernel_has_a_row(host_library, monkeypatch):
    """What the rows launch, by name, is what the sources have."""
    launched = set()

    class Noting(HostLibrary):
        def compile(self, code, kernel, device):
            launched.add(kernel.partition("<")[0])
            return super().compile(code, kernel, device)

    noting = Noting(host_library.folder)
    register(noting, "standin")
    try:
        for name, (_, shapes, _) in CASES.items():
            for shape in [s for s in shapes if 0 not in s][:4]:
                run(noting, name, float32, shape, [0])
    finally:
        unregister("standin")
    assert launched == {k for p in KERNELS.glob("*.cu") for k in kernels.signatures(kernels.source(p.name))}


@pytest.mark.parametrize(
    "row, shape, right, wrong",
    [
        ("softmax", (3, 600), "__syncthreads();\n        v = part[0];", "v = part[0];"),  # a barrier less
        ("softmax", (5, 31), "column(p, j) < cols ? C(", "column(p, j) <= cols ? C("),  # reads one too far
        (
            "column_sums",
            (70, 33),
            "__syncthreads();\n            if ((int)threadIdx.y < half)",
            "if (threadIdx.y < half)",
        ),
        ("column_sums", (70, 33), "if (column(j) < cols) partial", "if (column(j) <= cols) partial"),  # writes too far
        ("elementwise", (1000,), "first = n / W * W;", "first = n;"),  # no tail
        ("elementwise", (33,), "i = first + thread_id(); i < n", "i = first + thread_id(); i < n - 1"),  # one less
    ],
)
def test_a_bug_in_a_kernel_is_noticed(host_library, monkeypatch, row, shape, right, wrong):
    source = kernels.source.__wrapped__
    found = [source(p.name).count(right) for p in KERNELS.glob("*.cu")]
    assert max(found) == 1
    monkeypatch.setattr(kernels, "source", lambda name: source(name).replace(right, wrong))
    monkeypatch.setitem(kernels.VALUES, "T", (float32,))
    broken = HostLibrary(host_library.folder)
    register(broken, "standin")
    try:
        with pytest.raises((AssertionError, RuntimeError)):
            for n in (0, 1, 3):  # at least one of them ends where its last 16 bytes do not
                run(broken, row, float32, (*shape[:-1], shape[-1] + n), SCHEDULES)
    finally:
        unregister("standin")


# ---------------------------------------------------------------------------------------------- odd values
def ones(host, *shape, dtype=np.float32):
    return host.put(np.ones(shape, dtype))


@pytest.mark.parametrize("cols", [3, 8, 600, 5000])
def test_rows_with_infinities_and_nan(host, cols):
    x = np.zeros((5, cols), np.float32)
    x[1], x[2, :2], x[3, 1], x[4, 2] = -np.inf, -np.inf, np.inf, np.nan
    with np.errstate(invalid="ignore"):
        expected = softmax(x), log_softmax(x)
    for log, e in enumerate(expected):
        np.testing.assert_allclose(to_host(fused.softmax(host.put(x), bool(log))), e, rtol=1e-5)
    loss, lse = map(to_host, fused.softmax_xent(host.put(x), host.put(np.full(5, 2))))
    np.testing.assert_allclose(loss[::2], [np.log(cols), np.log(cols - 2), np.nan][: len(loss[::2])], rtol=1e-5)
    assert np.isnan(loss[[1, 3, 4]]).all() and np.isfinite(lse[:, [0, 2]]).all()


@pytest.mark.parametrize("label", [-1, 7, 2**31 + 3])
def test_a_label_out_of_range_is_nan_and_nothing_is_read_there(host, label):
    z, labels = ones(host, 3, 7), host.put(np.array([1, label, 2], np.int64))
    loss, lse = fused.softmax_xent(z, labels)
    dz = fused.softmax_xent_grad(ones(host, 3), z, labels, lse)
    assert np.isnan(to_host(loss)).tolist() == [False, True, False]
    assert np.isnan(to_host(dz)).all(1).tolist() == [False, True, False]
    loss, lse = fused.softmax_xent(z, labels, label)  # the same label, when it is to be ignored
    dz = fused.softmax_xent_grad(ones(host, 3), z, labels, lse, ignore_index=label)
    assert (to_host(loss) == 0).tolist() == [False, True, False]
    assert (to_host(dz) == 0).all(1).tolist() == [False, True, False]
    host.allocator.check()


def test_an_index_out_of_range_is_nan_and_its_gradient_goes_nowhere(host):
    table, index = ones(host, 5, 9), host.put(np.array([0, 5, -1, 4], np.int32))
    assert np.isnan(to_host(fused.gather(table, index))).all(1).tolist() == [False, True, True, False]
    for deterministic in (False, True):
        out = fused.scatter_add(ones(host, 4, 9), index, 5, deterministic)
        assert to_host(out).sum(1).tolist() == [9, 0, 0, 0, 9]
    host.allocator.check()


@pytest.mark.parametrize(
    "counts", [[128], [129], [127, 1], [128, 128], [100, 28, 128, 1], [300, 7, 500], [1, 127, 129]]
)
def test_runs_that_end_where_pieces_do(host, counts):
    """Sums of rows in the order of their runs, which end at, before and after the places where runs are cut."""
    index = np.repeat(np.arange(len(counts))[::-1], counts)
    index[:3] = [-1, 99, index[2]]  # out of range: before and after all runs
    g = np.random.default_rng(0).integers(-9, 9, (len(index), 5)).astype(np.float32)
    expected = np.zeros((len(counts), 5))
    np.add.at(expected, index[2:], g[2:])
    for host.order in SCHEDULES:
        out = fused.scatter_add(host.put(g), host.put(index), len(counts), True)
        np.testing.assert_array_equal(to_host(out), expected)
        host.check()


def test_more_than_2_to_the_31_elements(host):
    """The last rows of a table of 4 GB of which no more than those are ever touched."""
    entries = 2**31 // 8 + 5
    table = standin.Array(np.zeros((entries, 8), np.float16))
    table[-2:] = [[3] * 8, [4] * 8]
    out = fused.gather(table, host.put(np.array([0, entries - 1, entries - 2])))
    assert to_host(out)[:, 7].tolist() == [0, 4, 3]


def test_random_bits_differ_and_repeat(host):
    x = ones(host, 4000)
    kept = lambda seed, offset: to_host(fused.dropout(x, 0.5, seed, offset)) > 0
    first = kept(1, 0)
    assert abs(first.mean() - 0.5) < 0.05 and (kept(1, 0) == first).all()
    assert (kept(1, 1)[:-4] == first[4:]).all()  # an offset is four elements
    assert abs((kept(2, 0) == first).mean() - 0.5) < 0.05 and abs((kept(1, 1000) == first).mean() - 0.5) < 0.05


@pytest.mark.parametrize("rows", [0, 5])
def test_gradients_of_columns_are_arrays_of_their_own(host, rows):
    """No views, which the engine would copy before they are gradients."""
    x, mean, rstd = ones(host, rows, 6), ones(host, rows), ones(host, rows)
    found = [
        *fused.norm_sums(x, x, mean, rstd), *fused.norm_sums(x, x, None, rstd), fused.column_sums(x),
        fused.bias_act_grad(x, x, None, "relu")[1], *fused.batch_norm_grad(x, x, ones(host, 6), ones(host, 6))[1:],
    ]  # fmt: skip
    assert [a.shape for a in found] == [(6,)] * 7
    assert len({host.address(a) for a in found}) == 7 and not any(isinstance(a.base, np.ndarray) for a in found)


@pytest.mark.parametrize("shape", [(8192, 3), (4096, 3, 2), (64, 2, 7, 7), (64, 2, 128)])
@pytest.mark.parametrize("offset, outlier", [(0, 100), (0, 1e4), (3e4, 0), (0, 0)])
def test_an_outlier_or_an_offset_does_not_spoil_the_variance(host, shape, offset, outlier):
    """The first value of a channel is what the kernel takes the others from."""
    x = np.random.default_rng(0).standard_normal(shape)
    x[0, :, ...] += outlier
    x = (x + offset).astype(np.float32)
    axes = (0, *range(2, x.ndim))
    exact = x.astype(np.float64)
    mean, rstd = exact.mean(axes), 1 / np.sqrt(exact.var(axes) + 1e-5)
    for order in SCHEDULES[:2]:
        host.order = order
        _, m, r = fused.batch_norm(host.put(x))
        np.testing.assert_allclose(to_host(r), rstd, rtol=1e-6)
        np.testing.assert_allclose(to_host(m), mean, rtol=0, atol=np.finfo(np.float32).eps * np.abs(x).max())


# ---------------------------------------------------------------------------------------------- bad input
def test_shapes_that_do_not_fit_are_errors(host):
    x, b, lse = ones(host, 4, 6), ones(host, 5), ones(host, 2, 4)
    labels = ones(host, 3, dtype=np.int64)
    before = host.launches
    for call, error in [
        (lambda: fused.bias_act(x, b, "relu"), r"bias has shape \(5,\), and \(6,\) is needed"),
        (lambda: fused.bias_act_grad(ones(host, 4, 5), x, ones(host, 6), "relu"), "g has shape"),
        (lambda: fused.column_sums(host.put(np.float32(1))), "given a 0-d array"),
        (lambda: fused.relu_mask_grad(x, ones(host, 3, dtype=np.uint32)), "bits has shape"),
        (lambda: fused.softmax_grad(b, x), "g has shape"),
        (lambda: fused.softmax_xent(x, labels), "labels has shape"),
        (lambda: fused.softmax_xent(x[:, :0], labels), "no classes"),
        (lambda: fused.softmax_xent_grad(b, x, ones(host, 4, dtype=np.int64), lse), "g has shape"),
        (lambda: fused.softmax_xent_grad(x[:, 0], x, ones(host, 4, dtype=np.int64), x[:2]), "lse has shape"),
        (lambda: fused.norm(x, gamma=b), "gamma has shape"),
        (lambda: fused.norm(x, residual=b), "residual has shape"),
        (lambda: fused.norm_grad(x, x, None, b), "rstd has shape"),
        (lambda: fused.batch_norm(b), "batch_norm takes"),
        (lambda: fused.batch_norm(x, running_mean=b), "running statistics"),
        (lambda: fused.dropout(x, 1.5, 0, 0), "a probability"),
        (lambda: fused.dropout(x, 0.5, 0, 0, residual=b), "residual has shape"),
        (lambda: fused.gather(b, labels), "two axes"),
        (lambda: fused.scatter_add(x, labels, 5), "g has shape"),
        (lambda: fused.bias_act(x, ones(host, 6), "swish"), "swish"),
    ]:
        with pytest.raises(ValueError, match=error):
            call()
    assert host.launches == before


def test_dtypes_that_do_not_fit_are_errors(host):
    x, double = ones(host, 4, 6), ones(host, 6, dtype=np.float64)
    for call in (
        lambda: fused.bias_act(x, double, "relu"),
        lambda: fused.softmax(ones(host, 4, 6, dtype=np.int32)),
        lambda: fused.softmax_xent(x, ones(host, 4, dtype=np.int8)),
        lambda: fused.gather(x, ones(host, 3)),
        lambda: fused.softmax(np.ones((3, 4), np.float32)),
        lambda: fused.bias_act(x, np.ones(6, np.float32), "relu"),
    ):
        with pytest.raises(TypeError, match="not made for|is to be an array of|no kernels for|one array is on"):
            call()


def test_more_arrays_than_a_launch_takes(host):
    xs = [ones(host, 1 + i % 3) for i in range(700)]
    before = host.launches
    one, outs = optimizer_cases.table(xs, xs)
    fused.sgd(one, fused.schedule(xs[0], 0.5))
    assert host.launches == before + 2 and all((to_host(o) == 0.5).all() for o in outs)
    one, outs = optimizer_cases.table(xs, xs, xs, xs)
    schedule = fused.schedule(xs[0], 0.5, 4)
    fused.adam(one, schedule)
    assert host.launches == before + 4 and schedule.tolist() == [0.5, 5, 0, 1]  # one step
    scaling = fused.scaling(xs[0])
    one.set(GRADIENT, outs)
    fused.global_norm([one], scaling)
    assert abs(scaling[NORM] - np.linalg.norm(np.concatenate([to_host(o) for o in outs]))) < 1e-5
    fused.global_norm([], scaling)
    assert scaling[NORM] == 0


def test_launches_of_a_step_can_be_repeated_as_they_are(host_library):
    """As a CUDA graph repeats them: the rate, the number of steps and the clip factor are read when they run."""
    log = []

    class Noting(HostLibrary):
        def compile(self, code, kernel, device):
            run = super().compile(code, kernel, device)
            return lambda *launch: (log.append((run, launch)), run(*launch))

    noting = Noting(host_library.folder)
    register(noting, "standin")
    try:
        rng = np.random.default_rng(0)
        x, g = rng.standard_normal(5000), rng.standard_normal(5000)
        xs, gs, ms, vs = ([noting.put(a)] for a in (x, g, 0 * x, 0 * x))
        one, schedule, scaling = fused.Table(xs), fused.schedule(xs[0], 0.1), fused.scaling(xs[0])
        for column, arrays in [(PARAMETER, xs), (UPDATED, xs), (GRADIENT, gs), (STATE, ms), (STATE2, vs)]:
            one.set(column, arrays)
        fused.global_norm([one], scaling, 2.0)
        fused.adam(one, schedule, scaling)
        assert len(log) == 3
        m = v = 0
        for step, rate in enumerate([0.1, 0.1, 0.1, 0.05, 0.05], 1):
            if step > 1:
                schedule[RATE], gs[0].host[...] = rate, g * step
                for run, launch in list(log)[:3]:
                    run(*launch)
            now = g * step * min(1, 2 / np.linalg.norm(g * step))
            x, m, v = optimizer_cases.adam_step(x, now, m, v, rate=rate, step=step)
            np.testing.assert_allclose(to_host(xs[0]), x, rtol=1e-12, atol=1e-12)
        assert schedule.tolist() == [0.05, 5, 0, 1]
    finally:
        unregister("standin")


def test_arrays_of_an_optimizer_are_checked(host):
    x = ones(host, 6)
    one = fused.Table([x])
    for column, arrays, error in [
        (UPDATED, [ones(host, 12)[::2]], ValueError),
        (GRADIENT, [ones(host, 5)], ValueError),
        (GRADIENT, [x, x], ValueError),
        (GRADIENT, [ones(host, 6, dtype=np.float64)], TypeError),
        (GRADIENT, [np.ones(6, np.float32)], TypeError),
        (GRADIENT, [1.0], TypeError),
    ]:
        with pytest.raises(error):
            one.set(column, arrays)
    with pytest.raises(TypeError, match="an array of float32"):  # states are wide
        fused.Table([ones(host, 6, dtype=np.float16)]).set(STATE, [ones(host, 6, dtype=np.float16)])
    one, schedule = optimizer_cases.table([x], [x])[0], fused.schedule(x, 0.1)
    with pytest.raises(ValueError, match=r"sgd needs the columns \[0, 1, 2, 3\] of its table; \[3\] are not set"):
        fused.sgd(one, schedule, momentum=0.9)
    fused.sgd(one, schedule)
    with pytest.raises(ValueError, match="are not set"):  # they were of that step
        fused.sgd(one, schedule)
    one, (out,) = optimizer_cases.table([ones(host, 12)[::2]], [ones(host, 12)[::2]])
    fused.sgd(one, schedule)  # what is only read may be strided
    assert (to_host(out) == np.float32(0.9)).all()
