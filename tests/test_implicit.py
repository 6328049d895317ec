"""gg.implicit: solutions of equations, and their derivatives of every order."""

import gc
import warnings
import weakref

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.tensorflow as tf
import gpugrad.torch as torch
from gpugrad import implicit
from gpugrad.implicit import equation
from gpugrad.testing import assert_close, check_grads

pytestmark = pytest.mark.devices


def values(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s) for s in shapes]


def regular(n, seed=0):
    """A matrix that is not symmetric, and far from singular."""
    return values((n, n), seed=seed)[0] + 3 * np.sqrt(n) * np.eye(n)


@pytest.fixture(params=["dense", "products"])
def systems(request, monkeypatch):
    """How linear systems are solved."""
    if request.param == "products":
        monkeypatch.setattr(equation, "DENSE", 0)
        monkeypatch.setattr(equation, "WRITTEN", 0)


# ---------------------------------------------------------------------------------------------- closed forms
def test_square_root_has_derivatives_of_all_orders():
    a = gg.tensor(2.0, dtype="float64", requires_grad=True)
    d = implicit.root(lambda x, a: x * x - a, gg.tensor(1.0, dtype="float64"), a)
    expected = 2.0**0.5
    for n in range(5):
        assert_close(d, expected, rtol=1e-10)
        expected *= (0.5 - n) / 2.0
        if n < 4:
            (d,) = gg.grad(d, a, create_graph=True)


def test_a_linear_system_has_the_gradient_of_solve(systems):
    a, b, w = [gg.tensor(v, requires_grad=True) for v in (regular(6), *values(6, 6))]
    x = implicit.root(lambda x, a, b: a @ x - b, gg.zeros_like(b), a, b)
    y = gg.linalg.solve(a, b)
    assert_close(x, y, rtol=1e-10)
    for ours, theirs in zip(gg.grad(gg.sum(x * w), [a, b, w]), gg.grad(gg.sum(y * w), [a, b, w])):
        assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


def test_ridge_regression_and_the_gradient_of_its_hyperparameter(systems):
    a, b = [gg.tensor(v) for v in values((8, 4), 8)]
    ridge = gg.tensor(0.3, dtype="float64", requires_grad=True)
    w = implicit.argmin(lambda w, r: gg.sum((a @ w - b) ** 2) + r * gg.sum(w * w), gg.zeros(4, dtype="float64"), ridge)
    formula = gg.linalg.solve(a.T @ a + ridge * gg.eye(4, dtype="float64"), a.T @ b)
    assert_close(w, formula, rtol=1e-9)
    c = gg.tensor(values(4, seed=1)[0])
    assert_close(*[gg.grad(gg.sum(x * c), ridge)[0] for x in (w, formula)], rtol=1e-8)


def test_a_deep_equilibrium_is_the_limit_of_its_unrolled_layers(systems):
    w, x = [gg.tensor(v, requires_grad=True) for v in (values((5, 5))[0] * 0.2, values((3, 5))[0])]
    layer = lambda z, x: gg.tanh(z @ w + x)  # w by its name
    z = implicit.fixed_point(layer, gg.zeros((3, 5), dtype="float64"), x)
    unrolled = gg.zeros((3, 5), dtype="float64")
    for _ in range(120):
        unrolled = layer(unrolled, x)
    assert_close(z, unrolled, rtol=1e-9, atol=1e-11)
    for ours, theirs in zip(gg.grad(gg.sum(z**2), [w, x]), gg.grad(gg.sum(unrolled**2), [w, x])):
        assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


def test_more_unknowns_than_are_written_out():
    n = 2 * equation.DENSE
    a, b = [gg.tensor(v, requires_grad=True) for v in (regular(n) / n, values(n)[0])]
    x = implicit.root(lambda x: a @ x + 0.1 * gg.sin(x) - b, gg.zeros_like(b))
    ours = gg.grad(gg.sum(x * x), [a, b])
    j = a.numpy() + 0.1 * np.diag(np.cos(x.numpy()))
    u = np.linalg.solve(j.T, 2 * x.numpy())
    assert_close(ours[1], u, rtol=1e-6, atol=1e-8)
    assert_close(ours[0], -np.outer(u, x.numpy()), rtol=1e-6, atol=1e-8)


def test_many_equations_beside_each_other():
    """Their Jacobian is written out in blocks, in as many walks as a block has rows; its condition does not matter."""
    a = gg.tensor(np.logspace(-6, 6, 5000), requires_grad=True)
    calls = []

    def f(x, a):
        calls.append(1)
        return x**3 - a

    x = implicit.root(f, gg.ones_like(a) * a**0.5, a)
    assert_close(x, a.numpy() ** (1 / 3), rtol=1e-10)
    assert len(calls) < 60
    (g,) = gg.grad(gg.sum(x), a, create_graph=True)
    assert_close(g, a.numpy() ** (-2 / 3) / 3, rtol=1e-10)
    assert_close(gg.grad(gg.sum(g), a)[0], -2 / 9 * a.numpy() ** (-5 / 3), rtol=1e-10)


