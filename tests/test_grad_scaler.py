"""GradScaler, master weights, and training in half types."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.array import to_host
from gpugrad.optim import loss_scale

pytestmark = pytest.mark.devices
DATA = Path(__file__).resolve().parent.parent / "examples/data/digits.npz"
BAD = [0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0]  # in which rounds a gradient is not finite


@pytest.fixture
def waits(monkeypatch):
    """How often numbers were read from the device."""
    found = []
    monkeypatch.setattr(loss_scale, "to_host", lambda a: found.append(a) or to_host(a))
    return found


def parameters(dtype="float32", sizes=((3, 4), (5,))):
    rng = np.random.default_rng(0)
    return [gg.Parameter(rng.standard_normal(s), dtype=dtype) for s in sizes]


def leave(ps, seed, scale, bad=None):
    """Gradients as backward() leaves them from a scaled loss."""
    rng = np.random.default_rng(seed)
    for p in ps:
        g = rng.standard_normal(p.shape)
        p.grad = gg.tensor(g * scale, dtype=p.dtype)
    if bad is not None:
        p.grad = gg.tensor(np.full(p.shape, bad), dtype=p.dtype)


def expected_scales(rounds, scale, growth, backoff, interval):
    """PyTorch's rule."""
    found, good = [], 0
    for bad in rounds:
        if bad:
            scale, good = scale * backoff, 0
        else:
            good += 1
            if good == interval:
                scale, good = scale * growth, 0
        found.append(scale)
    return found


# ---------------------------------------------------------------------------------------------- rounds
@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize("unscaled", [False, True])
@pytest.mark.parametrize(
    "make", [gg.optim.Adam, lambda ps, lr: gg.optim.Adam(ps, lr, clipvalue=0.5), lambda ps, lr: gg.optim.Muon(ps, lr)]
)
def test_steps_are_those_without_a_scale_and_bad_ones_are_skipped(bad, unscaled, make):
    """Parameters, state and counts stay as they are in a skipped step; the others are as if it had not been.

    By kernels, by array functions after the gradients were looked at, and by those alone.
    """
    sizes = [(3, 4), (5, 2)]
    ps, qs = parameters(sizes=sizes), parameters(sizes=sizes)
    a, b = make(ps, 0.1), make(qs, 0.1)
    scaler = gg.GradScaler(init_scale=64.0, growth_factor=4.0, backoff_factor=0.25, growth_interval=2)
    scales = expected_scales(BAD, 64.0, 4.0, 0.25, 2)
    scale = 64.0
    for i, skip in enumerate(BAD):
        leave(ps, i, scale, bad if skip else None)
        before = [p.numpy().copy() for p in ps] + [to_host(s).copy() for p in ps for s in state(a, p)]
        if unscaled:
            scaler.unscale_(a)
        scaler.step(a)
        scaler.update()
        assert scaler.get_scale() == scales[i]
        scale = scales[i]
        if skip:
            after = [p.numpy() for p in ps] + [to_host(s) for p in ps for s in state(a, p)]
            assert all(np.array_equal(x, y) for x, y in zip(before, after))
        else:
            leave(qs, i, 1.0)
            b.step()
        for p, q in zip(ps, qs):
            np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-6, atol=1e-6)
    assert scaler.skipped == sum(BAD) and a.iterations == b.iterations == len(BAD) - sum(BAD)
    assert {int(a.state[p].get("step", 12)) for p in ps} == {len(BAD) - sum(BAD)}


def state(optimizer, p):
    return [s for k, s in sorted(optimizer.state[p].items()) if k != "step"]


def test_no_round_waits_for_the_device(waits, default_device):
    ps = parameters()
    optimizer, scaler = gg.optim.Adam(ps, 0.1, global_clipnorm=1.0), gg.GradScaler(init_scale=8.0, growth_interval=3)
    x = gg.ones((2, 3))
    for i in range(3):
        scaler.scale(gg.sum(x @ ps[0]) + gg.sum(ps[1])).backward()
        if i:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        if i == 0:
            waits.clear()  # it was on the host before
    assert default_device == "cpu" or not waits
    assert scaler.get_scale() == 16.0


