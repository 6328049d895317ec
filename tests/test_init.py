"""Starting values: bounds, moments and structure; the layers' own are PyTorch's."""

import copy
import math
import pickle

import numpy as np
import pytest

import gpugrad as gg

pytestmark = pytest.mark.devices
nn, init = gg.nn, gg.nn.init


@pytest.mark.parametrize(
    "f, std, bound",
    [
        (lambda s: init.uniform(s, -2.0, 4.0) - 1.0, 6 / math.sqrt(12), 3),
        (lambda s: init.normal(s, 0.0, 3.0), 3, None),
        (lambda s: init.kaiming_uniform(s), math.sqrt(2 / 900), math.sqrt(6 / 900)),
        (lambda s: init.kaiming_uniform(s, math.sqrt(5)), math.sqrt(1 / 2700), 1 / math.sqrt(900)),
        (lambda s: init.kaiming_normal(s, mode="fan_out", nonlinearity="relu"), math.sqrt(2 / 1800), None),
        (lambda s: init.kaiming_normal(s, nonlinearity="tanh", transposed=True), 5 / 3 / math.sqrt(1800), None),
        (lambda s: init.xavier_uniform(s, 2.0), 2 * math.sqrt(2 / 2700), 2 * math.sqrt(6 / 2700)),
        (lambda s: init.xavier_normal(s), math.sqrt(2 / 2700), None),
        (lambda s: init.lecun_uniform(s), math.sqrt(1 / 900), math.sqrt(3 / 900)),
        (lambda s: init.lecun_normal(s, transposed=True), math.sqrt(1 / 1800), None),
        (lambda s: init.trunc_normal(s), 0.8796, 2),
        (lambda s: init.trunc_normal(s, 0.0, 3.0, -1.0, 1.0), 0.5688, 1),
    ],
)
def test_moments_and_bounds(f, std, bound):
    gg.random.seed(1)
    x = f((200, 100, 3, 3)).numpy()
    assert x.dtype == np.float32 and abs(x.mean()) < 4 * std / math.sqrt(x.size)
    assert x.std() == pytest.approx(std, rel=0.01)
    if bound is not None:
        assert bound * 0.99 < abs(x).max() <= bound * (1 + 1e-6)


def test_numbers_between_two_that_are_not_around_the_mean():
    gg.random.seed(0)
    x = init.trunc_normal((20000,), 1.0, 2.0, 2.0, 6.0).numpy()
    assert 2 <= x.min() < 2.01 and 5.7 < x.max() <= 6
    assert x.mean() == pytest.approx(3.2038, abs=0.03)  # 1 + 2 (φ(0.5) - φ(2.5)) / (Φ(2.5) - Φ(0.5))
    for bad in ({"a": 1.0, "b": 0.0}, {"std": 0.0}, {"std": -1.0}, {"a": 50.0, "b": 60.0}):
        with pytest.raises(ValueError, match="trunc_normal: there are no numbers"):
            init.trunc_normal((2,), **bad)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 2, 3), (6, 6)])
def test_orthogonal(shape):
    w = init.orthogonal(shape, 2.0, dtype="float64").numpy().reshape(shape[0], -1)
    product = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-10)
    assert init.orthogonal((0, 3)).shape == (0, 3) and init.orthogonal(shape, dtype="bfloat16").dtype == gg.bfloat16


def test_signs_of_orthogonal_matrices_are_equally_likely():
    gg.random.seed(0)
    first = [init.orthogonal((2, 2)).numpy()[0, 0] > 0 for _ in range(200)]
    assert 60 < sum(first) < 140


