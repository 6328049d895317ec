"""gpugrad.tensorflow against TensorFlow's behaviour: conventions, functions, Keras, data, errors."""

import numpy as np
import pytest


def values(t):
    return np.asarray(t).tolist()


def test_printing(tf):
    x = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    assert str(x) == "tf.Tensor(\n[[1. 2.]\n [3. 4.]], shape=(2, 2), dtype=float32)"
    assert (
        repr(x)
        == "<tf.Tensor: shape=(2, 2), dtype=float32, numpy=\narray([[1., 2.],\n       [3., 4.]], dtype=float32)>"
    )
    assert repr(tf.constant(6.0)) == "<tf.Tensor: shape=(), dtype=float32, numpy=6.0>"
    assert f"{tf.constant(1.234).numpy():.2f}" == "1.23"
    v = tf.Variable([1.0, 2.0], name="v")
    assert repr(v) == "<tf.Variable 'v:0' shape=(2,) dtype=float32, numpy=array([1., 2.], dtype=float32)>"
    assert tf.zeros((2, 3)).shape.as_list() == [2, 3] and tf.zeros((2, 3)).shape == (2, 3)


def test_dtypes(tf):
    assert tf.constant(10).dtype == tf.int32 and tf.constant([1, 3.0]).dtype == tf.float32
    assert tf.constant(np.float64([1.0])).dtype == tf.float64
    f = tf.Variable(2.0)
    assert (f * np.float64([1.0, 2.0])).dtype == tf.float32 and (np.float64(0.1) * f).dtype == tf.float32
    with pytest.raises(TypeError, match="Cannot convert 2.0 to EagerTensor of dtype int32"):
        tf.Variable(3) * 2.0
    assert (f * np.array([1, 2])).dtype == tf.float32
    with pytest.raises(tf.errors.InvalidArgumentError, match="cannot compute Mul as input #1"):
        tf.multiply(tf.constant(1), tf.constant(2.0))


def test_arrays_lists_and_numbers_become_tensors(tf):
    for x in ([1.0, 4.0], np.float32([1, 4]), tf.constant([1.0, 4.0])):
        for f in (
            tf.sqrt,
            tf.reduce_sum,
            tf.nn.relu,
            tf.math.exp,
            lambda v: tf.multiply(v, 2.0),
            tf.identity,
            tf.zeros_like,
        ):
            assert isinstance(f(x), tf.Tensor)
    assert tf.sqrt(4.0).numpy() == 2 and tf.reduce_sum([[1, 2], [3, 4]], axis=0).numpy().tolist() == [4, 6]


def test_type_names_and_keys(tf):
    v, t = tf.Variable(1.0), tf.constant(1.0)
    assert (type(v).__name__, type(t).__name__) == ("ResourceVariable", "EagerTensor")
    assert not isinstance(v, tf.Tensor) and isinstance(v, tf.Variable)
    for x, what in ((v, "Variable"), (t, "Tensor")):
        with pytest.raises(TypeError, match=f"{what} is unhashable. Instead, use {what.lower()}.ref\\(\\) as the key"):
            hash(x)
        assert {x.ref(): 1}[x.ref()] == 1 and x.ref().deref() is x
    with pytest.raises(TypeError):
        len(tf.Variable([1.0]))


