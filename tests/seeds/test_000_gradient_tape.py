"""A tutorial on tf.GradientTape: its snippets as written, and what it says of them."""

import numpy as np
import pytest


def test_the_basics(tf, capsys):
    x = tf.Variable(3.0)

    with tf.GradientTape() as tape:
        y = x**2  # y = x^2

    # dy/dx
    grad = tape.gradient(y, x)
    print(grad)  # tf.Tensor(6.0, ...)
    assert capsys.readouterr().out == "tf.Tensor(6.0, shape=(), dtype=float32)\n"


def test_a_constant_that_is_watched(tf, capsys):
    x = tf.constant(3.0)

    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x**2

    grad = tape.gradient(y, x)
    print(grad)  # tf.Tensor(6.0, ...)
    assert capsys.readouterr().out == "tf.Tensor(6.0, shape=(), dtype=float32)\n"


def test_several_variables(tf):
    w = tf.Variable(2.0)
    b = tf.Variable(1.0)

    with tf.GradientTape() as tape:
        y = w * 3.0 + b  # y = 3w + b

    grads = tape.gradient(y, [w, b])
    assert type(grads) is list
    assert float(grads[0]) == 3.0  # dy/dw
    assert float(grads[1]) == 1.0  # dy/db


def test_a_tape_serves_once(tf):
    x = tf.Variable(3.0)
    with tf.GradientTape() as tape:
        y = x**2
    tape.gradient(y, x)
    with pytest.raises(RuntimeError, match="A non-persistent GradientTape can only be used to compute one set of"):
        tape.gradient(y, x)


def test_a_persistent_tape(tf):
    x = tf.Variable(3.0)

    with tf.GradientTape(persistent=True) as tape:
        y = x**2
        z = x**3

    # several gradients from one tape
    dy_dx = tape.gradient(y, x)
    dz_dx = tape.gradient(z, x)

    assert float(dy_dx) == 6.0
    assert float(dz_dx) == 27.0

    del tape  # frees the memory


def test_second_order(tf):
    x = tf.Variable(2.0)

    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            y = x**3  # y = x^3

        # first: dy/dx = 3x^2
        dy_dx = inner.gradient(y, x)

    # second: d^2y/dx^2 = 6x
    d2y_dx2 = outer.gradient(dy_dx, x)

    assert float(dy_dx) == 12.0  # 3 * 2^2
    assert float(d2y_dx2) == 12.0  # 6 * 2


def test_second_order_as_it_is_written(tf):
    """The document asks the outer tape inside its own block."""
    x = tf.Variable(2.0)
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            y = x**3
        dy_dx = inner.gradient(y, x)
        d2y_dx2 = outer.gradient(dy_dx, x)
    assert float(dy_dx) == float(d2y_dx2) == 12.0


@pytest.fixture
def data():
    rng = np.random.RandomState(0)
    x_data = rng.randn(100).astype(np.float32)
    y_data = 2.0 * x_data + 1.0 + rng.randn(100).astype(np.float32) * 0.1
    return x_data, y_data


def test_linear_regression_by_hand(tf, data, capsys):
    x_data, y_data = data

    w = tf.Variable(0.0)
    b = tf.Variable(0.0)
    learning_rate = 0.1

    for epoch in range(100):
        with tf.GradientTape() as tape:
            predictions = w * x_data + b
            loss = tf.reduce_mean((predictions - y_data) ** 2)

        grads = tape.gradient(loss, [w, b])
        w.assign_sub(learning_rate * grads[0])
        b.assign_sub(learning_rate * grads[1])

    print(f"w = {w.numpy():.4f}")  # about 2.0
    print(f"b = {b.numpy():.4f}")  # about 1.0
    assert capsys.readouterr().out == "w = 2.0115\nb = 1.0075\n"
    assert w.dtype == tf.float32


def test_linear_regression_with_an_optimizer(tf, data, capsys):
    x_data, y_data = data

    w = tf.Variable(0.0)
    b = tf.Variable(0.0)
    optimizer = tf.keras.optimizers.Adam(learning_rate=0.1)

    for epoch in range(100):
        with tf.GradientTape() as tape:
            predictions = w * x_data + b
            loss = tf.reduce_mean((predictions - y_data) ** 2)

        grads = tape.gradient(loss, [w, b])
        optimizer.apply_gradients(zip(grads, [w, b]))

    print(f"w = {w.numpy():.4f}")
    print(f"b = {b.numpy():.4f}")
    assert capsys.readouterr().out == "w = 2.0213\nb = 1.0106\n"


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_optimizers_by_name(tf, name):
    v = tf.Variable(1.0)
    getattr(tf.keras.optimizers, name)(learning_rate=0.1).apply_gradients([(tf.constant(1.0), v)])
    assert v.numpy() == pytest.approx(0.9, abs=1e-5)


def test_fit_does_the_loop(tf, data):
    x_data, y_data = data
    model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
    model.compile(optimizer=tf.keras.optimizers.SGD(learning_rate=0.1), loss="mse")
    history = model.fit(x_data[:, None], y_data[:, None], epochs=30, verbose=0)
    assert history.history["loss"][-1] < 0.02 < history.history["loss"][0]
    w, b = model.get_weights()
    assert w[0, 0] == pytest.approx(2, abs=0.1) and b[0] == pytest.approx(1, abs=0.1)


def test_when_the_gradient_is_none(tf, recwarn):
    x = tf.constant(3.0)  # not watched
    with tf.GradientTape() as tape:
        y = x**2
    assert tape.gradient(y, x) is None

    x = tf.Variable(3.0)  # computed outside the block
    with tf.GradientTape() as tape:
        pass
    y = x**2
    assert tape.gradient(y, x) is None

    x = tf.constant(3)  # an integer
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x * x
    assert tape.gradient(y, x) is None