def test_many_small_systems():
    """By the first axis, in a nest with complex numbers; with one more term they are no longer apart."""
    scale = gg.tensor(np.logspace(-3, 3, 50), requires_grad=True)
    b, m = gg.tensor(values((50, 2))[0]), gg.tensor(regular(2))
    z0 = {"x": gg.zeros((50, 2), dtype="float64"), "z": gg.zeros(50, dtype="complex128")}

    def f(v, scale, coupling):
        x, z = v["x"], v["z"]
        first = (x @ m + 0.1 * gg.sin(x)) * gg.expand_dims(scale, -1) - b + coupling * gg.mean(x)
        return {"x": first, "z": z * (2 + 1j) + gg.conj(z) - x[:, 0] - scale}

    found = []
    for coupling in (0.0, 1e-9):
        v = implicit.root(f, z0, scale, coupling)
        found.append(gg.grad(gg.sum(v["x"]) + gg.sum(gg.imag(v["z"])), scale)[0])
    assert_close(found[0], found[1], rtol=1e-5)
    step = 1e-6 * scale.detach()
    moved = [implicit.root(f, z0, scale.detach() + s * step, 0.0) for s in (1, -1)]
    sums = [v["x"].numpy().sum(1) + v["z"].numpy().imag for v in moved]
    assert_close(found[0], (sums[0] - sums[1]) / (2 * step.numpy()), rtol=1e-5, atol=1e-7)


@pytest.mark.numpy
def test_more_unknowns_whose_system_products_do_not_solve():
    """Bratu's equation u'' + c exp(u) = 0 on 300 points: condition 4e4."""
    n, c = 300, gg.tensor(1.0, dtype="float64", requires_grad=True)

    def f(u, c):
        edge = gg.zeros(1, dtype="float64")
        u = gg.concat([edge, u, edge])
        return (u[2:] - 2 * u[1:-1] + u[:-2]) * (n + 1) ** 2 + c * gg.exp(u[1:-1])

    u = implicit.root(f, gg.zeros(n, dtype="float64"), c)
    assert_close(gg.max(u), 0.140539, rtol=1e-4)
    j = np.diag(np.exp(u.numpy()) - 2.0 * (n + 1) ** 2)
    j += (np.eye(n, k=1) + np.eye(n, k=-1)) * (n + 1) ** 2
    assert_close(gg.grad(gg.sum(u), c)[0], -np.linalg.solve(j, np.exp(u.numpy())).sum(), rtol=1e-9)


