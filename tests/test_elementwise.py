"""Element-wise ops and activations beside the table: ends of the range, what is kept, dtypes, no gradients, errors."""

import functools

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.array import to_host
from gpugrad.testing import assert_close

pytestmark = pytest.mark.devices

INF, NAN = np.inf, np.nan


def derivative(f, x, order=1):
    """The derivative of f at each of x, on raw values."""
    x = gg.tensor(x, requires_grad=True)
    y = f(x)
    for _ in range(order):
        (y,) = gg.grad(gg.sum(y), x, create_graph=True)
    return y


def test_every_derivative_of_sinc_is_exact_near_zero():
    for order, at_zero in ((1, 0), (2, -(np.pi**2) / 3), (3, 0), (4, np.pi**4 / 5)):
        assert_close(derivative(gg.sinc, np.zeros(1), order), [at_zero], rtol=1e-13, atol=0)
    x = np.array([1e-160, -1e-8, 1e-4])
    assert_close(derivative(gg.sinc, x), -x * np.pi**2 / 3 + x**3 * np.pi**4 / 30, rtol=1e-13, atol=0)
    assert_close(derivative(gg.sinc, x, 3), x * np.pi**4 / 5 - x**3 * np.pi**6 / 42, rtol=1e-13, atol=0)
    x = np.array([0.318, 0.319, 0.6366, 0.637, 0.954, 0.955, 3.0, 1000.5])  # where series and recurrence meet; far away
    z = np.pi * x
    assert_close(derivative(gg.sinc, x), np.cos(z) / x - np.sin(z) / (z * x), rtol=1e-12, atol=1e-15)


# name: (the function, where its slope is 0)
FLAT = {
    "maximum": (lambda x: gg.maximum(x, 0.0), [-1.0]), "minimum": (lambda x: gg.minimum(x, 0.0), [1.0]),
    "fmax": (lambda x: gg.fmax(x, 0.0), [-1.0, NAN]), "fmin": (lambda x: gg.fmin(x, 0.0), [1.0, NAN]),
    "clip": (lambda x: gg.clip(x, 0.0, 1.0), [-1.0, 2.0]), "nan_to_num": (gg.nan_to_num, [NAN, INF]),
    "copysign": (lambda x: gg.copysign(x, 1.0), [0.0]), "relu": (nn.relu, [-1.0, 0.0]), "relu6": (nn.relu6, [0.0, 7.0]),
    "hardtanh": (nn.hardtanh, [-1.0, 1.0]), "hardsigmoid": (nn.hardsigmoid, [-3.0, 4.0]),
    "hardswish": (nn.hardswish, [-3.0, -9.0]), "hardshrink": (nn.hardshrink, [0.1, 0.5]),
    "softshrink": (nn.softshrink, [0.1, 0.5]), "threshold": (lambda x: nn.threshold(x, 1.0, 0.0), [1.0, 0.0]),
    "lerp": (lambda x: gg.where(x > 5, gg.lerp(x, 1.0, 0.5), 1.0), [0.0]),
}  # fmt: skip


@pytest.mark.parametrize("name", FLAT)
def test_an_infinite_cotangent_stays_out_where_the_slope_is_zero(name):
    f, at = FLAT[name]
    x = gg.tensor(np.array(at), requires_grad=True)
    y = f(x)
    assert gg.grad(y, x, gg.full_like(y, INF))[0].tolist() == [0] * len(at)


SMOOTH = (
    nn.sigmoid, nn.log_sigmoid, nn.softplus, nn.silu, nn.mish, nn.gelu, functools.partial(nn.gelu, approximate="tanh"),
    nn.elu, nn.selu, functools.partial(nn.celu, alpha=0.1), nn.softsign, nn.tanhshrink, nn.hardswish,
    functools.partial(nn.softplus, beta=5.0), gg.tanh, gg.atan, gg.asinh, lambda x: gg.hypot(x, 1.0),
    lambda x: gg.atan2(x, 1.0), lambda x: gg.logaddexp(x, 0.0), lambda x: gg.logaddexp2(x, 0.0), nn.softmax,
)  # fmt: skip


