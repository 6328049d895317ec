"""gpugrad.torch.nn and optim against PyTorch's."""

import numpy as np
import pytest


@pytest.fixture
def nn(library):
    return library("torch.nn")


@pytest.fixture
def optim(library):
    return library("torch.optim")


def values(t):
    return np.asarray(t.detach()).tolist()


def network(nn):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
            self.heads = nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 2)])
            self.scale = nn.Parameter(library_tensor(nn))

        def forward(self, x):
            return self.heads[0](self.body(x)) * self.scale

    def library_tensor(nn):
        return nn.Linear(1, 1).weight.detach()[0] * 0 + 1

    return Net()


def test_modules_know_what_they_are_made_of(torch, nn):
    net = network(nn)
    names = [
        "body.0.weight",
        "body.0.bias",
        "heads.0.weight",
        "heads.0.bias",
        "heads.1.weight",
        "heads.1.bias",
        "scale",
    ]
    assert sorted(n for n, _ in net.named_parameters()) == sorted(names) == sorted(net.state_dict())
    assert [n for n, _ in net.named_children()] == ["body", "heads"]
    assert [type(m).__name__ for m in net.modules()] == [
        "Net",
        "Sequential",
        "Linear",
        "ReLU",
        "ModuleList",
        "Linear",
        "Linear",
    ]
    assert sum(p.numel() for p in net.parameters()) == 9 + 4 + 8 + 1
    assert net(torch.ones(4, 2)).shape == (4, 1) and len(net.heads) == 2 and net.body[0].in_features == 2
    assert repr(nn.Linear(2, 3)) == "Linear(in_features=2, out_features=3, bias=True)"
    assert repr(nn.Sequential(nn.Linear(2, 1), nn.ReLU())) == (
        "Sequential(\n  (0): Linear(in_features=2, out_features=1, bias=True)\n  (1): ReLU()\n)"
    )


def test_train_and_eval_freeze_and_cast(torch, nn):
    net = network(nn)
    assert net.training and not net.eval().training and not net.body[1].training and net.train().heads[0].training
    net.body.requires_grad_(False)
    net(torch.ones(1, 2)).sum().backward()
    assert net.body[0].weight.grad is None and net.heads[0].weight.grad is not None and len(list(net.parameters())) == 7
    net.zero_grad()
    assert net.heads[0].weight.grad is None
    assert net.double().body[0].weight.dtype == torch.float64
    net(torch.ones(1, 2, dtype=torch.float64)).sum().backward()
    assert net.heads[0].weight.grad.dtype == torch.float64


def test_zeroed_gradients_are_zero_whatever_they_were(torch, nn, optim):
    layer = nn.Linear(1, 1)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    for clear in (layer.zero_grad, optimizer.zero_grad):
        (layer(torch.ones(1, 1)) * float("nan")).sum().backward()
        clear(set_to_none=False)
        assert values(layer.weight.grad) == [[0]]


def test_state_dicts(torch, nn):
    a, b = network(nn), network(nn)
    b.load_state_dict(a.state_dict())
    x = torch.ones(3, 2)
    assert values(a(x)) == values(b(x))
    layer = nn.Linear(2, 1)
    before = values(layer.weight)
    good = layer.state_dict()
    for bad, text in [
        ({"weight": good["weight"], "foo": good["bias"]}, r'Missing key\(s\) in state_dict: "bias"'),
        ({**good, "foo": good["bias"]}, r'Unexpected key\(s\) in state_dict: "foo"'),
        ({"weight": torch.ones(2, 1), "bias": good["bias"]},
         r"size mismatch for weight: copying a param with shape torch.Size\(\[2, 1\]\) from checkpoint, the shape in current model is torch.Size\(\[1, 2\]\)"),
    ]:  # fmt: skip
        with pytest.raises(RuntimeError, match=text):
            layer.load_state_dict(bad)
    assert values(layer.weight) == before
    missing, unexpected = layer.load_state_dict({"foo": good["bias"]}, strict=False)
    assert missing == ["weight", "bias"] and unexpected == ["foo"]


def test_buffers(torch, nn):
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(1))

    m = Counter()
    assert (
        [n for n, _ in m.named_buffers()] == ["seen"]
        and list(m.parameters()) == []
        and list(m.state_dict()) == ["seen"]
    )


