"""Optimizers' steps in kernels, on the host build and on a GPU, against the same optimizer in array functions."""

import copy
import gc
import pickle
from weakref import ref

import numpy as np
import pytest
import standin
from test_fused import DTYPES, ulp

import gpugrad as gg
import gpugrad.tensorflow as tf
from gpugrad import kernels
from gpugrad.array import to_host, xp
from gpugrad.dtypes import float64, wide
from gpugrad.torch.nn import utils

SIZES = [(1,), (31,), (3, 11), (255,), (), (1009,), (4097,)]
# optimizer, options, launches in a step
ROWS = {
    "sgd": (gg.optim.SGD, {"learning_rate": 0.1}, 1),
    "momentum": (gg.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}, 1),
    "nesterov": (gg.optim.SGD, {"momentum": 0.9, "nesterov": True, "maximize": True}, 1),
    "dampening": (gg.optim.SGD, {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}, 1),
    "keras sgd": (lambda vs, **options: tf.keras.optimizers.SGD(**options), {"weight_decay": 0.1, "momentum": 0.5}, 1),
    "adam": (gg.optim.Adam, {"learning_rate": 0.01}, 1),
    "adam decay": (gg.optim.Adam, {"learning_rate": 0.01, "weight_decay": 0.1, "maximize": True}, 1),
    "amsgrad": (gg.optim.Adam, {"learning_rate": 0.01, "amsgrad": True}, 1),
    "adamw": (gg.optim.AdamW, {"learning_rate": 0.01, "betas": (0.5, 0.6), "eps": 1e-4}, 1),
    "keras adam": (lambda vs, **options: tf.keras.optimizers.Adam(**options), {"epsilon": 1e-3}, 1),
    "keras amsgrad": (lambda vs, **options: tf.keras.optimizers.Adam(**options), {"epsilon": 1e-3, "amsgrad": True}, 1),
    "nadam": (gg.optim.NAdam, {"learning_rate": 0.01, "momentum_decay": 0.1}, 1),
    "nadamw": (gg.optim.NAdam, {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}, 1),
    "radam": (gg.optim.RAdam, {"learning_rate": 0.01, "betas": (0.5, 0.7), "weight_decay": 0.1}, 1),
    "radam, not yet rectified": (gg.optim.RAdam, {"learning_rate": 0.01, "maximize": True}, 1),
    "adamax": (gg.optim.Adamax, {"learning_rate": 0.01, "eps": 1e-3, "weight_decay": 0.1}, 1),
    "adadelta": (gg.optim.Adadelta, {"rho": 0.5, "eps": 1e-3}, 1),
    "adagrad": (gg.optim.Adagrad, {"lr_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3}, 1),
    "keras adagrad": (lambda vs, **options: tf.keras.optimizers.Adagrad(**options), {}, 1),
    "rmsprop": (gg.optim.RMSprop, {"learning_rate": 0.01}, 1),
    "rmsprop centered": (gg.optim.RMSprop, {"learning_rate": 0.01, "centered": True, "eps": 1e-2}, 1),
    "rmsprop momentum": (gg.optim.RMSprop, {"momentum": 0.5, "weight_decay": 0.1, "maximize": True}, 1),
    "rmsprop all": (gg.optim.RMSprop, {"momentum": 0.5, "centered": True, "eps": 1e-2}, 1),
    "keras rmsprop": (
        lambda vs, **options: tf.keras.optimizers.RMSprop(**options),
        {"momentum": 0.5, "epsilon": 1e-3},
        1,
    ),
    "lion": (gg.optim.Lion, {"learning_rate": 0.01, "weight_decay": 0.1}, 1),
    "lamb": (gg.optim.LAMB, {"learning_rate": 0.01, "weight_decay": 0.1}, 3),
    "lamb, uphill": (gg.optim.LAMB, {"learning_rate": 0.1, "betas": (0.5, 0.6), "eps": 1e-3, "maximize": True}, 3),
    "muon": (gg.optim.Muon, {"learning_rate": 0.01}, 1),
    "clipvalue": (gg.optim.SGD, {"learning_rate": 0.1, "clipvalue": 0.5}, 1),
    "clipnorm": (gg.optim.SGD, {"learning_rate": 0.1, "clipnorm": 3.0}, 1 + 3 * len(SIZES)),
    "global_clipnorm": (gg.optim.AdamW, {"learning_rate": 0.01, "global_clipnorm": 3.0}, 3),
    "a global_clipnorm beyond": (gg.optim.SGD, {"learning_rate": 0.1, "global_clipnorm": 1e9}, 3),
    "a global_clipnorm of lamb": (gg.optim.LAMB, {"learning_rate": 0.01, "global_clipnorm": 3.0}, 5),
    "loss_scale, lamb": (gg.optim.LAMB, {"learning_rate": 0.01, "loss_scale": 8.0}, 5),
    "loss_scale": (gg.optim.Adam, {"learning_rate": 0.01, "loss_scale": 8.0}, 3),
    "loss_scale, clipvalue": (gg.optim.SGD, {"learning_rate": 0.1, "loss_scale": 8.0, "clipvalue": 0.5}, 1),
}


@pytest.fixture(params=["standin", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request):
    """Where kernels run: the host build, and a GPU."""
    if request.param == "standin":
        request.getfixturevalue("host")
    return request.param


def values(seed, sizes=SIZES):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s) for s in sizes]


