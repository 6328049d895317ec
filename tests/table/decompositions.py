"""Inverses, systems, determinants, decompositions, functions of matrices.

What a decomposition is free to choose, signs and phases, is taken out of the results.
"""

import numpy as np

import gpugrad as gg

from .row import row

la, ref = gg.linalg, np.linalg
SQUARE, TALL, WIDE = (2, 3, 3), (2, 4, 3), (2, 3, 4)


def plus(x, m):
    """x, a Tensor or NumPy's array, and a matrix of numbers."""
    return x + (m if isinstance(x, np.ndarray) else gg.tensor(m, dtype=x.dtype))


def adjoint(x):
    return np.swapaxes(x, -1, -2).conj() if isinstance(x, np.ndarray) else gg.conj(gg.matrix_transpose(x))


def near(x):
    """Far from singular."""
    return plus(x, 4 * np.eye(x.shape[-1]))


def apart(x):
    """Of full rank, its singular values well apart."""
    m, n = x.shape[-2:]
    return plus(x, np.eye(m, n) * (6.0 * (1 + np.arange(n))))


def symmetric(x):
    """Equal to its conjugate transpose, its eigenvalues well apart."""
    return plus(x + adjoint(x), np.diag(np.arange(x.shape[-1]) * 8.0))


def positive(x):
    return plus(x @ adjoint(x), 4 * np.eye(x.shape[-2]))


def triangle(x, upper, unit):
    """The triangle of x that a triangular system reads."""
    x = np.triu(x) if upper else np.tril(x)
    return x * (1 - np.eye(x.shape[-1])) + np.eye(x.shape[-1]) if unit else x


def parts(x, full):
    """Both factors of the SVD, with the sines of the singular values between them."""
    u, s, vh = la.svd(apart(x), full_matrices=full)
    k = s.shape[-1]
    return (u[..., :k] * gg.expand_dims(gg.sin(s), -2)) @ vh[..., :k, :]


def np_parts(x):
    u, s, vh = ref.svd(apart(x), full_matrices=False)
    return (u * np.sin(s)[..., None, :]) @ vh


def projector(x):
    """On what is left over of the columns."""
    q = la.qr(apart(x), "complete").Q[..., x.shape[-1] :]
    return q @ adjoint(q)


def left_over(x):
    u = la.svd(apart(x)).U[..., x.shape[-1] :]
    return u @ adjoint(u)


def np_left_over(x):
    u = ref.svd(apart(x))[0][..., x.shape[-1] :]
    return u @ adjoint(u)


def by_eigenvalues(x, uplo="L"):
    w, v = la.eigh(symmetric(x), uplo)
    return (v * gg.expand_dims(gg.sin(w * 0.2), -2)) @ adjoint(v)


def np_by_eigenvalues(x):
    w, v = ref.eigh(symmetric(x))
    return (v * np.sin(w * 0.2)[..., None, :]) @ adjoint(v)


def exponential(x):
    """By the series, of the scaled matrix, squared."""
    out = term = np.broadcast_to(np.eye(x.shape[-1]), x.shape)
    for k in range(1, 30):
        term = term @ (x / 64) / k
        out = out + term
    for _ in range(6):
        out = out @ out
    return out


def power(x, n):
    return ref.matrix_power(x, n)


EMPTY = ((2, 0, 0),)

