"""Steps on the CPU, all variables together, against the same rules for one variable after the other."""

import copy
import pickle

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.optim import blocks

SHAPES = [(3,), (), (0,), (4, 5), (300, 500), (7,), (70_000,), (2, 3, 4), (1,), (200_001,)]
ROWS = {
    "sgd": (gg.optim.SGD, {}),
    "sgd, decay": (gg.optim.SGD, {"weight_decay": 0.1}),
    "momentum": (gg.optim.SGD, {"momentum": 0.9, "dampening": 0.3, "maximize": True}),
    "nesterov": (gg.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "adam": (gg.optim.Adam, {"weight_decay": 0.1, "amsgrad": True}),
    "adamw": (gg.optim.AdamW, {"maximize": True}),
    "rmsprop": (gg.optim.RMSprop, {"centered": True, "momentum": 0.5}),
    "nadam": (gg.optim.NAdam, {}),
    "lion": (gg.optim.Lion, {"weight_decay": 0.1}),
}


@pytest.fixture(autouse=True)
def on_the_cpu():
    with gg.device("cpu"):
        yield


def alone(cls):
    """The optimizer, whose `update` is asked for one variable after the other."""
    return type(cls.__name__, (cls,), {"update": lambda self, *args: cls.update(self, *args)})


def variables(dtype="float32", shapes=SHAPES):
    rng = np.random.default_rng(0)
    return [gg.Variable(np.asarray(rng.standard_normal(s)), dtype=dtype) for s in shapes]


def step(optimizer, vs, seed, leave=()):
    rng = np.random.default_rng(seed)
    gs = [gg.tensor(np.asarray(rng.standard_normal(v.shape)), dtype=v.dtype) for v in vs]
    optimizer.apply_gradients([(g, v) for i, (g, v) in enumerate(zip(gs, vs)) if i not in leave])


def assert_same(found, expected, tolerance=1e-5):
    for a, b in zip(found, expected, strict=True):
        a, b = np.asarray(getattr(a, "array", a)), np.asarray(getattr(b, "array", b))
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a.astype("float64"), b.astype("float64"), rtol=tolerance, atol=tolerance)


def arrays(optimizer):
    return [a for v in optimizer.variables for k, a in sorted(optimizer.state[v].items())]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("row", ROWS)
def test_together_is_as_one_after_the_other(row, dtype):
    make, options = ROWS[row]
    shapes = SHAPES if dtype == "float32" else SHAPES[:6]
    xs, ys = variables(dtype, shapes), variables(dtype, shapes)
    a, b = make(xs, learning_rate=0.01, **options), alone(make)(ys, learning_rate=0.01, **options)
    for i in range(4):
        step(a, xs, i)
        step(b, ys, i)
    assert_same(xs, ys, {"float16": 1e-3, "bfloat16": 1e-2}.get(dtype, 1e-5))
    assert_same(arrays(a), arrays(b), 1e-4)


@pytest.mark.parametrize("threads", ["1", "2", "3"])
def test_the_bits_do_not_depend_on_the_threads(monkeypatch, threads):
    found = []
    for n in ("1", threads):
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", n)
        vs = variables()
        optimizer = gg.optim.Adam(vs, 0.01)
        for i in range(2):
            step(optimizer, vs, i)
        found.append([v.numpy().tobytes() for v in vs])
    assert found[0] == found[1]


def test_other_variables_each_time_and_groups_that_come_later():
    (make, options), shapes = ROWS["adam"], SHAPES[:6]
    pairs = []
    for cls in (make, alone(make)):
        vs = variables("float64", shapes)
        optimizer = cls([{"params": vs[:2], "lr": 0.1}, {"params": vs[2:]}], learning_rate=0.01, **options)
        for i, leave in enumerate([(0,), (), (1, 4), (1,), (2, 3, 5), ()]):
            with_some = [v for j, v in enumerate(vs) if j not in leave]
            step(optimizer, with_some, i)
        more = gg.Variable(np.ones(9))
        optimizer.add_param_group({"params": [more], "lr": 0.5})
        vs = [*vs, more]
        step(optimizer, vs, 7)
        optimizer.param_groups[0]["lr"] = 0.2
        optimizer.state[vs[3]]["exp_avg"] = optimizer.state[vs[3]]["exp_avg"] * 2  # one's own array
        optimizer = copy.deepcopy(optimizer)
        vs = optimizer.variables
        step(optimizer, [*vs, vs[0]], 8)  # the first one twice
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        if cls is make:
            optimizer = pickle.loads(pickle.dumps(optimizer))
        vs = optimizer.variables
        step(optimizer, vs[::-1], 9)
        pairs.append((vs, arrays(optimizer)))
    assert_same(pairs[0][0], pairs[1][0], 1e-12)
    assert_same(pairs[0][1], pairs[1][1], 1e-12)


