"""float16 to float32 and back by their bits, against NumPy's casts."""

import numpy as np

from gpugrad.gemm.halves import narrowed, widened

EVERY = np.arange(65536, dtype=np.uint16).view(np.float16)


def test_every_float16():
    for x in (EVERY, EVERY[np.isfinite(EVERY)], EVERY[np.isfinite(EVERY)][::-1], EVERY.reshape(256, 256).T):
        np.testing.assert_array_equal(widened(x), x.astype(np.float32))
    finite = EVERY[np.isfinite(EVERY)]
    assert (narrowed(finite.astype(np.float32)).view(np.uint16) == finite.view(np.uint16)).all()


def test_rounding():
    rng = np.random.default_rng(0)
    for scale in (1.0, 100.0, 1e-3):
        x = (rng.standard_normal(100_000) * scale).astype(np.float32)
        normal = x[np.abs(x) >= 2.0**-14]
        assert (narrowed(normal) == normal.astype(np.float16)).all()
    ties = (np.arange(2048, 4096, dtype=np.float32) + 0.5).repeat(4) / 2  # between two float16
    assert (narrowed(ties) == ties.astype(np.float16)).all()
    small = (rng.standard_normal(100_000) * 2.0**-20).astype(np.float32)
    assert np.abs(narrowed(small).astype(np.float64) - small).max() <= 2.0**-25 * 1.001


def test_what_float16_cannot_hold():
    x = np.zeros(10_000, np.float32)
    x[:4] = 65519, 1e6, np.nan, -np.inf
    with np.errstate(over="ignore"):
        out = narrowed(x)
    assert out[:2].tolist() == [65504, np.inf] and np.isnan(out[2]) and out[3] == -np.inf
    back = np.zeros(10_000, np.float16)
    back[:3] = np.nan, np.inf, -np.inf
    assert np.isnan(widened(back)[0]) and widened(back)[1:3].tolist() == [np.inf, -np.inf]