def test_the_loss_of_half_types_is_scaled_in_float32():
    scaler = gg.GradScaler()
    for dtype in ("float16", "bfloat16", "float32"):
        x = gg.tensor([3.0, 4.0], dtype=dtype, requires_grad=True)
        loss = scaler.scale(gg.mean(x))
        assert loss.dtype == np.float32 and float(loss.detach()) == 3.5 * 2**16
    pair = scaler.scale([gg.sum(x), (gg.sum(x),)])
    assert [float(pair[0].detach()), float(pair[1][0].detach())] == [7 * 2.0**16] * 2
    with pytest.raises(TypeError, match="takes a tensor"):
        scaler.scale(3.0)


def test_tapes_clipping_and_accumulation():
    """apply_gradients after a tape; clipped between; the same as without a scale."""
    v, w = gg.Parameter([3.0, -4.0]), gg.Parameter([3.0, -4.0])
    a, b = gg.optim.SGD([v], 0.1), gg.optim.SGD([w], 0.1)
    scaler = gg.GradScaler(init_scale=1024.0)
    for clipped in (False, True):
        with gg.GradientTape() as tape:
            loss = scaler.scale(gg.sum(v * v))
        gs = tape.gradient(loss, [v])
        if clipped:
            gs = gg.clip_by_global_norm(scaler.unscale(a, gs), 1.0)[0]
        scaler.apply_gradients(a, zip(gs, [v]))
        scaler.update()
        with gg.GradientTape() as tape:
            loss = gg.sum(w * w)
        gs = tape.gradient(loss, [w])
        b.apply_gradients(zip(gg.clip_by_global_norm(gs, 1.0)[0] if clipped else gs, [w]))
        np.testing.assert_allclose(v.numpy(), w.numpy(), rtol=1e-6)
    found = scaler.unscale(a, [None, np.full(2, 3 * scaler.get_scale(), np.float32)])
    assert found[0] is None and found[1].tolist() == [3, 3]
    scaler.update()
    a.accumulates = b.accumulates = True
    for _ in range(3):  # gradients add up under one scale
        scaler.scale(gg.sum(v * v)).backward()
        gg.sum(w * w).backward()
    scaler.unscale_(a)
    assert float(gg.optim.clip_grad_norm_([v], 1.0)) == pytest.approx(float(gg.optim.clip_grad_norm_([w], 1.0)))
    scaler.step(a)
    b.step()
    np.testing.assert_allclose(v.numpy(), w.numpy(), rtol=1e-6)


def test_a_gradient_that_is_clipped_to_something_finite_is_skipped_all_the_same():
    (p,) = ps = parameters(sizes=[(3,)])
    before = p.numpy().copy()
    optimizer, scaler = gg.optim.SGD(ps, 1.0), gg.GradScaler(init_scale=4.0)
    leave(ps, 0, 4.0, np.inf)
    scaler.unscale_(optimizer)
    gg.optim.clip_grad_value_(ps, 1.0)
    assert np.isfinite(p.grad.numpy()).all()
    scaler.step(optimizer)
    assert np.array_equal(p.numpy(), before) and optimizer.iterations == 0
    scaler.update()
    assert scaler.get_scale() == 2.0


def test_several_optimizers_are_skipped_each_for_itself():
    ps, qs = parameters(), parameters()
    a, b = gg.optim.SGD(ps, 0.1), gg.optim.Adam(qs, 0.1, global_clipnorm=2.0)
    scaler = gg.GradScaler(init_scale=8.0, growth_interval=1)
    for i, (first, second) in enumerate([(0, 0), (1, 0), (0, 1), (0, 0)]):
        scale = scaler.get_scale()
        leave(ps, i, scale, np.nan if first else None)
        leave(qs, i, scale, np.inf if second else None)
        scaler.unscale_(a)
        before = [p.numpy().copy() for p in (*ps, *qs)]
        scaler.step(b)
        scaler.step(a)
        same = [np.array_equal(p.numpy(), x) for p, x in zip((*ps, *qs), before)]
        assert same == [bool(first)] * 2 + [bool(second)] * 2
        scaler.update()
        assert scaler.get_scale() == scale * (0.5 if first or second else 2.0)
    assert scaler.skipped == 2 and a.iterations == b.iterations == 3


