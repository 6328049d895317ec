"""Comparisons and logic are NumPy's and have no gradient; what only moves has that of its input."""

import numpy as np
import pytest

import gpugrad as gg

pytestmark = pytest.mark.devices

X, Y = np.array([[1.0, -2.0, np.nan, 0.0]]), np.array([[1.0], [0.0], [np.nan]])


@pytest.mark.filterwarnings("ignore:invalid value")  # ml_dtypes compares NaN with a warning
@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int32", "bool"])
@pytest.mark.parametrize("name", "equal not_equal less less_equal greater greater_equal".split())
def test_comparisons(name, dtype):
    x, y = (X, Y) if dtype not in ("int32", "bool") else (np.nan_to_num(X), np.nan_to_num(Y))
    x, y = gg.tensor(x.astype(bool) if dtype == "bool" else x, dtype), gg.tensor(y, dtype)
    f, reference = getattr(gg, name), getattr(np, name)
    for other in (y, 0, 1):
        got = f(x, other)
        expected = reference(
            x.numpy().astype(float), np.asarray(other if isinstance(other, int) else other.numpy(), float)
        )
        assert got.dtype == bool and got.node is None and got.tolist() == expected.tolist()


@pytest.mark.parametrize("name", "logical_and logical_or logical_xor".split())
def test_logic(name):
    for x, y in ((X, Y), (X > 0, Y > 0)):
        got = getattr(gg, name)(gg.tensor(x), gg.tensor(y))
        assert got.dtype == bool and got.tolist() == getattr(np, name)(x, y).tolist()
    assert gg.logical_not(gg.tensor(X)).tolist() == np.logical_not(X).tolist()


def test_a_move_to_another_device_has_a_gradient():
    x = gg.tensor([1.0, 2.0], requires_grad=True)
    y = gg.to_device(x, "cpu")
    assert y.device == "cpu" and gg.grad(gg.sum(y * y), x)[0].tolist() == [2, 4]
    assert gg.grad(gg.sum(y * y), x)[0].device == x.device
    assert gg.grad(gg.sum(gg.stop_gradient(x) * x), x)[0].tolist() == [1, 2]
