"""gpugrad.torch.nn's layers against those that PyTorch gave (tests/layer_cases.py); and so with `--against`."""

import importlib
import json

import numpy as np
import pytest

from gpugrad import torch

cases = importlib.import_module("layer_cases")


@pytest.fixture(scope="module")
def results():
    return json.loads(cases.FILE.read_text(encoding="utf-8"))


def agree(got, wanted):
    if wanted is not None:
        assert got[0] == wanted[0]
        np.testing.assert_allclose(got[1], wanted[1], 2e-6, 2e-6)


@pytest.mark.parametrize("name", cases.CASES)
@pytest.mark.filterwarnings("ignore")
def test_a_layer_is_as_pytorchs(torch, results, name):
    got, wanted = cases.measured(torch, name), results[name]
    for key in ("out", "grad", "after"):
        agree(got[key], wanted[key])
    assert got["shapes"] == wanted["shapes"]
    for pair in zip(got["grads"], wanted["grads"], strict=True):
        agree(*pair)


PRINTED = {
    "Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)":
    lambda nn: nn.Conv2d(3, 8, 3, 2, 1, bias=False),
    "Conv1d(4, 4, kernel_size=(3,), stride=(1,), padding=same, dilation=(2,), groups=2, padding_mode=circular)":
    lambda nn: nn.Conv1d(4, 4, 3, padding="same", dilation=2, groups=2, padding_mode="circular"),
    "ConvTranspose1d(2, 3, kernel_size=(4,), stride=(2,), output_padding=(1,))":
    lambda nn: nn.ConvTranspose1d(2, 3, 4, 2, output_padding=1),
    "GroupNorm(2, 4, eps=1e-05, affine=True)": lambda nn: nn.GroupNorm(2, 4),
    "Dropout2d(p=0.5, inplace=False)": lambda nn: nn.Dropout2d(),
    "Embedding(5, 3, padding_idx=1)": lambda nn: nn.Embedding(5, 3, padding_idx=1),
    "PReLU(num_parameters=1)": lambda nn: nn.PReLU(),
}  # fmt: skip


@pytest.mark.parametrize("text", PRINTED)
def test_printed(torch, text):
    assert repr(PRINTED[text](torch.nn)).replace(", bias=True)", ")") == text  # which newer norms print


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"])
def test_recurrent_layers_have_the_doors_parameters(kind):
    layer = getattr(torch.nn, kind)(3, 4)
    out = layer(torch.randn(2, 3))
    out = out[0] if isinstance(out, tuple) else out
    assert isinstance(out, torch.Tensor) and out.shape == (2, 4)
    out.sum().backward()
    assert len(list(layer.parameters())) == 4
    assert all(isinstance(p, torch.nn.Parameter) and p.grad is not None for p in layer.parameters())


def test_attention_and_transformers_are_made_of_the_doors_layers():
    model = torch.nn.Transformer(4, 2, 1, 1, 8, dropout=0.0)
    x = torch.randn(3, 2, 4)
    out = model(x, x)
    out.sum().backward()
    assert isinstance(out, torch.Tensor) and out.shape == x.shape
    state = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    assert state["encoder.layers.0.linear1.weight"] == (8, 4) and state["decoder.norm.bias"] == (4,)
    assert state["decoder.layers.0.multihead_attn.out_proj.weight"] == (4, 4)
    assert all(isinstance(p, torch.nn.Parameter) and p.grad is not None for p in model.parameters())
    assert {type(m).__module__ for m in model.modules()} == {"gpugrad.torch.nn", "gpugrad.torch.nn.layers"}
    with pytest.raises(TypeError, match="cannot assign .* as parameter 'weight'"):
        model.encoder.layers[0].linear1.weight = torch.ones(8, 4, requires_grad=True)


def test_a_softmax_without_dim_warns():
    x = torch.randn(2, 3, 4)
    for f in (torch.nn.Softmax(), torch.nn.functional.softmax):
        with pytest.warns(UserWarning, match="Implicit dimension choice for softmax has been deprecated"):
            assert torch.allclose(f(x), torch.softmax(x, 0))
