"""gg.profile.compare: the same step in several ways, and nothing left changed."""

import gc

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import hooks
from gpugrad.profile.follow import Follower, followed_by

pytestmark = pytest.mark.devices
N = 100
SAVED, SIZE = N * N * 4, "40.0 kB"  # bytes of one array


def values(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def asked_twice(persistent=True):
    """A step that asks one tape for two gradients, and its variable."""
    v = gg.Variable(values(N, N), name="v")
    optimizer = gg.optim.SGD([v], learning_rate=0.1)

    def step():
        with gg.GradientTape(persistent=persistent) as tape:
            h = gg.exp(v)
            h = gg.exp(h * -0.5)
            a, b = gg.sum(h), gg.mean(h)
        tape.gradient(a, v)
        optimizer.apply_gradients([(tape.gradient(b, v), v)])

    return step, v


def by_name(c):
    return {w.name: w for w in c.ways}


def test_a_persistent_tape_beside_others():
    step, _ = asked_twice()
    c = gg.profile.compare(step, runs=1)
    ways = by_name(c)
    assert list(ways) == ["as written", "not persistent", "persistent", "uses=2", "recompute"]
    assert "can only be used to compute one set of gradients" in ways["not persistent"].failed
    assert ways["recompute"].failed.startswith("no module was called")
    for name in ("as written", "persistent", "uses=2"):
        assert ways[name].failed is None and ways[name].runs == 1 and ways[name].seconds > 0
    assert ways["as written"].saved == ways["persistent"].saved == ways["uses=2"].saved >= 2 * SAVED
    assert ways["persistent"].gradients == ways["uses=2"].gradients == "equal"
    assert ways["uses=2"].freed == f"{SIZE} in the second gradient, {SIZE} after the gradients"  # h is held
    assert ways["persistent"].freed == "after the gradients"
    assert ways["uses=2"].how.startswith("GradientTape(uses=2) at test_compare.py:")
    assert ways["as written"].how.endswith("asked twice")
    assert [p[0] for p in ways["uses=2"].phases].count("backward") == 2


def test_a_tape_that_is_asked_once():
    v = gg.Variable(values(N, N))

    def step():
        with gg.GradientTape(persistent=True) as tape:
            loss = gg.sum(gg.exp(v))
        tape.gradient(loss, v)

    ways = by_name(gg.profile.compare(step, runs=1))
    assert ways["not persistent"].failed is None and ways["not persistent"].gradients == "equal"
    assert ways["not persistent"].freed == "in the gradient"
    assert ways["uses=1"].failed.startswith("no tape is asked more than once")


def test_the_graph_of_tensors():
    w = gg.tensor(values(N, N), requires_grad=True)

    def step():
        w.grad = None
        h = gg.exp(w)
        gg.sum(h).backward(retain_graph=True)
        gg.sum(h * h).backward()

    ways = by_name(gg.profile.compare(step, runs=1))
    assert ways["persistent"].how == "backward(retain_graph=True)" and ways["persistent"].gradients == "equal"
    assert "a second time" in ways["not persistent"].failed
    assert "there is no GradientTape" in ways["uses=1"].failed


class Net(gg.nn.Module):
    def __init__(self):
        block = lambda: gg.nn.Sequential(gg.nn.Linear(N, N), gg.nn.Sequential(gg.nn.Linear(N, N), gg.nn.Linear(N, N)))
        self.blocks = [block() for _ in range(3)]

    def forward(self, x):
        for b in self.blocks:
            x = gg.nn.dropout(gg.exp(b(x) * 0.01), 0.5)
        return x


def net_step():
    net, x = Net(), gg.tensor(values(N, N))

    def step():
        with gg.GradientTape() as tape:
            loss = gg.mean(net(x))
        tape.gradient(loss, net.trainable_variables)

    return step, net


def test_layers_are_computed_again():
    step, _ = net_step()
    gg.random.seed(0)
    ways = by_name(gg.profile.compare(step, ways=["recompute"], runs=1))
    assert list(ways) == ["as written", "recompute"]
    assert ways["recompute"].how == "gg.checkpoint around the layers of Net"
    assert ways["recompute"].saved < ways["as written"].saved and ways["recompute"].gradients == "equal"
    assert Net.__call__ is gg.nn.Module.__call__


def squared(x):
    return gg.exp(gg.exp(x) * 0.1)


def test_these_are_computed_again():
    step, net = net_step()
    ways = by_name(gg.profile.compare(step, ways=["recompute"], recompute=net.blocks[:2], runs=1))
    assert [p[0] for p in ways["recompute"].phases].count("backward") == 1  # walks inside walks are part of them
    assert ways["recompute"].how == "gg.checkpoint around Sequential" and ways["recompute"].gradients == "equal"
    assert all("forward" not in vars(b) for b in net.blocks)
    v = gg.Variable(values(N, N))

    def other():
        with gg.GradientTape() as tape:
            loss = gg.sum(squared(v))
        tape.gradient(loss, v)

    was = squared
    ways = by_name(gg.profile.compare(other, ways=["recompute"], recompute=[squared], runs=1))
    assert ways["recompute"].saved < ways["as written"].saved and squared is was
    with pytest.raises(TypeError, match="recompute takes modules"):
        gg.profile.compare(other, ways=["recompute"], recompute=[lambda x: x], runs=1)


def test_the_variables_are_where_one_step_takes_them():
    step, v = asked_twice()
    step()
    once = v.numpy().copy()
    again, w = asked_twice()
    gg.profile.compare(again, runs=2)
    np.testing.assert_array_equal(w.numpy(), once)


def test_a_grad_is_put_back():
    w = gg.tensor(values(3), requires_grad=True)
    gg.profile.compare(lambda: gg.sum(gg.exp(w)).backward(), runs=2)
    np.testing.assert_allclose(w.grad.numpy(), np.exp(values(3)), rtol=1e-6)


def test_numbers_drawn_are_the_same_in_all_ways():
    v = gg.Variable(values(N))

    def step():
        with gg.GradientTape() as tape:
            loss = gg.sum(gg.nn.dropout(gg.exp(v), 0.5) + gg.random.normal((N,)))
        tape.gradient(loss, v)

    assert by_name(gg.profile.compare(step, runs=1))["persistent"].gradients == "equal"


def test_gradients_of_other_values_are_not_compared():
    held = [gg.Variable(values(3)) for _ in range(9)]

    def step():  # each time with another variable
        v = held.pop()
        v.assign(v + float(len(held)))
        with gg.GradientTape() as tape:
            loss = gg.sum(gg.exp(v))
        tape.gradient(loss, v)

    assert by_name(gg.profile.compare(step, ways=["persistent"], runs=1))["persistent"].gradients.startswith(
        "not compared"
    )


def test_errors_are_the_users_and_nothing_stays_on():
    with pytest.raises(ZeroDivisionError):
        gg.profile.compare(lambda: 1 / 0)
    with pytest.raises(ValueError, match="asked for no gradient"):
        gg.profile.compare(lambda: None)
    step, _ = asked_twice()
    with pytest.raises(ValueError, match="unknown way 'fast'; the ways are"):
        gg.profile.compare(step, ways=["fast"])
    with pytest.raises(ValueError, match="at least 1, not 0"):
        gg.profile.compare(step, runs=0)
    assert hooks.observers == hooks.opening == []
    tape = gg.GradientTape(persistent=True)
    assert tape._persistent and tape._uses is None


def test_an_error_of_a_later_run_is_the_users_too():
    step, _ = asked_twice()
    calls = []

    def sometimes():
        calls.append(1)
        if len(calls) == 3:
            raise KeyError("third")
        step()

    with pytest.raises(KeyError, match="third"):
        gg.profile.compare(sometimes, runs=1)


@pytest.mark.parametrize("runs", [True, 1.5, "3"])
def test_runs_are_counted(runs):
    with pytest.raises(TypeError, match="runs is a number of runs"):
        gg.profile.compare(asked_twice()[0], runs=runs)


def test_shared_memory_stays_shared():
    import gpugrad.torch as torch

    w = torch.from_numpy(values(N)).requires_grad_(True)
    other = w.detach()

    def step():
        (w * w).sum().backward()
        with torch.no_grad():
            w.sub_(0.1 * w.grad)
        w.grad = None

    gg.profile.compare(step, runs=1)
    assert np.shares_memory(other.numpy(), w.detach().numpy())
    np.testing.assert_allclose(w.detach().numpy(), 0.8 * values(N), rtol=1e-6)


def test_a_step_that_does_not_repeat_is_not_compared():
    v, rng = gg.Variable(values(N)), np.random.default_rng(0)

    def step():
        with gg.GradientTape() as tape:
            loss = gg.sum(gg.exp(v) * float(rng.random()))
        tape.gradient(loss, v)

    found = by_name(gg.profile.compare(step, ways=["persistent"], runs=1))
    assert found["persistent"].gradients == "not compared: the step as written does not repeat"


def test_small_blocks_are_saved_too():
    v = gg.Variable(values(10))

    def step():
        with gg.GradientTape() as tape:
            h = v
            for _ in range(50):
                h = gg.tanh(h)
            loss = gg.sum(h)
        tape.gradient(loss, v)

    c = gg.profile.compare(step, ways=["persistent"], runs=1)
    assert c.ways[0].saved >= 50 * 40
    assert "holds" in str(c) and "Nothing is saved" not in str(c)


def test_the_walk_before_which_most_is_saved_counts():
    v, x = gg.Variable(values(N)), gg.tensor(values(N))

    def step():
        with gg.GradientTape() as outer:
            with gg.GradientTape() as inner:
                inner.watch(x)
                y = gg.sum(gg.tanh(x * v))
            h = inner.gradient(y, x)
            for _ in range(10):
                h = gg.tanh(h * v)
            loss = gg.sum(h)
        outer.gradient(loss, v)

    way = gg.profile.compare(step, ways=["persistent"], runs=1).ways[0]
    assert way.saved >= 10 * 4 * N and way.ledger["nbytes"] >= 10 * 4 * N


def test_a_step_that_asks_only_sometimes_and_of_nothing():
    v, nothing = gg.Variable(values(3)), gg.Variable(values(0, 3))
    calls = []

    def step():
        calls.append(1)
        with gg.GradientTape() as tape:
            loss = gg.sum(gg.exp(v)) + gg.sum(gg.exp(nothing))
        if len(calls) < 5 or len(calls) > 6:
            tape.gradient(loss, [v, nothing])

    (first, second) = gg.profile.compare(step, ways=["persistent"], runs=1).ways
    assert first.failed is None and first.gradients == "-"
    assert second.failed == "the function asked for no gradient this time"


def test_an_error_in_one_way_leaves_the_others():
    calls = []

    def step():
        calls.append(1)
        if len(calls) > 5:  # after the way as written
            raise OSError("disk full")
        asked()

    asked, _ = asked_twice()
    ways = by_name(gg.profile.compare(step, ways=["persistent"], runs=2))
    assert ways["as written"].failed is None and ways["persistent"].failed == "OSError: disk full"
    assert hooks.observers == hooks.opening == []


def test_what_is_recorded_inside_a_walk_is_left_alone():
    @gg.recompute_grad
    def f(x):
        return gg.exp(gg.exp(x) * 0.1)

    v = gg.Variable(values(N, N))
    follower = Follower("persistent")
    with followed_by(follower), gg.GradientTape() as tape:
        loss = gg.sum(f(v))
    with followed_by(follower):
        tape.gradient(loss, v)
        tape.gradient(loss, v)
    assert list(follower.uses.values()) == [2]


def test_the_recorded_step_leaves_nothing():
    step, _ = asked_twice()
    gc.collect()
    gc.disable()
    try:
        c = gg.profile.compare(step, ways=["persistent"], runs=1)
        alive = sum(isinstance(o, gg.GradientTape) for o in gc.get_objects())
    finally:
        gc.enable()
    assert alive == 0 and c.ways[0].saved