def test_dirac_keeps_channels():
    x = gg.random.normal((2, 4, 5, 6))
    for groups in (1, 2):
        layer = nn.Conv2d(4, 4, 3, padding="same", groups=groups, bias=False)
        assert init.dirac_(layer.weight, groups) is layer.weight
        np.testing.assert_allclose(layer(x).numpy(), x.numpy(), atol=1e-6)
    assert init.dirac((3, 5, 3)).numpy().sum() == 3 and init.eye((2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_sparse():
    gg.random.seed(0)
    x = init.sparse((10, 200), 0.25, std=2.0, dtype="float64").numpy()
    assert ((x == 0).sum(0) == 3).all() and x[x != 0].std() == pytest.approx(2, rel=0.1)
    assert len({tuple(c) for c in (x == 0).T}) > 50


IN_PLACE = ("uniform normal trunc_normal zeros ones eye kaiming_uniform kaiming_normal xavier_uniform xavier_normal "
            "lecun_uniform lecun_normal orthogonal").split()  # fmt: skip


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_in_place(name, dtype):
    p = gg.Parameter(np.full((4, 3), 7.0), dtype=dtype)
    write, f = getattr(init, f"{name}_"), getattr(init, name)
    gg.random.seed(3)
    assert write(p) is p and write.__name__ == f"{name}_" and write.__doc__ == f.__doc__
    gg.random.seed(3)
    assert np.array_equal(p.numpy(), f((4, 3), dtype=dtype).numpy()) and p.dtype == gg.zeros(1, dtype=dtype).dtype
    assert p.requires_grad and gg.grad(gg.sum(p * p), p)[0].shape == (4, 3)


def test_options():
    g = gg.random.Generator(3)
    a, b = init.normal((3,), generator=gg.random.Generator(3)), init.normal((3,), generator=g)
    assert a.tolist() == b.tolist() != init.normal((3,), generator=g).tolist()
    p = gg.Variable(np.zeros((3, 3), np.float32))
    assert init.constant_(p, 2.5).tolist() == [[2.5] * 3] * 3
    assert init.sparse_(p, 0.5, generator=g) is p and init.orthogonal_(p, gain=0.5, generator=g) is p


@pytest.mark.parametrize(
    "f, message",
    [
        (lambda: init.kaiming_uniform((3,)), "fewer than 2 dimensions"),
        (lambda: init.kaiming_uniform((3, 2), mode="fan"), "Mode fan not supported"),
        (lambda: init.kaiming_uniform((3, 2), nonlinearity="rely"), "Unsupported nonlinearity rely"),
        (lambda: init.eye((3,)), "Only tensors with 2 dimensions"),
        (lambda: init.dirac((3, 3)), "Only tensors with 3, 4, or 5"),
        (lambda: init.dirac((3, 3, 3), 2), "dim 0 must be divisible by groups"),
        (lambda: init.orthogonal((3,)), "Only tensors with 2 or more"),
        (lambda: init.sparse((3, 2), 1.5), "sparsity is from 0 to 1"),
        (lambda: init.sparse((3,), 0.5), "Only tensors with 2 dimensions"),
    ],
)
def test_what_cannot_be_made_is_told(f, message):
    with pytest.raises(ValueError, match=message):
        f()


def test_only_parameters_are_written_to():
    for bad in (np.zeros((2, 2)), [1.0], gg.zeros((2, 2))):
        with pytest.raises(TypeError, match="zeros_ writes into a Parameter or Variable"):
            init.zeros_(bad)


@pytest.mark.parametrize(
    "make, fan",
    [
        (lambda: nn.Linear(64, 300), 64), (lambda: nn.Conv1d(16, 300, 4), 64), (lambda: nn.Conv2d(8, 300, (2, 4)), 64),
        (lambda: nn.Conv3d(16, 400, 2, groups=2), 64), (lambda: nn.ConvTranspose2d(300, 16, 2), 64),
    ],
)  # fmt: skip
def test_layers_start_as_pytorchs(make, fan):
    """Weight and bias from U(-1/√fan, 1/√fan): kaiming_uniform with a = √5."""
    gg.random.seed(0)
    layer = make()
    for p in (layer.weight, layer.bias):
        x, bound = p.numpy(), 1 / math.sqrt(fan)
        assert abs(x).max() <= bound * (1 + 1e-6) and (x.size < 100 or abs(x).max() > 0.9 * bound)
    assert layer.weight.numpy().std() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    table = nn.Embedding(400, 50).weight.numpy()
    assert table.std() == pytest.approx(1, rel=0.03) and abs(table.mean()) < 0.03
    for norm in (nn.BatchNorm(3), nn.LayerNorm(3), nn.GroupNorm(1, 3), nn.InstanceNorm(3, affine=True)):
        assert norm.weight.tolist() == [1, 1, 1] and norm.bias.tolist() == [0, 0, 0]


@pytest.mark.parametrize("make", [lambda: nn.Linear(200, 50), lambda: nn.Conv1d(200, 50, 1), lambda: made_later()])
def test_a_layer_tells_which_fan_is_which(make):
    gg.random.seed(1)
    layer = make()
    for fan, mode in ((200, "fan_in"), (50, "fan_out")):
        for w in (layer.weight, copy.deepcopy(layer).weight, pickle.loads(pickle.dumps(layer.weight))):
            init.kaiming_normal_(w, mode=mode, nonlinearity="relu")
            assert w.numpy().std() == pytest.approx(math.sqrt(2 / fan), rel=0.05)
            assert init.kaiming_uniform_(w, mode=mode, nonlinearity="linear") is w
            assert 0.98 < abs(w.numpy()).max() * math.sqrt(fan / 3) <= 1 + 1e-6
    init.lecun_normal_(layer.weight)
    assert layer.weight.numpy().std() == pytest.approx(math.sqrt(1 / 200), rel=0.05)


def made_later():
    layer = nn.Linear(None, 50)
    layer(gg.ones((1, 200)))
    return layer


def test_what_a_weight_tells_can_be_said_otherwise():
    gg.random.seed(1)
    layer = nn.Linear(200, 50)
    init.kaiming_normal_(layer.weight, nonlinearity="relu", transposed=False)
    assert layer.weight.numpy().std() == pytest.approx(math.sqrt(2 / 50), rel=0.05)
    init.sparse_(layer.weight, 0.1)
    assert ((layer.weight.numpy() == 0).sum(1) == 5).all()  # of the 50 weights of each input
    init.sparse_(own := gg.Parameter(gg.zeros((50, 200))), 0.1)
    assert ((own.numpy() == 0).sum(0) == 5).all()


def test_pytorchs_linear_has_pytorchs_order():
    import gpugrad.torch as torch

    torch.manual_seed(0)
    layer = torch.nn.Linear(200, 50)
    torch.nn.init.kaiming_normal_(layer.weight)
    assert layer.weight.detach().numpy().std() == pytest.approx(math.sqrt(2 / 200), rel=0.05)
