"""Layers against PyTorch's: outputs, gradients, names and shapes of the state (tests/layer_cases.py)."""

import copy
import json
import pickle

import numpy as np
import pytest
from layer_cases import CASES, FILE, IMAGE, LINE, PLAIN, ROWS, SIZED, mark, value, weighted

import gpugrad as gg
from gpugrad.nn.named import ROWS as NAMED
from gpugrad.testing import check_grads

pytestmark = pytest.mark.devices
nn = gg.nn


@pytest.fixture(scope="module")
def results():
    return json.loads(FILE.read_text(encoding="utf-8"))


def agree(got, wanted, what):
    if wanted is None:
        return
    (shape, numbers), (wanted_shape, wanted_numbers) = got, wanted
    assert shape == wanted_shape, what
    np.testing.assert_allclose(numbers, wanted_numbers, 2e-6, 2e-6, err_msg=what)


def transposed(layer):
    """The parameters that are PyTorch's transposed."""
    return {id(m.weight) for m in layer.modules() if isinstance(m, nn.Linear)}


def fill(layer):
    turned = transposed(layer)
    for i, p in enumerate(layer.parameters()):
        shape = p.shape[::-1] if id(p) in turned else p.shape
        a = value(i, shape)
        p.assign(gg.tensor(a.T if id(p) in turned else a))


@pytest.mark.parametrize("name", CASES)
def test_a_layer_is_as_pytorchs(results, name):
    make, *given = CASES[name]
    wanted = results[name]
    layer = make(nn).double()
    fill(layer)
    turned = transposed(layer)
    x = [gg.tensor(v, requires_grad=v.dtype == float and not i) for i, v in enumerate(given)]
    out = layer(*x)
    agree(mark(out.detach()), wanted["out"], "the output")
    gg.sum(out * gg.tensor(weighted(out.shape))).backward()
    if x[0].dtype == np.float64:
        agree(mark(x[0].grad), wanted["grad"], "the gradient of the input")
    for (k, p), g in zip(layer.named_parameters(), wanted["grads"], strict=True):
        agree(mark(p.grad.T if id(p) in turned else p.grad), g, k)
    state = {k: [*v.shape] for k, v in layer.state_dict().items()}
    turned = {k for k, v in layer.state().items() if id(v) in turned}
    assert {k: v[::-1] if k in turned else v for k, v in state.items()} == wanted["shapes"]
    assert list(state) == list(wanted["shapes"])
    agree(mark(layer.eval()(*x).detach()), wanted["after"], "the output in evaluation")


@pytest.mark.numpy
def test_the_results_are_of_these_cases(results):
    assert set(results) == set(CASES)
    tried = {name.split()[0] for name in PLAIN}
    assert set(NAMED) - tried == {"GlobalAvgPool", "GlobalMaxPool"}


@pytest.mark.numpy
@pytest.mark.parametrize("name", [k for k in CASES if "PixelUn" not in k and k != "Embedding"])
def test_gradients_of_layers(name):
    make, x, *more = CASES[name]
    layer = make(nn).double().eval()
    fill(layer)
    check_grads(lambda x: layer(x, *map(gg.tensor, more)), [gg.tensor(x)], order=1)


# ---------------------------------------------------------------------------------------------- sizes that are None
@pytest.mark.parametrize("name", SIZED)
def test_a_size_that_is_none_is_that_of_the_first_input(name):
    make, size, x = SIZED[name]
    x = gg.tensor(x, dtype="float32")
    gg.random.seed(5)
    given = make(nn, size)
    gg.random.seed(5)
    lazy = make(nn, None)
    assert repr(lazy) != repr(given) or isinstance(lazy, nn.LayerNorm)
    with pytest.raises(ValueError, match="has no parameters yet: its .* is None"):
        list(lazy.parameters())
    with pytest.raises(ValueError, match="model"):
        lazy.state_dict()
    assert not hasattr(lazy, "weight")
    out, wanted = lazy(x), given(x)
    assert np.array_equal(out.numpy(), wanted.numpy()) and repr(lazy) == repr(given)
    state, other = lazy.state_dict(), given.state_dict()
    assert list(state) == list(other) and all([np.array_equal(state[k].numpy(), other[k].numpy()) for k in state])
    assert np.array_equal(lazy(x).numpy(), given(x).numpy())


