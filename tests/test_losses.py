"""Losses: what they refuse, and what they answer at the ends of their range."""

import tracemalloc

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.testing import assert_close, check_grads

pytestmark = pytest.mark.devices

X = lambda *shape: gg.tensor(np.linspace(0.1, 0.9, int(np.prod(shape))).reshape(shape))
Z = np.log(np.random.default_rng(0).dirichlet(np.ones(4), (5, 3)))  # times, rows, classes


@pytest.mark.parametrize(
    ("f", "error", "words"),
    [
        (
            lambda: nn.hinge_loss(X(2, 3), X(2, 4)),
            ValueError,
            r"arrays of shapes \(2, 3\), \(2, 4\) do not fit",
        ),
        (lambda: nn.l1_loss(X(2), X(2), "avg"), ValueError, "reduction is 'mean', 'sum' or 'none', not 'avg'"),
        (
            lambda: nn.mse_loss(X(2, 3), X(2, 3), weight=X(3)),
            ValueError,
            r"weight has shape \(3,\); it has that",
        ),
        (lambda: nn.huber_loss(X(2), X(2) + 1j), TypeError, "huber_loss: takes real arrays, given complex128"),
        (
            lambda: nn.huber_loss(X(2), X(2), delta=X(1)),
            TypeError,
            "huber_loss: delta is a number",
        ),
        (lambda: nn.smooth_l1_loss(X(2), X(2), beta=X(1)), TypeError, "smooth_l1_loss: beta is a number"),
        (lambda: nn.cross_entropy(X(2, 3), [0, 5]), ValueError, r"cross_entropy: labels are in 0..5, allowed are 0..2"),
        (lambda: nn.nll_loss(X(2, 3), [0, -1]), ValueError, r"nll_loss: labels are in -1..0, allowed are 0..2"),
        (lambda: nn.cross_entropy(X(2, 3), X(2, 3), ignore_index=1), ValueError, "ignore_index is for integer labels"),
        (lambda: nn.cross_entropy(X(2, 3), X(2, 4)), TypeError, "labels are integer class indices"),
        (lambda: nn.nll_loss(X(2, 3), X(2)), TypeError, "nll_loss: labels are integer class indices, given float64"),
        (lambda: nn.kl_div(X(2, 3), X(2, 3), "avg"), ValueError, "reduction is"),
        (lambda: nn.gaussian_nll_loss(X(2), X(2), X(2), eps=0), ValueError, "eps is above 0, given 0"),
        (lambda: nn.gaussian_nll_loss(X(2, 3), X(2, 3), X(3)), ValueError, r"var has shape \(3,\); a number, \(2, 3\)"),
        (lambda: nn.cosine_similarity(X(2, 3), X(2, 3), axis=2), ValueError, "axis 2 is out of bounds for arrays of 2"),
        (lambda: nn.cosine_embedding_loss(X(2, 3), X(2, 3), [1, -1, 1]), ValueError, r"target \(3,\) do not fit"),
        (lambda: nn.triplet_margin_loss(X(2), X(2), X(2), margin=0), ValueError, "margin must be greater than 0"),
        (lambda: nn.multi_margin_loss(X(2, 3), [0, 1], p=3), ValueError, "p is 1 or 2, not 3"),
        (lambda: nn.multi_margin_loss(X(2, 3), [0.0, 1.0]), TypeError, "labels are integer class indices"),
        (lambda: nn.multi_margin_loss(X(2, 3), [0]), ValueError, r"labels of shape \(1,\) do not fit scores"),
        (lambda: nn.multi_margin_loss(X(2, 3), [0, 3]), ValueError, r"labels are in 0..3, allowed are 0..2"),
        (lambda: nn.multi_margin_loss(X(2, 3), [0, 1], weight=[1.0]), ValueError, "a number for each class"),
        (lambda: nn.multilabel_margin_loss(X(2, 3), [0, 1]), ValueError, "do not fit scores of shape"),
        (lambda: nn.multilabel_margin_loss(X(2, 3), X(2, 3)), TypeError, "integer class indices"),
        (lambda: nn.multilabel_margin_loss(X(1, 3), [[5, -1, 0]]), ValueError, r"labels are in 5..5, allowed are 0..2"),
    ],
)
def test_what_does_not_fit(f, error, words):
    with pytest.raises(error, match=words):
        f()


