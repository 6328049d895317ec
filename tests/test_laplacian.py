"""gg.laplacian: against closed forms, traces of Hessians, nested tapes, and the gradient by weights around it."""

import numpy as np
import pytest

import gpugrad as gg

pytestmark = pytest.mark.devices

POINTS = np.random.default_rng(0).uniform(0.2, 1.2, (5, 3))


def close(got, want, tolerance=1e-10):
    want = want.numpy() if isinstance(want, gg.Tensor) else np.asarray(want)
    assert got.shape == want.shape
    np.testing.assert_allclose(got.numpy(), want, rtol=tolerance, atol=tolerance)


def points():
    return gg.tensor(POINTS, dtype=gg.float64)


def trace(f, x):
    """Of the Hessians of each output at each point, by forward mode in forward mode."""
    rows = [np.trace(gg.jacfwd(gg.jacfwd(f))(p).numpy(), axis1=-2, axis2=-1) for p in x]
    return np.stack(rows)


WEIGHTS = [np.random.default_rng(1).normal(size=s) for s in ((3, 8), (8, 8), (8, 2))]
BIAS = np.random.default_rng(2).normal(size=8)


def mlp(activation):
    def f(x):
        first, second, last = [gg.tensor(w, dtype=gg.float64) for w in WEIGHTS]
        x = gg.nn.linear(x, first, gg.tensor(BIAS, dtype=gg.float64), activation)
        x = gg.nn.linear(x, second, gg.tensor(BIAS, dtype=gg.float64), activation)
        return x @ last

    return f