def test_losses(torch, nn):
    x = torch.tensor([[2.0, 1.0], [0.0, 3.0]], requires_grad=True)
    y = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    for loss, target, wanted in [
        (nn.MSELoss(), y, 2.75), (nn.L1Loss(), y, 1.25), (nn.MSELoss(reduction="sum"), y, 11.0),
        (nn.CrossEntropyLoss(), torch.tensor([0, 1]), 0.180925), (nn.CrossEntropyLoss(), torch.tensor([[0.5, 0.5], [0.0, 1.0]]), 0.430925),
        (nn.BCEWithLogitsLoss(), y, 1.0455),
    ]:  # fmt: skip
        assert float(loss(x, target).detach()) == pytest.approx(wanted, abs=1e-4)
    assert nn.CrossEntropyLoss(reduction="none")(x, torch.tensor([0, 1])).shape == (2,)
    with pytest.warns(
        UserWarning, match=r"Using a target size \(torch.Size\(\[2\]\)\) that is different to the input size"
    ):
        nn.MSELoss()(torch.ones(2, 1), torch.ones(2))


def test_activations(torch, nn):
    x = torch.tensor([-1.0, 0.0, 2.0])
    for make, wanted in [
        (nn.ReLU(), [0, 0, 2]), (nn.LeakyReLU(0.1), [-0.1, 0, 2]), (nn.Tanh(), np.tanh([-1, 0, 2])), (nn.ELU(), [np.expm1(-1), 0, 2]),
        (nn.Sigmoid(), 1 / (1 + np.exp([1.0, 0, -2]))), (nn.Softplus(), np.log1p(np.exp([-1.0, 0, 2]))), (nn.Identity(), [-1, 0, 2]),
        (nn.Softmax(dim=0), np.exp([-1, 0, 2]) / np.exp([-1, 0, 2]).sum()), (nn.GELU(), [-0.158655, 0, 1.9545]),
        (nn.SiLU(), np.array([-1, 0, 2]) / (1 + np.exp([1.0, 0, -2]))),
    ]:  # fmt: skip
        assert values(make(x)) == pytest.approx(list(wanted), abs=1e-5)


def test_starting_values(torch, nn):
    torch.manual_seed(0)
    w = nn.Linear(100, 200)
    assert abs(np.asarray(w.weight.detach())).max() <= 0.1 and np.asarray(w.weight.detach()).std() == pytest.approx(
        0.1 / 3**0.5, rel=0.03
    )
    assert abs(np.asarray(w.bias.detach())).max() <= 0.1
    for f, std in [
        (nn.init.kaiming_normal_, (2 / 100) ** 0.5), (nn.init.kaiming_uniform_, (2 / 100) ** 0.5),
        (nn.init.xavier_normal_, (2 / 300) ** 0.5), (nn.init.xavier_uniform_, (2 / 300) ** 0.5),
        (lambda t: nn.init.normal_(t, 0.0, 2.0), 2.0), (lambda t: nn.init.uniform_(t, -3.0, 3.0), 3**0.5),
        (nn.init.zeros_, 0.0),
    ]:  # fmt: skip
        f(w.weight)
        assert np.asarray(w.weight.detach()).std() == pytest.approx(std, rel=0.04)
    assert w.weight.requires_grad and w.weight.is_leaf


UPDATES = [
    ("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.1}), ("Adam", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.1}), ("RMSprop", {"lr": 0.1}),
    ("RMSprop", {"lr": 0.1, "momentum": 0.5, "centered": True, "weight_decay": 0.1}), ("Adagrad", {"lr": 0.1, "lr_decay": 0.1}),
]  # fmt: skip
AFTER_THREE = {
    0: [0.82, -1.46, -0.1],
    1: [0.489359, -0.547182, -1.121674],
    2: [0.707682, -1.707682, 0.2],
    3: [0.687937, -1.687378, 0.200392],
    4: [0.680936, -1.651235, 0.18814],
    5: [-1.698827, 0.698827, -1.78913],
    6: [-2.761207, 1.854742, -2.859923],
    7: [0.751873, -1.751873, 0.287605],
}


@pytest.mark.parametrize("which", range(len(UPDATES)))
def test_updates(torch, optim, which):
    """Against numbers that PyTorch 2.13 gave."""
    name, options = UPDATES[which]
    a, b = torch.tensor([1.0, -2.0], requires_grad=True), torch.tensor([[0.5]], requires_grad=True)
    optimizer = getattr(optim, name)([a, b], **options)
    for step in range(3):
        optimizer.zero_grad()
        ((a * torch.tensor([0.3, -0.9])).sum() * (step + 1.0) + (b * 2.0).sum()).backward()
        optimizer.step()
    got = [*values(a), values(b)[0][0]]
    assert got == pytest.approx(AFTER_THREE[which], rel=2e-5, abs=2e-6), repr(got)


def test_parameter_groups(torch, optim):
    a, b = torch.tensor([1.0], requires_grad=True), torch.tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.5}], lr=0.1)
    (a + b).sum().backward()
    optimizer.step()
    assert values(a) == pytest.approx([0.9]) and values(b) == pytest.approx([0.5])
    for group in optimizer.param_groups:
        group["lr"] = 1.0
    optimizer.step()
    assert values(a) == pytest.approx([-0.1]) and values(b) == pytest.approx([-0.5])
    optimizer.zero_grad(set_to_none=False)
    assert values(a.grad) == [0]
    optimizer.zero_grad()
    assert a.grad is None
    for make, error, text in [
        (lambda: optim.SGD([], lr=0.1), ValueError, "optimizer got an empty parameter list"),
        (lambda: optim.SGD([a * 2], lr=0.1), ValueError, "can't optimize a non-leaf Tensor"),
        (lambda: optim.SGD([1.0], lr=0.1), TypeError, "optimizer can only optimize Tensors, but one of the params is float"),
        (lambda: optim.SGD([a], lr=-0.1), ValueError, "Invalid learning rate: -0.1"),
    ]:  # fmt: skip
        with pytest.raises(error, match=text):
            make()


