"""tf.keras's layers and models against Keras's behaviour: dtypes, frozen layers, building, fit's options."""

import numpy as np
import pytest


def names(variables):
    return [v.name.split("/")[-1].removesuffix(":0") for v in variables]


def dense(tf, **options):
    return tf.keras.layers.Dense(2, **options)


def pair(tf):
    """A model of two Dense layers, built, with data."""
    model = tf.keras.Sequential([tf.keras.layers.Dense(3, activation="tanh"), tf.keras.layers.Dense(1)])
    x, y = np.linspace(-1, 1, 16, dtype="float32").reshape(8, 2), np.ones((8, 1), "float32")
    model(x)
    return model, x, y


# ---------------------------------------------------------------------------------------------- dtypes
def test_the_quickstart(tf):
    x = (np.arange(8 * 784) % 255).astype(np.uint8).reshape(8, 28, 28) / 255.0
    y = np.zeros(8, np.uint8)
    model = tf.keras.Sequential([tf.keras.layers.Flatten(), tf.keras.layers.Dense(10)])
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert model(x[:1]).dtype == tf.float32 and float(loss(y[:1], model(x[:1]))) > 0
    model.compile("adam", loss, metrics=["accuracy"])
    history = model.fit(x, y, epochs=3, verbose=0).history
    assert history["loss"][2] < history["loss"][0]
    assert len(model.evaluate(x, y, verbose=0)) == 2 and model.predict(x, verbose=0).shape == (8, 10)


def test_inputs_are_cast_to_the_layers_dtype(tf):
    double, single, whole = np.ones((2, 3)), np.ones((2, 3), "float32"), np.ones((2, 3), "int64")
    for x in (double, single, whole, tf.constant(double), tf.constant(whole), tf.Variable(double)):
        assert dense(tf)(x).dtype == tf.float32
    assert dense(tf, dtype="float64")(single).dtype == tf.float64
    assert dense(tf, dtype=tf.float16)(double).dtype == tf.float16
    layer = dense(tf, dtype="float64")
    layer.build((None, 3))
    assert layer.kernel.dtype == layer.bias.dtype == layer.dtype == "float64"
    assert tf.keras.layers.Flatten()(double).dtype == tf.float32
    assert tf.keras.layers.Flatten()(whole).dtype == tf.int64
    assert tf.keras.layers.Flatten(autocast=False)(double).dtype == tf.float64


def test_the_gradient_goes_back_through_the_cast(tf):
    x, layer = tf.Variable([[1.0, 2.0]], dtype=tf.float64), dense(tf, kernel_initializer="ones")
    with tf.GradientTape() as tape:
        y = layer(x)
    g = tape.gradient(y, x)
    assert g.dtype == tf.float64 and g.numpy().tolist() == [[2, 2]]


def test_a_layer_of_ones_own_is_given_tensors_of_its_dtype(tf):
    class Note(tf.keras.layers.Layer):
        def call(self, inputs, other=None):
            return [t.dtype for t in inputs], other.dtype

    both = [np.ones(2), np.ones(2, "int64")]
    assert Note()(both, other=np.ones(2)) == ([tf.float32, tf.int64], tf.float32)
    assert Note(dtype="float64")(both, np.ones(2, "float32")) == ([tf.float64, tf.int64], tf.float64)


def test_inputs_in_a_list(tf):
    shapes = []

    class Total(tf.keras.layers.Layer):
        def build(self, input_shape):
            shapes.append([tuple(s) for s in input_shape])

        def call(self, inputs):
            return inputs[0] + inputs[1]

    v = tf.Variable([[1.0, 2.0]])
    with tf.GradientTape() as tape:
        y = Total()([v * 2.0, np.ones((1, 2))])
    assert shapes == [[(1, 2), (1, 2)]] and tape.gradient(y, v).numpy().tolist() == [[2, 2]]


def test_losses_that_are_functions(tf):
    model, x, y = pair(tf)
    model.compile("sgd", lambda t, p: (t - p) ** 2)
    one = model.evaluate(x, y.astype("float64"), verbose=0)
    model.compile("sgd", "mse")
    assert model.evaluate(x, y, verbose=0) == pytest.approx(one, rel=1e-5)


