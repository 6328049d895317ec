"""Averages of weights against their formula, swapped in and out; mean gradients of parts against the whole batch."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import gpugrad as gg
from gpugrad import nn
from gpugrad.optim import EMA, Accumulator

pytestmark = pytest.mark.devices
HOST = lambda t: np.array(gg.array.to_host(gg.core.raw(t)), np.float64)


def walk(ema, vs, steps=9):
    """Random weights, one after the other, with an update after each."""
    rng, seen = np.random.default_rng(3), []
    for _ in range(steps):
        now = [rng.standard_normal(v.shape) for v in vs]
        for v, a in zip(vs, now):
            v.assign(a.astype(v.dtype) if v.dtype != gg.bfloat16 else a)
        seen.append([HOST(v) for v in vs])
        ema.update()
    return seen


DECAYS = {"0.9": 0.9, "0": 0.0, "mean": None, "growing": lambda n: min(0.9, (1 + n) / (10 + n))}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("name", DECAYS)
def test_the_formula(name, dtype):
    decay = DECAYS[name]
    vs = [gg.Variable(np.zeros(s), dtype=dtype) for s in [(3, 5), (), (0, 2), (40000,)]]
    ema = EMA(vs, decay)
    seen = walk(ema, vs)
    expected = seen[0]
    for n, now in enumerate(seen[1:], 1):
        d = n / (n + 1) if decay is None else decay(n) if callable(decay) else decay
        expected = [d * a + (1 - d) * w for a, w in zip(expected, now)]
    for a, e, v in zip(ema.averages.values(), expected, vs):
        assert a.dtype == gg.dtypes.wide(v.dtype)
        np.testing.assert_allclose(HOST(a), e, rtol=1e-5, atol=1e-5)
    assert ema.updates == 9


def net():
    gg.random.seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.Linear(4, 2))


def trained(model, ema, optimizer, steps=4):
    for i in range(steps):
        x = gg.random.normal((8, 3), seed=i)
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        ema.update()


def test_a_model_has_the_averages_inside():
    model = net()
    optimizer, ema = gg.optim.Adam(model.parameters(), 0.1), EMA(model, 0.5)
    trained(model, ema, optimizer)
    own = {k: HOST(v) for k, v in model.named_parameters()}
    arrays = [v.array for v in model.parameters()]
    with pytest.raises(KeyError), ema.applied():
        for k, v in model.named_parameters():
            np.testing.assert_array_equal(HOST(v), HOST(ema.averages[k]))
            assert v.array is not ema.averages[k].array  # tapes tell tensors apart by them
        with ema.applied(), pytest.raises(RuntimeError, match="inside applied"):
            ema.update()
        raise KeyError
    assert all([v.array is a for v, a in zip(model.parameters(), arrays)])
    trained(model, ema, optimizer, 1)
    ema.copy_to()
    for k, v in model.named_parameters():
        np.testing.assert_array_equal(HOST(v), HOST(ema.averages[k]))
        assert k in own


def test_buffers_are_averaged_if_asked():
    model = net()
    ema = EMA(model, 0.5, buffers=True)
    name = next(k for k, _ in model.named_buffers() if k.endswith("running_mean"))
    seen = []
    for i in range(3):
        model(gg.random.normal((8, 3), seed=i) + 3)
        ema.update()
        seen.append(HOST(dict(model.named_buffers())[name]))
    expected = (seen[0] + seen[1]) / 4 + seen[2] / 2
    np.testing.assert_allclose(HOST(ema.averages[name]), expected, rtol=1e-5)
    with ema.applied():
        np.testing.assert_allclose(HOST(dict(model.named_buffers())[name]), expected, rtol=1e-5)
    np.testing.assert_array_equal(HOST(dict(model.named_buffers())[name]), seen[2])


def test_a_state_goes_on():
    model, other = net(), net()
    one, two = EMA(model, 0.7), EMA(other, 0.7)
    walk(one, list(model.parameters()), 3)
    two.load_state_dict(one.state_dict())
    walk(one, list(model.parameters()), 4)
    walk(two, list(other.parameters()), 4)
    for k in one.averages:
        np.testing.assert_array_equal(HOST(one.averages[k]), HOST(two.averages[k]))
    before = {k: HOST(a) for k, a in two.averages.items()}
    good = one.state_dict()
    first = next(iter(before))
    for bad in ({}, {**good, "averages": {}}, {**good, "averages": {**good["averages"], first: gg.ones(7)}}, None):
        with pytest.raises(ValueError, match="loaded state dict"):
            two.load_state_dict(bad)
    for k, a in two.averages.items():
        np.testing.assert_array_equal(HOST(a), before[k])


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_a_decay_out_of_range(decay):
    with pytest.raises(ValueError, match="decay is a number from 0"):
        EMA([gg.Variable(1.0)], decay)
    with pytest.raises(ValueError, match="give a module that has parameters"):
        EMA([])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(0, 100))
def test_parts_give_what_the_whole_gives(sizes, seed):
    rng, n = np.random.default_rng(seed), sum(sizes)
    x, y = gg.tensor(rng.standard_normal((n, 3))), gg.tensor(rng.standard_normal((n, 2)))
    w, unused = gg.Variable(rng.standard_normal((3, 2))), gg.Variable(1.0)

    def gradients(rows):
        with gg.GradientTape() as tape:
            loss = ((x[rows] @ w - y[rows]) ** 2).mean()
        return tape.gradient(loss, [w, unused])

    total, at = Accumulator(), 0
    for size in sizes:
        total.add(gradients(slice(at, at + size)), size)
        at += size
    mean, none = total.mean()
    np.testing.assert_allclose(HOST(mean), HOST(gradients(slice(n))[0]), rtol=1e-10, atol=1e-12)
    assert none is None and total.weight == 0


def test_gradients_of_half_types_are_summed_in_float32():
    total = Accumulator()
    for _ in range(100):
        total.add([gg.full((3,), 1.001, dtype="float16")])
    (mean,) = total.mean()
    assert mean.dtype == gg.float16
    np.testing.assert_array_equal(HOST(mean), HOST(gg.full((3,), 1.001, dtype="float16")))


def test_what_an_accumulator_refuses():
    total = Accumulator()
    with pytest.raises(ValueError, match="nothing was added"):
        total.mean()
    for weight in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="weight"):
            total.add([gg.ones(2)], weight)
    total.add([gg.ones(2), None])
    with pytest.raises(ValueError, match="1 gradients, and 2 before"):
        total.add([gg.ones(2)])
    with pytest.raises(ValueError, match="shape"):
        total.add([gg.ones(3), None])
    total.add([None, gg.ones(1)])
    a, b = total.mean()
    assert a.tolist() == [0.5, 0.5] and b.tolist() == [0.5]


@pytest.mark.numpy("the host build of the kernels")
def test_an_update_is_one_launch(host):
    vs = [gg.Variable(np.ones(s), dtype="float32", device="standin") for s in [(3, 5), (), (7,), (4000,)]]
    ema = EMA(vs, None)
    for n in range(4):
        before = host.launches
        ema.update()
        assert host.launches == before + (n > 0)
        for v in vs:
            v.assign_add(np.float32(1))
    for a in ema.averages.values():
        np.testing.assert_allclose(HOST(a), 2.5)


def test_a_list_has_no_buffers():
    with pytest.raises(ValueError, match="buffers=True is for a module"):
        EMA([gg.Variable([1.0])], buffers=True)