@pytest.mark.parametrize("name", SIZED)
def test_a_state_dict_makes_the_parameters(name):
    make, size, x = SIZED[name]
    given = make(nn, size)
    state = given.state_dict()
    if not state:
        pytest.skip("no state")
    gg.random.seed(1)
    before = gg.random.get_state()
    lazy = make(nn, None)
    missing, unexpected = lazy.load_state_dict(state)
    assert not missing and not unexpected and gg.random.get_state() == before
    x = gg.tensor(x, dtype="float32")
    assert np.array_equal(lazy.eval()(x).numpy(), given.eval()(x).numpy())


def net():
    return nn.Sequential(nn.Conv2d(None, 3, 3), nn.BatchNorm(None), nn.ReLU(), nn.Flatten(), nn.Linear(None, 2))


def test_a_lazy_model_before_its_first_input():
    model = net()
    model.train().eval().train()
    assert len(list(model.modules())) == 6 and "Conv2d(None, 3" in repr(model)
    for make in (lambda: gg.optim.SGD(model.parameters(), 0.1), lambda: model.variables, model.state_dict):
        with pytest.raises(ValueError, match="Conv2d at '0' has no parameters yet"):
            make()
    with pytest.raises(ValueError, match="Conv2d has no parameters yet"):
        model[0].weight  # noqa: B018
    with pytest.raises(TypeError, match="give that by position"):
        model[0](input=gg.ones((1, 1, 4, 4)))
    for wrong in (gg.ones((2, 2)), gg.tensor(1.0)):
        with pytest.raises(ValueError, match="Conv2d"):
            model(wrong)
        assert "Conv2d(None" in repr(model)
    x = gg.random.normal((4, 2, 6, 6))
    twin, pickled = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    gg.random.seed(0)
    out = model(x)
    for other in (twin, pickled):
        gg.random.seed(0)
        assert np.array_equal(other(x).numpy(), out.numpy())
        assert other[0].weight is not model[0].weight
    optimizer = gg.optim.SGD(model.parameters(), 0.1)
    gg.mean(model(x) ** 2).backward()
    optimizer.step()
    with pytest.raises(ValueError, match="Conv2d: made for 2 channels"):
        model(gg.ones((1, 3, 6, 6)))


@pytest.mark.numpy
def test_a_lazy_model_goes_through_a_file(tmp_path):
    pytest.importorskip("safetensors")
    x = gg.random.normal((4, 2, 6, 6))
    gg.random.seed(7)
    model = net()
    model(x)
    gg.random.seed(7)
    sized = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    assert all([np.array_equal(a.numpy(), b.numpy()) for a, b in zip(model.parameters(), sized.parameters())])
    gg.save(tmp_path / "model", model.state_dict())
    other = net()
    assert other.load_state_dict(gg.load(tmp_path / "model")) == ([], [])
    assert np.array_equal(other.eval()(x).numpy(), model.eval()(x).numpy())
    with pytest.raises(ValueError, match="Conv2d at 'model.0' has no parameters yet"):
        gg.checkpoints.Checkpoint(model=net()).save(tmp_path / "checkpoint")


def test_a_lazy_layer_remembers_where_it_was_moved():
    model = net().double()
    gg.random.seed(3)
    out = model(gg.tensor(IMAGE))
    gg.random.seed(3)
    same = net()
    same(gg.tensor(IMAGE, dtype="float32"))
    assert out.dtype == np.float64 and model[0].weight.dtype == np.float64
    assert np.array_equal(same.double()[4].weight.numpy(), model[4].weight.numpy())
    assert model[1].running_mean.dtype == np.float64 and model[1].num_batches_tracked.dtype == np.int64


def test_a_state_dict_that_does_not_fit_leaves_lazy_layers_alone():
    model, other = net(), net()
    other(gg.ones((2, 2, 6, 6)))
    state = other.state_dict()
    for bad, message in (
        (
            {k: v for k, v in state.items() if k != "4.weight"},
            "Linear '4': there is nothing that tells its in_features",
        ),
        ({**state, "0.weight": np.zeros(3)}, "Conv2d '0': there is nothing that tells its in_channels"),
        ({**state, "4.bias": np.zeros(3), "1.bias": np.zeros(5)}, r"(?s)size mismatch for 1.bias.*mismatch for 4.bias"),
        ({**state, "more": np.zeros(3)}, 'Unexpected key.* "more"'),
    ):
        with pytest.raises(RuntimeError, match=message):
            model.load_state_dict(bad)
        assert "Conv2d(None" in repr(model) and "in_features=None" in repr(model)
    model.load_state_dict(state)
    x = gg.random.normal((3, 2, 6, 6))
    assert np.array_equal(model.eval()(x).numpy(), other.eval()(x).numpy())