U = lambda *shape: X(*shape) + 1j


@pytest.mark.parametrize(
    "f",
    [
        lambda: nn.cosine_similarity(U(2, 3), U(2, 3)), lambda: nn.hinge_loss(U(2), [1, -1]),
        lambda: nn.gaussian_nll_loss(U(2), U(2), X(2)), lambda: nn.kl_div(U(2), U(2)),
        lambda: nn.binary_cross_entropy(U(2), X(2)), lambda: nn.binary_cross_entropy_with_logits(U(2), X(2)),
        lambda: nn.poisson_nll_loss(U(2), X(2)), lambda: nn.cross_entropy(U(2, 3), [0, 1]),
        lambda: nn.cross_entropy(U(2, 3), X(2, 3)), lambda: nn.cross_entropy(X(2, 3), U(2, 3)),
        lambda: nn.nll_loss(U(2, 3), [0, 1]), lambda: nn.multi_margin_loss(U(2, 3), [0, 1]),
        lambda: nn.layer_norm(U(2, 3), 3), lambda: nn.rms_norm(U(2, 3), 3), lambda: nn.group_norm(U(2, 4, 3), 2),
        lambda: nn.instance_norm(U(2, 4, 3)), lambda: nn.batch_norm(U(2, 4), None, None, training=True),
    ],
)  # fmt: skip
def test_complex_arrays_are_refused(f):
    with pytest.raises(TypeError, match=r"\w+: (takes|needs) real .*, given complex128"):
        f()


def test_shapes_that_broadcasting_would_hide():
    x, y = X(4, 1), X(4)
    for f in (nn.binary_cross_entropy, nn.binary_cross_entropy_with_logits):
        with pytest.raises(ValueError, match=f"{f.__name__}: target has shape .4,. and prediction .4, 1.; both"):
            f(x, y)
    for f in (nn.mse_loss, nn.l1_loss, nn.huber_loss, nn.smooth_l1_loss, nn.kl_div, nn.poisson_nll_loss):
        with pytest.warns(UserWarning, match=f"{f.__name__}: target has shape .4,. and prediction .4, 1.;") as told:
            assert f(x, y, "none").shape == (4, 4)
        assert told[0].filename == __file__
        f(x, 0.5)


def test_logits_that_are_sure():
    """What is left of the loss is the logarithm of 1 + exp(-|x|), to all digits; so is its slope."""
    for x in (10.0, 14.6, 60.0):
        z, y = gg.tensor(np.float32([x, -x]), requires_grad=True), np.float32([1, 0])
        y = y if z.device == "cpu" else gg.tensor(y)
        for f in (
            nn.binary_cross_entropy_with_logits, nn.multilabel_soft_margin_loss,
            lambda z, y, r: nn.binary_cross_entropy_with_logits(z, y, r, pos_weight=[1.0, 1.0]),
        ):  # fmt: skip
            loss = f(z, y, "none")
            np.testing.assert_allclose(loss.detach().numpy().max(), np.log1p(np.exp(-x)), rtol=2e-6)
        (g,) = gg.grad(nn.binary_cross_entropy_with_logits(z, y, "sum"), z)
        np.testing.assert_allclose(g.numpy(), np.float64([-1, 1]) / (1 + np.exp(x)), rtol=1e-6)


def test_weights_have_a_gradient_and_leave_the_dtype():
    x, w = gg.tensor(np.float32(Z[0])), gg.tensor(np.array([0.5, 2.0, 1.0, 0.25]), requires_grad=True)
    labels, ones = [0, 3, 1], np.eye(4)[[0, 3, 1]].tolist()
    for f in (
        lambda x, w: nn.cross_entropy(x, labels, weight=w),
        lambda x, w: nn.cross_entropy(x, labels, weight=w, ignore_index=3, label_smoothing=0.2),
        lambda x, w: nn.cross_entropy(x, ones, weight=w),
        lambda x, w: nn.nll_loss(x, labels, weight=w),
        lambda x, w: nn.multi_margin_loss(x, labels, weight=w),
        lambda x, w: nn.multilabel_soft_margin_loss(x, ones, weight=w),
        lambda x, w: nn.binary_cross_entropy_with_logits(x, ones, weight=w),
    ):
        loss = f(x, w)
        assert loss.dtype == np.float32 and gg.grad(loss, w)[0].dtype == np.float64
        check_grads(f, [Z[0], w.detach().numpy()])


