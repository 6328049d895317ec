"""gg.functional_call and stack_module_state: a module as a function of its tensors, on the CPU and on the stand-in."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import duals, func

pytestmark = pytest.mark.devices


@pytest.fixture
def model():
    gg.random.seed(1)
    return gg.nn.Sequential(gg.nn.Linear(3, 4), gg.nn.ReLU(), gg.nn.Linear(4, 2))


def host(t):
    return gg.to_device(t, "cpu").numpy()


def test_gradients_by_the_tensors_of_a_model(model):
    x = gg.random.normal((5, 3))
    with gg.GradientTape() as tape:
        loss = gg.sum(model(x) ** 2)
    wanted = tape.gradient(loss, dict(model.named_parameters()))
    f = lambda tensors, x: gg.sum(gg.functional_call(model, tensors, x) ** 2)
    found = gg.grad(f)(dict(model.named_parameters()), x)
    assert found.keys() == wanted.keys()
    each = gg.vmap(gg.grad(f), in_axes=(None, 0))(dict(model.named_parameters()), x)
    for k, g in wanted.items():
        np.testing.assert_allclose(host(found[k]), host(g), rtol=1e-5)
        np.testing.assert_allclose(host(gg.sum(each[k], 0)), host(g), rtol=1e-4, atol=1e-5)


def test_the_module_is_as_before(model):
    x, own = gg.ones((2, 3)), model.variables
    before = [(v.array, v.node) for v in own]
    zeros = {k: gg.zeros_like(v) for k, v in model.named_parameters()}
    assert np.all(host(gg.functional_call(model, zeros, x)) == 0)
    with pytest.raises(ValueError):
        gg.functional_call(model, zeros, gg.ones((2, 5)))
    assert all([v.array is a and v.node is n for v, (a, n) in zip(own, before, strict=True)])
    swapped = {"0.weight": gg.zeros_like(own[0]), "0.bias": own[1]}
    assert host(gg.functional_call(model[0], {k[2:]: t for k, t in swapped.items()}, x)).shape == (2, 4)


def test_tensors_of_the_module_itself_in_other_places():
    class Two(gg.nn.Module):
        def __init__(self):
            self.a, self.b = gg.Variable(2.0), gg.Variable(3.0)

        def forward(self):
            return self.a - self.b

    m = Two()
    assert float(host(gg.functional_call(m, {"a": m.b, "b": m.a}))) == 1
    assert float(host(m())) == -1
    for bad, error in (({"c": m.a}, RuntimeError), ({"a": 3.0}, TypeError), ([{"a": m.a}, {"a": m.b}], ValueError)):
        with pytest.raises(error):
            gg.functional_call(m, bad)
    with pytest.raises(RuntimeError, match=r"Missing key\(s\): 'b'"):
        gg.functional_call(m, {"a": m.a}, strict=True)


def test_a_model_without_sizes_has_no_names_yet():
    with pytest.raises(ValueError, match="has no parameters yet"):
        gg.functional_call(gg.nn.Linear(None, 2), {}, gg.ones((1, 2)))


def test_running_means_change_where_they_were_given():
    norm = gg.nn.BatchNorm(2)
    buffers = {k: gg.tensor(host(b).copy(), device=b.device) for k, b in norm.named_buffers()}
    gg.functional_call(norm, (dict(norm.named_parameters()), buffers), gg.tensor([[1.0, 2.0], [3.0, 6.0]]))
    assert np.all(host(norm.running_mean) == 0)
    np.testing.assert_allclose(host(buffers["running_mean"]), [0.2, 0.4], rtol=1e-6)


def test_many_models_in_one():
    models = [gg.nn.Linear(3, 2) for _ in range(4)]
    x = gg.random.normal((5, 3))
    params, buffers = gg.nn.stack_module_state(models)
    out = gg.vmap(lambda p, b: gg.functional_call(models[0], (p, b), x))(params, buffers)
    for i, m in enumerate(models):
        np.testing.assert_allclose(host(out[i]), host(m(x)), rtol=1e-5, atol=1e-6)


def test_duals():
    x, v = gg.tensor([1.0, 2.0]), gg.tensor([1.0, 10.0])
    with duals.dual_level():
        y = gg.exp(duals.make_dual(x, v)) * x
        value, tangent = duals.unpack_dual(y)
    np.testing.assert_allclose(host(value), np.exp([1, 2]) * [1, 2], rtol=1e-5)
    np.testing.assert_allclose(host(tangent), np.exp([1, 2]) * [1, 20], rtol=1e-5)

    @duals.dual_level()
    def pushed(x, v):
        return duals.unpack_dual(duals.make_dual(x, v) ** 2).tangent

    assert host(pushed(x, v)).tolist() == [2, 40]
    with pytest.raises(TypeError), duals.dual_level():
        duals.make_dual(x, 3.0)
    assert duals.unpack_dual(x).tangent is None


def test_a_primal_that_joins_later():
    x, y = gg.tensor(2.0), gg.tensor(3.0)
    with gg.ForwardAccumulator(x, gg.tensor(1.0)) as acc:
        acc.watch(y, gg.tensor(10.0))
        z = x * y
    assert float(host(acc.jvp(z))) == 23
    for again in (x, z):
        with pytest.raises(ValueError, match="has a tangent"):
            acc.watch(again, gg.tensor(1.0))


def test_vectorized_map():
    a, b = gg.tensor([[1.0, 2.0], [3.0, 4.0]]), gg.tensor([[10.0, 20.0]])
    out = func.vectorized_map(lambda p: (p[0] * p[1], 3.0), (a, b))
    assert host(out[0]).tolist() == [[10, 40], [30, 80]] and host(out[1]).tolist() == [3, 3]
    with pytest.raises(ValueError, match="the first axis of all tensors has one length"):
        func.vectorized_map(lambda p: p[0], (a, gg.ones((3, 2))))
