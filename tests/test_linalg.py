"""Linear algebra: bad input, degenerate matrices, conventions."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import linalg as la
from gpugrad.array import xp
from gpugrad.ops import distances, solve
from gpugrad.ops.decompositions import checked_factor
from gpugrad.ops.determinant import cofactors
from gpugrad.testing import assert_close, check_grads

pytestmark = pytest.mark.devices

SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])
ROUND = np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 5.0]])  # two eigenvalues are equal
RANK3 = np.diag([1.0, 2.0, 3.0, 0.0])
RANK2 = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [5.0, 7.0, 9.0]])


def gradient(f, *values):
    xs = [gg.tensor(np.asarray(v)) for v in values]
    with gg.GradientTape() as tape:
        tape.watch(xs)
        y = f(*xs)
    out = tape.gradient(y, xs)
    return out[0].numpy() if len(out) == 1 else [g.numpy() for g in out]


# ---------------------------------------------------------------------------------------------- bad input
def test_singular_matrices():
    x = gg.tensor(np.stack([np.eye(2), SINGULAR]))
    for name, f in (
        ("inv", la.inv), ("solve", lambda x: la.solve(x, [1.0, 2.0])), ("inv", lambda x: la.matrix_power(x, -1)),
    ):  # fmt: skip
        with pytest.raises(la.LinAlgError, match=f"{name}: a matrix is singular.*pinv.*given float64"):
            f(x)
    if gg.default_device() == "cpu":  # a GPU is not waited for
        with pytest.raises(la.LinAlgError, match="solve_triangular: a matrix is singular.*pinv.*given float64"):
            la.solve_triangular(x * 0, [1.0, 2.0])
    with pytest.raises(la.LinAlgError, match="cholesky: a matrix is not positive definite"):
        la.cholesky(-x)
    sign, size = la.slogdet(x)
    assert sign.tolist() == [1, 0] and size.tolist() == [0, -np.inf]
    with pytest.raises(la.LinAlgError, match="singular"):
        gradient(lambda x: gg.sum(la.slogdet(x)[1]), x)


def test_shapes():
    square, wide, vector = gg.ones((3, 3)), gg.ones((2, 3)), gg.ones(3)
    for f in (la.inv, la.det, la.slogdet, la.cholesky, la.eigh, la.eigvalsh, la.matrix_exp,
              lambda x: la.matrix_power(x, 2), lambda x: la.solve(x, x)):  # fmt: skip
        with pytest.raises(la.LinAlgError, match="needs square matrices"):
            f(wide)
    for f in (la.qr, la.svd, la.svdvals, la.pinv, la.matrix_norm, la.matrix_rank, la.inv):
        with pytest.raises(la.LinAlgError, match="at least two axes"):
            f(vector)
    for f, words in (
        (lambda: la.solve(square, gg.ones(2)), "solve: b has the shape"),
        (lambda: la.solve(square, gg.ones((2, 1))), "solve: b has the shape"),
        (lambda: la.solve(square, 1.0), "solve: b has the shape"),
        (lambda: la.solve(square, gg.ones((3, 1)), left=False), "solve: b has the shape"),
        (lambda: la.solve(gg.ones((2, 3, 3)), gg.ones((4, 3, 1))), "leading axes"),
        (lambda: la.lstsq(wide, vector), "lstsq: b has the shape"),
        (lambda: gg.cdist(square, wide[:, :2]), "cdist: x is"), (lambda: gg.cdist(vector, square), "cdist: x is"),
        (lambda: gg.cross(wide[:, :2], wide[:, :2]), "cross: x and y have 3"),
        (lambda: gg.vecdot(wide, gg.ones(2)), "vecdot: x"), (lambda: gg.dot(vector, gg.ones(2)), "matmul"),
        (lambda: gg.inner(vector, gg.ones(2)), "differ in length"),
        (lambda: gg.tensordot(square, square, 3), "tensordot: 3 axes"),
        (lambda: gg.tensordot(square, square, ([2], [0])), "tensordot: axis 2"),
        (lambda: gg.tensordot(square, wide, ([0], [0])), "differ in length"),
        (lambda: gg.tensordot(square, square, ([0], [0], [1])), "tensordot: axes is a number, or"),
        (lambda: gg.tensordot(square, square, None), "tensordot: axes is a number, or"),
        (lambda: la.matrix_norm(gg.ones((2, 3, 3)), axis=(0, 1, 2)), "matrix_norm: axis is two axes"),
        (lambda: la.matrix_norm(square, axis=(0,)), "matrix_norm: axis is two axes"),
        (lambda: la.matrix_norm(square, axis=(1, -1)), "matrix_norm: axis .* twice"),
        (lambda: la.pinv(square, 1e-3, rtol=1e-3), "pinv: rcond and rtol are two names"),
        (lambda: la.matrix_rank(square, 1e-3, rtol=1e-3), "matrix_rank: tol is all"),
        (lambda: la.pinv(square, [1e-3, 1e-3]), r"pinv: rtol of shape \(2,\) does not broadcast to \(\)"),
        (lambda: gg.vecdot(wide, wide, axis=2), "vecdot: axis 2"),
        (lambda: gg.einsum("ij,ij", square, wide), "einsum: index 'i'.*3 and 2"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            f()


def test_unknown_modes():
    x = gg.ones((3, 3))
    for f in (lambda: la.qr(x, "raw"), lambda: la.eigh(x, "X"), lambda: la.eigh(x, None), lambda: la.eigvalsh(x, "X"),
              lambda: la.matrix_norm(x, 3), lambda: gg.cdist(x, x, -1), lambda: gg.cdist(x, x, np.nan),
              lambda: la.vector_norm(x, ord="nuc")):  # fmt: skip
        with pytest.raises(ValueError, match=r"is .* not "):
            f()
    with pytest.raises(TypeError):
        la.matrix_power(x, 0.5)
    with pytest.raises(TypeError, match="list of integers"):
        gg.einsum(x, "ij")


def test_paths_of_einsum():
    x, y, z = [gg.tensor(np.random.default_rng(0).standard_normal(s)) for s in ((2, 3), (3, 2), (2, 3))]
    expected = x.numpy() @ y.numpy() @ z.numpy()
    for way in ("greedy", True, False, ("greedy", 100), [(0, 1), (0, 1)], ((1, 2), (0, 1)), [[0, 1], [0, 1]],
                ["einsum_path", (0, 1), (0, 1)], ["einsum_path", (0, 1, 2)]):  # fmt: skip
        assert_close(gg.einsum("ij,jk,kl->il", x, y, z, optimize=way), expected)
    for way in ("junk", [(0, 1)], [(0, 5), (0, 1)], [(0, 0), (0, 1)], [(0, 1), (0, 1), (0, 1)], 7, None, [1, 2, 3]):
        with pytest.raises(ValueError, match="einsum: optimize"):
            gg.einsum("ij,jk,kl->il", x, y, z, optimize=way)
    with pytest.raises(ValueError, match="einsum: optimize"):
        gg.einsum("ij,jk", x, y, optimize="junk")
    many = np.arange(2.0**13).reshape((2,) * 13)
    assert_close(gg.einsum("...->...", gg.tensor(many)), many)
    assert_close(gg.einsum("...a,a->...", gg.tensor(many), gg.tensor([1.0, 2.0])), many @ [1.0, 2.0])


def test_einsum_of_half_types_sums_in_single():
    x = gg.ones((300, 300), dtype="float16")
    assert_close(gg.einsum("ij,k->k", x, gg.tensor([1e-3], dtype="float16")), [90.0], rtol=2e-3)


# ---------------------------------------------------------------------------------------------- degenerate matrices
def test_determinants_of_singular_matrices():
    x = RANK2
    cofactor = lambda x: np.array(
        [[(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(x, i, 0), j, 1)) for j in range(3)] for i in range(3)]
    )
    assert_close(gradient(la.det, x), cofactor(x), rtol=1e-12, atol=1e-12)
    for x in (RANK2, np.outer([1.0, 2, 3], [3.0, 1, 2]), np.zeros((2, 2)), np.eye(4), np.diag([1.0, 0, 0, 2])):
        check_grads(la.det, [x])
    check_grads(lambda x: la.det(x * 1j), [RANK2 * (1 + 2j)], modes=["rev"])
    check_grads(la.det, [np.array([[2.0, 1.0, 0.5], [0.0, 3.0, 1.0], [1.0, 0.0, 2.0]])], order=3)
    assert_close(cofactors(gg.tensor(np.array([[7.0]]))), [[1]])


def test_cofactors_neither_overflow_nor_vanish():
    """Where the determinant is a number, though products on the way are none."""
    x = np.diag(np.array([1e20, 1e20, 1e-20, 1e-20], np.float32))
    assert_close(gradient(la.det, x).diagonal(), [1e-20, 1e-20, 1e20, 1e20], rtol=1e-5)
    rng = np.random.default_rng(0)
    s = np.geomspace(6e3, 1e-4, 120)
    s = rng.permutation(s / np.exp(np.log(s).mean()) * 1.2).astype(np.float32)
    assert_close(gradient(la.det, np.diag(s)).diagonal(), np.prod(s.astype(float)) / s, rtol=1e-5)
    well = rng.standard_normal((5, 4, 4))
    many = np.stack([*well, RANK3, np.zeros((4, 4))])
    assert_close(gradient(la.det, many), [gradient(la.det, m) for m in many], rtol=1e-11, atol=1e-11)
    assert_close(gradient(la.det, well), np.linalg.det(well)[:, None, None] * np.linalg.inv(well).swapaxes(1, 2), 1e-12)


def test_equal_eigenvalues():
    """Of the values there is a gradient; of the vectors there is none, and the second order says so."""
    for f in (lambda x: gg.sum(la.eigvalsh(x) ** 2), lambda x: gg.sum(la.eigh(x)[0] ** 2)):
        assert_close(gradient(f, ROUND), 2 * ROUND)
    for f in (lambda x: gg.sum(la.svdvals(x) ** 2), lambda x: gg.sum(la.svd(x).S ** 2)):
        assert_close(gradient(f, ROUND), 2 * ROUND)
    assert np.isnan(gradient(lambda x: gg.sum(la.eigh(x)[1] ** 3), ROUND)).any()
    assert np.isnan(gradient(lambda x: gg.sum(la.svd(x)[0] ** 3), ROUND)).any()
    turned = np.linalg.qr(np.arange(9.0).reshape(3, 3) ** 2 + np.eye(3))[0]
    nearly = turned @ ROUND @ turned.T  # equal but for rounding
    assert np.isnan(gradient(lambda x: gg.sum(la.eigh(x)[1] ** 3), nearly)).any()
    assert np.isnan(gradient(lambda x: gradient_inside(la.eigvalsh, x), ROUND)).any()


def gradient_inside(f, x):
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = gg.sum(f(x) ** 3)
    return gg.sum(tape.gradient(y, x) ** 2)


def test_lost_rank():
    """pinv and lstsq have the gradient of matrices of the same rank."""
    u, v = np.array([[1.0], [2.0], [2.0]]), np.array([[3.0, 1.0]])
    check_grads(lambda u, v: la.pinv(u @ v), [u, v])
    check_grads(lambda u, v, b: la.lstsq(u @ v, b).x, [u, v, np.array([1.0, 0.0, 2.0])])
    a, b = gg.tensor(u @ v), gg.tensor(np.array([1.0, 0.0, 2.0]))
    x, residuals, rank, s = la.lstsq(a, b)
    expected = np.linalg.lstsq(u @ v, b.numpy(), rcond=None)
    assert_close(x, expected[0])
    assert int(rank) == 1 and s.shape == (2,) and residuals.shape == (1,)
    assert_close(residuals, [np.sum((b.numpy() - u @ v @ expected[0]) ** 2)])
    zeros = np.zeros((2, 3))
    assert (la.pinv(gg.tensor(zeros)).numpy() == 0).all() and (gradient(la.pinv, zeros) == 0).all()
    with np.errstate(all="ignore"):
        try:
            g = gradient(lambda x: la.qr(x).R, zeros.T)
        except la.LinAlgError:
            return
    assert not np.isfinite(g).all()


def test_rank():
    x = gg.tensor(np.stack([np.eye(2), SINGULAR, np.zeros((2, 2))]))
    assert la.matrix_rank(x).tolist() == [2, 1, 0] == la.matrix_rank(x, hermitian=True).tolist()
    assert la.matrix_rank(x, tol=2.0).tolist() == [0, 1, 0] == la.matrix_rank(x, 2.0, True).tolist()
    assert la.matrix_rank(gg.tensor(np.diag([1.0, 1e-3])), rtol=1e-2).item() == 1
    assert la.matrix_rank(gg.zeros((0, 3))).item() == 0 and la.matrix_rank(x).node is None
    assert_close(la.pinv(gg.tensor(np.diag([1.0, 1e-3])), rcond=1e-2), np.diag([1.0, 0]))
    assert_close(la.pinv(gg.tensor(np.diag([1.0, 1e-3])), rtol=1e-2), np.diag([1.0, 0]))


def test_limits_for_each_matrix():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 4, 4)) * 10.0 ** -np.arange(4)
    limits = np.array([1e-9, 1e-2, 0.3])
    given = gg.tensor(x)
    expected = np.linalg.pinv(x, limits)
    assert_close(la.pinv(given, limits), expected, rtol=1e-9)
    assert_close(la.pinv(given, rtol=gg.tensor(limits)), expected, rtol=1e-9)
    assert la.matrix_rank(given, limits).tolist() == np.linalg.matrix_rank(x, limits).tolist()
    assert la.matrix_rank(given, rtol=limits).tolist() == np.linalg.matrix_rank(x, rtol=limits).tolist()
    s = np.linalg.svd(x, compute_uv=False)
    assert la.matrix_rank(given, atol=1e-2, rtol=limits).tolist() == [
        int((row > max(1e-2, limit * row[0])).sum()) for row, limit in zip(s, limits)
    ]
    assert_close(la.pinv(given, atol=1e-2), [np.linalg.pinv(m, 1e-2 / t[0]) for m, t in zip(x, s)], rtol=1e-9)
    check_grads(lambda x: la.pinv(x, rtol=limits / 10), [rng.standard_normal((3, 4, 2))])


def test_norms_at_zero():
    x = np.zeros((2, 2))
    assert (gradient(la.matrix_norm, x) == 0).all() and (gradient(lambda x: la.matrix_norm(x, 1), x) == 0).all()
    for kind in ("nuc", 2, -2):
        assert np.isfinite(gradient(lambda x, k=kind: la.matrix_norm(x, k), x)).all()
    for p in (-1, 0.5, 1, 1.5, 3, np.inf, -np.inf):
        assert (gradient(lambda x, p=p: la.vector_norm(x, ord=p), x) == 0).all()
    check_grads(lambda x: la.vector_norm(x * gg.tensor(np.array([1.0, 0.0])), ord=1.5), [np.array([1.0, 2.0])])
    same = np.array([[1.0, 2.0]])
    for p in (1, 2, 3, np.inf):
        gx, gy = gradient(lambda x, y, p=p: gg.cdist(x, y, p), same, same)
        assert (gx == 0).all() and (gy == 0).all()


def test_a_factor_that_is_none_is_nan():
    """What CuPy's cholesky leaves when it stops."""
    x = gg.tensor(np.stack([np.diag([4.0, 9.0]), np.diag([4.0, -9.0]), np.array([[1.0, 2.0], [2.0, 1.0]])])).array
    left = gg.tensor(np.stack([np.diag([2.0, 3.0]), np.diag([2.0, -9.0]), np.array([[1.0, 0.0], [2.0, 1.0]])])).array
    out = gg.tensor(checked_factor(xp(x), x, left)).numpy()
    assert np.isfinite(out[0]).all() and np.isnan(out[1:]).all()


