"""gpugrad.torch's functions and modules against PyTorch's: arguments by name, losses, containers, hooks."""

import pickle

import numpy as np
import pytest


@pytest.fixture
def nn(library):
    return library("torch.nn")


@pytest.fixture
def F(library):
    return library("torch.nn.functional")


def values(t):
    return np.asarray(t.detach()).tolist()


# ---------------------------------------------------------------------------------------------- functions
def test_arguments_by_pytorchs_names(torch):
    x = torch.tensor([[1.0, 5.0, 3.0], [4.0, 2.0, 6.0]])
    for got, wanted in [
        (torch.sum(input=x, dim=[0, 1], keepdim=True, dtype=torch.float64), [[21]]),
        (torch.mean(x, dim=(0,)), [2.5, 3.5, 4.5]), (x.mean([0, 1], dtype=torch.float64), 3.5),
        (torch.prod(x, 1, keepdim=True), [[15], [48]]), (torch.prod(x, dim=0, dtype=torch.float64), [4, 10, 18]),
        (torch.amax(x, dim=1), [5, 6]), (x.amin(dim=[0, 1], keepdim=True), [[1]]),
        (torch.argmax(x, dim=0, keepdim=True), [[1, 0, 1]]), (x.argmin(1), [0, 1]), (torch.argmin(x), 0),
        (torch.any(x > 5, dim=1), [False, True]), (torch.all(x > 0), True),
        (torch.cumsum(input=x, dim=1, dtype=torch.float64), [[1, 6, 9], [4, 6, 12]]),
        (torch.count_nonzero(x > 2, dim=0), [1, 1, 2]),
        (torch.argsort(x, dim=1, descending=True, stable=True), [[1, 2, 0], [2, 0, 1]]),
        (torch.index_select(x, dim=1, index=torch.tensor([2, 0])), [[3, 1], [6, 4]]),
        (torch.gather(input=x, dim=1, index=torch.tensor([[1], [2]])), [[5], [6]]),
        (torch.flip(x, dims=[1]), [[3, 5, 1], [6, 2, 4]]), (torch.roll(x, shifts=1, dims=1), [[3, 1, 5], [6, 4, 2]]),
        (torch.tril(x, diagonal=-1), [[0, 0, 0], [4, 0, 0]]), (torch.triu(x, 1), [[0, 5, 3], [0, 0, 6]]),
        (torch.clamp(input=x, min=2, max=4), [[2, 4, 3], [4, 2, 4]]), (x.clip(max=2), [[1, 2, 2], [2, 2, 2]]),
        (torch.cat(tensors=[x, x], dim=-1)[0], [1, 5, 3, 1, 5, 3]), (torch.stack(tensors=(x[0], x[1]), dim=1)[0], [1, 4]),
        (torch.unbind(x, dim=1)[1], [5, 2]), (torch.movedim(x, 0, 1), [[1, 4], [5, 2], [3, 6]]),
        (torch.swapaxes(x, 0, 1)[0], [1, 4]), (torch.transpose(input=x, dim0=0, dim1=1)[0], [1, 4]),
        (torch.norm(x, p=1, dim=1), [9, 12]), (x.norm(float("inf")), 6), (x[0, :2].norm(p="fro") ** 2, 26),
        (torch.softmax(x, dim=0, dtype=torch.float64)[0], [np.exp(-3) / (1 + np.exp(-3)), 1 / (1 + np.exp(-3)), np.exp(-3) / (1 + np.exp(-3))]),
        (x.log_softmax(dim=1, dtype=torch.float64).exp().sum(1), [1, 1]),
    ]:  # fmt: skip
        assert np.allclose(values(got), wanted, rtol=1e-6), wanted
    assert x.sum(dtype=torch.float64).dtype == x.mean(dtype=torch.float64).dtype == torch.float64
    assert torch.tensor([True, True]).sum().dtype == torch.int64
    for f in (torch.sum, torch.argmax, torch.softmax, torch.clone, torch.flip):
        with pytest.raises(TypeError):
            f([1.0, 2.0], 0)


def test_functions_are_pickled_by_name(torch, nn, F):
    for f in (
        torch.sum,
        torch.softmax,
        torch.transpose,
        torch.lerp,
        torch.zeros,
        torch.full_like,
        F.relu,
        F.elu,
        F.mse_loss,
        F.huber_loss,
    ):
        assert pickle.loads(pickle.dumps(f)) is f
    model = nn.Sequential(nn.Linear(2, 3), nn.LeakyReLU(0.1), nn.Dropout(0.0))
    x = torch.ones(1, 2)
    assert values(pickle.loads(pickle.dumps(model))(x)) == values(model(x))


