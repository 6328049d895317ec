"""The chain rule of Laplacians: loops over blocks of rows against formulas, their derivatives against those of ops."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.ops import tall
from gpugrad.ops.harmonic import chained, chained_product
from gpugrad.ops.linalg import matmul

RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.normal(size=shape)


def formula(slope, bend, t):
    t = np.broadcast_to(t, (len(t), *slope.shape))
    return np.concatenate([slope * t[:-1], [slope * t[-1] + bend * (t[:-1] ** 2).sum(0)]])


def by_ops(slope, bend, t):
    l = slope * t[-1] + bend * gg.sum(t[:-1] ** 2, 0)
    return gg.concat([slope * t[:-1], gg.expand_dims(l + slope * 0, 0)])


CASES = {
    "many rows": ((3000, 70), (4, 3000, 70)), "one row for all": ((3000, 70), (4, 1, 70)), "a vector": ((7,), (3, 7)),
    "three axes": ((5, 4, 3), (2, 5, 4, 3)), "one row of three axes": ((5, 4, 3), (3, 1, 1, 3)),
    "empty": ((0, 3), (4, 0, 3)), "a column for all": ((5, 4), (3, 5, 1)), "a number": ((), (4,)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_chained(name, dtype):
    shape, own = CASES[name]
    arrays = [draw(*s).astype(dtype) for s in (shape, shape, own)]
    got = chained(*arrays)
    assert got.dtype == dtype
    tolerance = {"float16": 2e-2, "float32": 1e-5, "float64": 1e-13}[dtype]
    want = formula(*[a.astype(float) for a in arrays])
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def gradients(f, xs, g):
    with gg.GradientTape() as tape:
        tape.watch(xs)
        loss = gg.sum(gg.sin(f(*xs)) * g)
    return tape.gradient(loss, xs)


def agree(got, want, tolerance=1e-10):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", [n for n in CASES if n not in ("a number", "empty")])
def test_pullbacks_of_all_orders(name):
    shape, own = CASES[name]
    xs, g = [gg.tensor(draw(*s)) for s in (shape, shape, own)], gg.tensor(draw(own[0], *shape))
    agree(gradients(chained, xs, g), gradients(by_ops, xs, g))
    vs = tuple([gg.tensor(draw(*x.shape)) for x in xs])
    loss = lambda f: lambda *xs: gg.sum(gg.sin(f(*xs)) * g)
    agree(*[gg.hvp(loss(f), tuple(xs), vs) for f in (chained, by_ops)])


PRODUCT = (300, 64), (300, 64), (4, 300, 60), (60, 64)


def with_weight(slope, bend, t, weight):
    return by_ops(slope, bend, matmul(t, weight))


@pytest.fixture
def pieces(monkeypatch):
    """Fewer rows than in use go by pieces, in threads."""
    monkeypatch.setattr(tall, "MANY", 10_000)


def test_products_go_in_pieces(monkeypatch, pieces):
    arrays = [draw(*s) for s in PRODUCT]
    slope, bend, t, weight = arrays
    want = formula(slope, bend, t @ weight)
    with monkeypatch.context() as m:
        m.setattr("gpugrad.ops.harmonic.matmul", None)
        np.testing.assert_allclose(chained_product(*arrays), want, atol=1e-11)
        recorded = chained_product(*map(gg.tensor, arrays))
    np.testing.assert_allclose(recorded.numpy(), want, atol=1e-11)
    few = [a[:, :2] if a.ndim == 3 else a[:2] for a in arrays[:3]]  # by a product of all rows
    np.testing.assert_allclose(chained_product(*few, weight), want[:, :2], atol=1e-11)


def test_pullbacks_of_products(pieces):
    xs, g = [gg.tensor(draw(*s)) for s in PRODUCT], gg.tensor(draw(4, 300, 64))
    agree(gradients(chained_product, xs, g), gradients(with_weight, xs, g), 1e-9)
    vs = tuple([gg.tensor(draw(*x.shape)) for x in xs])
    products = [
        gg.hvp(lambda *xs, f=f: gg.sum(gg.sin(f(*xs)) * g), tuple(xs), vs) for f in (chained_product, with_weight)
    ]
    agree(*products, 1e-8)


def test_examples_of_a_vmap():
    arrays = [draw(2, *s) for s in PRODUCT]
    for xs, axes in ((arrays, 0), ([arrays[0], *[a[0] for a in arrays[1:]]], (0, None, None, None))):
        got = gg.vmap(chained_product, in_axes=axes)(*map(gg.tensor, xs))
        rows = [[x[i] if x.ndim > y.ndim else x for x, y in zip(xs, [a[0] for a in arrays])] for i in range(2)]
        np.testing.assert_allclose(got.numpy(), [chained_product(*r) for r in rows], atol=1e-11)


@pytest.mark.parametrize("rows", [1000, 1003, 20_000])
def test_linear_of_many_rows(rows, monkeypatch):
    x, w, b = draw(rows, 30), draw(30, 40), draw(40)
    assert tall.small(x, w) == (rows == 20_000)
    for activation, f in ((None, lambda z: z), ("relu", lambda z: np.maximum(z, 0)), ("tanh", np.tanh)):
        np.testing.assert_allclose(gg.nn.linear(x, w, b, activation), f(x @ w + b), rtol=1e-11, atol=1e-11)
    for name, value in (("SINGLE", 30 * 40 * 37), ("BLOCK", 5000), ("MANY", 10_000)):
        monkeypatch.setattr(tall, name, value)
    assert tall.small(x, w)
    np.testing.assert_allclose(gg.nn.linear(x, w, b, "tanh"), np.tanh(x @ w + b), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("size", [600, 20_000, 10**6])
def test_products_by_pieces(size, monkeypatch):
    monkeypatch.setattr(tall, "SINGLE", size)
    x, y, w = draw(3, 503, 20), draw(3, 503, 30), draw(20, 30)
    np.testing.assert_allclose(tall.inner(x, y), np.einsum("nrk,nrm->km", x, y), atol=1e-11)
    out = np.empty(y.shape)
    tall.multiply(x, w, out)
    np.testing.assert_allclose(out, x @ w, atol=1e-12)