def test_an_option_that_wants_another_state():
    for cls in (gg.optim.Adam, gg.optim.SGD, gg.optim.RMSprop):
        vs = variables("float64", SHAPES[:6])
        optimizer = cls(vs, 0.01)
        step(optimizer, vs, 0)
        optimizer.param_groups[0].update({"amsgrad": True, "momentum": 0.9, "centered": True})
        step(optimizer, vs, 1)
        wanted = {"Adam": "max_exp_avg_sq", "SGD": "momentum_buffer", "RMSprop": "grad_avg"}[cls.__name__]
        assert all(wanted in optimizer.state[v] for v in vs)


def test_strided_variables_and_gradients():
    x, g = np.random.default_rng(0).standard_normal((2, 300, 400))
    found = []
    for cls in (gg.optim.Adam, alone(gg.optim.Adam)):
        v = gg.Variable(x)
        v.array = np.asfortranarray(x)
        optimizer = cls([v], 0.1)
        for _ in range(2):
            optimizer.apply_gradients([(np.asfortranarray(g), v)])
            optimizer.apply_gradients([(g[::-1], v)])
        found.append(v)
    assert_same(found[:1], found[1:], 1e-12)


def test_whoever_holds_an_array_keeps_its_value():
    vs = variables(shapes=[(5,), (200_000,), (3,)])
    optimizer = gg.optim.Adam(vs, 0.5)
    step(optimizer, vs, 0)
    ids = [id(v.array) for v in vs]
    step(optimizer, vs, 1)
    assert [id(v.array) for v in vs] == ids  # in place, where nobody can tell
    held, view = vs[0].array, vs[1].array[3:]
    before = [held.copy(), view.copy()]
    with gg.GradientTape() as tape:
        y = gg.sum(vs[2] * vs[2])
    old = vs[2].numpy().copy()
    step(optimizer, vs, 2)
    assert np.array_equal(held, before[0]) and np.array_equal(view, before[1])
    np.testing.assert_allclose(tape.gradient(y, vs[2]).numpy(), 2 * old, rtol=1e-6)
    assert not np.allclose(vs[0].numpy(), held) and not np.allclose(vs[2].numpy(), old)


def test_an_error_changes_nothing(monkeypatch):
    vs = variables(shapes=[(5,), (100_000,)])
    optimizer = gg.optim.Adam(vs, 0.1)
    step(optimizer, vs, 0)
    held = [v.array for v in vs]  # so that new arrays are needed
    before = [v.numpy().copy() for v in vs], [np.copy(a) for a in arrays(optimizer)]

    def full(*args):
        raise MemoryError("no room")

    with monkeypatch.context() as m, pytest.raises(MemoryError):
        m.setattr(blocks.np, "empty", full)
        step(optimizer, vs, 1)
    with pytest.raises(TypeError, match="it would lose its imaginary part"):
        optimizer.apply_gradients([(gg.ones(5), vs[0]), (np.ones(100_000, np.complex64), vs[1])])
    assert_same(vs, before[0], 0)
    assert_same(arrays(optimizer), before[1], 0)
    assert optimizer.iterations == 1 and held
    step(optimizer, vs, 1)
    assert optimizer.iterations == 2


def test_what_is_not_finite_is_told_by_the_variables():
    vs = variables(shapes=[(3,), (4,)])
    optimizer = gg.optim.Adam(vs, 0.1)
    with np.errstate(all="raise"):
        optimizer.apply_gradients([(gg.tensor([1.0, np.inf, np.nan]), vs[0]), (gg.tensor([1e30] * 4), vs[1])])
    assert np.isfinite(vs[0].numpy()).tolist() == [True, False, False]


def test_complex_variables_of_sgd():
    v = gg.Variable(np.array([1 + 2j, 3j]))
    optimizer = gg.optim.SGD([v], 0.5, momentum=0.5)
    for _ in range(2):
        optimizer.apply_gradients([(np.array([1j, 2.0 + 0j]), v)])
    np.testing.assert_allclose(v.numpy(), [1 + 2j - 1.25j, 3j - 2.5])
    with pytest.raises(TypeError, match="complex variables are not supported"):
        gg.optim.LBFGS([v])


