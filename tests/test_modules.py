"""What modules hold: names, shared parameters, states, moves, containers."""

import copy
import pickle

import numpy as np
import pytest

import gpugrad as gg

pytestmark = pytest.mark.devices
nn = gg.nn


class Tied(nn.Module):
    def __init__(self):
        self.table = nn.Embedding(5, 3)
        self.deep = {"a": [(nn.Linear(3, 2), {"b": gg.Variable(gg.ones((2,)))})], "note": "text"}
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.table.weight
        self.register_buffer("steps", gg.zeros((), dtype="int64"))
        self.register_buffer("cache", gg.ones((2,)), persistent=False)
        self.parent = self


def values(m):
    return {k: v.numpy().copy() for k, v in m.state_dict().items()}


def same(a, b):
    return list(a) == list(b) and all([np.array_equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a])


def test_names_of_what_is_deep_inside():
    m = Tied()
    names = ["steps", "table.weight", "deep.a.0.0.weight", "deep.a.0.0.bias", "deep.a.0.1.b"]
    assert sorted(m.state_dict()) == sorted(names)
    assert [k for k, _ in m.named_parameters("net")] == [
        f"net.{k}" for k in ("table.weight", "deep.a.0.0.weight", "deep.a.0.0.bias", "deep.a.0.1.b")
    ]
    assert [k for k, _ in m.named_parameters(recurse=False)] == ["deep.a.0.1.b"]
    assert [k for k, _ in m.table.named_parameters(recurse=False)] == ["weight"]
    assert [k for k, _ in m.named_modules("net")] == ["net", "net.table", "net.deep.a.0.0", "net.head"]
    assert [k for k, _ in m.named_buffers()] == ["steps", "cache"]
    assert repr(m).count("...") == 1 and "(deep.a.0.0): Linear(in_features=3" in repr(m)


def test_a_shared_parameter_stays_shared():
    m = Tied()
    before = values(m)
    for other in (copy.deepcopy(m), pickle.loads(pickle.dumps(m)), m.double().float()):
        assert other.head.weight is other.table.weight and other.parent is other
        assert same(values(other), before)
    state = m.state_dict()
    for more in ({"head.weight": state["table.weight"]}, {}):
        given = {**state, **more}
        if more:
            del given["table.weight"]  # under the other of its names alone
        other = Tied()
        assert other.load_state_dict(given) == ([], [])
        assert same(values(other), before)
    assert m.load_state_dict({**state, "head.weight": state["table.weight"]}) == ([], [])


def test_moves_take_gradients_along_and_leave_integers_alone():
    m = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm(2))
    gg.sum(m(gg.random.normal((4, 2))) ** 2).backward()
    gradient = m[0].weight.grad.numpy().copy()
    for to, dtype in ((m.double, "float64"), (m.half, "float16"), (m.bfloat16, "bfloat16"), (m.float, "float32")):
        to()
        assert m[0].weight.dtype == m[0].weight.grad.dtype == m[1].running_mean.dtype == gg.zeros(1, dtype=dtype).dtype
        assert m[1].num_batches_tracked.dtype == np.int64
    np.testing.assert_allclose(m[0].weight.grad.numpy(), gradient, atol=1e-2)
    assert m.to("float64")[0].weight.dtype == np.float64 and m.to("cpu", gg.float32)[0].weight.dtype == np.float32
    gg.sum(m(gg.random.normal((4, 2), device="cpu")) ** 2).backward()
    for bad in ("int32", gg.bool_):
        with pytest.raises(TypeError, match="takes a floating or complex dtype"):
            m.to(bad)
    assert m[0].weight.dtype == np.float32


def test_a_move_that_fails_moves_nothing():
    class Odd(nn.Module):
        def __init__(self):
            self.a, self.z = gg.Variable([1.0]), gg.Variable(np.array([1 + 2j]))

    m = Odd().double()
    assert m.a.dtype == np.float64 and m.z.tolist() == [1 + 2j]  # whose imaginary part no real dtype has
    before = m.a.array
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        m.to("nowhere")
    assert m.a.array is before