def test_more_functions(torch):
    x, m = torch.tensor([[1.0, 4.0], [-2.25, 0.5]], requires_grad=True), torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    for f, wanted, gradient in [
        (lambda: torch.addmm(x, m, m, beta=2, alpha=0.5), [[2.5, 10], [-4.5, 1.5]], [[2, 2], [2, 2]]),
        (lambda: x.addmm(m, m), [[2, 8], [-2.25, 1.5]], [[1, 1], [1, 1]]),
        (lambda: torch.baddbmm(x[None], m[None], m[None])[0], [[2, 8], [-2.25, 1.5]], [[1, 1], [1, 1]]),
        (lambda: torch.lerp(x, m, 0.25), [[1, 3.5], [-1.6875, 0.625]], [[0.75, 0.75], [0.75, 0.75]]),
        (lambda: x.lerp(end=m, weight=m), [[1, 0], [-2.25, 1]], [[0, -1], [1, 0]]),
        (lambda: torch.rsqrt(x[0]), [1, 0.5], [[-0.5, -0.0625], [0, 0]]),
        (lambda: torch.frac(x), [[0, 0], [-0.25, 0.5]], [[1, 1], [1, 1]]),
    ]:  # fmt: skip
        x.grad = None
        y = f()
        y.sum().backward()
        assert values(y) == pytest.approx(wanted) if y.ndim == 1 else np.allclose(values(y), wanted)
        assert np.allclose(values(x.grad), gradient)
    assert torch.numel(x) == 4 and torch.is_floating_point(x) and not torch.is_floating_point(torch.tensor(1))
    assert torch.result_type(torch.tensor([1, 2]), 1.5) == torch.float32
    assert torch.result_type(torch.tensor([1.0]), torch.tensor(1.0, dtype=torch.float64)) == torch.float32
    a = torch.tensor([1.0, 4.0])
    assert a.rsqrt_() is a and values(a) == [1, 0.5] and values(a.lerp_(torch.zeros(2), 0.5)) == [0.5, 0.25]


def test_creation_like_another(torch):
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    for f in (torch.zeros_like, torch.ones_like, torch.empty_like, torch.rand_like, torch.randn_like):
        assert f(x).shape == (1, 2) and f(x).dtype == torch.float64
        assert f(x, dtype=torch.float32, requires_grad=True).requires_grad
    assert values(torch.full_like(x, 7)) == [[7, 7]] and torch.full_like(x, 7).dtype == torch.float64
    assert torch.full((2,), 3).dtype == torch.randperm(3).dtype == torch.int64
    assert torch.arange(3).dtype == torch.int64 and torch.full((2,), 1.5, requires_grad=True).requires_grad


