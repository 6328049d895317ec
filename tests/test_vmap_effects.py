"""Inside a vmap: what changes something, keeps something or runs something again is right, or refused."""

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.torch as torch
from gpugrad.testing import assert_close

X = np.linspace(-1, 1, 6).reshape(3, 2)
SLOPE, CURVE = np.exp(X) * (X + 1), np.exp(X) * (X + 2)  # of exp(x) x


def summed(f):
    return lambda x: gg.sum(f(x))


def all_ways(f):
    """(gradients inside a vmap, around one; second order around, inside and around) of the scalar function f."""
    x, vmap, grad = gg.tensor(X), gg.vmap, gg.grad
    return [
        vmap(grad(f))(x),
        grad(summed(vmap(f)))(x),
        grad(summed(grad(summed(vmap(f)))))(x),
        grad(summed(vmap(grad(f))))(x),
        vmap(grad(summed(grad(f))))(x),
    ]


WANTED = [SLOPE, SLOPE, CURVE, CURVE, CURVE]


def test_variables_are_not_assigned_what_each_example_has_its_own_of():
    w, x = gg.Variable(np.zeros(2)), gg.tensor(X)
    for assign in (w.assign, w.assign_add, w.assign_sub, lambda r: w[0].assign(r[0]), lambda r: w[0].assign_add(r[0])):
        with pytest.raises(RuntimeError, match=r"vmap\(f\): variable 'Variable:\d+' is assigned a value that each"):

            def f(r, assign=assign):
                assign(r)
                return r

            gg.vmap(f)(x)
    assert_close(w, np.zeros(2))
    gg.vmap(lambda r: (w.assign(np.ones(2)), r)[1])(x)  # the same for all
    assert_close(w, np.ones(2))


def test_changes_in_place_say_what_to_write_instead():
    x, z = torch.tensor(X), torch.zeros(2, dtype=torch.float64)

    def plus(r):
        r = r * 1.0
        r += 1
        return r

    def item(r):
        r = r * 1.0
        r[0] = 1
        return r

    for f in (plus, item, lambda r: (r * 1.0).add_(1), lambda r: z.add_(r), lambda r: z.__setitem__(0, r[0])):
        with pytest.raises(TypeError, match="changed in place.*write y = x . 1 for x .= 1"):
            gg.vmap(f)(x)
    assert z.tolist() == [0, 0]


def test_at_takes_the_place_of_assignments():
    f = lambda r: gg.sum(r.at[0].set(r[1] * 3.0).at[1].add(r[0]))
    want = np.stack([np.ones(3), 4 * np.ones(3)], axis=1)
    assert_close(gg.vmap(gg.grad(f))(gg.tensor(X)), want)
    assert_close(gg.grad(summed(gg.vmap(f)))(gg.tensor(X)), want)


def test_hooks_are_called_with_the_gradient_of_each_example():
    def f(r):
        r = r * 1.0
        r.register_hook(lambda g: g * 10)
        return gg.sum(r * r)

    assert_close(gg.vmap(gg.grad(f))(gg.tensor(X)), 20 * X)
    with pytest.raises(RuntimeError, match="cannot register a hook on a tensor that doesn't require gradient"):
        gg.grad(summed(gg.vmap(f)))(gg.tensor(X))  # whose gradient is that of all examples: hooks belong around


@pytest.mark.parametrize(
    "context",
    [
        lambda: gg.saved_tensors_hooks(lambda t: t.numpy(), gg.tensor),
        lambda: gg.saved_tensors_hooks(lambda t: t * 1.0, lambda t: t),
        lambda: gg.save_as(gg.float32, min_size=1),
        lambda: gg.save_on_cpu(min_size=1),
    ],
)
def test_what_ops_save_stays_as_it_is(context):
    def f(r):
        with context():
            return gg.sum(gg.exp(r * 1.0) * r)

    for got, want in zip(all_ways(f), WANTED):
        assert_close(got, want)


