"""custom_gradient, grad_pass_through, recompute_grad."""

import gc
import weakref

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.testing import assert_close, check_grads

pytestmark = pytest.mark.devices


@gg.custom_gradient
def log1pexp(x):
    e = gg.exp(x)
    return gg.log(1 + e), lambda g: g * (1 - 1 / (1 + e))


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_gradient_of_ones_own_in_both_ways_of_asking():
    x = gg.Variable(100.0)
    with gg.GradientTape() as tape:
        y = log1pexp(x)
    assert float(tape.gradient(y, x)) == 1
    check_grads(log1pexp, [np.array([0.5, -1.0])], order=2, modes=("rev",))
    x = gg.tensor(0.5, requires_grad=True)
    log1pexp(x).backward()
    assert_close(x.grad, 1 / (1 + np.exp(-0.5)))


def test_what_it_answers_is_used_not_checked():
    @gg.custom_gradient
    def clip_gradient(x):
        return x * 1.0, lambda g: gg.clip(g, -1.0, 1.0)

    x = gg.tensor(3.0, requires_grad=True)
    (clip_gradient(x) * 10).backward()
    assert float(x.grad) == 1


def test_variables_that_the_function_reads():
    w = gg.Variable(2.0)

    @gg.custom_gradient
    def f(x):
        def grad(g, variables=None):
            assert variables == [w]
            return g * w, [g * x * 10]

        return w * x, grad

    x = gg.Variable(3.0)
    with gg.GradientTape() as tape:
        y = f(x)
    assert [float(g) for g in tape.gradient(y, [x, w])] == [2, 30]

    @gg.custom_gradient
    def deaf(x):
        return w * x, lambda g: g

    with pytest.raises(TypeError, match="grad_fn must accept keyword argument 'variables'"):
        deaf(x)

    @gg.custom_gradient
    def short(x):
        return w * x, lambda g, variables=None: (g, [])

    with gg.GradientTape() as tape:
        y = short(x)
    with pytest.raises(ValueError, match="Must return gradient for each variable"):
        tape.gradient(y, x)


def test_several_outputs_and_the_wrong_number_of_gradients():
    @gg.custom_gradient
    def two(x, y):
        return (x * y, x + y), lambda a, b: (a * y + b, a * x + b)

    x, y = (gg.tensor(v, requires_grad=True) for v in (3.0, 2.0))
    p, q = two(x, y)
    assert [float(g) for g in gg.grad(p * 3.0, [x, y], retain_graph=True)] == [6, 9]
    assert [float(g) for g in gg.grad(q * 3.0 + p, [x, y])] == [5, 6]

    @gg.custom_gradient
    def wrong(x):
        return x * 2.0, lambda g: (g, g)

    with pytest.raises(ValueError, match="expected to return 1 gradients, but returned 2"):
        wrong(x).backward()


def test_complex_gradients_are_as_users_write_them():
    @gg.custom_gradient
    def square(z):
        return z * z, lambda g: g * gg.conj(2 * z)

    z = gg.tensor(1 + 2j, requires_grad=True)
    (g,) = gg.grad(square(z), z, gg.tensor(np.complex64(1)))
    assert_close(g, gg.grad(z * z, z, gg.tensor(np.complex64(1)))[0])


def test_a_gradient_that_passes_through():
    x = gg.tensor(1.4, requires_grad=True)
    y = gg.grad_pass_through(gg.round)(x * 3)
    assert float(y) == 4 and float(gg.grad(y, x)[0]) == 3


def test_computed_again_instead_of_kept():
    w = gg.Variable(np.full(1000, 2.0))
    calls = []

    def block(x):
        calls.append(1)
        return gg.tanh(gg.tanh(x * w) * w) * w

    x = gg.tensor(np.linspace(-1, 1, 1000), requires_grad=True)
    sizes, gradients = [], []
    for f in (block, gg.recompute_grad(block)):
        with gg.GradientTape() as outer:
            outer.watch(x)
            with gg.GradientTape() as tape:
                tape.watch(x)
                y = f(x)
            sizes.append(tape.nbytes())
            g = tape.gradient(y, [x, w])
        gradients.append([*g, *outer.gradient(g, [x, w])])
    assert len(calls) == 3 and sizes[1] == x.nbytes + w.nbytes < sizes[0]  # the inputs alone
    for a, b in zip(*gradients):
        assert_close(a, b)


def test_what_the_gradient_needs_is_freed_with_the_tape():
    x = gg.tensor(np.ones(10))
    alive = weakref.ref(x.array)
    gc.disable()
    try:
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = log1pexp(x)
        del x
        assert alive() is not None
        tape.gradient(y, y)
        assert alive() is None
    finally:
        gc.enable()


def test_of_untracked_tensors_nothing_is_recorded():
    f = gg.custom_gradient(lambda x: (x * 2.0, lambda g: g * 2.0))
    pair = gg.custom_gradient(lambda x: ((x * 2.0, x * 3.0), lambda g, h: g * 2.0 + h * 3.0))
    for y in (f(gg.tensor(1.0)), *pair(gg.tensor(1.0)), gg.grad_pass_through(gg.sign)(gg.tensor(1.0))):
        assert not y.requires_grad and y.is_leaf