# ---------------------------------------------------------------------------------------------- frozen layers
def test_a_frozen_layer_is_left_alone(tf):
    model, x, y = pair(tf)
    first, last = model.layers
    model.compile("sgd", "mse")
    first.trainable = False
    assert first.trainable_variables == first.trainable_weights == []
    assert len(first.non_trainable_weights) == len(first.weights) == 2
    assert names(model.trainable_variables) == ["kernel", "bias"]
    assert len(model.non_trainable_variables) == 2
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(x))
    if tf.__name__ != "tensorflow":  # whose tapes watch what Keras freezes
        assert tape.gradient(loss, [first.kernel, first.bias]) == [None, None]
    before = [w.copy() for w in model.get_weights()]
    model.compile("sgd", "mse")
    model.fit(x, y, epochs=2, verbose=0)
    same = [np.array_equal(a, b) for a, b in zip(before, model.get_weights())]
    assert same == [True, True, False, False]
    first.trainable = True
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)
    assert not np.array_equal(before[0], model.get_weights()[0])


def test_frozen_before_it_is_built(tf):
    layer, other = dense(tf), dense(tf, trainable=False)
    layer.trainable = False
    for d in (layer, other):
        d(np.ones((1, 3)))
        assert d.trainable_weights == [] and len(d.non_trainable_weights) == 2 and not d.kernel.trainable
        with tf.GradientTape() as tape:
            y = tf.reduce_sum(d(np.ones((1, 3))))
        if tf.__name__ != "tensorflow":
            assert tape.gradient(y, d.kernel) is None
        d.trainable = True
        assert len(d.trainable_weights) == 2 and d.non_trainable_weights == [] and d.kernel.trainable
        with tf.GradientTape() as tape:
            y = tf.reduce_sum(d(np.ones((1, 3))))
        assert tape.gradient(y, d.kernel).shape == (3, 2)


