"""Attention: blocks, dropout, what is not looked at, what it keeps and what it refuses."""

import gc

import numpy as np
import pytest
from table.attention import plain

import gpugrad as gg
from gpugrad.nn import scaled_dot_product_attention as attend
from gpugrad.ops import attention as ops, threads
from gpugrad.testing import assert_close, check_grads

pytestmark = pytest.mark.devices

rng = np.random.default_rng(0)
A = lambda *shape: rng.standard_normal(shape)


def gradients(f, *arrays):
    xs = [gg.tensor(a, requires_grad=True) for a in arrays]
    y = f(*xs)
    weights = np.cos(np.arange(y.array.size)).reshape(y.shape)
    return [a.numpy() for a in (y.detach(), *gg.grad(y, xs, gg.tensor(weights)))]


@pytest.fixture
def small(monkeypatch):
    """Blocks so small that there are many."""
    for name in ("HOST", "DEVICE", "LEAST", "PIECE"):
        monkeypatch.setattr(ops, name, 16 if name != "LEAST" else 2)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shapes", [((2, 3, 7, 4), (2, 3, 5, 4)), ((9, 4), (4, 4)), ((3, 1, 4), (40, 4))])
def test_blocks_do_not_change_the_answer(small, causal, shapes):
    q, k, v, m = A(*shapes[0]), A(*shapes[1]), A(*shapes[1][:-1], 3), A(*shapes[0][:-1], 1)
    f = lambda q, k, v, m: attend(q, k, v, m, is_causal=causal)
    in_blocks = gradients(f, q, k, v, m)
    assert_close(in_blocks[0], plain(q, k, v, m, causal))
    with pytest.MonkeyPatch.context() as whole:
        whole.setattr(ops, "HOST", 10**6)
        whole.setattr(ops, "DEVICE", 10**6)
        for a, b in zip(in_blocks, gradients(f, q, k, v, m), strict=True):
            assert_close(a, b)
    if q.ndim == 2:
        check_grads(f, [q, k, v, m])


@pytest.mark.parametrize("piece", [40, 70, 130, 10**6])
def test_small_heads_go_together(monkeypatch, piece):
    """Whole batches, some heads of one, or one: with a mask broadcast over heads, and dropout that repeats."""
    monkeypatch.setattr(ops, "PIECE", piece)
    q, k, v = A(2, 5, 6, 4), A(2, 5, 6, 4), A(2, 1, 6, 3)
    for mask in (A(5, 1, 6), A(2, 1, 1, 6), A(6, 6)):
        y = attend(*map(gg.tensor, (q, k, v, mask)), is_causal=True).numpy()
        assert_close(y, plain(q, k, v, mask, True))

    def f(q, k, v, mask):
        gg.random.seed(3)
        return attend(q, k, v, mask, dropout_p=0.3)

    check_grads(f, [q[:1, :, :3], k[:1, :, :2], v[:1, :, :2], A(1, 3, 1)], order=1)


@pytest.mark.parametrize("causal", [False, True])
def test_dropout(small, causal):
    """A weight is dropped or larger by 1 / (1 - p), on the way back the same ones, and in the second order, too."""
    q, k, v = A(2, 6, 4), A(2, 5, 4), A(2, 5, 3)

    def f(q, k, v, p=0.4):
        gg.random.seed(3)
        return attend(q, k, v, dropout_p=p, is_causal=causal)

    check_grads(f, [q, k, v])
    eye = np.broadcast_to(np.eye(5), (2, 5, 5))
    weights = f(*map(gg.tensor, (q, k, eye))).numpy() / plain(q, k, eye, causal=causal).clip(1e-30)
    assert {0, round(1 / 0.6, 6)} == set(np.unique(weights.round(6)))
    assert not f(*map(gg.tensor, (q, k, v)), p=1).numpy().any()
    again = [attend(gg.tensor(q), gg.tensor(k), gg.tensor(v), dropout_p=0.4).numpy() for _ in range(2)]
    assert (again[0] != again[1]).any()


def test_a_query_that_looks_at_nothing_answers_zero():
    q, k, v = A(3, 4), A(5, 4), A(5, 2)
    mask = np.ones((3, 5), bool)
    mask[1] = False
    for m in (mask, np.where(mask, 0.0, -np.inf)):
        y, dq, dk, dv = gradients(lambda q, k, v, m=m: attend(q, k, v, gg.tensor(m)), q, k, v)
        assert not y[1].any() and not dq[1].any() and dq[0].any()
        assert np.isfinite(np.concatenate([dk, dv], 1)).all()
        check_grads(lambda q, k, v, m=m: attend(q, k, v, gg.tensor(m)), [q, k, v], order=2)
    y, dq, dk, dv = gradients(attend, q, np.zeros((0, 4)), np.zeros((0, 2)))
    assert y.shape == (3, 2) and not y.any() and not dq.any() and dk.shape == (0, 4)
    assert gradients(attend, np.zeros((0, 4)), k, v)[0].shape == (0, 2)


def test_large_scores():
    """Where scores are far apart it is a choice; nothing overflows."""
    q, k, v = np.eye(3) * 1e5, np.eye(3) * 1e3, A(3, 2)
    y, dq, _, _ = gradients(attend, q, k, v)
    assert_close(y, v)
    np.testing.assert_allclose(dq, 0, atol=1e-9)


