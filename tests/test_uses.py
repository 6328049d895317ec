"""GradientTape(uses=N): frees itself with its Nth gradient."""

import gc
import warnings
import weakref

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.tensorflow as tf

pytestmark = pytest.mark.devices


@pytest.fixture(autouse=True)
def collector_off():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def recorded(alive=(), **options):
    """A tape on 5 ops whose pullbacks note how many of their saved values are alive."""
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
    with gg.GradientTape(**options) as tape:
        tape.watch(x)
        y = x
        for _ in range(5):
            y = exp(y * 0.1)
        loss = gg.sum(y)
    return tape, loss, x, seen


def test_the_last_gradient_frees_as_it_walks():
    for n in (1, 2, 3):
        tape, loss, x, seen = recorded(uses=n)
        bytes_kept = tape.nbytes()
        first = tape.gradient(loss, x) if n > 1 else None
        for _ in range(n - 2):
            tape.gradient(loss, x)
        assert tape.nbytes() == bytes_kept > 0
        last = tape.gradient(loss, x)
        assert seen == [5] * 5 * (n - 1) + [5, 4, 3, 2, 1] and tape.nbytes() == 0
        assert loss.node.saved is None
        if first is not None:
            np.testing.assert_array_equal(first.numpy(), last.numpy())
        with pytest.raises(RuntimeError, match=f"used {n} of {n} times" if n > 1 else "A non-persistent GradientTape"):
            tape.gradient(loss, x)


def test_uses_of_one_is_the_default():
    given, default = recorded(uses=1), recorded()
    for tape, loss, x, seen in (given, default):
        tape.gradient(loss, x)
        assert seen == [5, 4, 3, 2, 1]
        with pytest.raises(RuntimeError, match=r"^A non-persistent GradientTape can only be used to compute one set"):
            tape.gradient(loss, x)
        with pytest.raises(RuntimeError, match="this one has been used"), tape:
            pass


def test_what_uses_may_be():
    for wrong in (True, False, 2.0, "2"):
        with pytest.raises(TypeError, match="uses is how many gradients"):
            gg.GradientTape(uses=wrong)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="uses is at least 1"):
            gg.GradientTape(uses=wrong)
    with pytest.raises(ValueError, match="write one of the two"):
        gg.GradientTape(persistent=True, uses=2)
    gg.GradientTape(uses=np.int64(2))


def test_jacobians_count_once_each():
    x = gg.tensor(np.array([1.0, 2.0, 3.0]))
    with gg.GradientTape(uses=3) as tape:
        tape.watch(x)
        y = x * x
    np.testing.assert_array_equal(tape.jacobian(y, x).numpy(), np.diag([2.0, 4.0, 6.0]))
    np.testing.assert_array_equal(tape.gradient(y, x).numpy(), [2, 4, 6])
    assert tape.nbytes() > 0
    np.testing.assert_array_equal(tape.batch_jacobian(y, x).numpy(), [2, 4, 6])
    assert tape.nbytes() == 0
    with pytest.raises(RuntimeError, match="used 3 of 3 times"):
        tape.jacobian(y, x)


def test_a_call_that_fails_on_its_way_counts_and_a_refused_one_does_not():
    bad = gg.op(lambda xp, x: x * 2, name="bad", x=lambda g: 1 / 0)
    x = gg.tensor([1.0])
    with gg.GradientTape(uses=2) as tape:
        tape.watch(x)
        y, z = gg.exp(x), bad(x)
    with pytest.raises(TypeError, match="Argument `target`"):
        tape.gradient(None, x)
    with pytest.raises(ValueError, match="Unknown value"):
        tape.gradient(y, x, unconnected_gradients="some")
    with pytest.raises(ZeroDivisionError):
        tape.gradient(z, x)
    assert tape.nbytes() > 0
    assert tape.gradient(y, x) is not None
    with pytest.raises(RuntimeError, match="used 2 of 2"):
        tape.gradient(y, x)


def test_inside_its_own_context():
    x = gg.tensor(3.0)
    with gg.GradientTape(uses=2) as tape:
        tape.watch(x)
        y = x**3
        with pytest.warns(UserWarning, match="a tape that has uses left inside its context"):
            dy = tape.gradient(y, x)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            d2 = tape.gradient(dy, x)  # the last: no longer recorded
        assert float(dy) == 27 and float(d2) == 18 and d2.node is None
        with pytest.raises(RuntimeError, match="used 2 of 2 times"):
            tape.watch(x)
    assert tape.nbytes() == 0


def test_reset_gives_the_uses_back():
    x = gg.tensor(3.0)
    with gg.GradientTape(uses=2) as tape:
        tape.watch(x)
        y = x * x
        with pytest.warns(UserWarning, match="inside its context"):
            tape.gradient(y, x)
        tape.reset()
        tape.watch(x)
        y = x * x * x
    assert float(tape.gradient(y, x)) == 27 and float(tape.gradient(y, x)) == 27
    with pytest.raises(RuntimeError, match="Make a new GradientTape"), tape:
        pass


def test_entered_again_between_uses():
    x = gg.tensor(3.0)
    tape = gg.GradientTape(uses=2)
    with tape:
        tape.watch(x)
        y = x * x
    assert float(tape.gradient(y, x)) == 6
    with tape:
        z = y * x
    assert float(tape.gradient(z, x)) == 27 and tape.nbytes() == 0


def test_explain_and_watched_variables_after_the_last_use():
    v, c = gg.Variable(2.0, name="v"), gg.tensor(1.0)
    with gg.GradientTape(uses=2, explain=True) as tape:
        y = v * v
    for _ in range(2):
        assert tape.gradient(y, c) is None
    assert [w is v for w in tape.watched_variables()] == [True] and tape.explain(y, c).reason


def test_backward_leaves_the_nodes_to_the_tape_until_its_last_use():
    x = gg.tensor([2.0], requires_grad=True)
    with gg.GradientTape(uses=2) as tape:
        tape.watch(x)
        y = gg.sum(gg.exp(x))
    y.backward()
    g = tape.gradient(y, x)
    np.testing.assert_array_equal(g.numpy(), x.grad.numpy())
    tape.gradient(y, x)
    with pytest.raises(RuntimeError, match="a second time"):
        y.backward()


def test_the_tape_of_the_tensorflow_door():
    x = tf.Variable([1.0, 2.0])
    with tf.GradientTape(uses=2) as tape:
        y = tf.reduce_sum(x * x)
    for _ in range(2):
        assert tape.gradient(y, x).numpy().tolist() == [2, 4]
    with pytest.raises(RuntimeError, match="used 2 of 2 times"):
        tape.gradient(y, x)


def test_a_tape_dropped_between_uses_frees_what_is_left():
    tape, loss, x, _ = recorded(uses=3)
    tape.gradient(loss, x)
    saved = weakref.ref(loss.node)
    del tape
    assert saved() is not None and loss.node.saved is None