# ---------------------------------------------------------------------------------------------- every order
CASES = {
    "root": (lambda a, b: implicit.root(lambda x: gg.sin(x) * 0.1 + a @ x - b, b * 0.0), (regular(4), *values(4))),
    "fixed_point": (
        lambda a, b: implicit.fixed_point(lambda z, a, b: gg.tanh(0.05 * a @ z + b), b * 0.0, a, b),
        (regular(4), *values(4)),
    ),
    "argmin": (
        lambda a, b: implicit.argmin(lambda z, a: gg.sum((a @ z - b) ** 4) + gg.sum(z * z), b * 0.0, a),
        (regular(3), *values(3)),
    ),
    "complex": (
        lambda a, b: implicit.root(lambda z: z * z * z + gg.conj(z) * a - b, b),
        (np.array(0.3 + 0.1j), np.array(1.0 + 2.0j)),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_against_central_differences(case, systems):
    f, args = CASES[case]
    check_grads(f, args, order=2)


@pytest.mark.numpy
def test_third_order_against_central_differences(systems):
    for f, args in CASES.values():
        check_grads(f, args, order=3, modes=("rev",))


def test_a_solution_inside_another():
    """The inner minimum is read by the outer equation, whose Jacobian is that of the minimum."""

    def f(a, b):
        inner = lambda y: implicit.argmin(lambda x: gg.sum(gg.cosh(x - y) + a * x * x), gg.zeros_like(b))
        return implicit.root(lambda y: y + inner(y) - b, gg.zeros_like(b))

    check_grads(f, [np.array(0.7), *values(2)], order=2)


# ---------------------------------------------------------------------------------------------- trees
def test_trees_of_several_dtypes():
    a, b = gg.tensor([4.0, 9.0], requires_grad=True), gg.tensor(1.0 - 2.0j, dtype="complex128", requires_grad=True)
    f = lambda x: {"p": [x["p"][0] ** 2 - a], "q": x["q"] * (1 + 1j) - b}
    x = implicit.root(f, {"p": [gg.ones(2)], "q": gg.tensor(0j, dtype="complex128")})
    assert x["p"][0].dtype == gg.float32
    assert x["q"].dtype == gg.complex128
    assert_close(x["p"][0], np.array([2.0, 3.0], np.float32), rtol=1e-5)
    assert_close(x["q"], (1 - 2j) / (1 + 1j), rtol=1e-12)
    assert_close(gg.grad(gg.sum(x["p"][0]), a, retain_graph=True)[0], np.array([0.25, 1 / 6], np.float32), rtol=1e-5)
    assert_close(gg.grad(gg.real(x["q"]), b)[0], np.conj(1 / (1 + 1j)), rtol=1e-10)


def test_numbers_and_arrays_are_taken_as_tensors():
    assert_close(implicit.root(lambda x: x**3 - 8.0, 1.0), np.float32(2.0), rtol=1e-5)
    x = implicit.fixed_point(lambda x: gg.cos(x), np.ones(2))
    assert x.dtype == gg.float64
    assert_close(x, np.full(2, 0.7390851332151607), rtol=1e-11)


# ---------------------------------------------------------------------------------------------- who is differentiated
def test_what_f_finds_elsewhere_gets_its_gradient():
    gg.random.seed(0)
    layer = gg.nn.Linear(3, 3)
    layer.weight.array = layer.weight.array * 0.3
    v = gg.Variable(values(3)[0].astype("float32"))
    with gg.GradientTape() as tape:
        loss = gg.sum(implicit.fixed_point(lambda z: gg.tanh(layer(z)) + v, gg.zeros(3)) ** 2)
    grads = tape.gradient(loss, [layer.weight, layer.bias, v])
    implicit.fixed_point(lambda z: gg.tanh(layer(z)) + v, gg.zeros(3)).sum().backward()
    assert layer.weight.grad is not None
    z = gg.zeros(3)
    with gg.GradientTape() as tape:
        for _ in range(60):
            z = gg.tanh(layer(z)) + v
        loss = gg.sum(z**2)
    for ours, theirs in zip(grads, tape.gradient(loss, [layer.weight, layer.bias, v])):
        assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_what_depends_on_no_unknown_is_differentiated_too():
    """The exponential inside f is no part of the Jacobian's graph, and lies between x and a."""
    a = gg.tensor(0.5, dtype="float64", requires_grad=True)
    x = implicit.root(lambda x: x * gg.exp(a) - gg.sin(a), gg.zeros_like(a))
    assert_close(gg.grad(x, a)[0], np.exp(-0.5) * (np.cos(0.5) - np.sin(0.5)), rtol=1e-10)


def test_x0_and_what_is_not_watched_have_no_gradient():
    a, x0 = gg.tensor(2.0, dtype="float64"), gg.tensor(1.0, dtype="float64")
    with gg.GradientTape() as tape:
        tape.watch([a, x0])
        x = implicit.root(lambda x, a: x * x - a, x0, a)
    got = tape.gradient(x, [a, x0])
    assert got[1] is None
    assert_close(got[0], 0.5 / 2**0.5)
    with gg.GradientTape(watch_accessed_variables=False) as tape:
        x = implicit.root(lambda x, a: x * x - a, x0, a)
    assert x.node is None
    with gg.no_grad():
        a.requires_grad_()
        assert not implicit.root(lambda x, a: x * x - a, x0, a).requires_grad


def test_nested_and_persistent_tapes_and_jacobians():
    a, b = [gg.Variable(v) for v in (regular(3), values(3)[0])]
    solve = lambda: implicit.root(lambda x: a @ x + x**3 - b, gg.zeros(3, dtype="float64"))
    with gg.GradientTape() as outer:
        with gg.GradientTape() as inner:
            loss = gg.sum(solve() ** 2)
        g = inner.gradient(loss, b)
    second = outer.jacobian(g, b)
    with gg.GradientTape(persistent=True) as tape:
        x = solve()
    assert_close(tape.gradient(x, b), tape.gradient(x, b))
    j = np.linalg.inv(a.numpy() + np.diag(3 * x.numpy() ** 2))
    assert_close(tape.jacobian(x, b), j, rtol=1e-9, atol=1e-12)
    # d2/db2 of x.x = 2 j.T j - 2 j.T diag((j.T x) 6 x) j
    expected = 2 * j.T @ j - 2 * j.T @ np.diag((j.T @ x.numpy()) * 6 * x.numpy()) @ j
    assert_close(second, expected, rtol=1e-8, atol=1e-11)


def test_hooks_on_what_f_reads_are_called_once():
    a, seen = gg.tensor(4.0, requires_grad=True), []
    a.register_hook(lambda g: seen.append(float(g)))
    implicit.root(lambda x: x * x - a, gg.tensor(1.0)).backward()
    assert seen == [pytest.approx(0.25, rel=1e-5)]


def test_through_the_front_doors():
    v = tf.Variable([2.0, 3.0])
    with tf.GradientTape() as tape:
        x = implicit.root(lambda x: tf.square(x) - v, tf.ones(2))
    assert isinstance(x, tf.Tensor)
    assert_close(tape.gradient(x, v), 0.5 / np.sqrt(np.array([2, 3], "float32")), rtol=1e-5)
    a = torch.tensor([2.0, 3.0], requires_grad=True)
    x = implicit.argmin(lambda x: ((x - a) ** 2).sum() + torch.exp(x).sum(), torch.zeros(2))
    assert isinstance(x, torch.Tensor)
    x.sum().backward()
    assert_close(a.grad, (2 / (2 + np.exp(x.detach().numpy()))).astype("float32"), rtol=1e-5)


def test_a_checkpoint_inside_and_around():
    a, b = [gg.tensor(v, requires_grad=True) for v in (regular(3), values(3)[0])]
    f = lambda x, a, b: gg.sin(x) * 0.1 + a @ x - b
    plain = lambda a, b: implicit.root(f, gg.zeros_like(b), a, b)
    ways = [plain, lambda a, b: implicit.root(gg.checkpoint(f), gg.zeros_like(b), a, b), gg.checkpoint(plain)]
    found = []
    for way in ways:
        (g,) = gg.grad(gg.sum(way(a, b) ** 2), b, create_graph=True)
        found.append([g, *gg.grad(gg.sum(g**2), [a, b])])
    for other in found[1:]:
        for x, y in zip(found[0], other):
            assert_close(x, y, rtol=1e-9, atol=1e-11)


def test_a_change_of_what_f_read_does_not_change_the_gradient():
    v = gg.Parameter(np.array(4.0))
    x = implicit.root(lambda x: x * v - 1.0, gg.tensor(1.0, dtype="float64"))
    v.array = v.array * 10
    x.backward()
    assert_close(v.grad, -1 / 16.0, rtol=1e-10)


# ---------------------------------------------------------------------------------------------- solvers
def test_a_solver_of_ones_own():
    calls = []

    def bisect(f, x0, a):
        low, high = gg.zeros_like(x0), a + 1.0
        for _ in range(60):
            middle = (low + high) / 2.0
            below = f(middle, a) < 0
            low, high = gg.where(below, middle, low), gg.where(below, high, middle)
            calls.append(1)
        return low

    a = gg.tensor([2.0, 3.0], dtype="float64", requires_grad=True)
    x = implicit.root(lambda x, a: x * x - a, gg.ones(2, dtype="float64"), a, solver=bisect)
    assert len(calls) == 60
    assert_close(gg.grad(gg.sum(x), a)[0], 0.5 / np.sqrt([2, 3]), rtol=1e-10)


def test_newton_needs_its_line_search():
    assert_close(implicit.root(lambda x: gg.atan(x), gg.tensor(5.0, dtype="float64")), 0.0, atol=1e-12)
    assert_close(implicit.root(lambda x: gg.log(x) - 3.0, gg.tensor(100.0, dtype="float64")), np.exp(3.0), rtol=1e-10)
    assert_close(implicit.root(lambda x: gg.exp(x) - 1e-3, gg.tensor(8.0, dtype="float64")), np.log(1e-3), rtol=1e-10)


def test_a_root_does_not_depend_on_the_units_of_f():
    for scale in (1e-30, 1e-8, 1e12):
        x = implicit.root(lambda x, s=scale: (x * x - 2.0) * s, gg.tensor(1.0, dtype="float64"))
        assert_close(x, 2**0.5, rtol=1e-12)


def rosenbrock(x):
    return gg.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


MINIMA = {  # Moré, Garbow & Hillstrom 1981, but for the last three: what is minimized, from where, the minimum
    "Rosenbrock": (rosenbrock, [-1.2, 1.0], [1.0, 1.0]),
    "Beale": (
        lambda x: sum((c - x[0] * (1 - x[1] ** n)) ** 2 for n, c in ((1, 1.5), (2, 2.25), (3, 2.625))),
        [1.0, 1.0],
        [3.0, 0.5],
    ),
    "Wood": (
        lambda x: (
            100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2 + 90 * (x[3] - x[2] ** 2) ** 2 + (1 - x[2]) ** 2
            + 10 * (x[1] + x[3] - 2) ** 2 + 0.1 * (x[1] - x[3]) ** 2
        ),
        [-3.0, -1.0, -3.0, -1.0],
        [1.0, 1.0, 1.0, 1.0],
    ),
    "Powell singular": (
        lambda x: (
            (x[0] + 10 * x[1]) ** 2 + 5 * (x[2] - x[3]) ** 2 + (x[1] - 2 * x[2]) ** 4 + 10 * (x[0] - x[3]) ** 4
        ),
        [3.0, -1.0, 0.0, 1.0],
        [0.0, 0.0, 0.0, 0.0],
    ),
    "Brown badly scaled": (
        lambda x: (x[0] - 1e6) ** 2 + (x[1] - 2e-6) ** 2 + (x[0] * x[1] - 2) ** 2,
        [1.0, 1.0],
        [1e6, 2e-6],
    ),
    "flat far away": (lambda x: gg.sum(gg.log(gg.cosh(x - 3))), [10.0, -10.0], [3.0, 3.0]),
    "much above zero": (lambda x: gg.sum((x - 2) ** 2) + 1e6, [0.0, 10.0], [2.0, 2.0]),
    "beside a saddle": (lambda x: x[0] ** 2 - x[1] ** 2 + x[1] ** 4, [1.0, 1e-3], [0.0, 0.5**0.5]),
}  # fmt: skip


@pytest.mark.numpy
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MINIMA)
def test_argmin_of_hard_functions(name, dtype):
    f, x0, expected = MINIMA[name]
    x = implicit.argmin(f, gg.tensor(x0, dtype=dtype))
    tolerance = 1e-4 if dtype == "float32" else 1e-9
    assert_close(x, np.array(expected, dtype), rtol=tolerance, atol=tolerance)


ROOTS = {
    "Powell badly scaled": (
        lambda x: gg.stack([1e4 * x[0] * x[1] - 1, gg.exp(-x[0]) + gg.exp(-x[1]) - 1.0001]),
        [0.0, 1.0],
        [1.098159e-5, 9.106146],
    ),
    "Freudenstein and Roth": (
        lambda x: gg.stack([-13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1], -29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1]]),
        [6.0, 3.0],
        [5.0, 4.0],
    ),
    "helical valley": (
        lambda x: gg.stack(
            [10 * (x[2] - 5 * gg.atan2(x[1], x[0]) / np.pi), 10 * (gg.sqrt(x[0] ** 2 + x[1] ** 2) - 1), x[2]]
        ),
        [-1.0, 0.01, 0.0],
        [1.0, 0.0, 0.0],
    ),
    "a double root": (lambda x: x * x, [1.0], [0.0]),
    "an infinite slope": (lambda x: gg.cbrt(x - 1), [0.5], [1.0]),
}


