"""A linear layer as one op: the same as its three steps, to every order, on the CPU and behind the kernels."""

import itertools
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.array import to_host
from gpugrad.ops.linear import ACTIVATIONS
from gpugrad.testing import assert_close, check_grads

NAMES = [None, *ACTIVATIONS]
SHAPES = [(5, 3), (2, 4, 3), (0, 3), (1, 3), (3,)]


def steps(x, w, b, activation):
    y = gg.add(gg.matmul(x, w), b)
    return y if activation is None else ACTIVATIONS[activation](y)


def given(shape, dtype="float64", out=4, device="cpu", seed=0):
    rng = np.random.default_rng(seed)
    draw = lambda *s: gg.tensor(rng.standard_normal(s).astype(dtype), device=device)
    return draw(*shape), draw(shape[-1], out), draw(out)


def gradients(f, xs, order=1):
    """The value; the gradients of the sum of its squares; those of the sum of all their squares; and so on."""
    if not order:
        return [f(*xs)]
    with gg.GradientTape() as tape:
        tape.watch(xs)
        found = gradients(f, xs, order - 1)
        total = sum([gg.sum(y * y) for y in found])
    return [*found, *tape.gradient(total, xs)]


@pytest.mark.devices
@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_as_its_three_steps(activation, shape):
    xs = given(shape, device=None)
    ours = gradients(lambda *a: nn.linear(*a, activation=activation), xs, 2)
    theirs = gradients(lambda *a: steps(*a, activation), xs, 2)
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.devices
@pytest.mark.parametrize("activation", NAMES)
def test_derivatives(activation):
    check_grads(lambda *a: nn.linear(*a, activation=activation), given((5, 3), device=None))


@pytest.mark.devices
@pytest.mark.parametrize("which", list(itertools.product([False, True], repeat=3)))
def test_only_what_is_watched(which):
    """Every choice of tracked inputs: its gradients, and no array saved that they do not need."""
    xs = given((5, 3), "float32", device=None)
    watched = [x for x, w in zip(xs, which) if w]
    with gg.GradientTape() as tape:
        tape.watch(watched)
        y = nn.linear(*xs, activation="relu")
        held = {e.argument for e in tape.memory().entries}
    needed = {"input weight": which[0], "input x": which[1], "output": any(which)}
    assert held == {name for name, asked in needed.items() if asked}
    assert [g.shape for g in tape.gradient(y, watched)] == [x.shape for x in watched]


@pytest.mark.parametrize("which", list(itertools.product([False, True], repeat=3)))
@pytest.mark.devices
@pytest.mark.parametrize("activation", NAMES)
def test_saves_no_more_than_the_steps(activation, which):
    def kept(f):
        xs = given((64, 32), "float32", 16, device=None)
        with gg.GradientTape() as tape:
            tape.watch([x for x, w in zip(xs, which) if w])
            y = f(*xs, activation)
            own = {x.shape for x in xs[1:]}  # the layer's own arrays live anyway
            return sum([e.nbytes for e in tape.memory().entries if e.shape not in own]), y

    assert kept(nn.linear)[0] <= kept(steps)[0]


@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
def test_the_way_back_needs_no_more_at_its_peak(activation):
    def peak(f):
        rng = np.random.default_rng(0)
        x = gg.tensor(rng.standard_normal((256, 64)))
        layers = [[gg.Variable(rng.standard_normal(s) / 8) for s in ((64, 64), (64,))] for _ in range(6)]
        with gg.GradientTape() as tape:
            for w, b in layers:
                x = f(x, w, b, activation)
            total = gg.sum(x)
        del x
        tracemalloc.start()
        grads = tape.gradient(total, layers)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        del grads
        return found

    peak(nn.linear)  # what is made once
    assert peak(nn.linear) <= peak(steps) + 4096


