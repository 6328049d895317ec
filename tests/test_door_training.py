"""Models of the front doors in gg.data, gg.train and gg.interop: they get tensors of their own."""

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.tensorflow as tf
import gpugrad.torch as torch
from gpugrad.array import library


class Flat(torch.nn.Module):
    """It uses what tensors of PyTorch's door have, and others do not."""

    def __init__(self):
        self.layer = torch.nn.Linear(6, 3)

    def forward(self, x):
        return self.layer(x.view(x.size(0), -1)).float()


class Keras(tf.Module):
    def __init__(self):
        self.w = tf.Variable(np.ones((6, 3), np.float32) / 6)

    def __call__(self, x):
        assert isinstance(x, tf.Tensor)
        return tf.reshape(x, (x.shape[0], -1)) @ self.w


class Rows:
    """Rows in Python, of tensors."""

    def __init__(self, make):
        self.make = make

    def __len__(self):
        return 8

    def __getitem__(self, i):
        return self.make(np.full((2, 3), i, np.float32)), i % 3


def arrays(n=8):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 2, 3)).astype(np.float32), rng.integers(0, 3, n)


def test_a_trainer_gives_a_model_tensors_of_its_door():
    x, y = arrays()
    loss = torch.nn.CrossEntropyLoss()
    for data in ([(x, y)], [(gg.tensor(x), gg.tensor(y))], gg.data.DataLoader(gg.data.ArrayDataset(x, y), 4)):
        model = Flat()
        trainer = gg.train.Trainer(
            model, gg.optim.SGD(model.parameters(), 0.1), lambda out, y: loss(out, y.view(-1).long()), loggers=[]
        )
        history = trainer.fit(data, data, epochs=3)
        assert history["loss"][-1] < history["loss"][0] and "val_loss" in history
        assert trainer.predict(x).shape == (8, 3)


def test_a_model_of_tensorflow_too():
    x, y = arrays()
    model = Keras()
    trainer = gg.train.Trainer(model, gg.optim.SGD(model.variables, 0.1), gg.nn.cross_entropy, loggers=[])
    assert trainer.evaluate([(x, y)])["loss"] > 0


def check(loader):
    for one, _ in loader:
        assert type(one) is torch.Tensor and one.view(4, 6).size() == (4, 6)
        assert one.device == gg.default_device()


@pytest.mark.devices
class Changing(Flat):
    """It changes its input in place."""

    def forward(self, x):
        return super().forward(x.div_(2.0))


def test_a_model_that_changes_its_input_in_place_does_not_change_the_users_arrays(default_device):
    x, y = arrays()
    model = Changing()
    trainer = gg.train.Trainer(model, gg.optim.SGD(model.parameters(), 0.1), torch.nn.CrossEntropyLoss(), loggers=[])
    kept = gg.tensor(x)
    before = x.copy()
    for batch in ((x, y), (x[::-1], y), (kept, y), (gg.tensor(x), y)):
        trainer.fit([batch], epochs=trainer.epoch + 1)
        trainer.fit(gg.data.DataLoader([batch], batch_size=None), epochs=trainer.epoch + 1)
    trainer.predict(x), trainer.predict(kept), trainer.evaluate([(kept, y)])
    assert np.array_equal(x, before) and np.array_equal(np.asarray(kept.to("cpu")), before)


def test_a_loader_of_a_doors_tensors_answers_such_tensors(default_device):
    x, y = arrays()
    dataset = gg.data.TensorDataset(torch.tensor(x), torch.tensor(y))
    parts = gg.data.ConcatDataset([dataset, dataset])
    for each in (dataset, gg.data.Subset(dataset, range(8)), parts, Rows(torch.tensor)):
        check(gg.data.DataLoader(each, 4))
    ((one, label),) = gg.data.DataLoader(gg.data.ArrayDataset(torch.tensor(x), y), 8)
    assert type(one) is torch.Tensor and type(label) is gg.Tensor
    ((one, _),) = gg.data.DataLoader(Rows(tf.constant), 8)
    assert type(one) is tf.Tensor
    assert type(gg.data.ArrayDataset(torch.tensor(y))[0][0]) is torch.Tensor


def test_onnx_gives_a_model_tensors_of_its_door(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    x, _ = arrays()
    model = Flat()
    gg.interop.onnx.export(model, x, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (out,) = session.run(None, {"input": x})
    np.testing.assert_allclose(out, model(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_workers_hand_over_such_tensors():
    x, y = arrays()
    dataset = gg.data.TensorDataset(torch.tensor(x, device="cpu"), torch.tensor(y, device="cpu"))
    with gg.data.DataLoader(dataset, 4, num_workers=1) as loader:
        check(loader)


@pytest.mark.devices
def test_numpy_data_beside_variables_are_copied_to_their_device(default_device):
    rng = np.random.RandomState(0)
    x = rng.randn(100).astype(np.float32)
    y = 2.0 * x + 1.0 + rng.randn(100).astype(np.float32) * 0.1
    w, b = tf.Variable(0.0), tf.Variable(0.0)
    for _ in range(30):
        with tf.GradientTape() as tape:
            predictions = w * x + b
            loss = tf.reduce_mean((predictions - y) ** 2)
        grads = tape.gradient(loss, [w, b])
        w.assign_sub(0.1 * grads[0])
        b.assign_sub(0.1 * grads[1])
    assert abs(float(w) - 2) < 0.05 and abs(float(b) - 1) < 0.05
    operators = w * x, x * w, w + x, x - w, w / x, w < x, x == w, w * np.float32(2)
    functions = tf.maximum(w, x), tf.matmul(x[None], x[:, None]), tf.where(x > 0, x, w), tf.tensordot(w * x, x, 1)
    for out in (*operators, *functions):
        assert library(out.array) is library(w.array)
    w.assign(np.float32(3))
    w.assign_add(np.float32(1))
    assert float(w) == 4 and library(w.array) is library(b.array)
    model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
    model.compile(optimizer=tf.keras.optimizers.SGD(learning_rate=0.1), loss="mse")
    history = model.fit(x[:, None], y[:, None], epochs=5, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    with pytest.raises(TypeError, match="Cannot convert"):
        tf.constant([1, 2]) * np.array([0.5, 0.5])


def test_onnx_of_images_that_are_flattened(tmp_path):
    """PyTorch's programs look at tensors through views, whatever order the core has them in."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    layers = [torch.nn.Conv2d(3, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(512, 5)).eval()
    gg.interop.onnx.export(model, torch.tensor(x), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(found, model(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-5)