@pytest.mark.numpy
def test_it_is_as_pytorch_has_it():
    torch = pytest.importorskip("torch")
    theirs = torch.amp.GradScaler("cpu", init_scale=64.0, growth_factor=4.0, backoff_factor=0.25, growth_interval=2)
    ours = gg.GradScaler(init_scale=64.0, growth_factor=4.0, backoff_factor=0.25, growth_interval=2)
    p, q = torch.nn.Parameter(torch.ones(3)), gg.Parameter(np.ones(3, np.float32))
    a, b = torch.optim.SGD([p], 0.1), gg.optim.SGD([q], 0.1)
    for i, bad in enumerate(BAD):
        for scaler, optimizer, v, lib in ((theirs, a, p, torch), (ours, b, q, gg)):
            optimizer.zero_grad()
            scaler.scale((v * v).sum()).backward()
            if bad:
                v.grad = v.grad * lib.tensor(np.float32(np.inf))
            if i % 3 == 0:
                scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
        assert theirs.get_scale() == ours.get_scale()
        np.testing.assert_allclose(p.detach().numpy(), q.numpy(), rtol=1e-6)
    state = ours.state_dict()
    assert {k: state[k] for k in theirs.state_dict()} == theirs.state_dict()
    theirs.load_state_dict(state)
    ours.load_state_dict(theirs.state_dict())


# ---------------------------------------------------------------------------------------------- never silently forever
@pytest.mark.parametrize("options, rounds", [({"max_skips": 3}, 3), ({"min_scale": 2.0, "init_scale": 8.0}, 3)])
def test_endless_skipping_is_an_error(options, rounds, default_device):
    ps = parameters()
    optimizer, scaler = gg.optim.SGD(ps, 0.1), gg.GradScaler(**{"max_skips": 5, **options})
    for i in range(10):
        leave(ps, i, 1.0, np.nan)
        scaler.step(optimizer)
        try:
            scaler.update()
        except gg.NonFiniteGradients as e:
            assert isinstance(e, FloatingPointError) and "detect_anomaly" in str(e)
            break
    else:
        pytest.fail("it went on")
    assert i + 1 == (rounds if default_device == "cpu" else scaler.max_skips)


def test_misuse_is_told():
    ps = parameters()
    optimizer, scaler = gg.optim.SGD(ps, 0.1), gg.GradScaler()
    with pytest.raises(RuntimeError, match="No inf checks were recorded prior to update"):
        scaler.update()
    with pytest.raises(ValueError, match="no variable of this optimizer has a gradient"):
        scaler.unscale_(optimizer)
    leave(ps, 0, 1.0)
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called on this optimizer"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="called after step"):
        scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="step\\(\\) has already been called"):
        scaler.step(optimizer)
    scaler.update()
    with pytest.raises(RuntimeError, match="Closure use"):
        scaler.step(optimizer, lambda: None)
    with pytest.raises(ValueError, match="loss_scale of its own"):
        scaler.step(gg.optim.SGD(ps, 0.1, loss_scale=2.0))
    halves = parameters("float16")
    leave(halves, 0, 1.0)
    with pytest.raises(ValueError, match="unscale FP16"):
        scaler.unscale_(gg.optim.SGD(halves, 0.1))
    least = {"init_scale": 0, "growth_factor": 1, "backoff_factor": 1, "growth_interval": 0, "max_skips": 0}
    for name, bad in least.items():
        with pytest.raises(ValueError):
            gg.GradScaler(**{name: bad})
    with pytest.raises(ValueError):
        scaler.update(float("nan"))


def test_not_enabled_it_does_nothing():
    ps = parameters()
    optimizer, scaler = gg.optim.SGD(ps, 0.1), gg.GradScaler(enabled=False)
    x = gg.ones(3)
    assert scaler.scale(x) is x and scaler.get_scale() == 1.0 and scaler.state_dict() == {}
    leave(ps, 0, 1.0)
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert optimizer.iterations == 1 and not scaler.is_enabled()


