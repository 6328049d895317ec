"""What a tape keeps and what a walk holds: the least that gives the gradients, to the byte."""

import gc
import tracemalloc

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn, paths, recording
from gpugrad.ops.activation import gelu_erf

LARGE = recording.LARGE
PIECES = {
    "relu": nn.relu,
    "relu_mask": nn.relu_mask,
    "leaky_relu": lambda x: nn.leaky_relu(x, 0.1),
    "relu6": nn.relu6,
    "hardtanh": nn.hardtanh,
    "hardsigmoid": nn.hardsigmoid,
    "hardshrink": nn.hardshrink,
    "softshrink": nn.softshrink,
    "threshold": lambda x: nn.threshold(x, threshold=0.3, value=-1.0),
    "clip": lambda x: gg.clip(x, -0.5, 0.5),
    "clip by an array": lambda x: gg.clip(x, x.array * 0 - 0.5, 0.5),
    "nan_to_num": gg.nan_to_num,
}


def gradients(f, x, g):
    """The first gradient of f, and the gradient of a function of it."""
    with gg.GradientTape() as outer:
        outer.watch(x)
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = f(x)
        d = tape.gradient(y, x, output_gradients=g)
        twice = gg.sum(d * d * x)
    return d.numpy(), outer.gradient(twice, x, unconnected_gradients="zero").numpy()


def values(rng, shape, dtype=np.float32):
    x = rng.standard_normal(shape).astype(dtype) * 2
    x.reshape(-1)[:5] = [0, -0.0, 0.5, -0.5, 6]  # at the kinks
    return x