# ---------------------------------------------------------------------------------------------- conventions
def test_triangles():
    """What is not to be read, is not."""
    x = np.array([[4.0, 1.0], [1.0, 3.0]])
    low, high = gg.tensor(np.array([[4.0, 99.0], [1.0, 3.0]])), gg.tensor(np.array([[4.0, 1.0], [99.0, 3.0]]))
    for f in (la.cholesky, la.eigvalsh, lambda x: la.eigh(x)[0], lambda x: la.pinv(x, hermitian=True)):
        assert_close(f(low), f(gg.tensor(x)).numpy())
    for f, g in (
        (lambda x: la.cholesky(x, upper=True), lambda x: la.matrix_transpose(la.cholesky(x))),
        (lambda x: la.eigvalsh(x, "U"), la.eigvalsh),
        (lambda x: la.eigh(x, "U")[0], la.eigvalsh),
    ):
        assert_close(f(high), g(gg.tensor(x)).numpy())
    b = gg.tensor(np.array([1.0, 2.0]))
    assert_close(la.solve_triangular(low, b), np.linalg.solve(np.tril(x), b.numpy()))
    assert_close(la.solve_triangular(high, b, upper=True), np.linalg.solve(np.triu(x), b.numpy()))
    assert_close(la.solve_triangular(low, b, unit_diagonal=True), [1.0, 1.0])
    assert_close(la.solve_triangular(low, b, left=False), np.linalg.solve(np.tril(x).T, b.numpy()))


