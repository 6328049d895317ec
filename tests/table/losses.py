"""Losses."""

import itertools

import numpy as np

from gpugrad import nn

from .row import logistic, row, softmax

LABELS = np.array([0, 3, 1])
SIGNS = np.array([[1, -1, -1, 1], [-1, 1, 1, -1], [1, 1, -1, -1]])
WEIGHTS = np.array([0.5, 2.0, 1.0, 0.25])
REDUCTIONS = {"mean": np.mean, "sum": np.sum, "none": lambda v: v}
M = ((3, 4), (3, 4))


def each(name, f, reference, *shapes, **options):
    """A row for each reduction; the kinks with the first, where they are multiplied by nothing."""
    kinks = options.pop("kinks", ())
    return [
        row(f"{name} {r}".removesuffix(" mean"), lambda *xs, r=r: f(*xs, reduction=r),
            lambda *xs, g=g: g(reference(*xs)), *shapes, kinks=kinks if r == "sum" else (), **options)
        for r, g in REDUCTIONS.items()
    ]  # fmt: skip


def pick(x, labels):
    return np.take_along_axis(x, labels[..., None], -1)[..., 0]


def huber(p, t, delta):
    d = abs(p - t)
    return np.where(d < delta, d * d / 2, delta * (d - delta / 2))


def xent(p, t):
    return -(t * np.log(p) + (1 - t) * np.log(1 - p))


def smoothed(t, part=0.3):
    return t * (1 - part) + part / t.shape[-1]


def cosine(x, y, axis=-1):
    return (x * y).sum(axis) / np.sqrt((x * x).sum(axis) * (y * y).sum(axis))


def distance(x, y, p=2.0, eps=1e-6):
    return (abs(x - y + eps) ** p).sum(-1) ** (1 / p)


def triplet(a, b, c, p=2.0, margin=1.0, swap=False):
    far = np.minimum(distance(a, c, p), distance(b, c, p)) if swap else distance(a, c, p)
    return np.maximum(distance(a, b, p) - far + margin, 0)


def multi_margin(x, labels, p=1, margin=1.0, weight=None):
    z = np.maximum(margin - pick(x, labels)[:, None] + x, 0) ** p
    z[np.arange(len(x)), labels] = 0
    return z.mean(-1) * (1 if weight is None else weight[labels])


def multilabel_margin(x, labels):
    out = np.zeros(len(x))
    for i, given in enumerate(labels):
        own = list(given[: np.argmax(given == -1) if -1 in given else None])
        out[i] = sum(max(0, 1 - x[i, j] + x[i, k]) for j in own for k in range(x.shape[1]) if k not in own)
    return out / x.shape[1]


def poisson(x, t, log_input, full):
    rows = np.exp(x) - t * x if log_input else x - t * np.log(x + 1e-8)
    n = np.where(t > 1, t, 1)
    return rows + full * np.where(t > 1, n * np.log(n) - n + np.log(2 * np.pi * n) / 2, 0)


def ctc(x, targets, spans, lengths, blank=0):
    """-log of the sum over all ways, one by one."""
    out = []
    for i, (span, length) in enumerate(zip(spans, lengths)):
        total = 0.0
        for way in itertools.product(range(x.shape[-1]), repeat=span):
            labels = [a for j, a in enumerate(way) if a != blank and (j == 0 or way[j - 1] != a)]
            total += np.exp(sum(x[t, i, a] for t, a in enumerate(way))) * (labels == list(targets[i][:length]))
        out.append(-np.log(total))
    return np.array(out)


POSITIVE = {"low": 0.2, "high": 2.0}
PROBABILITY = {"low": 0.1, "high": 0.9}

