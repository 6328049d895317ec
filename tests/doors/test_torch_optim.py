"""gpugrad.torch.optim against PyTorch's: groups, saved state, closures, clipping."""

import copy

import numpy as np
import pytest


@pytest.fixture
def optim(library):
    return library("torch.optim")


def values(t):
    return np.asarray(t.detach()).tolist()


def pair(torch):
    return torch.tensor([1.0, -2.0], requires_grad=True), torch.tensor([[0.5]], requires_grad=True)


def descend(torch, optimizer, a, b, steps=range(3)):
    for step in steps:
        optimizer.zero_grad()
        ((a * torch.tensor([0.3, -0.9])).sum() * (step + 1.0) * (-1) ** step + (b * 2.0).sum()).backward()
        optimizer.step()
    return [*values(a), values(b)[0][0]]


@pytest.mark.parametrize(
    "name, options, wanted",
    [
        ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}, [0.9307, -1.7921, -0.332]),
        ("SGD", {"lr": 0.1, "maximize": True, "weight_decay": 0.1}, [1.030302, -2.120607, 1.07917]),
        ("Adam", {"lr": 0.1, "amsgrad": True, "betas": (0.5, 0.6)}, [0.906488, -1.906488, 0.2]),
        ("AdamW", {"lr": 0.1, "amsgrad": True, "maximize": True, "betas": (0.5, 0.6)}, [1.090374, -2.087377, 0.798202]),
        ("RMSprop", {"lr": 0.1, "maximize": True}, [1.908181, -2.908182, 2.78913]),
        ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.5, "maximize": True}, [1.045338, -2.072715, 0.719449]),
        ("Adadelta", {"lr": 0.5, "rho": 0.5, "weight_decay": 0.1, "foreach": None}, [0.9990258, -1.999047, 0.4975767]),
        ("Adamax", {"betas": (0.5, 0.6), "eps": 1e-2}, [0.9982004, -1.998162, 0.4940298]),
        (
            "NAdam",
            {"lr": 0.1, "momentum_decay": 0.1, "decoupled_weight_decay": True, "weight_decay": 0.2},
            [0.840444, -1.781636, 0.2193708],
        ),
        ("RAdam", {"lr": 0.1, "betas": (0.5, 0.7), "maximize": True, "capturable": False}, [1.038571, -2.115714, 1.1]),
    ],
)
def test_updates(torch, optim, name, options, wanted):
    """Against numbers that PyTorch 2.13 gave."""
    a, b = pair(torch)
    assert descend(torch, getattr(optim, name)([a, b], **options), a, b) == pytest.approx(wanted, rel=2e-5)


def test_positional_options_are_in_pytorchs_order(torch, optim):
    a, _ = pair(torch)
    group = optim.SGD([a], 0.1, 0.9, 0.0, 0.2, True).param_groups[0]
    assert [group[k] for k in ("lr", "momentum", "dampening", "weight_decay", "nesterov")] == [0.1, 0.9, 0, 0.2, True]
    group = optim.Adam([a], 0.1, (0.5, 0.6), 1e-3, 0.2, True).param_groups[0]
    assert [group[k] for k in ("lr", "betas", "eps", "weight_decay", "amsgrad")] == [0.1, (0.5, 0.6), 1e-3, 0.2, True]
    group = optim.RMSprop([a], 0.1, 0.5, 1e-3, 0.2, 0.9, True).param_groups[0]
    assert [group[k] for k in ("lr", "alpha", "eps", "momentum", "centered")] == [0.1, 0.5, 1e-3, 0.9, True]
    group = optim.Adagrad([a], 0.1, 0.2, 0.3, 0.4, 1e-3).param_groups[0]
    assert [group[k] for k in ("lr", "lr_decay", "weight_decay", "eps")] == [0.1, 0.2, 0.3, 1e-3]
    assert [optim.SGD([a]).param_groups[0]["lr"], optim.Adam([a]).param_groups[0]["eps"]] == [1e-3, 1e-8]
    assert isinstance(optim.AdamW([a]), optim.Optimizer) and optim.AdamW([a]).defaults["weight_decay"] == 0.01


