"""gg.ode: solutions against closed forms and SciPy, gradients of both kinds against closed forms and differences."""

import gc
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from weakref import ref

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.torch as torch
from gpugrad import functional, nn
from gpugrad.ode.dopri5 import BEND, ERROR, NODES, ROWS
from gpugrad.ops.weighted import weighted_sum

pytestmark = pytest.mark.devices
WAYS = {"discrete": {}, "segments": {"checkpoint": 3}, "adjoint": {"gradient": "adjoint"}}
TIGHT, FAIR = {"rtol": 1e-9, "atol": 1e-11}, {"rtol": 1e-7, "atol": 1e-8}
ways = pytest.mark.parametrize("way", WAYS)


def close(a, b, rtol=1e-7, atol=1e-8):
    np.testing.assert_allclose(a.numpy() if isinstance(a, gg.Tensor) else a, b, rtol=rtol, atol=atol)


def leaf(x):
    return gg.tensor(np.array(x, dtype=float), requires_grad=True)


def counted(f):
    def call(t, y, *args):
        call.n += 1
        return f(t, y, *args)

    call.n = 0
    return call


def swing(t, y, w=1.0):
    return gg.stack([y[1], -w * w * y[0]])


# ---------------------------------------------------------------------------------------------- values
def test_the_tableau_is_of_order_five_and_its_extension_of_order_four():
    a = np.zeros((7, 7))
    for i, row in enumerate(ROWS):
        a[i + 1, : len(row)] = row
    b, c = a[6], a.sum(1)
    close(c, [0, *NODES], 1e-12)
    for k in range(1, 6):
        close(b @ c ** (k - 1), 1 / k, 1e-12)
    close(b @ a @ c, 1 / 6, 1e-12)
    close(b @ a @ a @ a @ c, 1 / 120, 1e-12)
    close((b + ERROR) @ np.ones(7), 1, 1e-12)  # sign of the estimate does not matter
    for x in (0.3, 0.8):
        e1, e7 = np.eye(7)[0], np.eye(7)[6]
        row = x * (b + (1 - x) * (e1 - b + x * (2 * b - e7 - e1 + (1 - x) * np.array(BEND))))
        for k in range(1, 5):
            close(row @ c ** (k - 1), x**k / k, 1e-10)
        close(row @ a @ a @ c, x**4 / 24, 1e-10)


@pytest.mark.parametrize(
    ("f", "y0", "t", "exact"),
    [
        (lambda t, y: -y, [1.0, 3.0], np.linspace(0, 3, 7), lambda t: np.exp(-t)[:, None] * [1, 3]),
        (swing, [1.0, 0.0], np.linspace(0, 9, 40), lambda t: np.stack([np.cos(t), -np.sin(t)], 1)),
        (swing, [1.0, 0.0], np.linspace(0, -9, 5), lambda t: np.stack([np.cos(t), -np.sin(t)], 1)),
        (lambda t, y: y * (1 - y), 0.1, [0, 1, 5], lambda t: 1 / (1 + 9 * np.exp(-t))),
        (lambda t, y: 2 * gg.cos(t) * y, 1.0, [1, 2, 3.5], lambda t: np.exp(2 * (np.sin(t) - np.sin(1)))),
        (lambda t, y: 0 * y + 1, [[0.0]], [0, 1e-3, 100], lambda t: t[:, None, None]),
        (lambda t, y: 0 * y, np.zeros((0, 3)), [0, 1], lambda t: np.zeros((2, 0, 3))),
    ],
)
def test_closed_forms(f, y0, t, exact):
    for options in ({}, {"gradient": "adjoint", "first_step": 0.01}):
        close(gg.ode.solve(f, leaf(y0), t, **FAIR, **options), exact(np.array(t, float)), 1e-5, 1e-5)


