"""Sparse matrices: how they are made, larger systems, other dtypes, what goes wrong."""

import gc
import weakref

import numpy as np
import pytest
import scipy.sparse as sp

import gpugrad as gg
from gpugrad import array
from gpugrad.ops import sparse as ops
from gpugrad.ops.sparse import Factors
from gpugrad.testing import assert_close

pytestmark = pytest.mark.devices
s = gg.sparse


def laplacian(n, dtype=np.float64):
    """Of a grid of n x n points, a little heavier on the diagonal."""
    line = sp.diags_array([-1.0, 2.01, -1.0], offsets=[-1, 0, 1], shape=(n, n))
    return sp.kronsum(line, line).tocsr().astype(dtype)


def test_a_matrix_of_scipys_in_any_format():
    A = laplacian(3)
    x = np.arange(9.0)
    for form in ("csr", "csc", "coo", "lil", "dia"):
        made = s.csr(A.asformat(form))
        assert made.shape == (9, 9) and made.dtype == np.float64 and made.nnz >= A.nnz
        assert_close(made @ gg.tensor(x), A @ x)
        assert_close(s.solve(A.asformat(form), gg.tensor(x)), np.linalg.solve(A.toarray(), x), rtol=1e-12)
    assert s.csr(made) is made and "shape=(9, 9)" in repr(made)
    assert_close(s.csr(A).todense(), A.toarray())
    assert_close(s.csr(A).T.todense(), A.toarray().T)


def test_places_that_come_twice_and_in_any_order():
    data, rows, cols = gg.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True), [1, 0, 1, 0], [0, 1, 0, 0]
    A = s.coo(data, rows, cols, (2, 3))
    assert A.todense().tolist() == [[4, 2, 0], [4, 0, 0]]
    (A @ gg.tensor([1.0, 10.0, 100.0])).backward(gg.tensor([1.0, 2.0]))
    assert data.grad.tolist() == [2, 10, 2, 1]
    far = s.coo([1.0, 2.0], np.array([70_000, 3], np.int32), np.array([1, 70_000], np.int32), (70_001, 70_001))
    y = (far @ gg.ones(70_001)).numpy()
    assert y[70_000] == 1 and y[3] == 2 and y.sum() == 3
    B = s.csr([2.0, 5.0, 1.0], [1, 0, 0], [0, 1, 3], (2, 2))  # row 1 has two values in column 0
    assert B.todense().tolist() == [[0, 2], [6, 0]]
    assert_close(s.solve(B, [2.0, 6.0]), [1, 1])
    assert B.todense().tolist() == [[0, 2], [6, 0]]  # SuperLU sorts what it is given, in place


def test_a_larger_system_has_the_dense_ones_gradients():
    A, b = laplacian(12), np.random.default_rng(0).standard_normal((144, 2))
    places = A.tocoo()
    matrix, rhs, full = s.csr(A), gg.tensor(b), gg.tensor(A.toarray())
    with gg.GradientTape(persistent=True) as tape:
        tape.watch([matrix.data, rhs, full])
        losses = [gg.sum(s.solve(matrix, rhs) ** 2), gg.sum(s.cg(matrix, rhs, rtol=1e-13) ** 2)]
    x = np.linalg.solve(A.toarray(), b)
    back = np.linalg.solve(A.toarray().T, 2 * x)
    for loss in losses:
        dA, db = tape.gradient(loss, [matrix.data, rhs])
        assert_close(db, back, rtol=1e-9, atol=1e-9)
        assert_close(dA, -(back @ x.T)[places.row, places.col], rtol=1e-9, atol=1e-9)


def test_the_factors_serve_the_way_back(monkeypatch):
    made = []
    real = Factors.__init__
    monkeypatch.setattr(Factors, "__init__", lambda self, *args: (made.append(1), real(self, *args))[1])
    A, b = s.csr(laplacian(3)), gg.tensor(np.ones(9))
    solve = s.factorized(A)
    with gg.GradientTape() as outer, gg.GradientTape() as tape:
        outer.watch([A.data, b])
        tape.watch([A.data, b])
        y = gg.sum(solve(solve(b)) ** 2)
        g = gg.sum(tape.gradient(y, A.data) ** 2)
    assert outer.gradient(g, b).shape == (9,) and len(made) == 1


