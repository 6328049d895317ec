"""TensorFlow's own guide to automatic differentiation: its snippets as written, with the outputs that it prints."""

import numpy as np
import pytest


def test_a_scalar(tf):
    x = tf.Variable(3.0)

    with tf.GradientTape() as tape:
        y = x**2

    # dy = 2x * dx
    dy_dx = tape.gradient(y, x)
    assert dy_dx.numpy() == 6.0


def test_any_tensor_and_any_nesting(tf, capsys):
    w = tf.Variable(tf.random.normal((3, 2)), name="w")
    b = tf.Variable(tf.zeros(2, dtype=tf.float32), name="b")
    x = [[1.0, 2.0, 3.0]]

    with tf.GradientTape(persistent=True) as tape:
        y = x @ w + b
        loss = tf.reduce_mean(y**2)

    [dl_dw, dl_db] = tape.gradient(loss, [w, b])

    print(w.shape)
    print(dl_dw.shape)
    assert capsys.readouterr().out == "(3, 2)\n(3, 2)\n"

    my_vars = {"w": w, "b": b}

    grad = tape.gradient(loss, my_vars)
    assert sorted(grad) == ["b", "w"]
    expected = (x @ w.numpy() + b.numpy())[0]  # d mean(y²) / db
    np.testing.assert_allclose(grad["b"].numpy(), expected, rtol=1e-5)
    assert repr(grad["b"]) == f"<tf.Tensor: shape=(2,), dtype=float32, numpy={grad['b'].numpy()!r}>"
    assert tape.gradient(loss, ()) == ()


def test_a_model(tf, capsys):
    layer = tf.keras.layers.Dense(2, activation="relu")
    x = tf.constant([[1.0, 2.0, 3.0]])

    with tf.GradientTape() as tape:
        # Forward pass
        y = layer(x)
        loss = tf.reduce_mean(y**2)

    # Calculate gradients with respect to every trainable variable
    grad = tape.gradient(loss, layer.trainable_variables)

    for var, g in zip(layer.trainable_variables, grad):
        print(f"{var.name}, shape: {g.shape}")
    lines = capsys.readouterr().out.splitlines()
    if tf.__name__ == "tensorflow":  # Keras 3 has taken the layer out of the name
        assert lines == ["kernel, shape: (3, 2)", "bias, shape: (2,)"]
    else:
        name = layer.name
        assert lines == [f"{name}/kernel:0, shape: (3, 2)", f"{name}/bias:0, shape: (2,)"]


def test_a_module_gathers_variables(tf):
    class Net(tf.Module):
        def __init__(self):
            super().__init__(name="net")
            self.w = tf.Variable(1.0)
            self.more = [tf.Variable(2.0), {"last": tf.Variable(3.0, trainable=False)}]

    net = Net()
    assert sorted(float(v.numpy()) for v in net.variables) == [1, 2, 3]
    assert sorted(float(v.numpy()) for v in net.trainable_variables) == [1, 2]


def test_what_is_watched(tf, capsys):
    # A trainable variable
    x0 = tf.Variable(3.0, name="x0")
    # Not trainable
    x1 = tf.Variable(3.0, name="x1", trainable=False)
    # Not a Variable: A variable + tensor returns a tensor.
    x2 = tf.Variable(2.0, name="x2") + 1.0
    # Not a variable
    x3 = tf.constant(3.0, name="x3")

    with tf.GradientTape() as tape:
        y = (x0**2) + (x1**2) + (x2**2)

    grad = tape.gradient(y, [x0, x1, x2, x3])

    for g in grad:
        print(g)
    assert capsys.readouterr().out == "tf.Tensor(6.0, shape=(), dtype=float32)\nNone\nNone\nNone\n"

    assert [var.name for var in tape.watched_variables()] == ["x0:0"]


def test_watch(tf):
    x = tf.constant(3.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x**2

    # dy = 2x * dx
    dy_dx = tape.gradient(y, x)
    assert dy_dx.numpy() == 6.0


def test_watch_only_what_is_said(tf, capsys):
    x0 = tf.Variable(0.0)
    x1 = tf.Variable(10.0)

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x1)
        y0 = tf.math.sin(x0)
        y1 = tf.nn.softplus(x1)
        y = y0 + y1
        ys = tf.reduce_sum(y)

    # dys/dx1 = exp(x1) / (1 + exp(x1)) = sigmoid(x1)
    grad = tape.gradient(ys, {"x0": x0, "x1": x1})

    print("dy/dx0:", grad["x0"])
    print("dy/dx1:", grad["x1"].numpy())
    assert capsys.readouterr().out == "dy/dx0: None\ndy/dx1: 0.9999546\n"