@pytest.mark.devices
@pytest.mark.parametrize("f", PIECES.values(), ids=PIECES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_bits_give_the_gradients_that_the_output_gives(f, dtype, monkeypatch):
    rng = np.random.default_rng(0)
    x, g = [gg.tensor(values(rng, (6, 7), dtype)) for _ in range(2)]
    by_output = gradients(f, x, g)
    for module in (paths, recording):
        monkeypatch.setattr(module, "LARGE", 1)
    for got, expected in zip(gradients(f, x, g), by_output):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("f", PIECES.values(), ids=PIECES)
@pytest.mark.parametrize("layout", ["C", "F", "strided", "many threads"])
def test_bits_in_any_layout(f, layout, monkeypatch):
    n = 3 * LARGE // 64 if layout != "many threads" else 9 * LARGE // 64  # above what is worth threads
    x = values(np.random.default_rng(1), (64, n) if layout != "strided" else (64, 2 * n))
    x = {"F": np.asfortranarray(x), "strided": x[:, ::2]}.get(layout, x)
    g = np.random.default_rng(2).standard_normal(x.shape).astype(np.float32)

    def kept_and_gradient():
        t = gg.tensor(x)
        with gg.GradientTape() as tape:
            tape.watch(t)
            y = f(t)
        (node,) = tape._tape.live()
        named = zip(node.op.names, node.saved)
        kept = [v.nbytes for name, v in named if name in ("x", "out", "bits") and v is not None]
        return kept, tape.gradient(y, t, output_gradients=gg.tensor(g)).numpy()

    kept, by_bits = kept_and_gradient()
    assert kept == [x.size // 8]
    for module in (paths, recording):
        monkeypatch.setattr(module, "LARGE", x.size + 1)
    kept, by_output = kept_and_gradient()
    assert kept == ([x.size // 8] if f is nn.relu_mask else [4 * x.size])
    np.testing.assert_array_equal(by_bits, by_output)


def test_infinite_and_missing_numbers_pass_bits_as_they_pass_the_output():
    x = gg.tensor(np.tile(np.array([np.nan, np.inf, -np.inf, 1, -1], np.float32), LARGE))
    g = gg.tensor(np.resize(np.array([np.inf, 1, np.nan, -np.inf, np.inf], np.float32), x.shape))
    with gg.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = nn.relu(x)
    got = tape.gradient(y, x, output_gradients=g).numpy()
    np.testing.assert_array_equal(got, np.where(x.numpy() > 0, g.numpy(), 0))
    np.testing.assert_array_equal(got, tape.gradient(y, x, output_gradients=g).numpy())


# ---------------------------------------------------------------------------------------------- nothing of others
def test_a_walk_writes_over_nothing_that_others_hold():
    """Seeds, gradients of intermediates, of hooks and of a persistent tape's first call stay as they are."""
    x = gg.tensor(np.linspace(-2, 2, 64, dtype=np.float32), requires_grad=True)
    seed = gg.tensor(np.linspace(1, 2, 64, dtype=np.float32))
    for f in (nn.relu_mask, nn.gelu, nn.silu, nn.mish, lambda v: nn.gelu(v, "tanh"), lambda v: v + v, lambda v: v * v):
        seen = []
        with gg.GradientTape(persistent=True) as tape:
            tape.watch(x)
            h = x * 3
            h.register_hook(lambda g, seen=seen: seen.append((g, g.numpy().copy())))
            y = f(h) + h
        first = tape.gradient(y, [h, x, y], output_gradients=seed)
        copies = [g.numpy().copy() for g in first]
        second = tape.gradient(y, [h, x, y], output_gradients=seed)
        for g, copy, again in zip(first, copies, second):
            np.testing.assert_array_equal(g.numpy(), copy)
            np.testing.assert_array_equal(again.numpy(), copy)
        for g, copy in seen:
            np.testing.assert_array_equal(g.numpy(), copy)
        np.testing.assert_array_equal(seed.numpy(), np.linspace(1, 2, 64, dtype=np.float32))
        h = x * 3
        (h * 1.0 + nn.gelu(h)).backward(seed)
        kept = x.grad.numpy().copy()
        (nn.gelu(x * 1.0) + x).backward(seed, retain_graph=True)
        assert not np.array_equal(x.grad.numpy(), kept)
        np.testing.assert_array_equal(seed.numpy(), np.linspace(1, 2, 64, dtype=np.float32))
        x.grad = None


@pytest.mark.parametrize("f", [nn.gelu, nn.relu_mask, nn.silu])
def test_views_of_a_cotangent_are_not_written_over(f):
    """Both halves of a split, and both operands of a sum, get one cotangent: each pullback must find it whole."""
    x = gg.tensor(np.linspace(-1, 1, 2 * 64, dtype=np.float32))
    with gg.GradientTape() as tape:
        tape.watch(x)
        h = gg.reshape(x, (2, 64))
        y = f(h) + f(gg.reshape(h, (64, 2))).reshape(2, 64)
    got = tape.gradient(y, x).numpy()
    t = gg.tensor(x.numpy())
    with gg.GradientTape() as alone:
        alone.watch(t)
        z = f(t)
    np.testing.assert_allclose(got, 2 * alone.gradient(z, t).numpy(), rtol=1e-6)


# ---------------------------------------------------------------------------------------------- peaks
def peak(run):
    """Bytes that NumPy's arrays take at most while `run` runs, above what they took before."""
    run()  # what is made once
    gc.disable()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        run()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
        gc.enable()


N = 1 << 20
SLACK = 1 << 17


def test_ten_relus_hold_three_arrays_and_bits():
    x = gg.tensor(np.random.default_rng(0).standard_normal(N).astype(np.float32))

    def run():
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = x
            for _ in range(10):
                y = nn.relu(y * 1.01 + 0.01)
            loss = gg.mean(y * y)
        del y
        tape.gradient(loss, x)

    assert peak(run) <= 3 * 4 * N + 10 * N // 8 + 4 * SLACK


def test_a_product_frees_its_input_before_the_gradient_of_it_is_made():
    """dW = xᵀ g comes first, then x goes, then dx = g Wᵀ is made in its place."""
    w = gg.Variable(np.full((64, 8), 0.5, np.float32))
    given = gg.tensor(np.random.default_rng(0).standard_normal((N // 64, 64)).astype(np.float32))
    small = 4 * N // 8  # g and the output

    def step(f):
        with gg.GradientTape() as tape:
            tape.watch(given)
            h = given * 1.5  # kept by the product alone
            y = f(h)
            del h
        tape.gradient(y, [given, w])

    bias = gg.Variable(np.zeros(8, np.float32))
    for f in (lambda h: h @ w, lambda h: nn.linear(h, w, bias)):
        assert peak(lambda f=f: step(f)) <= 2 * 4 * N + 3 * small + SLACK  # dx and dx * 1.5, not h beside them
    assert peak(lambda: step(lambda h: h @ w)) >= 2 * 4 * N


@pytest.mark.parametrize("f", [nn.gelu, lambda x: nn.gelu(x, "tanh"), nn.silu, nn.mish, nn.sigmoid])
def test_activations_hold_parts_between_their_steps(f):
    x = gg.tensor(np.random.default_rng(0).standard_normal(N).astype(np.float32))
    assert peak(lambda: f(x)) <= 4 * N + 60 * SLACK  # a thread has a few parts of 2^16 elements, in float64 some


def test_attention_joins_heads_without_a_copy():
    """Where query is a view with the heads inside the rows, so are the output and the gradients."""
    into = gg.tensor(np.random.default_rng(0).standard_normal((2, 32, 3 * 4 * 8)).astype(np.float32))
    with gg.GradientTape() as tape:
        tape.watch(into)
        parts = gg.split(into, 3, axis=-1)
        heads = [gg.permute_dims(gg.reshape(p, (2, 32, 4, 8)), (0, 2, 1, 3)) for p in parts]
        out = nn.scaled_dot_product_attention(*heads)
        joined = gg.reshape(gg.permute_dims(out, (0, 2, 1, 3)), (2, 32, 32))
    assert np.shares_memory(joined.array, out.array)
    assert all(np.isfinite(tape.gradient(joined, into).numpy()).ravel())


# ---------------------------------------------------------------------------------------------- nothing piles up
def test_training_leaves_nothing_behind():
    """With the collector off, 300 steps of each kind leave as many objects and bytes as they found."""
    model = nn.Sequential(nn.Linear(8, 8, activation="relu"), nn.Dropout(0.1), nn.Linear(8, 4))
    variables, rate = model.trainable_variables, gg.optim.Adam(model.trainable_variables, 1e-3)
    x, labels = gg.ones((3, 8)), gg.tensor([0, 1, 2])

    def by_tape(forward=model, **how):
        with gg.GradientTape(**how) as tape:
            loss = nn.cross_entropy(forward(x), labels)
        for _ in range(how.get("uses", 1)):
            grads = tape.gradient(loss, variables)
        rate.apply_gradients(zip(grads, variables))

    def by_backward():
        rate.zero_grad()
        nn.cross_entropy(model(x), labels).backward()
        rate.step()

    bounded = gg.checkpoint(model, max_bytes=100)
    kinds = [
        by_tape,
        lambda: by_tape(persistent=True),
        lambda: by_tape(uses=2),
        lambda: by_tape(explain=True),
        lambda: by_tape(gg.checkpoint(model)),
        lambda: by_tape(bounded),
        by_backward,
    ]
    gc.collect()
    gc.disable()
    try:
        for step in kinds:
            tracemalloc.start()
            for _ in range(200):  # caches filled, and what they hold counted
                step()
            objects, size = len(gc.get_objects()), tracemalloc.get_traced_memory()[0]
            for _ in range(300):
                step()
            grown = tracemalloc.get_traced_memory()[0] - size
            tracemalloc.stop()
            assert len(gc.get_objects()) - objects <= 10 and grown < 300 * 50, (
                step
            )  # a step that left one object would leave more
    finally:
        tracemalloc.stop()
        gc.enable()


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu", "sigmoid", "silu", "tanh"])
def test_a_layer_takes_its_activation_back_in_the_memory_of_the_cotangent(activation):
    """Of three layers' outputs one cotangent is held at a time, and the gradients are those of the steps apart."""
    rng = np.random.default_rng(0)
    x = gg.tensor(rng.standard_normal((N // 64, 64)).astype(np.float32))
    w, b = gg.Variable(rng.standard_normal((64, 64)).astype(np.float32) / 8), gg.Variable(np.zeros(64, np.float32))
    found = []

    def step(f):
        with gg.GradientTape() as tape:
            loss = gg.mean(f(f(f(x))) ** 2)
        found.append(tape.gradient(loss, [w, b]))

    own = nn.relu if activation == "relu" else getattr(gg, activation, None) or getattr(nn, activation, None)
    apart = lambda h: nn.gelu(h @ w + b, "tanh") if activation == "gelu_tanh" else own(h @ w + b)
    most = peak(lambda: step(lambda h: nn.linear(h, w, b, activation)))
    by_input = activation in ("gelu", "gelu_tanh", "silu")  # which keeps what the activations were given, too
    assert most <= (7.1 if by_input else 4.5) * 4 * N
    step(apart)
    for one, other in zip(found[0], found[-1]):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=2e-4, atol=1e-6)


def test_leaky_relu_rounds_alike_in_half_types_of_any_size():
    rng = np.random.default_rng(0)
    x, g = [rng.standard_normal(LARGE + 1).astype(gg.bfloat16) for _ in range(2)]
    for slope in (0.1, 0.0):
        found = []
        for n in (10, LARGE + 1):
            t = gg.tensor(x[:n])
            with gg.GradientTape() as tape:
                tape.watch(t)
                y = nn.leaky_relu(t, slope)
            found.append(tape.gradient(y, t, output_gradients=gg.tensor(g[:n])).numpy()[:10])
        np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("f", [gelu_erf, nn.silu, nn.mish])
def test_small_activations_take_no_more_calls_back_than_their_rule(f):
    """What writes over cotangents is for large ones: it costs calls."""
    x = gg.tensor(np.ones(4, np.float32))
    plain, over = f.op.quick[0][0]
    assert over is not plain and f.op.quick[0][1] == -3
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = f(x)
    f.op.quick[0] = ((plain, None), -3)  # would fail if it were called
    try:
        assert tape.gradient(y, x).shape == (4,)
    finally:
        f.op.quick[0] = ((plain, over), -3)


def test_a_second_run_is_under_the_settings_of_the_first():
    """A layer that inherits `training` from the call around a checkpoint does so again."""
    import gpugrad.tensorflow as tf

    tf.random.set_seed(0)
    inner = tf.keras.Sequential([tf.keras.layers.Dense(8, activation="relu"), tf.keras.layers.Dropout(0.5)])

    class Model(tf.keras.Model):
        def __init__(self, around):
            super().__init__()
            self.inner, self.around = inner, around

        def call(self, x):
            return self.around(lambda x: self.inner(x))(x)

    x = tf.ones((4, 8))
    inner(x)
    found = []
    for around in (lambda f: f, tf.recompute_grad):
        tf.random.set_seed(1)
        with tf.GradientTape() as tape:
            y = tf.reduce_sum(Model(around)(x, training=True) ** 2)
        found.append([y, *tape.gradient(y, inner.trainable_variables)])
    for plain, again in zip(*found):
        np.testing.assert_array_equal(plain.numpy(), again.numpy())