def variables(device, dtype="float32", sizes=SIZES):
    return [gg.Variable(x, dtype=dtype, device=device) for x in values(0, sizes)]


def step(optimizer, vs, seed=1, scale=1.0, leave=()):
    """One step from gradients that are the same on every device."""
    pairs = [
        (gg.tensor(scale * g, dtype=v.dtype, device=v.device), v)
        for g, v in zip(values(seed, [v.shape for v in vs]), vs)
    ]
    optimizer.apply_gradients([pair for i, pair in enumerate(pairs) if i not in leave])


def assert_same(found, expected, least=0.0):
    """Within 1e-6 (1e-12), half types within two units in the last place of the value, or of `least`."""
    for a, b in zip(found, expected, strict=True):
        a, b = to_host(getattr(a, "array", a)), np.asarray(getattr(b, "array", b))
        assert a.dtype == b.dtype and a.shape == b.shape
        exact = b.astype(np.float64)
        allowed = np.maximum(np.abs(exact), 1) * (1e-12 if wide(b.dtype) == float64 else 1e-6)
        if wide(b.dtype) != b.dtype:
            allowed = allowed + 2 * ulp(np.maximum(np.abs(exact), least), b.dtype)
        error = np.abs(a.astype(np.float64) - exact)
        assert (error <= allowed).all(), f"off by {error.max()}"


def states(optimizer):
    """The arrays of the state, and the numbers of steps."""
    entries = [sorted(optimizer.state[v].items()) for v in optimizer.variables]
    return [a for e in entries for k, a in e if k != "step"], [int(a) for e in entries for k, a in e if k == "step"]


def both(device, make, dtype="float32", sizes=SIZES, **options):
    """(optimizer, variables) on the CPU and on the device."""
    cpu, other = variables("cpu", dtype, sizes), variables(device, dtype, sizes)
    return (make(cpu, **options), cpu), (make(other, **options), other)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS)
def test_kernels_do_what_array_functions_do(device, row, dtype, request):
    make, options, launches = ROWS[row]
    (a, xs), (b, ys) = both(device, make, dtype, **options)
    if row == "loss_scale, clipvalue" and dtype in ("float16", "bfloat16"):
        launches = 0  # gradients over the loss scale are float32, where variables are not
    least = 1.0 if "clip" in row and wide(xs[0].dtype) != xs[0].dtype else 0.0  # array functions round what they clip
    for i in range(5):
        if i == 3:
            a.learning_rate = b.learning_rate = 0.03
        step(a, xs, i, 4.0)
        before = request.getfixturevalue("host").launches if device == "standin" else 0
        step(b, ys, i, 4.0)
        if device == "standin":
            first = row == "dampening" and i == 0  # the sum begins as the gradient itself
            assert request.getfixturevalue("host").launches == before + (0 if first else launches)
        assert_same(ys, xs, least)
    (kept, steps), (expected, expected_steps) = states(b), states(a)
    assert steps == expected_steps and a.iterations == b.iterations == 5
    if not least:
        assert_same(kept, expected)