def test_values_out_of_range(default_device):
    """On the CPU an error; a GPU is not waited for, and NaN tells."""
    for f, words in (
        (lambda: nn.binary_cross_entropy(X(2) + 1, X(2)), r"predictions are in 1.1..1.9, allowed are probabilities"),
        (lambda: nn.gaussian_nll_loss(X(2), X(2), -X(2)), "var has a negative entry, -0.9"),
        (lambda: nn.multi_margin_loss(X(2, 3), gg.tensor([0, 3])), r"labels are in 0..3"),
        (lambda: nn.multilabel_margin_loss(X(1, 3), gg.tensor([[5, -1, 0]])), r"labels are in 5..5"),
    ):
        if default_device == "cpu":
            with pytest.raises(ValueError, match=words):
                f()
        elif "var" not in words:  # which counts as eps
            with np.errstate(invalid="ignore"):
                assert np.isnan(f().item())


def test_reductions():
    x, y = X(3, 4), X(3, 4) * 0.5
    for f in (nn.l1_loss, nn.huber_loss, nn.binary_cross_entropy, nn.kl_div, nn.hinge_loss, nn.soft_margin_loss):
        rows = f(x, y, "none")
        assert rows.shape == (3, 4)
        assert_close(f(x, y, "sum"), rows.numpy().sum())
        assert_close(f(x, y), rows.numpy().mean())
    assert_close(nn.kl_div(x, y, "batchmean"), nn.kl_div(x, y, "none").numpy().sum() / 3)


def test_targets_from_the_host(default_device):
    """Labels, integer targets and weights may come from NumPy; the loss has the dtype of the prediction."""
    x = gg.tensor(np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4))
    signs, weight = np.where(np.arange(12).reshape(3, 4) % 2, 1, -1), np.linspace(1, 2, 4)
    for y in (
        nn.hinge_loss(x, signs), nn.l1_loss(x, signs), nn.hinge_embedding_loss(x, signs),
        nn.binary_cross_entropy_with_logits(x, signs > 0, weight=weight, pos_weight=weight),
        nn.cross_entropy(x, x * 0 + 0.25, weight=weight), nn.multi_margin_loss(x, np.array([0, 1, 2]), weight=weight),
        nn.multilabel_soft_margin_loss(x, signs > 0, weight=weight), nn.cosine_embedding_loss(x, x, signs[:, 0]),
    ):  # fmt: skip
        assert y.dtype == np.float32 and y.device == default_device


def test_half_types_do_not_overflow():
    for dtype in ("float16", "bfloat16"):
        x = gg.tensor([300.0, 0, 0, 0, 0, 0, 0, 0], dtype=dtype)
        assert float(nn.mse_loss(x, x * 0)) == pytest.approx(11250, rel=1e-2)
        assert float(nn.huber_loss(x, -x, delta=1e3)) == pytest.approx(22500, rel=1e-2)
        z = nn.cosine_similarity(x, x)
        assert z.dtype == dtype and float(z) == 1


def test_clamped_logarithms():
    p = gg.tensor([0.0, 1.0, 0.0, 1.0])
    assert nn.binary_cross_entropy(p, gg.tensor([1.0, 0.0, 0.0, 1.0]), "none").tolist() == [100, 100, 0, 0]


def test_second_derivatives_at_kinks():
    for at, expected in ((0.5, 1), (0.50001, 0), (-0.5, 1)):  # huber at delta
        x = gg.tensor([at], requires_grad=True)
        (g,) = gg.grad(nn.huber_loss(x, x.detach() * 0, "sum", delta=0.5), x, create_graph=True)
        assert gg.grad(g.sum(), x)[0].tolist() == [expected]
    x = gg.tensor([[1.0, 0.0]], requires_grad=True)  # a cosine of 0 is the margin
    y = nn.cosine_embedding_loss(x, gg.tensor([[0.0, 2.0]]), [-1])
    assert y.item() == 0 and gg.grad(y, x)[0].tolist() == [[0, 1]]