@pytest.mark.numpy
@pytest.mark.parametrize("name", ROOTS)
def test_roots_of_hard_functions(name):
    f, x0, expected = ROOTS[name]
    assert_close(implicit.root(f, gg.tensor(x0, dtype="float64")), np.array(expected), rtol=1e-6, atol=1e-9)


def test_a_fixed_point_where_plain_iteration_does_not_converge():
    x = implicit.fixed_point(lambda x: 3.0 - 2.5 * x, gg.tensor([0.0, 5.0], dtype="float64"))
    assert_close(x, np.full(2, 3 / 3.5), rtol=1e-10)


def test_a_slow_contraction_is_accelerated():
    a, calls = gg.tensor(np.diag(np.linspace(0.5, 0.999, 5))), []

    def g(x):
        calls.append(1)
        return a @ x + 1.0

    x = implicit.fixed_point(g, gg.zeros(5, dtype="float64"))
    assert_close(x, 1 / (1 - np.linspace(0.5, 0.999, 5)), rtol=1e-7)
    assert len(calls) < 60


# ---------------------------------------------------------------------------------------------- memory
def test_what_is_kept_does_not_grow_with_the_steps():
    w = gg.tensor(0.5, requires_grad=True)

    def kept(start):
        calls = []

        def g(z):
            calls.append(1)
            return gg.tanh(z * w) + 1.0

        with gg.GradientTape(persistent=True) as tape:
            tape.watch(w)
            implicit_z = implicit.fixed_point(g, gg.full((1000,), start))
        assert implicit_z.node is not None
        return tape.nbytes(), len(calls)

    (near, few), (far, many) = kept(1.6), kept(500.0)
    assert many > few
    assert near == far