def test_printing(torch, optim):
    a, _ = pair(torch)
    text = repr(optim.RMSprop([{"params": [a], "name": "body"}], lr=0.1))
    assert text.startswith("RMSprop (\nParameter Group 0\n    alpha: 0.99\n") and text.endswith("\n)")
    assert "    lr: 0.1\n" in text and "    name: body\n" in text and "params" not in text


def test_groups(torch, optim):
    a, b = pair(torch)
    optimizer = optim.SGD([{"params": a, "momentum": 0.5}], lr=0.1)
    optimizer.add_param_group({"params": [b], "lr": 0.0, "name": "head"})
    assert optimizer.param_groups[0]["params"][0] is a and optimizer.param_groups[1]["name"] == "head"
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.0]
    assert [g["momentum"] for g in optimizer.param_groups] == [0.5, 0.0]
    descend(torch, optimizer, a, b, range(1))
    assert values(a) == pytest.approx([0.97, -1.91]) and values(b) == [[0.5]]
    optimizer.param_groups[1]["lr"] = 0.25
    optimizer.param_groups[0]["params"] = []  # changed between steps
    descend(torch, optimizer, a, b, range(1))
    assert values(a) == pytest.approx([0.97, -1.91]) and values(b) == [[0.0]]


def test_what_groups_may_not_be(torch, optim):
    a, b = pair(torch)
    optimizer = optim.SGD([a], lr=0.1)
    for bad, error, text in [
        ({"params": a}, ValueError, "some parameters appear in more than one parameter group"),
        ({"params": [b, a]}, ValueError, "some parameters appear in more than one parameter group"),
        ({"params": {b}}, TypeError, "optimizer parameters need to be organized in ordered collections"),
        ({"params": [b * 2]}, ValueError, "can't optimize a non-leaf Tensor"),
        ([b], TypeError, "param_group must be a dict, but got <class 'list'>"),
    ]:  # fmt: skip
        with pytest.raises(error, match=text):
            optimizer.add_param_group(bad)
    assert len(optimizer.param_groups) == 1 and len(optimizer.param_groups[0]["params"]) == 1
    for make, error, text in [
        (lambda: optim.SGD(a, lr=0.1), TypeError, "params argument given to the optimizer should be an iterable of"),
        (lambda: optim.SGD([a], lr=0.1, momentum=-1.0), ValueError, "Invalid momentum value: -1"),
        (lambda: optim.SGD([a], nesterov=True), ValueError, "Nesterov momentum requires a momentum and zero dampening"),
        (lambda: optim.Adam([a], betas=(0.9, 1.0)), ValueError, "Invalid beta parameter at index 1: 1.0"),
        (lambda: optim.Adam([a], eps=-1.0), ValueError, "Invalid epsilon value: -1"),
        (lambda: optim.RMSprop([a], alpha=-1.0), ValueError, "Invalid alpha value: -1"),
        (lambda: optim.Adagrad([a], lr_decay=-1.0), ValueError, "Invalid lr_decay value: -1"),
    ]:  # fmt: skip
        with pytest.raises(error, match=text):
            make()


def test_frozen_parameters_are_left_alone(torch, library, optim):
    nn = library("torch.nn")
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model[0].requires_grad_(False)
    before = values(model[0].weight)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert values(model[0].weight) == before
    model[0].requires_grad_(True)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert values(model[0].weight) != before


@pytest.mark.parametrize(
    "name, options",
    [("SGD", {"lr": 0.1, "momentum": 0.9}), ("Adam", {"lr": 0.1, "amsgrad": True}),
     ("RMSprop", {"lr": 0.1, "momentum": 0.5, "centered": True}), ("Adagrad", {"lr": 0.1})],
)  # fmt: skip
def test_a_saved_optimizer_goes_on_as_it_was(torch, optim, name, options):
    a, b = pair(torch)
    optimizer = getattr(optim, name)([{"params": [a]}, {"params": [b], "lr": 0.2}], **options)
    descend(torch, optimizer, a, b)
    saved = copy.deepcopy(optimizer.state_dict())
    assert sorted(saved) == ["param_groups", "state"] and sorted(saved["state"]) == [0, 1]
    assert [g["params"] for g in saved["param_groups"]] == [[0], [1]] and saved["param_groups"][1]["lr"] == 0.2
    c, d = a.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()
    other = getattr(optim, name)([{"params": [c]}, {"params": [d]}], lr=5.0)
    other.load_state_dict(saved)
    assert descend(torch, other, c, d) == descend(torch, optimizer, a, b)
    assert [g["lr"] for g in other.param_groups] == [0.1, 0.2] and other.param_groups[0]["params"][0] is c