def test_a_node_lets_go_of_the_factors():
    class Weak(Factors):
        __slots__ = ("__weakref__",)

    A, b = s.csr(laplacian(3)), gg.tensor(np.ones(9), requires_grad=True)
    factors = Weak(A.data.array, A._pattern)
    gone = weakref.ref(factors)
    gc.disable()
    try:
        y = s._direct(A, b, factors)
        del factors
        assert gone() is not None
        y.backward(gg.ones(9, dtype="float64"))
        assert gone() is None
    finally:
        gc.enable()


def test_dtypes():
    A, b = laplacian(3), np.ones(9)
    x = np.linalg.solve(A.toarray(), b)
    for dtype in (np.float32, np.float64, np.complex64, np.complex128):
        for solver in (s.solve, s.cg):
            y = solver(A.astype(dtype), gg.tensor(b.astype(dtype)))
            assert y.dtype == dtype
            assert_close(y, x, rtol=1e-4)
    single = A.astype(np.float32)
    assert s.solve(single, gg.tensor(b)).dtype == np.float64  # solved in float64, too
    assert_close(s.solve(single, gg.tensor(b)), np.linalg.solve(single.toarray().astype(float), b), rtol=1e-12)
    assert_close(s.solve(A, gg.tensor(b + 2j * b)), x + 2j * x, rtol=1e-12)
    assert_close(s.factorized(A)(gg.tensor(b + 2j * b)), x + 2j * x, rtol=1e-12)
    assert s.csr([1, 2], [0, 1], [0, 1, 2], (2, 2)).dtype == np.float32
    assert s.solve(s.csr([1, 2], [0, 1], [0, 1, 2], (2, 2)), [1, 2]).tolist() == [1, 1]
    assert (
        s.solve(s.csr(gg.tensor([1, 2], dtype="bfloat16"), [0, 1], [0, 1, 2], (2, 2)), [1.0, 2.0]).dtype == "bfloat16"
    )


def test_both_ways_of_asking_for_a_gradient():
    data, b = gg.tensor([2.0, 4.0], requires_grad=True), gg.Variable([2.0, 4.0])
    A = s.csr(data, [0, 1], [0, 1, 2], (2, 2))
    gg.sum(s.solve(A, b)).backward()
    assert data.grad.tolist() == [-0.5, -0.25]
    with gg.GradientTape() as tape:
        y = gg.sum(s.solve(A.with_data(gg.Variable([4.0, 8.0])), b))
    assert tape.gradient(y, b).tolist() == [0.25, 0.125]
    assert gg.sum(A @ gg.tensor([1.0, 1.0])).item() == 6


def test_a_tape_takes_a_matrix_and_answers_one():
    A, b = s.csr(laplacian(2)).T, gg.tensor(np.ones(4))
    with gg.GradientTape(persistent=True) as tape:
        tape.watch({"A": A, "b": b})
        y = gg.sum(s.solve(A, b) ** 2)
    g = tape.gradient(y, {"A": A, "b": b})
    assert isinstance(g["A"], s.CSR) and g["A"].shape == (4, 4) and g["b"].shape == (4,)
    assert g["A"].data.tolist() == tape.gradient(y, A.data).tolist()
    assert tape.gradient(gg.sum(b), A) is None


