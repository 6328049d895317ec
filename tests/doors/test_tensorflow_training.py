"""gpugrad.tensorflow against TensorFlow's behaviour: registered gradients, checkpoints, Dropout, losses by row."""

import os

import numpy as np
import pytest


def values(t):
    return np.asarray(t).tolist()


# ---------------------------------------------------------------------------------------------- registered gradients
@pytest.fixture
def registry(tf):
    """The table of registered gradients, left as it was."""
    if tf.__name__ == "tensorflow":
        from tensorflow.python.framework import ops

        table = ops.gradient_registry._registry
    else:
        from gpugrad.rule import registered as table
    before = dict(table)
    yield table
    table.clear()
    table.update(before)


def contrast(tf, op, g):
    """The gradient of (x - m) f + m, m the mean of each channel."""
    x, f = op.inputs
    m = tf.reduce_mean(x, axis=[-3, -2], keepdims=True)
    return g * f + (1 - f) * tf.reduce_mean(g, axis=[-3, -2], keepdims=True), tf.reduce_sum(g * (x - m))


def test_a_registered_gradient_is_taken(tf, registry):
    seen = []

    @tf.RegisterGradient("AdjustContrastv2")
    def back(op, g):
        seen.append((op.type, len(op.inputs), op.outputs[0].shape))
        return contrast(tf, op, g)

    image, factor = tf.Variable([[[1.0], [3.0]]]), tf.Variable(0.5)
    weights = tf.constant([[[1.0], [2.0]]])
    with tf.GradientTape(persistent=True) as outer:
        with tf.GradientTape() as tape:
            y = tf.reduce_sum(weights * tf.image.adjust_contrast(image, factor) ** 2)
        dx, df = tape.gradient(y, [image, factor])
    assert seen == [("AdjustContrastv2", 2, (1, 2, 1))]
    # y = (m + (x - m) f)²·w with x = 1, 3: the outputs are 1.5 and 2.5
    assert values(dx) == [[[4.75], [8.25]]] and float(df) == 7.0
    # d²y/df² = Σ 2 w (x - m)²
    assert float(outer.gradient(df, factor)) == 6.0


def test_a_registered_gradient_may_be_none(tf, registry):
    @tf.RegisterGradient("AdjustContrastv2")
    def back(op, g):
        return g, None

    image, factor = tf.Variable([[[1.0], [3.0]]]), tf.Variable(0.5)
    with tf.GradientTape() as tape:
        y = tf.image.adjust_contrast(image, factor)
    dx, df = tape.gradient(y, [image, factor])
    assert values(dx) == [[[1], [1]]] and df is None


def test_no_gradient(tf, registry):
    tf.no_gradient("AdjustContrastv2")
    image = tf.Variable([[[1.0], [3.0]]])
    with tf.GradientTape() as tape:
        y = tf.image.adjust_contrast(image, 0.5) + 0.0 * image
    assert values(tape.gradient(y, image)) == [[[0], [0]]]
    with tf.GradientTape() as tape:
        y = tf.image.adjust_contrast(image, 0.5)
    assert tape.gradient(y, image) is None


def test_a_gradient_is_registered_once(tf, registry):
    tf.RegisterGradient("AdjustContrastv2")(lambda op, g: (g, None))
    for name in ("Mul", "AddV2", "Exp", "MatMul", "Sum", "AdjustContrastv2"):
        text = f"Registering two gradient with name '{name}'!.*Previous registration was in .+ .+py:\\d+"
        with pytest.raises(KeyError, match=text):
            tf.RegisterGradient(name)(lambda op, g: g)
        with pytest.raises(KeyError, match=f"Registering two gradient with name '{name}'"):
            tf.no_gradient(name)
    with pytest.raises(TypeError, match="op_type must be a string"):
        tf.RegisterGradient(3)(lambda op, g: g)


def test_a_wrong_number_of_gradients(tf, registry):
    tf.RegisterGradient("AdjustContrastv2")(lambda op, g: (g, None, None))
    image = tf.Variable([[[1.0], [3.0]]])
    with tf.GradientTape() as tape:
        y = tf.image.adjust_contrast(image, 0.5)
    with pytest.raises(tf.errors.InternalError if tf.__name__ == "tensorflow" else ValueError, match="3"):
        tape.gradient(y, image)


# ---------------------------------------------------------------------------------------------- checkpoints
def net(tf, name="Adam"):
    model = tf.keras.Sequential([tf.keras.layers.Dense(3, activation="tanh"), tf.keras.layers.Dense(1)])
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    return model, getattr(tf.keras.optimizers, name)(learning_rate=0.05, **options)