def test_all_that_does_not_fit_is_listed():
    m = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    before, state = values(m), m.state_dict()
    bad = {"0.weight": np.zeros((3, 2)), "0.bias": np.zeros(2), "1.weight": "words", "more": np.zeros(1),
           "1.bias": np.array([1j])}  # fmt: skip
    with pytest.raises(RuntimeError) as e:
        m.load_state_dict(bad)
    for words in ("loading state_dict for Sequential", 'Unexpected key(s) in state_dict: "more"',
                  "size mismatch for 0.weight", "size mismatch for 0.bias", "1.weight: takes an array of numbers",
                  "1.bias: takes float32, which complex128 does not become"):  # fmt: skip
        assert words in str(e.value)
    assert "call gpugrad.interop.torch" not in str(e.value).split("0.weight")[0]
    assert "in current model is ([2, 3]). For weights of PyTorch's, call" in str(e.value)
    assert same(values(m), before)
    with pytest.raises(RuntimeError, match=r"write load_state_dict\(state\['model'\]\)"):
        m.load_state_dict({"model": state, "step": 3})
    found = m.load_state_dict({"0.bias": np.ones(3), "more": 1}, strict=False)
    assert found.missing_keys == ["0.weight", "1.weight", "1.bias"] and found.unexpected_keys == ["more"]
    assert m[0].bias.tolist() == [1, 1, 1] and m[0].bias.dtype == np.float32
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "0.weight", "1.bias". '):
        m.load_state_dict({k: v for k, v in state.items() if k not in ("0.weight", "1.bias")})


def test_frozen_parameters_are_saved_and_thawed():
    m = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    m.register_buffer("steps", gg.zeros(()))
    m.fixed = gg.Variable(1.0, trainable=False)
    names = [k for k, _ in m.named_parameters()]
    m[0].requires_grad_(False)
    assert [k for k, _ in m.named_parameters()] == names == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert len(m.trainable_variables) == 2 and len(m.non_trainable_variables) == 3
    gg.sum(m(gg.ones((1, 2)))).backward()
    assert m[0].weight.grad is None and m[1].weight.grad is not None
    other = copy.deepcopy(m.requires_grad_(False))
    assert [k for k, _ in other.named_parameters()] == names and same(values(other), values(m))
    for p in other.parameters():
        p.requires_grad = True
    assert len(other.trainable_variables) == 4 and not m.trainable_variables


@pytest.mark.numpy
@pytest.mark.parametrize("kind", ["SGD", "Adam", "LBFGS", "Muon"])
def test_an_optimizer_made_while_parameters_are_frozen_trains_them_later(kind):
    gg.random.seed(0)
    m = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    for p in m[0].parameters():
        p.requires_grad = False
    optimizer = getattr(gg.optim, kind)(m.parameters(), lr=0.1)
    ema = gg.optim.EMA(m, 0.5)

    def closure():
        optimizer.zero_grad()
        loss = gg.sum(m(gg.tensor([[0.2, 0.4], [0.6, -0.8]])) ** 2)
        loss.backward()
        return loss

    before = values(m)
    optimizer.step(closure)
    gg.optim.clip_grad_norm_(m.parameters(), 1.0)
    ema.update()
    after = values(m)
    assert [np.array_equal(before[k], after[k]) for k in before] == [True, True, False, False]
    for p in m.parameters():
        p.requires_grad = True
    optimizer.step(closure)
    ema.update()
    assert not any(np.array_equal(after[k], v) for k, v in values(m).items()) and len(ema.averages) == 4
    m.requires_grad_(False)
    end = values(m)
    if kind != "LBFGS":  # which needs a closure
        optimizer.step()
    assert same(end, values(m))