def test_what_requires_grad_is_not_exported(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(BufferError, match=r"Can't export tensors that require gradient, use tensor.detach\(\)"):
        x.__dlpack__()
    assert np.from_dlpack(x.detach()).tolist() == [1, 2]


# ---------------------------------------------------------------------------------------------- nn.functional
def test_losses(torch, nn, F):
    x, y = torch.tensor([[0.2, 3.0], [0.9, -1.0]], requires_grad=True), torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    p = torch.tensor([[0.2, 1.0], [0.9, 0.0]])
    for name, function, given, options, wanted in [
        ("HuberLoss", F.huber_loss, x, {}, 0.75625), ("HuberLoss", F.huber_loss, x, {"delta": 0.5}, 0.44375),
        ("SmoothL1Loss", F.smooth_l1_loss, x, {}, 0.75625), ("SmoothL1Loss", F.smooth_l1_loss, x, {"beta": 0.5}, 0.8875),
        ("SmoothL1Loss", F.smooth_l1_loss, x, {"beta": 0.0}, 1.075), ("L1Loss", F.l1_loss, x, {}, 1.075),
        ("BCELoss", F.binary_cross_entropy, p, {}, (-np.log(0.8) - np.log(0.9) + 100) / 4), ("MSELoss", F.mse_loss, x, {}, 2.0125),
    ]:  # fmt: skip
        assert function(given, y, **options).item() == pytest.approx(wanted, rel=1e-5)
        assert getattr(nn, name)(**options)(given, y).item() == pytest.approx(wanted, rel=1e-5)
        assert getattr(nn, name)(reduction="sum", **options)(given, y).item() == pytest.approx(wanted * 4, rel=1e-5)
        assert function(given, y, reduction="none", **options).shape == (2, 2)
    logs = torch.log_softmax(x, 1)
    labels = torch.tensor([1, 0])
    assert nn.NLLLoss()(logs, labels).item() == pytest.approx(nn.CrossEntropyLoss()(x, labels).item())
    images = torch.arange(24.0).reshape(2, 3, 4) / 10
    places = torch.tensor([[0, 1, 2, 0], [2, 2, 1, 0]])
    whole = nn.CrossEntropyLoss()(images, places).item()
    assert whole == pytest.approx(nn.NLLLoss()(torch.log_softmax(images, 1), places).item(), rel=1e-5)
    with pytest.raises(ValueError):
        F.mse_loss(x, y, reduction="average")


def test_layers_as_functions(torch, nn, F):
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert np.allclose(values(F.normalize(x)), [[0.6, 0.8], [0, 0]])
    assert np.allclose(values(F.normalize(x, p=1, dim=0)), [[1, 1], [0, 0]])
    assert values(F.one_hot(torch.tensor([0, 2]))) == [[1, 0, 0], [0, 0, 1]]
    assert (
        F.one_hot(torch.tensor([0, 2]), num_classes=5).shape == (2, 5)
        and F.one_hot(torch.tensor([1])).dtype == torch.int64
    )
    y = F.layer_norm(x, (2,), torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.5]))
    assert np.allclose(values(y), [[-0.49998, 2.49996], [0.5, 0.5]], atol=1e-4)
    assert np.allclose(values(F.softplus(x, beta=2, threshold=20)), np.log1p(np.exp(2 * np.asarray(x))) / 2)
    assert values(F.relu(x - 3.5, inplace=False)) == [[0, 0.5], [0, 0]]
    assert values(F.leaky_relu(x - 4, 0.5)) == [[-0.5, 0], [-2, -2]]
    ones = torch.ones(1000)
    torch.manual_seed(0)
    dropped = F.dropout(ones, 0.2)
    assert set(values(dropped)) == {0.0, 1.25} and 100 < (dropped == 0).sum().item() < 300
    assert values(F.dropout(ones, 0.2, training=False)) == values(ones) and F.dropout(ones, p=1.0).sum().item() == 0
    for f in (lambda: F.dropout(ones, 1.5), lambda: nn.Dropout(-0.1)):
        with pytest.raises(ValueError, match="dropout probability has to be between 0 and 1, but got"):
            f()
    layer = nn.Dropout(0.5)
    assert (layer(ones) == 0).sum().item() > 300 and values(layer.eval()(ones)) == values(ones)


# ---------------------------------------------------------------------------------------------- modules
def test_how_modules_print_and_what_they_refuse(nn):
    for m, text in [
        (nn.ReLU(), "ReLU()"), (nn.LeakyReLU(0.1), "LeakyReLU(negative_slope=0.1)"), (nn.Softmax(dim=1), "Softmax(dim=1)"),
        (nn.Flatten(), "Flatten(start_dim=1, end_dim=-1)"), (nn.GELU(), "GELU(approximate='none')"), (nn.ELU(), "ELU(alpha=1.0)"),
        (nn.Softplus(), "Softplus(beta=1.0, threshold=20.0)"), (nn.Dropout(0.1), "Dropout(p=0.1, inplace=False)"),
        (nn.MSELoss(), "MSELoss()"), (nn.HuberLoss(delta=2.0), "HuberLoss()"),
    ]:  # fmt: skip
        assert repr(m) == text
    assert nn.LeakyReLU(0.1, inplace=True).negative_slope == 0.1 and nn.CrossEntropyLoss().reduction == "mean"
    with pytest.raises(TypeError):
        nn.ReLU(slope=1)
    with pytest.raises(NotImplementedError, match='Module \\[Module\\] is missing the required "forward" function'):
        nn.Module()(1)