@pytest.mark.parametrize("f", SMOOTH)
def test_extremes_stay_finite_to_second_order(f):
    """Without a warning either: no exp of the branch not taken overflows."""
    for dtype, far in ((np.float64, 1e4), (np.float32, 200.0), (np.float16, 100.0)):
        x = np.array([-far, -1.0, 0.0, 1.0, far], dtype)
        for order in (0, 1, 2):
            y = derivative(f, x, order)
            assert y.dtype == dtype and np.isfinite(y.numpy()).all()


def test_tails():
    """What is small is not rounded to 0, nor 1 - small to 1 first."""
    low = np.array([-30.0])
    assert_close(derivative(nn.log_sigmoid, -low), np.exp(low), rtol=1e-12)
    assert_close(nn.mish(gg.tensor(low)), low * np.exp(low), rtol=1e-12)
    assert_close(derivative(nn.mish, low), np.exp(low) * (1 + low), rtol=1e-12)
    assert_close(derivative(gg.asin, np.array([1 - 1e-13])), 1 / np.sqrt((1 - (1 - 1e-13)) * 2), rtol=1e-12)
    assert_close(derivative(gg.atanh, np.array([1 - 1e-13])), 1 / ((1 - (1 - 1e-13)) * 2), rtol=1e-12)
    for f in (gg.asinh, lambda x: gg.atan2(gg.tensor(np.float16(0)), x) * 0 + gg.log(x)):  # x² is beyond float16
        assert_close(derivative(f, np.array([300.0], np.float16)), [1 / 300], rtol=2e-2)
    x, y = [gg.tensor(np.array([3e-30], np.float32), requires_grad=True) for _ in range(2)]  # x² is 0 in float32
    assert_close(gg.grad(gg.atan2(x, y), [x, y])[0], [1 / 6e-30], rtol=1e-5)


@pytest.mark.parametrize(
    "f, x, order, expected",
    [
        (gg.expm1, -18.0, 1, 1.522998e-8), (nn.elu, -18.0, 1, 1.522998e-8), (nn.elu, -12.0, 1, 6.144212e-6),
        (functools.partial(nn.celu, alpha=0.7), -12.0, 1, 3.588823e-8), (nn.log_sigmoid, -18.0, 2, -1.522998e-8),
        (gg.asin, 1e-8, 2, 1e-8), (gg.acos, 1e-8, 2, -1e-8), (gg.atanh, 1e-8, 2, 2e-8), (gg.asin, -1.0, 2, -INF),
        (gg.atanh, 1.0, 2, INF), (lambda x: gg.logaddexp(x, 1.0), 30.0, 2, 2.543666e-13),
        (lambda x: gg.logaddexp(x, 1e8), 1e8, 1, 0.5), (lambda x: gg.logaddexp2(x, 1e8), 1e8, 1, 0.5),
        (lambda x: gg.logaddexp2(x, 1e8), 1e8, 2, np.log(2) / 4), (lambda x: gg.logaddexp(x, INF), INF, 1, 1.0),
        (lambda x: gg.logaddexp(x, -INF), -INF, 1, 0.0),
    ],
)  # fmt: skip
def test_no_digits_are_lost_in_float32(f, x, order, expected):
    with np.errstate(divide="ignore"):
        assert_close(derivative(f, np.array([x], np.float32), order), [expected], rtol=1e-5, atol=0)


@pytest.mark.parametrize("f", [nn.gelu, functools.partial(nn.gelu, approximate="tanh"), nn.softsign])
def test_derivatives_at_the_ends_of_the_range(f):
    far = np.array([1e10, 1e19, 2e19, 3e38], np.float32)
    for x, slope in ((far, 0 if f is nn.softsign else 1), (-far, 0)):
        for dtype in ("float32", "bfloat16"):
            with np.errstate(over="ignore"):
                assert_close(derivative(f, gg.tensor(x, dtype=dtype).array), [slope] * 4, atol=1e-19)
                assert_close(derivative(f, gg.tensor(x, dtype=dtype).array, 2), [0] * 4, atol=1e-19)


