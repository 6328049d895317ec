"""Forward mode: the accumulator, nested and beside tapes.  That tangents are right, row by row: test_ops.py."""

import gc
import weakref

import numpy as np
import pytest
from table import ROWS
from table.row import inputs

import gpugrad as gg
from gpugrad.batching import called
from gpugrad.op import every
from gpugrad.recording import pushing
from gpugrad.testing import assert_close

pytestmark = pytest.mark.devices

X, V, W = np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.5, -1.0]), np.array([0.3, -1.0, 2.0])


def f(x):
    """Its derivatives have all orders, and none is constant."""
    return gg.sum(gg.exp(x * 0.5) * x)


def f1(x):
    return np.exp(x / 2) * (1 + x / 2)


def f2(x):
    return np.exp(x / 2) * (1 + x / 4)


def test_jvp_is_a_lookup():
    x, v = gg.tensor(X), gg.tensor(V)
    with gg.ForwardAccumulator(x, v) as acc:
        y, z = f(x), x.reshape(3, 1) * x
        constant, whole = gg.exp(gg.tensor(X)), gg.argmax(x)
    assert_close(acc.jvp(y), f1(X) @ V)
    assert_close(acc.jvp(z), np.outer(V, X) + np.outer(X, V))
    assert acc.jvp(constant) is None and acc.jvp(whole) is None
    assert_close(acc.jvp(constant, unconnected_gradients="zero"), np.zeros(3))
    assert_close(acc.jvp(x), V)
    nest = acc.jvp({"a": [y, constant], "b": z})
    assert nest["a"][1] is None and nest["b"].shape == (3, 3)


def test_nests_of_primals_and_variables():
    w, b = gg.Variable(X), gg.tensor(2.0, dtype="float64")
    with gg.ForwardAccumulator({"w": w, "b": b}, {"w": gg.tensor(V), "b": gg.tensor(-1.0, dtype="float64")}) as acc:
        y = gg.sum(w * w) * b
    assert_close(acc.jvp(y), 2 * (X @ V) * 2 - X @ X)


def test_products_with_the_hessian_in_all_ways():
    x, v, w = gg.tensor(X), gg.tensor(V), gg.tensor(W)
    expected = f2(X) * V
    with gg.ForwardAccumulator(x, v) as acc:
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = f(x)
        g = tape.gradient(y, x)
    assert_close(acc.jvp(g), expected)
    with gg.GradientTape() as tape:
        tape.watch(x)
        with gg.ForwardAccumulator(x, v) as acc:
            y = f(x)
        j = acc.jvp(y)
    assert_close(tape.gradient(j, x), expected)
    with gg.ForwardAccumulator(x, w) as outer:
        with gg.ForwardAccumulator(x, v) as inner:
            y = f(x)
        j = inner.jvp(y)
    assert_close(outer.jvp(j), W @ expected)
    leaf = gg.tensor(X, requires_grad=True)
    with gg.ForwardAccumulator(leaf, v) as acc:
        j = acc.jvp(f(leaf))
    j.backward()
    assert_close(leaf.grad, expected)
    with gg.ForwardAccumulator(leaf, v) as acc:
        (g,) = gg.grad(f(leaf), leaf)
    assert_close(acc.jvp(g), expected)


def test_the_mode_of_tapes_does_not_matter():
    x, v = gg.tensor(X), gg.tensor(V)
    with gg.ForwardAccumulator(x, v) as acc, gg.no_grad():
        y = f(x)
    assert_close(acc.jvp(y), f1(X) @ V)
    with gg.ForwardAccumulator(x, v) as acc:
        y = f(gg.stop_gradient(x)) + gg.sum(x)
    assert_close(acc.jvp(y), V.sum())


OF_ONE_AND_ALL = {
    "sum": lambda z, x: z + x,
    "quotient": lambda z, x: x / z,
    "concat": lambda z, x: gg.concat([z * z, x]),
    "at": lambda z, x: x.at[0].set(z[0] ** 2),
}


@pytest.mark.parametrize("name", OF_ONE_AND_ALL)
def test_primals_that_all_examples_of_a_vmap_share(name):
    """What is around the vmap goes on following them, and their tangents."""
    g, xs = OF_ONE_AND_ALL[name], gg.tensor([X, W])
    at = np.array([0.7]), np.array([1.3])

    def total(w, v):
        return gg.sum(gg.vmap(lambda x: gg.jvp(lambda z: g(z, x), (w,), (v,))[1] ** 2)(xs))

    gg.testing.check_grads(total, at, order=1, modes=("rev", "fwd"))


