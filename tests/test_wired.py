"""Ops whose GPU forwards are gpugrad's kernels, on the host build: launched, and as on the CPU, to second order."""

from collections.abc import Callable
from typing import Any, NamedTuple

import fused_cases
import numpy as np
import pytest
import standin

import gpugrad as gg
from gpugrad import nn
from gpugrad.array import register, to_host, unregister
from gpugrad.ops import dropout, embedding, softmax
from gpugrad.ops.activation import relu_mask

DTYPES = {"float32": 2e-5, "float64": 1e-12, "float16": 2e-2, "bfloat16": 1.5e-1}  # and how far off, to the scale


class Row(NamedTuple):
    name: str
    f: Callable[..., Any]
    shapes: tuple
    apart: float = 0.0  # how far from 0 the first input is kept


def row(name, f, *shapes, apart=0.0):
    return Row(name, f, shapes, apart)


def both(pair):
    return pair[0] * pair[0] + pair[1] * 3


def like(x, a):
    """NumPy's `a` where x is."""
    lib = gg.array.library(gg.core.raw(x))
    return lib.asarray(a, None, lib.device_of(gg.core.raw(x)))


LABELS = np.array([3, 0, 32, 7, 7], np.int16)
INDEX = np.array([[0, 4, 4], [2, 0, 4]], np.int32)
ACTIVATIONS = {
    "relu": nn.relu, "relu_mask": relu_mask, "gelu": nn.gelu, "gelu_tanh": lambda x: nn.gelu(x, "tanh"),
    "silu": nn.silu, "sigmoid": nn.sigmoid, "tanh": gg.tanh,
}  # fmt: skip
ALONG = [((5, 33), -1), ((5, 33), 0), ((2, 3, 7), 1), ((600,), 0), ((0, 3), -1)]
M, C = (5, 33), (33,)
ROWS = [
    *[row(f"{n} {s}", f, s, apart=0.05) for n, f in ACTIVATIONS.items() for s in [M, (), (0, 3), (1009,)]],
    *[row(f"softmax {s} {axis}", lambda x, axis=axis: nn.softmax(x, axis=axis), s) for s, axis in ALONG],
    *[row(f"log_softmax {s} {axis}", lambda x, axis=axis: nn.log_softmax(x, axis=axis), s) for s, axis in ALONG],
    row("cross_entropy", lambda x: nn.cross_entropy(x, like(x, LABELS), "none"), M),
    row("cross_entropy sum", lambda x: nn.cross_entropy(x, like(x, LABELS), "sum"), M),
    row("cross_entropy mean", lambda x: nn.cross_entropy(x, like(x, LABELS)), M),
    row("cross_entropy one row", lambda x: nn.cross_entropy(x, like(x, LABELS[:1]), "none"), (1, 33)),
    *[row(f"cross_entropy ignored {r}", lambda x, r=r: nn.cross_entropy(x, like(x, LABELS), r, ignore_index=7), M)
      for r in ("none", "sum", "mean")],
    row("cross_entropy weight", lambda x: nn.cross_entropy(x, like(x, LABELS), weight=like(x, np.ones(33)),
                                                           ignore_index=7, label_smoothing=0.1), M),
    row("layer_norm", lambda x, w, b: nn.layer_norm(x, C, w, b), M, C, C),
    row("layer_norm plain", lambda x: nn.layer_norm(x, (8,)), (2, 3, 8)),
    row("layer_norm empty", lambda x, w, b: nn.layer_norm(x, (8,), w, b), (0, 8), (8,), (8,)),
    row("layer_norm 1-d", lambda x, b: nn.layer_norm(x, (600,), None, b), (600,), (600,)),
    row("layer_norm axes", lambda x, w: nn.layer_norm(x, (3, 8), w), (2, 3, 8), (3, 8)),
    row("layer_norm residual", lambda x, r, w, b: both(nn.layer_norm(x, C, w, b, residual=r)), M, M, C, C),
    row("layer_norm residual alone", lambda x, r: nn.layer_norm(x, C, residual=r)[0], M, M),
    row("rms_norm", lambda x, w: nn.rms_norm(x, C, w, 0.01), M, C),
    row("rms_norm residual", lambda x, r: both(nn.rms_norm(x, C, None, 0.01, r)), M, M),
    row("batch_norm", lambda x: nn.batch_norm(x, None, None, training=True), (6, 3)),
    row("batch_norm affine", lambda x, w, b: nn.batch_norm(x, None, None, w, b, training=True), (3, 4, 5), (4,), (4,)),
    row("embedding", lambda w: nn.embedding(like(w, INDEX), w), M),
    row("embedding of nothing", lambda w: nn.embedding(like(w, INDEX[:, :0]), w), M),
    row("embedding padding", lambda w: nn.embedding(like(w, INDEX), w, padding_idx=4, deterministic=True), M),
    row("column sums", lambda x: gg.sum(x * x, axis=(0, 1)), (3, 4, 9)),
    row("bias", lambda x, b: x + b, (6, 33), C),
]  # fmt: skip


