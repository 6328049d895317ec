"""Losses that ask for a margin: 0 where an answer is right by more than that."""

from __future__ import annotations

from typing import Any

from ..array import NUMPY, library, xp as xp_of
from ..core import raw
from ..forward import indices, placed
from .activation import relu, softplus
from .choice import clip, minimum
from .distance import cosine_similarity, pairwise_distance
from .index import getitem, take_along_axis
from .logic import equal, not_equal, where
from .loss import check_labels, check_weight, operands, reduce, sigmoid_xent, to_ignore, weighted, weights
from .math import multiply, negative, square, subtract
from .reduce import mean, sum
from .shape import expand_dims
from .softmax import lookup


def hinge_loss(prediction: Any, target: Any, reduction: str = "mean", margin: float = 1.0) -> Any:
    """max(0, margin - y x) of scores x and answers y, 1 or -1: what a support vector machine minimises.

    Kink: 0 at the corner.
    """
    (x, y), dtype = operands("hinge_loss", prediction, target)
    return reduce(relu(subtract(margin, multiply(x, y))), reduction, dtype)


def hinge_embedding_loss(prediction: Any, target: Any, reduction: str = "mean", margin: float = 1.0) -> Any:
    """x where the target is 1, max(0, margin - x) where it is -1, of distances x.

    Kink: at x = margin the gradient is -1, that from below, as PyTorch's.
    """
    (x, y), dtype = operands("hinge_embedding_loss", prediction, target)
    far = where(not_equal(y, 1), clip(subtract(margin, x), 0), 0)
    return reduce(where(not_equal(y, -1), x, 0) + far, reduction, dtype)


def margin_ranking_loss(x: Any, y: Any, target: Any, reduction: str = "mean", margin: float = 0.0) -> Any:
    """max(0, margin - target (x - y)): x is to rank above y where the target is 1, below where it is -1.

    Kink: at the corner the gradient passes, as PyTorch's.
    """
    (x, y, sign), dtype = operands("margin_ranking_loss", x, y, target)
    return reduce(clip(subtract(margin, multiply(sign, subtract(x, y))), 0), reduction, dtype)


def soft_margin_loss(prediction: Any, target: Any, reduction: str = "mean") -> Any:
    """log(1 + exp(-y x)) of scores x and answers y, 1 or -1, without overflow."""
    (x, y), dtype = operands("soft_margin_loss", prediction, target)
    return reduce(softplus(negative(multiply(x, y))), reduction, dtype)


def cosine_embedding_loss(x: Any, y: Any, target: Any, reduction: str = "mean", margin: float = 0.0) -> Any:
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1, with cos = x·y / (‖x‖ ‖y‖) of (..., columns).

    ValueError unless x and y have one shape and the target that without its last axis.

    Kink: at the corner the gradient passes, as PyTorch's.
    """
    (x, y), dtype = operands("cosine_embedding_loss", x, y)
    sign = placed(target, raw(x))
    shapes = raw(x).shape, raw(y).shape, sign.shape
    if not shapes[0] or shapes[0] != shapes[1] or shapes[2] != shapes[0][:-1]:
        raise ValueError(
            f"cosine_embedding_loss: shapes {shapes[0]}, {shapes[1]} and target {shapes[2]} do not fit; "
            "x and y have one shape, and the target that without its last axis"
        )
    cos = cosine_similarity(x, y, eps=1e-6)
    far = where(equal(sign, -1), clip(subtract(cos, margin), 0), 0)
    return reduce(where(equal(sign, 1), subtract(1, cos), 0) + far, reduction, dtype)


def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    reduction: str = "mean",
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
) -> Any:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), with d the p-norm of the difference + eps.

    swap: d(positive, negative) counts where it is smaller (Balntas et al. 2016).  ValueError unless margin > 0.

    Kink: at the corner the gradient passes, as PyTorch's.
    """
    if not margin > 0:
        raise ValueError(f"triplet_margin_loss: margin must be greater than 0, given {margin!r}")
    (a, b, c), dtype = operands("triplet_margin_loss", anchor, positive, negative)
    near, far = pairwise_distance(a, b, p, eps), pairwise_distance(a, c, p, eps)
    if swap:
        far = minimum(far, pairwise_distance(b, c, p, eps))
    return reduce(clip(subtract(near, far) + margin, 0), reduction, dtype)