def test_a_failed_step_leaves_the_optimizer_as_it_was():
    ps = parameters()
    optimizer, scaler = gg.optim.SGD(ps, 0.1), gg.GradScaler()
    with pytest.raises(ValueError, match="No gradients provided"):
        scaler.apply_gradients(optimizer, [(None, ps[0])])
    leave(ps, 0, 1.0)
    before = ps[0].numpy().copy()
    optimizer.step()  # with gradients as they are
    assert not np.allclose(before, ps[0].numpy(), atol=1e-4)


def test_it_goes_on_where_it_was_saved():
    ps = parameters()
    optimizer, scaler = gg.optim.SGD(ps, 0.1), gg.GradScaler(init_scale=64.0, growth_interval=3)
    for i, bad in enumerate([0, 1, 0, 0]):
        leave(ps, i, scaler.get_scale(), np.inf if bad else None)
        scaler.step(optimizer)
        scaler.update()
    saved = scaler.state_dict()
    others = [copy.deepcopy(scaler), pickle.loads(pickle.dumps(scaler)), gg.GradScaler()]
    others[2].load_state_dict(saved)
    for other in (*others, scaler):
        assert other.state_dict() == saved and other.skipped == 1
        leave(ps, 9, other.get_scale())
        other.step(optimizer)
        other.update()
        assert other.get_scale() == 64.0
    for broken in ({}, {**saved, "scale": -1.0}, {**saved, "growth_factor": 0.5}, {**saved, "_growth_tracker": "many"}):
        with pytest.raises((ValueError, RuntimeError)):
            scaler.load_state_dict(broken)
    with pytest.raises(KeyError):
        scaler.load_state_dict({"scale": 2.0})
    assert scaler.get_scale() == 64.0 and scaler.growth_interval == 3
    scaler.update(5.0)
    assert scaler.get_scale() == 5.0


# ---------------------------------------------------------------------------------------------- master weights
MAKERS = {
    "SGD": lambda ps, **more: gg.optim.SGD(ps, 1e-4, **more),
    "momentum": lambda ps, **more: gg.optim.SGD(ps, 1e-4, momentum=0.5, **more),
    "Adam": lambda ps, **more: gg.optim.Adam(ps, 1e-4, **more),
    "AdamW": lambda ps, **more: gg.optim.AdamW(ps, 1e-4, **more),
    "RMSprop": lambda ps, **more: gg.optim.RMSprop(ps, 1e-4, **more),
    "clipped": lambda ps, **more: gg.optim.SGD(ps, 1e-4, global_clipnorm=1e3, **more),
    "clipped by value": lambda ps, **more: gg.optim.SGD(ps, 1e-4, clipvalue=1e3, **more),
}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("make", MAKERS)
def test_small_updates_add_up(make, dtype):
    """As those of float32 variables, rounded; without copies they are lost."""
    p, q, lost = [gg.Parameter(np.ones(7), dtype=d) for d in (dtype, "float32", "bfloat16")]
    copies, exact, none = MAKERS[make]([p], master_weights=True), MAKERS[make]([q]), MAKERS[make]([lost])
    for i in range(150):
        for optimizer, v in ((copies, p), (exact, q), (none, lost)):
            optimizer.apply_gradients([(gg.tensor(np.full(7, 1 + i % 2), dtype=v.dtype), v)])
    master = copies.state[p]["master_param"]
    np.testing.assert_allclose(to_host(master), q.numpy(), rtol=1e-6)
    assert master.dtype == np.float32 and p.dtype == dtype
    assert np.array_equal(p.numpy(), to_host(master).astype(p.dtype))
    assert q.numpy().max() < 0.99 and (lost.numpy().astype(float) == 1).all()