def test_probabilities_that_are_labels():
    z = gg.tensor(np.random.default_rng(0).standard_normal((3, 4)))
    for smoothing in (0.0, 0.3):
        of_labels = nn.cross_entropy(z, [0, 3, 1], label_smoothing=smoothing)
        assert_close(nn.cross_entropy(z, np.eye(4)[[0, 3, 1]].tolist(), label_smoothing=smoothing), of_labels)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_losses_of_nothing():
    """The sum is 0, the mean NaN, as PyTorch's; gradients are empty."""
    for f in (nn.mse_loss, nn.l1_loss, nn.huber_loss, nn.binary_cross_entropy, nn.kl_div, nn.soft_margin_loss):
        x = gg.tensor(np.zeros((0, 3)), requires_grad=True)
        y = f(x, np.zeros((0, 3)) if x.device == "cpu" else gg.zeros((0, 3), dtype="float64"), "sum")
        assert y.item() == 0 and gg.grad(y, x)[0].shape == (0, 3)
        assert np.isnan(f(x.detach(), x.detach()).item())


def test_multilabel_margin_looks_at_the_labels_only():
    """(rows, most labels, classes), not (rows, classes, classes)."""
    labels = np.full((8, 512), -1)
    labels[:, 0] = np.arange(8)
    x = gg.tensor(np.zeros((8, 512)), requires_grad=True)
    tracemalloc.start()
    loss = nn.multilabel_margin_loss(x, labels)
    gg.grad(loss, x)
    peak, _ = tracemalloc.get_traced_memory()[1], tracemalloc.stop()
    assert loss.item() == pytest.approx(511 / 512) and peak < 8 * 512 * 8 * 40
    x = gg.tensor(np.ones((2, 3)), requires_grad=True)
    y = nn.multilabel_margin_loss(x, [[-1, 0, 1], [-1, 2, 2]])
    assert y.item() == 0 and not gg.grad(y, x)[0].numpy().any()


# ---------------------------------------------------------------------------------------------- ctc


def gradient(f, x):
    t = gg.tensor(x, requires_grad=True)
    y = f(t)
    return y.numpy(), gg.grad(y.sum(), t)[0].numpy()


def test_ctc_of_what_cannot_be():
    """Three equal labels need five times; without zero_infinity the loss is infinite, and the gradient 0."""
    given = [[1, 2, 3], [2, 2, 2], [1, 1, 1]], [5, 4, 0], [3, 3, 0]
    y, g = gradient(lambda x: nn.ctc_loss(x, *given, "none"), Z)
    assert np.isfinite(y[0]) and y[1] == np.inf and y[2] == 0  # nothing in no time
    assert np.abs(g[:, 0]).sum() > 0 and not g[:, 1:].any()
    z, h = gradient(lambda x: nn.ctc_loss(x, *given, "none", zero_infinity=True), Z)
    assert z.tolist() == [y[0], 0, 0]
    np.testing.assert_array_equal(g, h)


def test_ctc_looks_at_nothing_after_the_last_time():
    given = [[1, 2], [3, 1], [2, 0]], [5, 3, 2], [2, 2, 1]
    y, g = gradient(lambda x: nn.ctc_loss(x, *given, "none"), Z)
    x = Z.copy()
    x[3:, 1] = np.nan
    x[2:, 2] = -np.inf
    z, h = gradient(lambda x: nn.ctc_loss(x, *given, "none"), x)
    np.testing.assert_array_equal(y, z)
    np.testing.assert_array_equal(g, h)
    np.testing.assert_allclose(
        -g.sum(-1), np.arange(5)[:, None] < [5, 3, 2], atol=1e-12
    )  # it is somewhere at each time


def test_ctc_takes_labels_in_a_row_and_one_row():
    padded = nn.ctc_loss(gg.tensor(Z), [[1, 2], [3, 0], [0, 0]], [5, 5, 5], [2, 1, 0], "none")
    assert_close(nn.ctc_loss(gg.tensor(Z), [1, 2, 3], [5, 5, 5], [2, 1, 0], "none"), padded)
    one = nn.ctc_loss(gg.tensor(Z[:, 0]), [1, 2], 5, 2, "none")
    assert one.shape == () and float(one) == pytest.approx(float(padded[0]))
    assert_close(nn.ctc_loss(gg.tensor(Z), gg.tensor([1, 2, 3]), gg.tensor([5, 5, 5]), gg.tensor([2, 1, 0])),
                 (padded.numpy() / [2, 1, 1]).mean())  # fmt: skip