@pytest.mark.parametrize("scipys", [True, False])
def test_triangles_keep_their_digits(monkeypatch, scipys):
    """Of one triangle, of several, and of one with several right-hand sides; with SciPy's function and without."""
    if not scipys:
        monkeypatch.setattr(solve, "_lapacks", lambda: None)
    rng = np.random.default_rng(0)
    ill = (np.eye(40) + np.tril(rng.standard_normal((2, 40, 40)), -1) / 2) * 10.0 ** np.linspace(-13, 0, 40)
    for n, a in ((40, ill), (200, rng.standard_normal((2, 200, 200)) / 20 + np.eye(200) * 2)):
        for upper in (False, True):
            a, cut = (a.swapaxes(-1, -2), np.triu) if upper else (a, np.tril)
            for unit in (False, True):
                t = cut(a, 1 if upper else -1) + np.eye(n) if unit else cut(a)
                b = rng.standard_normal((2, n, 3))
                for m, given in ((a, t), (a[0], t[0])):
                    x = la.solve_triangular(gg.tensor(m), gg.tensor(b), upper=upper, unit_diagonal=unit).numpy()
                    assert (np.abs(given @ x - b) <= 1e-13 * (np.abs(given) @ np.abs(x))).all()
    known = rng.standard_normal((2, 40, 2))
    assert np.linalg.cond(ill[0]) > 1e12
    for m, x in ((ill, known), (ill[0], known[0])):
        assert_close(la.solve_triangular(gg.tensor(m), gg.tensor(m @ x)), x, rtol=1e-13, atol=1e-13)