@pytest.mark.numpy
def test_a_thousand_updates_of_a_ten_thousandth():
    p = gg.Parameter(np.ones(3), dtype="bfloat16")
    optimizer = gg.optim.SGD([p], 1.0, master_weights=True)
    for _ in range(1000):
        optimizer.apply_gradients([(gg.tensor(np.full(3, 1e-4), dtype="bfloat16"), p)])
    np.testing.assert_allclose(to_host(optimizer.state[p]["master_param"]), 0.9, rtol=1e-3)


def test_master_weights_take_one_launch(host):
    ps = [gg.Parameter(np.ones(n), dtype="bfloat16", device="standin") for n in (1, 31, 255, 4097)]
    optimizer = gg.optim.Adam(ps, 1e-4, master_weights=True)
    for i in range(3):
        before = host.launches
        optimizer.apply_gradients([(gg.ones(p.shape, dtype=p.dtype, device="standin"), p) for p in ps])
        assert i == 0 or host.launches == before + 1


def test_copies_can_be_switched_off_and_on():
    p, q = [gg.Parameter(np.ones(3), dtype="bfloat16") for _ in range(2)]
    optimizer, other = gg.optim.SGD([p], 0.25, master_weights=True), gg.optim.SGD([q], 0.25)
    for on in (True, False, False, True):
        optimizer.master_weights = on
        for o, v in ((optimizer, p), (other, q)):
            o.apply_gradients([(gg.ones(3, dtype="bfloat16"), v)])
        assert p.tolist() == q.tolist()
    assert to_host(optimizer.state[p]["master_param"]).tolist() == [0, 0, 0]


def test_values_that_are_assigned_count():
    """Not what the copy had: loaded weights, too; a saved state goes on where its variables are as they were."""
    p = gg.Parameter(np.ones(3), dtype="bfloat16")
    optimizer = gg.optim.SGD([p], 1e-3, master_weights=True)
    step = lambda o, v: o.apply_gradients([(gg.ones(3, dtype="bfloat16"), v)])
    for _ in range(3):
        step(optimizer, p)
    saved, values = copy.deepcopy(optimizer.state_dict()), p.numpy().copy()
    q = gg.Parameter(values, dtype="bfloat16")
    other = gg.optim.SGD([q], 1e-3, master_weights=True)
    other.load_state_dict(saved)
    step(other, q)
    np.testing.assert_allclose(to_host(other.state[q]["master_param"]), 1 - 4e-3, rtol=1e-6)
    p.assign(gg.full(3, 2.0, dtype="bfloat16"))
    step(optimizer, p)
    np.testing.assert_allclose(to_host(optimizer.state[p]["master_param"]), 2 - 1e-3, rtol=1e-6)


def test_a_skipped_step_leaves_copies_as_they_are():
    p = gg.Parameter(np.linspace(1, 2, 5), dtype="bfloat16")
    optimizer, scaler = gg.optim.Adam([p], 1e-3, master_weights=True), gg.GradScaler(init_scale=8.0)
    found = []
    for bad in (None, np.inf, None):
        leave([p], 0, scaler.get_scale(), bad)
        scaler.step(optimizer)
        scaler.update()
        found.append((p.numpy().copy(), to_host(optimizer.state[p]["master_param"]).copy()))
    assert all(np.array_equal(a, b) for a, b in zip(found[0], found[1]))
    assert not np.array_equal(found[1][1], found[2][1]) and optimizer.iterations == 2


# ---------------------------------------------------------------------------------------------- training
def train(dtype, steps=60, half_weights=False):
    """The losses of a small network on the digits."""
    with np.load(DATA, allow_pickle=False) as data:
        images, labels = data["images"][:512].astype(np.float32) / 16, data["labels"][:512].astype(np.int32)
    gg.random.seed(0)
    net = nn.Sequential(nn.Linear(64, 64, activation="relu"), nn.LayerNorm(64), nn.Linear(64, 10))
    if half_weights:
        net.to(dtype=dtype)
    optimizer = gg.optim.Adam(net.parameters(), 3e-3, master_weights=half_weights)
    scaler = gg.GradScaler(init_scale=2.0**24, growth_interval=20, enabled=dtype == "float16")
    losses = []
    for i in range(steps):
        at = slice(i % 4 * 128, i % 4 * 128 + 128)
        with gg.autocast(dtype or "bfloat16", enabled=dtype is not None):
            loss = nn.cross_entropy(net(gg.tensor(images[at])), labels[at])
        optimizer.zero_grad()
        with np.errstate(over="ignore", invalid="ignore"):  # too large a scale is found out
            scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(float(loss.detach()))
    if dtype == "float16":
        assert 0 < scaler.skipped < 15
    return losses