@pytest.mark.numpy
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("solve", [implicit.root, implicit.fixed_point, implicit.argmin])
def test_nothing_is_left_behind(solve, order, systems):
    gc.collect()
    gc.disable()
    try:
        a = gg.Parameter(np.array([0.5, 0.2, 0.3]))
        f = lambda x, a: gg.sum((x - a) ** 4 + x * x) if solve is implicit.argmin else gg.tanh(x) * a + a - 2.0 * x
        x = solve(f, gg.zeros(3, dtype="float64"), a)
        gone = [weakref.ref(x), weakref.ref(f)]
        (g,) = gg.grad(gg.sum(x), a, create_graph=order > 1)
        if order > 1:
            gg.grad(gg.sum(g), a)
        del x, g
        with gg.GradientTape() as outer:
            with gg.GradientTape() as inner:
                x = solve(f, gg.zeros(3, dtype="float64"), a)
            g = inner.gradient(x, a)
        if order > 1:
            outer.gradient(g, a)
        gone.append(weakref.ref(x))
        del x, f, g, inner, outer
        assert [r() for r in gone] == [None] * 3
    finally:
        gc.enable()


# ---------------------------------------------------------------------------------------------- what is refused
def test_other_shapes_name_both():
    with pytest.raises(ValueError, match=r"root: f answers the shape \(2,\), and not that of x, \(3,\)"):
        implicit.root(lambda x: x[:2], gg.zeros(3))
    with pytest.raises(ValueError, match=r"fixed_point: g answers .* in the nest .* where x is"):
        implicit.fixed_point(lambda x: [x["a"]], {"a": gg.zeros(3)})
    with pytest.raises(ValueError, match=r"argmin: f answers float32 of shape \(3,\).*gg\.sum"):
        implicit.argmin(lambda x: x * x, gg.zeros(3))
    with pytest.raises(ValueError, match=r"root: solver answers the shape \(2,\)"):
        implicit.root(lambda x: x, gg.zeros(3), solver=lambda f, x: x[:2])


def test_what_is_no_tensor_is_refused():
    with pytest.raises(TypeError, match="outside of gpugrad"):
        implicit.root(lambda x: np.ones(3), gg.zeros(3))
    with pytest.raises(TypeError, match="one number as a Tensor, not float"):
        implicit.argmin(lambda x: 1.0, gg.zeros(3))
    with pytest.raises(ValueError, match="has none"):
        implicit.root(lambda x: x, [])
    with pytest.raises(ValueError, match="does not depend on x"):
        implicit.argmin(lambda x: gg.sum(gg.stop_gradient(x) ** 2), gg.ones(3))


def test_changes_in_place_are_refused():
    x0 = torch.tensor([1.0, 2.0])
    for solve in (implicit.root, implicit.fixed_point):
        with pytest.raises(RuntimeError, match="changed? in place"):
            solve(lambda x: x.mul_(0.5), x0)
    assert x0.tolist() == [1.0, 2.0]


def test_x0_and_the_answer_share_no_memory():
    x0 = torch.tensor([1.0, 2.0])
    x = implicit.root(lambda x: x - x0.clone(), x0, solver=lambda f, x: x.add_(0.0))
    y = implicit.root(lambda x: x - torch.tensor([1.0, 2.0]), x0)
    x0.add_(1.0)
    assert x.tolist() == y.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("dtype", ["int32", "float16", "bfloat16", "bool"])
def test_dtypes_that_are_too_coarse(dtype):
    with pytest.raises(TypeError, match=rf"x0 of {dtype} is too coarse.*astype\(gg.float32\)"):
        implicit.root(lambda x: x, gg.zeros(3).astype(dtype))


def test_answers_of_a_wrong_dtype():
    with pytest.raises(TypeError, match="answers complex64 for an x of float32"):
        implicit.root(lambda x: x * 1j, gg.zeros(3))
    with pytest.raises(TypeError, match="answers int32 for an x of float32"):
        implicit.root(lambda x: x.astype("int32"), gg.ones(3))