def test_nothing_is_kept():
    x = gg.tensor(np.ones(1000))
    gc.disable()
    try:
        with gg.ForwardAccumulator(x, gg.tensor(np.ones(1000))) as acc:
            y = x
            passed = []
            for _ in range(20):
                y = gg.tanh(y)
                passed.append(weakref.ref(y))
            assert sum(r() is not None for r in passed) == 1
            assert acc.jvp(y).shape == (1000,)
        assert not pushing
        gone = weakref.ref(acc)
        del acc
        assert gone() is None
    finally:
        gc.enable()


def test_an_error_inside_leaves_nothing_behind():
    x = gg.tensor(X)
    with pytest.raises(ValueError, match="add"), gg.ForwardAccumulator(x, gg.tensor(V)):
        x + gg.tensor(np.ones(7))
    assert not pushing
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = f(x)
    assert_close(tape.gradient(y, x), f1(X))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "complex128"])
def test_tangents_have_the_dtype_of_what_they_go_with(dtype):
    x = gg.tensor(X, dtype=dtype)
    with gg.ForwardAccumulator(x, gg.tensor(V, dtype=dtype)) as acc:
        y, r = x * x + 1, gg.real(x * x)
    assert acc.jvp(y).dtype == y.dtype and acc.jvp(r).dtype == r.dtype
    assert_close(acc.jvp(y), 2 * X * V, rtol=0.05)


def test_ops_with_several_outputs_and_half_of_them_used():
    a = np.array([[2.0, 0.3], [0.3, 1.0]])
    da = np.array([[0.2, -1.0], [-1.0, 0.7]])
    x = gg.tensor(a)
    with gg.ForwardAccumulator(x, gg.tensor(da)) as acc:
        w, v = gg.linalg.eigh(x)
        parts = gg.split(x, 2, axis=0)
    _values, vectors = np.linalg.eigh(a)
    assert_close(acc.jvp(w), np.diag(vectors.T @ da @ vectors), rtol=1e-10)
    assert acc.jvp(v).shape == (2, 2)
    assert_close(acc.jvp(parts[1]), da[1:])


@pytest.mark.parametrize("name", ["sum", "mean", "flip", "matmul"])
def test_a_users_op_may_have_the_name_of_one_that_is_linear(name):
    square = gg.op(lambda xp, x: x * x, name=name, x=lambda g, x: g * x * 2)
    x, v = gg.tensor(X), gg.tensor(V)
    assert_close(gg.jvp(square, (x,), (v,))[1], 2 * X * V)
    if name != "matmul":
        assert_close(gg.taylor(square, (x,), ([v, gg.zeros(3, dtype="float64")],))[1][1], 2 * V * V)


seen = {}


class Calls(gg.ForwardAccumulator):
    """Notes a call of each linear op in `seen`."""

    def _push(self, op, values, edges, head):
        if getattr(op, "linear", False):
            static = dict(zip(op.static, values[len(edges) + 1 :], strict=False))
            seen.setdefault(op.name, (op, values[: len(edges)], static))
        super()._push(op, values, edges, head)


@pytest.mark.numpy
def test_what_is_declared_linear_is():
    """Of every such op the call that some row of the table makes, forward, back, or as that is transposed."""
    seen.clear()
    for row in {r.op: r for r in ROWS if not r.elementwise}.values():
        xs = [gg.tensor(x) for x in inputs(row)]
        with Calls(xs, [gg.ones_like(x) for x in xs]) as acc:
            y, pull = gg.vjp(row.f, *xs)
            seed = gg.ones_like(y)
            acc.watch(seed, seed * 1.0)
            _, push = gg.vjp(pull, seed)
            push(tuple(x * 1.0 for x in xs))
    declared = {f.op.name for f in every if f.op.linear and f.__module__.startswith("gpugrad.ops")}
    assert {*seen} >= declared - {"to_device"}  # which takes a second device
    rng = np.random.default_rng(0)
    for name, (op, xs, static) in seen.items():
        places = [[*range(len(xs))]] if op.linear is True else [[i] for i in range(2) if xs[i].dtype.kind in "fc"]
        for at in places:
            ds = [rng.normal(size=x.shape).astype(x.dtype) if i in at else x for i, x in enumerate(xs)]
            of = lambda vs, op=op, static=static: flat(called(op, vs, static)[0])
            both = [3 * d - 2 * x if i in at else x for i, (x, d) in enumerate(zip(xs, ds))]
            np.testing.assert_allclose(of(both), 3 * of(ds) - 2 * of(xs), atol=1e-10, err_msg=name)


def flat(out):
    return np.concatenate([np.ravel(v) for v in (out if isinstance(out, (tuple, list)) else [out])])