@pytest.mark.devices
def test_what_does_not_fit_one_op_goes_in_steps():
    x, w, b = given((5, 3), device=None)
    assert_close(nn.linear(x, w, 2.0), x @ w + 2.0)
    assert_close(nn.linear(x, w, activation="relu"), nn.relu(x @ w))
    assert_close(nn.linear(x.array, w, b), x @ w + b)
    assert_close(nn.linear(gg.astype(x, "float32"), w, b), gg.astype(x, "float32") @ w + b)
    assert_close(
        nn.linear([[1.0, 2.0, 3.0]], w, [1.0, 2.0, 3.0, 4.0]), gg.tensor([[1.0, 2.0, 3.0]]) @ w + [1.0, 2, 3, 4]
    )
    with pytest.raises(ValueError, match="cannot be multiplied"):
        nn.linear(x, b, b)
    with pytest.raises(ValueError, match="activation is one of"):
        nn.linear(x, w, b, activation="swish")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_stay_so(dtype):
    xs = [gg.astype(x, dtype) for x in given((5, 3), "float32")]
    for activation in NAMES:
        found = gradients(lambda *a, act=activation: nn.linear(*a, activation=act), xs)
        exact = gradients(lambda *a, act=activation: steps(*a, act), [gg.astype(x, "float64") for x in xs])
        for a, e in zip(found, exact, strict=True):
            assert a.dtype == xs[0].dtype
            assert_close(a, e, rtol=0.05, atol=0.05)


# ---------------------------------------------------------------------------------------------- behind the kernels
def on_device(host, xs):
    return [gg.tensor(host.put(x.numpy())) for x in xs]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("activation", NAMES)
def test_on_the_stand_in(host, activation, dtype):
    for shape in SHAPES:
        xs = [gg.astype(x, dtype) for x in given(shape, "float64")]
        exact = gradients(lambda *a: steps(*a, activation), [gg.astype(x, "float64") for x in xs], 2)
        before = host.launches
        found = gradients(lambda *a: nn.linear(*a, activation=activation), on_device(host, xs), 2)
        assert host.launches > before or not (activation and xs[0].array.size and len(shape) > 1)
        host.check()
        tolerance = {"float32": 1e-5, "float64": 1e-12, "float16": 0.03, "bfloat16": 0.2}[dtype]
        for a, e in zip(found, exact, strict=True):
            scale = float(np.abs(e.numpy()).max(initial=0)) or 1.0
            np.testing.assert_allclose(
                to_host(a.array).astype(np.float64) / scale, e.numpy() / scale, rtol=0, atol=tolerance
            )


def test_strided_operands_on_the_stand_in(host):
    x, w, b = given((6, 8), "float32", 10)
    views = [x[::2, ::2], w[:4, ::2], b[::2]]
    on = [gg.tensor(host.put(v.numpy())) for v in (x, w, b)]
    given_views = [on[0][::2, ::2], on[1][:4, ::2], on[2][::2]]
    for activation in NAMES:
        expected = gradients(lambda *a, act=activation: steps(*a, act), views)
        found = gradients(lambda *a, act=activation: nn.linear(*a, activation=act), given_views)
        for a, e in zip(found, expected, strict=True):
            assert_close(a, e, rtol=1e-4, atol=1e-4)


def micro_batches(put, dtype="float32"):
    """Two backward() calls on one weight, which is used twice in each: (loss.backward, the weight, the bias)."""
    x, w, b = (gg.astype(a, dtype) for a in given((6, 5), "float64", 5))
    w, b = (gg.tensor(put(a.numpy()), requires_grad=True) for a in (w, b))
    x = gg.tensor(put(x.numpy()))

    def step():
        h = nn.linear(nn.linear(x, w, b, activation="relu"), w, b)
        gg.sum((h @ w) * h).backward()

    return step, w, b


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_are_added_up_in_the_product(host, dtype):
    step, w, b = micro_batches(host.put, dtype)
    expected, w0, b0 = micro_batches(np.asarray, dtype)
    step()
    first, tensor = weakref.ref(w.grad.array), w.grad
    step()
    assert w.grad is tensor and w.grad.array is first()  # no second array, no sum
    expected(), expected()
    for ours, theirs in ((w, w0), (b, b0)):
        np.testing.assert_allclose(to_host(ours.grad.array), theirs.grad.numpy(), rtol=1e-4)
    held = w.grad.array[:1]  # whoever looks keeps what was there
    before = to_host(held).copy()
    step(), expected()
    np.testing.assert_array_equal(to_host(held), before)
    np.testing.assert_allclose(to_host(w.grad.array), w0.grad.numpy(), rtol=1e-4)
    host.check()