@pytest.mark.parametrize("make", [gg.optim.SGD, gg.optim.Adam])
def test_groups_and_dtypes_have_a_launch_each(host, make):
    cpu, other = ([*variables(d), *variables(d, "float16", [(7,), (8,)])] for d in ("cpu", "standin"))
    optimizers = []
    for vs in (cpu, other):
        optimizer = make([{"params": vs[:3], "learning_rate": 0.1}, {"params": vs[3:]}], learning_rate=0.01)
        step(optimizer, vs[3:])
        more = gg.Variable(np.arange(5.0), dtype="float32", device=vs[0].device)
        optimizer.add_param_group({"params": [more], "learning_rate": 0.5})
        vs.append(more)
        before = host.launches
        for i in range(3):
            step(optimizer, vs, i)
        optimizers.append(optimizer)
    assert_same(other, cpu)
    # two groups of float32, one of float16, one of five elements
    assert host.launches - before == 3 * 4
    if make is gg.optim.Adam:
        steps = [3] * 3 + [4] * 6 + [3]
        assert states(optimizers[0])[1] == states(optimizers[1])[1] == steps


@pytest.mark.parametrize("make", [lambda vs: gg.optim.Adam(vs, 0.01), lambda vs: gg.optim.SGD(vs, 0.1, 0.9)])
def test_variables_without_gradients_in_some_steps(device, make):
    """Each has its own number of steps."""
    (a, xs), (b, ys) = both(device, make)
    for i, leave in enumerate([(0,), (), (1, 2), (1,), (), (5,), (), ()]):
        for optimizer, vs in ((a, xs), (b, ys)):
            step(optimizer, vs, i, leave=leave)
        assert_same(ys, xs)
        assert states(a)[1] == states(b)[1]
    assert_same(states(b)[0], states(a)[0])


def test_a_variable_given_twice_takes_two_steps(device):
    for make in (gg.optim.Adam, lambda vs: gg.optim.SGD(vs, 0.1, 0.9)):
        (a, xs), (b, ys) = both(device, make)
        for i in range(2):
            for optimizer, vs in ((a, xs), (b, ys)):
                step(optimizer, [*vs, vs[1]], i)
            assert_same(ys, xs)
        assert states(a)[1] == states(b)[1]


@pytest.mark.parametrize("make", [gg.optim.Adam, lambda vs: gg.optim.SGD(vs, 0.1, 0.9)])
def test_state_crosses_devices(device, make):
    (a, xs), (b, ys) = both(device, make)
    step(a, xs)
    step(b, ys)
    saved = [copy.deepcopy(o.state_dict()) for o in (a, b)]
    assert [s.get("step") for s in saved[0]["state"].values()] == [s.get("step") for s in saved[1]["state"].values()]
    a.load_state_dict(saved[1])
    b.load_state_dict(saved[0])
    for i in range(2):
        step(a, xs, i)
        step(b, ys, i)
    assert_same(ys, xs)
    assert states(a)[1] == states(b)[1]
    assert_same(states(b)[0], states(a)[0])


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_optimizers_are_copied_with_their_steps(device, clone):
    (a, xs), (b, ys) = both(device, gg.optim.Adam, learning_rate=0.01)
    for optimizer, vs in ((a, xs), (b, ys)):
        step(optimizer, vs, 0)
        step(optimizer, vs, 1, leave=(0, 3))
    its, zs = clone((b, ys))
    for optimizer, vs in ((a, xs), (b, ys), (its, zs)):
        step(optimizer, vs, 2)
    assert_same(ys, xs)
    assert_same(zs, xs)
    assert states(a)[1] == states(b)[1] == states(its)[1] and its.iterations == 3


def test_a_checkpoint_crosses_devices(host, tmp_path):
    (a, xs), (b, ys) = both("standin", gg.optim.Adam)
    step(b, ys)
    step(b, ys, 2, leave=(4,))
    gg.checkpoints.save(tmp_path / "b.safetensors", gg.checkpoints.gather({"vs": ys, "o": b}))
    gg.checkpoints.restore({"vs": xs, "o": a}, gg.checkpoints.load(tmp_path / "b.safetensors"))
    for optimizer, vs in ((a, xs), (b, ys)):
        step(optimizer, vs, 3)
    assert_same(ys, xs)
    assert a.iterations == b.iterations == 3 and states(a)[1] == states(b)[1]


