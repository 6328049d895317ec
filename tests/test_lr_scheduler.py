"""Learning-rate schedules: PyTorch's numbers (lr_cases.py), states, groups, errors, and what a GPU is told."""

import json
import warnings

import lr_cases
import numpy as np
import pytest

import gpugrad as gg
from gpugrad.optim import lr_scheduler as lr

RESULTS = json.loads(lr_cases.RESULTS.read_text())


def optimizer(kind=gg.optim.Adam, n=2):
    vs = [gg.Parameter(np.ones(1, np.float32)) for _ in range(n)]
    for v in vs:
        v.grad = gg.ones(1)
    return kind([{"params": vs[:1], "lr": 0.1}, *[{"params": [v]} for v in vs[1:]]], learning_rate=0.5)


@pytest.mark.parametrize("change_at", [None, 17])
@pytest.mark.parametrize("name", lr_cases.CASES)
def test_the_numbers_are_pytorchs(name, change_at):
    o = optimizer()
    found = lr_cases.driven(lr_cases.CASES[name](lr, o), o, change_at)
    np.testing.assert_allclose(found, RESULTS[f"{name}, {change_at}"], rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("at", [0, 4, 5, 29, 44])
@pytest.mark.parametrize("name", lr_cases.CASES)
def test_a_state_goes_on_where_it_was(name, at):
    def go(o, s, first, last):
        for t in range(first, last):
            o.step()
            s.step(*[lr_cases.measures(t)] * isinstance(s, lr.ReduceLROnPlateau))
        return [dict(g, params=None) for g in o.param_groups], s.get_last_lr(), s.state_dict()

    o = optimizer()
    s = lr_cases.CASES[name](lr, o)
    go(o, s, 0, at)
    states = json.loads(json.dumps(s.state_dict())), o.state_dict()
    other = optimizer()
    again = lr_cases.CASES[name](lr, other)
    again.load_state_dict(states[0])
    other.load_state_dict(states[1])
    assert go(other, again, at, 50) == go(o, s, at, 50)


@pytest.mark.parametrize("name", lr_cases.CASES)
def test_a_foreign_state_changes_nothing(name):
    o = optimizer()
    s = lr_cases.CASES[name](lr, o)
    before = s.state_dict()
    last = next(reversed(before))
    for bad in ({}, None, [], {k: v for k, v in before.items() if k != last}, {**before, "_last_lr": [1.0]}):
        if isinstance(s, lr.ChainedScheduler | lr.SequentialLR) and bad and "_schedulers" in bad:
            bad = {**bad, "_schedulers": [*bad["_schedulers"][:-1], {"gamma": 3}]}
        with pytest.raises(ValueError, match="loaded state dict"):
            s.load_state_dict(bad)
        assert s.state_dict() == before


def test_pytorchs_state_loads():
    """PyTorch writes a Counter of milestones, and marks of its own."""
    o = optimizer()
    s = lr.MultiStepLR(o, [3])
    theirs = {**s.state_dict(), "milestones": {5: 1, 11: 2}, "last_epoch": 4, "_is_initial": False}
    s.load_state_dict(theirs)
    assert s.milestones == [5, 11, 11] and s.last_epoch == 4 and not hasattr(s, "_is_initial")
    o.step()
    s.step()
    assert o.param_groups[1]["lr"] == pytest.approx(0.05)


def test_a_schedule_that_comes_before_the_optimizer_is_warned_of():
    o = optimizer()
    s = lr.StepLR(o, 1)
    with pytest.warns(UserWarning, match="before `optimizer.step") as seen:
        s.step()
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        s.step()
        o.step()
        lr.StepLR(o, 1).step()


def test_the_first_rate_is_kept_for_a_second_schedule():
    o = optimizer()
    lr.LinearLR(o, 0.5)
    assert [g["initial_lr"] for g in o.param_groups] == [0.1, 0.5]
    assert lr.ExponentialLR(o, 0.9).base_lrs == [0.1, 0.5]
    assert lr.ExponentialLR(o, 0.9, last_epoch=3).last_epoch == 4
    with pytest.raises(KeyError, match="initial_lr"):
        lr.ExponentialLR(optimizer(), 0.9, last_epoch=3)


def test_momentum_of_one_cycle():
    o = optimizer(lambda *a, **k: gg.optim.SGD(*a, momentum=0.9, **k))
    s = lr.OneCycleLR(o, 0.4, total_steps=10, pct_start=0.3)
    found = [o.momentum]
    for _ in range(9):
        o.step()
        s.step()
        found.append(o.momentum)
    assert found[0] == found[-1] == 0.95 and min(found) == found[2] == 0.85
    o.step()
    s.step()
    with pytest.raises(ValueError, match="Tried to step 11 times"):
        s.step()
    with pytest.raises(ValueError, match="must support momentum"):
        lr.OneCycleLR(optimizer(gg.optim.Adagrad), 0.4, total_steps=10)
    lr.OneCycleLR(optimizer(gg.optim.Adagrad), 0.4, total_steps=1, cycle_momentum=False).get_lr()


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda o: lr.StepLR(o, 0), ValueError, "positive integer step_size"),
        (lambda o: lr.StepLR(None, 1), TypeError, "not an Optimizer"),
        (lambda o: lr.ReduceLROnPlateau(None), TypeError, "not an Optimizer"),
        (lambda o: lr.OneCycleLR(None, 1, 1), TypeError, "not an Optimizer"),
        (lambda o: lr.ConstantLR(o, 1.5), ValueError, "factor must be"),
        (lambda o: lr.ConstantLR(o, float("nan")), ValueError, "factor must be"),
        (lambda o: lr.LinearLR(o, 0.0), ValueError, "start_factor must be"),
        (lambda o: lr.LambdaLR(o, [abs]), ValueError, "2 parameter groups, given 1"),
        (lambda o: lr.LambdaLR(o, 3.0), TypeError, "lr_lambda is a function"),
        (lambda o: lr.OneCycleLR(o, 0.1), ValueError, "total_steps, or epochs"),
        (lambda o: lr.OneCycleLR(o, 0.1, 5, anneal_strategy="x"), ValueError, "'cos' or 'linear'"),
        (lambda o: lr.ReduceLROnPlateau(o, factor=1.0), ValueError, "Factor should be < 1.0"),
        (lambda o: lr.ReduceLROnPlateau(o, "best"), ValueError, "mode is 'min' or 'max'"),
        (lambda o: lr.SequentialLR(o, [], []), ValueError, "at least one scheduler"),
        (lambda o: lr.SequentialLR(o, [lr.StepLR(o, 1)], [3]), ValueError, "need 0 milestones"),
        (lambda o: lr.SequentialLR(o, [lr.StepLR(optimizer(), 1)], []), ValueError, "same optimizer"),
        (lambda o: lr.ChainedScheduler([lr.ReduceLROnPlateau(o)]), TypeError, "number 0 is a ReduceLROnPlateau"),
        (lambda o: lr.LRScheduler(o), TypeError, "neither rate"),
    ],
)
def test_bad_input(make, error, words):
    with pytest.raises(error, match=words):
        make(optimizer())


def test_another_group_afterwards():
    o = optimizer()
    s = lr.ExponentialLR(o, 0.9)
    o.add_param_group({"params": [gg.Parameter(np.ones(1, np.float32))]})
    o.step()
    with pytest.raises(ValueError, match="made for 2 parameter groups, and the optimizer has 3"):
        s.step()


def test_a_schedule_of_ones_own():
    class Halving(lr.LRScheduler):
        def get_lr(self):
            return [base / (1 + self.last_epoch) for base in self.base_lrs]

    o = optimizer()
    s = Halving(o)
    o.step()
    s.step()
    assert s.get_last_lr() == [0.05, 0.25] and s.state_dict()["last_epoch"] == 1