def test_a_users_op_says_that_it_is_linear():
    doubled = gg.op(lambda xp, x: x * 2, name="doubled", x=lambda g: g * 2, linear=True)
    dot = gg.op(lambda xp, x, y: (x * y).sum(), name="dot", x=lambda g, y: g * y, y=lambda g, x: g * x, linear="each")
    x, v, w = gg.tensor(X), gg.tensor(V), gg.tensor(W)
    assert_close(gg.jvp(lambda x, y: dot(doubled(x), y), (x, w), (v, v))[1], 2 * (V @ W + X @ V))
    assert_close(gg.taylor(lambda x: dot(doubled(x), x), (x,), ([v, None],))[1][1], 4 * V @ V)
    with pytest.raises(ValueError, match='linear is True, False or "each"'):
        gg.op(lambda xp, x: x, linear="x")
    with pytest.raises(ValueError, match="is for two operands, not .'x'"):
        gg.op(lambda xp, x: x, x=lambda g: g, linear="each")


def test_a_users_op_element_by_element():
    """Its rule may sum to the operand's shape, and it may have several outputs."""

    def summed(g, x):
        return gg.sum(g, axis=0) if g.ndim > x.ndim else g

    scaled = gg.op(
        lambda xp, x, y: xp.sin(x) * y,
        name="scaled",
        x=lambda g, x, y: summed(g * y * gg.cos(x), x),
        y=lambda g, x, y: summed(g * gg.sin(x), y),
        batch="elementwise",
    )
    turned = gg.op(
        lambda xp, x: (xp.sin(x), xp.cos(x)),
        name="turned",
        several=True,
        x=lambda g, x: g.get(0, 0.0) * gg.cos(x) - g.get(1, 0.0) * gg.sin(x),
        batch="elementwise",
    )
    own = lambda x, y: gg.multiply(*turned(x)) + scaled(x, y)
    same = lambda x, y: gg.sin(x) * gg.cos(x) + gg.sin(x) * y
    args, vs = (gg.tensor(X), gg.tensor([V, W])), (gg.tensor(W), gg.tensor([X, V]))
    assert_close(gg.jvp(own, args, vs)[1], gg.jvp(same, args, vs)[1])
    along = lambda f: gg.jvp(f, args, vs)[1]
    assert_close(along(lambda x, y: gg.jvp(own, (x, y), vs)[1]), along(lambda x, y: gg.jvp(same, (x, y), vs)[1]))
    series = tuple([v, None, None] for v in vs)
    for got, want in zip(gg.taylor(own, args, series)[1], gg.taylor(same, args, series)[1]):
        assert_close(got, want)
    x, y = args
    assert_close(gg.laplacian(lambda x: own(x, y), x), gg.laplacian(lambda x: same(x, y), x))


def test_models():
    gg.random.seed(0)
    net = gg.nn.Sequential(gg.nn.Linear(3, 4), gg.nn.LayerNorm(4), gg.nn.GELU(), gg.nn.Linear(4, 2))
    x = gg.random.normal((5, 3), dtype="float64")
    for p in net.parameters():
        p.assign(gg.random.normal(p.shape)) if hasattr(p, "assign") else None
    ps = list(net.parameters())
    vs = [gg.random.normal(p.shape, dtype=p.dtype) for p in ps]
    with gg.ForwardAccumulator(ps, vs) as acc:
        loss = gg.sum(net(x) ** 2)
    with gg.GradientTape() as tape:
        loss2 = gg.sum(net(x) ** 2)
    gs = tape.gradient(loss2, ps)
    assert_close(acc.jvp(loss), sum(float((g.numpy() * v.numpy()).sum()) for g, v in zip(gs, vs)), rtol=1e-5)


def test_bad_input():
    x, v = gg.tensor(X), gg.tensor(V)
    make = gg.ForwardAccumulator
    with pytest.raises(ValueError, match="specified as a primal multiple times"):
        make([x, x], [v, v])
    with pytest.raises(ValueError, match=r"tangent has shape \(2,\), its primal \(3,\)"):
        make(x, gg.tensor(V[:2]))
    with pytest.raises(ValueError, match="tangent is float32, its primal float64"):
        make(x, gg.tensor(V, dtype="float32"))
    with pytest.raises(ValueError, match="nested alike"):
        make([x], {"a": v})
    with pytest.raises(ValueError, match=r"of one Tensor: gg.tensor\(tangents\)"):
        make(x, [1.0, 0.0, 0.0])
    with pytest.raises(TypeError, match="int32, which has no derivative"):
        make(gg.tensor([1, 2]), gg.tensor([1, 2]))
    with pytest.raises(TypeError, match="primals are Tensors"):
        make("x", "v")
    acc = make(x, v)
    with acc, pytest.raises(ValueError, match="already recording"):
        acc.__enter__()
    with acc, pytest.raises(TypeError, match=r"jvp takes Tensors"):
        acc.jvp(3)
    with pytest.raises(ValueError, match="Unknown value"):
        acc.jvp(x, unconnected_gradients="nothing")
