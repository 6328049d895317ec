"""What ops do at kinks, at the ends of their range, with complex numbers, and with too little to go on."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.testing import assert_close, check_grads

pytestmark = pytest.mark.devices


def gradient(f, *values):
    xs = [gg.tensor(np.asarray(v, np.float64)) for v in values]
    with gg.GradientTape() as tape:
        tape.watch(xs)
        y = f(*xs)
    out = [g.tolist() for g in tape.gradient(y, xs)]
    return out[0] if len(out) == 1 else out


def test_kinks():
    assert gradient(gg.abs, [0.0, -1.0]) == [0, -1]
    assert gradient(nn.relu, [0.0, -1.0, 1.0]) == [0, 0, 1]
    assert gradient(gg.maximum, 1.0, 1.0) == [0.5, 0.5] and gradient(gg.minimum, 1.0, 1.0) == [0.5, 0.5]
    assert gradient(gg.max, [1.0, 1.0, 0.0]) == [0.5, 0.5, 0] and gradient(gg.min, [0.0, 0.0, 1.0]) == [0.5, 0.5, 0]
    assert gradient(lambda x: gg.clip(x, 0, 1), [0.0, 1.0, 2.0]) == [1, 1, 0]
    assert gradient(gg.floor_divide, 5.0, 2.0) == [0, 0] and gradient(gg.round, 1.5) == 0
    with np.errstate(divide="ignore"):
        assert gradient(gg.sqrt, 0.0) == np.inf


def test_an_infinite_cotangent_stays_out_where_the_slope_is_zero():
    x = gg.tensor(np.array([-1.0, 2.0]))
    for f in (nn.relu, lambda x: gg.clip(x, 0, 3), lambda x: gg.where(x > 0, x, 0.0)):
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = f(x)
        assert tape.gradient(y, x, output_gradients=gg.tensor(np.array([np.inf, 1.0]))).tolist() == [0, 1]


def test_pow_at_zero():
    assert gradient(lambda x: x**2, 0.0) == 0 and gradient(lambda x: x**1, 0.0) == 1
    assert gradient(lambda x: x**0, 0.0) == 0
    assert gradient(gg.pow, 0.0, 2.0) == [0, 0] and gradient(gg.pow, [0.0, 2.0], [0.0, 0.0])[0] == [0, 0]


def test_prod_with_zeros():
    assert gradient(gg.prod, [2.0, 0.0, 3.0]) == [0, 6, 0] and gradient(gg.prod, [0.0, 0.0, 3.0]) == [0, 0, 0]
    check_grads(gg.prod, [np.array([2.0, 0.0, 3.0])])
    check_grads(lambda x: gg.prod(x, axis=1), [np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 1.0]])])


def test_extremes_do_not_overflow():
    big = gg.tensor(np.array([-1e4, 0.0, 1e4]))
    for f in (nn.sigmoid, nn.softplus, nn.silu, nn.gelu, nn.softmax, nn.log_softmax, gg.logsumexp, gg.tanh):
        with gg.GradientTape() as tape:
            tape.watch(big)
            y = f(big)
        assert np.isfinite(y.numpy()).all() and np.isfinite(tape.gradient(y, big).numpy()).all(), f.__name__


def test_complex():
    for f in (
        lambda z: z * z,
        gg.exp,
        gg.sin,
        lambda z: 1 / z,
        lambda z: gg.abs(z),
        gg.conj,
        gg.real,
        gg.imag,
        gg.tanh,
    ):
        check_grads(f, [np.array([1 + 2j, 0.5 - 1j])], modes=["rev"])
    check_grads(lambda x, z: x * z + x, [np.array([1.0, 2.0]), np.array([1 + 2j, 0.5 - 1j])], modes=["rev"])
    check_grads(gg.matmul, [np.array([[1 + 1j, 2.0]]), np.array([[1j], [2 - 1j]])], modes=["rev"])


def test_choices_are_not_tracked():
    x = gg.tensor([3.0, 1.0], requires_grad=True)
    for y in (x > 1, x == x, gg.argmax(x), gg.argsort(x), gg.isnan(x), gg.any(x), gg.all(x), gg.count_nonzero(x),
              x.astype("int32"), gg.one_hot(gg.argmax(x), 2), gg.logical_not(x), gg.isfinite(x)):  # fmt: skip
        assert isinstance(y, gg.Tensor) and y.node is None
    assert gg.argmax(x).item() == 0 and gg.argsort(x).tolist() == [1, 0]
    assert gg.argsort(gg.tensor([1.0, 2.0, 1.0]), descending=True).tolist() == [1, 0, 2]
    assert gg.one_hot(gg.tensor([1, 0]), 3).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_einsum_errors():
    a, b = gg.ones((2, 3)), gg.ones((3, 4))
    for bad, xs in (
        ("ij,jk", (a,)),
        ("ijk", (a,)),
        ("ij->iz", (a,)),
        ("ij->ii", (a,)),
        ("i1", (a,)),
        ("ij,ij", (a, b)),
    ):
        with pytest.raises(ValueError, match="einsum"):
            gg.einsum(bad, *xs)
    with pytest.raises(TypeError, match="subscripts come first"):
        gg.einsum(a, "ij")


def test_tails_and_small_numbers():
    x = gg.tensor(np.array([-20.0, -40.0]))
    np.testing.assert_allclose(nn.sigmoid(x).numpy(), np.exp(x.numpy()) / (1 + np.exp(x.numpy())), rtol=1e-12)
    np.testing.assert_allclose(gradient(nn.softplus, [-20.0]), [np.exp(-20) / (1 + np.exp(-20))], rtol=1e-12)
    np.testing.assert_allclose(gradient(gg.prod, [1e-200, 1e-200]), [1e-200, 1e-200])


def test_floats_beside_integers_are_not_truncated():
    i = gg.tensor([0, 1, 2])
    assert gg.where(i > 0, i, 0.5).tolist() == [0.5, 1, 2] and gg.clip(i, 0.5, 1.5).tolist() == [0.5, 1, 1.5]
    assert nn.leaky_relu(gg.tensor([-3]), negative_slope=0.5).tolist() == [-1.5]
    assert (gg.tensor([6]) & 3).tolist() == [2] and (~gg.tensor([True])).tolist() == [False]


def test_half_reductions_accumulate_in_float32():
    x = gg.tensor(np.ones(1000), dtype="bfloat16", requires_grad=True)
    gg.max(x).backward()
    assert abs(float(gg.sum(x.grad.astype("float32"))) - 1) < 0.02
    assert abs(float(gg.logsumexp(gg.zeros(1000, dtype="bfloat16"))) - np.log(1000)) < 0.05


def test_a_list_of_tracked_tensors_is_refused():
    x = gg.Variable(3.0)
    assert (x * [x, x]).tolist() == [9, 9]  # outside a tape
    for f in (lambda: x * [x, x], lambda: gg.sum([x, x])):
        with gg.GradientTape(), pytest.raises(TypeError, match="gg.stack"):
            f()


def test_complex_variance():
    z = np.array([1 + 2j, 3 - 1j])
    check_grads(gg.var, [z], order=1, modes=["rev"])
    check_grads(gg.std, [z], order=1, modes=["rev"])


def test_gradients_at_hard_places():
    """Each against a value by hand."""
    leaf = lambda v: gg.tensor(np.asarray(v), requires_grad=True)
    z = leaf(-2 + 1j)
    (g,) = gg.grad(gg.acosh(z), z, gg.tensor(np.complex128(1)))
    assert_close(g, np.conj(1 / (np.sqrt(-3 + 1j) * np.sqrt(-1 + 1j))))
    x, y = leaf(3.0), leaf(0.0)  # the Hessian of x^y at y = 0 is symmetric
    gx, gy = gg.grad(x**y, [x, y], create_graph=True)
    assert_close(gg.grad(gx, y, retain_graph=True)[0], 1 / 3)
    assert_close(gg.grad(gy, x)[0], 1 / 3)
    x, y = leaf(0.0), leaf(0.0)
    assert [float(v) for v in gg.grad(x**y, [x, y])] == [0, 0]
    z = leaf(0.5 + 1j)
    (g,) = gg.grad((-2.0) ** z, z, gg.tensor(np.complex128(1)))
    w = (-2 + 0j) ** (0.5 + 1j) * np.log(-2 + 0j)
    assert_close(g, np.conj(w))
    y = leaf(0.1)
    assert_close(gg.grad(gg.remainder(1.0, y), y)[0], -9.0)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_gradients_of_too_few_elements_are_nan():
    for f in (gg.var, gg.std):
        x = gg.tensor(np.ones((2, 1)), requires_grad=True)
        y = f(x, axis=1, correction=1)
        assert np.isnan(y.numpy()).all() and np.isnan(gg.grad(y.sum(), x)[0].numpy()).all()
    x = gg.tensor(np.ones((0, 3)), requires_grad=True)
    assert gg.grad(gg.nn.cross_entropy(x, np.zeros(0, int)), x)[0].shape == (0, 3)


def test_reductions_of_nothing():
    x = gg.tensor(np.zeros((0, 3)))
    for f, expected in ((gg.sum, 0), (gg.prod, 1)):
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = f(x)
        assert float(y) == expected and tape.gradient(y, x).shape == (0, 3)
    with pytest.raises(ValueError, match="max: zero-size array"):
        gg.max(x)