def test_around_a_vmap_what_ops_save_is_packed_as_ever():
    packed = []
    x = gg.tensor(X)
    with gg.GradientTape() as tape:
        tape.watch(x)
        with gg.saved_tensors_hooks(lambda t: packed.append(t) or t, lambda t: t):
            y = gg.sum(gg.vmap(lambda r: gg.sum(gg.exp(r) * r))(x))
    assert_close(tape.gradient(y, x), SLOPE)
    assert (3, 2) in {t.shape for t in packed}


@pytest.mark.parametrize("wrap", [gg.checkpoint, gg.checkpoint(max_bytes=0), gg.checkpoint(max_bytes=64)])
def test_functions_that_are_computed_again(wrap):
    block = lambda r: gg.sum(gg.exp(r * 1.0) * r)
    for got, want in zip(all_ways(lambda r: wrap(block)(r)), WANTED):
        assert_close(got, want)
    x = gg.tensor(X)
    assert_close(gg.grad(summed(wrap(gg.vmap(block))))(x), SLOPE)
    v = gg.ones_like(x)
    assert_close(gg.jvp(summed(wrap(gg.vmap(block))), (x,), (v,))[1], SLOPE.sum())
    assert_close(gg.jacfwd(gg.jacfwd(lambda r: wrap(block)(r)))(x[0]), np.diag(CURVE[0]))


def test_a_checkpoint_is_given_what_it_reads_of_the_examples():
    block = lambda r: gg.sum(gg.exp(r * 1.0) * r)
    for f in (lambda r: gg.checkpoint(lambda: block(r))(),):
        for ask in (gg.vmap(gg.grad(f)), gg.grad(summed(gg.vmap(f)))):
            with pytest.raises(RuntimeError, match="reads a tensor of vmap.* that it is not given"):
                ask(gg.tensor(X))


def test_anomalies_of_any_example_are_found():
    f = lambda r: gg.sum(gg.exp(r * 1.0) * r)
    x = gg.tensor(X)
    with gg.detect_anomaly():
        for got, want in zip(all_ways(f), WANTED):
            assert_close(got, want)
        assert_close(gg.hessian(summed(gg.exp))(x[0]), np.diag(np.exp(X[0])))
        assert_close(gg.jvp(f, (x,), (x,))[1], (SLOPE * X).sum())
        for ask in (gg.vmap(gg.grad(summed(gg.sqrt))), gg.grad(summed(gg.vmap(gg.sqrt)))):
            with np.errstate(invalid="ignore"), pytest.warns() as told, pytest.raises(RuntimeError, match="'sqrt' ret"):
                ask(x)
            assert any(["'sqrt' made nan values" in str(w.message) for w in told])


def test_what_is_cut_off_inside_is_cut_off_around():
    for cut in (
        gg.stop_gradient,
        lambda r: r.detach(),
        lambda r: gg.tensor(r.array),
        lambda r: gg.tensor([r[0], r[1]]),
    ):
        f = lambda r, cut=cut: gg.sum(cut(r) * r)
        for got in all_ways(f)[:2]:
            assert_close(got, X)


def test_backward_inside_is_refused():
    w = gg.tensor(X[0], requires_grad=True)

    def f(r):
        gg.sum(r * w).backward()
        return r

    with pytest.raises(RuntimeError, match="inside, ask gg.grad or a tape for gradients, not backward"):
        gg.vmap(f)(gg.tensor(X))


def test_detect_anomaly_looks_at_all_examples():
    x = gg.tensor(X)
    root = lambda x: gg.sum(gg.sqrt(x))
    with gg.detect_anomaly(), np.errstate(all="ignore"):
        assert_close(gg.vmap(gg.grad(summed(gg.square)))(x), 2 * X)
        assert_close(gg.jvp(gg.vmap(gg.sin), (x,), (x,))[1], X * np.cos(X))
        with (
            pytest.warns(RuntimeWarning, match="'sqrt' made nan values of inputs that have none, called at test_vmap"),
            pytest.warns(UserWarning, match="Error detected in sqrt"),
            pytest.raises(RuntimeError, match="Function 'sqrt' returned nan values"),
        ):
            gg.vmap(gg.grad(root))(x)