def test_a_first_call_in_a_function_that_runs_again_is_refused():
    model = nn.Linear(None, 2)
    with pytest.raises(ValueError, match="Call the model once outside"):
        gg.checkpoint(model)(gg.ones((2, 3), requires_grad=True))
    model(gg.ones((2, 3)))
    assert gg.checkpoint(model)(gg.ones((2, 3), requires_grad=True)).shape == (2, 2)


# ---------------------------------------------------------------------------------------------- single layers
@pytest.mark.numpy
@pytest.mark.parametrize("name", [k for k in CASES if "Loss" not in k])
def test_layers_are_copied_printed_and_pickled(name):
    make, *given = CASES[name]
    layer = make(nn).eval()
    given = [gg.tensor(v, dtype="float32" if v.dtype == float else None) for v in given]
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert (
            type(other) is type(layer) and repr(other) == repr(layer) and repr(layer).startswith(type(layer).__name__)
        )
        assert np.array_equal(other(*given).numpy(), layer(*given).numpy())


def test_activations_are_fused_or_follow():
    for name, f in (("relu", nn.relu), ("tanh", gg.tanh), ("gelu", nn.gelu)):
        conv, up = nn.Conv2d(4, 2, 3, activation=name), nn.ConvTranspose1d(4, 2, 3, activation=name)
        plain = copy.deepcopy(conv)
        plain.activation = None
        x, line = gg.tensor(IMAGE, dtype="float32"), gg.tensor(LINE, dtype="float32")
        np.testing.assert_allclose(conv(x).numpy(), f(plain(x)).numpy(), rtol=1e-6)
        assert up(line).shape == (2, 2, 9) and f"activation={name})" in repr(conv)


def test_transposes_make_the_size_that_is_asked_for():
    conv, back = nn.Conv2d(1, 2, 3, 2, 1), nn.ConvTranspose2d(2, 1, 3, 2, 1)
    for size in ((7, 8), (8, 7)):
        small = conv(gg.ones((1, 1, *size)))
        assert back(small, output_size=size).shape == (1, 1, *size)
    with pytest.raises(ValueError, match=r"output_size is from \[7, 7\] to \[8, 8\]"):
        back(small, output_size=(9, 7))


def test_dropout_of_channels():
    gg.random.seed(0)
    for layer, shape in ((nn.Dropout1d(0.4), (50, 40, 3)), (nn.Dropout2d(0.4), (50, 40, 2, 2)),
                         (nn.Dropout3d(0.4), (40, 2, 2, 2))):  # fmt: skip
        x = gg.ones(shape, requires_grad=True)
        out = layer(x).numpy()
        whole = out.reshape(-1, int(np.prod(shape[2:])) if len(shape) != 4 or shape[0] == 50 else 8)
        assert (whole == whole[:, :1]).all() and set(np.unique(np.round(out, 5))) <= {0.0, np.float32(1.66667)}
        assert 0.45 < (out > 0).mean() < 0.75 or shape[0] == 40
    with pytest.raises(ValueError, match="Dropout2d: takes arrays of 4 axes"):
        nn.Dropout2d()(gg.ones((2, 2, 2)))


def test_alpha_dropout_keeps_mean_and_variance():
    gg.random.seed(0)
    x = gg.random.normal((400, 400))
    out = nn.AlphaDropout(0.3)(x).numpy()
    assert (
        abs(out.mean()) < 0.02
        and abs(out.var() - 1) < 0.02
        and np.unique(out, return_counts=True)[1].max() / out.size == pytest.approx(0.3, abs=0.01)
    )
    assert nn.AlphaDropout(0.3).eval()(x) is x


def test_rrelu_draws_its_slopes():
    gg.random.seed(0)
    out = nn.RReLU(0.1, 0.3)(-gg.ones((100, 100))).numpy()
    assert -0.3 <= out.min() < -0.295 and -0.105 < out.max() <= -0.1