def test_options_are_checked():
    f, x = lambda x: x, gg.zeros(3)
    for options, words in [
        ({"on_failure": "ignore"}, "'raise' or 'warn', not 'ignore'"),
        ({"rtol": -1.0}, "rtol is a number from 0"),
        ({"atol": "small"}, "atol is a number from 0"),
        ({"rtol": True}, "rtol is a number from 0"),
        ({"max_iter": 0}, "max_iter is a whole number from 1"),
        ({"rtol": 1e-3, "solver": lambda f, x: x}, "give them to yours"),
    ]:
        with pytest.raises(ValueError, match=words):
            implicit.root(f, x, **options)
    assert implicit.root(f, x, max_iter=np.int64(5)).shape == (3,)
    with pytest.raises(TypeError, match="solver is a function"):
        implicit.root(f, x, solver="newton")


def test_not_finite_at_the_start():
    for solve in (implicit.root, implicit.fixed_point):
        with pytest.raises(ValueError, match="not finite after 0 steps"):
            solve(lambda x: gg.log(x), gg.tensor(-1.0))
    with pytest.raises(ValueError, match="not finite after 0 steps"):
        implicit.argmin(lambda x: gg.sqrt(x), gg.tensor(0.0))
    with pytest.raises(ValueError, match="answers an x that is not finite"):
        implicit.root(lambda x: x, gg.zeros(3), solver=lambda f, x: x + np.nan)


def test_no_convergence_tells_what_was_reached():
    with pytest.raises(implicit.NoConvergence, match=r"root has not converged: .*residual is 1\.0e\+00") as e:
        implicit.root(lambda x: x * x + 1.0, gg.tensor(0.5, dtype="float64"))
    assert e.value.residual == pytest.approx(1.0, rel=0.1)
    assert e.value.x.shape == ()
    with pytest.raises(implicit.NoConvergence, match="7 steps were not enough"):
        implicit.fixed_point(lambda x: x + 1.0, gg.tensor(0.5), max_iter=7)
    with pytest.raises(implicit.NoConvergence, match="not least"):
        implicit.argmin(lambda x: -gg.sum(x * x), gg.zeros(3))
    with pytest.raises(implicit.NoConvergence, match="without bound"):
        implicit.argmin(lambda x: gg.sum(x), gg.zeros(3))
    with pytest.warns(RuntimeWarning, match="fixed_point has not converged"):
        x = implicit.fixed_point(lambda x: 0.5 * x + 1.0, gg.zeros(2), max_iter=2, on_failure="warn", rtol=1e-9)
    assert x.shape == (2,)


def test_singular_jacobians_are_errors(systems):
    with pytest.raises((np.linalg.LinAlgError, implicit.NoConvergence), match="singular"):
        implicit.root(lambda x: x * 0.0 + 1.0, gg.zeros(3))
    a = gg.tensor(1.0, requires_grad=True)
    x = implicit.root(lambda x: (x[0] + x[1] - a) * gg.ones(2), gg.ones(2), solver=lambda f, x: x * 0.5)
    with pytest.raises((np.linalg.LinAlgError, implicit.NoConvergence), match="singular"):
        gg.sum(x * gg.tensor([1.0, 2.0])).backward()
    x = implicit.argmin(lambda x: (x[0] + x[1] - a) ** 2, gg.ones(2))
    with pytest.raises(np.linalg.LinAlgError, match="ridge"):
        gg.sum(x * gg.tensor([1.0, 2.0])).backward()
    assert a.grad is None


def test_a_jacobian_may_be_badly_scaled():
    """Rows and columns in units of their own are no singular matrix."""
    a = gg.tensor([1.0, 2.0], dtype="float64", requires_grad=True)
    s = gg.tensor([1e-12, 1e12])
    x = implicit.root(lambda x: (x * s - a) * s, gg.zeros(2, dtype="float64"))
    assert_close(gg.grad(gg.sum(x), a)[0], 1 / s.numpy().astype("float64"), rtol=1e-10)
    x = implicit.argmin(lambda x: gg.sum((x * s - a) ** 2), gg.zeros(2, dtype="float64"))
    assert_close(gg.grad(gg.sum(x), a)[0], 1 / s.numpy().astype("float64"), rtol=1e-6)