def train(tf, model, optimizer, steps):
    x = tf.constant([[1.0, 2.0], [0.5, -1.0], [2.0, 0.0]])
    losses = []
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x) - [[1.0], [2.0], [3.0]]) ** 2)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        losses.append(float(loss))
    return losses


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad"])
@pytest.mark.parametrize("built", [True, False])
def test_training_goes_on_with_the_same_numbers(tf, tmp_path, name, built):
    model, optimizer = net(tf, name)
    train(tf, model, optimizer, 3)
    path = tf.train.Checkpoint(model=model, optimizer=optimizer).save(str(tmp_path / "run" / "ckpt"))
    assert path == str(tmp_path / "run" / "ckpt-1") == tf.train.latest_checkpoint(str(tmp_path / "run"))
    wanted = train(tf, model, optimizer, 3)
    model, optimizer = net(tf, name)
    if built:
        train(tf, model, optimizer, 1)
    status = tf.train.Checkpoint(model=model, optimizer=optimizer).restore(path)
    assert train(tf, model, optimizer, 3) == wanted  # of layers that are not built, the values come as they are
    status.assert_consumed()
    assert int(optimizer.iterations) == 6


def test_saving_is_numbered_and_writing_is_not(tf, tmp_path):
    v = tf.Variable([1.0, 2.0])
    checkpoint = tf.train.Checkpoint(v=v, more=[tf.Variable(3, trainable=False), {"x": tf.Variable(4.0)}])
    assert tf.train.latest_checkpoint(str(tmp_path)) is None and int(checkpoint.save_counter) == 0
    first, second = checkpoint.save(tmp_path / "a"), checkpoint.save(str(tmp_path / "a"))
    assert (first, second) == (str(tmp_path / "a-1"), str(tmp_path / "a-2"))
    v.assign([0.0, 0.0])
    third = checkpoint.write(str(tmp_path / "b"))
    assert third == str(tmp_path / "b") and tf.train.latest_checkpoint(str(tmp_path)) == second
    checkpoint.restore(second).assert_consumed()
    assert values(v) == [1, 2] and int(checkpoint.save_counter) == 2
    checkpoint.read(third)
    assert values(v) == [0, 0]
    assert checkpoint.v is v
    checkpoint.restore(None)
    assert values(v) == [0, 0]


def test_what_does_not_fit(tf, tmp_path):
    v, w = tf.Variable([1.0, 2.0]), tf.Variable([1.0, 2.0, 3.0])
    path = tf.train.Checkpoint(a=v, b=v, w=w).save(str(tmp_path / "c"))
    before = tf.Variable([9.0, 9.0])
    with pytest.raises(ValueError, match=r"Received incompatible tensor with shape \(3,\) when attempting to restore"):
        tf.train.Checkpoint(a=before, w=tf.Variable([1.0, 2.0])).restore(path).assert_consumed()
    if tf.__name__ != "tensorflow":
        assert values(before) == [9, 9]  # nothing has changed
    status = tf.train.Checkpoint(a=before, other=tf.Variable(1.0)).restore(path)
    with pytest.raises(AssertionError, match="Found 1 Python objects that were not bound to checkpointed values"):
        status.assert_existing_objects_matched()
    with pytest.raises(AssertionError):
        tf.train.Checkpoint(a=before).restore(path).assert_consumed()
    tf.train.Checkpoint(a=before).restore(path).expect_partial().assert_existing_objects_matched()
    assert values(before) == [1, 2]
    with pytest.raises(tf.errors.NotFoundError, match="Error when restoring from checkpoint or SavedModel at"):
        tf.train.Checkpoint(a=v).restore(str(tmp_path / "none"))
    with pytest.raises(ValueError, match="`Checkpoint` was expecting x to be a trackable object"):
        tf.train.Checkpoint(x=3.0)


def test_the_root_and_names_given_later(tf, tmp_path):
    class Net(tf.Module):
        def __init__(self, value):
            super().__init__()
            self.w = tf.Variable(value)

    path = tf.train.Checkpoint(Net(1.0)).save(str(tmp_path / "c"))
    net = Net(0.0)
    tf.train.Checkpoint(net).restore(path).assert_consumed()
    assert float(net.w.numpy()) == 1
    first, second = tf.train.Checkpoint(net=net), tf.train.Checkpoint(net=net)
    first.step, second.step = tf.Variable(5), tf.Variable(0)
    second.restore(first.save(str(tmp_path / "d"))).assert_consumed()
    assert int(second.step) == 5


