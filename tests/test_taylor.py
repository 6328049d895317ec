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
OTHERS = [r for r in ROWS if not r.elementwise]


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


@pytest.mark.numpy
@pytest.mark.parametrize("row", OTHERS, ids=lambda r: r.name)
def test_all_other_ops_to_order_2(row):
    xs, vs = draw(row)
    y, ys = gg.taylor(row.f, tuple(xs), tuple([v, None] for v in vs))
    close(y, row.f(*xs), 1e-12)
    for got, want in zip(ys, nested(lambda t: row.f(*line(xs, vs, t)), gg.tensor(0.0, dtype=gg.float64), 2)):
        close(got, want, 1e-9)


# ---------------------------------------------------------------------------------------------- what is around
def cubic(x):
    return gg.sum(gg.tanh(x) * x * x)


X, V = [0.3, -0.4, 0.7], [1.0, 0.5, -2.0]


def tensors(*xs):
    return [gg.tensor(x, dtype=gg.float64) for x in xs]


def test_closed_forms():
    x, v = tensors(0.4, 1.0)
    y, ys = gg.taylor(lambda x: gg.sin(2 * x), (x,), ([v, None, None, None],))
    close(y, np.sin(0.8), 1e-14)
    for k, want in enumerate([2 * np.cos(0.8), -4 * np.sin(0.8), -8 * np.cos(0.8), 16 * np.sin(0.8)]):
        close(ys[k], want, 1e-14)


def test_the_curve_itself_may_bend():
    """x(t) = a + b t + c t² / 2 in x² and in exp."""
    a, b, c = tensors(0.5, 2.0, -3.0)
    _, ys = gg.taylor(lambda x: x * x, (a,), ([b, c, None, None],))
    for got, want in zip(ys, [2 * 0.5 * 2, 2 * 4 + 2 * 0.5 * -3, 6 * 2 * -3, 6 * 9]):
        close(got, want, 1e-14)
    _, ys = gg.taylor(gg.exp, (a,), ([None, c],))
    close(ys[0], 0, 0)
    close(ys[1], -3 * np.exp(0.5), 1e-14)


def test_several_arguments_and_a_tree():
    x, y, v = tensors(X, V, [1.0, 2.0, 3.0])
    first, (d1, d2) = gg.taylor(lambda a, b: {"p": a * b, "q": [gg.sum(b)]}, (x, y), ([v, None], [v, None]))
    close(first["p"], np.multiply(X, V), 1e-15)
    close(d1["p"], v.numpy() * (np.array(X) + V), 1e-15)
    close(d2["p"], 2 * v.numpy() ** 2, 1e-15)
    close(d1["q"][0], 6, 1e-15)
    close(d2["q"][0], 0, 0)


def test_what_is_detached_is_constant():
    x, v = tensors(X, V)
    f = lambda x: x * gg.stop_gradient(gg.exp(x)) + gg.tensor(x.array * 2)
    _, (d1, d2) = gg.taylor(f, (x,), ([v, None],))
    close(d1, np.exp(X) * V, 1e-15)
    close(d2, np.zeros(3), 0)


def test_branches_by_value():
    x, v = tensors(X, V)
    _, (d1,) = gg.taylor(lambda x: x * x if gg.sum(x) > 0 else -x, (x,), ([v],))
    close(d1, 2 * np.multiply(X, V), 1e-15)


def test_a_tape_around():
    """The gradient of the second derivative along v, against the one of nested forward mode."""
    x, v = tensors(X, V)
    grads = []
    for second in (
        lambda x: gg.taylor(cubic, (x,), ([v, None],))[1][1],
        lambda x: nested(lambda t: cubic(x + t * v), gg.tensor(0.0, dtype=gg.float64), 2)[1],
    ):
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = second(x)
        grads.append(tape.gradient(y, x))
    close(grads[0], grads[1], 1e-12)


def test_backward_through_it():
    x = gg.tensor(X, dtype=gg.float64, requires_grad=True)
    v = gg.tensor(V, dtype=gg.float64)
    gg.taylor(cubic, (x,), ([v, None],))[1][1].backward()
    close(x.grad, gg.grad(lambda x: gg.taylor(cubic, (x,), ([v, None],))[1][1])(gg.tensor(X, dtype=gg.float64)), 1e-14)


def test_a_gradient_inside():
    x, v = tensors(X, V)
    _, (d1, d2) = gg.taylor(gg.grad(cubic), (x,), ([v, None],))
    close(d1, gg.hvp(cubic, (x,), (v,))[0], 1e-12)
    close(d2, nested(lambda t: gg.grad(cubic)(x + t * v), gg.tensor(0.0, dtype=gg.float64), 2)[1], 1e-12)


def test_vmap_around_and_inside():
    xs, v = tensors([X, V], [1.0, 2.0, 3.0])
    along = lambda x: gg.taylor(cubic, (x,), ([v, None, None],))[1][2]
    want = np.stack([along(x).numpy() for x in xs])
    close(gg.vmap(along)(xs), want, 1e-13)
    close(gg.taylor(gg.vmap(cubic), (xs,), ([gg.broadcast_to(v, (2, 3)), None, None],))[1][2], want, 1e-13)


def test_taylor_of_taylor():
    x, v = tensors(X, V)
    inner = lambda x: gg.taylor(cubic, (x,), ([v, None],))[1][1]
    close(gg.taylor(inner, (x,), ([v, None],))[1][1], gg.taylor(cubic, (x,), ([v, None, None, None],))[1][3], 1e-11)


def test_errors():
    (x,) = tensors(X)
    with pytest.raises(TypeError, match="primals are a tuple"):
        gg.taylor(gg.sin, x, ([x],))
    with pytest.raises(ValueError, match="need as many series, all of one length from 1 on"):
        gg.taylor(gg.add, (x, x), ([x], [x, x]))
    with pytest.raises(ValueError, match="from 1 on"):
        gg.taylor(gg.sin, (x,), ([],))
    with pytest.raises(ValueError, match=r"a coefficient has shape \(2,\), its primal \(3,\)"):
        gg.taylor(gg.sin, (x,), ([[1.0, 2.0]],))
    with pytest.raises(TypeError, match="series are a list of derivatives for each argument"):
        gg.taylor(gg.sin, (x,), (x,))
    with pytest.raises(TypeError, match="a coefficient is complex128, its primal float64; make both complex"):
        gg.taylor(gg.sin, (x,), ([x * 1j],))
    with pytest.raises(TypeError, match="int32, which has no derivative"):
        gg.taylor(gg.sin, (gg.tensor([1, 2]),), ([[1, 2]],))
    with pytest.raises(TypeError, match="the function answers Tensors"):
        gg.taylor(lambda x: 1.0, (x,), ([x],))
