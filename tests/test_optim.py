"""Optimizers' groups, options and saved state; hooks of modules, dropout, losses."""

import math

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.core import owner_of
from gpugrad.testing import assert_close

pytestmark = pytest.mark.devices


def test_groups_of_variables():
    a, b = gg.Variable([1.0]), gg.Variable([1.0])
    one = gg.ones(1)
    optimizer = gg.optim.SGD([{"variables": [a]}, {"params": [b], "learning_rate": 0.5}], learning_rate=0.1)
    optimizer.apply_gradients([(one, b), (one, a)])
    assert_close(a, [0.9])
    assert_close(b, [0.5])
    optimizer.learning_rate = 0.2  # of all groups
    assert [g["lr"] for g in optimizer.param_groups] == [0.2, 0.2] and optimizer.learning_rate == 0.2
    optimizer.momentum = 0.5
    assert [g["momentum"] for g in optimizer.param_groups] == [0.5, 0.5]
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer.apply_gradients([(one, gg.Variable([1.0]))])
    optimizer.add_param_group({"variables": gg.Variable([2.0])})
    assert [v.tolist() for v in optimizer.variables[2:]] == [[2.0]]


@pytest.mark.parametrize("name, bad", [("lr", float("nan")), ("lr", -1.0), ("lr", "fast"), ("momentum", -0.5)])
def test_an_option_out_of_range_changes_nothing(name, bad):
    a, b = gg.Variable([1.0]), gg.Variable([1.0])
    optimizer = gg.optim.SGD([{"params": [a]}, {"params": [b]}], 0.5, momentum=0.9)
    optimizer.apply_gradients([(gg.ones(1), a), (gg.ones(1), b)])
    optimizer.param_groups[1][name] = bad
    with pytest.raises(ValueError, match="Invalid (learning rate|momentum value)"):
        optimizer.apply_gradients([(gg.ones(1), a), (gg.ones(1), b)])
    assert a.tolist() == b.tolist() == [0.5] and optimizer.iterations == 1
    with pytest.raises(ValueError, match="Invalid"):
        optimizer.add_param_group({"params": [gg.Variable(1.0)], name: bad})
    assert len(optimizer.param_groups) == 2
    saved = gg.optim.SGD([{"params": [a]}, {"params": [b]}], 0.25).state_dict()
    saved["param_groups"][1][name] = bad
    with pytest.raises(ValueError, match="Invalid"):
        optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["lr"] == 0.5
    saved = optimizer.state_dict()
    saved["param_groups"][1][name], saved["state"][0]["momentum_buffer"] = 0.0, np.zeros(3)
    with pytest.raises(ValueError, match="loaded state dict has momentum_buffer of shape"):
        optimizer.load_state_dict(saved)


def test_gradients_are_clipped_by_every_optimizer():
    for options, wanted in [
        ({"clipnorm": 1.0}, [0.4, 0.2, 0]), ({"clipvalue": 2.0}, [-1, -1, -1]),
        ({"global_clipnorm": 6.5}, [-0.5, -1, -5]),
    ]:  # fmt: skip
        a, b = gg.Variable([1.0, 1.0]), gg.Variable([1.0])
        optimizer = gg.optim.SGD([{"params": [a]}, {"params": [b]}], 1.0, **options)
        optimizer.apply_gradients([(gg.tensor([3.0, 4.0]), a), (gg.tensor([12.0]), b)])
        assert_close(np.concatenate([a.numpy(), b.numpy()]), wanted)
    with pytest.raises(ValueError, match="Only one of"):
        gg.optim.Adam(clipnorm=1.0, clipvalue=1.0)
    with pytest.raises(ValueError, match="Invalid clipnorm"):
        gg.optim.Adam(clipnorm=-1.0)