def test_a_manager_keeps_the_last(tf, tmp_path):
    v = tf.Variable(0.0)
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(v=v), str(tmp_path / "m"), max_to_keep=2)
    assert manager.latest_checkpoint is None and manager.checkpoints == []
    for i in range(4):
        v.assign(float(i))
        assert manager.save() == str(tmp_path / "m" / f"ckpt-{i + 1}")
    kept = [str(tmp_path / "m" / f"ckpt-{i}") for i in (3, 4)]
    assert manager.checkpoints == kept and manager.latest_checkpoint == kept[1]
    names = {n.split(".")[0] for n in os.listdir(tmp_path / "m")}
    assert names == {"checkpoint", "ckpt-3", "ckpt-4"}
    v = tf.Variable(7.0)
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(v=v), str(tmp_path / "m"), max_to_keep=3)
    assert manager.checkpoints == kept and manager.restore_or_initialize() == kept[1] and float(v.numpy()) == 3
    assert manager.save() == str(tmp_path / "m" / "ckpt-5") and len(manager.checkpoints) == 3
    assert manager.save(checkpoint_number=9) == str(tmp_path / "m" / "ckpt-9")
    with pytest.raises(ValueError, match="Expected a positive integer or `None` for `max_to_keep`"):
        tf.train.CheckpointManager(tf.train.Checkpoint(v=v), str(tmp_path), max_to_keep=0)


# ---------------------------------------------------------------------------------------------- Keras
def test_dropout(tf):
    tf.keras.utils.set_random_seed(0) if tf.__name__ == "tensorflow" else tf.random.set_seed(0)
    layer, x = tf.keras.layers.Dropout(0.25), tf.ones((100, 100))
    y = np.asarray(layer(x, training=True))
    assert {0, round(1 / 0.75, 4)} == {round(float(v), 4) for v in np.unique(y)} and 0.7 < (y > 0).mean() < 0.8
    assert values(layer(x)) == values(layer(x, training=False)) == values(x)
    v = tf.Variable(x)
    with tf.GradientTape() as tape:
        y = layer(v, training=True)
    assert values(tape.gradient(y, v)) == values(y)
    with pytest.raises(ValueError):
        tf.keras.layers.Dropout(1.5)


def test_training_passes_to_inner_layers_and_through_fit(tf):
    seen = []

    class Note(tf.keras.layers.Layer):
        def call(self, inputs, training=None):
            seen.append(bool(training))
            return inputs

    model = tf.keras.Sequential([Note(), tf.keras.layers.Dense(1)])
    x, y = np.ones((4, 2), "float32"), np.ones((4, 1), "float32")
    model(x)
    seen.clear()
    model(x), model(x, training=True), model(x)
    assert seen == [False, True, False]
    if tf.__name__ != "tensorflow":  # Keras compiles its loop and traces it once
        seen.clear()
        model.compile("sgd", "mse")
        model.fit(x, y, epochs=2, verbose=0)
        model.evaluate(x, y, verbose=0)
        model.predict(x, verbose=0)
        assert seen == [True, True, False, False]


@pytest.mark.parametrize("name", ["categorical_crossentropy", "sparse_categorical_crossentropy", "binary_crossentropy"])
def test_losses_of_probabilities_and_of_logits(tf, name):
    f = getattr(tf.keras.losses, name)
    p = np.float32([[0.2, 0.1], [0.7, 0.7]])  # need not add up to 1
    y = np.array([1, 0]) if name.startswith("sparse") else np.float32([[0, 1], [1, 0]])
    if name == "binary_crossentropy":
        wanted = -(np.log([[0.8, 0.1], [0.7, 0.3]])).mean(-1)
        logits = np.log(p / (1 - p))
    else:
        wanted, logits = -np.log([0.1 / 0.3, 0.5]), np.log(p)
    np.testing.assert_allclose(f(y, p), wanted, rtol=1e-4)
    np.testing.assert_allclose(f(y, logits, from_logits=True), wanted, rtol=1e-4)


def test_losses_fit_targets_to_predictions(tf):
    assert float(tf.keras.losses.MeanSquaredError()(np.array([1, 3]), tf.constant([[0.0], [1.0]]))) == 2.5
    assert values(tf.keras.losses.MeanAbsoluteError(reduction="none")([[1, 3]], [[0.0, 1.0]])) == [1.5]
    f = tf.keras.losses.MeanSquaredError(reduction="sum")
    assert float(f([[1.0], [2.0]], [[0.0], [0.0]], sample_weight=[1.0, 0.5])) == 3
    assert tf.keras.losses.binary_crossentropy.__name__ == "binary_crossentropy"
    with pytest.raises(ValueError, match="Invalid value for argument `reduction`"):
        tf.keras.losses.MeanSquaredError(reduction="max")