def test_states_of_older_names():
    m = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 1)))

    class Holds(nn.Module):
        def __init__(self):
            self.layers = [nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 1))]

    older = {"layers.0.weight": "0.weight", "layers.0.bias": "0.bias", "layers.1.layers.0.weight": "1.0.weight",
             "layers.1.layers.0.bias": "1.0.bias"}  # fmt: skip
    state = {k: m.state_dict()[new].numpy() + 1 for k, new in older.items()}
    m.load_state_dict(state)
    assert same(values(m), {new: state[k] for k, new in older.items()})
    h = Holds()
    assert list(h.state_dict()) == ["layers.0.weight", "layers.0.bias", "layers.1.0.weight", "layers.1.0.bias"]
    state = {k.replace("1.0", "1.layers.0"): v.numpy() * 2 for k, v in h.state_dict().items()}
    h.load_state_dict(state)
    assert same(values(h), {k.replace("1.layers.0", "1.0"): v for k, v in state.items()})
    with pytest.raises(RuntimeError, match='"0.weight"'):
        h.load_state_dict({**h.state_dict(), "0.weight": np.zeros((1, 1))})


@pytest.mark.numpy
def test_checkpoints_of_older_names(tmp_path):
    pytest.importorskip("safetensors")
    make = lambda: (m := nn.Sequential(nn.Linear(2, 1)), gg.optim.Adam(m.parameters(), 0.1))
    model, optimizer = make()
    gg.sum(model(gg.ones((1, 2)))).backward()
    optimizer.step()
    path = gg.checkpoints.Checkpoint(model=model, optimizer=optimizer).save(tmp_path / "one")
    arrays = gg.checkpoints.load(f"{path}.safetensors")
    assert "model.0.weight" in arrays
    gg.checkpoints.save(f"{path}.safetensors", {k.replace("model.0.", "model.layers.0."): a for k, a in arrays.items()})
    other, other_optimizer = make()
    gg.checkpoints.Checkpoint(model=other, optimizer=other_optimizer).restore(path).assert_consumed()
    assert same(values(other), values(model))
    assert other_optimizer.state[other[0].weight].keys() == optimizer.state[model[0].weight].keys()


def test_older_batch_norms_have_counted_nothing():
    layer = nn.BatchNorm(2)
    layer(gg.random.normal((3, 2)))
    state = layer.state_dict()
    del state["num_batches_tracked"]
    assert nn.BatchNorm(2).load_state_dict(state) == (["num_batches_tracked"], [])