ROWS = [
    row("linalg.inv", lambda x: la.inv(near(x)), lambda x: ref.inv(near(x)), SQUARE, complex=True),
    *[row(f"linalg.solve {a}{b}", lambda a, b: la.solve(near(a), b), lambda a, b: ref.solve(near(a), b), a, b, complex=True)
      for a, b in [((3, 3), (3,)), (SQUARE, (2, 3, 2)), ((3, 3), (2, 3, 2)), (SQUARE, (3, 2)), ((2, 1, 3, 3), (4, 3, 1))]],
    row("linalg.solve vectors", lambda a, b: la.solve(near(a), b), lambda a, b: ref.solve(near(a), b[:, None])[..., 0],
        SQUARE, (3,)),
    *[row(f"linalg.solve_triangular {upper} {unit}", lambda a, b, u=upper, d=unit: la.solve_triangular(near(a), b, u, True, d),
          lambda a, b, u=upper, d=unit: ref.solve(triangle(near(a), u, d), b), SQUARE, (2, 3, 2), complex=True,
          half=1 if not unit else 8)  # with ones on the diagonal rounding grows
      for upper in (False, True) for unit in (False, True)],
    row("linalg.solve right", lambda a, b: la.solve(near(a), b, left=False), lambda a, b: b @ ref.inv(near(a)), SQUARE,
        (2, 2, 3), complex=True),
    row("linalg.solve_triangular right", lambda a, b: la.solve_triangular(near(a), b, left=False),
        lambda a, b: b @ ref.inv(np.tril(near(a))), SQUARE, (2, 2, 3)),
    row("linalg.solve_triangular vector", lambda a, b: la.solve_triangular(near(a), b, upper=True),
        lambda a, b: ref.solve(np.triu(near(a)), b), (3, 3), (3,)),
    row("linalg.det", la.det, ref.det, SQUARE, complex=True), row("linalg.det 1", la.det, ref.det, (1, 1)),
    row("linalg.det 4", lambda x: la.det(near(x)), lambda x: ref.det(near(x)), (4, 4), complex=True),
    row("linalg.slogdet", lambda x: la.slogdet(near(x))[1], lambda x: ref.slogdet(near(x))[1], SQUARE, complex=True),
    row("linalg.slogdet sign", lambda x: la.slogdet(near(x)).sign, lambda x: ref.slogdet(near(x))[0], SQUARE,
        complex=True),
    row("linalg.cholesky", lambda x: la.cholesky(positive(x)), lambda x: ref.cholesky(positive(x)), SQUARE, complex=True),
    row("linalg.cholesky upper", lambda x: la.cholesky(positive(x), upper=True),
        lambda x: adjoint(ref.cholesky(positive(x))), SQUARE, complex=True),
    *[row(f"linalg.qr R {s}", lambda x: la.qr(apart(x), "r"), lambda x: ref.qr(apart(x), "r"), s, complex=True)
      for s in (SQUARE, TALL, WIDE)],
    *[row(f"linalg.qr Q {s}", lambda x: la.qr(apart(x)).Q, lambda x: ref.qr(apart(x))[0], s, complex=True) for s in (TALL, WIDE)],
    row("linalg.qr both", lambda x: la.qr(apart(x)).Q @ gg.sin(la.qr(apart(x)).R),
        lambda x: ref.qr(apart(x))[0] @ np.sin(ref.qr(apart(x))[1]), TALL, complex=True, half=4),  # Q and R are rounded
    row("linalg.qr complete", projector, np_left_over, TALL, complex=True),
    row("linalg.qr complete R", lambda x: la.qr(apart(x), "complete").R, lambda x: np.concatenate(
        [ref.qr(apart(x), "r"), np.zeros((2, 1, 3))], -2), TALL),
    row("linalg.eigvalsh", lambda x: la.eigvalsh(symmetric(x)), lambda x: ref.eigvalsh(symmetric(x)), SQUARE, complex=True),
    row("linalg.eigvalsh U", lambda x: la.eigvalsh(symmetric(x), "U"), lambda x: ref.eigvalsh(symmetric(x)), SQUARE),
    row("linalg.eigh values", lambda x: la.eigh(symmetric(x))[0], lambda x: ref.eigvalsh(symmetric(x)), SQUARE, complex=True),
    row("linalg.eigh vectors", lambda x: gg.square(gg.abs(la.eigh(symmetric(x))[1])),
        lambda x: np.abs(ref.eigh(symmetric(x))[1]) ** 2, SQUARE, complex=True),
    row("linalg.eigh both", by_eigenvalues, np_by_eigenvalues, SQUARE, complex=True),
    row("linalg.eigh U", lambda x: by_eigenvalues(x, "U"), np_by_eigenvalues, (3, 3)),
    *[row(f"linalg.svdvals {s}", lambda x: la.svdvals(apart(x)), lambda x: ref.svd(apart(x), compute_uv=False), s, complex=True)
      for s in (SQUARE, TALL, WIDE)],
    row("linalg.svd values", lambda x: la.svd(apart(x)).S, lambda x: ref.svd(apart(x), compute_uv=False), TALL),
    *[row(f"linalg.svd both {s} {full}", lambda x, f=full: parts(x, f), np_parts, s, complex=not full, half=4)  # U, S and Vh are rounded
      for s in (SQUARE, TALL, WIDE) for full in (False, True)],
    row("linalg.svd U", lambda x: gg.square(gg.abs(la.svd(apart(x), full_matrices=False).U)),
        lambda x: np.abs(ref.svd(apart(x), full_matrices=False)[0]) ** 2, TALL, complex=True),
    row("linalg.svd Vh", lambda x: gg.square(gg.abs(la.svd(apart(x), full_matrices=False).Vh)),
        lambda x: np.abs(ref.svd(apart(x), full_matrices=False)[2]) ** 2, WIDE, complex=True),
    row("linalg.svd full", left_over, np_left_over, TALL, complex=True),
    *[row(f"linalg.pinv {s}", lambda x: la.pinv(apart(x)), lambda x: ref.pinv(apart(x)), s, complex=True, tolerance=1e-11)
      for s in (TALL, WIDE)],
    row("linalg.pinv hermitian", lambda x: la.pinv(symmetric(x), hermitian=True), lambda x: ref.pinv(symmetric(x)), SQUARE,
        complex=True, tolerance=1e-11),
    *[row(f"linalg.lstsq {a}{b}", lambda a, b: la.lstsq(apart(a), b).x, lambda a, b: ref.pinv(apart(a)) @ b, a, b, complex=True,
          tolerance=1e-11) for a, b in [((4, 3), (4,)), (TALL, (2, 4, 2)), ((3, 4), (3, 2))]],
    row("linalg.lstsq residuals", lambda a, b: la.lstsq(apart(a), b).residuals, lambda a, b: ref.lstsq(apart(a), b)[1], (5, 2), (5, 2),
        complex=True),
    *[row(f"linalg.matrix_power {n}", lambda x, n=n: la.matrix_power(near(x) * 0.25, n),
          lambda x, n=n: power(near(x) * 0.25, n), SQUARE, complex=True) for n in (-2, 1, 2, 5)],
    row("linalg.matrix_power 0", lambda x: la.matrix_power(x, 0), lambda x: power(x, 0), SQUARE),
    row("linalg.matrix_exp", la.matrix_exp, exponential, SQUARE, complex=True, empty=((2, 0, 0),)),
    row("linalg.matrix_exp large", lambda x: la.matrix_exp(x - 4 * gg.eye(3, dtype=x.dtype)),
        lambda x: exponential(x - 4 * np.eye(3)), (3, 3)),
    row("linalg.inv empty", la.inv, ref.inv, (1, 1), low=1.0, empty=EMPTY),
    row("linalg.det empty", la.det, ref.det, (1, 1), empty=EMPTY),
    row("linalg.slogdet empty", lambda x: la.slogdet(x)[1], lambda x: ref.slogdet(x)[1], (1, 1), empty=EMPTY),
    row("linalg.cholesky empty", la.cholesky, ref.cholesky, (1, 1), low=1.0, empty=EMPTY),
    row("linalg.svdvals empty", la.svdvals, lambda x: ref.svd(x, compute_uv=False), (1, 1), low=1.0, empty=((0, 2, 3),)),
    row("linalg.eigvalsh empty", la.eigvalsh, ref.eigvalsh, (1, 1), empty=EMPTY),
    row("linalg.pinv empty", la.pinv, ref.pinv, (1, 1), low=1.0, empty=((2, 0, 3),)),
    row("linalg.solve empty", la.solve, ref.solve, (1, 1), (1, 1), low=1.0, empty=((0, 0), (0, 2))),
]  # fmt: skip
