"""tape.jacobian and tape.batch_jacobian against TensorFlow's."""

import numpy as np
import pytest


@pytest.fixture
def x(tf):
    return tf.Variable([[1.0, 2.0], [3.0, 4.0]])


def test_jacobians(tf, x):
    c = tf.Variable(1.0)
    with tf.GradientTape(persistent=True) as tape:
        y = x * x * tf.reduce_sum(x)
        s = tf.reduce_sum(x)
    j = tape.jacobian(y, x).numpy()
    v = x.numpy()
    wanted = np.einsum("ij,kl->ijkl", v * v, np.ones((2, 2))) + np.einsum(
        "ij,ik,jl->ijkl", 2 * v * v.sum(), np.eye(2), np.eye(2)
    )
    np.testing.assert_allclose(j, wanted, rtol=1e-6)
    found = tape.jacobian(s, [x, {"c": c}])
    assert found[0].numpy().tolist() == [[1, 1], [1, 1]] and found[1] == {"c": None}
    assert tape.jacobian(y, c, unconnected_gradients="zero").shape == (2, 2)
    assert tape.jacobian(y, [c])[0] is None
    with tf.GradientTape() as tape:
        y = tf.zeros((0, 3)) * tf.reduce_sum(x)
    assert tape.jacobian(y, x).shape == (0, 3, 2, 2)


def test_shapes_of_the_guide(tf):
    x, w = tf.random.normal([7, 5]), tf.Variable(tf.random.normal([5, 10]))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = tf.matmul(x, w)
    assert tape.jacobian(y, w).shape == (7, 10, 5, 10)
    per_example = tape.batch_jacobian(y, x)
    assert per_example.shape == (7, 10, 5)
    np.testing.assert_allclose(per_example.numpy()[3], w.numpy().T, rtol=1e-5)


def test_batch_jacobians(tf, x):
    c = tf.Variable([[1.0], [1.0]])
    with tf.GradientTape(persistent=True) as tape:
        y = x**3
    assert tape.batch_jacobian(y, x).numpy().tolist() == [[[3, 0], [0, 12]], [[27, 0], [0, 48]]]
    assert tape.batch_jacobian(y, c).numpy().tolist() == [[[0], [0]], [[0], [0]]]
    with tf.GradientTape(persistent=True) as tape:
        z = tf.ones((3, 2)) * tf.reduce_sum(x)
    with pytest.raises(
        ValueError, match=r"Need first dimension of target shape \(\(3, 2\)\) and source shape \(\(2, 2\)\) to match"
    ):
        tape.batch_jacobian(z, x)


def test_a_tape_that_is_not_persistent_serves_once(tf, x):
    with tf.GradientTape() as tape:
        y = x * x
    assert tape.jacobian(y, x).shape == (2, 2, 2, 2)
    for again in (tape.jacobian, tape.gradient):
        with pytest.raises(
            RuntimeError, match="A non-persistent GradientTape can only be used to compute one set of gradients"
        ):
            again(y, x)
    with pytest.raises(
        RuntimeError, match="A non-persistent GradientTape can only be used to ?compute one set of gradients"
    ):
        tape.batch_jacobian(y, x)
    with tf.GradientTape() as tape:
        y = x * x
    for f in (tape.jacobian, tape.batch_jacobian):
        with pytest.raises(RuntimeError, match="GradientTape must be created with persistent=True to compute the"):
            f(y, x, experimental_use_pfor=False)
    assert tape.batch_jacobian(y, x).shape == (2, 2, 2)


def test_second_order(tf, x):
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            y = x**3
        j = inner.batch_jacobian(y, x)
    assert outer.gradient(j, x).numpy().tolist() == [[6, 12], [18, 24]]
    with tf.GradientTape(persistent=True) as outer:
        with tf.GradientTape() as inner:
            y = tf.reduce_sum(x**3)
        g = inner.gradient(y, x)
    assert outer.jacobian(g, x).numpy().reshape(4, 4).tolist() == np.diag([6.0, 12.0, 18.0, 24.0]).tolist()


def test_targets_that_are_no_tensor(tf, x):
    with tf.GradientTape(persistent=True) as tape:
        y = x * x
    for bad in ([y, y], None, 3.0):
        with pytest.raises((TypeError, AttributeError)):
            tape.jacobian(bad, x)
    with pytest.raises((TypeError, AttributeError)):
        tape.batch_jacobian(y, [x])
    with pytest.raises(ValueError):
        tape.jacobian(y, x, unconnected_gradients="foo")