def test_float32_and_complex():
    y = gg.ode.solve(swing, gg.tensor([1.0, 0.0]), [0.0, 3.0])
    assert y.dtype == gg.float32
    close(y[-1], [np.cos(3), -np.sin(3)], 1e-4)
    seen = []

    def turn(t, z):
        seen.append(t)
        return 1j * z

    z0 = gg.tensor(np.array([1 + 0j, 2j], np.complex64))
    z = gg.ode.solve(turn, z0, np.array([0.0, 2.0], np.float32))
    assert z.dtype == gg.complex64 and seen[0].dtype == gg.float32 and seen[0].shape == ()
    close(z[-1], np.exp(2j) * np.array([1, 2j]), 1e-4)


@pytest.mark.numpy("the host decides about steps")
@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
def test_as_many_evaluations_as_scipy_and_errors_like_its(rtol):
    integrate = pytest.importorskip("scipy.integrate")
    systems = [
        (lambda y, xp: xp.stack([y[1], -y[0]]), [1.0, 0.0], (0, 20)),
        (lambda y, xp: xp.stack([y[1], 2 * (1 - y[0] ** 2) * y[1] - y[0]]), [2.0, 0.0], (0, 20)),
        (lambda y, xp: xp.stack([1.5 * y[0] - y[0] * y[1], -3 * y[1] + y[0] * y[1]]), [10.0, 5.0], (15, 0)),
    ]
    for f, y0, span in systems:
        t, options = np.linspace(*span, 81), {"rtol": rtol, "atol": rtol * 1e-2}
        mine = counted(lambda t, y, f=f: f(y, gg))
        ys = gg.ode.solve(mine, leaf(y0), t, **options).numpy()
        theirs = integrate.solve_ivp(lambda t, y, f=f: f(y, np), span, y0, t_eval=t, **options)
        best = integrate.solve_ivp(lambda t, y, f=f: f(y, np), span, y0, "DOP853", t, rtol=1e-12, atol=1e-13)
        assert mine.n <= 1.15 * theirs.nfev
        assert np.std(ys - best.y.T) <= 3 * np.std(theirs.y - best.y)  # at a given point they vary


def test_errors_follow_the_tolerance_and_dense_output_has_order_four():
    errors = [
        abs(gg.ode.solve(swing, leaf([1, 0]), [0, 5], rtol=r, atol=r)[-1].numpy() - [np.cos(5), -np.sin(5)]).max()
        for r in (1e-4, 1e-6, 1e-8, 1e-10)
    ]
    for a, b in pairwise(errors):
        assert 0.002 < b / a < 0.1
    inside = []
    for h in (0.4, 0.2, 0.1):  # one step
        y = gg.ode.dense(swing, leaf([1, 0]), [0, h], first_step=h, rtol=1, atol=1)
        assert len(y.times) == 2
        ts = np.linspace(0, h, 9)
        inside.append(abs(y(ts).numpy() - np.stack([np.cos(ts), -np.sin(ts)], 1)).max())
    orders = np.log2(np.array(inside[:-1]) / inside[1:])
    assert ((orders > 4.6) & (orders < 5.6)).all()


def test_dense_output():
    k = leaf(0.5)
    for span in ([0, 4], [4, 0]):
        y = gg.ode.dense(lambda t, y, k: {"a": k * y["a"]}, {"a": leaf([1.0, 2.0])}, span, k, **TIGHT)
        at = np.array([0.0, 3.9, 2.0, 4.0])
        close(y(at)["a"], np.exp(0.5 * (at - span[0]))[:, None] * [1, 2])
        close(y(1)["a"], np.exp(0.5 * (1 - span[0])) * np.array([1, 2]))
        assert y.times[0] == span[0] and y.times[-1] == span[1] and "steps" in repr(y)
        t = leaf(1.5)
        found = gg.grad(gg.sum(y(t)["a"]), [t, k], create_graph=True)
        e = 3 * np.exp(0.5 * (1.5 - span[0]))
        close(found[0], 0.5 * e, 1e-6)
        close(found[1], (1.5 - span[0]) * e)
        close(gg.grad(found[1], k, retain_graph=True)[0], (1.5 - span[0]) ** 2 * e)
        ts = leaf([1.0, 3.0])
        close(gg.grad(gg.sum(y(ts)["a"]), ts)[0], 1.5 * np.exp(0.5 * (ts.numpy() - span[0])), 1e-6)
        for outside in (-0.1, 4.1):
            with pytest.raises(ValueError, match="outside of"):
                y(outside)
        for t in ([], [[1.0]]):
            with pytest.raises(ValueError, match="one axis"):
                y(t)
        with pytest.raises(TypeError, match="real numbers"):
            y("now")