def test_a_state_dict_crosses_dtypes_and_optimizers():
    a = gg.Variable(np.ones(3, np.float32))
    optimizer = gg.optim.Adam([a])
    optimizer.apply_gradients([(gg.ones(3), a)])
    b = gg.Variable(np.ones(3, np.float64))
    other = gg.optim.Adam([b])
    other.load_state_dict(optimizer.state_dict())
    state = other.state[b]
    assert state["exp_avg"].dtype == np.float64 and state["step"] == 1
    assert owner_of(state["exp_avg"]) is not owner_of(optimizer.state[a]["exp_avg"])


def test_a_number_as_variable_and_an_optimizer_that_adopts():
    a = gg.Variable(1.0)
    optimizer = gg.optim.Adam()
    optimizer.adopt([a])
    state = {"step": gg.tensor(3.0), "exp_avg": gg.tensor(0.5), "exp_avg_sq": np.float32(0.25)}
    group = {**optimizer.param_groups[0], "params": [0], "lr": 0.1}
    optimizer.load_state_dict({"state": {0: state}, "param_groups": [group]})
    assert optimizer.state[a]["step"] == 3 and optimizer.state[a]["exp_avg"].shape == ()
    optimizer.apply_gradients([(gg.tensor(1.0), a)])
    m, v = 0.5 * 0.9 + 0.1, 0.25 * 0.999 + 0.001
    assert_close(a, 1 - 0.1 * (m / (1 - 0.9**4)) / (np.sqrt(v / (1 - 0.999**4)) + 1e-8))
    for bad, error, text in [([a], ValueError, "more than one"), ([1.0], TypeError, "can only optimize Tensors")]:
        with pytest.raises(error, match=text):
            optimizer.adopt(bad)
    with pytest.raises(ValueError, match="Unknown variable"):
        gg.optim.SGD([a]).adopt([gg.Variable(2.0)])


def test_a_state_may_be_looked_at_before_the_first_step():
    v = gg.Variable([1.0])
    for make in (gg.optim.Adam, gg.optim.Adagrad, gg.optim.RMSprop, lambda vs: gg.optim.SGD(vs, momentum=0.9)):
        optimizer = make([v])
        seen = optimizer.state[v]
        assert seen == {}
        optimizer.apply_gradients([(gg.ones(1), v)])
        assert seen is optimizer.state[v] and seen


def test_hooks_of_modules():
    layer, seen = gg.nn.Linear(2, 1), []
    x = gg.ones((1, 2))
    before = layer.register_forward_pre_hook(lambda m, args: seen.append(m) or (args[0] * 0,))
    with layer.register_forward_hook(lambda m, args, out: out + 1):
        assert_close(layer(x), layer.bias.numpy()[None] + 1)
    assert_close(layer(x), layer.bias.numpy()[None])
    before.remove()
    assert_close(layer(x), x.numpy() @ layer.weight.numpy() + layer.bias.numpy())
    assert seen == [layer, layer] and len(layer.variables) == 2
    with pytest.raises(NotImplementedError, match='missing the required "forward" function'):
        gg.nn.Module()(x)


def test_dropout():
    gg.random.seed(0)
    layer, x = gg.nn.Dropout(0.25), gg.tensor(np.ones((100, 100)), requires_grad=True)
    y = layer(x)
    assert set(np.unique(y.numpy()).round(6)) == {0, 1.333333} and abs(y.numpy().mean() - 1) < 0.05
    y.sum().backward()
    assert_close(x.grad, y)
    assert layer.eval()(x) is x and gg.nn.Dropout(1.0)(x).numpy().max() == 0
    with pytest.raises(ValueError, match="dropout probability has to be between 0 and 1, but got 2"):
        gg.nn.Dropout(2)


