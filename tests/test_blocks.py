"""softmax and the normalizations on the CPU go over blocks of rows, with short cuts: where these would lose digits."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.dtypes import bfloat16
from gpugrad.ops import blocks
from gpugrad.testing import assert_close

RNG = np.random.default_rng(0)
X = RNG.standard_normal((50, 40))


def results(f, *xs):
    """The value and the gradients of its sum, each element times another number."""
    ts = [gg.tensor(x, requires_grad=True) for x in xs]
    y = f(*ts)
    seed = gg.tensor((np.arange(y.size) % 13 / 8 - 0.5).reshape(y.shape).astype(xs[0].dtype))
    return [v.numpy() for v in (y, *gg.grad(y, ts, seed))]


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("shift", [0, 31, 33, -31, -33, 200, -200, 1e4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_of_shifted_rows(shift, dtype):
    x = (X + shift).astype(dtype)
    near = 4e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(nn.softmax(gg.tensor(x)).numpy(), softmax(x.astype(float)), rtol=near)
    expected = np.log(softmax(x.astype(float)))
    np.testing.assert_allclose(
        nn.log_softmax(gg.tensor(x)).numpy(), expected, rtol=near, atol=near * max(1, abs(shift))
    )


def test_log_softmax_near_zero_has_its_digits():
    x = RNG.uniform(28, 32, (50, 3)).astype(np.float32) * [1, 0, 0]
    z = nn.log_softmax(gg.tensor(x.astype(np.float32))).numpy()
    assert (abs(z[:, 0]) < 1e-7).all()


def test_softmax_of_rows_that_differ():
    """A row far below the others in its block, masked elements, a row with nothing else, NaN and infinity."""
    x = np.zeros((6, 3), np.float32)
    x[0] = [-100, -101, -102]
    x[1, 0] = x[2, :2] = -np.inf
    x[3, 1] = np.nan
    with np.errstate(invalid="ignore"):
        y = nn.softmax(gg.tensor(x)).numpy()
        z = nn.log_softmax(gg.tensor(x)).numpy()
    np.testing.assert_allclose(y[0], softmax(np.array([0.0, -1, -2])), rtol=1e-6)
    assert y[1].tolist() == [0, 0.5, 0.5] and y[2].tolist() == [0, 0, 1] and np.isnan(y[3]).all()
    np.testing.assert_allclose(z[0], np.log(softmax(np.array([0.0, -1, -2]))), rtol=1e-6)
    assert z[1, 0] == -np.inf and z[2, 2] == 0
    with np.errstate(invalid="ignore"):
        assert np.isnan(nn.softmax(gg.tensor(np.full((2, 2), np.inf, np.float32))).numpy()).all()


NORMS = {
    "layer_norm": lambda x: nn.layer_norm(x, (40,)),
    "layer_norm affine": lambda x, w, b: nn.layer_norm(x, (40,), w, b),
    "rms_norm": lambda x, w: nn.rms_norm(x, (40,), w),
    "layer_norm residual": lambda x, w, b: nn.layer_norm(x, (40,), w, b, residual=x * 0)[0],
    "group_norm": lambda x: nn.group_norm(x.reshape((-1, 40)), 4),
    "group_norm affine": lambda x, w, b: nn.group_norm(x.reshape((-1, 40, 5)), 4, w, b),
    "softmax": nn.softmax,
    "log_softmax": nn.log_softmax,
}


def inputs(name, x):
    n = NORMS[name].__code__.co_argcount if name.split()[0].endswith("norm") else 1
    return [x, *[RNG.standard_normal(40).astype(x.dtype) for _ in range(n - 1)]]


@pytest.mark.parametrize("offset", [0, 3, 5, 1000])
@pytest.mark.parametrize("name", [n for n in NORMS if n.endswith("norm") or " " in n])
def test_normalization_far_from_zero(name, offset):
    """float32 beside float64: what rounding the input costs, and little more."""
    xs = inputs(name, (X + offset).astype(np.float32))
    for a, e in zip(results(NORMS[name], *xs), results(NORMS[name], *[x.astype(float) for x in xs]), strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-5 * max(1, np.abs(e).max()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, bfloat16])
@pytest.mark.parametrize("name", NORMS)
def test_blocks_of_rows_make_no_difference(monkeypatch, name, dtype):
    xs = inputs(name, (X.reshape(5, 10, 40) * 2).astype(dtype))
    expected = results(NORMS[name], *xs)
    monkeypatch.setattr(blocks, "BLOCK", 3 * 40 * 8)
    for a, e in zip(results(NORMS[name], *xs), expected, strict=True):
        near = 0.02 if a.dtype.itemsize == 2 else 1e-5
        assert a.dtype == dtype and a.shape == e.shape
        assert_close(a.astype(float), e.astype(float), rtol=near, atol=near * np.abs(e.astype(float)).max())


def test_constant_rows():
    x = np.full((3, 40), 7, np.float32)
    y, gx = results(NORMS["layer_norm"], x)
    assert (y == 0).all() and np.isfinite(gx).all()
