"""Special functions in their tails, at the ends of their domains, of integers and half types, and without SciPy."""

import numpy as np
import pytest
from scipy import special as sp

import gpugrad as gg
from gpugrad import host_special
from gpugrad.dtypes import bfloat16
from gpugrad.testing import assert_close

pytestmark = pytest.mark.devices
s = gg.special


def derivative(f, x, order=1):
    for _ in range(order):
        f = lambda x, f=f: _slope(f, x)
    return f(gg.tensor(np.asarray(x, np.float64))).numpy()


def _slope(f, x):
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = f(x)
    return tape.gradient(y, x)


@pytest.mark.parametrize(
    "f, x, order, expected",  # computed with 40 digits
    [
        (s.erfcx, 100.0, 1, -5.64104976259931849e-05), (s.erfcx, 1e5, 1, -5.641895834631253e-11),
        (s.erfcx, 100.0, 2, 1.12804078022883361e-06), (s.erfcx, -3.0, 1, -97237.0615031646153),
        (s.log_ndtr, -100.0, 1, 100.00999800099926), (s.log_ndtr, -1e4, 1, 10000.000099999998),
        (s.log_ndtr, -100.0, 2, -0.999900059950051737), (s.log_ndtr, 20.0, 1, 5.520948362159764e-88),
        (s.log_ndtr, 200.0, 1, 0.0), (s.log_ndtr, 200.0, 2, 0.0), (s.erfc, 20.0, 1, -2.16103747438679846e-174),
        (s.logit, 1e-20, 1, 1e20), (s.i0, 1e-4, 2, 0.5000000018750000), (s.i1, 0.0, 3, 0.375), (s.i1, 0.0, 2, 0.0),
        (s.i0e, 100.0, 1, -0.000200226273966429974),
    ],
)  # fmt: skip
def test_no_digits_are_lost_in_tails(f, x, order, expected):
    with np.errstate(over="ignore"):  # erfcx is infinite far left, and log_ndtr's slope 0
        assert_close(derivative(f, x, order), expected, rtol=1e-11, atol=1e-300)