def values(row, dtype):
    rng = np.random.default_rng(len(row.name))
    out = [rng.standard_normal(shape) for shape in row.shapes]
    if row.apart:
        out[0] = np.where(np.abs(out[0]) < row.apart, 2 * row.apart, out[0])
    return [np.asarray(a).astype(gg.dtypes.as_dtype(dtype)) for a in out]


def to_second_order(f, xs, launches=lambda: 0):
    """[y, its gradients, and theirs], each against fixed weights; and the launches in the first two steps."""
    rng = np.random.default_rng(3)
    drawn = lambda t: np.asarray(rng.standard_normal(t.shape)).astype(t.dtype)
    weights = lambda t: gg.tensor(like(t, drawn(t)), device=t.device)
    start = launches()
    y = f(*xs)
    first = launches()
    grads = gg.grad(y, xs, weights(y), create_graph=True)
    steps = first - start, launches() - first
    total = gg.ops.math.total([(g * weights(g)).sum() for g in grads])
    if total.node is None:
        return [y, *grads], steps
    second = gg.grad(total, xs, allow_unused=True)
    return [y, *grads, *[gg.zeros_like(x) if g is None else g for x, g in zip(xs, second)]], steps


def assert_same(found, expected, tolerance, label):
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        a, b = to_host(a.array).astype(float), b.numpy().astype(float)
        assert a.shape == b.shape
        scale = max(1.0, np.abs(b).max(initial=0))
        assert (np.abs(a - b) <= tolerance * scale).all(), (
            f"{label}: {i} is off by {np.abs(a - b).max()}, scale {scale}"
        )


@pytest.fixture(params=["numpy", "standin", "host"])
def put(request):
    """NumPy; a device whose array functions stand in for the kernels; one that has the kernels."""
    if request.param == "numpy":
        yield np.array
    elif request.param == "host":
        yield request.getfixturevalue("host").put
    else:
        register(lib := standin.StandIn(), "standin")
        yield lambda a: lib.asarray(a, None, None)
        unregister("standin")


everything = pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name.replace(" ", ""))


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", DTYPES)
@everything
def test_on_a_gpu(row, dtype):
    given = values(row, dtype)
    on = lambda device, kind: [gg.tensor(a.astype(kind), device=device, requires_grad=True) for a in given]
    expected, _ = to_second_order(row.f, on("cpu", np.float64))
    found, _ = to_second_order(row.f, on("cuda", given[0].dtype))
    assert all(str(t.dtype) == dtype and t.device == "cuda:0" for t in found)
    assert_same(found, expected, DTYPES[dtype], row.name)