@pytest.mark.parametrize("n", [1, 3, 7, 9])
def test_a_sum_in_one_op(default_device, request, n):
    xs = [leaf(v) for v in np.random.default_rng(0).standard_normal((n, 4))]
    w = [1.0, -2.0, *np.linspace(-1, 1, 7).tolist()][:n]
    host = request.getfixturevalue("host") if default_device == "standin" else None
    launches = host.launches if host else 0
    out = weighted_sum(xs, w)
    assert host is None or host.launches - launches == (n <= 7)
    close(out, sum(a * x.numpy() for a, x in zip(w, xs)), 1e-12)
    found = gg.grad(gg.sum(out * out), xs, create_graph=True)
    for a, g in zip(w, found):
        close(g, 2 * a * out.numpy(), 1e-12)
    (second,) = gg.grad(gg.sum(found[-1]), xs[0])
    close(second, np.full(4, 2 * w[-1]), 1e-12)
    z = gg.tensor(np.array([1j, 2.0]))
    close(weighted_sum([z] * n, w), sum(w) * z.numpy(), 1e-12, 1e-12)


# ---------------------------------------------------------------------------------------------- gradients
@ways
@pytest.mark.parametrize("on", ["graph", "tape"])
@pytest.mark.parametrize("back", [False, True])
def test_gradients_by_everything_to_second_order(way, on, back):
    """dy/dt = -k y (1 + t): y = y0 exp(-k I(t))."""
    k, y0, t = leaf(0.7), leaf([1, 2]), leaf([2, 0.5, 0] if back else [0, 0.5, 2])
    xs = [y0, k, t]
    f = lambda t, y, k: -k * y * (1 + t)
    loss = lambda: gg.sum(gg.ode.solve(f, y0, t, k, **(FAIR if way == "adjoint" else TIGHT), **WAYS[way]) ** 2)
    if on == "graph":
        found = gg.grad(loss(), xs, create_graph=True)
        second = gg.grad(gg.sum(found[1]), xs)
    else:
        with gg.GradientTape() as outer:
            outer.watch(xs)
            with gg.GradientTape() as tape:
                tape.watch(xs)
                y = loss()
            found = tape.gradient(y, xs)
        second = outer.gradient(found[1], xs)
    ts = t.numpy()
    i = ts + ts**2 / 2 - (ts[0] + ts[0] ** 2 / 2)
    e, speed = 5 * np.exp(-1.4 * i), -1.4 * (1 + ts)
    close(found[0], 2 / 5 * e.sum() * np.array([1, 2]), 1e-5)
    close(found[1], (-2 * i * e).sum(), 1e-5)
    close(found[2], np.concatenate([[-(e[1:]).sum() * speed[0]], (e * speed)[1:]]), 1e-5)
    close(second[0], 2 / 5 * (-2 * i * e).sum() * np.array([1, 2]), 1e-5)
    close(second[1], (4 * i * i * e).sum(), 1e-5)
    moved = -2 * e * (1 - 1.4 * i)  # by I, of which all move with the first time
    close(second[2], (1 + ts) * np.concatenate([[-moved[1:].sum()], moved[1:]]), 1e-5)