def test_functions(tf):
    x = tf.constant([[1.0, 5.0, 2.0], [7.0, 0.0, 3.0]])
    assert values(tf.argmax(x)) == [1, 0, 1] and tf.argmax(x, axis=1).dtype == tf.int64
    assert values(tf.transpose(x)[0]) == [1, 7] and tf.expand_dims(x, 0).shape == (1, 2, 3)
    assert values(tf.concat([x, x], axis=0)[:, 0]) == [1, 7, 1, 7] and tf.stack([x, x], axis=1).shape == (2, 2, 3)
    assert values(tf.gather(x, [1, 0])[:, 0]) == [7, 1] and values(tf.cumsum(x, axis=1)[0]) == [1, 6, 8]
    assert values(tf.cumsum(x, axis=1, exclusive=True, reverse=True)[0]) == [7, 2, 0]
    assert values(tf.clip_by_value(x, 1.0, 3.0)[1]) == [3, 1, 3] and values(tf.where(x > 2.0, x, 0.0)[0]) == [0, 5, 0]
    assert values(tf.one_hot([0, 2], 3)) == [[1, 0, 0], [0, 0, 1]] and values(tf.shape(x)) == [2, 3]
    assert values(tf.matmul(x, x, transpose_b=True)) == values(np.asarray(x) @ np.asarray(x).T)
    assert [p.shape[1] for p in tf.split(x, [1, 2], axis=1)] == [1, 2] and values(tf.tile([[1.0]], [2, 2])) == [
        [1, 1]
    ] * 2
    assert float(tf.norm(tf.constant([3.0, 4.0]))) == 5 and float(tf.math.reduce_std(tf.constant([1.0, 3.0]))) == 1
    assert values(tf.boolean_mask(x, [True, False])) == [[1, 5, 2]] and values(tf.cast(x, tf.int32)[0]) == [1, 5, 2]
    assert values(tf.nn.softmax(tf.zeros((1, 2)))) == [[0.5, 0.5]] and values(
        tf.nn.leaky_relu([-1.0, 1.0])
    ) == pytest.approx([-0.2, 1])
    assert (
        values(tf.fill([2], 7.0)) == [7, 7]
        and values(tf.range(3)) == [0, 1, 2]
        and values(tf.reverse(x, [1])[0]) == [2, 5, 1]
    )
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=[1], logits=[[0.0, 0.0]])
    assert values(loss) == pytest.approx([np.log(2)])


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_gradients_at_kinks(tf):
    for f, at, wanted in [
        (lambda x: tf.maximum(x, 0.0), 0.0, 1), (tf.abs, 0.0, 0), (tf.nn.relu, 0.0, 0),
        (lambda x: tf.clip_by_value(x, 0.0, 1.0), 1.0, 1), (lambda x: tf.minimum(x, 0.0), 0.0, 1),
    ]:  # fmt: skip
        x = tf.Variable(at)
        with tf.GradientTape() as tape:
            y = f(x)
        assert float(tape.gradient(y, x)) == wanted
    x = tf.Variable([1.0, 1.0, 0.0])
    with tf.GradientTape() as tape:
        y = tf.reduce_max(x)
    assert values(tape.gradient(y, x)) == [0.5, 0.5, 0]
    x = tf.Variable([0.0, 0.0])
    with tf.GradientTape() as tape:
        y = tf.norm(x)
    assert np.isnan(tape.gradient(y, x).numpy()).all()


def test_assignment(tf):
    v = tf.Variable([1.0, 2.0])
    v.assign([3.0, 4.0])
    v.assign_add([1.0, 1.0])
    v[0].assign(10.0)
    assert values(v.numpy()) == [10, 5] and values(v.read_value()) == [10, 5]
    with pytest.raises(ValueError, match="Shape mismatch"):
        v.assign([1.0, 2.0, 3.0])
    with pytest.raises((RuntimeError, TypeError)):
        v += 1


def test_errors_of_shapes(tf):
    for make, text in [
        (lambda: tf.ones((2, 3)) + tf.ones((2, 4)), r"Incompatible shapes: \[2,3\] vs. \[2,4\] \[Op:AddV2\]"),
        (lambda: tf.ones((2, 3)) @ tf.ones((2, 3)), r"Matrix size-incompatible: In\[0\]: \[2,3\], In\[1\]: \[2,3\] \[Op:MatMul\]"),
    ]:  # fmt: skip
        with pytest.raises(tf.errors.InvalidArgumentError, match=text):
            make()


def test_errors_of_tapes(tf):
    x = tf.constant(1.0)
    with pytest.raises(ValueError, match="Unknown value for unconnected_gradients: 'foo'"):
        with tf.GradientTape() as tape:
            pass
        tape.gradient(x, x, unconnected_gradients="foo")
    with pytest.raises(ValueError, match="Passed in object 1.0 of type 'float'"), tf.GradientTape() as tape:
        tape.watch(1.0)
    with pytest.raises(ValueError, match="Tape is still recording"), tf.GradientTape() as tape, tape:
        pass
    with pytest.raises(TypeError, match="Argument `target` should be a list or nested structure"):
        with tf.GradientTape() as tape:
            pass
        tape.gradient(None, x)
    with pytest.raises(ValueError, match="No gradients provided for any variable"):
        tf.keras.optimizers.SGD().apply_gradients([(None, tf.Variable(1.0))])


