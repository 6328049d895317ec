"""Dtypes: half types keep theirs and accumulate in float32, scalars are weak, integers turn floating when they must."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.testing import assert_close

HALVES = ["float16", "bfloat16"]
EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}

OPS = {
    "add": lambda x: x + x * 0.5, "scalar": lambda x: 1 - 2.0 * x + x / 3, "pow": lambda x: x**2 + x**0.5, "neg": lambda x: -x,
    "reflected": lambda x: 2.0 / x - 1, "exp": gg.exp, "log": gg.log, "sqrt": gg.sqrt, "sin": gg.sin, "tanh": gg.tanh,
    "atan": gg.atan, "log1p": gg.log1p, "abs": gg.abs, "square": gg.square, "relu": nn.relu, "sigmoid": nn.sigmoid,
    "softplus": nn.softplus, "silu": nn.silu, "gelu": nn.gelu, "gelu_tanh": lambda x: nn.gelu(x, approximate="tanh"),
    "leaky_relu": nn.leaky_relu, "elu": nn.elu, "softmax": nn.softmax, "log_softmax": nn.log_softmax, "sum": gg.sum,
    "sum_axis": lambda x: gg.sum(x, axis=0), "mean": gg.mean, "max": lambda x: gg.max(x, axis=1), "min": gg.min,
    "prod": lambda x: gg.prod(x, axis=1), "var": gg.var, "std": gg.std, "logsumexp": gg.logsumexp,
    "cumsum": lambda x: gg.cumsum(x, axis=0), "maximum": lambda x: gg.maximum(x, 1.0), "clip": lambda x: gg.clip(x, 0.6, 0.9),
    "where": lambda x: gg.where(x > 0.8, x, 0.0), "reshape": lambda x: x.reshape(-1), "getitem": lambda x: x[[0, 1, 1]],
    "matmul": lambda x: x @ gg.matrix_transpose(x), "batched": lambda x: gg.stack([x, x]) @ gg.matrix_transpose(x),
    "einsum": lambda x: gg.einsum("ij,kj->ik", x, x), "concat": lambda x: gg.concat([x, x]),
    "cross_entropy": lambda x: nn.cross_entropy(x, np.array([0, 1, 2])), "mse": lambda x: nn.mse_loss(x, x * 0.5),
    "flip": gg.flip, "split": lambda x: gg.split(x, 2, axis=1)[1], "sign": gg.sign, "erf": gg.erf,
}  # fmt: skip


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", OPS)
def test_half_types(dtype, name):
    f = OPS[name]
    data = np.random.default_rng(0).uniform(0.5, 1.5, (3, 4))
    x = gg.tensor(data, dtype=dtype, requires_grad=True)
    exact = gg.tensor(x.numpy().astype(np.float64), requires_grad=True)
    y, z = f(x), f(exact)
    assert y.dtype == x.dtype
    assert_close(y, z, rtol=6 * EPS[dtype], atol=6 * EPS[dtype])
    gg.sum(y).backward()
    gg.sum(z).backward()
    assert x.grad.dtype == x.dtype
    assert_close(x.grad, exact.grad, rtol=40 * EPS[dtype], atol=20 * EPS[dtype])


@pytest.mark.parametrize("dtype", HALVES)
def test_sums_accumulate_in_float32(dtype):
    ones = gg.ones(10_000, dtype=dtype)
    assert abs(float(gg.sum(ones)) / 10_000 - 1) < EPS[dtype]
    assert float(gg.mean(ones)) == 1
    assert float(gg.sum(nn.softmax(gg.zeros(10_000, dtype=dtype)).astype("float32"))) == pytest.approx(
        1, rel=EPS[dtype]
    )
    row = gg.ones((1, 10_000), dtype=dtype)
    assert abs(float(row @ gg.matrix_transpose(row)) / 10_000 - 1) < EPS[dtype]


def test_scalars_are_weak():
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        t = gg.tensor([1.0, 2.0], dtype=dtype)
        for s in (2, 2.0, True, np.float64(2), np.float32(2), np.int64(2), gg.bfloat16.type(2)):
            assert (
                (t * s).dtype
                == (s * t).dtype
                == (t + s).dtype
                == (t / s).dtype
                == (s - t).dtype
                == (t**s).dtype
                == t.dtype
            )
    assert (gg.tensor([1.0]) * 1j).dtype == np.complex64


def test_arrays_promote_as_numpys_do():
    f32, f64, i32 = (gg.ones(2, dtype=d) for d in ("float32", "float64", "int32"))
    for a, b in ((f32, f64), (f32, i32), (i32, f64), (i32, i32)):
        assert (a * b).dtype == (a.numpy() * b.numpy()).dtype == (a * b.numpy()).dtype
    x = gg.tensor([1.0, 2.0], requires_grad=True)
    for other in (f64, f64.numpy(), i32):
        (g,) = gg.grad(gg.sum(x * other), x)
        assert g.dtype == np.float32


def test_integers_turn_floating_where_they_must():
    i = gg.tensor([1, 2, 3])
    for y in (
        gg.exp(i),
        gg.mean(i),
        i * 2.0,
        i / 2,
        i / i,
        gg.sqrt(i),
        1.0 - i,
        nn.softmax(i),
        gg.std(i),
        nn.sigmoid(i),
    ):
        assert y.dtype == np.float32, y
    for y in (i * 2, i + i, -i, gg.sum(i), gg.max(i), i**2, i // 2, i % 2):
        assert y.dtype.kind == "i"
    assert_close(gg.exp(i), np.exp([1, 2, 3]), rtol=1e-6)
    assert (gg.tensor([True, False]) * 1.0).dtype == np.float32


def test_default_dtype():
    gg.set_default_dtype("float64")
    try:
        assert gg.tensor(1.5).dtype == gg.zeros(2).dtype == gg.exp(gg.tensor([1])).dtype == np.float64
        assert gg.random.normal((2,)).dtype == np.float64
    finally:
        gg.set_default_dtype("float32")
    assert gg.tensor(1.5).dtype == np.float32


def test_casts_carry_the_gradient():
    x = gg.tensor([1.5, 2.5], requires_grad=True)
    y = x.astype("float64") * x.astype("bfloat16").astype("float64")
    (g,) = gg.grad(gg.sum(y), x)
    assert g.dtype == np.float32
    assert_close(g, [3, 5])
    assert x.astype("float32") is x
    z = gg.tensor([1 + 1j], requires_grad=True)
    assert gg.grad(gg.sum(z.astype("float32") * 2), z)[0].dtype == np.complex64