@ways
def test_trees_numbers_among_the_arguments_and_variables_that_f_reads(way):
    """Two masses on springs, against central differences of the solution by NumPy's own code."""
    rng = np.random.default_rng(0)
    x0, v0, m, c = rng.standard_normal(2), rng.standard_normal(2), np.array([1.0, 2.0]), np.array([0.3, 0.1])

    def loss(x0, v0, m, c):
        p = gg.Parameter(c) if not isinstance(c, gg.Tensor) else c

        def f(t, y, given, word):
            assert word == "spring"
            return {"x": y["v"], "v": (-(y["x"] ** 3), -p * y["v"][1] / given[0])[0] / given[0] - p * y["v"]}

        ys = gg.ode.solve(f, {"x": x0, "v": v0}, [0.0, 0.7, 1.5], [m], "spring", **FAIR, **WAYS[way])
        assert set(ys) == {"x", "v"} and ys["x"].shape == (3, 2)
        return gg.sum(ys["x"] * ys["v"]) + gg.sum(ys["v"] ** 2)

    given = [x0, v0, m, c]
    xs = [leaf(v) for v in given[:3]] + [gg.Parameter(c)]
    found = gg.grad(loss(*xs), xs)
    for i in range(len(given)):
        for j in range(2):
            sides = []
            for s in (1e-4, -1e-4):
                moved = [u.copy() for u in given]
                moved[i][j] += s
                sides.append(loss(*[gg.tensor(u) for u in moved]).item())
            close(found[i][j], (sides[0] - sides[1]) / 2e-4, 1e-4, 1e-5)


@ways
def test_modules_on_the_graph_and_on_tapes(way):
    class Field(nn.Module):
        def __init__(self):
            self.body = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))

        def forward(self, t, y):
            return self.body(gg.concat([y, gg.broadcast_to(t, (len(y.numpy()), 1))], -1))

    gg.random.seed(0)
    field = Field()
    y0 = gg.tensor(np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32))
    answers = []
    for options in ({}, WAYS[way]):
        field.zero_grad()
        gg.sum(gg.ode.solve(field, y0, [0.0, 0.5, 1.0], **options) ** 2).backward()
        answers.append([p.grad.numpy() for p in field.parameters()])
        with gg.GradientTape() as tape:
            y = gg.sum(gg.ode.solve(field, y0, [0.0, 0.5, 1.0], **options) ** 2)
        answers.append([g.numpy() for g in tape.gradient(y, field.trainable_variables)])
    for other in answers[1:]:
        for a, b in zip(answers[0], other):
            close(b, a, 1e-3, 1e-4)


@pytest.mark.parametrize("way", ["discrete", "adjoint"])
@pytest.mark.parametrize("inside", ["vjp", "tape"])
def test_f_may_take_gradients_itself(way, inside):
    """Hamilton's equations of a spring: y0 turned by the angle w t, from derivatives of the energy."""
    w, y0 = leaf(1.5), leaf([1.0, 0.5])
    energy = lambda y: w * gg.sum(y * y) / 2

    def f(t, y):
        if inside == "vjp":
            _, d = functional.vjp(energy, y, create_graph=True)
        else:
            with gg.GradientTape() as tape:
                tape.watch(y)
                e = energy(y)
            d = tape.gradient(e, y)
        return gg.stack([d[1], -d[0]])

    with gg.GradientTape() as outer:
        outer.watch([w, y0])
        with gg.GradientTape() as tape:
            tape.watch([w, y0])
            q = gg.ode.solve(f, y0, [0.0, 1.0], **FAIR, **WAYS[way])[-1, 0]
        found = tape.gradient(q, [w, y0])
    (second,) = outer.gradient(found[0], [w])
    c, s = np.cos(1.5), np.sin(1.5)
    close(q, c + 0.5 * s, 1e-5)
    close(found[0], 0.5 * c - s, 1e-5)
    close(found[1], [c, s], 1e-5)
    close(second, -(c + 0.5 * s), 1e-5)


@ways
def test_the_same_tensor_in_several_places(way):
    w = leaf(0.5)
    y = gg.ode.solve(lambda t, y, a, b: a * b * y * w, w, [0.0, 1.0], w, w, **TIGHT, **WAYS[way])
    close(gg.grad(y[-1], w)[0], np.exp(0.125) * (1 + 0.5 * 3 * 0.25))


@ways
def test_complex_gradients(way):
    """The direction of steepest ascent of |z - 1|^2, through dz/dt = w z."""
    w, z0 = [gg.tensor(np.array(v), requires_grad=True) for v in (0.3 + 1j, 1 - 0.5j)]
    z = gg.ode.solve(lambda t, z, w: w * z, z0, [0.0, 1.0], w, **TIGHT, **WAYS[way])[-1]
    found = gg.grad(gg.sum(gg.abs(z - 1) ** 2), [z0, w])
    e = np.exp(0.3 + 1j)
    g = 2 * (e * (1 - 0.5j) - 1)
    close(found[0], g * np.conj(e))
    close(found[1], g * np.conj(e * (1 - 0.5j)))


