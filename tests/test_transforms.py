"""grad, vjp, jvp, Jacobians, Hessians and products, of functions of trees; combined; within a bound of memory."""

import sys
import tracemalloc

import numpy as np
import pytest
from table import ROWS
from table.row import inputs

import gpugrad as gg
from gpugrad import nn, transforms
from gpugrad.testing import assert_close

pytestmark = pytest.mark.devices
chunks = sys.modules["gpugrad.jacobian"]  # gg.jacobian is the function

rng = np.random.default_rng(0)
X, A, V = rng.normal(size=3), rng.normal(size=(3, 4)), rng.normal(size=3)


def f(x):
    return gg.tanh(x @ gg.tensor(A))


def h(x):
    return gg.sum(f(x) ** 2)


J = (1 - np.tanh(X @ A) ** 2)[:, None] * A.T
T = np.tanh(X @ A)
S = 1 - T**2
H = (A * (2 * S**2 - 4 * T**2 * S)) @ A.T  # of sum tanh²


def test_jacobians_agree():
    x = gg.tensor(X)
    assert_close(gg.jacrev(f)(x), J, rtol=1e-12)
    assert_close(gg.jacfwd(f)(x), J, rtol=1e-12)
    assert_close(gg.jacrev(f, chunk_size=3)(x), J, rtol=1e-12)
    assert_close(gg.jacfwd(f, chunk_size=2)(x), J, rtol=1e-12)


@pytest.mark.parametrize("outer", [gg.jacrev, gg.jacfwd])
@pytest.mark.parametrize("inner", [gg.jacrev, gg.jacfwd, gg.grad])
def test_hessians_agree(outer, inner):
    x = gg.tensor(X)
    assert_close(outer(inner(h))(x), H, rtol=1e-10)
    assert_close(gg.vmap(outer(inner(h)))(gg.tensor(np.stack([X, X, X])))[1], H, rtol=1e-10)


def test_jacobians_of_complex_functions():
    n = np.arange(3)
    waves = np.exp(-2j * np.pi * np.outer(n, n) / 3)
    x = gg.tensor(X)
    assert_close(gg.jacfwd(gg.fft.fft)(x), waves, rtol=1e-12, atol=1e-12)
    assert_close(gg.jacrev(lambda x: gg.imag(gg.fft.fft(x)))(x), waves.imag, rtol=1e-12, atol=1e-12)
    z = X + 1j * V
    assert_close(gg.jacfwd(gg.square)(gg.tensor(z)), np.diag(2 * z))
    assert_close(gg.jacrev(gg.abs)(gg.tensor(z)), np.diag(z / abs(z)))
    for refused in (gg.jacrev(gg.fft.fft), gg.hessian(gg.fft.fft)):
        with pytest.raises(TypeError, match="jacrev: the function answers complex.*gg.jacfwd"):
            refused(x)


def test_hessians_of_functions_with_several_outputs():
    def some(x):
        y = f(x)
        return {"sum": gg.sum(y**2), "several": y}

    found = gg.hessian(some)(gg.tensor(X))
    assert_close(found["sum"], H, rtol=1e-10)
    expected = gg.jacfwd(gg.jacrev(f))(gg.tensor(X))
    assert_close(found["several"], expected, rtol=1e-12)
    assert_close(gg.vmap(gg.hessian(f))(gg.tensor(np.stack([X, X])))[1], expected, rtol=1e-12)
    assert gg.hessian(lambda x: h(x)[None])(gg.tensor(X)).shape == (1, 3, 3)


def test_products_with_the_hessian():
    x, v = gg.tensor(X), gg.tensor(V)
    assert_close(gg.hessian(h)(x), H, rtol=1e-10)
    for product in (gg.hvp, gg.vhp):
        (found,) = product(h, (x,), (v,))
        assert_close(found, H @ V, rtol=1e-10)
    third = gg.grad(lambda x: gg.sum(gg.hvp(h, (x,), (v,))[0] * v))(x)
    eps = 1e-5
    moved = [V @ gg.hessian(h)(gg.tensor(X + s * eps * np.eye(3)[i])).numpy() @ V for i in range(3) for s in (1, -1)]
    assert_close(third, [(moved[2 * i] - moved[2 * i + 1]) / (2 * eps) for i in range(3)], rtol=1e-6, atol=1e-8)