def test_half_types_are_computed_in_float32():
    q, k, v = [A(2, 4, 300, 8).astype(np.float16) for _ in range(3)]
    y = attend(*map(gg.tensor, (q, k, v)))
    assert y.dtype == "float16"
    exact = plain(*[a.astype(np.float64) for a in (q, k, v)])
    np.testing.assert_allclose(y.numpy().astype(float), exact, atol=2**-10)


def test_what_it_keeps():
    """Query, key, value, the answer and a number for each query, nothing of the size of the scores."""
    q, k, v = [gg.tensor(A(2, 200, 4)) for _ in range(3)]
    gc.disable()
    try:
        with gg.GradientTape() as tape:
            tape.watch([q, k, v])
            y = attend(q, k, v, is_causal=True)
        assert tape.nbytes() == 8 * 2 * 200 * (4 * 4 + 1)
        tape.gradient(y, [q, k, v])
    finally:
        gc.enable()


def test_a_mask_without_a_gradient_gets_none():
    q, k, v = [gg.tensor(A(3, 4), requires_grad=True) for _ in range(3)]
    for mask in (np.ones((3, 3), bool), gg.ones((3, 3), dtype="float64"), [[True] * 3] * 3):
        g = gg.grad(attend(q, k, v, mask).sum(), [q, k, v])
        assert [a.shape for a in g] == [(3, 4)] * 3
    with gg.GradientTape() as tape:
        mask = gg.Variable(np.zeros((3, 3)))
        y = attend(q.detach(), k.detach(), v.detach(), mask)
    assert tape.gradient(y, mask).shape == (3, 3)


def test_threads(monkeypatch):
    """Heads are spread over threads, and the answer is the same; an error of one is raised, and np.errstate holds."""
    q, k, v = A(3, 4, 9, 4), A(3, 4, 9, 4), A(3, 4, 9, 2)
    alone = gradients(attend, q, k, v)
    monkeypatch.setattr(ops, "MANY", 1)
    monkeypatch.setattr(ops, "HOST", 100)
    monkeypatch.setattr(ops, "PIECE", 100)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    heads = []
    monkeypatch.setattr(ops, "shared", lambda work, items: (heads.append(len(items)), threads.shared(work, items)))
    for a, b in zip(alone, gradients(attend, q, k, v), strict=True):
        assert_close(a, b)
    assert heads == ([12, 12] if gg.tensor(q).device == "cpu" else [])
    q[2, 1] = np.inf
    with np.errstate(invalid="ignore"):
        assert np.isnan(attend(*map(gg.tensor, (q, k, v))).numpy()[2, 1]).all()

    def fails(xp, x, y):
        raise MemoryError("no room")

    monkeypatch.setattr(ops, "_times", fails)
    with pytest.raises(MemoryError, match="no room"):
        attend(*map(gg.tensor, (q, k, v)))


times = ops._times
X = lambda *shape: gg.ones(shape)


@pytest.mark.parametrize(
    ("f", "error", "words"),
    [
        (
            lambda: attend(X(2, 3), X(4, 2), X(4, 3)),
            ValueError,
            r"query \(2, 3\), key \(4, 2\) and value",
        ),
        (lambda: attend(X(2, 3), X(4, 3), X(5, 3)), ValueError, r"\(\.\.\., L, E\), \(\.\.\., S, E\)"),
        (lambda: attend(X(3), X(4, 3), X(4, 3)), ValueError, "do not fit"),
        (lambda: attend(X(2, 2, 3), X(3, 4, 3), X(4, 3)), ValueError, "leading axes broadcast"),
        (lambda: attend(X(2, 3), X(4, 3), X(4, 3), X(4, 2)), ValueError, r"attn_mask \(4, 2\) do not fit"),
        (lambda: attend(X(2, 3), X(4, 3), X(4, 3), gg.ones((2, 4), dtype="int32")), TypeError, "attn_mask is bool, or"),
        (lambda: attend(X(2, 3), X(4, 3), gg.ones((4, 3), dtype="int32")), TypeError, "value is floating, given int32"),
        (lambda: attend(X(2, 3), X(4, 3) * 1j, X(4, 3)), TypeError, "key is floating, given complex64"),
        (lambda: attend(X(2, 3), X(4, 3), X(4, 3), dropout_p=1.5), ValueError, "from 0 to 1, not 1.5"),
        (lambda: attend(X(3, 2, 3), X(2, 4, 3), X(2, 4, 3), enable_gqa=True), ValueError, "divides that of query"),
        (
            lambda: attend(X(4, 3, 2), X(2, 3, 2), X(2, 3, 2), X(3, 3, 3), enable_gqa=True),
            ValueError,
            r"attn_mask \(3, 3, 3\) has not 1 or 4 heads",
        ),
        (lambda: attend(X(3, 4), X(5, 4), X(5, 2), scale=X(1)), TypeError, "scale is a number, which has no gradient"),
    ],
)
def test_what_it_refuses(f, error, words):
    with pytest.raises(error, match=words):
        f()