def test_intermediate_results(tf):
    x = tf.constant(3.0)

    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x * x
        z = y * y

    # Use the tape to compute the gradient of z with respect to the
    # intermediate value y.
    # dz_dy = 2 * y and y = x ** 2 = 9
    assert tape.gradient(z, y).numpy() == 18.0


def test_several_gradients(tf, capsys):
    x = tf.constant([1, 3.0])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x
        z = y * y

    print(tape.gradient(z, x).numpy())  # [4.0, 108.0] (4 * x**3 at x = [1.0, 3.0])
    print(tape.gradient(y, x).numpy())  # [2.0, 6.0] (2 * x at x = [1.0, 3.0])
    assert capsys.readouterr().out == "[  4. 108.]\n[2. 6.]\n"

    del tape  # Drop the reference to the tape


def test_two_targets(tf, capsys):
    x = tf.Variable(2.0)
    with tf.GradientTape(persistent=True) as tape:
        y0 = x**2
        y1 = 1 / x

    print(tape.gradient(y0, x).numpy())
    print(tape.gradient(y1, x).numpy())
    assert capsys.readouterr().out == "4.0\n-0.25\n"


def test_the_gradient_of_the_sum_of_targets(tf):
    x = tf.Variable(2.0)
    with tf.GradientTape() as tape:
        y0 = x**2
        y1 = 1 / x

    assert tape.gradient({"y0": y0, "y1": y1}, x).numpy() == 3.75


def test_the_gradient_of_the_sum_of_a_target(tf):
    x = tf.Variable(2.0)

    with tf.GradientTape() as tape:
        y = x * [3.0, 4.0]

    assert tape.gradient(y, x).numpy() == 7.0


def test_an_element_wise_target_and_its_picture(tf):
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    x = tf.linspace(-10.0, 10.0, 200 + 1)

    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.nn.sigmoid(x)

    dy_dx = tape.gradient(y, x)

    plt.plot(x, y, label="y")
    plt.plot(x, dy_dx, label="dy/dx")
    plt.legend()
    _ = plt.xlabel("x")

    curves = plt.gca().get_lines()
    grid = np.linspace(-10, 10, 201)
    s = 1 / (1 + np.exp(-grid))
    for curve, values in zip(curves, (s, s * (1 - s))):
        np.testing.assert_allclose(curve.get_xdata(), grid, atol=1e-5)
        np.testing.assert_allclose(curve.get_ydata(), values, atol=1e-6)
    assert dy_dx.shape == (201,)
    plt.close()


def test_control_flow(tf, capsys):
    x = tf.constant(1.0)

    v0 = tf.Variable(2.0)
    v1 = tf.Variable(2.0)

    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        if x > 0.0:
            result = v0
        else:
            result = v1**2

    dv0, dv1 = tape.gradient(result, [v0, v1])

    print(dv0)
    print(dv1)
    assert capsys.readouterr().out == "tf.Tensor(1.0, shape=(), dtype=float32)\nNone\n"

    dx = tape.gradient(result, x)

    print(dx)
    assert capsys.readouterr().out == "None\n"


def test_not_connected(tf):
    x = tf.Variable(2.0)
    y = tf.Variable(3.0)

    with tf.GradientTape() as tape:
        z = y * y
    assert tape.gradient(z, x) is None


def test_a_variable_replaced_by_a_tensor(tf, capsys):
    x = tf.Variable(2.0)

    for epoch in range(2):
        with tf.GradientTape() as tape:
            y = x + 1

        print(type(x).__name__, ":", tape.gradient(y, x))
        x = x + 1  # This should be `x.assign_add(1)`
    assert capsys.readouterr().out == (
        "ResourceVariable : tf.Tensor(1.0, shape=(), dtype=float32)\nEagerTensor : None\n"
    )


def test_computed_outside(tf):
    x = tf.Variable([[1.0, 2.0], [3.0, 4.0]], dtype=tf.float32)

    with tf.GradientTape() as tape:
        x2 = x**2

        # This step is calculated with NumPy
        y = np.mean(x2, axis=0)

        # Like most ops, reduce_mean will cast the NumPy array to a constant tensor
        # using `tf.convert_to_tensor`.
        y = tf.reduce_mean(y, axis=0)

    assert tape.gradient(y, x) is None