def test_integrals_beside_what_does_not_move():
    """Of k sin(40 t) at k = 0: y and its cotangent stay where they are, and the gradient by k is an integral."""
    k, big = leaf(0.0), leaf(np.zeros(1000))
    f = lambda t, y, k, big: k * gg.sin(40 * t) + gg.sum(big) + 0 * y
    y = gg.ode.solve(f, leaf(1.0), [0.0, 1.0], k, big, gradient="adjoint", **TIGHT)
    found = gg.grad(y[-1], [k, big])
    close(found[0], (1 - np.cos(40)) / 40, 1e-6)
    close(found[1], np.ones(1000), 1e-6)


def test_a_short_pulse_is_found_with_short_steps():
    f = lambda t, y: gg.exp(-(((t - 7.5) / 0.05) ** 2)) + 0 * y
    area = 0.05 * np.sqrt(np.pi)
    close(gg.ode.solve(f, leaf(0.0), [0.0, 10.0], max_step=0.05)[-1], area, 1e-4)
    assert max(np.diff(gg.ode.dense(f, leaf(0.0), [0.0, 10.0], max_step=0.05).times)) < 0.0501


def test_cotangents_of_any_size():
    k, found = leaf(0.5), []
    for size in (1e-12, 1.0, 1e12, 0.0, np.inf):
        y = gg.ode.solve(lambda t, y, k: -k * y, gg.tensor(np.array([2.0])), [0, 1, 2], k, gradient="adjoint")
        found.append(gg.grad(y[-1, 0], k, gg.tensor(np.array(size)))[0].item())
    close(np.array(found[:3]) / [1e-12, 1, 1e12], [-4 * np.exp(-1)] * 3, 1e-5)
    assert found[3] == 0 and np.isnan(found[4])


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.0)])
def test_every_time_is_answered_once(ends):
    """Times a bit before and after the ends of steps."""
    steps = gg.ode.dense(swing, leaf([1, 0]), ends, rtol=1e-3, atol=1e-3).times
    near = [np.nextafter(s, w) for s in steps[1:-1] for w in ends] + steps
    t = sorted(set(near), reverse=ends[0] > ends[1])
    y = gg.ode.solve(swing, leaf([1, 0]), t, rtol=1e-3, atol=1e-3)
    assert y.shape == (len(t), 2) and len(t) > 6
    close(y[:, 0], np.cos(np.array(t) - ends[0]), 1e-2, 1e-2)


@ways
def test_times_from_the_host_and_in_a_list(way):
    ends = [gg.tensor(np.float32(v), device="cpu", requires_grad=True) for v in (0.5, 1.5)]
    y = gg.ode.solve(lambda t, y: -y, leaf(2.0), [ends[0], 1.0, ends[1]], **TIGHT, **WAYS[way])
    first, last = gg.grad(gg.sum(y[-1]), ends)
    assert first.dtype == gg.float32 and str(first.device) == "cpu"
    close(first, 2 * np.exp(-1), 1e-5)
    close(last, -2 * np.exp(-1), 1e-5)
    if way == "discrete":
        t = gg.tensor([1.0], device="cpu", requires_grad=True)
        (g,) = gg.grad(gg.sum(gg.ode.dense(lambda t, y: -y, leaf(2.0), [0.5, 1.5], **TIGHT)(t)), t)
        close(g, [-2 * np.exp(-0.5)], 1e-5)