ROWS = [
    *each("mse_loss", nn.mse_loss, lambda p, t: abs(p - t) ** 2, *M, complex=True),
    *each("l1_loss", nn.l1_loss, lambda p, t: abs(p - t), *M, complex=True, kinks=[(([1.0, 2], [1.0, 3]), ([0, -1], [0, 1]))]),
    *each("huber_loss", nn.huber_loss, lambda p, t: huber(p, t, 1), *M),
    row("huber_loss delta", lambda p, t: nn.huber_loss(p, t, delta=0.5), lambda p, t: huber(p, t, 0.5).mean(), *M,
        kinks=[(([0.5], [0.0]), ([0.5], [-0.5]))]),
    *[row(f"{f.__name__} weight", lambda p, t, w, f=f: f(p, t, weight=w),
          lambda p, t, w, e=e: (e(p, t) * w).sum() / w.sum(), *M, (3, 4), low=0.2)
      for f, e in ((nn.mse_loss, lambda p, t: (p - t) ** 2), (nn.l1_loss, lambda p, t: abs(p - t)))],
    row("huber_loss weight", lambda p, t, w: nn.huber_loss(p, t, "none", 0.5, w), lambda p, t, w: huber(p, t, 0.5) * w, *M, (3, 4)),
    *each("smooth_l1_loss", nn.smooth_l1_loss, lambda p, t: huber(p, t, 1), *M),
    row("smooth_l1_loss beta", lambda p, t: nn.smooth_l1_loss(p, t, beta=0.5), lambda p, t: huber(p, t, 0.5).mean() * 2, *M),
    row("smooth_l1_loss beta=0", lambda p, t: nn.smooth_l1_loss(p, t, beta=0), lambda p, t: abs(p - t).mean(), *M,
        kinks=[(([2.0], [2.0]), ([0], [0]))]),

    # ------------------------------------------------------------------------------------------ likelihoods
    *each("binary_cross_entropy", nn.binary_cross_entropy, xent, *M, **PROBABILITY, kinks=[
        (([0.0, 1.0], [1.0, 0.0]), ([-1e12, 1e12], [100, -100])), (([0.0, 1.0], [0.0, 1.0]), ([0, 0], [100, -100]))]),
    row("binary_cross_entropy weight", lambda p, t, w: nn.binary_cross_entropy(p, t, weight=w),
        lambda p, t, w: (xent(p, t) * w).mean(), *M, (4,), **PROBABILITY),
    *each("binary_cross_entropy_with_logits", nn.binary_cross_entropy_with_logits, lambda x, t: xent(logistic(x), t), *M),
    row("binary_cross_entropy_with_logits weights",
        lambda x, t, w, p: nn.binary_cross_entropy_with_logits(x, t, weight=w, pos_weight=p),
        lambda x, t, w, p: -((p * t * np.log(logistic(x)) + (1 - t) * np.log(logistic(-x))) * w).mean(), *M, (4,), (4,)),
    *each("cross_entropy", lambda z, reduction: nn.cross_entropy(z, LABELS, reduction), lambda z: -np.log(pick(softmax(z), LABELS))),
    row("cross_entropy 3-d", lambda z: nn.cross_entropy(z, np.array([[0, 1], [2, 0]]), reduction="none"),
        lambda z: -np.log(pick(softmax(z), np.array([[0, 1], [2, 0]]))), (2, 2, 3)),
    row("cross_entropy weight ignore_index smoothing",
        lambda z: nn.cross_entropy(z, LABELS, weight=WEIGHTS, ignore_index=3, label_smoothing=0.3),
        lambda z: -(np.log(softmax(z)) * smoothed(np.eye(4)[LABELS]) * WEIGHTS)[[0, 2]].sum() / WEIGHTS[[0, 1]].sum()),
    *each("cross_entropy probabilities", nn.cross_entropy, lambda z, t: -(np.log(softmax(z)) * t).sum(-1), *M),
    row("cross_entropy probabilities weight smoothing",
        lambda z, t: nn.cross_entropy(z, t, weight=WEIGHTS, label_smoothing=0.3),
        lambda z, t: -(np.log(softmax(z)) * smoothed(t) * WEIGHTS).sum(-1).mean(), *M),
    *each("nll_loss", lambda x, reduction: nn.nll_loss(x, LABELS, reduction), lambda x: -pick(x, LABELS)),
    row("nll_loss weight ignore_index", lambda x: nn.nll_loss(x, LABELS, weight=WEIGHTS, ignore_index=1),
        lambda x: -(pick(x, LABELS) * WEIGHTS[LABELS])[:2].sum() / WEIGHTS[LABELS[:2]].sum()),
    *each("kl_div", nn.kl_div, lambda x, t: t * (np.log(t) - x), *M, **POSITIVE, kinks=[(([-1.0], [0.0]), ([0], [1]))]),
    row("kl_div batchmean", lambda x, t: nn.kl_div(x, t, "batchmean"), lambda x, t: (t * (np.log(t) - x)).sum() / 3, *M, **POSITIVE),
    row("kl_div log_target", lambda x, t: nn.kl_div(x, t, log_target=True), lambda x, t: (np.exp(t) * (t - x)).mean(), *M),
    *each("poisson_nll_loss", nn.poisson_nll_loss, lambda x, t: poisson(x, t, True, False), *M),
    row("poisson_nll_loss full", lambda x, t: nn.poisson_nll_loss(x, t, full=True),
        lambda x, t: poisson(x, t, True, True).mean(), *M, low=0.2, high=3.0),
    row("poisson_nll_loss log_input=False", lambda x, t: nn.poisson_nll_loss(x, t, log_input=False),
        lambda x, t: poisson(x, t, False, False).mean(), *M, **POSITIVE),
    *each("gaussian_nll_loss", nn.gaussian_nll_loss, lambda x, t, v: (np.log(v) + (x - t) ** 2 / v) / 2, *M, (3, 4), **POSITIVE,
          kinks=[(([1.0], [0.0], [0.0]), ([1e6], [-1e6], [0.5e6 - 0.5e12]))]),
    row("gaussian_nll_loss full", lambda x, t, v: nn.gaussian_nll_loss(x, t, v, full=True),
        lambda x, t, v: ((np.log(v) + (x - t) ** 2 / v) / 2 + np.log(2 * np.pi) / 2).mean(), *M, (3, 1), **POSITIVE),
    row("gaussian_nll_loss row", lambda x, t, v: nn.gaussian_nll_loss(x, t, v), lambda x, t, v: (
        (np.log(v[:, None]) + (x - t) ** 2 / v[:, None]) / 2).mean(), *M, (3,), **POSITIVE),

    *[row(f"ctc_loss {r}", lambda x, r=r: nn.ctc_loss(x, [[1, 2], [2, 2]], [4, 3], [2, 2], r),
          lambda x, f=f: f(ctc(x, [[1, 2], [2, 2]], [4, 3], [2, 2])), (4, 2, 3)) for r, f in (("sum", np.sum), ("none", lambda v: v))],
    row("ctc_loss that cannot be", lambda x: nn.ctc_loss(x, [[1, 1]], [2], [2], "sum", zero_infinity=True), lambda x: 0.0, (2, 1, 3),
        kinks=[((np.log([[[0.5, 0.25, 0.25]]] * 2),), (np.zeros((2, 1, 3)),))]),
    row("ctc_loss", lambda x: nn.ctc_loss(x, [0, 1, 0], [4, 2, 3], [2, 0, 1], blank=2),
        lambda x: (ctc(x, [[0, 1], [], [0]], [4, 2, 3], [2, 0, 1], 2) / [2, 1, 1]).mean(), (5, 3, 3)),

    # ------------------------------------------------------------------------------------------ margins
    *each("hinge_loss", lambda x, reduction: nn.hinge_loss(x, SIGNS, reduction), lambda x: np.maximum(0, 1 - x * SIGNS)),
    row("hinge_loss margin", lambda x, y: nn.hinge_loss(x, y, "sum", margin=0.5), lambda x, y: np.maximum(0, 0.5 - x * y).sum(), *M,
        kinks=[(([0.5, 0.25], [1.0, 1.0]), ([0, -1], [0, -0.25]))]),
    *each("hinge_embedding_loss", lambda x, reduction: nn.hinge_embedding_loss(x, SIGNS, reduction),
          lambda x: np.where(SIGNS == 1, x, np.maximum(0, 1 - x))),
    row("hinge_embedding_loss margin", lambda x: nn.hinge_embedding_loss(x, -1, margin=0.5),
        lambda x: np.maximum(0, 0.5 - x).mean(), kinks=[(([0.5],), ([-1],))]),
    *each("margin_ranking_loss", lambda x, y, reduction: nn.margin_ranking_loss(x, y, SIGNS, reduction, margin=0.5),
          lambda x, y: np.maximum(0, 0.5 - SIGNS * (x - y)), *M),
    row("margin_ranking_loss target", nn.margin_ranking_loss, lambda x, y, t: np.maximum(0, -t * (x - y)).mean(), *M, (3, 4),
        kinks=[(([1.0], [1.0], [1.0]), ([-1], [1], [0]))]),
    *each("soft_margin_loss", lambda x, reduction: nn.soft_margin_loss(x, SIGNS, reduction), lambda x: np.log(1 + np.exp(-x * SIGNS))),
    *each("cosine_embedding_loss", lambda x, y, reduction: nn.cosine_embedding_loss(x, y, [1, -1, -1], reduction, margin=-0.5),
          lambda x, y: np.where(np.array([1, -1, -1]) == 1, 1 - cosine(x, y), np.maximum(0, cosine(x, y) + 0.5)), *M),
    row("cosine_embedding_loss apart", lambda x, y: nn.cosine_embedding_loss(x, y, [-1, -1], "sum"),
        lambda x, y: np.maximum(0, cosine(x, y)).sum(), (2, 3), (2, 3),
        kinks=[(([[2.0, 0, 0], [0, 1, 0]], [[0, 2.0, 0], [0, 0, 1]]), ([[0, 0.5, 0], [0, 0, 1]], [[0.5, 0, 0], [0, 1, 0]]))]),
    *each("triplet_margin_loss", nn.triplet_margin_loss, triplet, *M, (3, 4)),
    row("triplet_margin_loss swap", lambda a, b, c: nn.triplet_margin_loss(a, b, c, swap=True, margin=0.5, p=3.0),
        lambda a, b, c: triplet(a, b, c, 3.0, 0.5, True).mean(), *M, (3, 4)),
    row("triplet_margin_loss p=1", lambda a, b, c: nn.triplet_margin_loss(a, b, c, p=1, margin=2.0),
        lambda a, b, c: triplet(a, b, c, 1, 2.0).mean(), *M, (3, 4),
        kinks=[(([[0.0]], [[1.0]], [[3.0]]), ([[0]], [[1]], [[-1]]))]),  # |-1| - |-3| + 2 = 0
    *each("multi_margin_loss", lambda x, reduction: nn.multi_margin_loss(x, LABELS, reduction), lambda x: multi_margin(x, LABELS),
          kinks=[((np.eye(4)[LABELS],), (np.zeros((3, 4)),))]),
    row("multi_margin_loss p=2 weight", lambda x: nn.multi_margin_loss(x, LABELS, p=2, margin=0.5, weight=WEIGHTS),
        lambda x: multi_margin(x, LABELS, 2, 0.5, WEIGHTS).mean()),
    *each("multilabel_margin_loss", lambda x, reduction: nn.multilabel_margin_loss(x, [[0, 3, -1, 1], [2, -1, -1, -1], [-1, 0, 1, 2]], reduction),
          lambda x: multilabel_margin(x, np.array([[0, 3, -1, 1], [2, -1, -1, -1], [-1, 0, 1, 2]])),
          kinks=[(([[1, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]],), (np.zeros((3, 4)),))]),
    *each("multilabel_soft_margin_loss", nn.multilabel_soft_margin_loss, lambda x, t: xent(logistic(x), t).mean(-1), *M),
    row("multilabel_soft_margin_loss weight", lambda x, t: nn.multilabel_soft_margin_loss(x, t, weight=WEIGHTS),
        lambda x, t: (xent(logistic(x), t) * WEIGHTS).mean(), *M),

    # ------------------------------------------------------------------------------------------ between rows
    row("cosine_similarity", nn.cosine_similarity, cosine, *M, kinks=[(([0.0, 0.0], [3.0, 4.0]), ([0.6e8, 0.8e8], [0, 0]))]),
    row("cosine_similarity axis=0", lambda x, y: nn.cosine_similarity(x, y, axis=0), lambda x, y: cosine(x, y, 0), *M),
    row("cosine_similarity broadcast", nn.cosine_similarity, cosine, (2, 3, 4), (4,)),
    row("pairwise_distance", nn.pairwise_distance, distance, *M),
    row("pairwise_distance p=3 keepdims", lambda x, y: nn.pairwise_distance(x, y, p=3, keepdims=True),
        lambda x, y: distance(x, y, 3)[..., None], *M),
]  # fmt: skip