def test_containers(torch, nn):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.by_name = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.ReLU()})
            self.free = nn.ParameterList([nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(2))])
            self.steps = nn.ModuleList([nn.Linear(2, 1)])
            self.add_module("last", nn.Tanh())

    net = Net()
    assert sorted(net.state_dict()) == [
        "by_name.a.bias",
        "by_name.a.weight",
        "free.0",
        "free.1",
        "steps.0.bias",
        "steps.0.weight",
    ]
    assert [n for n, _ in net.named_children()] == ["by_name", "free", "steps", "last"]
    assert list(net.by_name) == list(net.by_name.keys()) == ["a", "b"] and "a" in net.by_name and len(net.by_name) == 2
    net.by_name["c"] = nn.Linear(1, 1)
    del net.by_name["b"]
    assert [n for n, _ in net.by_name.items()] == ["a", "c"] and len(list(net.by_name.values())) == 2
    net.steps.append(nn.Linear(1, 3)).extend([nn.ReLU()])
    net.steps[0] = nn.Linear(2, 5)
    assert (
        len(net.steps) == 3
        and net.steps[0].out_features == 5
        and len(net.steps[1:]) == 2
        and net.steps[-1] is list(net.steps)[2]
    )
    net.free.append(nn.Parameter(torch.zeros(3)))
    assert [p.numel() for p in net.free] == [1, 2, 3] and len(net.free) == 3 and net.free[2].requires_grad
    assert net.get_submodule("steps.1").out_features == 3 and net.get_submodule("") is net
    assert net.get_parameter("by_name.a.weight") is net.by_name["a"].weight
    for f in (
        lambda: net.get_submodule("steps.9"),
        lambda: net.get_parameter("by_name.a.other"),
        lambda: net.get_submodule("steps.0.weight"),
    ):
        with pytest.raises(AttributeError):
            f()
    for f in (lambda: nn.ModuleList([3]), lambda: nn.Sequential(3), lambda: net.add_module("x", 3)):
        with pytest.raises(TypeError, match="is not a Module subclass"):
            f()
    both = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert [n for n, _ in both.named_parameters()] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert len(both[1:]) == 2 and both[:2](torch.ones(1, 2)).shape == (1, 3)


def test_hooks_of_modules(torch, nn):
    layer, seen = nn.Linear(2, 1), []
    x = torch.ones(1, 2)
    plain = values(layer(x))
    first = layer.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    second = layer.register_forward_hook(lambda m, args, out: seen.append((m, values(args[0]), values(out))))
    doubled = values(layer(x))
    assert seen == [(layer, [[2, 2]], doubled)] and doubled != plain
    first.remove()
    third = layer.register_forward_hook(lambda m, args, out: out * 0)
    assert values(layer(x)) == [[0]] and seen[1][1:] == ([[1, 1]], plain)
    second.remove()
    third.remove()
    assert values(layer(x)) == plain and len(seen) == 2


def test_buffers_are_moved_and_saved(torch, nn):
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(2))
            self.register_buffer("scratch", torch.ones(1), persistent=False)
            self.register_buffer("none", None)
            self.register_buffer("steps", torch.tensor(3))
            self.register_parameter("weight", nn.Parameter(torch.ones(1)))
            self.register_parameter("bias", None)
            self.inner = nn.Sequential(nn.ReLU())

    m = Counter()
    assert [n for n, _ in m.named_buffers()] == ["mean", "scratch", "steps"] and len(list(m.buffers())) == 3
    assert sorted(m.state_dict()) == ["mean", "steps", "weight"] and [n for n, _ in m.named_parameters()] == ["weight"]
    m.double()
    assert m.mean.dtype == m.scratch.dtype == m.weight.dtype == torch.float64 and m.steps.dtype == torch.int64
    assert m.to(torch.float16).mean.dtype == torch.float16 and m.float().mean.dtype == torch.float32
    assert m.to("cpu", torch.float64).weight.dtype == torch.float64 and m.half().weight.dtype == torch.float16
    other = Counter()
    m.mean.fill_(5)
    other.load_state_dict(m.state_dict())
    assert values(other.mean) == [5, 5] and other.mean.dtype == torch.float32 and values(other.scratch) == [1]


def test_plain_tensors_are_no_parameters(torch, nn):
    m = nn.Linear(1, 1)
    m.extra = torch.ones(1, requires_grad=True)
    assert [n for n, _ in m.named_parameters()] == sorted(m.state_dict(), reverse=True) == ["weight", "bias"]


def test_arrays_by_keyword(torch):
    x, y = torch.tensor([1.0, 4.0]), torch.tensor([2.0, 2.0])
    assert torch.mul(input=x, other=y).tolist() == torch.mul(x, other=y).tolist() == [2, 8]
    assert torch.sqrt(input=x).tolist() == [1, 2] and torch.sum(input=x, dim=0).item() == 5
    assert torch.eq(input=x, other=y).tolist() == [False, False] and torch.isnan(input=x).tolist() == [False, False]
    with pytest.raises(TypeError):
        torch.mul(x, factor=y)