def test_more_losses_have_their_gradients():
    rng = np.random.default_rng(0)
    x, y, p = rng.standard_normal((3, 4)), rng.standard_normal((3, 4)) * 3, rng.uniform(0.1, 0.9, (3, 4))
    y, q = gg.tensor(y), gg.tensor(p)
    for f, a in [
        (lambda v: gg.nn.huber_loss(v, y, delta=1.5), x), (lambda v: gg.nn.smooth_l1_loss(v, y, beta=0.5), x),
        (lambda v: gg.nn.l1_loss(v, y), x), (lambda v: gg.nn.binary_cross_entropy(v, q), p[::-1].copy()),
        (lambda v: gg.nn.binary_cross_entropy_with_logits(v, q), x), (lambda v: gg.nn.nll_loss(v, [0, 3, 1]), x),
        (lambda v: gg.nn.layer_norm(v, (4,), q[0], q[1]), x), (lambda v: gg.vector_norm(v, axis=1), x),
        (lambda v: gg.vector_norm(v, ord=3), x), (lambda v: gg.vector_norm(v, ord=1, axis=0, keepdims=True), x),
    ]:  # fmt: skip
        gg.testing.check_grads(f, [a], order=2)
    z = gg.tensor([0.0, 0.0], requires_grad=True)
    gg.vector_norm(z).backward()
    assert z.grad.tolist() == [0, 0]
    assert gg.nn.binary_cross_entropy(gg.tensor([0.0]), gg.tensor([1.0])).item() == 100
    for f in (lambda: gg.nn.huber_loss(z, z, delta=0), lambda: gg.nn.smooth_l1_loss(z, z, beta=-1)):
        with pytest.raises(ValueError, match="does not support"):
            f()


def test_norms_of_all_kinds_clip():
    for kind in (0.5, 1, 2, 3, float("inf")):
        vs = [gg.nn.Parameter(x) for x in ([3.0, -4.0], [12.0], [0.0])]
        for v in vs:
            v.grad = v.detach() * 1.0
        flat = np.array([3.0, 4.0, 12.0])
        expected = flat.max() if kind == float("inf") else (flat**kind).sum() ** (1 / kind)
        assert_close(gg.optim.clip_grad_norm_(vs, 1.0, kind), expected, rtol=1e-5)
        assert_close(vs[1].grad, [12 / expected], rtol=1e-5)
    for bad in (0, -1, float("nan"), "inf"):
        with pytest.raises(ValueError, match="norm_type is a number above 0"):
            gg.optim.clip_grad_norm_(vs, 1.0, bad)
    gg.optim.clip_grad_value_(vs, 0.25)
    assert max(float(abs(v.grad.numpy()).max()) for v in vs) == 0.25


@pytest.mark.parametrize("size", [3, 20000])
def test_centered_rmsprop_stays_finite(size):
    """Gradients that stay the same have no variance, and rounding makes none below 0."""
    g = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    v = gg.Variable(np.zeros(size, np.float32))
    optimizer = gg.optim.RMSprop([v], 1e-3, alpha=0.5, centered=True)
    for _ in range(100):
        optimizer.apply_gradients([(gg.tensor(g), v)])
    assert np.isfinite(v.numpy()).all()


def test_complex_gradients_are_not_clipped_by_value():
    v = gg.Variable(np.ones(3, np.complex64))
    with pytest.raises(TypeError, match="complex gradients cannot be clipped by value"):
        gg.optim.SGD([v], 0.1, clipvalue=1.0).apply_gradients([(gg.ones(3, dtype="complex64"), v)])


def stepped(cls=gg.optim.Adam, **options):
    v = gg.Variable(np.ones(3, np.float32))
    optimizer = cls([v], 0.1, **options)
    for _ in range(3):
        optimizer.apply_gradients([(gg.ones(3), v)])
    return optimizer, v


@pytest.mark.parametrize(
    "name, bad", [("step", -1), ("step", 1.5), ("step", float("nan")), ("step", "3"), ("exp_avg", "x")]
)
def test_a_hostile_state_changes_nothing(name, bad):
    optimizer, v = stepped()
    saved = optimizer.state_dict()
    saved["state"][0] = {**saved["state"][0], name: bad}
    with pytest.raises(ValueError, match=f"loaded state dict has .* for {name}"):
        optimizer.load_state_dict(saved)
    assert int(optimizer.state[v]["step"]) == 3


