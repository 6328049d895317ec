"""save_as and save_on_cpu: what ops save, in less memory."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.torch as torch
from gpugrad.array import device_of, library
from gpugrad.core import Parcel, owner_of, writes
from gpugrad.saving import save_as, save_on_cpu

pytestmark = pytest.mark.devices


@pytest.fixture(autouse=True)
def collector_off():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


BATCH, WIDTH, LAYERS = 64, 32, 4


def mlp(dtype="float32"):
    rng = np.random.default_rng(0)
    x = gg.tensor(rng.standard_normal((BATCH, WIDTH)).astype(dtype))
    weights = [gg.Variable(rng.standard_normal((WIDTH, WIDTH)) / 4, dtype=dtype) for _ in range(LAYERS)]
    biases = [gg.Variable(np.zeros(WIDTH), dtype=dtype) for _ in range(LAYERS)]

    def forward():
        h = x
        for w, b in zip(weights, biases, strict=True):
            h = gg.nn.relu(h @ w + b)
        return gg.sum(h * h)

    return x, [*weights, *biases], forward


def saved(tape):
    """What the live nodes of a tape hold, as it is."""
    return [v for n in tape._tape.live() for v in tuple.__iter__(n.saved)]


def blocks(tape):
    """Bytes of what the tape keeps, by the memory block, without parameters and inputs: (packed, as they are)."""
    packed, plain = {}, {}
    for v in saved(tape):
        if type(v) is Parcel:
            packed[id(v[0].array)] = v[0].array.nbytes
        elif library(v) is not None:
            plain[id(owner_of(v))] = owner_of(v)
    return packed, plain


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_the_bytes_and_no_parameter_twice(dtype):
    x, variables, forward = mlp()
    with gg.GradientTape() as tape:
        loss = forward()
    exact = tape.gradient(loss, variables)
    with gg.GradientTape() as tape, gg.save_as(dtype):
        loss = forward()
    packed, plain = blocks(tape)
    activations = BATCH * WIDTH * 4
    assert sorted(packed.values()) == [activations // 2] * LAYERS  # a relu's output serves itself, linear and square
    given = {id(owner_of(v.array)) for v in [x, *variables]}
    assert all([id(v) in given or v.nbytes < activations for v in plain.values()])
    parameters = [v for v in plain.values() if id(v) in given]
    assert len(parameters) == LAYERS  # x, and the weights but the first, of which nothing is asked
    bound = 2.0**-8 if dtype == "bfloat16" else 2.0**-10
    for a, b in zip(tape.gradient(loss, variables), exact, strict=True):
        assert a.dtype == gg.float32
        err = np.abs(a.numpy() - b.numpy()).max() / np.abs(b.numpy()).max()
        assert err < LAYERS * bound
    assert any([(a.numpy() != b.numpy()).any() for a, b in zip(tape_gradient(forward, variables), exact)])


def tape_gradient(forward, variables):
    with gg.GradientTape() as tape, gg.save_as():
        loss = forward()
    return tape.gradient(loss, variables)


def array_bytes():
    only = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    return sum(t.size for t in tracemalloc.take_snapshot().filter_traces([only]).traces)


@pytest.mark.numpy("counts what NumPy allocates")
def test_the_process_has_the_bytes():
    x = gg.tensor(np.linspace(-1, 1, 100_000, dtype=np.float32), requires_grad=True)
    found = []
    for context in (gg.enable_grad(), gg.save_as(), gg.save_on_cpu()):
        gg.grad(gg.sum(gg.exp(x)), x)  # whatever the first use makes
        tracemalloc.start()
        try:
            with context:
                y = gg.sum(gg.tanh(gg.exp(gg.sin(x))))
            found.append(round(array_bytes() / x.nbytes, 3))
            gg.grad(y, x)
            del y
            assert array_bytes() < 100
        finally:
            tracemalloc.stop()
    # x is the user's; exp and tanh keep their outputs, sin its input, which is x
    assert found == [2.0, 1.0, 2.0]


def test_relative_error():
    x = gg.tensor(np.random.default_rng(0).standard_normal(5000) * 1e3, requires_grad=True)  # float64
    w = gg.tensor(np.ones(5000), requires_grad=True)
    for dtype, bits in (("bfloat16", 8), ("float16", 11), ("float32", 24)):
        with gg.save_as(dtype):
            h = x * 1.5
            y = gg.sum(h * w)
        (g,) = gg.grad(y, w)
        assert g.dtype == gg.float64
        exact = x.numpy() * 1.5
        error = np.abs(g.numpy() / exact - 1)[np.abs(exact) > 1e-4].max()
        assert 2.0 ** -(bits + 3) < error <= 2.0**-bits


def test_what_stays_as_it_is():
    rng = np.random.default_rng(0)
    x = gg.tensor(rng.standard_normal((64, 64)).astype("float32"), requires_grad=True)
    scale = gg.tensor(np.ones((64, 64), "float32"))
    at = gg.tensor(rng.integers(0, 64, (64, 64)))

    def kinds(make, *options):
        with gg.GradientTape() as tape, gg.save_as(*options):
            tape.watch(x)
            y = make()
        return y, blocks(tape)

    h = gg.exp(x)
    cases = {
        "a leaf": lambda: gg.sin(x),
        "a view of a leaf": lambda: gg.sin(gg.permute_dims(gg.reshape(x, (32, 128)), (1, 0))),
        "a constant": lambda: gg.sum(x * scale),
        "integers": lambda: gg.take_along_axis(x, at, axis=0),
        "a mask": lambda: gg.where(x > 0, x, 0.0),
        "complex": lambda: gg.sin(x * gg.tensor(1j)),
        "few": lambda: gg.sin(gg.exp(x[:4, :4])),
    }
    for name, make in cases.items():
        _, (packed, _) = kinds(make)
        assert not packed, name
    _, (packed, plain) = kinds(lambda: gg.sin(gg.broadcast_to(gg.exp(x[:1]), (6400, 64))), "bfloat16", 1)
    assert sum(packed.values()) == 64 * 2 and all([v.nbytes <= 64 * 64 * 4 for v in plain.values()])
    _, (packed, plain) = kinds(lambda: gg.sin(gg.astype(x, "float16") * 2.0))
    assert not packed and h.shape == (64, 64)  # as small already


def test_statistics_of_rows_keep_their_digits():
    x = gg.tensor(np.random.default_rng(0).standard_normal((2048, 4)).astype("float32"), requires_grad=True)
    labels = np.zeros(2048, int)
    makes = (
        lambda h: gg.nn.layer_norm(h, 4),
        lambda h: gg.nn.batch_norm(h, None, None, training=True),
        lambda h: gg.nn.cross_entropy(h, gg.tensor(labels), reduction="none"),
    )
    for make in makes:
        with gg.GradientTape() as tape, gg.save_as(min_size=1):
            tape.watch(x)
            h = x * 2.0
            y = make(h)
        assert all([v[0].array.size == x.size for v in saved(tape) if type(v) is Parcel])
        assert any([type(v) is Parcel for v in saved(tape)]) and y.requires_grad


def test_values_that_do_not_fit():
    big = np.full(2000, 1e5, "float32")
    big[0] = 3.0
    x = gg.tensor(big, requires_grad=True)
    for dtype in ("float16", "bfloat16"):
        with gg.save_as(dtype):
            y = gg.sum(gg.square(x * 1.0))
        (g,) = gg.grad(y, x)
        assert np.isfinite(g.numpy()).all()
        if dtype == "float16":
            np.testing.assert_array_equal(g.numpy(), 2 * big)
    odd = gg.tensor(np.where(np.arange(2000) % 2, np.nan, np.inf).astype("float32"), requires_grad=True)
    for dtype in ("float16", "bfloat16", "float32"):
        with gg.save_as(dtype), np.errstate(all="ignore"):
            y = gg.sum(gg.square(odd * 1.0))
            (g,) = gg.grad(y, odd)
        np.testing.assert_array_equal(g.numpy(), 2 * odd.numpy())
    wide = gg.tensor(np.full(2000, 1e300), requires_grad=True)
    with gg.save_as(), np.errstate(all="ignore"):
        y = gg.sum(gg.square(wide * 1.0))
    assert gg.grad(y, wide)[0].numpy().max() == 2e300


def test_what_dtype_may_be():
    for wrong in ("int8", "float64", "complex64"):
        with pytest.raises(ValueError, match="save_as: dtype is bfloat16, float16 or float32"):
            gg.save_as(wrong)
    with pytest.raises(TypeError, match="no dtype"):
        gg.save_as("bfloat61")


def test_reshaped_it_is_still_one():
    x = gg.tensor(np.linspace(-1, 1, 4096).astype("float32"), requires_grad=True)
    grads = []
    for context in (gg.enable_grad(), gg.save_as()):
        with gg.GradientTape() as tape, context:
            tape.watch(x)
            h = gg.exp(x)
            a, b = gg.reshape(h, (64, 64)), gg.reshape(h, (2, 2048))
            y = gg.sum(gg.sin(a)) + gg.sum(gg.tanh(b) * b)
        packed, _ = blocks(tape)
        grads.append(tape.gradient(y, x).numpy())
    assert sorted(packed.values()) == [4096 * 2] * 2  # exp, and tanh
    np.testing.assert_allclose(*grads, rtol=0.05, atol=0.02)


@pytest.mark.parametrize(
    "context", [lambda: gg.save_as("float32"), lambda: gg.save_on_cpu(), lambda: save_on_cpu(True)]
)
def test_both_orders_on_tapes_and_on_the_graph(context):
    rng = np.random.default_rng(0)
    x, w = [gg.tensor(rng.standard_normal(s), requires_grad=True) for s in ((40, 30), (30, 40))]

    def program():
        h = gg.tanh(x @ w)
        q, r = gg.split(gg.exp(h), 2)
        return gg.sum(gg.logsumexp(q * r, axis=0)) + gg.sum(gg.checkpoint(lambda h: gg.sin(h) * h)(h) ** 2)

    found = []
    for use in (gg.enable_grad, context):
        with use():
            y = program()
        first = gg.grad(y, [x, w], create_graph=True)
        rows = [*first, *gg.grad(gg.sum(first[0] * first[0]), [x, w])]
        for options in ({"persistent": True}, {"uses": 2}):
            with gg.GradientTape(**options) as outer:
                outer.watch([x, w])
                with gg.GradientTape(**options) as tape:
                    tape.watch([x, w])
                    with use():
                        y = program()
                g = tape.gradient(y, [x, w])
            rows += [*g, *outer.gradient(g, [x, w]), *tape.gradient(y, [x, w])]
        found.append(rows)
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-3, atol=1e-3)


def test_of_contexts_in_one_another_the_innermost_counts():
    x = gg.tensor(np.ones(2000, "float32"), requires_grad=True)
    for outer, inner, size in ((gg.save_as(), gg.save_on_cpu(), 4), (gg.save_on_cpu(), gg.save_as(), 2)):
        with gg.GradientTape() as tape, outer, inner:
            tape.watch(x)
            y = gg.exp(x * 1.0)
        if device_of(x.array).kind != "cpu" or size == 2:
            assert [v[0].array.nbytes for v in saved(tape) if type(v) is Parcel] == [2000 * size]
        np.testing.assert_allclose(tape.gradient(y, x).numpy(), np.exp(1), rtol=2**-8)


def test_what_a_function_saves():
    class Scaled(gg.Function):
        @staticmethod
        def forward(ctx, x, w):
            y = gg.exp(x)
            ctx.save_for_backward(x, w, y)
            return y * w

        @staticmethod
        def backward(ctx, g):
            _, w, y = ctx.saved_tensors
            return g * y * w, g * y

    x, w = [gg.tensor(np.full(2000, v, "float32"), requires_grad=True) for v in (0.3, 0.7)]
    for given, names in ((lambda: x, 1), (lambda: x * 1.0, 2)):
        with gg.GradientTape() as tape, gg.save_as():
            tape.watch([x, w])
            y = Scaled.apply(given(), w)
        assert len([v for v in saved(tape) if type(v) is Parcel]) == names  # y, and x where it is no leaf; never w
        gx, gw = tape.gradient(y, [x, w])
        np.testing.assert_allclose(gx.numpy(), np.exp(0.3) * 0.7, rtol=2**-7)
        np.testing.assert_allclose(gw.numpy(), np.exp(0.3), rtol=2**-7)


def test_of_a_checkpoint_the_inputs_are_packed():
    x = gg.tensor(np.full(2000, 0.3, "float32"), requires_grad=True)
    with gg.GradientTape() as tape, gg.save_as():
        tape.watch(x)
        h = x * 1.0
        alive = weakref.ref(h.array)
        y = gg.checkpoint(lambda h: gg.sin(gg.exp(h)))(h)
    del h
    packed, plain = blocks(tape)
    assert sum(packed.values()) == 2000 * 2 and not plain and alive() is None
    e = np.exp(0.3)
    np.testing.assert_allclose(tape.gradient(y, x).numpy(), np.cos(e) * e, rtol=2**-6)


def test_changes_in_place_after_packing():
    x = torch.tensor(np.full(2000, 2.0, "float32"), requires_grad=True)
    for context in (gg.save_as(), gg.save_on_cpu()):
        h = x * 1.0
        with context:
            y = h * h
            written = not isinstance(context, save_as) and device_of(x.array).kind == "cpu"
            h.add_(1.0)  # of what was packed there is a copy
            z = h * h
        if written:
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                (y.sum() + z.sum()).backward()
        else:
            (g,) = torch.autograd.grad(y.sum() + z.sum(), x)
            assert set(np.asarray(g.array if isinstance(g.array, np.ndarray) else g.numpy()).tolist()) == {4.0 + 6.0}


def test_on_the_cpu_save_on_cpu_copies_nothing(default_device):
    _, variables, forward = mlp()
    with gg.GradientTape() as plain:
        first = forward()
    for pin in (False, True):
        with gg.GradientTape() as tape, gg.save_on_cpu(pin_memory=pin):
            loss = forward()
        packed = [v for v in saved(tape) if type(v) is Parcel]
        if default_device == "cpu":
            assert not packed and tape.nbytes() == plain.nbytes()
        else:
            assert packed and all([type(v[0].array) is np.ndarray for v in packed])
            left = blocks(tape)[1]
            assert sum([v.nbytes for v in left.values()]) < plain.nbytes()
        assert all([g is not None for g in tape.gradient(loss, variables)])
    del first


def test_nothing_piles_up():
    x, variables, _ = mlp()
    w = variables[0]
    context = gg.save_as(min_size=1)
    drop = gg.checkpoint(lambda h: gg.nn.dropout(gg.tanh(h @ w), 0.1))

    def step():
        with gg.GradientTape(uses=2) as tape, context:
            y = gg.sum(gg.exp(drop(x * 1.0)))
        for _ in range(2):
            tape.gradient(y, w)

    counts = []
    gc.collect()
    gc.disable()  # what it frees or lets go of between two counts is not the steps'
    try:
        for _ in range(3):
            for _ in range(20):
                step()
            counts.append(len(gc.get_objects()))
    finally:
        gc.enable()
    assert counts[1] == counts[2] and not context._known


class Notes:
    """A courier that notes what it is asked for."""

    def __init__(self):
        self.log, self.wait = [], lambda: self.log.append("wait")

    def away(self, x):
        self.log.append("away")
        return Held(self, gg.array.library(x).to_host(x), x)

    def back(self, held):
        self.log.append("back")
        return held.lib.asarray(held.array, None, held.device)


class Held:
    def __init__(self, courier, array, x):
        self.courier, self.array, self.lib, self.device = courier, array, library(x), device_of(x)


def test_pinned_it_goes_by_the_courier(default_device, monkeypatch):
    if default_device == "cpu":
        pytest.skip("nothing leaves")
    notes = Notes()
    x, variables, forward = mlp()
    lib = library(x.array)
    monkeypatch.setattr(type(lib), "courier", lambda self, device: notes)
    with gg.GradientTape() as tape:
        loss = forward()
    exact = tape.gradient(loss, variables)
    with gg.GradientTape() as tape, gg.save_on_cpu(pin_memory=True):
        loss = forward()
    assert notes.log == ["away"] * LAYERS and notes.wait in writes.before
    for a, b in zip(tape.gradient(loss, variables), exact, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert notes.log.count("back") >= LAYERS
    y = torch.tensor([1.0])
    y.add_(1.0)
    assert notes.log[-1] == "wait"
    writes.before.remove(notes.wait)


@pytest.mark.cuda
@pytest.mark.parametrize("pin", [False, True])
def test_on_a_gpu(pin):
    import cupy

    rng = np.random.default_rng(0)
    weights = [gg.Variable(rng.standard_normal((512, 512)) / 16, dtype="float32") for _ in range(8)]
    x = gg.tensor(rng.standard_normal((4096, 512)).astype("float32"))

    def forward():
        h = x
        for w in weights:
            h = gg.nn.relu(h @ w)
        return gg.sum(h * h)

    pool = cupy.get_default_memory_pool()
    found = []
    for context in (gg.enable_grad(), gg.save_on_cpu(pin_memory=pin)):
        for _ in range(3):
            before = pool.used_bytes()
            with gg.GradientTape() as tape, context:
                loss = forward()
            cupy.cuda.Device().synchronize()
            held = pool.used_bytes() - before
            grads = tape.gradient(loss, weights)
        found.append((held, [g.numpy() for g in grads]))
        del grads, loss, tape
    (plain, a), (less, b) = found
    assert less < plain / 2
    for g, h in zip(a, b, strict=True):
        np.testing.assert_array_equal(g, h)


def test_single_numbers_stay_as_they_are():
    x = gg.Variable(3.0)
    with gg.GradientTape() as tape, gg.save_as(min_size=0):
        y = gg.exp(gg.sin(x)) * x
    s, c = np.sin(3.0), np.cos(3.0)
    np.testing.assert_allclose(tape.gradient(y, x).numpy(), np.exp(s) * (1 + 3 * c), rtol=1e-6)