def test_trees_of_arguments_and_outputs():
    p = {"w": gg.tensor(A), "b": gg.tensor(np.zeros(4))}
    x = gg.tensor(X)
    loss = lambda p, x: gg.sum(gg.tanh(x @ p["w"] + p["b"]))
    g = gg.grad(loss)(p, x)
    assert_close(g["b"], S, rtol=1e-12)
    assert_close(g["w"], np.outer(X, S), rtol=1e-12)
    both = gg.grad(loss, argnums=(0, 1))(p, x)
    assert isinstance(both, tuple) and both[1].shape == (3,)
    value, again = gg.value_and_grad(loss, argnums=-1)(p, x)
    assert_close(again, both[1])
    assert_close(value, T.sum())
    jac = gg.jacrev(lambda p, x: {"y": x @ p["w"] + p["b"], "n": (gg.sum(p["b"]),)})(p, x)
    assert jac["y"]["w"].shape == (4, 3, 4) and jac["n"][0]["b"].shape == (4,)
    forward = gg.jacfwd(lambda p, x: {"y": x @ p["w"] + p["b"], "n": (gg.sum(p["b"]),)})(p, x)
    assert_close(forward["y"]["w"], jac["y"]["w"])
    assert_close(forward["n"][0]["b"], np.ones(4))
    hess = gg.hessian(loss)(p, x)
    assert hess["w"]["b"].shape == (3, 4, 4)


def test_auxiliary_data():
    x = gg.tensor(X)
    f2 = lambda x: (h(x), {"seen": x * 2})
    g, aux = gg.grad(f2, has_aux=True)(x)
    assert_close(aux["seen"], 2 * X)
    (_value, aux), g2 = gg.value_and_grad(f2, has_aux=True)(x)
    assert_close(g, g2)
    jac, aux = gg.jacrev(lambda x: (f(x), 3), has_aux=True)(x)
    assert_close(jac, J, rtol=1e-12)
    assert aux == 3
    _out, push, aux = gg.jvp(lambda x: (f(x), "a"), (x,), (gg.tensor(V),), has_aux=True)
    assert aux == "a"
    assert_close(push, J @ V, rtol=1e-12)


def test_vjp_and_linearize_may_be_called_again():
    x, v = gg.tensor(X), gg.tensor(V)
    out, pull = gg.vjp(f, x)
    for scale in (1.0, -2.0):
        (g,) = pull(gg.tensor(np.full(4, scale)))
        assert_close(g, scale * J.sum(0), rtol=1e-12)
    out2, push = gg.linearize(f, x)
    assert_close(out, out2)
    for scale in (1.0, 3.0):
        assert_close(push(v * scale), scale * (J @ V), rtol=1e-12)


def test_what_is_closed_over_is_not_the_argument():
    """Of the same tensor: an argument that f also closes over."""
    x = gg.tensor(X)
    assert_close(gg.grad(lambda y: gg.sum(y * x))(x), X)
    assert_close(gg.jacfwd(lambda y: y * x)(x), np.diag(X))
    with gg.GradientTape() as tape:
        tape.watch(x)
        g = gg.sum(gg.grad(lambda y: gg.sum(y * y * x))(x))
    assert_close(tape.gradient(g, x), 4 * X)


def test_zeros_where_nothing_leads():
    x = gg.tensor(X)
    one = lambda x: gg.tensor(np.float64(3))
    assert_close(gg.grad(one)(x), np.zeros(3))
    assert_close(gg.jacrev(lambda x: gg.tensor(A))(x), np.zeros((3, 4, 3)))
    assert_close(gg.jacfwd(lambda x: gg.tensor(A))(x), np.zeros((3, 4, 3)))
    _out, push = gg.jvp(one, (x,), (gg.tensor(V),))
    assert push.shape == () and float(push) == 0


@pytest.mark.parametrize("outer", [gg.jacrev, gg.jacfwd])
def test_nothing_to_differentiate_by(outer):
    none = gg.tensor(np.zeros((0, 2)))
    assert outer(lambda x: gg.sum(x) * gg.tensor(X))(none).shape == (3, 0, 2)
    assert outer(lambda x, p: f(x), argnums=1)(gg.tensor(X), {}) == {}
    assert outer(lambda x: (f(x), 3), argnums=(), has_aux=True)(gg.tensor(X)) == ((), 3)


