"""Gauss-Newton's and Fisher's products against the matrices, formed from Jacobians."""

import numpy as np
import pytest

import gpugrad as gg

pytestmark = pytest.mark.devices

rng = np.random.default_rng(0)
X, LABELS = rng.normal(size=(6, 3)), np.array([0, 1, 2, 1, 0, 2])
W, B, V, U = rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=(3, 4)), rng.normal(size=4)


def tensors(*xs):
    return [gg.tensor(x, dtype=gg.float64) for x in xs]


def logits(w, b):
    (x,) = tensors(X)
    return gg.tanh(x @ w + b) * 2


def loss(z):
    """Cross-entropy, written out."""
    rows = gg.logsumexp(z, -1) - gg.take_along_axis(z, gg.tensor(LABELS[:, None]), -1)[:, 0]
    return gg.mean(rows)


def log_prob(w, b):
    z = logits(w, b)
    return gg.take_along_axis(z, gg.tensor(LABELS[:, None]), -1)[:, 0] - gg.logsumexp(z, -1)


def flat(parts):
    return np.concatenate([p.numpy().reshape(-1) for p in parts])


def jacobian(f, *args):
    rows = gg.jacrev(f, (0, 1))(*args)
    return np.concatenate([r.numpy().reshape(-1, a.size) for r, a in zip(rows, (W, B))], 1)


def test_gauss_newton():
    w, b, v, u = tensors(W, B, V, U)
    z = logits(w, b)
    j = jacobian(logits, w, b)
    h = gg.hessian(loss)(z).numpy().reshape(z.size, z.size)
    got = gg.gauss_newton_product(logits, loss, (w, b), (v, u))
    assert [g.shape for g in got] == [(3, 4), (4,)]
    np.testing.assert_allclose(flat(got), j.T @ h @ j @ flat((v, u)), atol=1e-12)


def test_it_is_the_hessian_of_a_linear_model():
    w, b, v, u = tensors(W, B, V, U)
    (x,) = tensors(X)
    model = lambda w, b: x @ w + b
    got = gg.gauss_newton_product(model, loss, (w, b), (v, u))
    want = gg.hvp(lambda w, b: loss(model(w, b)), (w, b), (v, u))
    np.testing.assert_allclose(flat(got), flat(want), atol=1e-12)


def test_fisher():
    w, b, v, u = tensors(W, B, V, U)
    g = jacobian(log_prob, w, b)
    got = gg.fisher_product(log_prob, (w, b), (v, u))
    np.testing.assert_allclose(flat(got), g.T @ (g @ flat((v, u))) / len(X), atol=1e-12)


def test_fisher_by_gradients_of_each_sample():
    w, b, v, u = tensors(W, B, V, U)

    def one(w, b, x, label):
        z = gg.tanh(x @ w + b) * 2
        return gg.sum(gg.where(gg.arange(4) == label, z, 0)) - gg.logsumexp(z)

    gs = gg.vmap(gg.grad(one, (0, 1)), in_axes=(None, None, 0, 0))(w, b, gg.tensor(X), gg.tensor(LABELS))
    g = np.concatenate([p.numpy().reshape(len(X), -1) for p in gs], 1)
    got = gg.fisher_product(log_prob, (w, b), (v, u))
    np.testing.assert_allclose(flat(got), g.T @ (g @ flat((v, u))) / len(X), atol=1e-12)


def test_fisher_is_gauss_newton_on_average_over_drawn_labels():
    """Of a softmax: Σ_k p_k of the Fisher matrices with label k for a sample is Jᵀ H J."""
    w, b, v, u = tensors(W, B, V, U)
    (x,) = tensors(X[:1])
    z = lambda w, b: gg.tanh(x @ w + b)
    total = 0
    for k in range(4):
        log_p = lambda w, b, k=k: z(w, b)[:, k] - gg.logsumexp(z(w, b), -1)
        total = total + np.exp(log_p(w, b).numpy()[0]) * flat(gg.fisher_product(log_p, (w, b), (v, u)))
    got = gg.gauss_newton_product(z, lambda z: gg.sum(gg.logsumexp(z, -1)), (w, b), (v, u))
    np.testing.assert_allclose(flat(got), total, atol=1e-12)


def test_trees_and_a_tape_around():
    w, b, v, u = tensors(W, B, V, U)
    f = lambda p: logits(p["w"], p["b"])
    with gg.GradientTape() as tape:
        tape.watch(w)
        (got,) = gg.gauss_newton_product(f, loss, ({"w": w, "b": b},), ({"w": v, "b": u},))
        quadratic = gg.sum(got["w"] * v) + gg.sum(got["b"] * u)
    want = gg.gauss_newton_product(logits, loss, (w, b), (v, u))
    np.testing.assert_allclose(flat((got["w"], got["b"])), flat(want), atol=1e-13)
    step = 1e-5
    ahead, behind = [flat(gg.gauss_newton_product(logits, loss, (w + s * v, b), (v, u))) for s in (step, -step)]
    want = (ahead - behind) @ flat((v, u)) / (2 * step)
    np.testing.assert_allclose(float(gg.sum(tape.gradient(quadratic, w) * v)), want, rtol=1e-6)


def test_errors():
    w, b, v, u = tensors(W, B, V, U)
    with pytest.raises(TypeError, match="primals and tangents are tuples"):
        gg.fisher_product(log_prob, w, v)
    with pytest.raises(ValueError, match="nested alike"):
        gg.gauss_newton_product(logits, loss, (w, b), (v,))
    with pytest.raises(ValueError, match=r"a logarithm for each sample, shape \(n,\), not \(\)"):
        gg.fisher_product(lambda w, b: gg.mean(log_prob(w, b)), (w, b), (v, u))
    with pytest.raises(ValueError, match="shape"):
        gg.fisher_product(log_prob, (w, b), (v, v))
