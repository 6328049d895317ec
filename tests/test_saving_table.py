"""save_as over the op table: each gradient is the exact one to the rounding of what is saved."""

import numpy as np
import pytest
from table import ROWS
from table.row import inputs

import gpugrad as gg

pytestmark = pytest.mark.devices

STEP = {"bfloat16": 2.0**-8, "float16": 2.0**-11}


def gradients(row, xs, context):
    """Those of a weighted sum, at inputs that an op has made: `save_as` leaves leaves alone."""
    ts = [gg.tensor(x) for x in xs]
    with gg.GradientTape() as tape, context:
        tape.watch(ts)
        y = row.f(*[t * 1.0 for t in ts])
    weights = np.random.default_rng(2).uniform(0.5, 1.5, y.shape).astype(y.dtype)
    grads = tape.gradient(y, ts, gg.tensor(weights).to(y.device), unconnected_gradients="zero")
    return [g.numpy().astype(np.float64) for g in grads]


def apart(some, others):
    return max([float(np.abs(a - b).max(initial=0)) for a, b in zip(some, others, strict=True)])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("row", [r for r in ROWS if not r.op.startswith("dropout")], ids=lambda r: r.name)
def test_gradients_are_near(row, dtype):
    """As near as those at inputs that are off by as much: a few such steps are taken, in ways drawn by chance."""
    xs, step, rng = inputs(row, np.float32), STEP[dtype], np.random.default_rng(0)
    exact = gradients(row, xs, gg.enable_grad())
    off = lambda x: (x * (1 + step * rng.choice([-1, 1], x.shape))).astype(np.float32)
    spread = max([apart(exact, gradients(row, list(map(off, xs)), gg.enable_grad())) for _ in range(4)])
    size = max([float(np.abs(g).max(initial=0)) for g in exact])
    found = gradients(row, xs, gg.save_as(dtype, min_size=0))
    assert all([np.isfinite(g).all() for g in found])
    assert apart(exact, found) <= 6 * (spread + step * size)


def limits(x):
    """What chooses by a limit, or by another value, that does not survive the rounding."""
    yield "hardtanh", gg.nn.hardtanh(x, -1.001, 1.001)
    yield "relu6", gg.nn.relu6(x * 4.003)
    yield "hardsigmoid", gg.nn.hardsigmoid(x * 3.0)
    yield "threshold", gg.nn.threshold(x, 1.001, 0.0)
    yield "clip", gg.clip(x, -1.001, 1.001)
    yield "hardshrink", gg.nn.hardshrink(x, 1.001)
    yield "softshrink", gg.nn.softshrink(x, 1.001)
    yield "leaky_relu", gg.nn.leaky_relu(x - 1.001, 0.3)
    yield "maximum", gg.maximum(x, gg.flip(x, 0) * 1.0003)
    yield "fmin", gg.fmin(x, x * 1.0003)
    yield "max", gg.max(x, axis=1)
    yield "min", gg.min(x * 1.3)
    yield "segment_max", gg.segment_max(x, np.arange(64) % 5)
    yield "segment_min", gg.segment_min(x, np.arange(64) % 5)
    yield "norm inf", gg.linalg.vector_norm(x, axis=0, ord=np.inf)
    yield "amax", gg.max(gg.reshape(x, -1))
    yield "remainder", gg.remainder(x * 8.0, gg.abs(x) + 0.3)
    yield "fmod", gg.fmod(x * 8.0, gg.abs(x) + 0.3)
    yield "cummax", gg.cummax(x, 0)[0]
    yield "sort", gg.sort(x, axis=0)
    yield "median", gg.median(x, axis=1)


def test_what_a_pullback_compares_is_not_rounded():
    x = gg.tensor((1 + np.random.default_rng(0).standard_normal((64, 64)) / 300).astype("float32"), requires_grad=True)
    weights = gg.tensor(np.random.default_rng(1).uniform(1, 2, (64, 64)).astype("float32"))

    def found(context):
        out = {}
        for sign in (1.0, -1.0):
            with context:
                cases = dict(limits(x * sign))
            for name, y in cases.items():
                (g,) = gg.grad(y, x, weights.reshape(-1)[: y.size].reshape(y.shape), retain_graph=True)
                out[name, sign] = g.numpy()
        return out

    exact = found(gg.enable_grad())
    for dtype in ("bfloat16", "float16"):
        for name, g in found(gg.save_as(dtype, min_size=0)).items():
            np.testing.assert_allclose(g, exact[name], rtol=1e-5, atol=1e-6, err_msg=str(name))