FUNCTIONS = {
    **{f"mlp {a}": mlp(a) for a in ("tanh", "gelu", "gelu_tanh", "sigmoid", "silu", "relu")},
    "layers in steps": lambda x: gg.tanh(gg.tanh(x @ gg.tensor(WEIGHTS[0]) + 1) @ gg.tensor(WEIGHTS[1]) - 0.5),
    "a bias added": lambda x: gg.exp(x @ gg.tensor(WEIGHTS[0]) + gg.tensor(BIAS)),
    "sums of what is linear": lambda x: gg.sum(x * 2 + 1, -1) ** 2,
    "rows by columns": lambda x: (x[..., None] * 1.0) @ gg.tanh(x)[..., None, :],
    "joined lines": lambda x: gg.sin(gg.concat([x + 1, -x * 2], -1)),
    "product of functions": lambda x: gg.exp(x) * gg.sin(x * x),
    "quotient": lambda x: x / (2 + gg.cos(x)),
    "power": lambda x: gg.pow(x, gg.flip(x, -1)),
    "several operands": lambda x: gg.atan2(x[..., 0], x[..., 1]) + gg.hypot(x[..., 1], x[..., 2]),
    "where": lambda x: gg.where(x > 0.7, x**3, -(x**2)),
    "broadcast": lambda x: x[..., None] * x[..., None, :] + x[..., None],
    "radius": lambda x: 1 / gg.sqrt(gg.sum(x * x, -1)),
    "softmax": lambda x: gg.softmax(x * x),
    "logsumexp": lambda x: gg.logsumexp(x * x, -1),
    "norm": lambda x: gg.vector_norm(x, axis=-1),
    "layer_norm": lambda x: gg.nn.layer_norm(x * x, 3),
    "einsum": lambda x: gg.einsum("...i,...j->...", x, gg.tanh(x)),
    "concat": lambda x: gg.concat([gg.sin(x), x * x], -1),
    "sort": lambda x: gg.sort(gg.sin(5 * x), -1) ** 2,
    "abs of complex": lambda x: gg.abs(gg.exp(1j * gg.sum(x, -1)) * x[..., 0]),
    "spectrum": lambda x: gg.abs(gg.fft.rfft(x * x)) ** 3,
    "det": lambda x: gg.linalg.det(x[..., None] * gg.exp(x[..., None, :]) + gg.eye(3, dtype=gg.float64)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_trace_of_the_hessian(name):
    f, x = FUNCTIONS[name], points()
    want = trace(f, x)
    value, lap = gg.value_and_laplacian(f, x)
    close(value, f(x), 1e-13)
    close(lap, want)
    close(gg.vmap(lambda p: gg.laplacian(f, p))(x), want)
    close(gg.laplacian(f, x[0]), want[0])


def test_closed_forms():
    x = points()
    close(gg.laplacian(lambda x: gg.sum(x * x, -1), x), np.full(5, 6.0))
    close(gg.laplacian(lambda x: 1 / gg.sqrt(gg.sum(x * x, -1)), x), np.zeros(5))  # harmonic
    close(gg.laplacian(lambda x: gg.sin(gg.sum(x, -1)), x), -3 * np.sin(POINTS.sum(-1)))
    close(gg.laplacian(lambda x: x @ gg.ones(3, dtype=gg.float64), x), np.zeros(5))
    close(gg.laplacian(lambda x: gg.ones((5, 2), dtype=gg.float64), x), np.zeros((5, 2)))


def test_the_coordinates_may_be_all_elements_or_some():
    """Of Π_ij x_ij, a function of one point that has 15 coordinates, and of sums of squares along axes."""
    x = points()
    f = lambda z: gg.sum(z**4)
    close(gg.laplacian(f, x, axis=None), (12 * POINTS**2).sum())
    close(gg.laplacian(lambda z: gg.sum(z**3, 0), x, axis=0), (6 * POINTS).sum(0))
    close(gg.laplacian(lambda z: gg.sum(z**3, (0, 1)), x, axis=(0, 1)), (6 * POINTS).sum())


def test_coordinates_may_be_summed_over_first():
    """The axis that a product sums over is that of the coordinates."""
    w, x = gg.tensor(WEIGHTS[1][:2, :3]), points()
    f = lambda z: gg.sum(gg.tanh(w @ z), 0)
    close(gg.laplacian(f, gg.tensor(POINTS.T), axis=0), trace(f, x))


def test_a_tree_of_outputs():
    x = points()
    value, lap = gg.value_and_laplacian(lambda x: {"a": x * x, "b": (gg.sin(x),)}, x)
    close(value["a"], POINTS**2)
    close(lap["a"], np.full((5, 3), 2.0))
    close(lap["b"][0], -np.sin(POINTS))


def weights():
    return [gg.Variable(gg.tensor(w, dtype=gg.float64)) for w in (*WEIGHTS, BIAS)]


def net(ws, x):
    first, second, last, bias = ws
    return gg.nn.linear(gg.nn.linear(x, first, bias, "tanh"), second, bias, "tanh") @ last


def nested(f, x):
    """Σ_i of the derivative by x_i of the derivative by x_i, of the sum over points, output by output."""
    columns = []
    for k in range(2):
        with gg.GradientTape(persistent=True) as outer:
            outer.watch(x)
            with gg.GradientTape() as inner:
                inner.watch(x)
                y = f(x)[:, k]
            g = inner.gradient(y, x)
            parts = [g[:, i] for i in range(3)]
        columns.append(gg.stack([outer.gradient(p, x)[:, i] for i, p in enumerate(parts)]))
    return gg.sum(gg.stack(columns, -1), 0)


def test_gradient_by_weights():
    """As a loss of physics has it: of mean(Δf² + f), by a tape and against nested tapes."""
    found = []
    for lap in (gg.laplacian, nested):
        ws, x = weights(), points()
        with gg.GradientTape() as tape:
            loss = gg.mean(lap(lambda x, ws=ws: net(ws, x), x) ** 2 + net(ws, x))
        found.append((loss, tape.gradient(loss, ws)))
    close(found[0][0], found[1][0])
    for a, b in zip(found[0][1], found[1][1]):
        close(a, b, 1e-9)


def test_many_points():
    """Products that go in pieces, recorded and not."""
    rng = np.random.default_rng(3)
    ws = [gg.Variable(gg.tensor(rng.normal(size=s) / 8)) for s in ((3, 64), (64, 64), (64, 2), (64,))]
    found = []
    for lap in (gg.laplacian, nested):
        x = gg.tensor(rng.normal(size=(400, 3)) if not found else found[0][0].numpy())
        plain = lap(lambda x: net(ws, x), x)
        with gg.GradientTape() as tape:
            loss = gg.mean(lap(lambda x: net(ws, x), x) ** 2)
        found.append((x, plain, loss, *tape.gradient(loss, ws)))
    for a, b in zip(*found):
        close(a, b, 1e-9)


def test_backward_and_the_second_order():
    x = points()
    ws = [gg.tensor(w, dtype=gg.float64, requires_grad=True) for w in (*WEIGHTS, BIAS)]
    loss = lambda ws: gg.mean(gg.laplacian(lambda x: net(ws, x), x) ** 2)
    loss(ws).backward()
    plain = [gg.tensor(w.numpy()) for w in ws]
    for w, g in zip(ws, gg.grad(lambda *ws: loss(ws), (0, 1, 2, 3))(*plain)):
        close(w.grad, g, 1e-12)
    vs = [gg.ones_like(w) for w in plain]
    products = gg.hvp(lambda *ws: loss(ws), tuple(plain), tuple(vs))
    step = 1e-5
    ahead, behind = [
        gg.grad(lambda *ws: loss(ws), (0, 1, 2, 3))(*[w + s * v for w, v in zip(plain, vs)]) for s in (step, -step)
    ]
    for got, a, b in zip(products, ahead, behind):
        close(got, (a - b) / (2 * step), 1e-5)


@pytest.mark.parametrize("name", ["mlp tanh", "quotient", "power"])
def test_gradient_by_the_points(name):
    x = points()
    f = FUNCTIONS[name]
    third = gg.grad(lambda x: gg.sum(gg.laplacian(f, x)))(x)
    step = 1e-5
    for i in range(3):
        e = np.eye(3)[i] * step
        lap = [gg.laplacian(f, gg.tensor(POINTS + s * e)).numpy().sum(1) for s in (1, -1)]
        np.testing.assert_allclose(third.numpy()[:, i], (lap[0] - lap[1]) / (2 * step), rtol=1e-6, atol=1e-6)


def test_the_bilaplacian():
    """Δ Δ of Σ x⁴ and of a product."""
    x = points()
    twice = lambda f: gg.laplacian(lambda x: gg.laplacian(f, x), x)
    close(twice(lambda x: gg.sum(x**4, -1)), np.full(5, 72.0), 1e-9)
    close(twice(lambda x: gg.sin(gg.sum(x, -1))), 9 * np.sin(POINTS.sum(-1)), 1e-9)


def test_what_is_detached_is_constant():
    close(gg.laplacian(lambda x: x * gg.stop_gradient(x * x), points()), np.zeros((5, 3)))


def test_float32_stays():
    x = gg.tensor(POINTS.astype(np.float32))
    value, lap = gg.value_and_laplacian(lambda x: gg.softmax(gg.tanh(x) / 2), x)
    assert value.dtype == lap.dtype == gg.float32


def test_errors():
    with pytest.raises(TypeError, match="x is int32; its coordinates are real floats"):
        gg.laplacian(gg.sin, gg.tensor([1, 2]))
    with pytest.raises(TypeError, match="x is complex64"):
        gg.laplacian(gg.sin, gg.tensor([1j]))
    with pytest.raises(ValueError, match="x is a scalar; it needs an axis of coordinates"):
        gg.laplacian(gg.sin, gg.tensor(1.0))
    with pytest.raises(ValueError, match="axis 2"):
        gg.laplacian(gg.sin, points(), axis=2)
    with pytest.raises(ValueError, match="no coordinates"):
        gg.laplacian(gg.sin, gg.zeros((3, 0)))
    with pytest.raises(ValueError, match="no coordinates along axis"):
        gg.laplacian(gg.sin, points(), axis=())
    with pytest.raises(TypeError, match="the function answers Tensors"):
        gg.laplacian(lambda x: 1.0, points())

    @gg.custom_gradient
    def mine(x):
        return gg.sin(x), lambda g: g

    with pytest.raises(NotImplementedError, match="a gradient of its own.*Sum over the coordinates e what gg.taylor"):
        gg.laplacian(mine, points())
    along = lambda e: gg.taylor(mine, (points(),), ([gg.broadcast_to(e, (5, 3)), None],))[1][1]
    close(gg.sum(gg.vmap(along)(gg.eye(3, dtype=gg.float64)), 0), np.zeros((5, 3)))  # by a slope of 1