def test_what_a_tape_refuses(tf):
    x = tf.constant(1.0)
    once = r"A non-persistent GradientTape can only be used to compute one set of gradients \(or jacobians\)"
    with pytest.raises(RuntimeError, match=once):
        tf.GradientTape().gradient(x, x)  # never entered
    with pytest.raises(AttributeError if tf.__name__ == "tensorflow" else ValueError):
        tf.GradientTape().watch(x)  # nor here
    with pytest.raises(ValueError, match="Tape is not recording"):
        tf.GradientTape().reset()
    with pytest.raises(RuntimeError, match="Trying to stop recording a tape which is not recording"):
        with tf.GradientTape().stop_recording():
            pass
    with tf.GradientTape() as tape:
        pass
    with pytest.raises(ValueError, match="Tape is not recording"):
        tape.reset()
    with pytest.raises(ValueError, match="Tape is not recording"):
        with tape.stop_recording():
            pass
    with tf.GradientTape() as tape, pytest.raises(ValueError, match="Passed in object .* of type 'ndarray'"):
        tape.watch(np.ones(2))


def test_a_gradient_taken_inside_the_block(tf):
    x = tf.Variable(3.0)
    with tf.GradientTape() as tape:
        y = x * x
        assert float(tape.gradient(y, x)) == 6
        z = x * x * x
    with pytest.raises(RuntimeError, match="A non-persistent GradientTape can only be used to compute one set"):
        tape.gradient(z, x)
    with tf.GradientTape(persistent=True) as tape:
        y = x * x
        if tf.__name__ == "tensorflow":  # logs it
            first = tape.gradient(y, x)
        else:
            with pytest.warns(
                UserWarning, match="Calling GradientTape.gradient on a persistent tape inside its context"
            ):
                first = tape.gradient(y, x)
    assert float(tape.gradient(first, x)) == 2


def test_errors_of_custom_gradients(tf):
    @tf.custom_gradient
    def two(x):
        return x * 2.0, lambda g: (g, g)

    x, w = tf.Variable(1.0), tf.Variable(2.0)
    with tf.GradientTape() as tape:
        y = two(x)
    with pytest.raises(
        ValueError, match="custom_gradient function expected to return 1 gradients, but returned 2 instead"
    ):
        tape.gradient(y, x)

    @tf.custom_gradient
    def reads(x):
        return x * w, lambda g: g

    text = "@tf.custom_gradient grad_fn must accept keyword argument 'variables', since function uses variables"
    with pytest.raises(TypeError, match=text), tf.GradientTape() as tape:
        reads(x)

    @tf.custom_gradient
    def forgets(x):
        return x * w, lambda g, variables=None: (g, [])

    with tf.GradientTape() as tape:
        y = forgets(x)
    with pytest.raises(ValueError, match="Must return gradient for each variable from @custom_gradient grad_fn"):
        tape.gradient(y, x)


