"""Linear systems by products."""

import numpy as np
import pytest

from gpugrad.krylov import cg, gmres, norm


def test_gmres_solves_what_is_not_symmetric():
    rng = np.random.default_rng(0)
    for n, restart in ((1, 50), (20, 50), (120, 10)):
        a, b = rng.standard_normal((n, n)) + 2 * np.sqrt(n) * np.eye(n), rng.standard_normal(n)
        found = gmres(lambda v, a=a: a @ v, b, 1e-12, 2000, restart)
        assert found.residual <= 1e-12
        np.testing.assert_allclose(found.x, np.linalg.solve(a, b), rtol=1e-9, atol=1e-11)


def test_gmres_ends_after_as_many_products_as_the_matrix_has_eigenvalues():
    calls, d = [], np.array([1.0, 2.0, 5.0] * 40)
    found = gmres(lambda v: calls.append(1) or d * v, np.arange(1.0, 121.0), 1e-12, 2000)
    assert len(calls) == 4  # and the check
    np.testing.assert_allclose(found.x * d, np.arange(1.0, 121.0), rtol=1e-12)


def test_gmres_tells_that_it_has_not_solved():
    a = np.diag([1.0, 1.0, 0.0])
    assert gmres(lambda v: a @ v, np.ones(3), 1e-12, 100).residual == pytest.approx(3**-0.5)
    assert np.isnan(gmres(lambda v: v * np.nan, np.ones(3), 1e-12, 100).residual)
    shift = lambda v: np.roll(v, 1)  # no progress before the last step
    assert gmres(shift, np.eye(60)[0], 1e-12, 200, 20).residual == pytest.approx(1.0)


def test_cg_solves_what_is_positive_definite():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((40, 40))
    a, b = a @ a.T + np.eye(40), rng.standard_normal(40)
    found = cg(lambda v: a @ v, b, 1e-12, 500)
    assert not found.falls
    np.testing.assert_allclose(found.x, np.linalg.solve(a, b), rtol=1e-8)
    assert cg(lambda v: -v, b, 1e-12, 10).falls


def test_zero_and_out_of_range():
    for solver in (cg, gmres):
        assert not solver(lambda v: v, np.zeros(3), 1e-12, 10).x.any()
        assert not solver(lambda v: v, np.array([1.0, np.inf]), 1e-12, 10).residual < 1
        tiny = np.full(3, 1e-30, np.float32)
        np.testing.assert_allclose(solver(lambda v: 2 * v, tiny, 1e-6, 10).x, tiny / 2, rtol=1e-5)
    assert norm(np.full(4, 1e-30, np.float32)) == pytest.approx(2e-30)
    assert norm(np.zeros(0)) == 0