# ---------------------------------------------------------------------------------------------- loss scale
@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize("options", [{}, {"global_clipnorm": 2.0}, {"clipvalue": 0.5}])
def test_a_step_with_a_loss_scale_and_a_gradient_that_is_not_finite_is_skipped(device, options, bad):
    (a, xs), (b, ys) = both(device, gg.optim.Adam, loss_scale=4.0, **options)
    for optimizer, vs in ((a, xs), (b, ys)):
        step(optimizer, vs, 0, 4.0)
        before, kept = [v.numpy().copy() for v in vs], [to_host(s).copy() for s in states(optimizer)[0]]
        step(optimizer, vs, 1, bad)
        for v, old in zip(vs, before):
            assert np.array_equal(v.numpy(), old)
        for s, old in zip(states(optimizer)[0], kept):
            assert np.array_equal(to_host(s), old)
        assert optimizer.iterations == 1 and set(states(optimizer)[1]) == {1}
        optimizer.loss_scale = 2.0
        step(optimizer, vs, 2, 2.0)
        assert optimizer.iterations == 2 and set(states(optimizer)[1]) == {2}
        copied = (copy.copy if vs is ys else copy.deepcopy)(optimizer)
        optimizer.loss_scale = None
        step(optimizer, vs, 3)
        assert optimizer.iterations == 3 and copied.iterations == 2
    assert_same(ys, xs)


def test_without_a_loss_scale_a_gradient_that_is_not_finite_is_not_hidden(device):
    for options in ({}, {"global_clipnorm": 2.0}):
        for bad in (np.inf, np.nan):
            (a, xs), (b, ys) = both(device, gg.optim.SGD, sizes=[(3,)], **options)
            for optimizer, vs in ((a, xs), (b, ys)):
                with np.errstate(invalid="ignore"):
                    optimizer.apply_gradients([(gg.tensor([1.0, bad, 2.0], device=vs[0].device), vs[0])])
            np.testing.assert_allclose(ys[0].numpy(), xs[0].numpy(), rtol=1e-6)
            assert not np.isfinite(xs[0].numpy()).all() and a.iterations == b.iterations == 1


def test_a_loss_scale_is_a_number_above_0():
    optimizer = gg.optim.SGD(loss_scale=2)
    assert optimizer.loss_scale == 2.0
    for bad in (0, -1.0, float("nan"), float("inf"), "big"):
        with pytest.raises(ValueError, match="Invalid loss scale"):
            optimizer.loss_scale = bad
    assert optimizer.loss_scale == 2.0


# ---------------------------------------------------------------------------------------------- arrays
def test_what_a_tape_kept_keeps_its_value(device):
    (v,) = vs = variables(device, sizes=[(5,)])
    old = v.numpy().copy()
    optimizer = gg.optim.SGD(vs, 0.5, 0.9)
    with gg.GradientTape(persistent=True) as tape:
        y = gg.sum(v * v)
    kept, view = v.detach(), v.array[1:3]
    for _ in range(3):
        g = tape.gradient(y, v)
        np.testing.assert_allclose(g.numpy(), 2 * old, rtol=1e-6)
        optimizer.apply_gradients([(g, v)])
    assert np.array_equal(kept.numpy(), old) and np.array_equal(to_host(view), old[1:3])
    assert not np.allclose(v.numpy(), old)


def test_strided_variables_and_gradients(device):
    x, g = values(0, [(6, 5)])[0], values(1, [(5, 6)])[0]
    (a, xs), (b, ys) = both(device, gg.optim.Adam, sizes=[(6, 5)])
    for optimizer, v in ((a, xs[0]), (b, ys[0])):
        v.array = gg.tensor(x.T.copy(), dtype="float32", device=v.device).array.T
        for _ in range(2):
            optimizer.apply_gradients([(gg.tensor(g, dtype="float32", device=v.device).T, v)])
    assert_same(ys, xs)


def test_assigned_variables_and_states_are_noticed(device):
    (a, xs), (b, ys) = both(device, gg.optim.Adam)
    for optimizer, vs in ((a, xs), (b, ys)):
        step(optimizer, vs)
        vs[1].assign(vs[1] * 2)
        optimizer.state[vs[2]]["exp_avg"] = optimizer.state[vs[2]]["exp_avg"] * 3
        optimizer.state[vs[3]]["step"] = 40
        step(optimizer, vs, 2)
        optimizer.betas = (0.5, 0.6)
        optimizer.param_groups[0]["params"].pop()
        step(optimizer, vs[:-1], 3)
    assert_same(ys, xs)
    assert states(a)[1] == states(b)[1]