@pytest.mark.parametrize("dtype", DTYPES)
@everything
def test_values_and_derivatives_are_those_of_the_cpu(host, row, dtype):
    given = values(row, dtype)
    tensors = lambda put, kind=None: [
        gg.tensor(put(a if kind is None else a.astype(kind)), requires_grad=True) for a in given
    ]
    expected, _ = to_second_order(row.f, tensors(np.array, np.float64))
    found, (forward, backward) = to_second_order(row.f, tensors(host.put), lambda: host.launches)
    host.check()
    assert all(str(t.dtype) == dtype and t.device == "standin" for t in found)
    assert_same(found, expected, DTYPES[dtype], row.name)
    if 0 not in row.shapes[0] and row.name != "embedding of nothing":
        assert forward > 0 or row.name == "bias"
        assert backward > 0 or row.name == "column sums"


@everything
def test_strided_inputs(host, row):
    given = values(row, "float32")
    turned = lambda a, put: put(a.T.copy()).T if a.ndim > 1 else put(np.repeat(a, 2))[::2] if a.ndim else put(a)
    expected, _ = to_second_order(row.f, [gg.tensor(a.copy(), requires_grad=True) for a in given])
    strided = [gg.tensor(turned(a, host.put), requires_grad=True) for a in given]
    found, _ = to_second_order(row.f, strided)
    host.check()
    assert_same(found, expected, 2e-5, row.name)


@pytest.mark.parametrize("dtype", [np.int32, np.complex64])
def test_what_the_kernels_are_not_made_for_takes_the_array_functions(host, dtype):
    before = host.launches
    x = gg.tensor(host.put(np.arange(-3, 3).astype(dtype)))
    y = gg.tensor(np.arange(-3, 3).astype(dtype))
    for f in (nn.sigmoid, gg.tanh, lambda v: gg.sum(gg.reshape(v, (2, 3)), axis=0)):
        np.testing.assert_allclose(f(x).numpy(), f(y).numpy(), rtol=1e-5)
    if dtype is np.int32:
        for f in (nn.softmax, nn.log_softmax, relu_mask, nn.silu, lambda v: nn.layer_norm(v, (6,))):
            np.testing.assert_allclose(f(x).numpy(), f(y).numpy(), rtol=1e-5)
    assert host.launches == before


def test_dtypes_that_differ_take_the_array_functions(host):
    x, w = np.ones((4, 6), np.float32), np.ones(6)
    before = host.launches
    out = nn.layer_norm(gg.tensor(host.put(x)), (6,), gg.tensor(host.put(w)))
    assert out.dtype == np.float64 and host.launches == before
    with pytest.raises(TypeError, match="is on standin:0 and the other on cpu"):
        nn.layer_norm(gg.tensor(host.put(x)), (6,), gg.tensor(np.ones(6, np.float32)))


# ---------------------------------------------------------------------------------------------- one by one
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
def test_running_statistics(host, dtype, training):
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s).astype(gg.dtypes.as_dtype(dtype)) for s in ((6, 3, 5), (3,), (3,)))
    results = []
    for put, kind in ((np.array, np.float64), (host.put, x.dtype)):
        xs = [gg.tensor(put(a.astype(kind)), requires_grad=True) for a in (x, w, b)]
        wide = np.float64 if kind == np.float64 else np.float32
        running = [gg.tensor(put(a)) for a in (np.full(3, 0.5, wide), np.full(3, 2, wide))]
        arrays = [r.array for r in running]
        before = host.launches
        out, _ = to_second_order(lambda *v, r=running: nn.batch_norm(v[0], *r, *v[1:], training=training), xs)
        assert all(r.array is a for r, a in zip(running, arrays))  # in place
        results.append([*out, *running])
    assert host.launches > before
    assert_same(results[1], results[0], DTYPES[dtype], "batch_norm")
    assert (results[1][-1].numpy() == 2).all() != training