def test_a_jacobian_is_of_one_draw():
    x = gg.ones(16)
    for chunk in (None, 5):
        by_x, by_w = gg.jacfwd(lambda x, w: nn.dropout(x * w, 0.5), argnums=(0, 1), chunk_size=chunk)(x, x)
        assert_close(by_x, by_w)
        assert set(np.diag(by_x.numpy())) == {0.0, 2.0}


def test_of_tensors_as_before():
    x = gg.tensor(X, requires_grad=True)
    (g,) = gg.grad(gg.sum(x * x), x)
    assert_close(g, 2 * X)


def test_per_sample_gradients():
    w, xs = gg.tensor(A), gg.tensor(rng.normal(size=(5, 3)))
    loss = lambda w, x: gg.sum(gg.tanh(x @ w) ** 2)
    found = gg.vmap(gg.grad(loss), in_axes=(None, 0))(w, xs)
    assert found.shape == (5, 3, 4)
    for i in range(5):
        assert_close(found[i], gg.grad(loss)(w, xs[i]), rtol=1e-12)


# ---------------------------------------------------------------------------------------------- Jacobians of tapes
DRAWN = "dropout", "random.dropout", "nn.dropout"  # draw anew


@pytest.mark.numpy
@pytest.mark.parametrize("row", [r for r in ROWS if not r.op.startswith(DRAWN)], ids=lambda r: r.name)
def test_jacobians_of_rows(row):
    """Many cotangents at once give what they give one by one."""
    ts = [gg.tensor(x) for x in inputs(row)]
    with gg.GradientTape(persistent=True) as tape:
        tape.watch(ts)
        y = row.f(*ts)
    found = tape.jacobian(y, ts, unconnected_gradients="zero", chunk_size=max(1, y.size))
    by_two = tape.jacobian(y, ts, unconnected_gradients="zero", chunk_size=2)
    some = sorted({0, y.size // 2, y.size - 1}) if y.size else []
    for i in some:
        seed = np.zeros(y.size, y.numpy().dtype)
        seed[i] = 1
        one = tape.gradient(y, ts, [gg.tensor(seed.reshape(y.shape))], unconnected_gradients="zero")
        for j, s in enumerate(ts):
            for jac in (found[j], by_two[j]):
                assert jac.shape == y.shape + s.shape
                part = jac.numpy().reshape(y.size, *s.shape)[i]
                np.testing.assert_allclose(part, one[j].numpy(), rtol=1e-9, atol=1e-10)


def test_a_chunk_fits_its_bound(monkeypatch):
    seen = []
    rows = chunks.walks
    monkeypatch.setattr(chunks, "walks", lambda pull, seeds, like: seen.append(len(seeds)) or rows(pull, seeds, like))
    x = gg.tensor(rng.normal(size=40))
    m = gg.tensor(rng.normal(size=(40, 30)))
    g = lambda x: gg.tanh(gg.tanh(x @ m) @ gg.tensor(A[0, 0] * np.eye(30)))
    whole = gg.jacrev(g)(x)
    assert seen == [30]
    seen.clear()
    assert_close(gg.jacrev(g, max_bytes=10_000)(x), whole, rtol=1e-12)
    assert 1 < len(seen) <= 30 and sum(seen) == 30 and max(seen) - min(seen) <= 1
    seen.clear()
    many = gg.tensor(rng.normal(size=1500))  # on the CPU a chunk stays in the cache
    jac = gg.jacrev(lambda x: gg.flip(x) * x)(many).numpy()
    assert sum(seen) == 1500
    assert (64 <= max(seen) <= chunks.CACHED // many.nbytes) == (many.device.kind == "cpu")
    np.testing.assert_allclose(jac, np.diag(many.numpy()[::-1]) + np.diag(many.numpy())[:, ::-1], rtol=1e-12)


def test_jacobians_by_forward_mode_keep_within_their_bound():
    x, m = gg.tensor(rng.normal(size=300)), gg.tensor(rng.normal(size=(300, 20)))
    f = lambda x, y: gg.tanh(gg.tanh(x @ m) * gg.sum(y))
    y = gg.tensor(rng.normal(size=2))
    whole = gg.jacrev(f, (0, 1))(x, y)
    seen = []
    run = transforms.vmap
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transforms, "vmap", lambda f: lambda v: seen.append(len(v)) or run(f)(v))
        for options in ({}, {"max_bytes": 50_000}, {"chunk_size": 70}):
            seen.clear()
            for a, b in zip(gg.jacfwd(f, (0, 1), **options)(x, y), whole):
                assert_close(a, b, rtol=1e-10)
            assert sum(seen) == 302 and (max(seen) == 300 if not options else max(seen) <= 150)
    with pytest.raises(ValueError, match=r"takes about [\d,]+ bytes .* max_bytes is 10: give [\d,]+ or more"):
        gg.jacfwd(f, max_bytes=10)(x, y)


@pytest.mark.parametrize("options", [{}, {"max_bytes": 1_000_000}, {"chunk_size": 200}])
def test_jacfwd_moves_running_statistics_once(options):
    x, moved = gg.tensor(rng.normal(size=(2, 300)).astype("float32")), []
    for run in (lambda b: b(x), lambda b: gg.jacfwd(b, **options)(x)):
        b = nn.BatchNorm(300)
        run(b)
        moved.append(b.running_mean.numpy())
    np.testing.assert_array_equal(*moved)
    if not options:
        assert gg.jacfwd(nn.Linear(None, 3))(x).shape == (2, 3, 2, 300)  # its first call


def test_a_bound_smaller_than_one_row_says_what_it_takes():
    x = gg.tensor(X)
    with pytest.raises(ValueError, match=r"takes about [\d,]+ bytes .* max_bytes is 10: give [\d,]+ or more"):
        gg.jacrev(f, max_bytes=10)(x)
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = f(x)
    with pytest.raises(ValueError, match="max_bytes is 1:"):
        tape.jacobian(y, x, max_bytes=1)


@pytest.mark.numpy
@pytest.mark.parametrize("share", [6, 2])
def test_a_bound_holds_what_is_taken_beside_the_result(share):
    m = [gg.tensor(rng.normal(size=(64, 64))) for _ in range(3)]
    x, layers = (
        gg.tensor(rng.normal(size=(8, 64))),
        (lambda x: gg.tanh(x @ m[0]), lambda x: gg.cumprod(x @ m[1], axis=1)),
    )
    for f in (*layers, lambda x: nn.softmax(layers[0](x) @ m[2], axis=-1)):
        with gg.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = f(x)
        bound = y.size * x.array.nbytes // share
        tape.jacobian(y, x, max_bytes=bound)
        tracemalloc.start()
        found = tape.jacobian(y, x, max_bytes=bound)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= found.array.nbytes + bound


@pytest.mark.parametrize("bad", [0, -1, "2", True, np.nan])
@pytest.mark.parametrize("option", ["chunk_size", "max_bytes"])
def test_a_chunk_is_a_number_from_one_on(option, bad):
    x = gg.tensor(X)
    for g in (f, gg.exp):  # by rows, and in one pass
        for make in (gg.jacrev, gg.jacfwd):
            with pytest.raises(ValueError, match=f"{option} is a number from 1 on"):
                make(g, **{option: bad})(x)
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = f(x)
    with pytest.raises(ValueError, match=f"{option} is a number from 1 on"):
        tape.jacobian(y, x, **{option: bad})


def test_auxiliary_data_leave_the_tape():
    x = gg.tensor(X)
    _, aux = gg.jacrev(lambda x: (f(x), x * 2), has_aux=True)(x)
    assert not aux.requires_grad


@pytest.mark.parametrize("ask", [{"max_bytes": 1}, {"chunk_size": 0}])
def test_a_call_that_refuses_its_arguments_does_not_use_the_tape_up(ask):
    x = gg.tensor(A)
    for name in ("jacobian", "batch_jacobian", "hessian"):
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = gg.tanh(x @ gg.tensor(A.T))
            y = gg.sum(y) if name == "hessian" else y
        with pytest.raises(ValueError, match="jacobian: "):
            getattr(tape, name)(y, x, **ask)
        assert getattr(tape, name)(y, x, max_bytes=float("inf"), chunk_size=np.int64(5)).shape[-2:] == A.shape


@pytest.mark.parametrize("f", [gg.exp, gg.flip])
def test_zeros_for_an_argument_that_is_not_used(f):
    x, w = gg.tensor(X), gg.tensor(V)
    by_x, by_w = gg.jacrev(lambda x, w: f(x), argnums=(0, 1))(x, w)
    assert_close(by_w, np.zeros((3, 3)))
    assert np.count_nonzero(by_x.numpy()) == 3
    with gg.GradientTape(persistent=True) as tape:
        tape.watch([x, w])
        y, z = f(x), gg.sum(f(x) ** 3) + gg.sum(w**3)
    assert_close(tape.jacobian(y, [x, w], unconnected_gradients="zero")[1], np.zeros((3, 3)))
    assert tape.jacobian(y, [x, w])[1] is None
    assert_close(tape.hessian(z, [x, w])[0][1], np.zeros((3, 3)))


def test_hooks_see_a_row_at_a_time():
    def f(x, more):
        y = x * 1.0
        y.register_hook(lambda g: g * gg.sum(g * gg.tensor(V)))
        return gg.exp(y) + more(x)

    x = gg.tensor(X)
    assert_close(gg.jacrev(lambda x: f(x, lambda x: 0 * x))(x), gg.jacrev(lambda x: f(x, lambda x: 0 * gg.flip(x)))(x))


def test_element_by_element_is_one_pass(monkeypatch):
    x = gg.tensor(X)
    monkeypatch.setattr(chunks, "walks", lambda *_: pytest.fail("rows were made"))
    assert_close(gg.jacrev(lambda x: gg.exp(x) * x)(x), np.diag(np.exp(X) * (1 + X)))
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = gg.sin(x)
    assert_close(tape.jacobian(y, x), np.diag(np.cos(X)))


@pytest.mark.parametrize("persistent", [False, True])
def test_hessians_of_tapes(persistent):
    x, w = gg.tensor(X), gg.tensor(A)
    with gg.GradientTape(persistent=persistent) as tape:
        tape.watch([x, w])
        y = gg.sum(gg.tanh(x @ w) ** 2)
        linear = gg.sum(x)
    found = tape.hessian(y, {"x": x, "w": w})
    assert_close(found["x"]["x"], H, rtol=1e-10)
    assert found["w"]["x"].shape == (3, 4, 3) and found["w"]["w"].shape == (3, 4, 3, 4)
    assert_close(found["w"]["x"], np.moveaxis(found["x"]["w"].numpy(), 0, -1), rtol=1e-10)
    if persistent:
        assert_close(tape.hessian(y, x, chunk_size=1), H, rtol=1e-10)
        assert_close(tape.gradient(y, x), gg.grad(h)(x), rtol=1e-12)
        assert_close(tape.hessian(linear, x), np.zeros((3, 3)))
        assert tape.hessian(linear, [w, x], unconnected_gradients="none")[0] == [None, None]
    else:
        assert tape.nbytes() == 0
        with pytest.raises(RuntimeError, match="can only be used"):
            tape.hessian(y, x)


def test_a_hessian_inside_the_tape_and_of_several_numbers():
    x = gg.tensor(X)
    with gg.GradientTape(persistent=True) as tape, gg.GradientTape() as inner:
        tape.watch(x)
        inner.watch(x)
        y = h(x)
        third = gg.sum(inner.hessian(y, x) * gg.tensor(np.outer(V, V)))
    expected = gg.grad(lambda x: gg.sum(gg.hvp(h, (x,), (gg.tensor(V),))[0] * gg.tensor(V)))(x)
    assert_close(tape.gradient(third, x), expected, rtol=1e-9)
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = f(x)
    with pytest.raises(ValueError, match=r"one number, not of shape \(4,\); sum it"):
        tape.hessian(y, x)
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = h(x)
    with pytest.raises(ValueError, match="max_bytes is 1:"):
        tape.hessian(y, x, max_bytes=1)


def test_jacobians_are_recorded_by_tapes_around():
    x = gg.tensor(X)
    with gg.GradientTape() as outer:
        outer.watch(x)
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = f(x)
        total = gg.sum(tape.jacobian(y, x) ** 2)
    eps = 1e-6
    value = lambda x: float(((1 - np.tanh(x @ A) ** 2)[:, None] ** 2 * A.T**2).sum())
    numeric = [(value(X + eps * e) - value(X - eps * e)) / (2 * eps) for e in np.eye(3)]
    assert_close(outer.gradient(total, x), numeric, rtol=1e-6, atol=1e-8)


# ---------------------------------------------------------------------------------------------- bad input
def test_bad_input():
    x = gg.tensor(X)
    with pytest.raises(ValueError, match=r"answers a scalar, not shape \(4,\)"):
        gg.grad(f)(x)
    with pytest.raises(TypeError, match="one scalar Tensor"):
        gg.grad(lambda x: 3.0)(x)
    with pytest.raises(ValueError, match="argnums is 2, and 1 arguments"):
        gg.grad(h, argnums=2)(x)
    with pytest.raises(TypeError, match="int32, which has no derivative"):
        gg.grad(h)(gg.tensor([1, 2, 3]))
    with pytest.raises(TypeError, match=r"answers \(output, auxiliary data\)"):
        gg.grad(h, has_aux=True)(x)
    for product in (gg.jvp, gg.hvp, gg.vhp):
        with pytest.raises(TypeError, match=rf"are tuples: gg.{product.__name__}\(f, \(x,\), \(v,\)\)"):
            product(h, x, x)
    with pytest.raises(ValueError, match="nest them alike"):
        gg.jvp(f, (x,), (x, x))
    with pytest.raises(ValueError, match=r"cotangent has shape \(3,\), and its output \(4,\)"):
        gg.vjp(f, x)[1](x)
    with pytest.raises(ValueError, match="vjp: the cotangents are"):
        gg.vjp(f, x)[1]([x])
    with pytest.raises(ValueError, match=r"linearize: a tangent has shape \(1,\), and its primal \(3,\)"):
        gg.linearize(f, x)[1](x[:1])
    with pytest.raises(ValueError, match="hvp: the tangents are"):
        gg.hvp(h, (x,), (x, x))
    for argnums in ((0, 0), (0, -1), [0, 0]):
        for ask in (gg.grad(h, argnums=argnums), gg.jacrev(f, argnums), gg.jacfwd(f, argnums)):
            with pytest.raises(ValueError, match="has an argument twice"):
                ask(x)
    for argnums in (None, "0", 0.0, True):
        with pytest.raises(TypeError, match="argnums is .*, no place of an argument"):
            gg.grad(h, argnums=argnums)
    assert_close(gg.grad(h, argnums=np.int64(0))(x), gg.grad(h)(x))
    with pytest.raises(TypeError, match="answers Tensors"):
        gg.jacrev(lambda x: "a")(x)


def test_no_imaginary_part_is_left_out_in_silence():
    x, c = gg.tensor(X), gg.tensor(X * 1j)
    for ask in (lambda: gg.vjp(gg.exp, x)[1](c), lambda: gg.vhp(h, (x,), (c,)), lambda: gg.linearize(f, x)[1](c)):
        with pytest.raises(ValueError, match="tangent is complex128, and its (output|primal) float64"):
            ask()
    turned = lambda x: x * (1 + 2j)
    with pytest.raises(TypeError, match="an argument is real and what the function answers complex"):
        gg.grad(lambda x: gg.sum(turned(x)))(x)
    for ask in (gg.jacrev(turned), gg.hessian(lambda x: gg.sum(turned(x)))):
        with pytest.raises(TypeError, match="of whose derivative a walk back has one half"):
            ask(x)
    assert_close(gg.jacfwd(turned)(x), np.eye(3) * (1 + 2j))
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = gg.exp(x)
    with pytest.raises(ValueError, match="output gradient is complex128 and its target float64"):
        tape.gradient(y, x, output_gradients=c)


@pytest.mark.parametrize("make", [gg.grad, gg.value_and_grad, gg.jacrev, gg.jacfwd, gg.hessian])
def test_arguments_beside_the_function_are_refused_at_once(make):
    name = make.__name__
    with pytest.raises(TypeError, match=rf"{name}: argnums is .*, no place .* gg.{name}\(f\)\(x\)"):
        make(h, gg.tensor(X))
    if make is not gg.grad:  # which takes Tensors, too
        with pytest.raises(TypeError, match=f"{name} takes a function, not array"):
            make(X)


def test_diagonal_jacobians_of_many_examples():
    x = np.stack([X, 2 * X])
    assert_close(gg.vmap(gg.jacrev(gg.square))(gg.tensor(x)), 2 * x[:, None] * np.eye(3))


@pytest.mark.parametrize("product", [gg.hvp, gg.vhp])
def test_products_with_a_hessian_say_who_wants_a_scalar(product):
    with pytest.raises(ValueError, match=rf"{product.__name__}: the function answers a scalar, not shape \(4,\)"):
        product(f, (gg.tensor(X),), (gg.tensor(V),))