def test_a_subclass_with_an_update_of_its_own_has_its_way(host):
    class Signs(gg.optim.SGD):
        def update(self, x, g, state, group):
            return x - x.dtype.type(group["lr"]) * (g > 0)

    v = gg.Variable([1.0, 2.0], device="standin")
    Signs([v], 0.5).apply_gradients([(gg.tensor([3.0, -3.0], device="standin"), v)])
    assert v.tolist() == [0.5, 2.0]


def test_errors_change_nothing(host):
    vs = variables("standin", sizes=[(3,), (4,)])
    optimizer = gg.optim.Adam(vs, 0.1)
    step(optimizer, vs)
    before, kept = [v.numpy().copy() for v in vs], [s.copy() for s in states(optimizer)[0]]
    good = gg.ones(3, device="standin")
    launches = host.launches
    for bad, error in [(gg.ones(5, device="standin"), ValueError), (gg.ones(4), TypeError)]:
        with pytest.raises(error):
            optimizer.apply_gradients([(good, vs[0]), (bad, vs[1])])
    optimizer.param_groups[0]["lr"] = -1.0
    with pytest.raises(ValueError, match="Invalid learning rate"):
        step(optimizer, vs)
    assert host.launches == launches and optimizer.iterations == 1 and states(optimizer)[1] == [1, 1]
    for v, old in zip(vs, before):
        assert np.array_equal(v.numpy(), old)
    for s, old in zip(states(optimizer)[0], kept):
        assert np.array_equal(to_host(s), to_host(old))


def test_a_plan_lasts_while_nothing_changes(host, monkeypatch):
    vs = variables("standin")
    optimizer = gg.optim.Adam(vs, 0.1)
    made = []
    table = gg.fused.Table.__init__
    monkeypatch.setattr(
        gg.fused.Table, "__init__", lambda self, like, *how: made.append(len(like)) or table(self, like, *how)
    )
    for i in range(4):
        optimizer.learning_rate = 0.1 / (i + 1)
        step(optimizer, vs, i)
    assert made == [len(SIZES)]
    step(optimizer, vs, leave=(0,))
    assert made == [len(SIZES), len(SIZES) - 1]


def test_a_step_keeps_nothing_of_the_last_one(host):
    gc.disable()
    try:
        vs = variables("standin")
        optimizer = gg.optim.Adam(vs, 0.1, global_clipnorm=1.0)
        for i in range(3):
            held = [v.array[...] for v in vs] if i == 2 else []  # then all get new arrays
            old = [ref(v.array) for v in vs] if held else []
            gs = [gg.tensor(g, dtype="float32", device="standin") for g in values(i)]
            old += [ref(g.array) for g in gs]
            optimizer.apply_gradients(zip(gs, vs))
            del gs, held
            assert [r() is None for r in old] == [True] * len(old)
    finally:
        gc.enable()


# ---------------------------------------------------------------------------------------------- in place
def taped(v):
    with gg.GradientTape(persistent=True) as tape:
        y = gg.sum(v * v)
    return tape, y


def in_another_thread(v):
    """A generator's frame stands for a thread's: its local variable holds the array."""

    def frame():
        x = v.array
        yield
        yield x

    waiting = frame()
    next(waiting)
    return waiting


# How somebody may hold a variable's value, and what that is worth later.
HOLDERS = {
    "the array": (lambda v: v.array, lambda h: h),
    "a view": (lambda v: v.array[1:], lambda h: h),
    "a view of a view": (lambda v: v.array.reshape(5, 1)[1:].T, lambda h: h),
    "detach": (lambda v: v.detach(), lambda h: h.array),
    "a tensor of the array": (lambda v: gg.tensor(v.array), lambda h: h.array),
    "value": (lambda v: v.value(), lambda h: h.array),
    "DLPack": (lambda v: xp(v.array).from_dlpack(v.array), lambda h: h),
    "another variable's array": (lambda v: gg.optim.SGD([another(v)], 0.1), lambda h: h.variables[0].array),
    "a state_dict": (lambda v: module(v).state_dict(), lambda h: h["v"].array),
    "a moving average": (lambda v: {"ema": v.detach()}, lambda h: h["ema"].array),
    "a graph": (lambda v: gg.sum(gg.autograd.require_grad(gg.tensor(v.array)) * v), lambda h: saved_by(h.node)),
    "a thread": (in_another_thread, next),
}