def test_inference_keeps_what_it_was_computed_with(host):
    for put in (np.array, host.put):
        layer = nn.BatchNorm(3)
        layer.running_mean, layer.running_var = gg.tensor(put(np.zeros(3, "f"))), gg.tensor(put(np.ones(3, "f")))
        layer.weight, layer.bias = [gg.Parameter(put(a)) for a in (np.ones(3, "f"), np.zeros(3, "f"))]
        x = gg.tensor(put(np.random.default_rng(0).standard_normal((4, 3)).astype("f")), requires_grad=True)
        y = layer.eval()(x)
        layer.train()(x * 100)  # moves the running statistics before the pullback
        np.testing.assert_allclose(gg.grad(y.sum(), x)[0].numpy(), 1 / np.sqrt(1 + 1e-5), rtol=1e-6)


def test_inference_is_two_launches(host, monkeypatch):
    """The statistics, once and copied in the same launch, and the normalization; nothing else touches arrays."""
    x, ones = host.put(np.ones((4, 3, 5), "f")), host.put(np.ones(3, "f"))
    monkeypatch.setattr(host.xp, "sqrt", lambda a: pytest.fail("array functions compute rstd"), raising=False)
    before = host.launches
    nn.batch_norm(gg.tensor(x), ones, ones, ones, ones)
    assert host.launches == before + 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_draws_the_bits_of_philox(host, dtype):
    rate, seed, offset = 0.3, 2**63 + 1, 2**32 - 3
    x, r = (np.random.default_rng(i).standard_normal((7, 19)).astype(gg.dtypes.as_dtype(dtype)) for i in range(2))
    words = fused_cases.philox(np.uint64(offset) + np.arange(-(-x.size // 4), dtype=np.uint64), seed)
    kept = (words.reshape(-1)[: x.size] >= round(rate * 2**32)).reshape(x.shape) / (1 - rate)
    xs = [gg.tensor(host.put(a), requires_grad=True) for a in (x, r)]
    before = host.launches
    y = dropout.dropout_add(*xs, rate=rate, seed=seed, offset=offset)
    (g,) = gg.grad(y, xs[:1], gg.tensor(host.put(r)), create_graph=True)
    square = dropout.dropout(xs[0] * xs[0], rate=rate, seed=seed, offset=offset)
    (again,) = gg.grad(gg.grad(square.sum(), xs[0], create_graph=True)[0].sum(), xs[0])
    assert host.launches > before + 2
    for found, expected in ((y, x * kept + r.astype(float)), (g, r * kept), (again, 2 * kept)):
        np.testing.assert_allclose(
            found.numpy().astype(float), expected.astype(float), rtol=DTYPES[dtype], atol=DTYPES[dtype]
        )
    host.check()


@pytest.mark.parametrize("dtype", [*DTYPES, "complex64", "complex128"])
def test_dropout_drops_infinity_and_nan(put, dtype):
    x = np.full((3, 100), np.inf).astype(gg.dtypes.as_dtype(dtype))
    x[1], x[2] = np.nan, 1
    with np.errstate(invalid="ignore"):  # an infinite complex number times a real one
        y = nn.dropout(gg.tensor(put(x)), 0.5, seed=3).numpy()
    kept = np.asarray(y != 0)
    assert all(30 < k.sum() < 70 for k in kept)  # the others are 0
    assert np.isinf(y[0][kept[0]]).all() and np.isnan(y[1][kept[1]]).all() and (y[2][kept[2]] == 2).all()
    assert nn.dropout(gg.tensor(put(x[2, 0])), 0.5, seed=3).shape == ()


def test_dropout_repeats_after_seed_and_differs_between_calls(host):
    for x in (gg.tensor(np.ones(1000, "f")), gg.tensor(host.put(np.ones(1000, "f")))):
        draw = lambda x=x, **options: nn.dropout(x, 0.5, **options).numpy().tobytes()
        gg.random.seed(3)
        first, second, stream = draw(), draw(), draw(seed=7)
        assert len({first, second, stream}) == 3
        gg.random.seed(3)
        assert [draw(seed=7), draw(), draw()] == [stream, first, second]
        gg.random.seed(4)
        assert draw() != first


def test_embedding_out_of_range(host):
    w = np.ones((4, 5), np.float32)
    for bad in ([0, 4], [-1, 0]):
        with pytest.raises(IndexError, match=r"embedding: indices are in .*, allowed are 0..3"):
            nn.embedding(bad, gg.tensor(w))
        out = nn.embedding(host.put(np.array(bad)), gg.tensor(host.put(w)))
        assert np.isnan(out.numpy()).all(1).tolist() == [not 0 <= i < 4 for i in bad]
    with pytest.raises(TypeError, match="integer indices, given float64"):
        nn.embedding([0.5], gg.tensor(w))
    with pytest.raises(ValueError, match="padding_idx must be within the 4 entries"):
        nn.embedding([0], gg.tensor(w), padding_idx=4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.int32])
@pytest.mark.parametrize("bad", [-1, 4, 2**40])
def test_a_row_out_of_range_is_an_error_or_nan(put, dtype, bad):
    """Not the row that the index would be wrapped around to; where there is no NaN the GPU is waited for."""
    table, index = gg.tensor(put(np.ones((4, 5), dtype)), requires_grad=dtype != np.int32), put(np.array([0, bad, 3]))
    if put is np.array or dtype is np.int32:
        with pytest.raises(IndexError, match=r"allowed are 0..3"):
            nn.embedding(index, table)
        return
    out = nn.embedding(index, table, padding_idx=3)
    assert np.isnan(out.numpy()).all(1).tolist() == [False, True, False]
    total = out.sum()
    assert gg.grad(total, table, gg.ones_like(total))[0].numpy().real.sum(1).tolist() == [5, 0, 0, 0]


def test_the_mean_goes_into_the_kernel(host):
    """One launch forward, one back: no pass for the factor 1 / rows."""
    x = gg.tensor(host.put(np.ones((5, 33), np.float32)), requires_grad=True)
    before = host.launches
    loss = softmax.softmax_xent(x, host.put(np.arange(5)), reduction="mean")
    assert host.launches == before + 1
    gg.grad(loss, x)
    assert host.launches == before + 2


# ---------------------------------------------------------------------------------------------- labels
@pytest.mark.parametrize("offset", [0, 100, -1e4, 1e6])
def test_the_gradient_of_cross_entropy_does_not_depend_on_an_offset(put, offset):
    """The largest logit and the logarithm of the sum stay apart: their sum would lose what is after the point."""
    rng = np.random.default_rng(0)
    z = (rng.standard_normal((7, 50)) + offset).astype("f")
    labels, h = rng.integers(0, 50, 7), rng.standard_normal((7, 50)).astype("f")
    exact = z.astype(float) - z.max(-1, keepdims=True)
    p = np.exp(exact) / np.exp(exact).sum(-1, keepdims=True)
    x = gg.tensor(put(z), requires_grad=True)
    (dx,) = gg.grad(nn.cross_entropy(x, put(labels), "sum"), x, create_graph=True)
    (d2,) = gg.grad((dx * gg.tensor(put(h))).sum(), x)
    np.testing.assert_allclose(dx.numpy(), p - np.eye(50)[labels], atol=1e-6)
    np.testing.assert_allclose(dx.numpy().sum(-1), 0, atol=1e-6)
    np.testing.assert_allclose(d2.numpy(), p * (h - (p * h).sum(-1, keepdims=True)), atol=1e-6)


def labelled(ignore, **more):
    return {
        "plain": lambda z, y: nn.cross_entropy(z, y, ignore_index=ignore, **more),
        "smooth": lambda z, y: nn.cross_entropy(z, y, ignore_index=ignore, label_smoothing=0.2, **more),
        "weight": lambda z, y: nn.cross_entropy(z, y, weight=like(z, np.ones(5, "f")), ignore_index=ignore, **more),
        "nll": lambda z, y: nn.nll_loss(nn.log_softmax(z), y, ignore_index=ignore, **more),
        "nll weight": lambda z, y: nn.nll_loss(nn.log_softmax(z), y, weight=like(z, np.ones(5, "f")), **more),
    }


@pytest.mark.parametrize("name", ["plain", "smooth", "weight", "nll"])
@pytest.mark.parametrize("ignore", [-100, 3])
def test_ignored_rows_count_nothing(put, name, ignore):
    z, labels = np.random.default_rng(0).standard_normal((4, 5)).astype("f"), np.array([1, ignore, 4, ignore])
    results = []
    for rows, f in ((slice(None), labelled(ignore)[name]), (slice(None, None, 2), labelled(None)[name])):
        x = gg.tensor(put(z), requires_grad=True)
        loss = f(x[rows], put(labels[rows]))
        (dx,) = gg.grad(loss, x, create_graph=True)
        results.append([loss, dx, gg.grad((dx * dx).sum(), x)[0]])
    for found, expected in zip(*results):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5, atol=1e-7)
    assert (results[0][1].numpy()[1::2] == 0).all()
    x = gg.tensor(put(z), requires_grad=True)
    with np.errstate(invalid="ignore"):
        nothing = labelled(ignore)[name](x, put(np.full(4, ignore)))  # the mean of no rows, as PyTorch has it
        assert np.isnan(nothing.numpy())
        if name == "plain":
            assert (gg.grad(nothing, x)[0].numpy() == 0).all()


@pytest.mark.parametrize("name", labelled(None))
@pytest.mark.parametrize("bad", [-1, 5, 2**40])
def test_a_bad_label_is_an_error_or_nan(put, name, bad):
    x, labels = gg.tensor(put(np.zeros((3, 5), "f")), requires_grad=True), put(np.array([1, bad, 4]))
    if put is np.array:
        with pytest.raises(ValueError, match="allowed are 0..4"):
            labelled(-100)[name](x, labels)
        return
    rows = labelled(-100, reduction="none")[name](x, labels)
    assert np.isnan(rows.numpy()).tolist() == [False, True, False]
    assert np.isnan(labelled(-100)[name](x, labels).numpy())
    assert np.isnan(gg.grad(rows.sum(), x)[0].numpy()).any(1).tolist() == [False, True, False]


@pytest.mark.parametrize("name", labelled(None))
def test_losses_do_not_wait_for_the_gpu(host, name, monkeypatch):
    for reading in ("__bool__", "__int__", "__float__", "__index__", "item", "tolist"):
        monkeypatch.setattr(standin.Array, reading, lambda a, *_: pytest.fail("the GPU is waited for"), raising=False)
    x = gg.tensor(host.put(np.zeros((3, 5), "f")), requires_grad=True)
    gg.grad(labelled(-100)[name](x, host.put(np.array([1, -100, 4]))), x)


@pytest.mark.parametrize("cols", [31, 512, 3000, 5000])
@pytest.mark.parametrize("offset", [0, 30, 1e5])
def test_layer_norm_of_rows_far_from_zero(put, cols, offset):
    """A mean rounded to float32 shifts a whole row; what it was rounded by is taken off, too."""
    x = (np.random.default_rng(0).standard_normal((4, cols)) + offset).astype("f")
    exact = x.astype(float) - x.astype(float).mean(-1, keepdims=True)
    exact /= np.sqrt((exact * exact).mean(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(nn.layer_norm(gg.tensor(put(x)), (cols,)).numpy(), exact, rtol=0, atol=4e-6)


def test_sums_by_index_add_up_duplicates():
    rng = np.random.default_rng(0)
    for n, cols, entries in [(0, 3, 4), (1, 1, 1), (1000, 7, 13)]:
        g, index = rng.standard_normal((n, cols)), rng.integers(0, entries, n)
        expected = np.zeros((entries, cols))
        np.add.at(expected, index, g)
        np.testing.assert_allclose(embedding.sum_by_index(g, index, entries=entries), expected, rtol=1e-12, atol=1e-12)


def test_gelu_keeps_its_lower_tail():
    z = np.array([-10.0, -8.0, -6.0])
    expected = np.array([-7.619853024160527e-23, -4.976768602e-15, -5.919525870e-9])
    np.testing.assert_allclose(nn.gelu(gg.tensor(z)).numpy(), expected, rtol=1e-6)


# ---------------------------------------------------------------------------------------------- what is kept
def kept_bytes(f, *xs):
    """The bytes that the node of f(*xs) keeps beside xs themselves."""
    own = {id(x.array) for x in xs}
    return sum([v.nbytes for v in f(*xs).node.saved if hasattr(v, "nbytes") and id(v) not in own])


@pytest.mark.parametrize("gpu", [False, True])
def test_what_pullbacks_keep(host, gpu):
    put = host.put if gpu else np.array
    x = gg.tensor(put(np.ones((16, 64), np.float32)), requires_grad=True)
    w = gg.tensor(put(np.ones(64, np.float32)), requires_grad=True)
    labels = put(np.zeros(16, np.int64))
    assert kept_bytes(lambda v: nn.dropout(v, 0.5), x) == 0  # a seed and an offset
    assert kept_bytes(relu_mask, x) == x.size // 8
    assert kept_bytes(nn.relu, x) == x.nbytes
    assert kept_bytes(lambda v: softmax.softmax_xent(v, labels), x) == 2 * 16 * 4 + labels.nbytes  # two numbers a row
    assert kept_bytes(lambda v, s: nn.layer_norm(v, (64,), s), x, w) == 2 * 16 * 4  # mean and rstd
    assert kept_bytes(lambda v, s: nn.rms_norm(v, (64,), s), x, w) == 16 * 4
    assert kept_bytes(lambda v: nn.batch_norm(v, None, None, training=True), x) == 2 * 64 * 4
    assert kept_bytes(nn.gelu, x) == kept_bytes(nn.silu, x) == 0


def test_a_residual_is_kept_once(host):
    """x + residual, mean and rstd: not x, the residual and the sum."""
    for put, gpu in ((np.array, 0), (host.put, 1)):
        x, r = (gg.tensor(put(np.ones((16, 64), np.float32)), requires_grad=True) for _ in range(2))
        before = host.launches
        out, total = nn.layer_norm(x, (64,), residual=r)
        assert host.launches == before + gpu
        node = out.node.edges[0]  # of both outputs
        arrays = [v for v in node.saved if hasattr(v, "nbytes")]
        assert sum(a.nbytes for a in arrays) == 16 * 64 * 4 + 2 * 16 * 4
        assert not any(hasattr(v, "nbytes") for n in node.edges if n for v in n.saved)
        assert total.array is not arrays[0]
        before = host.launches
        gg.grad([out.sum() + total.sum()], [x, r])
        assert host.launches == before + gpu  # one pass back, the sum of both cotangents in it


@pytest.mark.parametrize(
    "f",
    [
        lambda x, w: nn.layer_norm(x, (4,), w[0], w[1]), lambda x, w: nn.rms_norm(x, (4,), w[0], 0.1),
        lambda x, w: nn.batch_norm(x, None, None, w[0], w[1], training=True), lambda x, w: nn.softmax(x * w[0]),
        lambda x, w: nn.log_softmax(x * w[0]), lambda x, w: nn.gelu(x * w[0]), lambda x, w: nn.silu(x * w[0]),
        lambda x, w: nn.gelu(x * w[0], "tanh"),
    ],
)  # fmt: skip
def test_third_derivatives(f):
    """The gradients of gradients are made of ops, too."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((3, 4))

    def first(x, w):
        with gg.GradientTape() as tape:
            tape.watch([x, w])
            y = f(x, w) * weights
        return gg.concat(tape.gradient(y, [x, w]))

    gg.testing.check_grads(first, [rng.standard_normal((3, 4)), rng.standard_normal((2, 4))])