def test_errors_of_variables(tf):
    v = tf.Variable([1.0, 2.0])
    if tf.__name__ != "tensorflow":  # there it is an error in graph mode only
        with pytest.raises(RuntimeError, match="`variable \\+= value` .*is not supported. Use `variable.assign_add"):
            v += 1
    with pytest.raises(
        ValueError, match="Cannot assign value to variable .*Variable:0'.*Shape mismatch.*The variable shape"
    ):
        v.assign([1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match="does not support item assignment"):
        v[0] = 5.0
    v[0].assign(5.0)
    assert values(v) == [5, 2]
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.matmul(tf.ones(3), tf.ones(3))
    with pytest.raises(ValueError):
        tf.keras.optimizers.SGD().apply_gradients([])


def test_sources_and_targets(tf):
    x = tf.constant(3.0)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x
        tape.watch(y)  # in the middle: the history stays
        z = y * y
    assert [float(g) for g in tape.gradient(y, [x, x])] == [6, 6]
    assert float(tape.gradient([y, y], x)) == 12 and float(tape.gradient([y, z], x)) == 114
    assert (
        float(tape.gradient([y, z], y)) == 19 and float(tape.gradient(z, y)) == 18 and float(tape.gradient(z, x)) == 108
    )
    unwatched = tf.constant(1.0)
    assert float(tape.gradient(unwatched, unwatched)) == 1
    assert float(tape.gradient([y], x, output_gradients=[tf.constant(2.0), tf.constant(5.0)])) == 12  # the rest is left
    before = tf.constant(2.0) * 3.0
    with tf.GradientTape() as tape:
        tape.watch(before)
        y = before * before
    assert float(tape.gradient(y, before)) == 12
    empty = tf.Variable(tf.zeros((0, 3)))
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(empty * 2.0)
    assert tape.gradient(y, empty).shape == (0, 3)


@pytest.mark.filterwarnings("ignore:.*must be floating")
def test_what_is_listed_as_watched(tf):
    f, i, b = tf.Variable(1.0), tf.Variable(2), tf.Variable(True)
    with tf.GradientTape() as tape:
        tape.watch(f)
        y = f * f
    tape.gradient(y, f)
    assert [v is f for v in tape.watched_variables()] == [True]
    with tf.GradientTape() as tape:
        y = tf.cast(i, tf.float32) * f
    assert [None if g is None else float(g) for g in tape.gradient(y, [i, f, b])] == [None, 2, None]


def test_an_exception_leaves_the_tape(tf):
    x = tf.Variable(2.0)
    with pytest.raises(KeyError), tf.GradientTape() as tape:
        y = x * x
        raise KeyError("mine")
    z = y * x  # nobody records
    assert float(tape.gradient(y, x)) == 4
    with tf.GradientTape() as tape:
        y = x * x
    assert float(tape.gradient(y, x)) == 4 and tape.gradient is not None and float(z) == 8


def test_numbers_and_arrays(tf):
    t = tf.constant(2.0)
    assert type(t.numpy()) is np.float32 and type(np.exp(t)) in (np.float32, np.ndarray)
    assert tf.constant(np.array([1.0])).dtype == tf.float64 and tf.constant([1, 3.0]).dtype == tf.float32
    assert isinstance(np.float64(0.1) * t, tf.Tensor)
    z = tf.Variable(1.0 + 2.0j)
    with tf.GradientTape(persistent=True) as tape:
        square, size = z * z, tf.math.real(z * tf.math.conj(z))
    assert complex(tape.gradient(square, z)) == 2 - 4j and complex(tape.gradient(size, z)) == 2 + 4j


@pytest.mark.parametrize(
    "name, options",
    [
        ("SGD", {}), ("SGD", {"momentum": 0.9}), ("SGD", {"momentum": 0.9, "nesterov": True}), ("Adam", {}),
        ("AdamW", {}), ("RMSprop", {}), ("RMSprop", {"momentum": 0.5, "centered": True}), ("Adagrad", {}),
        ("SGD", {"clipnorm": 0.5}), ("SGD", {"clipvalue": 0.3}), ("Adam", {"global_clipnorm": 0.5}),
    ],
)  # fmt: skip
def test_updates_are_keras_updates(tf, name, options):
    """Against numbers that Keras 3.15 gave."""
    a, b = tf.Variable([1.0, -2.0]), tf.Variable([[0.5]])
    optimizer = getattr(tf.keras.optimizers, name)(learning_rate=0.1, **options)
    for step in range(3):
        grads = [tf.constant([0.3, -0.9]) * (step + 1.0), tf.constant([[2.0]])]
        optimizer.apply_gradients(zip(grads, [a, b]))
    key = " ".join([name, *[f"{k}={v}" for k, v in options.items()]])
    got = [*a.numpy().tolist(), float(b.numpy()[0, 0])]
    assert got == pytest.approx(KERAS[key], rel=2e-5, abs=2e-6), repr(got)


KERAS = {
    "SGD": [0.82, -1.46, -0.1],
    "SGD momentum=0.9": [0.7147, -1.1441, -0.622],
    "SGD momentum=0.9 nesterov=True": [0.56323, -0.68969, -1.1098],
    "Adam": [0.707685, -1.707684, 0.200002],
    "AdamW": [0.706604, -1.705404, 0.199523],
    "RMSprop": [0.138996, -1.138994, -0.237738],
    "RMSprop momentum=0.5 centered=True": [-0.350345, -0.649651, -0.690677],
    "Adagrad": [0.773097, -1.737469, 0.273458],
    "SGD clipnorm=0.5": [0.952566, -1.857697, 0.35],
    "SGD clipvalue=0.3": [0.91, -1.91, 0.41],
    "Adam global_clipnorm=0.5": [0.702416, -1.70241, 0.204318],
}


@pytest.mark.filterwarnings("ignore:`shuffle=True`")
def test_fit_on_a_dataset(tf):
    tf.random.set_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2)).astype("float32")
    y = (x[:, 0] > x[:, 1]).astype("int32")
    model = tf.keras.Sequential([tf.keras.layers.Dense(16, activation="relu"), tf.keras.layers.Dense(2)])
    model.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(200, seed=1).batch(20)
    history = model.fit(data, epochs=40, verbose=0)
    assert history.history["accuracy"][-1] > 0.9 and len(history.history["loss"]) == 40
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert accuracy > 0.9 and loss < 0.5
    assert model.predict(x[:7], verbose=0).shape == (7, 2)