def test_arithmetic_that_keeps_the_places():
    A = s.csr(laplacian(2)).T
    full = A.todense().numpy()
    for made, expected in (
        (-A, -full), (2 * A, 2 * full), (A * gg.tensor(np.array(3.0)), 3 * full), (np.float64(2) * A, 2 * full),
        (A / 4, full / 4), (A + 2 * A, 3 * full), (A - A / 2, full / 2),
    ):  # fmt: skip
        assert isinstance(made, s.CSR) and made.dtype == np.float64
        assert_close(made.todense(), expected)
    c = gg.tensor(np.array(3.0))
    with gg.GradientTape() as tape:
        tape.watch([A.data, c])
        y = gg.sum((A * c - A / 2).todense())
    gA, gc = tape.gradient(y, [A.data, c])
    assert_close(gA, [2.5] * A.nnz)
    assert_close(gc, full.sum(), rtol=1e-12, atol=1e-12)


def test_gradients_of_many_columns_come_in_blocks(monkeypatch):
    monkeypatch.setattr(ops, "CACHE", 100)
    monkeypatch.setattr(ops, "MEMORY", 100)
    A, x = s.csr(laplacian(4)), np.random.default_rng(0).standard_normal((16, 5))
    places = laplacian(4).tocoo()
    with gg.GradientTape() as tape:
        tape.watch(A.data)
        y = gg.sum((A @ gg.tensor(x)) ** 2)
    back = 2 * laplacian(4).toarray() @ x
    assert_close(tape.gradient(y, A.data), (back @ x.T)[places.row, places.col], rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- conjugate gradients
def test_cg_starts_and_preconditions_as_it_is_told():
    A, b = laplacian(10), np.random.default_rng(0).standard_normal(100)
    x = np.linalg.solve(A.toarray(), b)
    near = s.solve(A, gg.tensor(b)) + 1e-10
    run = lambda n, **options: s.cg(A, gg.tensor(b), rtol=1e-8, maxiter=n, **options)
    steps = lambda **options: next(n for n in range(200) if not fails(lambda: run(n, **options)))  # noqa: B023
    exact = np.linalg.inv(A.toarray())
    inverse = s.csr(sp.csr_array(exact))
    assert steps(x0=near) == 0 and steps(preconditioner=inverse) <= 2 < steps() < 100
    assert steps(preconditioner=lambda r: inverse @ r) <= 2
    assert_close(s.cg(A, gg.tensor(b), gg.tensor(b), rtol=1e-12), x, rtol=1e-9)
    assert_close(s.cg(A, gg.tensor(b), atol=1e-10, rtol=0), x, rtol=1e-8)


def fails(f):
    try:
        f()
    except ArithmeticError:
        return True
    return False


def test_cg_solves_each_column_to_its_own_end():
    A = laplacian(5)
    b = np.random.default_rng(0).standard_normal((25, 3)) * [1, 1e-6, 0]
    x = s.cg(A, gg.tensor(b), gg.tensor(b * 0 + 1), rtol=1e-12).numpy()
    assert_close(x, np.linalg.solve(A.toarray(), b), rtol=1e-9, atol=1e-17)
    assert not x[:, 2].any()


def test_cg_says_how_far_it_came():
    A, b = laplacian(10), gg.tensor(np.ones(100))
    with pytest.raises(ArithmeticError, match=r"cg: not converged after 3 iterations: the residual is .*, rtol=1e-05"):
        s.cg(A, b, maxiter=3)
    with pytest.raises(np.linalg.LinAlgError, match="cg: the matrix or the preconditioner is not positive definite"):
        s.cg(-A, b)
    for wild in (np.nan, np.inf):
        for options in ({}, {"maxiter": 5}):
            with (
                np.errstate(all="ignore"),
                pytest.raises(ArithmeticError, match="cg: the residual is not finite after"),
            ):
                s.cg(A, b * wild, **options)
    assert s.cg(A, b * 0, maxiter=0).tolist() == [0] * 100


# ---------------------------------------------------------------- errors
def test_errors():
    A, b = laplacian(2), gg.ones(4, dtype="float64")
    cases = [
        (np.linalg.LinAlgError, lambda: s.solve(A * 0, b), r"solve: the matrix of shape \(4, 4\) is singular"),
        (ValueError, lambda: s.solve(A[:3], b), r"solve: A must be square, given shape \(3, 4\)"),
        (ValueError, lambda: s.solve(A, gg.ones(3)), r"solve: a matrix of shape \(4, 4\) goes with shapes \(4,\) and"),
        (ValueError, lambda: s.csr(A) @ gg.ones((4, 1, 1)), "A @ x: a matrix of shape"),
        (TypeError, lambda: s.solve(A.toarray(), b), "solve: A is a gg.sparse.CSR or a sparse matrix .* not ndarray"),
        (TypeError, lambda: s.csr([1.0]), "csr: takes a sparse matrix, or data, indices, indptr and shape"),
        (ValueError, lambda: s.csr([1.0], [0], [0, 1], (2, 2)), "csr: of shape .* needs data and indices"),
        (ValueError, lambda: s.coo([1.0], [0, 1], [0], (2, 2)), "coo: data, rows and cols are vectors of one length"),
        (TypeError, lambda: s.coo([1.0], [0.5], [0], (2, 2)), "coo: rows and columns are integers, given float"),
        (ValueError, lambda: s.csr(A).with_data([1.0]), "with_data: data of shape"),
        (ValueError, lambda: s.cg(A, b, gg.ones((4, 1))), r"cg: x0 has shape \(4, 1\), b \(4,\)"),
        (ValueError, lambda: s.cg(A, b, maxiter=2.5), "cg: maxiter is an integer of 0 or more, not 2.5"),
        (ValueError, lambda: s.cg(A, b, maxiter=-1), "cg: maxiter is an integer of 0 or more, not -1"),
        (TypeError, lambda: s.csr(A) * b, r"A \* c: c is a number, not Tensor; A @ x"),
        (TypeError, lambda: s.csr(A) * s.csr(A), r"A \* c: c is a number, not CSR; A @ x"),
        (TypeError, lambda: s.csr(A) / None, "A / c: c is a number, not NoneType"),
        (TypeError, lambda: s.csr(A) + s.csr(A), r"A \+ B: B is a matrix made from A by with_data"),
        (TypeError, lambda: s.csr(A) - 1, r"A - B: B is a matrix made from A by with_data"),
        (TypeError, lambda: s.csr(A).with_data(gg.ones(12, dtype="bfloat16")).toscipy(), "no matrices of bfloat16"),
        (ValueError, lambda: s.cg(A, b, rtol=-1), "cg: rtol and atol must be 0 or more"),
    ]
    if gg.default_device() == "cpu":  # a GPU is not waited for
        cases += [
            (IndexError, lambda: s.csr([1.0], [2], [0, 1, 1], (2, 2)), r"csr: indices are in 2..2, allowed are 0..1"),
            (IndexError, lambda: s.csr(np.ones(1), [2**32], [0, 1], (1, 1)), "csr: indices are in 4294967296"),
            (IndexError, lambda: s.coo(np.ones(1), [2**32], [0], (1, 1)), "coo: rows are in 4294967296"),
            (ValueError, lambda: s.csr(np.ones(1), [0], [2**32, 1], (1, 1)), "csr: indptr is to rise"),
            (IndexError, lambda: s.coo([1.0], [-1], [0], (2, 2)), r"coo: rows are in -1..-1"),
            (ValueError, lambda: s.csr([1.0], [1], [0, 2, 1], (2, 2)), "csr: indptr is to rise from 0 to 1"),
        ]
    for kind, f, words in cases:
        with pytest.raises(kind, match=words):
            f()


@pytest.mark.numpy
def test_without_scipy(monkeypatch):
    A = s.csr([1.0], [0], [0, 1], (1, 1))
    monkeypatch.setitem(__import__("sys").modules, "scipy.sparse.linalg", None)
    with pytest.raises(ImportError, match=r"sparse matrices on the CPU are SciPy's, .* pip install 'gpugrad\[scipy\]'"):
        array.NUMPY.sparse()
    with pytest.raises(ImportError):
        A @ gg.ones(1)
