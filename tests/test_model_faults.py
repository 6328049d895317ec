"""Models as people change them: parts replaced, states kept, names that meet, calls by keyword."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn

pytestmark = pytest.mark.devices


def host(t):
    return np.array(t.numpy())


# ---------------------------------------------------------------------------------------------- recurrent layers
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"bidirectional": True, "num_layers": 2}, {"proj_size": 2}])
@pytest.mark.parametrize("steps", [1, 4])
def test_each_output_alone_has_the_gradient_that_it_has_beside_zeros(kind, options, steps):
    if "proj_size" in options and kind != "LSTM":
        pytest.skip("only an LSTM has it")
    gg.random.seed(1)
    m, x = getattr(nn, kind)(3, 4, **options), gg.random.normal((steps, 2, 3))
    count = len(found(m(x)))
    for i in range(count):
        gradients = []
        for alone in (True, False):
            m.zero_grad()
            outs = found(m(x))
            loss = outs[i].sum()
            for other in [] if alone else outs[:i] + outs[i + 1 :]:
                loss = loss + (other * 0.0).sum()
            loss.backward()
            zeros = lambda v: np.zeros(v.array.shape, "float32")
            gradients.append([zeros(v) if v.grad is None else host(v.grad) for v in m.parameters()])
        for a, b in zip(*gradients):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def found(answer):
    out, state = answer
    return [out, *(state if isinstance(state, tuple) else (state,))]


# ---------------------------------------------------------------------------------------------- states
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_a_state_dict_is_of_one_moment_and_brings_it_back(optimizer):
    gg.random.seed(2)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    x = gg.random.normal((8, 3))
    opt = getattr(gg.optim, optimizer)(model.parameters(), 0.1)

    def train():
        model.train()
        for _ in range(2):
            opt.zero_grad()
            model(x).square().mean().backward()
            opt.step()
        model.eval()

    train()
    best = model.state_dict()
    values, answer = {k: host(v).copy() for k, v in best.items()}, host(model(x)).copy()
    train()
    assert not np.array_equal(host(model(x)), answer)
    for k, v in best.items():
        np.testing.assert_array_equal(host(v), values[k], k)
    model.load_state_dict(best)
    np.testing.assert_array_equal(host(model(x)), answer)
    train()  # what was loaded is not the state_dict itself
    for k, v in best.items():
        np.testing.assert_array_equal(host(v), values[k], k)


def test_tensors_of_equal_names_are_refused_and_none_is_lost():
    class Net(nn.Module):
        def __init__(self):
            self.d = {1: nn.Linear(2, 2), "1": nn.Linear(2, 2)}

    with pytest.raises(ValueError, match=r"several tensors are called 'd.1.bias', 'd.1.weight'"):
        Net().state_dict()


def test_a_parameter_is_replaced_by_a_parameter_or_none_only():
    layer = nn.Linear(2, 2)
    for value in (gg.ones((2, 2)), np.ones((2, 2)), [1.0]):
        with pytest.raises(TypeError, match=r"cannot assign .* as parameter 'weight' \(a Parameter or None expected\)"):
            layer.weight = value
    assert len(list(layer.parameters())) == 2
    layer.bias = None
    layer.weight = nn.Parameter(gg.ones((2, 2)))
    np.testing.assert_array_equal(host(layer(gg.ones((1, 2)))), [[2, 2]])


# ---------------------------------------------------------------------------------------------- transformer layers
class Doubled(nn.Linear):
    def forward(self, input):
        return super().forward(input) * 2.0


@pytest.mark.parametrize("norm_first", [False, True])
def test_parts_of_a_transformer_layer_that_are_replaced_are_called(norm_first):
    gg.random.seed(3)
    layer, x = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, norm_first=norm_first), gg.random.normal((3, 2, 4))
    state, before = layer.state_dict(), host(layer(x))
    for name, sizes in (("linear1", (4, 8)), ("linear2", (8, 4))):
        old = getattr(layer, name)
        setattr(layer, name, Doubled(*sizes))
        layer.load_state_dict(state)
        assert np.abs(host(layer(x)) - before).max() > 1e-3
        setattr(layer, name, old)
    np.testing.assert_array_equal(host(layer(x)), before)

    class Norm(nn.LayerNorm):  # not the library's own: the long way, to the same numbers
        pass

    for name in ("norm1", "norm2"):
        setattr(layer, name, Norm(4))
    np.testing.assert_allclose(host(layer(x)), before, rtol=1e-5, atol=1e-6)
    layer.norm1 = layer.norm2 = layer.dropout = layer.dropout1 = nn.Identity()
    layer.linear2 = lambda a: a[..., :4] * 0.0
    y = x + layer.self_attn(x, x, x)[0]
    np.testing.assert_allclose(host(layer(x)), host(y), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("norm_first", [False, True])
def test_hooks_on_parts_of_transformer_layers_hear_of_tensors(norm_first, training):
    layer = nn.TransformerDecoderLayer(4, 2, 8, norm_first=norm_first).train(training)
    x, heard = gg.random.normal((3, 2, 4)), []
    parts = [name for name, _ in layer.named_children() if "attn" not in name]
    for name in parts:
        hook = lambda m, args, out, name=name: heard.append((name, len(args), isinstance(out, gg.Tensor)))
        getattr(layer, name).register_forward_hook(hook)
    layer(x, x)
    assert sorted(heard) == sorted((name, 1, True) for name in parts)


@pytest.mark.parametrize("batch_first", [False, True])
def test_attention_takes_an_empty_batch(batch_first):
    x = gg.zeros((0, 3, 4) if batch_first else (3, 0, 4))
    out, weights = nn.MultiheadAttention(4, 2, batch_first=batch_first)(x, x, x)
    assert out.shape == x.shape and weights.shape == (0, 3, 3)
    for norm_first in (False, True):
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=batch_first, norm_first=norm_first)
        out = layer(x)
        out.sum().backward()
        assert out.shape == x.shape
        assert layer.eval()(x).shape == x.shape


# ---------------------------------------------------------------------------------------------- calls and walks
def test_layers_and_losses_are_called_by_the_names_of_their_inputs():
    x = gg.random.normal((2, 3))
    loss = nn.CrossEntropyLoss()
    labels = gg.tensor(np.array([0, 2]))
    assert loss(input=x, target=labels).item() == loss(x, labels).item()
    for layer in (nn.ReLU(), nn.Linear(3, 2), nn.LayerNorm(3), nn.Dropout(), nn.PReLU(), nn.BatchNorm1d(3).eval()):
        assert layer(input=x).shape[0] == 2
    assert nn.Conv2d(3, 2, 1)(input=gg.zeros((1, 3, 4, 4))).shape == (1, 2, 4, 4)
    assert nn.Sequential(nn.ReLU())(input=x).shape == (2, 3)
    assert nn.Embedding(3, 2)(input=labels).shape == (2, 2)


def test_what_holds_plain_values_only_is_not_entered():
    class Words(dict):
        def items(self):
            raise AssertionError("the walk went into the vocabulary")

    class Net(nn.Module):
        def __init__(self):
            self.words = Words({f"w{i}": i for i in range(3)})
            self.names = [f"w{i}" for i in range(3)]
            self.mixed = {"a": 1, "layer": nn.Linear(2, 2)}

    net = Net()
    assert list(net.state_dict()) == ["mixed.layer.weight", "mixed.layer.bias"]
    assert len(list(net.modules())) == 2
    net.train()
    net.zero_grad()