def test_complex_numbers():
    x, y = np.array([1 + 2j, 3j]), np.array([2 - 1j, 1 + 1j])
    assert_close(gg.vecdot(gg.tensor(x), gg.tensor(y)), np.vdot(x, y))
    assert_close(gg.inner(gg.tensor(x), gg.tensor(y)), np.inner(x, y))
    h = gg.tensor(np.array([[2.0, 1j], [-1j, 3.0]], np.complex64))
    assert la.eigvalsh(h).dtype == la.svdvals(h).dtype == la.slogdet(h).logabsdet.dtype == np.float32
    assert la.eigh(h)[1].dtype == la.slogdet(h).sign.dtype == np.complex64


def test_dtypes():
    i = gg.tensor(np.array([[2, 1], [1, 3]]))
    assert la.inv(i).dtype == la.det(i).dtype == la.svdvals(i).dtype == la.solve(i, i).dtype == np.float32
    assert gg.vecdot(i, i).dtype == gg.kron(i, i).dtype == gg.einsum("ij,jk", i, i).dtype == i.dtype
    h = gg.tensor([[2.0, 1.0], [1.0, 3.0]], dtype="bfloat16")
    for out in (
        *la.svd(h),
        *la.eigh(h),
        *la.qr(h),
        *la.slogdet(h),
        la.lstsq(h, h).x,
        la.matrix_norm(h, 2),
        gg.cdist(h, h),
    ):
        assert out.dtype == h.dtype