@pytest.mark.numpy
@pytest.mark.parametrize("half_weights", [False, True])
def test_models_train_in_half_types_as_in_float32(half_weights):
    exact = np.mean(train(None)[-8:])
    for dtype in ("bfloat16", "float16"):
        if dtype == "float16" and half_weights:
            continue
        found = np.mean(train(dtype, half_weights=half_weights)[-8:])
        assert abs(found - exact) < 0.15 * exact + 0.02, (dtype, found, exact)


def test_steps_of_another_optimizer_count():
    """It writes over the array of the variable, which then is not the copy rounded."""
    p = gg.Parameter(np.ones(3), dtype="bfloat16")
    slow = gg.optim.Adam([p], 1e-3, master_weights=True)
    fast = gg.optim.Adam([p], 0.5)
    found = []
    for optimizer in (slow, fast, fast, slow):
        optimizer.apply_gradients([(gg.ones(3, dtype="bfloat16"), p)])
        found.append(round(p.numpy().astype(float)[0], 2))
    assert found == [1.0, 0.5, 0.0, -0.0]


def test_a_state_is_loaded_into_an_optimizer_under_way():
    p = gg.Parameter(np.ones(3), dtype="bfloat16")
    optimizer = gg.optim.SGD([p], 0.25, master_weights=True)
    step = lambda: optimizer.apply_gradients([(gg.ones(3, dtype="bfloat16"), p)])
    empty = gg.optim.SGD([p], 0.25).state_dict()
    step()
    before = copy.deepcopy(optimizer.state_dict())
    step()
    for state in (empty, before):
        optimizer.load_state_dict(state)
        now = p.numpy().astype(float)
        step()
        assert p.numpy().astype(float).tolist() == (now - 0.25).tolist()


@pytest.mark.parametrize("unscaled", [False, True])
def test_large_gradients_are_finite(unscaled):
    """Though float32 does not hold their squares."""
    ps = parameters()
    optimizer, scaler = gg.optim.SGD(ps, 1e-20), gg.GradScaler(init_scale=4.0)
    before = [p.numpy().copy() for p in ps]
    for p in ps:
        p.grad = gg.full(p.shape, 4e20, dtype=p.dtype)
    if unscaled:
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 4 and scaler.state_dict()["skipped"] == 0
    for p, b in zip(ps, before):
        np.testing.assert_allclose(p.numpy(), b - 1, rtol=1e-5, atol=1e-5)


def test_a_step_without_gradients_is_told():
    ps = parameters()
    optimizer, scaler = gg.optim.SGD(ps, 0.1), gg.GradScaler()
    with pytest.raises(AssertionError, match="No inf checks were recorded for this optimizer"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="No inf checks were recorded prior to update"):
        scaler.update()
    assert optimizer.iterations == 0


def test_a_small_scale_is_no_error_by_itself():
    with pytest.raises(ValueError, match="below min_scale"):
        gg.GradScaler(init_scale=1e-5)
    ps = parameters()
    optimizer, scaler = gg.optim.SGD(ps, 0.1), gg.GradScaler(max_skips=1)
    scaler.update(1e-5)
    leave(ps, 0, 1e-5)
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 1e-5


def test_a_schedule_knows_of_a_skipped_first_step():
    ps = parameters()
    optimizer, scaler = gg.optim.SGD(ps, 0.1), gg.GradScaler()
    schedule = gg.optim.lr_scheduler.StepLR(optimizer, 1)
    leave(ps, 0, 1.0, np.inf)
    scaler.step(optimizer)
    scaler.update()
    schedule.step()  # without a warning, which would be an error here
    assert optimizer.iterations == 0
