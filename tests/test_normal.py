"""gelu of float32 arrays on the CPU: our own polynomial, beside SciPy in float64."""

import numpy as np
import pytest

from gpugrad.ops import normal

special = pytest.importorskip("scipy.special")


def test_digits_are_kept_far_left():
    z = np.concatenate([np.linspace(-12, 12, 100_001), [0.0, -0.0, 1e-30, -1e-30]]).astype(np.float32)
    x = z.astype(np.float64)
    np.testing.assert_allclose(normal.gelu(z), x * special.ndtr(x), rtol=6e-6, atol=1e-37)
    slope = special.ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    near = np.abs(x) < 6
    np.testing.assert_allclose(normal.gelu(z)[near], (x * special.ndtr(x))[near], rtol=2e-6)
    np.testing.assert_allclose(normal.gelu_slope(z), slope, rtol=2e-5, atol=3e-7)
    far = x < -3  # Φ alone would be lost beside 1
    np.testing.assert_allclose(normal.gelu_slope(z)[far], slope[far], rtol=2e-5, atol=1e-37)


def test_limits():
    z = np.array([np.inf, -np.inf, np.nan, 1e30, -1e30], np.float32)
    np.testing.assert_array_equal(normal.gelu(z), np.float32([np.inf, 0, np.nan, 1e30, 0]))
    np.testing.assert_array_equal(normal.gelu_slope(z), np.float32([1, 0, np.nan, 1, 0]))


def test_what_is_given_stays():
    z = np.linspace(-3, 3, 100, dtype=np.float32)
    before = z.copy()
    normal.gelu(z), normal.gelu_slope(z)
    np.testing.assert_array_equal(z, before)