STATE = {
    "SGD": {"momentum_buffer"}, "Adam": {"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"},
    "RMSprop": {"square_avg", "grad_avg", "momentum_buffer"}, "Adagrad": {"step", "sum"},
}  # fmt: skip


@pytest.mark.parametrize("name", STATE)
def test_state_has_pytorchs_names(torch, optim, name):
    a, b = pair(torch)
    options = {"SGD": {"momentum": 0.9}, "Adam": {"amsgrad": True}, "RMSprop": {"momentum": 0.5, "centered": True}}
    optimizer = getattr(optim, name)([a, b], **options.get(name, {}))
    descend(torch, optimizer, a, b)
    assert set(optimizer.state[a]) >= STATE[name] and set(optimizer.state_dict()["state"][0]) >= STATE[name]
    assert int(optimizer.state[a].get("step", 3)) == 3


def test_state_that_does_not_fit_changes_nothing(torch, optim):
    a, b = pair(torch)
    optimizer = optim.SGD([a, b], lr=0.1, momentum=0.9)
    saved = optimizer.state_dict()
    two = optim.SGD([{"params": [a]}, {"params": [b]}], lr=0.3)
    one = optim.SGD([a], lr=0.3)
    with pytest.raises(ValueError, match="loaded state dict has a different number of parameter groups"):
        two.load_state_dict(saved)
    with pytest.raises(ValueError, match="loaded state dict contains a parameter group that doesn't match the size of"):
        one.load_state_dict(saved)
    assert one.param_groups[0]["lr"] == two.param_groups[0]["lr"] == 0.3