def test_global_pools():
    x = gg.tensor(IMAGE)
    np.testing.assert_allclose(nn.GlobalAvgPool()(x).numpy(), IMAGE.mean((2, 3)))
    np.testing.assert_allclose(nn.GlobalMaxPool(keepdims=True)(x).numpy(), IMAGE.max((2, 3), keepdims=True))


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: nn.Conv2d(3, 4, 3)(gg.ones((2, 4, 8, 8))),
            r"Conv2d: made for 3 channels, \(batch, 3, \*2 axes\), given 4",
        ),
        (lambda: nn.Conv2d(3, 4, 3)(gg.ones((8, 8))), "Conv2d: takes"),
        (lambda: nn.Conv2d(3, 4, 0), "Conv2d: kernel_size is a number from 1 on"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "Conv2d: 3 channels do not make 2 equal groups"),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), "Conv2d: 3 channels out do not make 2 equal groups"),
        (lambda: nn.Conv2d(0, 3, 3), "Conv2d: in_channels is a number from 1 on"),
        (lambda: nn.Conv2d(1, 3, 3, padding="some"), "Conv2d: padding"),
        (lambda: nn.Conv2d(1, 3, 3, padding_mode="mirror"), "Conv2d: padding_mode is one of"),
        (lambda: nn.Conv2d(1, 3, 3, activation="rely"), "Conv2d: activation is one of"),
        (lambda: nn.ConvTranspose2d(1, 3, 3, padding_mode="reflect"), "ConvTranspose2d: padding_mode is one of"),
        (lambda: nn.ConvTranspose1d(2, 3, 3)(gg.ones((2, 3, 4))), "ConvTranspose1d: made for 2 channels"),
        (lambda: nn.BatchNorm2d(3)(gg.ones((2, 3))), "BatchNorm2d: takes"),
        (lambda: nn.BatchNorm2d(3)(gg.ones((2, 4, 1, 1))), "BatchNorm2d: made for 3 channels, given 4"),
        (lambda: nn.InstanceNorm1d(3)(gg.ones((2, 4, 5))), "InstanceNorm1d: made for 3 channels"),
        (lambda: nn.GroupNorm(2, 3), "GroupNorm: 3 channels do not make 2 equal groups"),
        (lambda: nn.GroupNorm(1, 3)(gg.ones((2, 4))), "GroupNorm: made for 3 channels"),
        (lambda: nn.LayerNorm(0), "LayerNorm: normalized_shape is a number from 1 on"),
        (lambda: nn.Linear(3, 2)(gg.ones((2, 4))), r"Linear: made for \(..., 3\), given an array of shape \(2, 4\)"),
        (lambda: nn.ZeroPad2d((1, 2)), None),
        (lambda: nn.ZeroPad2d((1, 2))(gg.ones((1, 2, 3, 4))), "padding is a number, or 4 of them"),
        (lambda: nn.PixelShuffle(2)(gg.ones((1, 3, 2, 2))), "pixel_shuffle: 3 channels"),
        (lambda: nn.RReLU(0.5, 0.1), "RReLU: lower is at most upper"),
    ],
)
def test_what_does_not_fit_is_told(make, message):
    if message is None:
        make()
        return
    with pytest.raises(ValueError, match=message):
        make()


def test_options_that_a_layer_does_not_have_are_told():
    with pytest.raises(TypeError, match=r"LeakyReLU\(negative_slope=0.01, inplace=False\): got an unexpected"):
        nn.LeakyReLU(alpha=0.1)
    with pytest.raises(AttributeError, match="no attribute 'RELU'"):
        nn.RELU  # noqa: B018
    assert "MaxPool3d" in dir(nn) and nn.MaxPool3d is nn.MaxPool3d


def test_batches_that_are_only_computed_again_are_not_counted():
    layer = nn.BatchNorm1d(4)
    x = gg.tensor(ROWS, dtype="float32", requires_grad=True)
    gg.sum(gg.checkpoint(layer)(x) ** 2).backward()
    assert layer.num_batches_tracked.item() == 1


def test_a_table_that_is_given():
    rows = np.arange(6.0, dtype="f").reshape(3, 2)
    layer = nn.Embedding.from_pretrained(rows)
    assert layer(gg.tensor([2, 0])).tolist() == [[4, 5], [0, 1]] and not layer.trainable_variables
    free = nn.Embedding.from_pretrained(gg.tensor(rows), freeze=False, padding_idx=1)
    assert free.weight.tolist() == rows.tolist() and len(list(free.parameters())) == 1
    with pytest.raises(ValueError, match=r"Embedding: the rows are \(entries, columns\)"):
        nn.Embedding.from_pretrained([1.0, 2.0])


def test_integers_are_images_too():
    layer = nn.Conv2d(1, 2, 3)
    image = np.arange(25, dtype=np.uint8).reshape(1, 1, 5, 5)
    assert layer(gg.tensor(image)).dtype == np.float32
    np.testing.assert_allclose(layer(gg.tensor(image)).numpy(), layer(gg.tensor(image, dtype="float32")).numpy())