def test_discrete_gradients_are_those_of_the_steps():
    """Of one step that is too long: the gradient of the number that comes out, not that of the equation."""
    f = counted(lambda t, y, k: gg.stack([y[1], k * (1 - y[0] ** 2) * y[1] - y[0]]))
    long = {"rtol": 1.0, "atol": 1.0, "first_step": 1.0}
    end = lambda k, **options: gg.ode.solve(f, leaf([2.0, 0.0]), [0.0, 1.0], k, **options)[-1, 0]
    k = leaf(1.0)
    (g,) = gg.grad(end(k, **long), k)
    assert f.n == 7  # one step
    difference = (end(leaf(1 + 1e-6), **long) - end(leaf(1 - 1e-6), **long)).item() / 2e-6
    (true,) = gg.grad(end(k, gradient="adjoint", **TIGHT), k)
    assert abs(g.item() - difference) < 1e-8 < 1e-5 < abs(g.item() - true.item())


def test_memory():
    """Of adjoint and of segments: what is kept does not grow with the steps, or with their ends alone."""
    y0, kept, calls = leaf(np.ones(1000)), {}, {}
    gc.collect()
    gc.disable()
    try:
        for way, options in {**WAYS, "segments": {"checkpoint": 8}}.items():
            for rtol in (1e-4, 1e-10):
                f = counted(lambda t, y: -gg.sin(y * y))
                with gg.GradientTape() as tape:
                    tape.watch(y0)
                    y = gg.ode.solve(f, y0, [0.0, 4.0], rtol=rtol, atol=1e-12, **options)
                kept.setdefault(way, []).append(tape.nbytes())
                calls.setdefault(way, []).append(f.n)
                assert tape.gradient(y, y0).shape == (1000,)
    finally:
        gc.enable()
    assert calls["adjoint"][1] > 5 * calls["adjoint"][0]
    assert kept["adjoint"][0] == kept["adjoint"][1] <= 5 * 8000
    assert kept["discrete"][1] > 4 * kept["discrete"][0]
    assert kept["segments"][1] < kept["discrete"][1] / 10


@ways
def test_no_cycles(way):
    k, y0 = leaf(0.5), leaf(np.ones(3))
    gc.collect()
    gc.disable()
    try:
        for walks in range(3):
            y = gg.ode.solve(lambda t, y, k: -k * y, y0, [0.0, 1.0], k, **WAYS[way])
            node, array = ref(y.node), ref(y.array)
            if walks:
                g = gg.grad(gg.sum(y * y), [k, y0], create_graph=walks == 2)
            if walks == 2:
                gg.grad(g[0], [k, y0])
            y = g = None
            assert node() is None and array() is None
    finally:
        gc.enable()


def test_nothing_is_kept_when_nothing_records():
    calls = counted(lambda t, y: -y)
    y = gg.ode.solve(calls, gg.tensor([1.0]), [0, 1], gradient="adjoint")
    assert y.node is None
    with gg.no_grad():
        assert gg.ode.solve(calls, leaf([1.0]), [0, 1], gradient="adjoint").node is None


@pytest.mark.parametrize("library", ["own", "torch"])
def test_what_f_answers_may_be_written_to_when_it_is_called_again(library):
    v = gg.Variable(np.zeros(1)) if library == "own" else torch.zeros(1, dtype=torch.float64)
    write = v.assign if library == "own" else v.copy_

    def f(t, y):
        write(-y)
        return v

    y0 = gg.Variable(np.ones(1))
    close(gg.ode.solve(f, y0, [0.0, 1.0], **FAIR)[-1], np.exp([-1]), 1e-6)
    solution = gg.ode.dense(f, y0, [0.0, 1.0])
    y0.assign([5.0])
    close(solution(0.0), [1.0])


# ---------------------------------------------------------------------------------------------- vmap
def turned(t, y, k):
    return k * gg.stack([y[1], -gg.sin(y[0])]) - gg.cos(t) * y