# ---------------------------------------------------------------------------------------------- containers
def test_a_sequential_is_a_list_of_layers():
    a, b, c = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1)
    m = nn.Sequential(a, gg.tanh)
    assert m.append(c) is m and len(m) == 3 and m[0] is a and m[-1] is c and list(m) == [a, gg.tanh, c]
    assert isinstance(m[1:], nn.Sequential) and len(m[1:]) == 2 and m.layers[2] is c
    assert list(m.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    x = gg.random.normal((3, 2))
    np.testing.assert_allclose(m(x).numpy(), c(gg.tanh(a(x))).numpy())
    m.insert(0, b)
    m[1] = nn.ReLU()
    del m[2]
    assert [type(f).__name__ for f in m] == ["Linear", "ReLU", "Linear"] and m.get_submodule("2") is c
    m.layers.append(a)
    assert [k for k, _ in m.named_children()] == ["0", "1", "2", "3"]
    m.extend([nn.Identity(), nn.Identity()])
    assert len(m) == 6
    for bad in (
        lambda: nn.Sequential(a, 3),
        lambda: m.append(None),
        lambda: m.insert(0, 1),
        lambda: m.__setitem__(0, 2),
    ):
        with pytest.raises(TypeError, match="which cannot be called"):
            bad()
    assert len(m) == 6 and nn.Sequential()(x) is x


def test_a_sequential_of_names():
    m = nn.Sequential({"first": nn.Linear(2, 3), "act": nn.ReLU(), "last": nn.Linear(3, 1)})
    assert list(m.state_dict()) == ["first.weight", "first.bias", "last.weight", "last.bias"]
    assert m.first is m[0] and m.get_submodule("last") is m[2] and "(first): Linear" in repr(m)
    assert list(m[1:].state_dict()) == ["last.weight", "last.bias"]
    del m["act" and 1]
    m.append(nn.Tanh())
    m.add_module("end", nn.Linear(1, 1))
    assert [k for k, _ in m.named_children()] == ["first", "last", "2", "end"]
    other = copy.deepcopy(m)
    assert same(values(other), values(m)) and other.first is not m.first
    for bad in ("first", "forward", "a.b"):
        with pytest.raises(KeyError, match="another name for the layer"):
            m.add_module(bad, nn.ReLU())
    with pytest.raises(ValueError, match="go by number"):
        m.insert(0, nn.ReLU())
    with pytest.raises(AttributeError, match="'Sequential' object has no attribute 'second'"):
        m.second  # noqa: B018


def test_a_sequential_may_hold_one_layer_twice_and_be_subclassed():
    layer = nn.Linear(2, 2)

    class Net(nn.Sequential):
        def __init__(self):
            super().__init__(layer, gg.tanh, layer)
            self.scale = gg.Variable(2.0)

    m = Net()
    assert list(m.state_dict()) == ["scale", "0.weight", "0.bias"] and len(m.variables) == 3
    x = gg.ones((1, 2))
    np.testing.assert_allclose(m(x).numpy(), layer(gg.tanh(layer(x))).numpy())


def test_hooks_see_a_lazy_layer_after_it_was_made():
    layer, seen = nn.Linear(None, 2), []
    layer.register_forward_pre_hook(lambda m, args: seen.append(m.weight.shape))
    layer.register_forward_hook(lambda m, args, out: seen.append(out.shape))
    layer(gg.ones((3, 4)))
    layer(gg.ones((1, 4)))
    assert seen == [(4, 2), (3, 2), (4, 2), (1, 2)]


def test_hooks_outlive_a_load_that_fails():
    layer, seen = nn.Linear(None, 2), []
    handle = layer.register_forward_pre_hook(lambda m, args: seen.append(m.in_features))
    with pytest.raises(RuntimeError, match="size mismatch for bias"):
        layer.load_state_dict({"weight": np.zeros((3, 2)), "bias": np.zeros(5)})
    layer(gg.ones((1, 4)))
    handle.remove()
    layer(gg.ones((1, 4)))
    assert seen == [4]


def test_what_a_sequential_is_told():
    with pytest.raises(TypeError, match=r"layer 1 is the class ReLU: write ReLU\(\.\.\.\)"):
        gg.nn.Sequential(gg.nn.Linear(3, 2), gg.nn.ReLU)
    with pytest.raises(TypeError, match=r"layer 0 is a list, which cannot be called: write Sequential\(\*layers\)"):
        gg.nn.Sequential([gg.nn.Linear(3, 2)])


def test_a_linear_after_a_layer_of_several_outputs():
    model = gg.nn.Sequential(gg.nn.LSTM(3, 4), gg.nn.Linear(4, 2))
    with pytest.raises(TypeError, match="Linear: takes an array, given a tuple of 2; .* outputs are the first"):
        model(gg.ones((2, 5, 3)))


def test_images_with_channels_last_are_told():
    with pytest.raises(ValueError, match=r"made for 3 channels.*Channels come first: gg.moveaxis\(x, -1, 1\)"):
        gg.nn.Conv2d(3, 2, 3)(gg.ones((4, 8, 8, 3)))
    with pytest.raises(ValueError, match=r"given 5 in an array of shape \(4, 5, 8, 8\)$"):
        gg.nn.Conv2d(3, 2, 3)(gg.ones((4, 5, 8, 8)))


@pytest.mark.numpy
def test_an_error_says_in_which_layer_it_was_raised():
    class Net(nn.Module):
        def __init__(self):
            self.body = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Linear(3, 3), nn.Linear(9, 3)))

        def forward(self, x):
            return self.body(x)

    net = Net()
    for hooked in (False, True):
        if hooked:
            net.body.register_forward_hook(lambda *given: None)
        with pytest.raises(ValueError) as e:
            net(gg.ones((2, 3)))
        assert e.value.__notes__ == ["in body.1.1 (Linear) of Net"]
        assert pickle.loads(pickle.dumps(e.value)).__notes__ == e.value.__notes__
    with pytest.raises(ValueError) as e:
        net.body[1][1](gg.ones((2, 3)))
    assert not hasattr(e.value, "__notes__")