def test_logit_keeps_digits_near_one_half_and_at_the_ends():
    x = np.array([1e-300, 1e-9, 0.29, 0.31, 0.5 + 1e-12, 0.69, 0.71, 1 - 1e-12])
    assert_close(s.logit(gg.tensor(x)), sp.logit(x), rtol=1e-14, atol=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        assert s.logit(gg.tensor(np.array([0.0, 1.0]))).tolist() == [-np.inf, np.inf]
        assert np.isnan(s.logit(gg.tensor(np.array([-0.1, 1.1]))).numpy()).all()


def test_quotients_of_divergences_leave_the_range_or_are_nearly_one():
    x, y = [np.array(v, np.float32) for v in ([1e30, 1e-30, 1.0], [1e-30, 1e30, 1 + 2**-23])]
    for f, reference, more in ((s.rel_entr, sp.rel_entr, 1), (s.kl_div, sp.kl_div, 0)):
        t = gg.tensor(x, requires_grad=True)
        out = f(t, gg.tensor(y))
        assert_close(out, reference(x.astype(np.float64), y.astype(np.float64)), rtol=1e-6, atol=1e-12)
        slope = np.log(x.astype(np.float64)) - np.log(y.astype(np.float64)) + more
        assert_close(gg.grad(gg.sum(out), t)[0], slope, rtol=1e-5, atol=0)


def test_ends_of_domains_are_scipys():
    for f, reference, x in (
        (s.entr, sp.entr, [-1.0, 0.0, np.inf, np.nan]), (s.erfinv, sp.erfinv, [-1.0, 1.0, 2.0]),
        (s.ndtri, sp.ndtri, [0.0, 1.0, 2.0]), (s.gammaln, sp.gammaln, [0.0, -1.0, np.inf]),
        (s.digamma, sp.digamma, [0.0, -1.0]), (s.i0e, sp.i0e, [np.inf, 800.0]), (s.zeta, sp.zeta, [1.0, np.inf]),
    ):  # fmt: skip
        np.testing.assert_array_equal(f(gg.tensor(np.array(x))).numpy(), reference(x))
    x, y = np.array([0.0, 0.0, 0.0, 1.0, 0.0]), np.array([0.0, -1.0, np.nan, np.inf, np.inf])
    for f, reference in (
        (s.xlogy, sp.xlogy),
        (s.xlog1py, sp.xlog1py),
        (s.rel_entr, sp.rel_entr),
        (s.kl_div, sp.kl_div),
    ):
        with np.errstate(invalid="ignore"):  # kl_div(1, inf) is inf - inf, in SciPy, too
            np.testing.assert_array_equal(f(gg.tensor(x), gg.tensor(y)).numpy(), reference(x, y))


@pytest.mark.parametrize("a", [1e-3, 0.1, 1.4, 2.5, 11.0, 1000.0])
def test_incomplete_gamma_by_its_shape(a):
    """Where SciPy has no derivative: against central differences of 8th order of SciPy's own values."""
    x = a * np.array([0.3, 0.9, 0.99, 1.01, 1.1, 1.5]) + (0.01 if a < 1 else 0)
    h = 1e-3 * a
    weights = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
    numeric = sum(w * (sp.gammainc(a + k * h, x) - sp.gammainc(a - k * h, x)) for k, w in weights.items()) / h
    t = gg.tensor(np.full_like(x, a))
    near = 1e-9 * np.abs(numeric).max()
    with np.errstate(over="ignore", under="ignore"):
        got = _slope(lambda t: s.gammainc(t, gg.tensor(x)), t)
        assert_close(got, numeric, rtol=1e-9, atol=near)
        assert_close(_slope(lambda t: s.gammaincc(t, gg.tensor(x)), t), -numeric, rtol=1e-9, atol=near)


def test_incomplete_gamma_where_it_is_flat_or_not_defined():
    a, x = gg.tensor(np.array([2.0, 2.0, 0.0, 2.0])), gg.tensor(np.array([0.0, np.inf, 1.0, -1.0]))
    with gg.GradientTape() as tape:
        tape.watch([a])
        y = s.gammainc(a, x)
    np.testing.assert_array_equal(tape.gradient(y, a).numpy(), [0, 0, np.nan, np.nan])


def test_zeta_by_its_exponent():
    assert_close(derivative(s.zeta, 2.0), -0.9375482543158438, rtol=1e-14)
    assert_close(derivative(s.zeta, 2.0, 2), 1.98928023429890102, rtol=1e-13)
    assert np.isnan(derivative(lambda x: s.zeta(x, -0.5), 2.0))


def test_dtypes(default_device):
    i = gg.tensor([1, 2])
    assert s.erf(i).dtype == s.gammaln(i).dtype == s.polygamma(1, i).dtype == s.xlogy(i, i).dtype == np.float32
    for dtype in (np.float16, bfloat16, np.float32, np.float64):
        x = gg.tensor([1.5, 2.5], dtype=dtype)
        for y in (s.zeta(x, 2.0), s.xlogy(2, x), s.beta(x, [1.0, 2.0]), s.polygamma(2, x), s.multigammaln(x, 2)):
            assert y.dtype == dtype
    assert s.betaln(gg.tensor([1.0], dtype="float64"), gg.tensor([1.0])).dtype == np.float64
    assert s.erf(0.5).dtype == np.float32
    x = gg.tensor([100.0], dtype="float16")
    assert_close(_slope(s.i0e, x), [-0.00020022627], rtol=2e-3, atol=0)  # a difference of near numbers, in float32


def test_errors():
    x = gg.tensor([1.0])
    for f, kind, words in (
        (lambda: s.polygamma(-1, x), ValueError, "polygamma: n must be 0 or more"),
        (lambda: s.polygamma(1.5, x), TypeError, "polygamma: n is an integer, given 1.5"),
        (lambda: s.multigammaln(x, 0), ValueError, "multigammaln: d is an integer from 1"),
        (lambda: s.logit(x, 0.7), ValueError, "logit: eps is a number from 0 to 0.5, given 0.7"),
        (lambda: s.beta(gg.ones(2), gg.ones(3)), ValueError, "beta: .*given float32"),
        (lambda: s.erf("x"), TypeError, "erf: cannot take 'x'"),
    ):
        with pytest.raises(kind, match=words):
            f()


def test_without_scipy(monkeypatch):
    x = np.array([[-1.5, 0.25], [0.75, 3.0]])
    expected = [f(x) for f in (sp.erf, sp.erfc, sp.ndtr, sp.gammaln)]
    monkeypatch.setattr(host_special, "_scipy", lambda: None)
    t = gg.tensor(x)
    for y, e in zip([s.erf(t), s.erfc(t), s.ndtr(t), s.gammaln(t)], expected, strict=True):
        assert_close(y, e, rtol=1e-14, atol=1e-15)
    assert s.gammaln(gg.tensor(np.array([-1.0, 0.0]))).tolist() == [np.inf, np.inf]
    for f in (s.expit, s.logit, s.entr, lambda x: s.xlogy(x, x), lambda x: s.xlog1py(x, x)):
        f(gg.tensor([0.5]))  # NumPy's
    with pytest.raises(ImportError, match=r"i0 on the CPU is SciPy's, .* pip install 'gpugrad\[scipy\]'"):
        s.i0(t)
