"""Reductions and scans: what has no gradient, conventions, dtypes, what is kept, and bad input."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.testing import assert_close, check_grads

pytestmark = pytest.mark.devices
inf, nan = np.inf, np.nan
X = np.array([[3.0, 0.0, 3.0], [1.0, 4.0, 2.0]])


# ---------------------------------------------------------------------------------------------- no gradient
@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int32", "complex64", "bool"])
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_choices_and_counts(axis, dtype):
    x = gg.tensor(X, dtype=dtype)
    host = X.astype(complex if dtype == "complex64" else bool if dtype == "bool" else float)
    for keepdims in (False, True):
        for f in ("argmax", "argmin", "any", "all", "count_nonzero"):
            got = getattr(gg, f)(x, axis=axis, keepdims=keepdims)
            assert got.tolist() == getattr(np, f)(host, axis=axis, keepdims=keepdims).tolist(), f
            assert got.dtype == ("bool" if f in ("any", "all") else "int64")
    assert gg.any(x, (0, 1)).item() and not gg.all(x, [0, 1]).item() and gg.count_nonzero(x, (0, -1)).item() == 5


# ---------------------------------------------------------------------------------------------- extremes so far
@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_running_extremes_are_pytorchs(dtype):
    """The last of equal ones; a NaN stays, and the last one is meant."""
    values, places = gg.cummax(gg.tensor([1, 1, 0, nan, 2, nan, 3], dtype=dtype))
    assert_close(values, np.array([1, 1, 1, nan, nan, nan, nan]))
    assert places.tolist() == [0, 1, 1, 3, 3, 5, 5] and places.node is None and values.dtype == dtype
    values, places = gg.cummin(gg.tensor([[1, 1], [2, 0], [1, 0]], dtype=dtype), axis=0)
    assert values.tolist() == [[1, 1], [1, 0], [1, 0]] and places.tolist() == [[0, 0], [0, 1], [2, 2]]


def test_running_extremes_of_integers():
    assert gg.cummax(gg.tensor([1, 3, 2]))[0].tolist() == [1, 3, 3]
    assert gg.cummin(gg.tensor([True, False, True]))[0].tolist() == [True, False, False]


# ---------------------------------------------------------------------------------------------- conventions
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("correction", [2, 3])
def test_no_degrees_of_freedom(correction):
    """As PyTorch has it: an infinite variance with infinite slopes away from the mean, whatever is below 0."""
    x = gg.tensor(np.array([1.0, 2.0]), requires_grad=True)
    y = gg.var(x, correction=correction)
    assert y.item() == inf and gg.grad(y, x)[0].tolist() == [-inf, inf]
    y = gg.std(x, correction=correction)
    assert y.item() == inf and np.isnan(gg.grad(y, x)[0].numpy()).all()


def test_quantiles_stay_among_the_elements_and_rise():
    q = np.linspace(0, 1, 1001)
    assert (gg.quantile(np.full(101, 0.1, np.float32), q) == np.float32(0.1)).all()
    for x in (np.array([0.1, 0.3]), np.random.default_rng(0).standard_normal(7)):
        y = np.asarray(gg.quantile(x, q))
        assert (np.diff(y) >= 0).all() and y[0] == x.min() and y[-1] == x.max()


@pytest.mark.parametrize("method", ["inverted_cdf", "averaged_inverted_cdf", "closest_observation", "nearest"])
def test_quantiles_that_jump_are_numpys(method):
    for n in range(1, 8):
        x, q = np.random.default_rng(n).standard_normal(n), np.arange(2 * n + 1) / (2 * n)
        assert_close(gg.quantile(x, q, method=method), np.quantile(x, q, method=method), rtol=1e-15)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_quantiles_at_infinities_and_nan():
    x = gg.tensor([[inf, inf, 1.0], [inf, inf, inf], [-inf, 2.0, 1.0], [nan, 1.0, 1.0]])
    assert_close(gg.median(x, axis=1), np.array([inf, inf, 1, nan]))
    assert_close(gg.quantile(x, [0, 1], axis=-1), np.array([[1, inf, -inf, nan], [inf, inf, 2, nan]]))
    assert gg.median(gg.tensor([1.0, 2.0, 3.0, 10.0])).item() == 2.5
    assert gg.quantile(gg.tensor([1.0, 2.0, 3.0, 10.0]), 0.5, method="lower").item() == 2
    x = gg.tensor([[1.0, inf], [-inf, 1.0], [-inf, inf]])
    assert_close(gg.quantile(x, [0.3, 0.7], axis=1), np.array([[inf, -inf, nan]] * 2))
    assert gg.quantile(gg.tensor([0.0, 1.0, 2.0, 3.0, 4.0]), [0.125, 0.375], method="nearest").tolist() == [0, 2]


def test_the_median_of_equal_elements_hands_on_its_whole_gradient():
    x = gg.tensor(np.ones(4), requires_grad=True)
    gg.median(x).backward()
    assert sorted(x.grad.tolist()) == [0, 0, 0.5, 0.5]


def test_zeros_to_the_third_order():
    for f in (gg.prod, gg.cumprod):
        for v in ([0.0, 2.0, 3.0], [0.0, 0.0, 3.0], [2.0, 0.0, 0.0, 0.5], [0.0, 0.0, 0.0]):
            check_grads(f, [np.array(v)], order=3, modes=["rev"])


def test_products_that_leave_the_range():
    for v, expected in (
        ([1e200, 1e200], [1e200, 1e200]),
        ([1e-160, 1e-160], [1e-160, 1e-160]),
        ([1e-200] * 2, [1e-200] * 2),
    ):
        x = gg.tensor(np.array(v), requires_grad=True)
        with np.errstate(over="ignore"):
            gg.prod(x).backward()
        assert x.grad.tolist() == expected


def test_cumlogsumexp_does_not_overflow():
    x = gg.tensor(np.array([-1e4, 1e4, -1e4, 1e4, 0.0]), requires_grad=True)
    y = gg.cumlogsumexp(x)
    assert_close(y, np.array([-1e4, 1e4, 1e4, 1e4 + np.log(2), 1e4 + np.log(2)]))
    assert_close(gg.grad(y[3], x)[0], np.array([0, 0.5, 0, 0.5, 0]), atol=1e-12)
    check_grads(gg.cumlogsumexp, [np.array([0.0, -900.0, 900.0, 899.0])])
    x = gg.tensor([[-inf, -inf], [-inf, 0.0]])
    assert gg.cumlogsumexp(x).tolist() == x.tolist() and gg.logsumexp(x, axis=1).tolist() == [-inf, 0]


def test_gradients_of_logsumexp_do_not_come_from_a_rounded_result():
    for x in (np.full(2, 1e8, np.float32), np.full(2, 1000, np.float16), np.full(2, 1000, "bfloat16")):
        t = gg.tensor(x, requires_grad=True)
        assert gg.grad(gg.logsumexp(t), t)[0].tolist() == [0.5, 0.5]
        assert gg.grad(gg.sum(gg.cumlogsumexp(t)), t)[0].tolist() == [1.5, 0.5]
    x = gg.tensor(np.array([nan, 1.0]), requires_grad=True)
    assert np.isnan(gg.grad(gg.logsumexp(x), x)[0].numpy()).all()
    check_grads(gg.logsumexp, [np.array([0.0, -900.0, 900.0, 899.0])])


def test_logsumexp_of_nothing():
    assert gg.logsumexp(gg.zeros((0, 3))).item() == -inf
    assert gg.logsumexp(gg.zeros((0, 3), "float16"), 0, True).tolist() == [[-inf] * 3]
    x = gg.tensor(np.zeros((2, 0)), requires_grad=True)
    assert gg.grad(gg.sum(gg.logsumexp(x, axis=1)), x)[0].shape == (2, 0)


def test_cotangents_do_not_take_products_out_of_range():
    for f, last in ((gg.prod, lambda y: y), (gg.cumprod, lambda y: y[-1])):
        for v, g, expected in (([1e-30, 1], 1e-10, [1e-10, 0]), ([1e30, 1], 1e10, [1e10, inf])):
            x = gg.tensor(np.array(v, np.float32), requires_grad=True)
            with np.errstate(all="ignore"):
                got = gg.grad(last(f(x)), x, gg.tensor(np.float32(g)))[0]
            assert_close(got, np.array(expected, np.float32), rtol=1e-6, atol=2e-40)


def test_half_scans_accumulate_in_float32():
    for dtype in ("float16", "bfloat16"):
        ones = gg.ones(1000, dtype=dtype)
        for f, last in (
            (gg.cumsum, 1000),
            (gg.cumlogsumexp, 1 + np.log(1000)),
            (lambda x: gg.cumprod(x * 1.0078125), 1.0078125**1000),
        ):
            assert abs(float(f(ones)[-1]) / last - 1) < 0.005
        assert gg.nanmean(gg.full(70_000, 2.0, dtype=dtype)).item() == 2
        y = gg.trapezoid(gg.tensor([6e4, 6e4], dtype))
        assert y.dtype == dtype and abs(y.item() - 6e4) < 200


# ---------------------------------------------------------------------------------------------- dtypes
def test_dtype_is_accumulated_in():
    x = gg.tensor([16_777_216.0, 1.0, 1.0], requires_grad=True)
    for f in (gg.sum, gg.mean, gg.prod, gg.cumsum, gg.cumprod):
        y = f(x, dtype="float64")
        assert y.dtype == "float64" and gg.grad(gg.sum(y), x)[0].dtype == "float32", f.__name__
    assert gg.sum(x, dtype="float64").item() == 16_777_218
    assert gg.sum(gg.tensor([1, 2]), dtype="bfloat16").dtype == gg.bfloat16
    assert gg.cumulative_sum(gg.tensor([1, 2]), dtype="float64").dtype == "float64"


def test_integers():
    i = gg.tensor([[1, 2], [3, 4]])
    for f in (gg.sum, gg.prod, gg.cumsum, gg.cumprod, gg.diff, gg.max, gg.nansum):
        assert f(i).dtype.kind == "i", f.__name__
    for f in (gg.mean, gg.var, gg.std, gg.logsumexp, gg.cumlogsumexp, gg.median, gg.nanmean, gg.norm):
        assert f(i).dtype == "float32", f.__name__
    assert gg.trapezoid(i).tolist() == [1.5, 3.5] and gg.diff(i > 2, axis=0).tolist() == [[True, True]]
    assert gg.average(i, 0, [1, 3]).tolist() == [2.5, 3.5]
    assert gg.diff(i, n=2, prepend=0, append=[[5], [6]]).tolist() == [[0, 2], [-2, 1]]


# ---------------------------------------------------------------------------------------------- what is kept
def test_what_does_not_need_x_does_not_keep_it():
    """Sums, means, running sums and differences keep nothing; chosen elements keep where they were."""
    x = gg.tensor(np.ones((50, 40)))
    for f in (gg.sum, gg.mean, gg.cumsum, gg.diff):
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = f(x, axis=0)
        assert tape.nbytes() == 0 and y.node is not None, f.__name__


# ---------------------------------------------------------------------------------------------- bad input
E_AXIS = r"axis 2 is out of bounds for (an )?array of (dimension )?2"
OVER = ("sum mean prod max min var std logsumexp any all count_nonzero argmax argmin cumsum cumprod cummax cummin "
        "cumlogsumexp cumulative_sum cumulative_prod median diff trapezoid average nansum nanmean").split()  # fmt: skip


@pytest.mark.parametrize("name", OVER)
def test_axes_out_of_bounds(name):
    with pytest.raises(ValueError, match=E_AXIS):
        getattr(gg, name)(gg.ones((2, 3)), axis=2)


@pytest.mark.parametrize("name", "max min argmax argmin median".split())
def test_nothing_has_no_largest(name):
    with pytest.raises(ValueError, match=r"\[0, 3\]"):
        getattr(gg, name)(gg.ones((0, 3)), axis=0)


@pytest.mark.parametrize(
    ("f", "kind", "words"),
    [
        (lambda x: gg.sum(x, dtype="int32"), TypeError, "sum: dtype int32 holds no fractions"),
        (lambda x: gg.sum(x, axis=(0, 0)), ValueError, "sum: duplicate value in 'axis'"),
        (lambda x: gg.median(x, axis=(0, -2)), ValueError, r"median: axis \(0, -2\) names an axis twice"),
        (lambda x: gg.quantile(x, 1.5), ValueError, "q is from 0 to 1, not 1.5"),
        (lambda x: gg.quantile(x, nan), ValueError, "q is from 0 to 1, not nan"),
        (lambda x: gg.quantile(x, 0.5, method="mean"), ValueError, "method 'mean' is none of linear, "),
        (lambda x: gg.quantile(x + 1j, 0.5), TypeError, "complex numbers have no order"),
        (lambda x: gg.cummax(x + 1j), TypeError, "cummax: complex numbers have no order"),
        (lambda x: gg.cumlogsumexp(x + 1j), TypeError, "cumlogsumexp: complex numbers have no order"),
        (lambda x: gg.cumprod(x, axis=None), ValueError, "cumprod: axis is an integer; for the flattened array write"),
        (lambda x: gg.cumsum(x[0, 0]), ValueError, "cumsum: axis is an integer"),
        (lambda x: gg.cumulative_sum(x), ValueError, "cumulative_sum: axis may be left out for a vector only; x has 2"),
        (lambda x: gg.diff(x, n=-1), ValueError, "diff: n is -1"),
        (lambda x: gg.diff(x[0, 0]), ValueError, "diff: axis -1 is out of bounds for an array of 0 axes"),
        (lambda x: gg.diff(x, prepend=x[:, 0]), ValueError, "concat"),
        (lambda x: gg.trapezoid(x, x[:, 0]), ValueError, r"x has shape \[2\]; it is a vector of 3 elements or"),
        (lambda x: gg.average(x, weights=x[0]), ValueError, r"weights have shape \[3\]; give the shape of x, \[2, 3\]"),
        (lambda x: gg.average(x, axis=0, weights=x[0]), ValueError, r"average: weights have shape \[3\]"),
        (lambda x: gg.norm(x, "max"), ValueError, "norm: ord is 'fro', 'nuc', .* not 'max'"),
        (lambda x: gg.norm(x, "fro", axis=0), ValueError, "norm: ord 'fro' over 1 axes is no norm"),
        (lambda x: gg.norm(gg.ones((2, 2, 2)), 2), ValueError, "norm: ord 2 over 3 axes is no norm"),
    ],
)  # fmt: skip
def test_bad_input(f, kind, words):
    with pytest.raises(kind, match=words):
        f(gg.ones((2, 3)))
