"""Losses with the classes along axis 1, and what does not fit in PyTorch's words."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from inspect import unwrap
from typing import Any

from ..core import raw
from ..dtypes import is_inexact
from ..forward import indices
from ..ops import loss
from ..ops.shape import moveaxis
from ..wording import check_labels, check_weight


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Softmax cross-entropy: input (rows, classes, ...), target integers (rows, ...), or a distribution like input.

    weight (classes,): how much a row with this label counts; rows labelled ignore_index count nothing.
    """
    logits, target = _classes_last(input), _array(target)
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if raw(input).shape == raw(target).shape and is_inexact(raw(target).dtype):
        check_weight(raw(logits).shape[-1], weight)
        return loss.distribution_loss(logits, _classes_last(target), reduction, weight, label_smoothing)
    return _labelled(loss.cross_entropy, logits, target, reduction, weight, ignore_index, label_smoothing)


def nll_loss(input: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Any:
    """The negative of the log-probability of the right class: input (rows, classes, ...), target (rows, ...)."""
    return _labelled(loss.nll_loss, _classes_last(input), _array(target), reduction, weight, ignore_index)


def _array(labels: Any) -> Any:
    """Labels as they are; a list as an array."""
    return indices(labels) if isinstance(labels, (list, tuple)) else labels


def _classes_last(x: Any) -> Any:
    return moveaxis(x, 1, -1) if raw(x).ndim > 2 else x


def _labelled(f: Any, x: Any, target: Any, reduction: str, weight: Any, ignore_index: int, *more: Any) -> Any:
    check_weight(raw(x).shape[-1], weight)
    try:
        return f(x, target, reduction, weight, ignore_index, *more)
    except (ValueError, TypeError, IndexError):
        if is_inexact(raw(x).dtype):  # else it is the first argument that does not fit
            check_labels(raw(x).shape, target, ignore_index)
        raise


def implicit(f: Callable[..., Any]) -> Callable[..., Any]:
    """f(input, dim), a softmax; without dim along the axis that PyTorch takes, with its warning."""

    @wraps(f)
    def call(input: Any, dim: int | None = None, *args: Any, **options: Any) -> Any:
        if dim is None:
            warnings.warn(
                f"Implicit dimension choice for {f.__name__} has been deprecated. Change the call to include dim=X as "
                "an argument.",
                stacklevel=3,
            )
            dim = 0 if raw(input).ndim in (0, 1, 3) else 1
        return f(input, dim, *args, **options)

    return call


def same_sizes(f: Callable[..., Any], refused: str = "") -> Callable[..., Any]:
    """The loss f, where the sizes differ with a warning; or with ValueError of the sentence `refused`."""
    f = unwrap(f)  # without a warning of its own

    def call(input: Any, target: Any, **options: Any) -> Any:
        if input.shape != target.shape and refused:
            raise ValueError(f"{refused.format(target.shape, input.shape)}. Write target.view_as(input).")
        if input.shape != target.shape:
            warnings.warn(
                f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will "
                "likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
                stacklevel=3,
            )
        return f(input, target, **options)

    call.__name__, call.__doc__ = f.__name__, f.__doc__
    return call
