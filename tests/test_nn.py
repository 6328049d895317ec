"""Modules, layers and optimizers."""

import copy
import pickle

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.tensorflow as tf
from gpugrad.testing import assert_close

pytestmark = pytest.mark.devices


class Net(gg.nn.Module):
    def __init__(self):
        self.shared = gg.nn.Linear(2, 2)
        self.layers = [gg.nn.Linear(2, 3), self.shared]
        self.by_name = {"a": gg.nn.Linear(3, 1), "steps": gg.Variable(0, trainable=False)}
        self.note = "text"
        self.me = self


def test_module_finds_variables():
    net = Net()
    names = [name for name, _ in net.named_variables()]
    assert names == ["shared.weight", "shared.bias", "layers.0.weight", "layers.0.bias",
                     "by_name.a.weight", "by_name.a.bias", "by_name.steps"]  # fmt: skip
    assert len(net.trainable_variables) == 6 and len(net.non_trainable_variables) == 1
    assert len(net.submodules) == 3 and len(list(net.parameters())) == 6
    assert repr(net) == (
        "Net(\n  by_name.steps=[]\n  (shared): Linear(in_features=2, out_features=2, bias=True)\n"
        "  (layers.0): Linear(in_features=2, out_features=3, bias=True)\n"
        "  (layers.1): Linear(in_features=2, out_features=2, bias=True)\n"
        "  (by_name.a): Linear(in_features=3, out_features=1, bias=True)\n  (me): ...\n)"
    )


def test_linear():
    layer = gg.nn.Linear(3, 2, activation="relu")
    x = gg.random.normal((4, 3))
    assert_close(layer(x), np.maximum(x.numpy() @ layer.weight.numpy() + layer.bias.numpy(), 0))
    assert abs(layer.weight.numpy()).max() <= 1 / np.sqrt(3)
    assert gg.nn.Linear(3, 2, bias=False).bias is None
    with pytest.raises(ValueError, match="activation is one of"):
        gg.nn.Linear(3, 2, activation="softplus9")
    with pytest.raises(ValueError, match="positive integer"):
        gg.nn.Linear(0, 2)
    with pytest.raises(TypeError, match="layer 1 is a int"):
        gg.nn.Sequential(layer, 3)