# ---------------------------------------------------------------------------------------------- normalized
def test_normalizing_modules(torch):
    nn, F = torch.nn, torch.nn.functional
    x = torch.tensor([[1.0, 2.0, 3.0, 6.0], [0.0, 0.0, 1.0, -1.0]], requires_grad=True)
    layer = nn.LayerNorm(4, eps=1e-3)
    assert repr(layer).startswith("LayerNorm((4,), eps=0.001, elementwise_affine=True")
    assert [(k, tuple(v.shape)) for k, v in layer.named_parameters()] == [("weight", (4,)), ("bias", (4,))]
    d = np.asarray(x.detach()) - np.asarray(x.detach()).mean(1, keepdims=True)
    expected = d / np.sqrt((d * d).mean(1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    layer(x).sum().backward()
    assert layer.bias.grad.tolist() == [2] * 4 and abs(x.grad).max().item() < 1e-5
    assert [k for k, _ in nn.LayerNorm((2, 4), bias=False).named_parameters()] == ["weight"]
    assert not list(nn.LayerNorm(4, elementwise_affine=False).parameters())
    a = np.asarray(x.detach())
    rms = nn.RMSNorm(4)
    assert repr(rms) == "RMSNorm((4,), eps=None, elementwise_affine=True)"
    np.testing.assert_allclose(rms(x).detach().numpy(), a / np.sqrt((a * a).mean(1, keepdims=True)), rtol=1e-5)
    np.testing.assert_allclose(F.rms_norm(x, (4,), rms.weight * 2).detach().numpy(), 2 * rms(x).detach().numpy())


def test_batch_norm_as_a_function(torch):
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0], [5.0, 1.0]])
    mean, var = torch.zeros(2), torch.ones(2)
    y = torch.nn.functional.batch_norm(x, mean, var, torch.ones(2) * 2, torch.ones(2), training=True, momentum=0.5)
    a = np.asarray(x)
    np.testing.assert_allclose(y.numpy(), 2 * (a - a.mean(0)) / np.sqrt(a.var(0) + 1e-5) + 1, rtol=1e-5)
    np.testing.assert_allclose(mean.numpy(), 0.5 * a.mean(0))
    np.testing.assert_allclose(var.numpy(), 0.5 + 0.5 * a.var(0, ddof=1))
    still = torch.nn.functional.batch_norm(x, mean, var)
    np.testing.assert_allclose(still.numpy(), (a - mean.numpy()) / np.sqrt(var.numpy() + 1e-5), rtol=1e-5)


def test_embedding(torch):
    table = torch.nn.Embedding(5, 3, padding_idx=-1)
    assert repr(table) == "Embedding(5, 3, padding_idx=4)" and table.weight[4].tolist() == [0, 0, 0]
    out = table(torch.tensor([[0, 4], [2, 0]]))
    assert tuple(out.shape) == (2, 2, 3) and out[0, 0].tolist() == table.weight[0].tolist()
    out.sum().backward()
    assert table.weight.grad[:, 0].tolist() == [2, 0, 1, 0, 0]
    with pytest.raises(IndexError):
        table(torch.tensor([5]))
    w = torch.ones(2, 3)
    assert torch.nn.functional.embedding(torch.tensor([1, 1]), w).tolist() == [[1, 1, 1]] * 2
