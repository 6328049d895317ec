"""What users of PyTorch type and gpugrad calls otherwise: the error says what to write."""

import re
from functools import reduce

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import habits

X = gg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
OWNERS = {"METHODS": X, "FUNCTIONS": gg, "NN": gg.nn, "LINALG": gg.linalg, "RANDOM": gg.random}
HINTS = [(words, name) for words in OWNERS for name in getattr(habits, words)]


@pytest.mark.parametrize(("words", "name"), HINTS)
def test_a_hint_names_what_there_is(words, name):
    owner = OWNERS[words]
    assert not hasattr(owner, name)
    said = getattr(habits, words)[name]
    for path in re.findall(r"\bgg\.([\w.]*\w)", said):
        reduce(getattr, path.split("."), gg)
    for path in re.findall(r"\b[xy]\.([\w.]*\w)", said):
        reduce(getattr, path.split("."), X)
    for path in re.findall(r"\bp\.([\w.]*\w)", said):
        reduce(getattr, path.split("."), gg.Parameter([1.0]))
    with pytest.raises(AttributeError, match=re.escape(f"{name!r}. Write {said}")):
        getattr(owner, name)


def test_names_of_others_are_no_attributes():
    assert "view" not in dir(X) and "sum" in dir(X)
    assert not hasattr(gg.Variable(1.0), "float")
    with pytest.raises(AttributeError, match="'Parameter' object has no attribute 'view'. Write x.reshape"):
        assert gg.Parameter([1.0]).view
    with pytest.raises(AttributeError, match="no attribute 'nonsense'$"):
        assert X.nonsense


def test_front_doors_have_words_of_their_own():
    import gpugrad.tensorflow as tf
    import gpugrad.torch as torch

    assert torch.tensor([1.0, 2.0]).view(2, 1).long().size() == (2, 1)
    assert "view" in dir(torch.tensor([1.0]))
    with pytest.raises(AttributeError, match="no attribute 'view'$"):
        assert tf.constant([1.0]).view


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: X.sum(dim=1), "x.sum has no argument 'dim'; write axis="),
        (lambda: X.mean(axis=1, keepdim=True), "x.mean has no argument 'keepdim'; write keepdims="),
        (lambda: X.argmax(dim=1), "x.argmax has no argument 'dim'; write axis="),
        (lambda: X.std(dim=1), "std has no argument 'dim'; write axis="),
        (lambda: X.var(unbiased=False), "var has no argument 'unbiased'; write correction="),
        (lambda: X.squeeze(dim=0), "squeeze has no argument 'dim'; write axis="),
        (lambda: X.cumsum(dim=0), "cumsum has no argument 'dim'; write axis="),
        (lambda: gg.sum(X, dim=1), "sum has no argument 'dim'; write axis="),
        (lambda: gg.softmax(X, dim=1), "softmax has no argument 'dim'; write axis="),
        (lambda: X.sum(nonsense=1), r"x.sum has no argument 'nonsense'; it takes \['axis', 'keepdims'\]"),
        (lambda: gg.zeros(3, 4), r"gg.zeros\(\(3, 4\)\)"),
        (lambda: gg.ones(2, 3, 4), r"gg.ones\(\(2, 3\)\)"),
        (lambda: gg.zeros((3,), 3), r"gg.zeros\(\(3, 3\)\)"),
        (lambda: X.to("cpu", device="cuda"), "one device and one dtype: 'cpu' is a second one, beside 'cuda'"),
        (lambda: X.to(gg.float32, gg.float64), "is a second one"),
        (lambda: gg.nn.Linear(2, 3).to("cpu", device="cuda"), "'cpu' is a second one, beside 'cuda'"),
        (lambda: gg.nn.Linear(2, 3).to("cpu", "cpu"), "'cpu' is a second one"),
        (lambda: gg.save({"x": X}, "/nowhere/state.pt"), r"gg.save\(path, state\)"),
    ],
)
def test_what_a_call_is_told(call, says):
    with pytest.raises(TypeError, match=says):
        call()


def test_a_swap_of_two_axes_is_told():
    with pytest.raises(ValueError, match=r"gg.swapaxes\(x, 1, 2\)"):
        gg.zeros((2, 3, 4)).transpose(1, 2)


def test_a_function_that_is_in_another_place():
    for name, says in (("gelu", "gg.nn.gelu"), ("inv", "gg.linalg.inv"), ("Adam", "gg.optim.Adam")):
        with pytest.raises(AttributeError, match=f"Write {says}$"):
            getattr(gg, name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'$"):
        assert gg.nonsense


def test_names_that_are_as_users_expect():
    x = gg.tensor([1.0, 2.0])
    assert gg.jacobian(gg.square, x).tolist() == [[2.0, 0.0], [0.0, 4.0]]
    assert gg.nn.dropout(x, 0.5, training=False) is x
    assert gg.nn.dropout(x, 0.5, residual=x, training=False).tolist() == [2.0, 4.0]


def test_the_size_is_an_integer(tmp_path):
    assert X.size == 6 and type(X.size) is int and not callable(X.size)  # which is how some tell it from PyTorch's
    gg.save(tmp_path / "state.safetensors", {"n": X.size})
    assert gg.load(tmp_path / "state.safetensors") == {"n": 6}


def test_to_takes_a_device_by_name():
    assert X.to(device="cpu", dtype=gg.float64).dtype == np.float64
    for made in (X.to("float64", device="cpu"), X.to("cpu", gg.float64), X.to(X.device, "float64")):
        assert made.dtype == np.float64


def test_activations_at_the_top():
    for name in ("relu", "sigmoid", "softmax", "log_softmax", "tanh"):
        assert getattr(gg, name) is getattr(gg.nn, name)


def test_labels_that_are_no_integers_are_told_in_the_words_of_their_door():
    import gpugrad.torch as torch

    for nn, make, says in ((gg.nn, gg.tensor, "target.to(gg.int64)"), (torch.nn, torch.tensor, "to(torch.int64)")):
        with pytest.raises(RuntimeError, match=re.escape(says)):
            nn.CrossEntropyLoss()(make([[1.0, 2.0]]), make([1.0]))