@pytest.mark.numpy
def test_small_and_large_cotangents_stay_in_range():
    a = gg.tensor(np.full(300, 2.0, "float32"), requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scale in (1e-30, 1e30):
            x = implicit.root(lambda x: x * a - 1.0, gg.ones(300))
            (g,) = gg.grad(x, a, gg.full((300,), scale))
            assert_close(g, np.full(300, -0.25 * scale, "float32"), rtol=1e-4, atol=0)


@pytest.mark.numpy
def test_inference_mode():
    x = gg.ones(2)
    with gg.autograd.inference_mode():
        assert_close(implicit.fixed_point(lambda x: gg.cos(x), x), np.full(2, 0.7390851, np.float32), rtol=1e-5)
        with pytest.raises(RuntimeError, match=r"use no_grad\(\)"):
            implicit.root(lambda x: x - 1.0, x)


@pytest.mark.parametrize("way", ["tape", "graph"])
def test_f_may_differentiate(way):
    """A stationary point as a root, and derivatives of it to the second order."""

    def slope(x, a):
        if way == "graph":
            x = x * 1.0
            with gg.enable_grad():
                return gg.grad(gg.sum(gg.cosh(x - a) + a * x * x), x, create_graph=True)[0]
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = gg.sum(gg.cosh(x - a) + a * x * x)
        return tape.gradient(y, x)

    check_grads(lambda a: implicit.root(slope, gg.zeros_like(a), a), [np.array([0.5, 1.5])], order=2)


def test_graph_and_tape_mixed():
    """What is on the graph of tensors stays there where a tape that does not know it is open."""
    a = gg.tensor(4.0, requires_grad=True)
    b = a * 1.0
    with gg.GradientTape() as tape:
        v = gg.Variable(1.0)
        x = implicit.root(lambda x: x * x - b, gg.tensor(1.0))
        y = implicit.root(lambda x: x * v - b, gg.tensor(1.0))
    assert tape.gradient(x, v) is None
    x.backward()
    assert_close(a.grad, np.float32(0.25), rtol=1e-5)
    assert y.node is not None


def test_hooks_on_saved_tensors_and_explanations():
    a, x0 = gg.tensor(4.0, requires_grad=True), gg.tensor(1.0)
    f = lambda x: x * x - a
    with gg.save_on_cpu():
        x = implicit.root(f, x0)
    assert_close(gg.grad(x, a)[0], np.float32(0.25), rtol=1e-5)
    with gg.GradientTape(explain=True) as tape:
        x = implicit.root(f, x0)
    assert tape.gradient(x, x0) is None
    with gg.detect_anomaly():
        implicit.root(f, x0).backward()
    assert_close(a.grad, np.float32(0.25), rtol=1e-5)


def test_no_unknowns():
    x = gg.zeros((0, 3))
    assert implicit.root(lambda x: x * 2.0, x).shape == (0, 3)
    assert implicit.fixed_point(lambda x: x * 2.0, x).shape == (0, 3)
    assert implicit.argmin(lambda x: gg.sum(x), x).shape == (0, 3)


def test_an_optimizer_as_the_solver():
    """The solver runs without recording; what it differentiates, it records itself."""

    def lbfgs(f, x0, *args):
        x = gg.Variable(x0)
        opt = gg.optim.LBFGS(
            [x], max_iter=100, tolerance_grad=1e-11, tolerance_change=0.0, line_search_fn="strong_wolfe"
        )

        def closure():
            with gg.GradientTape() as tape:
                loss = f(x, *args)
            return loss, tape.gradient(loss, [x])

        opt.step(closure)
        return x

    a = gg.tensor([0.5, 2.0], dtype="float64", requires_grad=True)
    f = lambda x, a: rosenbrock(x) + gg.sum(a * x * x)
    x0 = gg.zeros(2, dtype="float64")
    ours, theirs = implicit.argmin(f, x0, a), implicit.argmin(f, x0, a, solver=lbfgs)
    assert_close(theirs, ours, rtol=1e-7)
    assert_close(*[gg.grad(gg.sum(x), a)[0] for x in (theirs, ours)], rtol=1e-5)
    assert a.grad is None


@pytest.mark.parametrize(("slope", "weight"), [(1.0, 1e-3), (100.0, 1.0)])
def test_a_line_search_comes_back_from_where_f_is_not_finite(slope, weight):
    """A barrier, with the minimum at weight / slope; Newton's step goes beyond it."""
    with np.errstate(all="ignore"):
        x = implicit.argmin(lambda x: gg.sum(slope * x - weight * gg.log(x)), gg.tensor(np.ones(2)))
    assert_close(x, np.full(2, weight / slope), rtol=1e-8)


def test_what_runs_away_has_not_converged():
    one = gg.tensor(np.array(1.0))
    with np.errstate(all="ignore"), pytest.raises(implicit.NoConvergence, match="argmin .* x grows without bound"):
        implicit.argmin(lambda x: gg.exp(-x), one)
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match="g is not finite after .* steps"):
        x = implicit.fixed_point(gg.exp, one, on_failure="warn")
    assert np.isfinite(x.numpy())


def test_a_solver_may_answer_arrays():
    a = gg.tensor(np.array([4.0, 9.0]), requires_grad=True)
    x = implicit.root(lambda x, a: x * x - a, np.ones(2), a, solver=lambda f, x, a: np.sqrt(a.numpy()))
    assert_close(gg.grad(gg.sum(x), a)[0], [0.25, 1 / 6])


# ---------------------------------------------------------------------------------------------- vmap
@pytest.mark.parametrize("transform", [gg.jacrev, gg.jacfwd])
def test_jacobians_go_through_solutions(transform, systems):
    x0, a = gg.tensor(np.ones(2)), gg.tensor([4.0, 9.0], dtype="float64")
    root = lambda a: implicit.root(lambda x, a: x * x - a, x0, a)
    assert_close(transform(root)(a), np.diag([1 / 4, 1 / 6]))
    assert_close(transform(gg.grad(lambda a: gg.sum(root(a) ** 3)))(a), np.diag([0.75 / 2, 0.75 / 3]))