def test_a_state_dict_that_does_not_fit_is_told():
    optimizer, _ = stepped()
    saved = optimizer.state_dict()
    for bad, words in [
        ({}, "none of an optimizer"), ([], "none of an optimizer"), ({**saved, "param_groups": [{}]}, "'params'"),
        ({**saved, "state": {"0": saved["state"][0]}}, "for parameter '0'"),
        ({**saved, "state": {7: {}}}, "parameter 7"),
        ({**saved, "state": []}, "state is a dict"), ({**saved, "state": {0: 3}}, "state 3 for parameter 0"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=words):
            optimizer.load_state_dict(bad)
    other = gg.optim.Adam([gg.Variable(np.ones(3, np.float32))])
    other.load_state_dict(saved)
    assert other.iterations == 3
    optimizer.param_groups[0]["params"] = []
    assert optimizer.state_dict()["state"] == {}


def test_a_refused_variable_is_not_taken_up():
    optimizer, good, bad = gg.optim.Adam(None, 0.1), gg.Variable(np.ones(2)), gg.Variable(np.ones(2, np.complex64))
    for _ in range(2):
        with pytest.raises(TypeError, match="complex variables are not supported"):
            optimizer.apply_gradients([(gg.ones(2, dtype="float64"), good), (gg.ones(2, dtype="complex64"), bad)])
        assert optimizer.variables == [] and len(optimizer.state) == 0


@pytest.mark.parametrize("size", [2, 50000])
@pytest.mark.parametrize("cls", [gg.optim.SGD, gg.optim.Adam])
def test_complex_gradients_of_real_variables_are_refused(cls, size):
    v = gg.Variable(np.ones(size, np.float32))
    with pytest.raises(TypeError, match="would lose its imaginary part"):
        cls([v], 0.1).apply_gradients([(gg.ones(size, dtype="complex64"), v)])


@pytest.mark.numpy
def test_options_are_attributes():
    optimizer, _ = stepped(gg.optim.RMSprop)
    optimizer.add_param_group({"params": gg.Variable([1.0])})
    optimizer.weight_decay = 0.5
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.5, 0.5] and optimizer.weight_decay == 0.5
    with pytest.raises(ValueError, match="Invalid weight_decay"):
        optimizer.weight_decay = -1.0
    assert optimizer.weight_decay == 0.5 and optimizer.lr == 0.1
    with pytest.raises(AttributeError, match="'RMSprop' object has no attribute 'weight'"):
        print(optimizer.weight)


@pytest.mark.numpy
def test_names_of_options():
    v = gg.Variable([1.0])
    with pytest.raises(
        ValueError, match="SGD: a parameter group has no option 'learning_rte'; they are params, lr, mom"
    ):
        gg.optim.SGD([{"params": [v], "learning_rte": 0.5}])
    for name in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Lion", "Muon", "LAMB", "NAdam", "LBFGS"):
        cls = getattr(gg.optim, name)
        assert cls([("v", v)], lr=0.25).param_groups[0]["lr"] == 0.25
        with pytest.raises(TypeError, match=name):
            cls([v], learning_rte=0.5)
    with pytest.raises(TypeError, match="Adam: learning_rate and lr are two names"):
        gg.optim.Adam([v], 0.5, lr=0.25)
    assert gg.optim.SGD([{"params": [("v", v)]}]).variables[0] is v
    with pytest.raises(ValueError, match="Invalid ns_coefficients"):
        gg.optim.Muon([v], ns_coefficients=(1.0, float("nan"), 2.0))