@ways
def test_examples_of_a_vmap_step_together(way):
    rng = np.random.default_rng(0)
    y0, k, w = leaf(rng.standard_normal((3, 2))), leaf([0.2, 1.0, 3.0]), leaf(0.7)

    def end(y, k, **options):  # w is not given
        y = gg.ode.solve(lambda t, y, k: w * turned(t, y, k), y, [0.0, 0.4, 1.0], k, **FAIR, **options)
        return gg.sum(y * y)

    alone = [end(y0[i], k[i]) for i in range(3)]
    expected = gg.grad(sum(alone), [y0, k, w])
    together = gg.vmap(lambda y, k: end(y, k, **WAYS[way]))(y0, k)
    close(together, [v.item() for v in alone], 1e-6)
    per_example = gg.vmap(gg.grad(lambda y, k: end(y, k, **WAYS[way]), (0, 1)))(y0, k)
    for found in (gg.grad(gg.sum(together), [y0, k, w]), per_example):
        for g, e in zip(found, expected):
            close(g, e.numpy(), 1e-5, 1e-6)
    rows = gg.jacrev(lambda y: gg.ode.solve(turned, y, [0, 1], 1.0, **FAIR, **WAYS[way])[-1])(y0[0])
    close(rows, gg.jacfwd(lambda y: gg.ode.solve(turned, y, [0, 1], 1.0, **FAIR)[-1])(y0[0]).numpy(), 1e-5, 1e-6)


def test_what_a_vmap_refuses():
    k = leaf([1.0, 2.0])
    by_time = lambda k: gg.ode.solve(good, gg.ones(2), gg.stack([0 * k, k]))
    with pytest.raises(TypeError, match="inside a vmap all examples have the same times"):
        gg.vmap(by_time)(k)
    closed = lambda k: gg.ode.solve(lambda t, y: -k * y, leaf([1.0]), [0, 1], gradient="adjoint")
    with pytest.raises(RuntimeError, match=r"f reads a tensor of vmap\(<lambda>\) that gradients around it go through"):
        gg.vmap(closed)(k)
    with gg.no_grad():
        close(gg.vmap(closed)(k)[:, -1, 0], np.exp([-1, -2]), 1e-4)
    with pytest.raises(RuntimeError, match="has shrunk"):  # the second one has no solution
        gg.vmap(lambda y: gg.ode.solve(lambda t, y: y * y, y, [0.0, 1.0]))(gg.tensor([[0.1], [2.0]]))


@ways
def test_f_leaves_y_as_it_is(way):
    y0 = torch.ones(2, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="f changes y in place"):
        gg.ode.solve(lambda t, y: -y.add_(1), y0, [0.0, 1.0], **WAYS[way])
    close(y0, [1.0, 1.0])


def test_numbers_whose_squares_are_out_of_range():
    """float32, of which a square ends at 1e19: slopes, and y beside what is allowed."""
    y = gg.ode.solve(lambda t, y: 0 * y + 1e25, gg.tensor([0.0]), [0.0, 1.0], atol=1e-7)
    close(y[-1], [1e25], 1e-6)
    close(gg.ode.solve(lambda t, y: -y, gg.tensor([1.0]), [0.0, 1.0], rtol=1e-5, atol=1e-30)[-1], np.exp([-1]), 1e-4)