def test_a_closure(torch, optim):
    a, _ = pair(torch)
    optimizer = optim.SGD([a], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (a * a).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert float(optimizer.step(closure)) == 5
    assert values(a) == [0, 0] and optimizer.step() is None


def test_an_optimizer_of_ones_own(torch, optim):
    class Signs(optim.Optimizer):
        def __init__(self, params, lr=0.1):
            super().__init__(params, {"lr": lr})

        @torch.no_grad()
        def step(self):
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        state = self.state[p]
                        state["step"] = state.get("step", 0) + 1
                        p.sub_(torch.sign(p.grad), alpha=group["lr"])

    a, b = pair(torch)
    optimizer = Signs([{"params": [a], "lr": 0.5}, {"params": [b]}])
    assert descend(torch, optimizer, a, b) == pytest.approx([0.5, -1.5, 0.2])
    assert optimizer.state[a]["step"] == 3 and len(optimizer.state) == 2


def test_clipping(torch, library):
    utils = library("torch.nn").utils
    a, b = pair(torch)
    for kind, total in ((2.0, 13.0), (1, 19.0), (float("inf"), 12.0)):
        a.grad, b.grad = torch.tensor([3.0, 4.0]), torch.tensor([[12.0]])
        assert float(utils.clip_grad_norm_([a, b], 1.0, norm_type=kind)) == pytest.approx(total)
        assert values(a.grad) == pytest.approx([3 / total, 4 / total], rel=1e-4)
        assert values(b.grad)[0] == pytest.approx([12 / total], rel=1e-4)
    a.grad = torch.tensor([0.3, -0.4])
    assert float(utils.clip_grad_norm_(a, 1.0)) == pytest.approx(0.5) and values(a.grad) == pytest.approx([0.3, -0.4])
    utils.clip_grad_value_(a, 0.35)
    assert values(a.grad) == pytest.approx([0.3, -0.35])
    a.grad = torch.tensor([float("nan"), 1.0])
    with pytest.raises(
        RuntimeError, match=r"The total norm of order 2.0 for gradients from `parameters` is non-finite"
    ):
        utils.clip_grad_norm_([a], 1.0, error_if_nonfinite=True)
    v = utils.parameters_to_vector([a, b])
    assert values(v) == [1, -2, 0.5] and v.requires_grad
    utils.vector_to_parameters(torch.tensor([1.0, 2.0, 3.0]), [a, b])
    assert values(a) == [1, 2] and values(b) == [[3]] and a.requires_grad and a.is_leaf


def test_the_other_optimizers_take_pytorchs_options_in_its_order(torch, optim):
    a, b = pair(torch)
    for name, given, names in [
        ("Adadelta", (0.1, 0.5, 1e-3, 0.2), "lr rho eps weight_decay"),
        ("Adamax", (0.1, (0.5, 0.6), 1e-3, 0.2), "lr betas eps weight_decay"),
        ("NAdam", (0.1, (0.5, 0.6), 1e-3, 0.2, 0.3, True), "lr betas eps weight_decay momentum_decay decoupled_weight_decay"),
        ("RAdam", (0.1, (0.5, 0.6), 1e-3, 0.2, True), "lr betas eps weight_decay decoupled_weight_decay"),
        ("Muon", (0.1, 0.2, 0.3, False, (1, 2, 3), 1e-3, 4), "lr weight_decay momentum nesterov ns_coefficients eps ns_steps"),
        ("LBFGS", (0.1, 3, 7, 1e-3, 1e-4, 5, "strong_wolfe"),
         "lr max_iter max_eval tolerance_grad tolerance_change history_size line_search_fn"),
    ]:  # fmt: skip
        group = getattr(optim, name)([b], *given).param_groups[0]
        assert [group[k] for k in names.split()] == list(given)
        assert isinstance(getattr(optim, name)(params=[b]), optim.Optimizer)
    defaults = {"Adadelta": 1.0, "Adamax": 2e-3, "NAdam": 2e-3, "RAdam": 1e-3, "Muon": 1e-3, "LBFGS": 1}
    assert {k: getattr(optim, k)([b]).param_groups[0]["lr"] for k in defaults} == defaults


def test_muon_makes_steps_orthogonal(torch, optim):
    w = torch.tensor([[3.0, 0.0], [0.0, -0.5]], requires_grad=True)
    optimizer = optim.Muon([w], lr=0.1, weight_decay=0.0)
    (w * w).sum().backward()
    optimizer.step()
    step = np.abs(np.array([[3.0, 0.0], [0.0, -0.5]]) - np.array(values(w))) / 0.1
    assert step.diagonal() == pytest.approx([1, 1], abs=0.4) and step[0, 1] == pytest.approx(0, abs=0.05)


def test_lbfgs_takes_a_closure(torch, optim):
    a, b = pair(torch)
    optimizer = optim.LBFGS([a, b], line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = ((a - 3.0) ** 2).sum() + ((b + 1.0) ** 2).sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure).detach()) == pytest.approx(4 + 25 + 2.25)
    assert values(a) == pytest.approx([3, 3], abs=1e-4) and values(b)[0] == pytest.approx([-1], abs=1e-4)


def test_schedules(torch, library, optim):
    """Rates that PyTorch 2.13 gave; by the module's name, too."""
    schedules = library("torch.optim.lr_scheduler")
    assert schedules is optim.lr_scheduler
    for make, wanted in [
        (lambda o: schedules.StepLR(o, 2, gamma=0.5), [1, 0.5, 0.5, 0.25]),
        (lambda o: schedules.ExponentialLR(o, 0.5), [0.5, 0.25, 0.125, 0.0625]),
        (lambda o: schedules.CosineAnnealingLR(o, T_max=4), [0.853553, 0.5, 0.146447, 0]),
        (lambda o: schedules.LambdaLR(o, lambda t: 1 / (1 + t)), [1 / 2, 1 / 3, 1 / 4, 1 / 5]),
        (
            lambda o: schedules.SequentialLR(o, [schedules.ConstantLR(o, 0.1, 9), schedules.StepLR(o, 1)], [2]),
            [0.1, 1, 0.1, 0.01],
        ),
    ]:
        a, _ = pair(torch)
        optimizer = optim.SGD([a], lr=1.0)
        schedule, rates = make(optimizer), []
        assert isinstance(schedule, schedules.LRScheduler)
        for _ in range(4):
            a.sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            rates.append(schedule.get_last_lr()[0])
        assert rates == pytest.approx(wanted, abs=1e-6)
    plateau = schedules.ReduceLROnPlateau(optimizer := optim.SGD([a], lr=1.0), patience=1, factor=0.5)
    for measure in (3.0, 2.0, 2.0, 2.0, 2.0):
        plateau.step(measure)
    assert optimizer.param_groups[0]["lr"] == 0.5