def another(v):
    w = gg.Variable(np.zeros(v.shape), dtype=v.dtype, device=v.device)
    w.array = v.array
    return w


def module(v):
    m = gg.nn.Module()
    m.v = v
    return m


def saved_by(node):
    while not any(a is not None and hasattr(a, "nbytes") for a in node.saved or ()):
        node = next(e for e in node.edges if e is not None)
    return next(a for a in node.saved if hasattr(a, "nbytes"))


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("make", [gg.optim.Adam, lambda vs, lr: gg.optim.SGD(vs, lr, 0.9)])
def test_whoever_holds_a_variables_array_keeps_its_value(device, make, holder):
    hold, now = HOLDERS[holder]
    vs = variables(device, sizes=[(5,), (3,)])
    optimizer = make(vs, 0.5)
    step(optimizer, vs)
    step(optimizer, vs)  # in place
    held = hold(vs[0])
    before, other = to_host(vs[0].array).copy(), ref(vs[1].array)
    step(optimizer, vs, 2)
    found = to_host(now(held))
    np.testing.assert_array_equal(found.reshape(-1), before[5 - found.size :])
    assert not np.allclose(vs[0].numpy(), before) and vs[1].array is other()


def test_a_gradient_on_a_tape_is_that_of_the_values_it_saw(device):
    (v,) = vs = variables(device, sizes=[(5,)])
    optimizer = gg.optim.Adam(vs, 0.5)
    for i in range(3):
        step(optimizer, vs, i)
        old, (tape, y) = v.numpy().copy(), taped(v)
        step(optimizer, vs, i)
        step(optimizer, vs, i)
        np.testing.assert_allclose(tape.gradient(y, v).numpy(), 2 * old, rtol=1e-6)