def test_both_ways_of_training_are_the_same():
    x, y = gg.random.normal((8, 3)), gg.random.normal((8, 1))
    for make in (
        lambda v: gg.optim.SGD(v, 0.1),
        lambda v: gg.optim.SGD(v, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda v: gg.optim.Adam(v, 0.1),
    ):
        gg.random.seed(0)
        a = gg.nn.Linear(3, 1)
        gg.random.seed(0)
        b = gg.nn.Linear(3, 1)
        oa, ob = make(a.trainable_variables), make(b.parameters())
        for _ in range(5):
            with gg.GradientTape() as tape:
                loss = gg.nn.mse_loss(a(x), y)
            oa.apply_gradients(zip(tape.gradient(loss, a.trainable_variables), a.trainable_variables, strict=True))
            ob.zero_grad()
            gg.nn.mse_loss(b(x), y).backward()
            ob.step()
        assert np.array_equal(a.weight.numpy(), b.weight.numpy()) and oa.iterations == ob.iterations == 5


def reference_sgd(x, g, s, t, lr, momentum, nesterov, wd):
    g = g + wd * x
    if momentum:
        s["v"] = momentum * s.get("v", 0) + g
        g = g + momentum * s["v"] if nesterov else s["v"]
    return x - lr * g


def reference_adam(x, g, s, t, lr, b1, b2, eps, wd):
    g = g + wd * x
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g * g
    return x - lr * (s["m"] / (1 - b1**t)) / (np.sqrt(s["v"] / (1 - b2**t)) + eps)


@pytest.mark.parametrize(
    "make, reference",
    [
        (lambda v: gg.optim.SGD(v, 0.1), lambda *a: reference_sgd(*a, 0.1, 0, False, 0)),
        (lambda v: gg.optim.SGD(v, 0.1, 0.9), lambda *a: reference_sgd(*a, 0.1, 0.9, False, 0)),
        (lambda v: gg.optim.SGD(v, 0.1, 0.9, True, 0.1), lambda *a: reference_sgd(*a, 0.1, 0.9, True, 0.1)),
        (lambda v: gg.optim.Adam(v, 0.01), lambda *a: reference_adam(*a, 0.01, 0.9, 0.999, 1e-8, 0)),
        (
            lambda v: gg.optim.Adam(v, 0.01, (0.8, 0.9), 1e-6, 0.1),
            lambda *a: reference_adam(*a, 0.01, 0.8, 0.9, 1e-6, 0.1),
        ),
    ],
)
def test_updates_follow_their_formula(make, reference):
    rng = np.random.default_rng(0)
    start = rng.standard_normal((3, 2))
    v = gg.Variable(start)
    optimizer, x, state = make([v]), start, {}
    for t in range(1, 6):
        g = rng.standard_normal((3, 2))
        optimizer.apply_gradients([(gg.tensor(g), v)])
        x = reference(x, g, state, t)
        np.testing.assert_allclose(v.numpy(), x, rtol=1e-12)


def test_an_optimizer_without_variables_learns_them():
    w, b = gg.Variable(0.0), gg.Variable(0.0)
    optimizer = gg.optim.Adam(learning_rate=0.1)
    xs = gg.tensor(np.random.default_rng(0).standard_normal(100).astype(np.float32))
    for _ in range(100):
        with gg.GradientTape() as tape:
            loss = gg.mean((w * xs + b - (2 * xs + 1)) ** 2)
        optimizer.apply_gradients(zip(tape.gradient(loss, [w, b]), [w, b], strict=True))
    assert abs(float(w) - 2) < 0.1 and abs(float(b) - 1) < 0.1


def test_an_update_does_not_touch_what_a_tape_saved():
    v = gg.Variable([1.0, 2.0])
    with gg.GradientTape(persistent=True) as tape:
        y = gg.sum(v * v)
    optimizer = gg.optim.SGD([v], 0.5)
    for _ in range(2):
        g = tape.gradient(y, v)
        assert_close(g, [2, 4])
        optimizer.apply_gradients([(g, v)])


def test_optimizer_errors_change_nothing():
    v, other = gg.Variable([1.0]), gg.Variable([1.0])
    with pytest.raises(ValueError, match="empty parameter list"):
        gg.optim.SGD([])
    for bad in (-0.1, float("nan"), "a"):
        with pytest.raises(ValueError, match="Invalid learning rate"):
            gg.optim.SGD([v], bad)
    with pytest.raises(ValueError, match="Invalid beta parameter at index 0: 1.0"):
        gg.optim.Adam([v], betas=(1.0, 0.9))
    with pytest.raises(ValueError, match="Nesterov momentum requires"):
        gg.optim.SGD([v], nesterov=True)
    with pytest.raises(TypeError, match="can only optimize Tensors"):
        gg.optim.SGD([1.0])
    with pytest.raises(ValueError, match="non-leaf"):
        gg.optim.SGD([gg.tensor(1.0, requires_grad=True) * 2])
    with pytest.raises(ValueError, match="does not require a gradient"):
        gg.optim.SGD([gg.tensor(1.0)])
    with pytest.raises(ValueError, match="twice"):
        gg.optim.SGD([v, v])
    optimizer = gg.optim.SGD([v], 0.1)
    with pytest.raises(ValueError, match="pairs is empty"):
        optimizer.apply_gradients([])
    with pytest.raises(TypeError, match=r"zip\(grads, variables\)"):
        optimizer.apply_gradients([1.0])
    with pytest.raises(ValueError, match="No gradients provided"):
        optimizer.apply_gradients([(None, v)])
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer.apply_gradients([(gg.ones(1), v), (gg.ones(1), other)])
    with pytest.raises(ValueError, match="has shape"):
        optimizer.apply_gradients([(gg.ones(2), v)])
    with pytest.raises(ValueError, match="made with variables"):
        gg.optim.SGD().step()
    assert_close(v, [1.0])
    free = gg.optim.SGD(learning_rate=0.1)
    with pytest.warns(UserWarning, match="Gradients do not exist for variables"):
        free.apply_gradients([(gg.ones(1), v), (None, other)])
    assert_close(v, [0.9])
    assert_close(other, [1.0])


def test_losses():
    logits = gg.tensor(np.random.default_rng(0).standard_normal((4, 3)))
    labels = np.array([0, 2, 1, 1])
    p = np.exp(logits.numpy())
    expected = -np.log((p / p.sum(1, keepdims=True))[np.arange(4), labels])
    assert_close(gg.nn.cross_entropy(logits, labels), expected.mean())
    assert_close(gg.nn.cross_entropy(logits, gg.tensor(labels), reduction="none"), expected)
    assert_close(gg.nn.cross_entropy(logits, list(labels), reduction="sum"), expected.sum())
    gg.testing.check_grads(lambda z: gg.nn.cross_entropy(z, labels), [logits], order=3)
    assert np.isfinite(gg.nn.cross_entropy(gg.tensor([[1e4, -1e4]]), [1]).item())
    with pytest.raises(TypeError, match="integer class indices, given float32"):
        gg.nn.cross_entropy(logits, labels.astype("float32"))
    with pytest.raises(ValueError, match=r"labels are in 0..3, allowed are 0..2"):
        gg.nn.cross_entropy(logits, [0, 1, 2, 3])
    with pytest.raises(ValueError, match="do not fit logits"):
        gg.nn.cross_entropy(logits, [0, 1])
    with pytest.raises(ValueError, match="reduction is"):
        gg.nn.cross_entropy(logits, labels, reduction="avg")
    with pytest.raises(TypeError, match="floating"):
        gg.nn.cross_entropy(gg.tensor([[1, 2]]), [0])
    with pytest.warns(UserWarning, match="broadcasting"):
        gg.nn.mse_loss(gg.ones((3, 1)), gg.ones(3))


def test_check_grads_names_the_input_that_fails():
    wrong = gg.op(
        lambda xp, x, y: x * y, name="wrong", args=["x", "y"], x=lambda g, y: g * y, y=lambda g, x: g * x * 1.1
    )
    with pytest.raises(AssertionError, match=r"reverse-mode gradient of argument 1 of shape \(3,\) is wrong"):
        gg.testing.check_grads(wrong, [np.ones(3), np.ones(3)])
    with pytest.raises(AssertionError, match="forward-mode gradient of argument 1"):
        gg.testing.check_grads(wrong, [np.ones(3), np.ones(3)], modes=["fwd"])
    first = gg.op(lambda xp, x: x * x * x, name="first", args=["x"], x=lambda g, x: g * 3 * gg.stop_gradient(x * x))
    gg.testing.check_grads(first, [np.ones(3)], order=1)
    with pytest.raises(AssertionError, match="differentiated again"):
        gg.testing.check_grads(first, [np.ones(3)], order=2)
    with pytest.raises(ValueError, match="order is 1 or more"):
        gg.testing.check_grads(first, [np.ones(3)], order=0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("make", [lambda v: gg.optim.Adam(v, 0.1), lambda v: gg.optim.SGD(v, 0.1, 0.9)])
def test_half_variables_are_updated_in_float32(dtype, make):
    start = np.array([1.0, -2.0, 0.0])
    half, full = gg.Variable(start, dtype=dtype), gg.Variable(start, dtype="float32")
    a, b = make([half]), make([full])
    for _ in range(3):
        for optimizer, v in ((a, half), (b, full)):
            with gg.GradientTape() as tape:
                loss = gg.sum(v * v)
            optimizer.apply_gradients([(tape.gradient(loss, v), v)])
    assert half.dtype == gg.tensor(0.0, dtype=dtype).dtype
    assert_close(half, full, rtol=0.03, atol=0.03)


def test_complex_variables():
    z = gg.Variable([1 + 1j])
    with gg.GradientTape() as tape:
        loss = gg.sum(gg.abs(z) ** 2)
    g = tape.gradient(loss, z)
    with pytest.raises(TypeError, match="Adam: complex variables"):
        gg.optim.Adam([z]).apply_gradients([(g, z)])
    gg.optim.SGD([z], 0.25).apply_gradients([(g, z)])
    assert_close(z, [0.5 + 0.5j])


def test_what_is_no_list_of_variables():
    model = gg.nn.Linear(2, 1)
    for bad in (0.1, model, "adam", {"w": model.weight}):
        with pytest.raises(TypeError, match=r"Adam: the first argument is the variables to optimize"):
            gg.optim.Adam(bad)
    with pytest.raises(TypeError, match="betas is a pair"):
        gg.optim.Adam(model.parameters(), betas=0.9)
    optimizer = gg.optim.SGD(model.parameters(), learning_rate=0.5)
    for bad in (float("nan"), -1.0, "fast"):
        with pytest.raises(ValueError, match="Invalid learning rate"):
            optimizer.learning_rate = bad
    assert optimizer.learning_rate == 0.5
    with pytest.raises(TypeError, match="a gradient is a Tensor, an array or None, not 'a'"):
        optimizer.apply_gradients([("a", model.weight)])


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_model_and_its_optimizer_are_copied_together(clone):
    model = gg.nn.Linear(2, 1)
    optimizer = gg.optim.Adam(model.parameters())

    def step(model, optimizer):
        optimizer.zero_grad()
        model(gg.ones((3, 2))).sum().backward()
        optimizer.step()
        return [v.numpy().copy() for v in model.variables]

    step(model, optimizer)
    other, its = clone((model, optimizer))
    for a, b in zip(step(model, optimizer), step(other, its)):
        assert np.array_equal(a, b)
    assert its.iterations == 2 and its.variables[0] is other.weight is not model.weight


def test_an_optimizer_that_refuses_has_changed_nothing():
    real, imaginary = gg.Variable([1.0]), gg.Variable([1j])
    optimizer = gg.optim.Adam([real, imaginary])
    with pytest.raises(TypeError, match="complex"):
        optimizer.apply_gradients([(gg.tensor([1.0]), real), (gg.tensor([1j]), imaginary)])
    assert real.numpy() == 1 and optimizer.iterations == 0
    optimizer = gg.optim.SGD()
    with pytest.raises(TypeError, match="can only optimize Tensors"):
        optimizer.apply_gradients([(gg.tensor([1.0]), real), (gg.tensor(1.0), 3)])
    assert optimizer.variables == []


def test_momentum_set_later_and_a_number_as_variable():
    v = gg.Variable(1.0)
    optimizer = gg.optim.SGD([v], learning_rate=0.5)
    optimizer.apply_gradients([(gg.tensor(1.0), v)])
    optimizer.momentum = 0.5
    optimizer.apply_gradients([(gg.tensor(1.0), v)])
    optimizer.apply_gradients([(gg.tensor(1.0), v)])
    assert float(v) == 1 - 0.5 - 0.5 - 0.75 and type(v.array) is type(gg.ones(2).array)


def test_a_watched_variable_that_is_not_trainable_stays_so():
    class Net(gg.nn.Module):
        def __init__(self):
            self.v = gg.Variable(1.0, trainable=False)

    net = Net()
    with gg.GradientTape() as tape:
        tape.watch(net.v)
    assert net.trainable_variables == [] and net.non_trainable_variables == [net.v]


def test_modules_by_name_do_not_hide_methods():
    modules = gg.nn.ModuleDict({"a": gg.nn.Linear(1, 1)})
    for name in ("train", "keys", "forward"):
        with pytest.raises(KeyError, match=f"attribute '{name}' already exists"):
            modules[name] = gg.nn.Linear(1, 1)
    assert list(modules) == ["a"] and modules.train() is modules


def test_a_state_that_cannot_be_taken_changes_nothing():
    layer = gg.nn.Linear(1, 1)
    before = layer.weight.tolist()
    with pytest.raises(RuntimeError, match="bias: takes an array of numbers"):
        layer.load_state_dict({"weight": [[5.0]], "bias": np.array(["x"])})
    assert layer.weight.tolist() == before


def test_layers_built_on_their_first_input_have_forward_hooks():
    layer, seen = tf.keras.layers.Dense(2), []
    layer.register_forward_hook(lambda m, args, out: seen.append(out.shape))
    layer(tf.ones((3, 4)))
    assert seen == [(3, 2)]


def test_labels_as_pytorch_takes_them():
    images, labels = gg.ones((2, 3, 4, 5)), np.zeros((2, 4, 5), np.int64)
    for f in (gg.nn.cross_entropy, gg.nn.nll_loss):
        with pytest.raises(ValueError, match=rf"along axis 1 write {f.__name__}\(gg.moveaxis\(x, 1, -1\), labels\)"):
            f(images, labels)
        assert f(gg.moveaxis(images, 1, -1), labels).shape == ()
        with pytest.raises(ValueError, match=r"Write labels\[..., 0\]"):
            f(gg.ones((2, 3)), [[0], [1]])
        with pytest.raises(TypeError, match=r"given float32. Write labels.astype\('int64'\)"):
            f(gg.ones((2, 3)), gg.ones(2))
        with pytest.raises(ValueError, match="given an array; of weights say weight="):
            f(gg.ones((2, 3)), [0, 1], gg.ones(3))


def test_labels_do_not_broadcast():
    log_p = gg.nn.log_softmax(gg.ones((2, 3)))
    with pytest.raises(ValueError, match=r"labels of shape \(1,\) do not fit log-probabilities of shape \(2, 3\)"):
        gg.nn.nll_loss(log_p, np.array([0]))


# ---------------------------------------------------------------------------------------------- normalized, looked up
def test_norms_as_modules():
    x = gg.tensor(np.random.default_rng(0).standard_normal((2, 3, 4)))
    layer = gg.nn.LayerNorm((3, 4), dtype="float64")
    assert [(k, v.shape) for k, v in layer.named_variables()] == [("weight", (3, 4)), ("bias", (3, 4))]
    out = layer(x).numpy()
    np.testing.assert_allclose([out.mean((1, 2)), out.var((1, 2))], [[0, 0], [1, 1]], atol=1e-4)
    assert len(gg.nn.LayerNorm(4, bias=False).variables) == 1 == len(gg.nn.RMSNorm(4).variables)
    out, total = gg.nn.RMSNorm(4, dtype="float64")(x, residual=x)
    assert_close(total, x.numpy() * 2)
    np.testing.assert_allclose((out.numpy() ** 2).mean(-1), 1)
    for f, message in [
        (lambda: layer(x[0, 0]), r"layer_norm: the last axes of \(4,\) are not \(3, 4\)"),
        (lambda: gg.nn.layer_norm(x, (4,), np.ones(3)), r"weight has shape \(3,\); it must have the normalized shape"),
        (lambda: gg.nn.layer_norm(x, (4,), residual=x[0]), "they must be the same"),
        (lambda: gg.nn.batch_norm(x[0, 0], None, None), "batch_norm: takes"),
        (lambda: gg.nn.batch_norm(x, np.ones(4), None, training=True), "running_mean has shape"),
        (lambda: gg.nn.batch_norm(x, None, None), "needs running_mean and running_var"),
        (lambda: gg.nn.batch_norm(x[:1, :, :1], None, None, training=True), "more than 1 value per channel"),
    ]:
        with pytest.raises(ValueError, match=message):
            f()


def test_batch_norm_moves_its_statistics_in_training_alone():
    rng = np.random.default_rng(0)
    layer, total = gg.nn.BatchNorm(3), np.array([0.0, 0.0, 0.0])
    assert set(layer.state_dict()) == {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    for _ in range(3):
        x = rng.standard_normal((8, 3, 2)).astype("f") + np.array([[1], [2], [3]])
        layer(gg.tensor(x, dtype="float32"))
        total = 0.9 * total + 0.1 * x.mean((0, 2))
    np.testing.assert_allclose(layer.running_mean.numpy(), total, rtol=1e-5)
    before = layer.running_var.numpy().copy()
    x = gg.tensor(x, dtype="float32")
    y = layer.eval()(x)
    expected = (x.numpy() - total[:, None]) / np.sqrt(before[:, None] + 1e-5)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert (layer.running_var.numpy() == before).all()
    free = gg.nn.BatchNorm(3, track_running_stats=False, affine=False).eval()
    np.testing.assert_allclose(free(x).numpy().mean((0, 2)), 0, atol=1e-6)
    assert not free.state_dict()


def test_batch_norm_without_momentum_takes_the_average_of_all_batches():
    rng, layer = np.random.default_rng(0), gg.nn.BatchNorm(3, momentum=None)
    xs = rng.standard_normal((4, 8, 3, 2)).astype("f")
    for x in xs:
        layer(gg.tensor(x))
    layer.eval()(gg.tensor(xs[0]))
    assert layer.num_batches_tracked.item() == 4 and "num_batches_tracked" in layer.state_dict()
    np.testing.assert_allclose(layer.running_mean.numpy(), xs.mean((0, 1, 3)), atol=1e-6)
    np.testing.assert_allclose(layer.running_var.numpy(), xs.var((1, 3), ddof=1).mean(0), rtol=1e-5)
    other = gg.nn.BatchNorm(3, momentum=None)
    other.load_state_dict(layer.state_dict())
    assert other.num_batches_tracked.item() == 4
    gg.nn.BatchNorm(3, momentum=None, track_running_stats=False)(gg.tensor(xs[0]))


def test_a_forward_that_fails_leaves_the_statistics_alone():
    layer = gg.nn.BatchNorm(3)
    layer.weight = gg.Parameter(np.ones(2, "f"))
    with pytest.raises(ValueError, match="weight has shape"):
        layer(gg.tensor(np.ones((4, 3), "f")))
    assert layer.running_mean.tolist() == [0, 0, 0]


def test_embedding_learns_rows_but_the_padding():
    layer = gg.nn.Embedding(6, 4, padding_idx=0, dtype="float64")
    assert layer.weight[0].tolist() == [0] * 4
    with gg.GradientTape() as tape:
        loss = gg.sum(layer([[1, 1, 0], [5, 0, 1]]) ** 2)
    g = tape.gradient(loss, layer.weight).numpy()
    expected = 2 * layer.weight.numpy() * np.array([0, 3, 0, 0, 0, 1])[:, None]
    assert_close(g, expected)
    with pytest.raises(ValueError, match="padding_idx must be within the 6 rows"):
        gg.nn.Embedding(6, 4, padding_idx=6)


def test_what_weights_and_lengths_may_be():
    x, labels = gg.ones((6, 5)), [0, 1, 0, 1, 0, 1]
    for wrong in ([1.0, 2.0], np.ones(9), np.ones((1, 5)), 2.0):
        with pytest.raises(ValueError, match=r"weight has shape .*; it is a number for each class, \(5,\)"):
            gg.nn.cross_entropy(x, labels, weight=wrong)
        with pytest.raises(ValueError, match="a number for each class"):
            gg.nn.nll_loss(x, labels, weight=wrong)
    for wrong in (2.0, -0.5, float("nan")):
        with pytest.raises(ValueError, match="label_smoothing is a number from 0 to 1"):
            gg.nn.cross_entropy(x, labels, label_smoothing=wrong)
    assert_close(gg.nn.layer_norm(x, 5), gg.nn.layer_norm(x, (5,)))
    for norm in (gg.nn.layer_norm, gg.nn.rms_norm):
        with pytest.raises(TypeError, match="normalized_shape is the lengths of the last axes"):
            norm(x, gg.ones(5))
