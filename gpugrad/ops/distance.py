"""Losses and measures of how far two arrays are apart."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from typing import Any

from ..core import raw
from ..forward import select
from ..op import elementwise
from .casting import astype
from .choice import clip
from .linalg import vector_norm
from .loss import alike, each_weighted, mean_weighted, operands, plain, reduce
from .math import abs, divide, multiply, subtract
from .reduce import sum
from .shape import broadcast_arrays


@alike
def l1_loss(prediction: Any, target: Any, reduction: str = "mean", weight: Any = None) -> Any:
    """|prediction - target|.  Warns when the shapes differ and broadcasting hides it.

    weight: how much each element counts, of the shape of the loss; "mean" divides by what all count.  May have a
    gradient.

    Kink: 0 where both are equal.
    """
    (x, y), dtype = operands("l1_loss", prediction, target, complex=True)
    return mean_weighted("l1_loss", abs(subtract(x, y)), weight, reduction, dtype)


@elementwise(x=lambda g, x, delta: g * clip(x, -delta, delta))
def _huber(xp: Any, x: Any, *, delta: float) -> Any:
    size = xp.abs(x)
    near = xp.minimum(size, size.dtype.type(delta))
    return near * (size - near * 0.5)


@alike
def huber_loss(prediction: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> Any:
    """½ d² for distances d = |prediction - target| below delta, delta (d - ½ delta) above (Huber 1964).

    weight: how much each element counts, of the shape of the loss; "mean" divides by the number of elements, as
    PyTorch's does here.  May have a gradient.
    Warns when the shapes differ.  ValueError unless delta > 0, TypeError if it is no number, and for complex arrays.

    Kink: at delta the second derivative is that from below.
    """
    delta = plain("huber_loss", "delta", delta)
    if not delta > 0:
        raise ValueError(f"huber_loss does not support non-positive values for delta: {delta}")
    (x, y), dtype = operands("huber_loss", prediction, target)
    rows = _huber(subtract(x, y), delta=delta)
    return reduce(rows if weight is None else each_weighted("huber_loss", rows, weight)[0], reduction, dtype)


@alike
def smooth_l1_loss(prediction: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Any:
    """½ d² / beta for distances d = |prediction - target| below beta, d - ½ beta above; d for beta = 0.

    Warns when the shapes differ.  ValueError unless beta >= 0, TypeError if it is no number, and for complex arrays.

    Kink: for beta = 0, 0 where both are equal.
    """
    beta = plain("smooth_l1_loss", "beta", beta)
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss does not support negative values for beta: {beta}")
    (x, y), dtype = operands("smooth_l1_loss", prediction, target)
    if beta == 0:
        return reduce(abs(subtract(x, y)), reduction, dtype)
    return reduce(divide(_huber(subtract(x, y), delta=beta), beta), reduction, dtype)


# ---------------------------------------------------------------------------------------------- between rows
@elementwise(x=lambda g: g)
def at_least(xp: Any, x: Any, *, least: float) -> Any:
    """max(x, least), whose gradient passes everywhere."""
    return select(xp, x < least, x.dtype.type(least), x)


def pairwise_distance(x: Any, y: Any, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False) -> Any:
    """The p-norm of x - y + eps along the last axis.  ValueError for shapes that do not broadcast."""
    (x, y), dtype = operands("pairwise_distance", x, y, complex=True)
    return astype(vector_norm(subtract(x, y) + eps, -1, keepdims, p), dtype)


def cosine_similarity(x: Any, y: Any, axis: int = -1, eps: float = 1e-8) -> Any:
    """x·y / (‖x‖ ‖y‖) along `axis`, a length below eps counting as eps.

    ValueError for shapes that do not broadcast, and for another axis; TypeError for complex arrays.

    Kink: a length that counts as eps keeps its own gradient, which is 0 at the origin, as PyTorch's.
    """
    (x, y), dtype = operands("cosine_similarity", x, y)
    x, y = broadcast_arrays(x, y)
    if not -raw(x).ndim <= axis < raw(x).ndim:
        raise ValueError(f"cosine_similarity: axis {axis} is out of bounds for arrays of {raw(x).ndim} axes")
    unit = lambda v: divide(v, at_least(vector_norm(v, axis, True), least=eps))
    return astype(sum(multiply(unit(x), unit(y)), axis=axis), dtype)
