"""The warning when a step's gradients were added up: a forgotten zero_grad() always, wanted sums once, else never."""

import warnings

import numpy as np
import pytest

import gpugrad as gg

pytestmark = pytest.mark.devices
STALE, SUM = "used already", r"follows \d backward"


class Loop:
    def __init__(self, n=1):
        self.v = gg.Parameter(np.array([1.0, 2.0], np.float32))
        self.o = [gg.optim.SGD([self.v], learning_rate=0.1) for _ in range(n)]

    def backward(self):
        (self.v * self.v).sum().backward()

    def run(self, what):
        """b: backward(), s: step(), z: zero_grad(), Z: to zeros, w: assign the gradient.  Answers the warnings."""
        calls = {
            "b": self.backward, "s": self.o[0].step, "z": self.o[0].zero_grad,
            "Z": lambda: self.o[0].zero_grad(set_to_none=False),
            "w": lambda: setattr(self.v, "grad", gg.ones_like(self.v)),
        }  # fmt: skip
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for c in what:
                calls[c]()
        assert all(w.filename == __file__ for w in seen)
        return ["stale" if "used already" in str(w.message) else "sum" for w in seen]


@pytest.mark.parametrize(
    "calls, told",
    [
        ("zbszbszbs", []),
        ("ZbsZbsZbs", []),
        ("bszbszbsz", []),
        ("bsbs", ["stale"]),
        ("bsbsbsbs", ["stale"]),
        ("bbs", ["sum"]),
        ("bbbszbbszbbs", ["sum"]),
        ("bbsbs", ["sum", "stale"]),
        ("bss", []),
        ("bsszbs", []),
        ("wbs", []),
        ("wbbs", ["sum"]),
        ("wsws", []),
        ("bswsws", []),
        ("bsZs", []),
        ("bsZbs", []),
        ("bsZbbs", ["sum"]),
    ],
)
def test_what_is_told(calls, told):
    assert Loop().run(calls) == told


def test_wanted_sums_are_told_of():
    loop = Loop()
    loop.o[0].accumulates = True
    assert loop.run("zbbbszbbs") == []
    assert loop.run("bs") == ["stale"]


def test_other_gradients_do_not_count():
    """Those of another optimizer's variables, of tapes, and of grad()."""
    a, b = Loop(), Loop()
    for _ in range(3):
        with gg.GradientTape() as tape:
            y = (a.v * a.v).sum()
        tape.gradient(y, a.v)
        gg.grad((a.v * a.v).sum(), a.v)
        a.run("z")
        b.run("z")
        assert a.run("b") == b.run("b") == []
        assert a.run("s") == b.run("s") == []


def test_a_walk_with_a_graph_counts():
    loop = Loop()
    with pytest.warns(UserWarning):
        (loop.v * loop.v).sum().backward(create_graph=True)
        (loop.v * loop.v).sum().backward(create_graph=True)
    with pytest.warns(UserWarning, match=SUM):
        loop.o[0].step()


def test_products_that_add_to_the_gradient_themselves():
    w = gg.Parameter(np.ones((4, 4), np.float32))
    o = gg.optim.SGD([w], learning_rate=0.1)
    x = gg.ones((2, 4))
    for calls, told in (("bs", 0), ("zbs", 0), ("bs", 1)):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for c in calls:
                {"b": lambda: (x @ w).sum().backward(), "s": o.step, "z": o.zero_grad}[c]()
        assert len(seen) == (1 if calls == "bs" and told else 0)


@pytest.mark.numpy("PyTorch's names")
def test_seed_003_is_told():
    import gpugrad.torch as torch
    from gpugrad.torch import nn, optim

    model = nn.Linear(1, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    x, target = torch.tensor([[1.0], [2.0]]), torch.tensor([[2.0], [4.0]])
    step = lambda: (nn.MSELoss()(model(x), target).backward(), optimizer.step())
    step()
    with pytest.warns(UserWarning, match=STALE):
        step()
    for p in model.parameters():
        p.grad.zero_()  # as some write it
    optimizer2 = optim.SGD(model.parameters(), lr=0.01)
    nn.MSELoss()(model(x), target).backward()
    optimizer2.step()


@pytest.mark.numpy
def test_warnings_through_a_grad_scaler_are_of_the_users_line():
    loop, scaler = Loop(), gg.GradScaler(2.0)
    loop.backward()
    loop.backward()
    with pytest.warns(UserWarning, match=SUM) as seen:
        scaler.step(loop.o[0])
    scaler.update()
    with pytest.warns(UserWarning, match="Gradients do not exist") as more:
        scaler.apply_gradients(loop.o[0], [(gg.ones(2), loop.v), (None, loop.v)])
    assert [w.filename for w in (*seen, *more)] == [__file__] * 2