@pytest.mark.parametrize("row", ["sgd", "momentum", "adam", "adamw", "global_clipnorm", "loss_scale"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_step_allocates_nothing_for_variables_that_nobody_else_holds(host, monkeypatch, row, dtype):
    vs = variables("standin", dtype)
    optimizer = ROWS[row][0](vs, **ROWS[row][1])
    step(optimizer, vs)  # the state is made
    arrays, made, empty = [ref(v.array) for v in vs], [], type(host.xp).empty
    gs = [gg.tensor(g, dtype=dtype, device="standin") for g in values(1)]
    monkeypatch.setattr(type(host.xp), "empty", lambda self, *a: made.append(a) or empty(self, *a))
    optimizer.apply_gradients(zip(gs, vs))
    assert len(made) == (row in ("global_clipnorm", "loss_scale"))  # the blocks' sums
    assert all(v.array is old() for v, old in zip(vs, arrays))


def test_a_skipped_step_in_place_changes_nothing(host):
    vs = variables("standin")
    optimizer = gg.optim.Adam(vs, 0.5, loss_scale=2.0)
    step(optimizer, vs)
    before, arrays = [v.numpy().copy() for v in vs], [ref(v.array) for v in vs]
    step(optimizer, vs, 1, np.inf)
    assert all(v.array is old() for v, old in zip(vs, arrays))
    for v, old in zip(vs, before):
        assert np.array_equal(v.numpy(), old)


def test_variables_and_gradients_that_share_memory(device):
    """A variable that is its own gradient, one that is a view of another's gradient, two of one array."""
    found = []
    for d in ("cpu", device):
        vs = variables(d, sizes=[(5,), (5,), (5,)])
        optimizer = gg.optim.SGD(vs, 0.5)
        step(optimizer, vs)
        vs[2].array = vs[1].array
        for _ in range(2):
            optimizer.apply_gradients([(vs[0], vs[0]), (vs[0].array[::-1], vs[1]), (vs[1].array[...], vs[2])])
        found.append(vs)
    assert_same(found[1], found[0])


WAITS = ("__float__", "__int__", "__bool__", "__index__", "item", "tolist")


@pytest.mark.parametrize("row", [name for name in ROWS if name != "loss_scale, clipvalue"])
def test_a_step_does_not_wait_for_the_device(host, monkeypatch, row):
    vs = variables("standin")
    optimizer = ROWS[row][0](vs, **ROWS[row][1])

    def boom(*args):
        raise AssertionError("a value was read from the device")

    with monkeypatch.context() as m:
        for name in WAITS:
            m.setattr(standin.Array, name, boom, raising=False)
        for i in range(3):
            optimizer.learning_rate = 0.1 / (i + 1)
            step(optimizer, vs, i, leave=(i,))
        with pytest.raises(AssertionError, match="was read from the device"):
            float(vs[0].array)
    assert optimizer.iterations == 3


def test_clip_grad_norm_does_not_wait_for_the_device(host, monkeypatch):
    v = gg.nn.Parameter([3.0, 4.0], device="standin")
    v.grad = gg.tensor([30.0, 40.0], device="standin")
    with monkeypatch.context() as m:
        for name in WAITS:
            m.setattr(standin.Array, name, lambda *args: 1 / 0, raising=False)
        norm = utils.clip_grad_norm_([v], 5.0)
    assert norm.item() == 50 and v.grad.tolist() == pytest.approx([3, 4])


def test_variables_on_two_devices(host):
    """Those on the CPU and those that no kernel is for take the array functions' path, also beside others."""
    (a, xs), (b, ys) = both("standin", lambda vs: gg.optim.SGD(vs, 0.1, global_clipnorm=2.0), sizes=[(3,), (4,), (5,)])
    for group, vs in ((a, xs), (b, ys)):
        mixed = [*vs, gg.Variable([1.0, 2.0]), gg.Variable(np.ones((0, 3)), dtype="float32", device=vs[0].device)]
        vs[:] = mixed
        group.param_groups[0]["params"] = mixed
        for i in range(2):
            step(group, mixed, i)
    assert_same(ys, xs)


# ---------------------------------------------------------------------------------------------- clipping
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("limit", [0.5, 1e6, np.inf])
def test_clip_grad_norm(device, dtype, limit):
    found = []
    for d in ("cpu", device):
        leaves = [gg.nn.Parameter(x, dtype=dtype, device=d) for x in values(0)]
        for v, g in zip(leaves, values(1)):
            v.grad = gg.tensor(g, dtype=dtype, device=d)
        norm = utils.clip_grad_norm_(leaves, limit)
        assert norm.device == gg.device(d)
        found.append([norm, *[v.grad for v in leaves]])
    assert_same(found[1], found[0])


def test_a_norm_that_is_not_finite(device):
    v = gg.nn.Parameter([1.0, 2.0], device=device)
    v.grad = gg.tensor([np.nan, 1.0], device=device)
    with pytest.raises(RuntimeError, match="is non-finite, so it cannot be clipped"):
        utils.clip_grad_norm_([v], 1.0, error_if_nonfinite=True)
    assert v.grad.numpy()[1] == 1
    assert np.isnan(utils.clip_grad_norm_([v], 1.0).item()) and np.isnan(v.grad.numpy()).all()


def test_a_kernel_that_does_not_compile_changes_nothing(host, monkeypatch):
    """Neither the variables for which there would have been a kernel, nor their states and steps."""
    variables = [gg.Variable(host.put(np.ones(5, d))) for d in ("float32", "float16")]
    grads = [gg.tensor(host.put(np.ones(5, d))) for d in ("float32", "float16")]
    optimizer = gg.optim.Adam(variables, 0.1)
    right = host.compile

    def compile(code, kernel, device):
        if "__half" in kernel:
            raise RuntimeError("no such kernel")
        return right(code, kernel, device)

    monkeypatch.setattr(kernels, "_places", {})  # as if nothing had been compiled
    monkeypatch.setattr(host, "compile", compile)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no such kernel"):
            optimizer.apply_gradients(zip(grads, variables))
        assert [v.numpy().tolist() for v in variables] == [[1] * 5] * 2
    monkeypatch.setattr(host, "compile", right)
    optimizer.apply_gradients(zip(grads, variables))
    for v in variables:
        np.testing.assert_allclose(v.numpy().astype(float), 0.9, atol=1e-3)
        assert int(optimizer.state[v]["step"]) == 1


def test_lamb_of_more_variables_than_a_table_holds(host):
    """Each part of a table has its own lengths; the step is counted once."""
    sizes = [(i % 7 + 1,) for i in range(kernels.TABLES[-1] + 60)]
    (a, xs), (b, ys) = both("standin", gg.optim.LAMB, sizes=sizes, learning_rate=0.1, weight_decay=0.1)
    for i in range(3):
        step(a, xs, i)
        before = host.launches
        step(b, ys, i)
        assert host.launches == before + 6
        assert_same(ys, xs)
    assert states(a)[1] == states(b)[1] == [3] * len(sizes)