def test_bounds_are_those_that_the_dtype_rounds_to():
    x = gg.tensor([5.0, -5.0, 0.1], dtype="bfloat16", requires_grad=True)
    assert gg.grad(gg.sum(nn.hardtanh(x, -0.7, 0.7)), x)[0].tolist() == [0, 0, 1]
    x = gg.tensor([0.30078125, -0.30078125], dtype="bfloat16", requires_grad=True)
    for low, high in ((-0.3, 0.3), (gg.tensor(-0.3, dtype="bfloat16"), 0.3), (-0.3, gg.tensor(0.3, dtype="bfloat16"))):
        assert gg.grad(gg.sum(gg.clip(x, low, high)), x)[0].tolist() == [1, 1]


def test_logaddexp_in_float16():
    x, y = [gg.tensor([1000.0, 3.0], dtype="float16", requires_grad=True) for _ in range(2)]
    for f in (gg.logaddexp, gg.logaddexp2):
        assert [g.tolist() for g in gg.grad(gg.sum(f(x, y)), [x, y])] == [[0.5, 0.5]] * 2


BY_OUTPUT = {
    "relu": nn.relu, "relu6": nn.relu6, "hardtanh": nn.hardtanh, "hardsigmoid": nn.hardsigmoid,
    "leaky_relu": nn.leaky_relu, "hardshrink": nn.hardshrink,
    "softshrink": nn.softshrink, "sigmoid": nn.sigmoid, "tanh": gg.tanh, "log_sigmoid": nn.log_sigmoid,
    "exp": gg.exp, "sqrt": gg.sqrt, "rsqrt": gg.rsqrt, "cbrt": gg.cbrt, "reciprocal": gg.reciprocal, "asinh": gg.asinh,
    "softmax": nn.softmax, "log_softmax": nn.log_softmax,
}  # fmt: skip


@pytest.mark.parametrize("name", BY_OUTPUT)
def test_goes_by_the_output(name):
    """The output is all that is kept, so x may go."""
    x = gg.tensor(np.array([0.5, 2.0]), requires_grad=True)
    y = BY_OUTPUT[name](x * 1)
    assert [v for v in y.node.saved if hasattr(v, "dtype")] == [y.array]


@pytest.mark.parametrize("f", [gg.floor, gg.ceil, gg.round, gg.sign, gg.frac, gg.deg2rad, gg.angle, gg.imag])
def test_keeps_nothing(f):
    x = gg.tensor(np.array([0.5, 2.0]), requires_grad=True)
    assert not [v for v in f(x).node.saved if hasattr(v, "dtype")]


def test_integers():
    i = gg.tensor([-3, 0, 26])
    for f, expected in (
        (gg.floor, [-3, 0, 26]), (gg.trunc, [-3, 0, 26]), (gg.frac, [0, 0, 0]), (lambda x: gg.round(x, 1), [-3, 0, 26]),
        (lambda x: gg.round(x, decimals=-1), [0, 0, 30]), (gg.abs, [3, 0, 26]), (gg.sign, [-1, 0, 1]),
        (lambda x: gg.maximum(x, 1), [1, 1, 26]), (lambda x: gg.fmod(x, 2), [-1, 0, 0]), (gg.nan_to_num, [-3, 0, 26]),
        (lambda x: gg.remainder(x, 2), [1, 0, 0]), (lambda x: gg.floor_divide(x, 2), [-2, 0, 13]),
        (gg.imag, [0, 0, 0]), (gg.conj, [-3, 0, 26]), (gg.square, [9, 0, 676]),
    ):  # fmt: skip
        y = f(i)
        assert y.tolist() == expected and y.dtype.kind == "i"
    for f in (gg.sin, gg.cbrt, gg.sinc, gg.deg2rad, gg.angle, nn.elu, nn.mish, nn.hardswish, nn.relu6, nn.softsign):
        assert f(i).dtype == gg.float32
    for f in (gg.copysign, gg.logaddexp2, gg.heaviside, gg.hypot):
        assert f(i, i).dtype == gg.float32
    assert gg.lerp(i, 2, 0.5).tolist() == [-0.5, 1, 14]


