"""Losses.  `reduction` is 'mean', 'sum' or 'none'."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..array import wide
from ..core import Tensor, raw
from ..op import op
from .activation import float_only, softmax
from .math import square
from .reduce import mean, sum
from .shape import expand_dims


def reduce(x: Any, reduction: str) -> Any:
    """x summed up as `reduction` says.  ValueError for an unknown one."""
    match reduction:
        case "mean":
            return mean(x)
        case "sum":
            return sum(x)
        case "none":
            return x
    raise ValueError(f"reduction is 'mean', 'sum' or 'none', not {reduction!r}")


def mse_loss(prediction: Any, target: Any, reduction: str = "mean") -> Any:
    """The squared error (prediction - target)².  Warns when the shapes differ and broadcasting hides it."""
    shapes = [getattr(raw(a), "shape", None) for a in (prediction, target)]
    if None not in shapes and shapes[0] != shapes[1]:
        warnings.warn(
            f"mse_loss: target has shape {shapes[1]} and prediction {shapes[0]}; broadcasting them is likely a "
            "mistake. Reshape one to the shape of the other.",
            stacklevel=2,
        )
    return reduce(square(prediction - target), reduction)


@op(logits=lambda g, logits, labels, lse: softmax_xent_grad(g, logits, labels, lse), aux=("lse",))
def softmax_xent(xp: Any, logits: Any, labels: Any) -> Any:
    """Cross-entropy of each row's softmax.  Keeps the logits and one log-sum-exp a row, no probabilities."""
    z = logits.astype(wide(logits.dtype), copy=False)
    top = z.max(-1, keepdims=True)
    lse = xp.log(xp.exp(z - top).sum(-1, keepdims=True)) + top
    picked = z[xp.arange(len(labels)), labels]
    return (lse[:, 0] - picked).astype(logits.dtype, copy=False), lse


@op(
    g=lambda h, logits, labels, lse: sum(h * softmax_xent_grad(np.ones((), lse.dtype), logits, labels, lse), axis=-1),
    logits=lambda h, g, logits: _softmax_vjp(h * expand_dims(g, -1), logits),
)
def softmax_xent_grad(xp: Any, g: Any, logits: Any, labels: Any, lse: Any) -> Any:
    """g (softmax - one-hot), a row for each label."""
    p = xp.exp(logits - lse)
    p[xp.arange(len(labels)), labels] -= 1
    p *= g[..., None]
    return p if p.dtype is logits.dtype else p.astype(logits.dtype)


def _softmax_vjp(h: Any, z: Any) -> Any:
    p = softmax(z)
    return p * (h - sum(h * p, axis=-1, keepdims=True))


def cross_entropy(logits: Any, labels: Any, reduction: str = "mean") -> Any:
    """Softmax cross-entropy of `logits` (..., classes) with integer `labels` (...), in natural units (nats).

    TypeError if the labels are not integers; ValueError if shapes do not fit or a label is out of range.
    """
    index = np.asarray(labels) if isinstance(labels, (list, tuple, int)) else raw(labels)
    float_only("cross_entropy", logits)
    if index.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy: labels are integer class indices, given {index.dtype}")
    shape = logits.shape
    if len(shape) < 1 or index.shape != shape[:-1]:
        raise ValueError(
            f"cross_entropy: labels of shape {index.shape} do not fit logits of shape {shape}; "
            f"they must have the shape of logits without its last axis, {shape[:-1]}"
        )
    classes = shape[-1]
    # Read as unsigned, a negative label is a large one: one reduction instead of two.
    if isinstance(index, np.ndarray) and index.size and index.view(f"u{index.itemsize}").max() >= classes:
        raise ValueError(f"cross_entropy: labels are in {index.min()}..{index.max()}, allowed are 0..{classes - 1}")
    rows = logits if len(shape) == 2 else logits.reshape(-1, classes)
    each = softmax_xent(rows, index.reshape(-1))
    if len(shape) != 2 and reduction == "none":
        each = each.reshape(shape[:-1]) if isinstance(each, Tensor) or len(shape) > 1 else each
    return reduce(each, reduction)