@pytest.mark.numpy
def test_many_small_variables_decay_together():
    vs, alone = [[gg.Variable(np.arange(4.0)) for _ in range(9)] for _ in range(2)]
    together = gg.optim.SGD(vs, 0.1, weight_decay=0.5)
    each = [gg.optim.SGD([v], 0.1, weight_decay=0.5) for v in alone]
    for _ in range(3):
        together.apply_gradients([(gg.ones(4, dtype="float64"), v) for v in vs])
        for o, v in zip(each, alone):
            o.apply_gradients([(gg.ones(4, dtype="float64"), v)])
    for v, w in zip(vs, alone):
        assert_close(v, w.numpy())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_clipping_writes_over_gradients_that_nobody_else_holds(dtype):
    with gg.device("cpu"):
        vs = [gg.nn.Parameter(np.zeros(n), dtype=dtype) for n in (3, 4, 5)]
        for v in vs:
            v.grad = gg.tensor(np.full(v.shape, 2.0), dtype=dtype)
        held, view = vs[0].grad.array, vs[1].grad.array[1:]
        third = id(vs[2].grad.array)
        assert float(gg.optim.clip_grad_norm_(vs, 100.0)) == pytest.approx(math.sqrt(48), rel=1e-2)
        assert vs[0].grad.array is held and id(vs[2].grad.array) == third  # short enough
        gg.optim.clip_grad_norm_(vs, 1.0)
        assert held.tolist() == [2, 2, 2] and view.tolist() == [2, 2, 2] and id(vs[2].grad.array) == third
        for v in vs:
            np.testing.assert_allclose(v.grad.numpy().astype(float), 2 / math.sqrt(48), rtol=1e-2)


def test_a_state_dict_of_another_kind_of_optimizer_is_refused():
    v = gg.Parameter(np.ones(2, np.float32))
    adam, sgd = gg.optim.Adam([v], 0.5), gg.optim.SGD([v], 0.1)
    with pytest.raises(ValueError, match="momentum.*, which Adam has not and lacks betas.*options of Adam are"):
        adam.load_state_dict(sgd.state_dict())
    with pytest.raises(ValueError, match="lacks amsgrad"):
        adam.load_state_dict(gg.optim.LAMB([v]).state_dict())
    assert adam.learning_rate == 0.5 and "momentum" not in adam.param_groups[0]
    of_pytorch = {**adam.param_groups[0], "params": [0], "lr": 0.2, "foreach": None, "decoupled_weight_decay": False}
    del of_pytorch["maximize"]  # of an older one
    adam.load_state_dict({"state": {}, "param_groups": [of_pytorch]})
    assert adam.learning_rate == 0.2
    with pytest.raises(TypeError, match=r"not a Linear: write model.parameters\(\)"):
        gg.optim.Adam(gg.nn.Linear(1, 1))
    with pytest.raises(TypeError, match=r"not a Sequential: write model.parameters\(\)"):
        gg.optim.Adam(gg.nn.Sequential(gg.nn.Linear(1, 1)))


@pytest.mark.parametrize("bad", [-1, -0.5, float("nan"), "1"])
def test_a_limit_that_is_none_is_refused(bad):
    m = gg.nn.Linear(1, 1)
    for name in ("clipnorm", "clipvalue", "global_clipnorm"):
        with pytest.raises(ValueError, match=f"Invalid {name}"):
            gg.optim.SGD(m.parameters(), 0.1, **{name: bad})
    for clip in (gg.optim.clip_grad_norm_, gg.optim.clip_grad_value_):
        with pytest.raises(ValueError, match="is a number from 0 on, not"):
            clip(m.parameters(), bad)
    with pytest.raises(ValueError, match="Trainer: clip_norm is a number from 0 on, not"):
        gg.train.Trainer(m, gg.optim.SGD(m.parameters(), 0.1), gg.nn.mse_loss, clip_norm=bad, loggers=[])
    error = TypeError if isinstance(bad, str) else ValueError
    with pytest.raises(error, match="clip_by_norm: the limit is a number from 0 on"):
        gg.clip_by_norm(gg.ones(2), bad)
    with pytest.raises(error, match="clip_by_global_norm: the limit is a number above 0"):
        gg.clip_by_global_norm([gg.ones(2)], bad)