def test_bits():
    a, b = gg.tensor([6, 5]), gg.tensor([3, 1])
    for f, expected in (
        (gg.bitwise_and, [2, 1]), (gg.bitwise_or, [7, 5]), (gg.bitwise_xor, [5, 4]), (gg.bitwise_left_shift, [48, 10]),
        (gg.bitwise_right_shift, [0, 2]),
    ):  # fmt: skip
        assert f(a, b).tolist() == expected
    assert gg.bitwise_invert(a).tolist() == [-7, -6]
    assert (a << b).tolist() == [48, 10] and (a >> 1).tolist() == [3, 2] and (1 << b).tolist() == [8, 2]
    with pytest.raises(TypeError, match="bitwise_and"):
        gg.bitwise_and(gg.tensor([1.0]), a)


def test_predicates_are_not_tracked():
    x = gg.tensor([1.0, -0.0, NAN, INF], requires_grad=True)
    for f, expected in (
        (gg.signbit, [0, 1, 0, 0]), (gg.isnan, [0, 0, 1, 0]), (gg.isinf, [0, 0, 0, 1]), (gg.isfinite, [1, 1, 0, 0]),
        (lambda x: gg.isclose(x, x), [1, 1, 0, 1]), (lambda x: gg.isclose(x, x, equal_nan=True), [1, 1, 1, 1]),
        (lambda x: gg.isclose(x, 1 + 1e-6), [1, 0, 0, 0]),
        (lambda x: gg.isclose(x, 1.1, rtol=0.0, atol=0.2), [1, 0, 0, 0]),
        (lambda x: gg.isclose(x, [1.0, 0.0, 0.0, 0.0]), [1, 1, 0, 0]),
    ):  # fmt: skip
        y = f(x)
        assert y.tolist() == expected and y.dtype == gg.bool_ and y.node is None
    half = gg.tensor([1.0, 2.0], dtype="bfloat16")
    assert gg.isclose(half, half).tolist() == [True, True]


def test_float_power():
    assert gg.float_power(gg.tensor([2, 3]), -1).dtype == gg.float64
    assert gg.float_power(gg.tensor([2, 3]), -1).tolist() == [0.5, 1 / 3]
    assert gg.float_power(2, gg.tensor([0.5], dtype="float16")).dtype == gg.float64
    assert gg.float_power(gg.tensor([1.0]), 1j).dtype == gg.complex128
    assert gg.float_power(0.1, 1).item() == 0.1 and gg.float_power([0.1], gg.tensor([1.0])).item() == 0.1


def test_half_types_have_their_own_limits():
    for dtype in ("float16", "bfloat16"):
        x = gg.tensor([NAN, INF, -INF], dtype=dtype)
        y = gg.nan_to_num(x)
        assert y.dtype == x.dtype and gg.isfinite(y).tolist() == [True] * 3
        assert gg.nan_to_num(x, 1.0, 2.0, 3.0).tolist() == [1, 2, 3]


def test_complex_parts_are_replaced_by_themselves():
    z = gg.tensor(np.array([complex(NAN, 2), complex(1, INF), 1 + 1j]), requires_grad=True)
    y = gg.nan_to_num(z, posinf=3.0)
    assert y.tolist() == [2j, 1 + 3j, 1 + 1j]
    assert gg.grad(gg.real(y).sum(), z)[0].tolist() == [0, 1, 1]
    assert gg.grad(gg.imag(gg.nan_to_num(z)).sum(), z)[0].tolist() == [1j, 0, 1j]


def test_complex_at_zero():
    z = gg.tensor(np.zeros(1, complex), requires_grad=True)
    for f in (gg.abs, gg.angle, gg.sign):
        assert gg.grad(gg.real(f(z)).sum(), z)[0].tolist() == [0]


def test_axes_of_rows_that_are_not_there():
    for f in (nn.softmax, nn.log_softmax, nn.softmin, nn.glu):
        with pytest.raises(ValueError, match="axis 2 is out of"):
            f(gg.ones((2, 2)), axis=2)


