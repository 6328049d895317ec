"""Models as people change them: parts replaced, states kept, names that meet, calls by keyword."""

import threading

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


# ---------------------------------------------------------------------------------------------- containers
def test_a_layer_of_a_sequential_is_replaced_by_its_name():
    model = nn.Sequential({"body": nn.Linear(2, 2), "fc": nn.Linear(2, 2)})
    model.fc = nn.Linear(2, 3)
    assert model(gg.ones((1, 2))).shape == (1, 3) and len(model) == 2
    assert [k for k, _ in model.named_parameters()] == ["body.weight", "body.bias", "fc.weight", "fc.bias"]
    numbered = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    setattr(numbered, "0", nn.Linear(2, 4))
    assert numbered(gg.ones((1, 2))).shape == (1, 4) and getattr(numbered, "0") is numbered[0]
    with pytest.raises(TypeError, match="cannot be called"):
        model.fc = 3
    relu = numbered.pop(1)
    assert isinstance(relu, nn.ReLU) and len(numbered) == 1 and len(numbered + model) == 3
    del model.fc
    assert model.names() == ["body"]


def test_lists_and_dicts_of_modules_change_as_lists_and_dicts_do():
    a, b, c = [nn.Linear(1, 1) for _ in range(3)]
    layers = nn.ModuleList([a, c])
    layers.insert(1, b)
    assert list(layers) == [a, b, c] and list(layers.state_dict())[2:4] == ["1.weight", "1.bias"]
    assert layers.pop(0) is a and list(layers) == [b, c] and [k for k, _ in layers.named_children()] == ["0", "1"]
    del layers[0]
    layers += [a]
    assert list(layers) == [c, a] and list(layers + nn.ModuleList([b])) == [c, a, b]
    by_name = nn.ModuleDict({"a": a, "b": b})
    assert by_name.pop("a") is a and list(by_name) == ["b"]
    by_name.clear()
    assert not len(by_name)
    tables = nn.ParameterDict({"a": nn.Parameter(gg.ones(2))})
    tables["b"] = nn.Parameter(gg.zeros(3))
    assert list(tables.state_dict()) == ["a", "b"] and tables.pop("b").shape == (3,) and list(tables) == ["a"]
    for wrong, holder in ((3, tables), (gg.ones(1), by_name)):
        with pytest.raises(TypeError, match="ParameterDict|ModuleDict"):
            holder["c"] = wrong


def test_apply_goes_in_the_order_of_the_modules_inner_ones_first():
    model, seen = nn.Sequential(nn.Sequential(nn.Linear(1, 1), nn.ReLU()), nn.Tanh()), []
    model.apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "ReLU", "Sequential", "Tanh", "Sequential"]


def test_buffers_are_named_and_typed():
    layer = nn.Linear(2, 2)
    for name, value, error in (
        ("mean", [1.0], TypeError), (3, gg.ones(1), TypeError), ("a.b", gg.ones(1), KeyError), ("", None, KeyError),
        ("forward", gg.ones(1), KeyError), ("weight", gg.ones(1), KeyError),
    ):  # fmt: skip
        with pytest.raises(error):
            layer.register_buffer(name, value)
    assert len(layer.state_dict()) == 2
    layer.register_buffer("mean", gg.ones(1))
    layer.register_buffer("mean", gg.zeros(1))
    assert [k for k, _ in layer.named_buffers("at")] == ["at.mean"]
    assert list(layer.state_dict(prefix="model.")) == ["model.weight", "model.bias", "model.mean"]


# ---------------------------------------------------------------------------------------------- single layers
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"])
def test_recurrent_layers_take_floats_and_mix_them_as_linear_does(kind):
    layer = getattr(nn, kind)(3, 4)
    with pytest.raises(TypeError, match=f"{kind}: input is floating, given int32"):
        layer(gg.ones((2, 3), dtype="int32"))
    out = layer(gg.ones((2, 3), dtype="float64"))
    out = out[0] if isinstance(out, tuple) else out
    assert out.array.dtype == nn.Linear(3, 4)(gg.ones((2, 3), dtype="float64")).array.dtype == "float64"


@pytest.mark.parametrize("name", ["Softmax", "Softmin", "LogSoftmax"])
@pytest.mark.parametrize("shape, axis", [((3,), 0), ((2, 3), 1), ((2, 3, 4), 0), ((2, 3, 4, 5), 1)])
def test_a_softmax_without_dim_warns_and_takes_the_axis_that_pytorch_takes(name, shape, axis):
    x = gg.random.normal(shape)
    with pytest.warns(UserWarning, match="Implicit dimension choice for .*softm.* has been deprecated"):
        out = getattr(nn, name)()(x)
    np.testing.assert_array_equal(host(out), host(getattr(nn, name)(dim=axis)(x)))


def test_the_output_size_of_a_transposed_convolution_may_be_a_whole_shape():
    x = gg.random.normal((2, 3, 7, 8))
    down, up = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1)
    assert up(down(x), output_size=x.shape).shape == x.shape
    assert up(down(x), output_size=(7, 8)).shape == x.shape


def test_the_parameters_of_a_lazy_layer_are_made_once_by_all_threads_together():
    layer, start, outs = nn.Linear(None, 3), threading.Barrier(4), []
    make, times = layer._make, []
    layer._make = lambda *where: (times.append(1), make(*where))
    x = gg.ones((1, 2))

    def call():
        start.wait()
        outs.append(layer(x))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(times) == 1 and len(outs) == 4


def test_sizes_and_probabilities_are_checked_with_words():
    with pytest.raises(ValueError, match="between 0 and 1, but got None"):
        nn.Dropout(None)
    with pytest.raises((ValueError, TypeError), match="Embedding"):
        nn.Embedding(-1, 3)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 1, enable_nested_tensor=False)
    assert encoder(gg.zeros((2, 1, 4))).shape == (2, 1, 4)
    nn.LSTM(2, 2).flatten_parameters()
    for f in (nn.init.kaiming_normal, nn.init.xavier_uniform):
        assert f((3, 0)).shape == (3, 0) and f((0, 0)).shape == (0, 0)
    gg.random.seed(4)
    place = gg.random.get_state()
    table = gg.ones((3, 2))
    layer = nn.Embedding.from_pretrained(table)
    assert layer.weight.shape == (3, 2) and not layer.trainable_variables and layer.weight.array is not table.array
    assert str(gg.random.get_state()) == str(place)  # nothing was drawn