def test_datasets(tf):
    data = tf.data.Dataset.range(5).map(lambda i: i * 2)
    assert [int(e) for e in data] == [int(e) for e in data] == [0, 2, 4, 6, 8]
    assert [e.numpy().tolist() for e in data.batch(2)] == [[0, 2], [4, 6], [8]]
    assert [int(e) for e in data.skip(1).take(2).repeat(2)] == [2, 4, 2, 4]
    assert sorted(int(e) for e in data.shuffle(3, seed=0)) == [0, 2, 4, 6, 8] and len(data) == 5
    pairs = tf.data.Dataset.from_tensor_slices({"x": [1.0, 2.0], "y": [[1, 2], [3, 4]]})
    assert [e["y"].numpy().tolist() for e in pairs] == [[1, 2], [3, 4]]
    with pytest.raises(TypeError):
        data.batch(2, size=3)
    assert [int(e) for e in data.filter(lambda i: i > 3).prefetch(1)] == [4, 6, 8]


def test_losses(tf):
    y, p = [[0.0, 1.0], [0.0, 0.0]], [[0.6, 0.4], [0.4, 0.6]]
    for name, wanted in [("MeanSquaredError", 0.31), ("MeanAbsoluteError", 0.55), ("BinaryCrossentropy", 0.8149)]:
        assert float(getattr(tf.keras.losses, name)()(y, p)) == pytest.approx(wanted, abs=1e-4)
    logits = tf.constant([[2.0, 1.0], [0.0, 3.0]])
    f = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert float(f(np.array([0, 1]), logits)) == pytest.approx(0.18093, abs=1e-4)
    assert float(tf.keras.losses.CategoricalCrossentropy()([[0.0, 1.0]], [[0.25, 0.75]])) == pytest.approx(
        -np.log(0.75), abs=1e-5
    )


def test_nest_and_function(tf):
    nested = {"a": [1, 2], "b": (3,)}
    assert tf.nest.flatten(nested) == [1, 2, 3]
    assert tf.nest.map_structure(lambda v: v * 2, nested) == {"a": [2, 4], "b": (6,)}

    @tf.function
    def f(x):
        return x * 2.0

    x = tf.Variable(3.0)
    with tf.GradientTape() as tape:
        y = f(x)
    assert float(tape.gradient(y, x)) == 2


def test_constants_of_tensors(tf):
    x = tf.Variable([1.0, 2.0])
    with tf.GradientTape(persistent=True) as tape:
        y = x * 2.0
        same, value, column = (tf.constant(v, **o) * 3.0 for v, o in ((y, {}), (x, {}), (y, {"shape": (2, 1)})))
    assert tape.gradient(same, x).numpy().tolist() == [6.0, 6.0]
    assert tape.gradient(value, x) is None and tape.gradient(column, x) is None
    assert value.numpy().tolist() == [3.0, 6.0] and column.numpy().tolist() == [[6.0], [12.0]]


def test_shapes_that_do_not_fit_are_invalid_arguments(tf):
    x = tf.reshape(tf.range(30.0), (5, 6))
    for f in (lambda: tf.reshape(x, [7, -1]), lambda: tf.concat([x, tf.ones((2, 2))], 0)):
        with pytest.raises(tf.errors.InvalidArgumentError):
            f()
