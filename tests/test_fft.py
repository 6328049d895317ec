"""Fourier transforms: bad input, dtypes, frequencies."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import fft
from gpugrad.testing import assert_close

pytestmark = pytest.mark.devices


def test_bad_input():
    x = gg.ones((2, 4))
    for f, words in (
        (lambda: fft.fft(x, n=0), "fft: n is 1 or more"),
        (lambda: fft.hfft(x, n=-1), "hfft: n is 1 or more"),
        (lambda: fft.fft2(x, s=(0, 2)), "fft2: lengths are 1 or more"),
        (lambda: fft.ifft(x, axis=2), "ifft: axis"),
        (lambda: fft.irfft(gg.ones((2, 1))), "irfft: lengths are 1 or more"),
        (lambda: fft.irfft(x, axis=5), "irfft: axis"),
        (lambda: fft.rfft(x, norm="both"), "rfft: norm is"),
        (lambda: fft.hfft(x, norm="both"), "hfft: norm is"),
        (lambda: fft.fftn(x, s=(1, 2), axes=(0,)), "differ in length"),
        (lambda: fft.fft2(x, axes=(0, -2)), "fft2: ax[ei]s"),
        (lambda: fft.rfftn(x, s=(1, 2, 3)), "more lengths than x has axes"),
        (lambda: fft.rfftn(gg.ones(())), "at least one axis"),
        (lambda: fft.irfftn(gg.ones(())), "at least one axis"),
        (lambda: fft.fft(gg.zeros((2, 0))), "lengths are 1 or more"),
        (lambda: fft.fftshift(x, 3), "fftshift: axis"),
        (lambda: fft.fftfreq(0), "fftfreq: n is 1 or more"),
    ):
        with pytest.raises(ValueError, match=words):
            f()
    for f in (fft.rfft, fft.rfft2, fft.ihfft):
        with pytest.raises(TypeError, match=f"{f.__name__}: x is real"):
            f(x * 1j)


def test_dtypes():
    single = gg.ones(4)
    assert fft.fft(single).dtype == fft.rfft(single).dtype == np.complex64 and fft.irfft(single).dtype == np.float32
    double = gg.ones(4, dtype="float64")
    assert fft.fft(double).dtype == fft.rfft(double).dtype == np.complex128 and fft.irfft(double).dtype == np.float64
    for dtype in ("float16", "bfloat16", "int32"):
        x = gg.ones(4, dtype=dtype)
        assert fft.fft(x).dtype == fft.rfft(x).dtype == np.complex64 and fft.irfft(x).dtype == np.float32
        assert fft.fftshift(x).dtype == dtype


def test_imaginary_parts_that_do_not_count():
    x = np.array([1 + 5j, 2 + 1j, 3 - 7j])
    assert_close(fft.irfft(gg.tensor(x)), np.fft.irfft(x))
    z = gg.tensor(x)
    with gg.GradientTape() as tape:
        tape.watch(z)
        y = gg.sum(fft.irfft(z) ** 2)
    g = tape.gradient(y, z).numpy()
    assert g[0].imag == 0 and g[2].imag == 0 and g[1].imag != 0


def test_lengths():
    x = np.arange(12.0).reshape(3, 4)
    assert_close(fft.fftn(gg.tensor(x), s=(-1, 3), axes=(0, 1)), np.fft.fftn(x, s=(3, 3), axes=(0, 1)))
    assert_close(fft.fftn(gg.tensor(x), s=(5,)), np.fft.fft(x, 5))
    assert_close(fft.irfftn(gg.tensor(x), s=(5,)), np.fft.irfft(x, 5))
    assert_close(fft.irfftn(gg.tensor(x), s=(2, -1)), np.fft.irfftn(x, s=(2, 6), axes=(0, 1)))
    assert_close(fft.fftn(gg.tensor(np.array(3.0))), 3 + 0j)


def test_frequencies():
    for n in (1, 4, 5):
        assert_close(fft.fftfreq(n, 0.5, dtype="float64"), np.fft.fftfreq(n, 0.5))
        assert_close(fft.rfftfreq(n, 0.5, dtype="float64"), np.fft.rfftfreq(n, 0.5))
    assert fft.fftfreq(4).dtype == np.float32 and fft.fftfreq(4).device == gg.default_device()