def test_freezing_a_model_freezes_what_is_inside(tf):
    class Scaled(tf.keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = dense(tf)

        def build(self, input_shape):
            self.scale = self.add_weight((input_shape[-1],), "ones", name="scale")
            self.steps = self.add_weight((1,), "zeros", trainable=False, name="steps")

        def call(self, inputs):
            return self.inner(inputs * self.scale)

    model = tf.keras.Sequential([Scaled()])
    model(np.ones((1, 3)))
    (layer,) = model.layers
    assert names(layer.weights) == ["scale", "steps", "kernel", "bias"]
    assert names(layer.trainable_weights) == ["scale", "kernel", "bias"]
    model.trainable = False
    assert not layer.trainable and not layer.inner.trainable and not layer.inner.kernel.trainable
    assert model.trainable_variables == layer.inner.trainable_variables == []
    layer.inner.trainable = True
    assert model.trainable_variables == [] and len(layer.inner.trainable_variables) == 2
    model.trainable = True
    layer.inner.trainable = False
    assert names(model.trainable_variables) == ["scale"]
    assert names(model.non_trainable_variables) == ["steps", "kernel", "bias"]
    layer.inner.trainable = True
    layer.scale.trainable = False
    assert names(model.trainable_variables) == ["kernel", "bias"]


def test_trainable_of_a_variable_is_read_only(tf):
    v = tf.Variable(1.0)
    with pytest.raises(AttributeError, match="trainable"):
        v.trainable = False
    assert v.trainable


# ---------------------------------------------------------------------------------------------- order
def test_the_order_of_a_modules_variables(tf):
    class Inner(tf.Module):
        def __init__(self):
            super().__init__()
            self.y, self.x = tf.Variable(1.0, name="y"), tf.Variable(1.0, name="x")

    class Outer(tf.Module):
        def __init__(self):
            super().__init__()
            self.w, self.z, self.b = tf.Variable(1.0, name="w"), Inner(), tf.Variable(1.0, name="b")
            self.listed = [tf.Variable(1.0, name="l1"), Inner(), tf.Variable(1.0, name="l0", trainable=False)]
            self.d = {"z": tf.Variable(1.0, name="dz"), "a": tf.Variable(1.0, name="da")}
            self.a = Inner()
            self.again = self.w

    m = Outer()
    inner = ["x", "y"] * 3
    assert names(m.variables) == ["w", "b", "da", "dz", "l1", "l0", *inner]  # `again` comes before `w`
    assert names(m.trainable_variables) == ["w", "b", "da", "dz", "l1", *inner]
    assert [s is t for s, t in zip(m.submodules, (m.a, m.listed[1], m.z), strict=True)] == [True] * 3


def test_gradients_come_in_that_order(tf):
    class Linear(tf.Module):
        def __init__(self):
            super().__init__()
            self.w, self.b = tf.Variable(2.0), tf.Variable(1.0)

    m = Linear()
    with tf.GradientTape() as tape:
        loss = 3.0 * m.w + m.b
    db, dw = tape.gradient(loss, m.trainable_variables)
    assert (float(db), float(dw)) == (1, 3)


# ---------------------------------------------------------------------------------------------- building
def test_building_a_sequential(tf):
    model = tf.keras.Sequential([tf.keras.layers.Flatten(), dense(tf)])
    assert not model.built and list(model.weights) == []
    with pytest.raises(ValueError, match="You tried to call `count_params` on layer"):
        model.count_params()
    model.build((None, 2, 3))
    assert model.built and model.count_params() == 14 and len(model.weights) == 2
    kernel = model.layers[1].kernel
    model(np.ones((4, 2, 3)))
    assert model.layers[1].kernel is kernel


@pytest.mark.parametrize("how", ["Input", "InputLayer", "input_shape", "input_dim"])
@pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`")
def test_a_shape_given_first_builds(tf, how):
    if how in ("Input", "InputLayer"):
        start = tf.keras.layers.Input(shape=(3,)) if how == "Input" else tf.keras.layers.InputLayer(shape=(3,))
        model = tf.keras.Sequential([start, dense(tf)])
    else:
        model = tf.keras.Sequential([dense(tf, **{how: (3,) if how == "input_shape" else 3})])
    assert model.built and len(model.weights) == 2 and len(model.layers) == 1 and model.count_params() == 8
    model.add(tf.keras.layers.Dense(1))
    assert model.count_params() == 11


def test_a_layer_that_is_built_by_hand_is_built_once(tf):
    layer = dense(tf)
    assert not layer.built
    layer.build((None, 3))
    kernel = layer.kernel
    assert layer.built
    layer(np.ones((1, 3)))
    assert layer.kernel is kernel and layer.count_params() == 8


def test_a_model_of_ones_own(tf):
    class Net(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.b, self.more, self.a = dense(tf), [tf.keras.layers.Dense(3)], tf.keras.layers.Dense(1)

        def call(self, inputs):
            return self.a(self.more[0](self.b(inputs)))

    net = Net()
    assert not net.built and [m is n for m, n in zip(net.layers, (net.b, net.more[0], net.a))] == [True] * 3
    net(np.ones((2, 3)))
    assert net.built and net.count_params() == 8 + 9 + 4
    if tf.__name__ != "tensorflow":  # Keras builds such a model by a call alone
        net = Net()
        net.build((None, 3))
        assert net.built and net.count_params() == 21


def test_a_summary(tf):
    model, _, _ = pair(tf)
    model.layers[0].trainable = False
    lines = []
    model.summary(print_fn=lambda line, **more: lines.append(line))
    text = " ".join("\n".join(lines).split())
    for part in ("Layer (type)", "Output Shape", "Param #", "(Dense)", "Total params: 13", "params: 4", "params: 9"):
        assert part in text, part
    lines = []
    tf.keras.Sequential([dense(tf)]).summary(print_fn=lambda line, **more: lines.append(line))
    assert "unbuilt" in "\n".join(lines)


# ---------------------------------------------------------------------------------------------- training
def test_a_batch(tf):
    model, x, y = pair(tf)
    model.compile("sgd", "mse", run_eagerly=True, jit_compile=False)
    wanted = float(np.mean((model.predict(x, verbose=0) - y) ** 2))
    assert float(model.test_on_batch(x, y)) == pytest.approx(wanted, rel=1e-4)
    assert float(model.train_on_batch(x, y)) == pytest.approx(wanted, rel=1e-4)
    assert float(model.test_on_batch(x, y, return_dict=True)["loss"]) < wanted
    assert model.predict_on_batch(x).shape == (8, 1)


def test_a_split_for_validation(tf):
    model, x, y = pair(tf)
    y[-2:] = 100  # the last rows, of which the training does not know
    model.compile("sgd", "mse", metrics=["mae"])
    history = model.fit(x, y, validation_split=0.25, verbose=0).history
    assert sorted(history) == ["loss", "mae", "val_loss", "val_mae"]
    assert history["loss"][0] < 100 < history["val_loss"][0]


def test_weights_of_rows(tf):
    model, x, y = pair(tf)
    y[:4] = 100
    weights = np.array([0] * 4 + [2] * 4)
    model.compile("sgd", "mse")
    wanted = np.mean(weights * (model.predict(x, verbose=0) - y)[:, 0] ** 2)
    assert float(model.evaluate(x, y, sample_weight=weights, verbose=0)) == pytest.approx(float(wanted), rel=1e-4)
    before = [w.copy() for w in model.get_weights()]
    model.fit(x, y, sample_weight=np.zeros(8), verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    with pytest.raises(ValueError, match="Data cardinality is ambiguous"):
        model.fit(x, y, sample_weight=np.zeros(7), verbose=0)


def test_options_that_are_not_there(tf):
    model, x, y = pair(tf)
    with pytest.raises(TypeError, match="'surprise'"):
        model.compile("sgd", "mse", surprise=1)
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match="'surprise'"):
        model.fit(x, y, verbose=0, surprise=1)
    model.fit(x, y, verbose=0, callbacks=[])
    if tf.__name__ != "tensorflow":
        with pytest.raises(TypeError, match="'steps', 'surprise'; what it takes is x, y, batch_size, epochs"):
            model.fit(x, y, surprise=1, steps=2)
        with pytest.raises(ValueError, match="there are no callbacks"):
            model.fit(x, y, callbacks=[print])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_weights_in_a_file(tf, tmp_path):
    model, x, _ = pair(tf)
    path = str(tmp_path / ("w.weights.h5" if tf.__name__ == "tensorflow" else "w.safetensors"))
    model.save_weights(path)
    other, _, _ = pair(tf)
    other.load_weights(path)
    assert np.array_equal(model.predict(x, verbose=0), other.predict(x, verbose=0))
    with pytest.raises(ValueError):
        tf.keras.Sequential([dense(tf)]).load_weights(path)
    if tf.__name__ != "tensorflow":
        with pytest.raises(ValueError, match="safetensors"):
            model.save_weights(str(tmp_path / "w.weights.h5"))


@pytest.mark.parametrize("name", ["Categorical", "Binary"])
def test_label_smoothing(tf, name):
    y, p = np.float32([[0, 1, 0]]), np.float32([[0.2, 0.7, 0.1]])
    if name == "Binary":
        t = y * 0.9 + 0.05
        wanted = -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p))
    else:
        wanted = -np.sum((y * 0.9 + 0.1 / 3) * np.log(p))
    loss = getattr(tf.keras.losses, f"{name}Crossentropy")(label_smoothing=0.1)
    assert float(loss(y, p)) == pytest.approx(float(wanted), rel=1e-5)
    f = getattr(tf.keras.losses, f"{name.lower()}_crossentropy")
    assert float(f(y, p, label_smoothing=0.1)[0]) == pytest.approx(float(wanted), rel=1e-5)


def test_iterations(tf):
    v, optimizer = tf.Variable(1.0), tf.keras.optimizers.SGD()
    assert optimizer.iterations.numpy() == 0
    optimizer.apply_gradients([(tf.constant(1.0), v)])
    assert optimizer.iterations.numpy() == 1 and int(optimizer.iterations) == 1