def expect_warning(tf, text):
    """gpugrad warns; TensorFlow logs."""
    return pytest.warns(UserWarning, match=text) if tf.__name__ != "tensorflow" else pytest.MonkeyPatch.context()


def test_integers(tf):
    x = tf.constant(10)

    with expect_warning(tf, r"The dtype of the watched tensor must be floating \(e.g. tf.float32\), got tf.int32"):
        with tf.GradientTape() as g:
            g.watch(x)
            y = x * x

    assert g.gradient(y, x) is None


def test_strings(tf):
    x = tf.constant("text")
    assert x.numpy() == b"text"
    with expect_warning(tf, r"got tf.string"):
        with tf.GradientTape() as g:
            g.watch(x)
            y = tf.constant(1.0) * 2.0
    assert g.gradient(y, x) is None


def test_nothing_is_cast(tf):
    with pytest.raises(tf.errors.InvalidArgumentError, match="was expected to be a int32 tensor but is a float tensor"):
        tf.constant(10) * tf.constant(2.0)


def test_tensors_do_not_change(tf):
    x = tf.constant([1.0, 2.0])
    with pytest.raises(TypeError, match="does not support item assignment"):
        x[0] = 5.0


def test_state_stops_gradients(tf):
    x0 = tf.Variable(3.0)
    x1 = tf.Variable(0.0)

    with tf.GradientTape() as tape:
        # Update x1 = x1 + x0.
        x1.assign_add(x0)
        # The tape starts recording from x1.
        y = x1**2  # y = (x1 + x0)**2

    # This doesn't work.
    assert tape.gradient(y, x0) is None  # dy/dx0 = 2*(x1 + x0)
    assert x1.numpy() == 3.0


def test_datasets_and_queues_stop_gradients(tf):
    x = tf.Variable([1.0, 2.0])
    with tf.GradientTape(persistent=True) as tape:
        (element,) = list(tf.data.Dataset.from_tensors(x * 2.0))
        y = tf.reduce_sum(element)
        queue = tf.queue.FIFOQueue(3, [tf.float32])
        queue.enqueue(x * 3.0)
        z = tf.reduce_sum(queue.dequeue())
    assert (float(y), float(z)) == (6, 9)
    assert tape.gradient(y, x) is None and tape.gradient(z, x) is None


def test_ops_that_are_not_differentiable(tf):
    x = tf.Variable([1.4, 2.6])
    for f in (tf.round, tf.argmax, lambda v: tf.cast(v, tf.int32)):
        with tf.GradientTape() as tape:
            y = f(x)
        assert tape.gradient(y, x) is None


def test_no_gradient_registered(tf, capsys):
    image = tf.Variable([[[0.5, 0.0, 0.0]]])
    delta = tf.Variable(0.1)

    with tf.GradientTape() as tape:
        new_image = tf.image.adjust_contrast(image, delta)

    try:
        print(tape.gradient(new_image, [image, delta]))
        assert False  # This should not happen.  # noqa: B011
    except LookupError as e:
        print(f"{type(e).__name__}: {e}")
    assert capsys.readouterr().out.startswith("LookupError: gradient registry has no entry for: AdjustContrastv2")
    np.testing.assert_allclose(new_image.numpy(), [[[0.5, 0.0, 0.0]]])


def test_an_op_written_again_has_a_gradient(tf):
    @tf.custom_gradient
    def adjust(image):
        return tf.image.adjust_contrast(image, 0.1), lambda g: g * 0.1

    image = tf.Variable([[[0.5], [0.0]]])
    with tf.GradientTape() as tape:
        y = adjust(image)
    assert tape.gradient(y, image).numpy().ravel() == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize("how", ["enum", "text"])
def test_zeros_instead_of_none(tf, capsys, how):
    x = tf.Variable([2.0, 2.0])
    y = tf.Variable(3.0)

    with tf.GradientTape() as tape:
        z = y**2
    zero = tf.UnconnectedGradients.ZERO if how == "enum" else "zero"
    print(tape.gradient(z, x, unconnected_gradients=zero))
    assert capsys.readouterr().out == "tf.Tensor([0. 0.], shape=(2,), dtype=float32)\n"
