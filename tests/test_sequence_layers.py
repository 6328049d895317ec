"""Attention, transformer and recurrent layers give PyTorch's answers and gradients (sequence_numbers.json)."""

import json
import re

import numpy as np
import pytest
from sequence_cases import CASES, FILE, arguments, flat, given, told, values, wave

import gpugrad as gg
from gpugrad import nn

pytestmark = pytest.mark.devices

NUMBERS = json.loads(FILE.read_text())
OURS = re.compile(r"(out_proj|linear\d)\.weight$")  # whose weights are (in, out)


def turned(named):
    """Arrays by name, from PyTorch's layout to ours, or back."""
    return {n: a.T if OURS.search(n) else a for n, a in named.items()}


def made(name):
    """(the module of a case with its values, its inputs, the options of its call)."""
    kind, args, options, _, call = CASES[name]
    model = getattr(nn, kind)(*args, **options).double()
    shapes = turned({n: np.empty(v.array.shape) for n, v in model.named_parameters()})
    model.load_state_dict(turned(values({n: a.shape for n, a in shapes.items()})))
    return model, [gg.tensor(x, requires_grad=True) for x in given(CASES[name])], call


@pytest.mark.parametrize("name", CASES)
def test_answers_are_pytorchs(name):
    model, xs, call = made(name)
    outs = [y for y in flat(model(*arguments(CASES[name], xs), **call)) if y is not None]
    total = sum([(y * gg.tensor(wave(y.shape, 0.3))).sum() for y in outs])
    total.backward()
    expected = NUMBERS[name]
    assert len(outs) == len(expected["outputs"])
    for y, e in zip(outs, expected["outputs"], strict=True):
        np.testing.assert_allclose(told(y.numpy()), e, rtol=1e-9, atol=1e-9)
    for x, e in zip(xs, expected["inputs"], strict=True):
        np.testing.assert_allclose(told(x.grad.numpy()), e, rtol=1e-9, atol=1e-9)
    found = turned({n: v.grad.numpy() for n, v in model.named_parameters()})
    assert found.keys() == expected["parameters"].keys()
    for n, g in found.items():
        np.testing.assert_allclose(told(g), expected["parameters"][n], rtol=1e-9, atol=1e-9, err_msg=n)