def test_scalars_and_lists():
    x = gg.tensor(np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert_close(gg.dot(2.0, x), 2 * x.numpy())
    assert_close(gg.inner(x, 2.0), 2 * x.numpy())
    assert_close(gg.einsum(",ij->ji", gg.tensor(np.array(2.0)), x), 2 * x.numpy().T)
    assert_close(gg.tensordot(x, x, np.int64(1)), x.numpy() @ x.numpy())
    assert_close(la.solve(x, [5.0, 6.0]), np.linalg.solve(x.numpy(), [5.0, 6.0]))
    assert_close(gg.einsum("ij,ij->j", x, x[:1]), (x.numpy() * x.numpy()[:1]).sum(0))  # an axis of length 1 broadcasts


def test_diagonals_of_batches():
    x = np.arange(12.0).reshape(2, 2, 3)
    assert_close(la.diagonal(gg.tensor(x), 1), np.linalg.diagonal(x, offset=1))
    assert_close(la.trace(gg.tensor(x)), np.linalg.trace(x))
    assert la.trace(gg.tensor(x), dtype="float32").dtype == np.float32


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_values_that_are_not_finite():
    x = gg.tensor(np.full((2, 2), np.nan))
    assert np.isnan(gradient(la.det, np.stack([x.numpy(), np.eye(2)])).sum(axis=(1, 2))).tolist() == [True, False]
    assert np.isnan(gradient(lambda x: gradient_inside(la.det, x), x)).all()
    for f in (la.svd, la.pinv):
        with pytest.raises(la.LinAlgError, match="the singular values did not converge"):
            f(x)


def test_results_have_names():
    x = gg.tensor(np.array([[2.0, 1.0], [1.0, 3.0]]))
    assert la.eigh(x).eigenvectors.shape == la.qr(x).R.shape == la.svd(x).Vh.shape == (2, 2)
    assert la.slogdet(x).sign.shape == () and la.svd(x, compute_uv=False).shape == (2,)
    assert la.svd(gg.zeros((2, 3, 2))).U.shape == (2, 3, 3) and la.qr(gg.ones((4, 2)), "complete")[0].shape == (4, 4)


def test_large_exponents():
    x = np.array([[0.0, 500.0], [-500.0, 0.0]])
    expected = np.array([[np.cos(500), np.sin(500)], [-np.sin(500), np.cos(500)]])
    assert_close(la.matrix_exp(gg.tensor(x)), expected, rtol=1e-9, atol=1e-9)
    assert_close(la.matrix_exp(gg.zeros((2, 2))), np.eye(2))


def test_the_gradient_of_an_exponential_is_linear():
    rng = np.random.default_rng(0)
    x = gg.tensor(rng.standard_normal((2, 4, 4)).astype(np.float32))
    seed = rng.standard_normal((2, 4, 4)).astype(np.float32)
    seed[1] = 0

    def back(scale):
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = la.matrix_exp(x)
        return tape.gradient(y, x, output_gradients=gg.tensor(seed * np.float32(scale))).numpy()

    for scale in (2.0**16, 2.0**-40, 2.0**100):
        assert_close(back(scale) / np.float32(scale), back(1.0), rtol=1e-6)
    assert (back(1.0)[1] == 0).all()
    check_grads(la.matrix_exp, [np.array([[0.0, 1e-3], [30.0, 0.0]])])
    assert_close(gradient(la.matrix_exp, np.zeros((2, 2))), np.ones((2, 2)))


@pytest.mark.parametrize("p", [1, 2, 3, np.inf])
def test_distances_keep_no_differences(monkeypatch, p):
    monkeypatch.setattr(distances, "ROWS", 500)
    rng = np.random.default_rng(0)
    x, y = gg.tensor(rng.standard_normal((2, 30, 7))), gg.tensor(rng.standard_normal((20, 7)))
    with gg.GradientTape() as tape:
        tape.watch([x, y])
        out = gg.cdist(x, y, p)
    kept = {id(v): v for n in tape._tape.live() for v in n.saved if hasattr(v, "dtype")}
    assert {*kept} <= {id(x.array), id(y.array), id(out.array)}
    found = tape.gradient(out, [x, y])
    with gg.GradientTape() as tape:
        tape.watch([x, y])
        out = gg.vector_norm(gg.expand_dims(x, -2) - y, axis=-1, ord=p)
    for a, b in zip(found, tape.gradient(out, [x, y]), strict=True):
        assert_close(a, b.numpy(), rtol=1e-12, atol=1e-12)


def test_near_rows_keep_their_distance():
    x = np.array([[1e4, 1e4]], np.float32)
    y = np.concatenate([x + np.float32(0.25), -x])
    assert_close(gg.cdist(gg.tensor(x), gg.tensor(y)), [[0.25 * np.sqrt(2), 2e4 * np.sqrt(2)]], rtol=1e-6)
    gx, gy = gradient(gg.cdist, x, y)
    assert_close(gy[0], [np.sqrt(0.5)] * 2, rtol=1e-6)
    assert_close(gx, [[0, 0]], atol=1e-6)
    assert gg.cdist(gg.zeros((2, 0)), gg.zeros((3, 0)), np.inf).tolist() == [[0] * 3] * 2


def test_a_length_keeps_what_was_given_and_itself():
    x = gg.tensor(np.random.default_rng(0).standard_normal((50, 40)))
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = la.vector_norm(x, axis=1)
    kept = {id(v) for n in tape._tape.live() for v in n.saved if hasattr(v, "dtype")}
    assert kept == {id(x.array), id(y.array)}


def test_lengths_below_a_tiny_eps():
    x = np.array([[0.0, 0.0], [3e-13, 4e-13], [3.0, 4.0]], np.float32)
    assert_close(gg.nn.l2_normalize(gg.tensor(x), eps=1e-25), [[0, 0], [0.6, 0.8], [0.6, 0.8]])
    assert_close(gradient(lambda x: gg.nn.l2_normalize(x, eps=1e-3), x[:1]), [[1e3, 1e3]], rtol=1e-6)


def test_dtypes_of_norms():
    x = gg.tensor([3.0, 4.0])
    assert la.vector_norm(x, dtype="float64").dtype == la.vector_norm(x, ord=1, dtype="float64").dtype == np.float64
    assert la.matrix_norm(gg.ones((2, 2)), 2, dtype="float64").dtype == np.float64
    assert la.vector_norm(gg.tensor([3, 4])).item() == 5 and la.vector_norm(gg.tensor([3 + 4j])).dtype == np.float32