def test_ctc_of_one_time():
    f = lambda x: nn.ctc_loss(x, [[1], [2], [3]], [1, 1, 0], [1, 0, 0], "none")
    y, g = gradient(f, Z[:1])
    np.testing.assert_allclose(y, [-Z[0, 0, 1], -Z[0, 1, 0], 0])
    assert np.argwhere(g).tolist() == [[0, 0, 1], [0, 1, 0]] and g.sum() == -2
    check_grads(f, [Z[:1]])


def test_ctc_with_classes_that_cannot_be():
    x = Z.copy()
    x[..., 3] = -np.inf
    y, g = gradient(lambda x: nn.ctc_loss(x, [[1], [2], [3]], [5, 5, 5], [1, 1, 1], "none"), x)
    assert np.isfinite(y[:2]).all() and y[2] == np.inf and np.isfinite(g).all() and not g[..., 3].any()


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (([[1, 2]] * 2, [5] * 3, [2] * 3), ValueError, r"targets of shape \(2, 2\) do not fit; they are \(3, 2\)"),
        (([[1.0, 2.0]] * 3, [5] * 3, [2] * 3), TypeError, "integer class indices, given float64"),
        (([[1, 2]] * 3, [6] * 3, [2] * 3), ValueError, "input_lengths are 3 integers from 0 on to 5"),
        (([[1, 2]] * 3, [5] * 2, [2] * 3), ValueError, "input_lengths are 3 integers"),
        (([[1, 2]] * 3, [5] * 3, [-1, 0, 1]), ValueError, "target_lengths are 3 integers from 0 on, given"),
        (([[1, 2]] * 3, [5] * 3, [2] * 3, "mean", 4), ValueError, r"a blank in 0..3, given 5 times and blank 4"),
        (([[1, 2]] * 3, [5] * 3, [2] * 3, "mean", 0.5), ValueError, r"a blank in 0..3, given 5 times and blank 0.5"),
        (([[1, 2]] * 3, [5] * 3, [2] * 3, "avg"), ValueError, "reduction is"),
    ],
)
def test_what_ctc_refuses(given, error, words):
    with pytest.raises(error, match=words):
        nn.ctc_loss(gg.tensor(Z), *given)


def test_labels_that_ctc_refuses(default_device):
    """On a GPU a label out of range gives NaN; there, one that is the blank is not looked for."""
    for labels in ([[1, 4], [1, 2], [1, 2]], [[-1, 2], [1, 2], [1, 2]], [[1, 0], [1, 2], [1, 2]]):
        f = lambda labels=labels: nn.ctc_loss(gg.tensor(Z), gg.tensor(labels), [5] * 3, [2] * 3, "none")
        if default_device == "cpu":
            with pytest.raises(ValueError, match=r"allowed are 0..3 without 0, the blank"):
                f()
        else:
            assert np.isnan(f().numpy()).tolist() == [labels[0][1] != 0, False, False]


@pytest.mark.numpy
def test_labels_and_weights_in_forms_that_users_write():
    x, y = gg.tensor([[1.0, 2.0, 0.5], [0.0, 1.0, 3.0]]), np.array([1, 2])
    for f in (nn.cross_entropy, nn.nll_loss, nn.CrossEntropyLoss(), nn.NLLLoss()):
        with pytest.raises(TypeError, match="given int64; they come first, and the labels second"):
            f(y, x)
    for layer in (nn.CrossEntropyLoss, nn.NLLLoss):
        with pytest.raises(RuntimeError, match=r"Write target.astype\(\"int64\"\)"):
            layer()(x, y.astype("float32"))
        with pytest.raises(RuntimeError, match=r"Write target.to\(gg.int64\)"):
            layer()(x, gg.tensor(y, dtype="float32"))
        wanted = layer(weight=gg.tensor([1.0, 2.0, 3.0]))(x, y)
        assert float(layer(weight=[1, 2, 3.0])(x, y.tolist())) == float(wanted)
        with pytest.raises(RuntimeError, match="for all 3 classes"):
            layer(weight=[1, 2.0])(x, y)
