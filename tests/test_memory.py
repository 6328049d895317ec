"""What a tape keeps, to the byte, with Python's collector off: everything goes by reference counts."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.array import library
from gpugrad.core import Node, Tensor

pytestmark = pytest.mark.devices


@pytest.fixture(autouse=True)
def collector_off():
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


LAYERS, BATCH, WIDTH = 24, 32, 16


def network(metrics=None):
    """24 layers of relu(h @ W + b) * 0.9 with a metric of each layer that nothing needs."""
    rng = np.random.default_rng(0)
    x = gg.tensor(rng.standard_normal((BATCH, WIDTH)).astype("float32"))
    weights = [gg.Variable(rng.standard_normal((WIDTH, WIDTH)) / 4, dtype="float32") for _ in range(LAYERS)]
    biases = [gg.Variable(np.zeros(WIDTH, "float32")) for _ in range(LAYERS)]

    def forward():
        h = x
        for w, b in zip(weights, biases, strict=True):
            h = gg.nn.relu(h @ w + b) * 0.9
            metric = gg.mean(gg.exp(h))
            if metrics is not None:
                metrics.append(metric)
        return gg.sum(h)

    return x, weights, [*weights, *biases], forward


def kept(tape):
    """The distinct arrays that the tape's live nodes hold."""
    return {id(v): v for n in tape._tape.live() for v in n.saved if library(v) is not None}


def test_two_arrays_a_layer():
    x, weights, _, forward = network()
    with gg.GradientTape() as tape:
        loss = forward()
    given = {id(x.array), *[id(w.array) for w in weights]}
    own = {k: v for k, v in kept(tape).items() if k not in given}
    # A layer keeps the relu's output and its own output, which the next layer's product needs; the last layer's
    # output nothing needs any more.
    assert len(own) == 2 * LAYERS - 1
    assert sum(v.nbytes for v in own.values()) == (2 * LAYERS - 1) * BATCH * WIDTH * 4
    assert tape.nbytes() == sum(v.nbytes for v in kept(tape).values())
    del loss


def test_nothing_is_left_after_the_gradient_even_while_loss_and_metrics_live():
    metrics = []
    _, _, variables, forward = network(metrics)
    with gg.GradientTape() as tape:
        loss = forward()
    assert tape.nbytes() > 0
    grads = tape.gradient(loss, variables)
    assert tape.nbytes() == 0 and len(grads) == 2 * LAYERS and len(metrics) == LAYERS
    for t in (loss, *metrics):
        assert t.node.saved is None and t.node.edges == ()


def array_bytes():
    """The bytes that NumPy has allocated for array data since tracemalloc was started."""
    only = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    return sum(t.size for t in tracemalloc.take_snapshot().filter_traces([only]).traces)


@pytest.mark.numpy("counts what NumPy allocates")
def test_the_process_gets_the_bytes_back():
    _, _, variables, forward = network()
    data = (2 * LAYERS - 1) * BATCH * WIDTH * 4
    with gg.GradientTape() as tape:  # the first use makes what later ones have: constants, a dtype each
        loss = forward()
    tape.gradient(loss, variables)
    for persistent in (False, True):
        tape = gg.GradientTape(persistent=persistent)
        tracemalloc.start()
        try:
            with tape:
                loss = forward()
            rest = array_bytes() - data
            assert 0 <= rest < 64  # the loss, a scalar
            grads = tape.gradient(loss, variables)
            own = sum(g.nbytes for g in grads)
            assert array_bytes() - own - rest == (data if persistent else 0)
            del tape, loss
            assert array_bytes() == own
        finally:
            tracemalloc.stop()


def test_saved_values_die_one_by_one():
    alive, seen = [], []

    def pull(g, out):
        seen.append(sum(r() is not None for r in alive))
        return g * out

    def forward(xp, x):
        out = xp.exp(x)
        alive.append(weakref.ref(out))
        return out

    exp = gg.op(forward, name="exp", args=["x"], x=pull)
    x = gg.tensor(np.zeros(4))
    for persistent, expected, after in ((False, [5, 4, 3, 2, 1], 0), (True, [5, 5, 5, 5, 5], 5)):
        alive.clear()
        seen.clear()
        with gg.GradientTape(persistent=persistent) as tape:
            tape.watch(x)
            y = x
            for _ in range(5):
                y = exp(y * 0.1)
            loss = gg.sum(y)
        del y
        tape.gradient(loss, x)
        assert seen == expected
        assert sum(r() is not None for r in alive) == after
        del tape, loss
        assert not any(r() is not None for r in alive)


def test_a_dead_branch_goes_at_once():
    x = gg.tensor(np.ones(1000), requires_grad=True)
    y = gg.exp(x)
    node = weakref.ref(y.node)
    del y
    assert node() is None
    with gg.GradientTape() as tape:
        tape.watch(x)
        dead, kept = gg.exp(x), gg.tanh(x)
        loss = gg.sum(x * x)
        assert tape.nbytes() == 8000 + 8000 + 8000
        del dead
        assert tape.nbytes() == 8000 + 8000
    tape.gradient(loss, x)
    assert kept.node.saved is None


def test_only_what_a_pullback_asks_for_is_saved():
    x, c = gg.tensor(np.ones(100), requires_grad=True), gg.tensor(np.ones(100))
    keeps = lambda y: [v for v in y.node.saved if library(v) is not None]
    assert len(keeps(x * c)) == 1 and keeps(x * c)[0] is c.array
    assert len(keeps(x * x)) == 2 and len(keeps(gg.exp(x))) == 1 and len(keeps(gg.nn.relu(x))) == 1
    for y in (x + c, x - 1, -x, x * 2.0, gg.sum(x), gg.mean(x), gg.reshape(x, (10, 10)), x[3:5],
              gg.broadcast_to(x, (2, 100)), gg.concat([x, x]), gg.split(x, 2)[0], gg.flip(x)):  # fmt: skip
        assert keeps(y) == []