def test_lbfgs_after_an_error_is_where_it_was():
    v = gg.nn.Parameter(np.array([3.0, -2.0]))
    optimizer, calls = gg.optim.LBFGS([v], line_search_fn="strong_wolfe"), []

    def closure():
        calls.append(None)
        if len(calls) > 2:
            raise RuntimeError("enough")
        optimizer.zero_grad()
        y = gg.sum(v**4)
        y.backward()
        return y

    with pytest.raises(RuntimeError, match="enough"):
        optimizer.step(closure)
    assert v.tolist() == [3.0, -2.0] and optimizer.iterations == 0
    for bad in ({"max_iter": 0}, {"line_search_fn": "armijo"}, {"tolerance_grad": -1.0}):
        with pytest.raises(ValueError, match="Invalid"):
            gg.optim.LBFGS([v], **bad)
    with pytest.raises(TypeError, match="step\\(closure\\)"):
        optimizer.step()
    with pytest.raises(ValueError, match="no variable has a gradient"):
        gg.optim.LBFGS([gg.nn.Parameter([1.0])]).step(lambda: gg.tensor(1.0))


def test_lbfgs_goes_on_from_its_state():
    ends = []
    for saves in (False, True):
        v = gg.nn.Parameter(np.array([3.0, -2.0, 0.5]))
        optimizer = gg.optim.LBFGS([v], 0.1, max_iter=3)

        def closure(v=v):
            y = gg.sum((v - 1) ** 4)
            return y, gg.grad(y, [v])

        optimizer.step(closure)
        if saves:
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = gg.optim.LBFGS([v], 0.1, max_iter=3)
            optimizer.load_state_dict(state)
        optimizer.step(closure)
        ends.append(v.numpy().copy())
    np.testing.assert_array_equal(*ends)


def test_muon_refuses_options_out_of_range():
    v = gg.Variable(np.ones((2, 2)))
    for bad in ({"ns_steps": 100}, {"ns_coefficients": (1, 2)}, {"adjust_lr_fn": "other"}, {"momentum": -1.0}):
        with pytest.raises(ValueError, match="Invalid"):
            gg.optim.Muon([v], **bad)
    plain, w = gg.optim.Muon([{"params": [v], "use_muon": False}], 0.1), gg.Variable(np.ones((2, 2)))
    other = gg.optim.AdamW([w], 0.1, weight_decay=0.1, eps=1e-7)
    for optimizer, x in ((plain, v), (other, w)):
        step(optimizer, [x], 0)
    assert_same([v], [w], 1e-12)


def test_a_rule_of_ones_own_on_top_of_one_that_does_nothing():
    class Signs(gg.optim.SGD):
        def rule(self, g, state, work, group, counts):
            np.sign(g, out=g)
            g *= group["lr"]

    vs = variables(shapes=[(3,), (100_000,)])
    old = [v.numpy().copy() for v in vs]
    gs = [np.full(v.shape, 3.0, np.float32) for v in vs]
    Signs(vs, 0.5).apply_gradients(zip(gs, vs))
    assert_same(vs, [x - np.float32(0.5) for x in old])


def test_a_step_towards_the_gradient_is_exact_where_it_is_there():
    """One difference: of averages that are what they average, none moves, however short the step."""
    vs = variables(shapes=[(7,), (100_000,), ()])
    old = [v.numpy().copy() for v in vs]
    gg.optim.SGD(vs, 1e-3, weight_decay=1.0, maximize=True).apply_gradients([(x.copy(), v) for x, v in zip(old, vs)])
    assert_same(vs, old, 0)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("most", [1, 70, 1 << 18])
def test_matrices_of_a_shape_go_together(monkeypatch, most, dtype):
    monkeypatch.setattr(gg.optim.muon, "HOST", most)
    shapes, found = [(8, 4)] * 3 + [(4, 8)] * 2 + [(5,), (8, 4), (0, 3), (3, 3)], []
    for cls in (gg.optim.Muon, alone(gg.optim.Muon)):
        vs = variables(dtype, shapes)
        optimizer = cls([{"params": vs[:6], "nesterov": False, "maximize": True}, {"params": vs[6:]}], 0.1)
        for i, leave in enumerate([(), (1,), (4, 5), ()]):
            step(optimizer, vs, i, leave)
        optimizer = copy.deepcopy(optimizer)
        vs = optimizer.variables
        step(optimizer, [*vs, vs[0], vs[1]], 5)  # two of them twice
        found.append((vs, arrays(optimizer)))
    for a, b in zip(*found):
        assert_same(a, b, {"float16": 2e-3, "float32": 1e-5}.get(dtype, 1e-10))