@pytest.mark.parametrize(
    ("f", "error", "words"),
    [
        (lambda x: nn.elu(x, scale=0.0), ValueError, "elu: scale and input_scale are above 0, given 0.0 and 1.0"),
        (lambda x: nn.celu(x, alpha=0.0), ValueError, "celu: alpha is above 0, not 0.0"),
        (lambda x: nn.hardtanh(x, 1.0, -1.0), ValueError, "hardtanh: min_val 1.0 is above max_val -1.0"),
        (lambda x: nn.hardshrink(x, -0.1), ValueError, "hardshrink: lambd is 0 or more, not -0.1"),
        (lambda x: nn.softshrink(x, -0.1), ValueError, "softshrink: lambd is 0 or more, not -0.1"),
        (lambda x: nn.softplus(x, beta=0), ValueError, "softplus: beta is a number other than 0"),
        (lambda x: nn.gelu(x, "sigmoid"), ValueError, "gelu: approximate is 'none' .* or 'tanh', not 'sigmoid'"),
        (lambda x: nn.glu(x), ValueError, "glu: axis -1 of x has the odd length 3"),
        (lambda x: nn.prelu(x, np.zeros(2)), ValueError, "prelu: weight has shape .2.; .* each of the 3 channels"),
        (lambda x: nn.prelu(x, np.zeros((3, 1))), ValueError, "prelu: weight has shape .3, 1."),
        (lambda x: gg.clip(x, 1.0, 0.0), ValueError, "clip: min 1.0 is above max 0.0"),
        (lambda x: gg.clip(x, NAN), ValueError, "clip: min is NaN"),
        (lambda x: gg.add(x, gg.ones(4)), ValueError, "add: .*could not be broadcast"),
        (lambda x: gg.lerp(x, None, 0.5), TypeError, "lerp: .nsupported"),
        (lambda x: gg.angle("x"), TypeError, "angle: cannot take 'x'"),
        (lambda x: gg.hypot(gg.astype(x, "complex64"), 1.0), TypeError, "hypot"),
    ],
)
def test_errors(f, error, words):
    with pytest.raises(error, match=words):
        f(gg.tensor([[1.0, 2.0, 3.0]]))


@pytest.mark.parametrize(
    "f",
    [
        nn.elu,
        nn.hardtanh,
        nn.hardswish,
        nn.softsign,
        nn.leaky_relu,
        nn.hardshrink,
        nn.softshrink,
        nn.hardsigmoid,
        nn.softplus,
        nn.log_sigmoid,
        nn.mish,
        nn.relu6,
        nn.selu,
    ],
)
def test_complex_numbers_have_no_order(f):
    with pytest.raises(TypeError, match="complex numbers have no order"):
        f(gg.tensor([1j]))


def test_arrays_and_lists():
    """Raw arrays in, raw arrays out; numbers and lists become Tensors."""
    x = to_host(gg.tensor([0.5, -2.0]).array)
    for f in (gg.cbrt, gg.angle, gg.nan_to_num, gg.sinc, gg.round, nn.mish, nn.relu6, nn.celu, nn.glu, nn.leaky_relu):
        assert type(f(x)) is np.ndarray
        assert isinstance(f([0.5, -2.0]), gg.Tensor)
    assert type(gg.lerp(x, x, 0.5)) is type(nn.prelu(x, 0.5)) is type(gg.fmax(x, 0.0)) is np.ndarray


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64", "complex128", "int32"])
def test_where_of_many_elements_is_the_choice_of_bits(dtype):
    rng = np.random.default_rng(0)
    n = 4096
    x, y = [gg.tensor(rng.standard_normal((2, n)) * 9).astype(dtype) for _ in range(2)]
    mask = rng.random((2, n)) < 0.5
    take = lambda m, a, b: np.where(m, to_host(a.array).astype("c16"), to_host(b.array).astype("c16"))
    for m, a, b in (
        (mask, x, y), (mask, x[0], y), (mask[:1], x, y[:1]), (mask, x[:, ::-1], y[:, :1]), (mask[:, ::-1], x, y[0, 0]),
        (mask[0], x, y), (mask.astype(int) * 5, x, y),
    ):  # fmt: skip
        out = gg.where(gg.tensor(m), a, b)
        assert out.dtype == x.dtype and np.array_equal(to_host(out.array).astype("c16"), take(m != 0, a, b))
    if dtype != "int32":
        zero = gg.where(gg.tensor(mask), x, 0)
        assert zero.dtype == x.dtype and np.array_equal(to_host(zero.array).astype("c16"), take(mask, x, x * 0))