def test_views_count_as_their_base():
    x = gg.tensor(np.ones((100, 10)), requires_grad=True)
    y = gg.exp(x)
    z = y[:50] * y[50:]
    assert gg.profile.ledger(z).nbytes == 8000


def test_a_state_carried_across_tapes_does_not_leak():
    w = gg.Variable(np.ones(100) * 0.5)
    h = gg.tensor(np.ones(100))
    for _ in range(50):
        with gg.GradientTape() as tape:
            h = gg.tanh(h * w)
            side = gg.exp(h)
            loss = gg.sum(h)
        tape.gradient(loss, w)
    assert side.node.saved is None
    node, depth = h.node, 0
    while node is not None and node.edges:
        node, depth = node.edges[0], depth + 1
    assert depth == 0


def test_an_exception_in_the_block_frees_what_was_recorded():
    x = gg.tensor(np.ones(10))

    def fail():
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = gg.exp(x)
            nodes.append(weakref.ref(y.node))
            raise ZeroDivisionError

    nodes = []
    try:
        fail()
    except ZeroDivisionError:
        pass
    assert nodes[0]() is None


def test_reset_frees():
    x = gg.tensor(np.ones(10))
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = gg.exp(x)
        tape.reset()
        assert y.node.saved is None and tape.nbytes() == 0


def test_a_failing_gradient_frees_the_tape():
    x = gg.tensor(np.ones(10))
    bad = gg.op(lambda xp, x: x * 2, name="bad", args=["x"], x=lambda g: 1 / 0)
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = gg.exp(bad(gg.exp(x)))
    with pytest.raises(ZeroDivisionError):
        tape.gradient(y, x)
    assert tape.nbytes() == 0
    with pytest.raises(RuntimeError, match="can only be used"):
        tape.gradient(y, x)


def test_training_leaves_no_objects_behind():
    x, y = gg.random.normal((8, 4)), gg.random.normal((8, 1))
    model = gg.nn.Linear(4, 1)
    optimizer = gg.optim.Adam(model.parameters())

    def with_tape():
        with gg.GradientTape() as tape:
            loss = gg.nn.mse_loss(model(x), y)
        optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables))

    def with_backward():
        optimizer.zero_grad()
        gg.nn.mse_loss(model(x), y).backward()
        optimizer.step()

    def with_second_order():
        w = model.weight
        (g,) = gg.grad(gg.nn.mse_loss(model(x), y), w, create_graph=True)
        gg.sum(g * g).backward()
        optimizer.zero_grad()

    for step in (with_tape, with_backward, with_second_order):
        step()
        before = sum(isinstance(o, (Node, Tensor)) for o in gc.get_objects())
        for _ in range(200):
            step()
        assert sum(isinstance(o, (Node, Tensor)) for o in gc.get_objects()) == before


def test_an_endless_tape_forgets_the_dead():
    x = gg.tensor(np.ones(2))
    with gg.GradientTape() as tape:
        tape.watch(x)
        for _ in range(10_000):
            gg.exp(x)
            x * x
            gg.sum(x, axis=0)
            gg.concat([x, x])
        assert len(tape._tape.nodes) <= 1024
        y = gg.sum(x * x)
    assert tape.gradient(y, x).tolist() == [2, 2]


@pytest.mark.numpy("the length is the engine's, and takes its time")
def test_a_chain_of_200_000_ops():
    x = gg.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(200_000):
        y = y + 1.0
    y.backward()
    assert float(x.grad) == 1
    y = x
    for _ in range(200_000):
        y = y * 1.0
    node = weakref.ref(y.node)
    del y  # takes the chain along, without recursion
    assert node() is None
    with gg.GradientTape() as tape:
        y = x
        for _ in range(200_000):
            y = y * 1.0
    assert float(tape.gradient(y, x)) == 1


def test_watching_an_intermediate_of_its_own_tape_makes_no_cycle():
    x = gg.tensor(np.ones(10))
    alive = weakref.ref(x.array)
    with gg.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x
        tape.watch(y)
        z = y * y
    del x, y, z, tape
    assert alive() is None


def test_a_mode_set_inside_a_tape_does_not_hold_it():
    x = gg.tensor(np.ones(10))
    alive = weakref.ref(x.array)
    try:
        with gg.GradientTape() as tape:
            tape.watch(x)
            gg.set_grad_enabled(False)
        del x, tape
        assert alive() is None
    finally:
        gg.set_grad_enabled(True)


@pytest.mark.parametrize("persistent", [False, True])
def test_a_dropped_tape_frees_what_it_saved_while_its_results_live(persistent):
    x = gg.Variable(np.ones(1000, np.float32))
    with gg.GradientTape() as outer:
        with gg.GradientTape(persistent=persistent) as tape:
            h = gg.exp(x)
            y = gg.sum(h * h)
        saved = weakref.ref(h.array)
        del h
        assert saved() is not None and tape.nbytes() == 4000
        del tape
        assert outer.nbytes() == 4000 and saved() is not None
    assert outer.gradient(y, x).tolist() == pytest.approx([2 * np.exp(2.0)] * 1000)
    with gg.GradientTape(persistent=persistent) as tape:
        h = gg.exp(x)
        y = gg.sum(h * h)
    saved = weakref.ref(h.array)
    del h, tape
    assert saved() is None
    with pytest.raises(RuntimeError, match="when the tape that recorded them is dropped"):
        y.backward()
