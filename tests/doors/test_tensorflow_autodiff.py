"""tf.autodiff.ForwardAccumulator and tf.vectorized_map against TensorFlow's."""

import numpy as np
import pytest


@pytest.fixture
def acc(tf):
    return tf.autodiff.ForwardAccumulator


def test_a_tangent_is_a_lookup(tf, acc):
    x, v = tf.constant([2.0, 3.0]), tf.constant([1.0, 10.0])
    with acc(x, v) as forward:
        y = x * x
        assert forward.jvp(y).numpy().tolist() == [4, 60]
        z = tf.reduce_sum(y)
    assert forward.jvp([y, {"z": z, "x": x}])[1]["z"].numpy() == 64
    assert forward.jvp(x).numpy().tolist() == [1, 10]
    other = tf.constant(3.0)
    assert forward.jvp(other) is None and forward.jvp([other]) == [None]
    assert forward.jvp(other, unconnected_gradients=tf.UnconnectedGradients.ZERO).numpy() == 0
    assert forward.jvp(x * x) is None  # outside
    with pytest.raises(ValueError, match="bad"):
        forward.jvp(y, "bad")


def test_variables_and_nests(tf, acc):
    a, b = tf.Variable([1.0, 2.0]), tf.Variable(3.0)
    with acc({"a": a, "b": [b]}, {"a": tf.constant([1.0, 0.0]), "b": [tf.constant(10.0)]}) as forward:
        y = a * b
        a.assign([5.0, 5.0])
        z = a * b
    assert forward.jvp(y).numpy().tolist() == [13, 20] and forward.jvp(z).numpy().tolist() == [53, 50]
    assert forward.jvp(b).numpy() == 10


def test_what_an_accumulator_refuses(tf, acc):
    x, one = tf.constant(2.0), tf.constant(1.0)
    with pytest.raises(ValueError, match="was specified as a primal multiple times. This may indicate an error"):
        acc([x, x], [one, one])
    with pytest.raises(ValueError):
        acc([x], [one, one])
    with pytest.raises(ValueError):
        acc(x, tf.constant(1.0, tf.float64))
    with acc(x, one) as forward, pytest.raises(ValueError, match="Accumulator is already recording"):
        forward.__enter__()


def test_it_may_be_entered_again(tf, acc):
    x = tf.constant(2.0)
    forward = acc(x, tf.constant(1.0))
    assert forward.jvp(x).numpy() == 1
    with forward:
        y = x * x
    with forward:
        z = x * y
    assert forward.jvp(y).numpy() == 4 and forward.jvp(z).numpy() == 12


def test_nested(tf, acc):
    x, one = tf.constant(1.1), tf.constant(1.0)
    with acc(x, one) as outer:
        with acc(x, one) as inner:
            y = x**3.5
        first = inner.jvp(y)
        second = outer.jvp(first)
    np.testing.assert_allclose(first.numpy(), 3.5 * 1.1**2.5, rtol=1e-5)
    np.testing.assert_allclose(second.numpy(), 3.5 * 2.5 * 1.1**1.5, rtol=1e-5)
    np.testing.assert_allclose(outer.jvp(y).numpy(), first.numpy(), rtol=1e-6)


def test_forward_over_back(tf, acc):
    v = tf.Variable([1.0, 2.0])
    with acc(v, tf.constant([1.0, 0.0])) as forward:
        with tf.GradientTape() as tape:
            y = tf.reduce_sum(v**3.0)
        backward = tape.gradient(y, v)
    np.testing.assert_allclose(backward.numpy(), [3, 12], rtol=1e-6)
    np.testing.assert_allclose(forward.jvp(backward).numpy(), [6, 0], rtol=1e-6)


def test_back_over_forward(tf, acc):
    x, v = tf.constant([1.0, 2.0]), tf.constant([1.0, 10.0])
    with tf.GradientTape() as tape:
        tape.watch([x, v])
        with acc(x, v) as forward:
            y = tf.reduce_sum(x**3)
        pushed = forward.jvp(y)
    by_x, by_v = tape.gradient(pushed, [x, v])
    np.testing.assert_allclose(by_x.numpy(), [6, 120], rtol=1e-6)
    np.testing.assert_allclose(by_v.numpy(), [3, 12], rtol=1e-6)


def test_a_model(tf, acc):
    kernel, bias = tf.Variable([[0.5], [-2.0]]), tf.Variable([1.0])
    dense = lambda x: tf.matmul(x, kernel) + bias
    x = tf.constant([[2.0, 3.0], [1.0, 4.0]])
    with acc(kernel, tf.constant([[1.0], [0.0]])) as forward:
        loss = tf.reduce_sum((dense(x) - tf.constant([[1.0], [-1.0]])) ** 2.0)
    with tf.GradientTape() as tape:
        again = tf.reduce_sum((dense(x) - tf.constant([[1.0], [-1.0]])) ** 2.0)
    np.testing.assert_allclose(forward.jvp(loss).numpy(), tape.gradient(again, kernel).numpy()[0, 0], rtol=1e-4)


# ---------------------------------------------------------------------------------------------- vectorized_map
def test_vectorized_map(tf):
    a, b = tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), tf.constant([[10.0, 20.0]])
    assert tf.vectorized_map(lambda r: tf.reduce_sum(r), a).numpy().tolist() == [3, 7, 11]
    assert tf.vectorized_map(lambda p: p[0] * p[1], (a, b)).numpy().tolist() == [[10, 40], [30, 80], [50, 120]]
    out = tf.vectorized_map(lambda d: {"twice": d["a"] * 2.0, "one": 1.0}, {"a": a})
    assert out["one"].numpy().tolist() == [1, 1, 1] and out["twice"].shape == (3, 2)
    assert tf.vectorized_map(lambda r: r + 1.0, np.ones((2, 3), np.float32), warn=False).shape == (2, 3)
    assert tf.vectorized_map(lambda r: r, tf.ones((1, 2)), fallback_to_while_loop=False).shape == (1, 2)


def test_gradients_of_each_row(tf):
    x, w = tf.constant([[1.0, 2.0], [3.0, 4.0]]), tf.Variable([1.0, -1.0])

    def row(r):
        with tf.GradientTape() as tape:
            y = tf.reduce_sum(r * w) ** 2.0
        return tape.gradient(y, w)

    np.testing.assert_allclose(tf.vectorized_map(row, x).numpy(), [[-2, -4], [-6, -8]], rtol=1e-6)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.vectorized_map(lambda r: tf.reduce_sum(r * w) ** 2.0, x))
    np.testing.assert_allclose(tape.gradient(total, w).numpy(), [-8, -12], rtol=1e-6)


def test_lengths(tf, request):
    if request.config.getoption("--against"):
        pytest.skip("TensorFlow finds out while it computes, and raises what that raises")
    for elems in ((tf.ones((3, 2)), tf.ones((2, 2))), tf.constant(1.0)):
        with pytest.raises(ValueError, match="the first axis of all tensors has one length, or 1"):
            tf.vectorized_map(lambda a: a, elems)