# ---------------------------------------------------------------------------------------------- classes
def multi_margin_loss(
    prediction: Any, labels: Any, reduction: str = "mean", p: int = 1, margin: float = 1.0, weight: Any = None
) -> Any:
    """Σ max(0, margin - x[label] + x[i])^p / classes over the other classes i, of scores x (..., classes).

    labels: integers (...); weight (classes,): how much a row with this label counts, which may have a gradient (Crammer
    and Singer 2001).
    ValueError for p that is not 1 or 2, for shapes that do not fit, and for a label out of range; on a GPU, which is
    not waited for, that gives NaN.

    Kink: 0 at the corner.
    """
    if p not in (1, 2):
        raise ValueError(f"multi_margin_loss: p is 1 or 2, not {p!r}")
    (x,), dtype = operands("multi_margin_loss", prediction)
    index, shape = indices(labels), raw(x).shape
    check_labels("multi_margin_loss", index, shape, "scores")
    check_weight("multi_margin_loss", weight, shape)
    index, counts = _looked_up("multi_margin_loss", index, x)
    own = take_along_axis(x, index[..., None])
    each = relu(subtract(x, own) + margin)
    each = each if p == 1 else square(each)
    if weight is not None:
        counts = multiply(getitem(weights(weight, counts), index), counts)
    others = xp_of(index).arange(shape[-1]) != index[..., None]
    return reduce(sum(where(others, each, 0), axis=-1) * counts / shape[-1], reduction, dtype)


def _looked_up(name: str, index: Any, x: Any) -> tuple[Any, Any]:
    """(labels on the device of x, all in range; 1 for each, NaN for one that was not).

    ValueError where labels from the host are out of range.
    """
    x, classes = raw(x), raw(x).shape[-1]
    to_ignore(name, index, classes, None)
    index = placed(index, x)
    return lookup(xp_of(index), index, classes, None, x.dtype)


def multilabel_margin_loss(prediction: Any, labels: Any, reduction: str = "mean") -> Any:
    """Σ max(0, 1 - (x[j] - x[i])) / classes over labels j and classes i that are none, of scores x (..., classes).

    labels: integers of the shape of x; those of a row are before its first -1.  ValueError for shapes that do not fit,
    and for a label out of range; on a GPU, which is not waited for, that gives NaN.

    Kink: 0 at the corner.
    """
    (x,), dtype = operands("multilabel_margin_loss", prediction)
    index, shape = indices(labels), raw(x).shape
    if index.dtype.kind not in "iu":
        raise TypeError(f"multilabel_margin_loss: labels are integer class indices, given {index.dtype}")
    if not shape or index.shape != shape:
        raise ValueError(f"multilabel_margin_loss: labels of shape {index.shape} do not fit scores of shape {shape}")
    xp = xp_of(index)
    given = xp.cumsum(index == -1, axis=-1) == 0
    if library(index) is NUMPY:  # labels on a GPU, which is not waited for, are compared in all columns
        most = int(given.sum(axis=-1).max(initial=0))
        index, given = index[..., :most], given[..., :most]
    index, counts = _looked_up("multilabel_margin_loss", xp.where(given, index, index.dtype.type(0)), x)
    given, xp = placed(given, raw(x)), xp_of(index)
    right = ((index[..., None] == xp.arange(shape[-1])) & given[..., None]).any(axis=-2)
    each = relu(subtract(expand_dims(x, -2), expand_dims(take_along_axis(x, index), -1)) + 1)
    each = where(given[..., None] & ~right[..., None, :], each, 0) * counts[..., None]
    return reduce(sum(each, axis=(-2, -1)) / shape[-1], reduction, dtype)


def multilabel_soft_margin_loss(prediction: Any, target: Any, reduction: str = "mean", weight: Any = None) -> Any:
    """The mean over classes of log(1 + exp(x)) - x y, of scores x (..., classes) and answers y, 0 or 1.

    weight (classes,): how much each class counts; it may have a gradient.
    """
    (x, y), dtype = operands("multilabel_soft_margin_loss", prediction, target)
    return reduce(mean(weighted(sigmoid_xent(x, y), weight), axis=-1), reduction, dtype)