def test_hooks_see_what_arrives_where_gradients_are_added_up(host):
    step, w, _ = micro_batches(host.put)
    seen = []
    w.register_hook(lambda g: seen.append(to_host(g.array).copy()))
    step(), step()
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-5)
    np.testing.assert_allclose(to_host(w.grad.array), seen[0] + seen[1], rtol=1e-5)


def two_products(put, between):
    """W and V, to whose gradients, which are 1, (between(x @ W, W, V) @ W).sum() has added."""
    rng = np.random.default_rng(0)
    x = gg.tensor(put(rng.standard_normal((4, 4)).astype("float32")))
    w, v = (gg.tensor(put(np.eye(4, dtype="float32")), requires_grad=True) for _ in range(2))
    gg.sum(w + v).backward()
    gg.sum(between(x @ w, w, v) @ w).backward()
    return w, v


def test_a_walk_inside_a_walk_adds_up_once(host):
    class Nested(gg.Function):
        @staticmethod
        def forward(ctx, z, w, v):
            ctx.save_for_backward(w, v)
            return z * 1.0

        @staticmethod
        def backward(ctx, g):
            w, v = ctx.saved_tensors
            with gg.enable_grad():
                gg.sum(gg.tensor(g.array) @ w @ v).backward()  # adds to the gradients of both meanwhile
            return g, None, None

    found = two_products(host.put, Nested.apply)
    for ours, theirs in zip(found, two_products(np.asarray, Nested.apply), strict=True):
        np.testing.assert_allclose(to_host(ours.grad.array), theirs.grad.numpy(), rtol=1e-5)


def test_walks_of_several_threads_add_up(host):
    rng = np.random.default_rng(0)
    xs = [gg.tensor(host.put(rng.standard_normal((8, 8)).astype("float32"))) for _ in range(4)]
    for _ in range(10):
        w = gg.tensor(host.put(np.eye(8, dtype="float32")), requires_grad=True)
        gg.sum(w).backward()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda x, w=w: gg.sum(x @ w).backward(), xs))
        total = 1 + sum([x.numpy().sum(0)[:, None] for x in xs])
        np.testing.assert_allclose(to_host(w.grad.array), np.broadcast_to(total, (8, 8)), rtol=1e-4, atol=1e-4)


def test_a_hook_of_another_leaf_may_clear_a_gradient(host):
    found = []
    for device in (host.put, np.asarray):
        rng = np.random.default_rng(0)
        x, w, b = (device(rng.standard_normal(s).astype("float32")) for s in ((4, 4), (4, 4), (4,)))
        w, b = (gg.tensor(a, requires_grad=True) for a in (w, b))
        gg.sum(w + b).backward()
        b.register_post_accumulate_grad_hook(lambda t, w=w: setattr(w, "grad", None))
        gg.sum(nn.linear(gg.tensor(x), w, b, activation="relu")).backward()
        found.append(None if w.grad is None else to_host(w.grad.array))
    assert (found[0] is None) == (found[1] is None)
    if found[0] is not None:
        np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


# ---------------------------------------------------------------------------------------------- two layers
def layers(dtype="float64", rows=(6,)):
    rng = np.random.default_rng(3)
    draw = lambda *s: gg.astype(gg.tensor(rng.standard_normal(s) * 0.4), dtype)
    return [draw(*rows, 3), draw(3, 8), draw(8), draw(8, 5), draw(5)]


def two_linear(x, w1, b1, w2, b2, activation):
    return nn.linear(nn.linear(x, w1, b1, activation), w2, b2)


@pytest.mark.devices
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_feed_forward_is_two_layers(activation):
    check_grads(lambda *a: nn.feed_forward(*a, activation=activation), layers())
    xs = layers()
    assert_close(nn.feed_forward(*xs, activation=activation), two_linear(*xs, activation))