# ---------------------------------------------------------------------------------------------- refusals
def good(t, y):
    return -y


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"t": [0.0, 1.0, 1.0]}, ValueError, r"t\[2\]=1 is not after t\[1\]=1"),
        ({"t": [0.0, -1.0, 1.0]}, ValueError, r"is not before"),
        ({"t": [0.0]}, ValueError, "two times or more"),
        ({"t": 1.0}, ValueError, "two times or more"),
        ({"t": [0.0, np.nan]}, ValueError, r"t\[1\] is nan"),
        ({"t": [0j, 1j]}, TypeError, "are real numbers"),
        ({"y0": [1.0]}, TypeError, "leaf 0 is 1.0 of type float"),
        ({"y0": {}}, ValueError, "holds no Tensor"),
        ({"y0": lambda: gg.tensor([1])}, TypeError, "is int32"),
        ({"y0": lambda: gg.tensor([1.0], dtype="float16")}, TypeError, "is float16"),
        ({"f": 3}, TypeError, "f is a function"),
        ({"f": lambda t, y: (y,)}, TypeError, r"nested as y is, \*, but has answered \('\*',\)"),
        ({"f": lambda t, y: [y[1], -y[0]]}, TypeError, r"y is one Tensor: write gg.stack\(\[\.\.\.\]\)"),
        ({"f": lambda t, y: y[:1]}, TypeError, r"float64\[1\], where y is float64\[2\]"),
        ({"f": lambda y, t: -y}, TypeError, r"whether it is f\(t, y\), t first"),
        ({"f": lambda t, y: y.astype("float32")}, TypeError, r"y0.astype\('float32'\)"),
        ({"f": lambda t, y: 1j * y}, TypeError, "complex128"),
        ({"f": lambda t, y: y.detach().numpy()}, TypeError, "is a ndarray, not a Tensor"),
        ({"f": lambda t, y: y * np.nan}, FloatingPointError, r"f\(t, y0\) is not finite at the first time, t=0"),
        ({"f": lambda t, y: y * y, "t": [0, 2]}, RuntimeError, "the step has shrunk to"),
        ({"f": lambda t, y: gg.where(t < 0.5, y, np.nan)}, RuntimeError, "f is not finite near there"),
        ({"f": lambda t, y: 1e6 * gg.cos(1e6 * t) * y, "max_steps": 50}, RuntimeError, "max_steps=50 reached at t="),
        ({"max_steps": 0}, ValueError, "max_steps is a whole number"),
        ({"checkpoint": 1.5}, ValueError, "checkpoint is a whole number"),
        ({"checkpoint": 2, "gradient": "adjoint"}, ValueError, "keeps no steps"),
        ({"method": "euler"}, ValueError, "unknown method 'euler'; write 'dopri5'"),
        ({"gradient": "exact"}, ValueError, "write 'discrete' or 'adjoint'"),
        ({"rtol": -1.0}, ValueError, "rtol is 0 or more"),
        ({"rtol": "1"}, TypeError, "rtol is a number"),
        ({"atol": 0.0}, ValueError, "atol, the error allowed"),
        ({"first_step": -0.1}, ValueError, "first_step"),
        ({"max_step": 0}, ValueError, "max_step is how long"),
    ],
)
def test_refusals(change, error, says):
    given = {"f": good, "y0": leaf([1.0, 2.0]), "t": [0.0, 1.0], **change}
    y0 = given["y0"]
    given["y0"] = y0() if callable(y0) else y0
    with np.errstate(all="ignore"), pytest.raises(error, match=says):
        gg.ode.solve(given.pop("f"), given.pop("y0"), given.pop("t"), **given)


@pytest.mark.parametrize("y0", [2.0, np.array([1.0, 2.0])])
def test_y0_may_be_a_number_or_an_array(y0):
    same = gg.ode.solve(good, gg.tensor(y0), [0.0, 1.0]).numpy()
    np.testing.assert_array_equal(gg.ode.solve(good, y0, [0.0, 1.0]).numpy(), same)


def test_what_the_adjoint_cannot_reach_is_told():
    w = leaf([2.0])
    square = w * w
    f = lambda t, y: -square * y
    with pytest.raises(RuntimeError, match="f reads the answer of multiply, of shape .1,., that gradients go through"):
        gg.ode.solve(f, gg.tensor(np.array([1.0])), [0, 1], gradient="adjoint")
    with gg.no_grad():
        gg.ode.solve(f, gg.tensor(np.array([1.0])), [0, 1], gradient="adjoint")
    v = gg.Variable(np.array([2.0]))
    with gg.GradientTape() as tape:
        y = gg.ode.solve(lambda t, y: -v * y, gg.tensor(np.array([1.0])), [0, 1], gradient="adjoint")
    v.assign_add(1.0)
    with pytest.raises(RuntimeError, match="has been given another value since"):
        tape.gradient(y, v)


@ways
def test_f_may_fail_and_nothing_is_left_open(way):
    def f(t, y):
        if t.item() > 0.5:
            raise KeyError("mine")
        return -y

    with pytest.raises(KeyError, match="mine"):
        gg.ode.solve(f, leaf([1.0]), [0, 1], **WAYS[way])
    x = leaf(3.0)
    assert gg.grad(x * x, x)[0].item() == 6


@pytest.mark.numpy("a benchmark")
def test_the_benchmark_runs():
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "bench/ode.py", "--quick"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| gpugrad | adjoint |" in done.stdout
