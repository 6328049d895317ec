"""Losses that are negative logarithms of likelihoods, and the divergence of Kullback and Leibler."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core import raw
from ..forward import boxed
from ..levels import looked_at
from ..op import elementwise
from .activation import softplus
from .choice import maximum
from .distance import at_least
from .logic import equal, greater, where
from .loss import alike, operands, reduce, shapes_of, sigmoid_xent, weighted
from .math import divide, exp, log, multiply, negative, square, subtract
from .reduce import sum
from .shape import expand_dims


def _logarithm(xp: Any, x: Any) -> Any:
    return xp.maximum(xp.log(x), x.dtype.type(-100))


def _xent(xp: Any, p: Any, target: Any) -> Any:
    """-(target log p + (1 - target) log(1 - p)), a logarithm counting as -100 at least."""
    with np.errstate(divide="ignore"):
        yes, no = _logarithm(xp, p), xp.maximum(xp.log1p(-p), p.dtype.type(-100))
    return (target - 1) * no - target * yes


@elementwise(x=lambda g, x: g / maximum(x, 1e-12))
def _clamped_log(xp: Any, x: Any) -> Any:
    with np.errstate(divide="ignore"):
        return _logarithm(xp, x)


_binary_xent = elementwise(
    _xent,
    name="binary_cross_entropy",
    p=lambda g, p, target: g * (p - target) / maximum((1 - p) * p, 1e-12),
    target=lambda g, p: g * (_clamped_log(1 - p) - _clamped_log(p)),
)


def _one_shape(name: str, prediction: Any, target: Any) -> None:
    if shapes := shapes_of(prediction, target):
        raise ValueError(f"{name}: {shapes}; both have one shape")


def binary_cross_entropy(prediction: Any, target: Any, reduction: str = "mean", weight: Any = None) -> Any:
    """-(y log p + (1 - y) log(1 - p)) of probabilities p and answers y; a logarithm counts as -100 at least.

    weight: how much each answer counts; it may have a gradient.
    ValueError for arrays of different shapes, and for a p beyond 0..1; on a GPU, which is not waited for, that is NaN.

    Kinks: (p - y) / 1e-12 at p = 0 and p = 1, as PyTorch's; for y, the difference of the logarithms as they count.
    """
    _one_shape("binary_cross_entropy", prediction, target)
    (p, y), dtype = operands("binary_cross_entropy", prediction, target)
    a = looked_at(raw(p))
    if a is not None and a.size and (a.min() < 0 or a.max() > 1):
        raise ValueError(
            f"binary_cross_entropy: predictions are in {a.min():.6g}..{a.max():.6g}, allowed are probabilities, 0..1; "
            "for logits write binary_cross_entropy_with_logits"
        )
    return reduce(weighted(_binary_xent(p, y), weight), reduction, dtype)


def binary_cross_entropy_with_logits(
    logits: Any, target: Any, reduction: str = "mean", weight: Any = None, pos_weight: Any = None
) -> Any:
    """log(1 + exp(x)) - x y of logits x and answers y, without overflow.

    weight: how much each answer counts; pos_weight: how much a yes does; both may have a gradient.
    ValueError for arrays of different shapes.
    """
    _one_shape("binary_cross_entropy_with_logits", logits, target)
    (x, y), dtype = operands("binary_cross_entropy_with_logits", logits, target)
    if pos_weight is None:
        rows = sigmoid_xent(x, y)
    else:
        yes, no = multiply(y, softplus(negative(x))), multiply(subtract(1, y), softplus(x))
        rows = weighted(yes, pos_weight) + no
    return reduce(weighted(rows, weight), reduction, dtype)


@alike
def kl_div(log_probabilities: Any, target: Any, reduction: str = "mean", log_target: bool = False) -> Any:
    """y (log y - x) of log-probabilities x and probabilities y; with `log_target`, exp(y) (y - x) of logarithms y.

    Kullback and Leibler 1951.  reduction: also "batchmean", the sum over the length of the first axis, which is the
    divergence.  Warns when the shapes differ and broadcasting hides it.

    Kink: where y is 0, so are y log y and its gradient.
    """
    (x, y), dtype = operands("kl_div", log_probabilities, target)
    if log_target:
        each = multiply(exp(y), subtract(y, x))
    else:
        each = multiply(y, subtract(log(where(equal(y, 0), 1, y)), x))
    if reduction != "batchmean":
        return reduce(each, reduction, dtype)
    rows = raw(each).shape[0] if raw(each).ndim else 1
    return reduce(divide(sum(each), rows), "none", dtype)


@alike
def poisson_nll_loss(
    prediction: Any,
    target: Any,
    reduction: str = "mean",
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
) -> Any:
    """exp(x) - y x of the logarithm x of a rate and counts y; without `log_input`, x - y log(x + eps) of the rate.

    full: plus Stirling's y log y - y + ½ log(2πy) for log(y!), where y > 1.  Warns when the shapes differ.
    """
    (x, y), dtype = operands("poisson_nll_loss", prediction, target)
    rows = subtract(exp(x), multiply(y, x)) if log_input else subtract(x, multiply(y, log(x + eps)))
    if full:
        many = greater(y, 1)
        n = where(many, y, 1)
        rows = rows + where(many, multiply(n, log(n)) - n + log(multiply(n, 2 * math.pi)) * 0.5, 0)
    return reduce(rows, reduction, dtype)


def gaussian_nll_loss(
    prediction: Any, target: Any, var: Any, reduction: str = "mean", full: bool = False, eps: float = 1e-6
) -> Any:
    """½ (log var + (prediction - target)² / var) (Nix and Weigend 1994); full: plus ½ log 2π.

    var: a number, the shape of the prediction, or that without its last axis or with a last axis of length 1.
    ValueError for a negative variance (on a GPU it is not looked for), for eps <= 0 and for shapes that do not fit.

    Kink: a variance below eps counts as eps, and its gradient is the one there, as PyTorch's.
    """
    if not eps > 0:
        raise ValueError(f"gaussian_nll_loss: eps is above 0, given {eps!r}")
    (x, y), _ = operands("gaussian_nll_loss", prediction, target)
    var, shape = boxed(var, "gaussian_nll_loss"), raw(x).shape
    given = raw(var).shape
    if given not in ((), shape, shape[:-1], (*shape[:-1], 1)):
        raise ValueError(f"gaussian_nll_loss: var has shape {given}; a number, {shape}, {shape[:-1]} or (..., 1) fit")
    if shape and given == shape[:-1] and given != shape:
        var = expand_dims(var, -1)
    (x, y, var), dtype = operands("gaussian_nll_loss", prediction, target, var)
    seen = looked_at(raw(var))
    if seen is not None and seen.size and seen.min() < 0:
        raise ValueError(f"gaussian_nll_loss: var has a negative entry, {seen.min():.6g}; variances are >= 0")
    var = at_least(var, least=eps)
    rows = (log(var) + divide(square(subtract(x, y)), var)) * 0.5
    return reduce(rows + 0.5 * math.log(2 * math.pi) if full else rows, reduction, dtype)