@pytest.mark.parametrize("rows", [(6,), (2, 3), (0,)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("activation", ["relu", "gelu_tanh", "silu"])
def test_feed_forward_on_the_stand_in(host, activation, dtype, rows):
    xs = layers(dtype, rows)
    exact = gradients(lambda *a: two_linear(*a, activation), [gg.astype(x, "float64") for x in xs], 2)
    found = gradients(lambda *a: nn.feed_forward(*a, activation=activation), on_device(host, xs), 2)
    host.check()
    tolerance = {"float32": 1e-5, "float64": 1e-12, "float16": 0.03, "bfloat16": 0.2}[dtype]
    for a, e in zip(found, exact, strict=True):
        scale = float(np.abs(e.numpy()).max(initial=0)) or 1.0
        np.testing.assert_allclose(
            to_host(a.array).astype(np.float64) / scale, e.numpy() / scale, rtol=0, atol=tolerance
        )


def test_feed_forward_adds_gradients_up(host):
    xs = [gg.tensor(x.array, requires_grad=True) for x in on_device(host, layers("float32"))]
    for _ in range(2):
        gg.sum(nn.feed_forward(*xs)).backward()
    held = [x.grad.array for x in xs]
    again = [gg.tensor(x.array, requires_grad=True) for x in xs]
    gg.sum(nn.feed_forward(*again) * 2.0).backward()
    for ours, theirs in zip(held, again, strict=True):
        np.testing.assert_allclose(to_host(ours), to_host(theirs.grad.array), rtol=1e-5)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("activation", NAMES)
def test_on_a_gpu(activation, dtype):
    for shape in [*SHAPES, (130, 257)]:
        xs = [gg.astype(x, dtype) for x in given(shape, "float64", 96)]
        exact = gradients(lambda *a: steps(*a, activation), [gg.astype(x, "float64") for x in xs], 2)
        found = gradients(lambda *a: nn.linear(*a, activation=activation), [x.to("cuda") for x in xs], 2)
        tolerance = {"float32": 1e-4, "float64": 1e-11, "float16": 0.03, "bfloat16": 0.2}[dtype]
        for a, e in zip(found, exact, strict=True):
            scale = float(np.abs(e.numpy()).max(initial=0)) or 1.0
            np.testing.assert_allclose(a.numpy().astype(np.float64) / scale, e.numpy() / scale, rtol=0, atol=tolerance)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("f", ["linear", "feed_forward"])
@pytest.mark.parametrize("activation", ["relu", "gelu_tanh"])
def test_nan_stays_nan_on_a_gpu(f, activation, dtype):
    """An epilogue that takes the larger of 0 and NaN would hide a NaN, and with it that training has diverged."""
    x, w1, b1, w2, b2 = [
        gg.astype(gg.ones(s, device="cuda"), dtype) for s in ((130, 64), (64, 96), (96,), (96, 32), (32,))
    ]
    x.array[[3, 128], [0, 63]] = np.nan
    y = nn.linear(x, w1, b1, activation=activation) if f == "linear" else nn.feed_forward(x, w1, b1, w2, b2, activation)
    assert np.flatnonzero(np.isnan(y.numpy().astype(np.float64)).all(1)).tolist() == [3, 128]
    assert np.isnan(y.numpy().astype(np.float64)).sum() == 2 * y.shape[1]


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_nan_stays_nan_in_norms_on_a_gpu(dtype):
    x = gg.astype(gg.tensor(np.random.default_rng(0).standard_normal((130, 64)), device="cuda"), dtype)
    x.array[5, 7] = np.nan
    for y, axis in [
        (nn.layer_norm(x, (64,)), 0), (nn.rms_norm(x, (64,)), 0), (nn.batch_norm(x, None, None, training=True), 1),
    ]:  # fmt: skip
        bad = np.isnan(y.numpy().astype(np.float64))
        hit = bad[5] if axis == 0 else bad[:, 7]
        assert hit.all() and bad.sum() == hit.size


@pytest.mark.parametrize("f", ["linear", "conv"])
def test_the_bias_of_a_million_rows_keeps_its_digits(f):
    """Added up one after the other, float32 numbers would lose 1%."""
    n = 1 << 19
    bias = gg.tensor(np.zeros(2, np.float32), requires_grad=True)
    if f == "linear":
        y = nn.linear(gg.ones((n, 1)), gg.ones((1, 2)), bias)
    else:
        y = nn.conv2d(gg.ones((2, 1, n // 64, 32)), gg.ones((2, 1, 1, 1)), bias)
    gg.sum(y * 0.1).backward()
    np.testing.assert_allclose(bias.grad.numpy(), n * np.float32(0.1).astype(np.float64), rtol=3e-6)