def test_near_rows_keep_their_distances():
    rng = np.random.default_rng(0)
    x = gg.tensor((5 + rng.standard_normal((6, 3)) / 500).astype("float32"), requires_grad=True)
    for p in (1.0, 2.0, 3.0, np.inf):
        grads = []
        for context in (gg.enable_grad(), gg.save_as(min_size=0)):
            with context:
                y = gg.sum(gg.cdist(x * 1.0, gg.flip(x, 0) * 1.0, p=p)[:2, 3:] ** 2)
            grads.append(gg.grad(y, x)[0].numpy())
        np.testing.assert_allclose(*grads, rtol=0.05, atol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_nothing_and_single_numbers(dtype):
    for shape in ((0,), (3, 0), (), (1,)):
        x = gg.tensor(np.ones(shape, "float64"), requires_grad=True)
        for f in (gg.exp, gg.nn.relu, lambda x: gg.clip(x, -2.0, 2.0), lambda x: gg.nn.leaky_relu(x, 0.1), gg.square):
            with gg.save_as(dtype, min_size=0):
                y = gg.sum(f(x * 1.0))
            exact = gg.grad(gg.sum(f(x * 1.0)), x)[0].numpy()
            np.testing.assert_allclose(gg.grad(y, x)[0].numpy(), exact, rtol=2**-7)


def test_of_what_chooses_a_bit_an_element_is_kept():
    x = gg.tensor(np.linspace(-2, 2, 4096).astype("float32"), requires_grad=True)
    for f in (gg.nn.relu, gg.nn.relu6, gg.nn.hardshrink, lambda x: gg.clip(x, -1.0, 1.0)):
        with gg.GradientTape() as tape, gg.save_as():
            tape.watch(x)
            y = f(x)
        assert tape.nbytes() == 4096 // 8 and y.requires_grad


def test_the_largest_numbers_stay_finite():
    top = np.finfo(np.float32).max
    given = np.full(2000, 3.4e38, "float32")
    given[1:6] = top, -top, np.inf, -np.inf, np.nan
    x = gg.tensor(given, requires_grad=True)
    w = gg.tensor(np.ones(2000, "float32"), requires_grad=True)
    for dtype in ("bfloat16", "float16"):
        with gg.save_as(dtype), np.errstate(all="ignore"):
            y = gg.sum((x * 1.0) * w)
        np.testing.assert_allclose(gg.grad(y, w)[0].numpy(), given, rtol=2**-8)


def test_an_op_of_ones_own_says_what_it_compares():
    for exact in ((), ("x",)):

        @gg.op(x=lambda g, x: g * (x > 1.001), exact=exact)
        def above(xp, x):
            return xp.maximum(x, 1.001)

        x = gg.tensor(np.full(2000, 1.0012, "float32"), requires_grad=True)
        with gg.save_as():
            y = gg.sum(above(x * 1.0))
        assert gg.grad(y, x)[0].numpy().any() == bool(exact)


@pytest.mark.parametrize("n", [10, 70_000, 300_000])
def test_hooks_are_given_what_ops_of_small_arrays_save(n):
    x = gg.tensor(np.linspace(-2, 2, n).astype("float32"), requires_grad=True)
    seen = []
    pack = lambda t: seen.append((t.shape, t.dtype)) or gg.astype(t, gg.float16)
    for f in (gg.nn.relu, gg.nn.relu6, lambda x: gg.nn.leaky_relu(x, 0.5)):
        with gg.saved_tensors_hooks(pack, lambda t: gg.astype(t, gg.float32)):
            y = gg.sum(f(x))
        np.testing.assert_array_equal(gg.grad(y, x)[0].numpy(), gg.grad(gg.sum(f(x)), x)[0].numpy())
    assert seen == [((n,), gg.float32)] * 3


def test_another_shape_or_dtype_is_told():
    x = gg.tensor(np.ones((3, 4)), requires_grad=True)
    for unpack in (lambda t: t[:1], lambda t: gg.astype(t, gg.float32), lambda t: gg.reshape(t, (4, 3))):
        with gg.saved_tensors_hooks(lambda t: t, unpack):
            y = gg.sum(gg.exp(x))
        with pytest.raises(TypeError, match=r"unpack_hook answered a tensor of shape .* for one of shape \[3, 4\]"):
            gg.grad(y, x)
