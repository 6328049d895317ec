"""gg.taylor: every row of the op table against nested forward mode, closed forms and Cauchy's integrals."""

import math

import numpy as np
import pytest
from table import ROWS
from table.row import inputs

import gpugrad as gg

pytestmark = pytest.mark.devices

ORDER = 4
POINTWISE = [r for r in ROWS if r.elementwise]
OTHERS = [r for r in ROWS if not r.elementwise and r.forward]


def line(xs, vs, t):
    return [x + t * v for x, v in zip(xs, vs)]


def nested(f, t, order):
    """The derivatives of f at t, one `gg.jvp` around the other."""
    found = []
    for _ in range(order):
        f = lambda s, f=f: gg.jvp(f, (s,), (gg.ones_like(s),))[1]
        found.append(f(t))
    return found


def close(got, want, tolerance):
    want = want.numpy() if isinstance(want, gg.Tensor) else want
    scale = max(1.0, float(np.max(np.abs(want), initial=0)))
    np.testing.assert_allclose(got.numpy() / scale, want / scale, rtol=0, atol=tolerance)


def draw(row, seed=0):
    rng = np.random.default_rng(seed)
    return [gg.tensor(x) for x in inputs(row)], [gg.tensor(rng.normal(size=s)) for s in row.shapes]


@pytest.mark.parametrize("row", POINTWISE, ids=lambda r: r.name)
def test_element_by_element_to_order_4(row):
    xs, vs = draw(row)
    y, ys = gg.taylor(row.f, tuple(xs), tuple([v] + [None] * (ORDER - 1) for v in vs))
    close(y, row.f(*xs), 1e-12)
    for got, want in zip(ys, nested(lambda t: row.f(*line(xs, vs, t)), gg.tensor(0.0, dtype=gg.float64), ORDER)):
        close(got, want, 1e-9)


@pytest.mark.numpy
@pytest.mark.parametrize("row", [r for r in POINTWISE if r.complex and len(r.shapes) == 1], ids=lambda r: r.name)
def test_holomorphic_against_cauchy(row):
    """f^(k)(0) = k! / r^k times the mean of f(r e^iθ) e^-ikθ: NumPy alone."""
    if row.op in ("abs", "sign", "angle", "real", "imag", "conj"):
        return  # not holomorphic
    ((x,), (v,)) = draw(row)
    _, ys = gg.taylor(row.f, (x,), ([v] + [None] * (ORDER - 1),))
    n, r = 64, 0.03
    at = r * np.exp(2j * np.pi * np.arange(n) / n)
    found = np.fft.fft(np.stack([row.reference(x.numpy() + t * v.numpy()) for t in at]), axis=0) / n
    for k in range(1, ORDER + 1):
        close(ys[k - 1], (found[k] * math.factorial(k) / r**k).real, 1e-7)


@pytest.mark.parametrize("row", OTHERS, ids=lambda r: r.name)
def test_all_other_ops_to_order_2(row):
    xs, vs = draw(row)
    y, ys = gg.taylor(row.f, tuple(xs), tuple([v, None] for v in vs))
    close(y, row.f(*xs), 1e-12)
    for got, want in zip(ys, nested(lambda t: row.f(*line(xs, vs, t)), gg.tensor(0.0, dtype=gg.float64), 2)):
        close(got, want, 1e-9)