EXAMPLES = {
    "root": lambda a, w: implicit.root(lambda x, a: x + x**3 + gg.tanh(w @ x) - a, gg.zeros(2, dtype="float64"), a),
    "fixed_point": lambda a, w: implicit.fixed_point(lambda x: gg.tanh(w @ x) / 2 + a, gg.zeros(2, dtype="float64")),
    "argmin": lambda a, w: implicit.argmin(
        lambda x: gg.sum((x - a) ** 4 + (w @ x - a) ** 2 + x * x), gg.zeros(2, dtype="float64")
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_a_vmap_are_solved_together(name):
    a, w = [gg.tensor(v / 2, requires_grad=True) for v in values((3, 2), (2, 2))]
    one = lambda a, w: gg.sum(gg.sin(EXAMPLES[name](a, w)))
    rows = [a[i] for i in range(3)]
    each = gg.grad(sum([one(r, w) for r in rows]), [a, w])
    together = gg.vmap(one, (0, None))
    assert_close(together(a, w), np.array([one(r, w).item() for r in rows]), rtol=1e-9)
    for g, e in zip(gg.grad(gg.sum(together(a, w)), [a, w]), each):
        assert_close(g, e, rtol=1e-8)
    by_a, by_w = gg.vmap(gg.grad(one, (0, 1)), (0, None))(a, w)
    assert_close(by_a, each[0], rtol=1e-8)
    assert_close(gg.sum(by_w, axis=0), each[1], rtol=1e-8)
    second = gg.vmap(gg.hessian(one), (0, None))(a, w)
    assert_close(second[1], gg.hessian(one)(rows[1], w), rtol=1e-7)
    inner = gg.vmap(lambda r: gg.grad(lambda w: gg.sum(gg.vmap(lambda s: one(s * r, w))(rows[0])))(w))(a)
    assert_close(inner[2], gg.grad(one(rows[0][0] * rows[2], w) + one(rows[0][1] * rows[2], w), w)[0], rtol=1e-8)


NUMBERS = {
    "root": lambda a: implicit.root(lambda z, a: z**3 + z - a, gg.tensor(0.0, dtype="float64"), a),
    "fixed_point": lambda a: implicit.fixed_point(lambda z, a: gg.tanh(z / 2 + a), gg.tensor(0.0, dtype="float64"), a),
    "argmin": lambda a: implicit.argmin(lambda z, a: (z - a) ** 2 + z**4 / 10, gg.tensor(0.0, dtype="float64"), a),
}


@pytest.mark.numpy("the derivatives are ops, as those of the tests around")
@pytest.mark.parametrize("name", NUMBERS)
def test_second_derivatives_of_all_modes_agree(name):
    """Where examples differ in their tangents or cotangents alone, too."""
    f, a = lambda a: NUMBERS[name](a[0] * a[1]), gg.tensor([0.3, 0.4], dtype="float64")
    whole = gg.jacrev(gg.jacrev(f))(a)
    one = gg.grad(f)
    apart = gg.stack([(one(a + e) - one(a - e)) / 2e-5 for e in gg.tensor(1e-5 * np.eye(2))])
    assert_close(whole, apart, rtol=1e-7)
    for outer, inner in [(gg.jacfwd, gg.jacrev), (gg.jacrev, gg.jacfwd), (gg.jacfwd, gg.jacfwd)]:
        assert_close(outer(inner(f))(a), whole, rtol=1e-9)


def test_each_example_has_steps_of_its_own():
    """Newton's method for arctan needs a line search from 1.4 on; scales must not matter."""
    scale, x0 = gg.tensor([1.0, 1e6, 1.0, 1e-6]), gg.tensor([20.0, 0.5, -100.0, 2.0])
    root = gg.vmap(lambda s, x: implicit.root(lambda x: s * gg.atan(x), x))
    assert abs(root(scale, x0).numpy()).max() < 1e-5


def test_derivatives_of_high_order_inside_a_vmap():
    cube = lambda a: implicit.root(lambda x: x**3 - a, gg.tensor(1.0, dtype="float64"))
    fourth = gg.grad(gg.grad(gg.grad(gg.grad(cube))))
    a = gg.tensor([1.0, 8.0], dtype="float64")
    assert_close(gg.vmap(fourth)(a), -80 / 81 * np.array([1.0, 8.0]) ** (-11 / 3), rtol=1e-9)
    around = lambda a: gg.sum(gg.vmap(cube)(a))
    for _ in range(3):
        around = gg.grad(lambda a, f=around: gg.sum(f(a)))
    assert_close(around(a), 10 / 27 * np.array([1.0, 8.0]) ** (-8 / 3), rtol=1e-9)


def test_what_a_vmap_of_solvers_refuses():
    a = gg.tensor([1.0, -1.0], dtype="float64", requires_grad=True)
    one = gg.tensor(1.0, dtype="float64")
    with pytest.raises(implicit.NoConvergence, match="root has not converged") as e:
        gg.vmap(lambda a: implicit.root(lambda x: x * x - a, 2 * one))(a)
    assert e.value.x is None
    many = lambda a: implicit.root(lambda x: x - a, gg.ones(201, dtype="float64"))
    with pytest.raises(ValueError, match="go through at most 200 unknowns of an example, and x has 201"):
        gg.vmap(many)(a)
    with gg.no_grad():
        assert_close(gg.vmap(many)(a)[1], np.full(201, -1.0))
    with pytest.raises(np.linalg.LinAlgError, match="singular"):
        gg.vmap(lambda a: implicit.root(lambda x: (x - a) ** 2, one, solver=lambda f, x: a))(a)


def test_newton_where_the_jacobian_vanishes():
    with pytest.raises(implicit.NoConvergence, match="after 0 steps, .* singular"):
        implicit.root(lambda x: x * x - 2.0, gg.tensor(0.0))
