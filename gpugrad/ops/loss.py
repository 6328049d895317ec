"""Squared error and cross-entropy.  `reduction` is 'mean', 'sum' or 'none'; classes are along the last axis."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..array import NUMPY, library, xp as xp_of
from ..core import Tensor, raw
from ..dtypes import default_float, is_inexact, wide
from ..forward import boxed, fit, indices, placed
from .activation import softplus
from .casting import astype
from .choice import clip
from .index import take_along_axis
from .logic import where
from .math import abs, add, conj, log, multiply, negative, real, square, subtract
from .reduce import mean, sum
from .shape import expand_dims
from .softmax import log_softmax, lookup, softmax_xent


def operands(name: str, *xs: Any) -> tuple[list[Any], Any]:
    """(xs in one floating dtype in which to compute, the dtype of the loss `name` of them).

    Half types are computed in float32; integers are targets or counts, which take the dtype of the others and may come
    from the host.  ValueError for shapes that do not broadcast.
    """
    ys = fit(xs, name)
    ys = [x if is_inexact(raw(x).dtype) else placed(x, raw(ys[0])) for x in ys]
    arrays = [raw(x) for x in ys]
    shape = arrays[0].shape
    if any([a.shape != shape for a in arrays]):
        try:
            np.broadcast_shapes(*[a.shape for a in arrays])
        except ValueError:
            raise ValueError(
                f"{name}: arrays of shapes {', '.join([str(a.shape) for a in arrays])} do not fit each other; "
                "they have one shape, or shapes that broadcast"
            ) from None
    dtypes = {a.dtype for a in arrays if is_inexact(a.dtype)} or {default_float()}
    dtype = dtypes.pop() if len(dtypes) == 1 else np.result_type(*dtypes)
    full = wide(dtype)
    return [x if a.dtype == full else astype(x, full) for x, a in zip(ys, arrays)], dtype


def weighted(rows: Any, weight: Any) -> Any:
    """`rows`, each as much as it counts; None: once.  Weights that are no Tensor come from anywhere, in any dtype."""
    if weight is None or isinstance(weight, Tensor):
        return rows if weight is None else multiply(rows, weight)
    return multiply(rows, placed(weight, raw(rows)).astype(raw(rows).dtype, copy=False))


def reduce(x: Any, reduction: str, dtype: Any = None) -> Any:
    """x summed up as `reduction` says, in `dtype` where that is a half type.  ValueError for an unknown reduction."""
    match reduction:
        case "mean":
            x = mean(x)
        case "sum":
            x = sum(x)
        case "none":
            pass
        case _:
            raise ValueError(f"reduction is 'mean', 'sum' or 'none', not {reduction!r}")
    return x if dtype is None or wide(dtype) is dtype else astype(x, dtype)


def mse_loss(prediction: Any, target: Any, reduction: str = "mean") -> Any:
    """The squared error |prediction - target|².  Warns when the shapes differ and broadcasting hides it."""
    shapes = [getattr(raw(a), "shape", None) for a in (prediction, target)]
    if None not in shapes and shapes[0] != shapes[1]:
        warnings.warn(
            f"mse_loss: target has shape {shapes[1]} and prediction {shapes[0]}; broadcasting them is likely a "
            "mistake. Reshape one to the shape of the other.",
            stacklevel=2,
        )
    return squared_error(prediction, target, reduction)


def squared_error(prediction: Any, target: Any, reduction: str = "mean") -> Any:
    """|prediction - target|², of shapes that the caller has compared."""
    (x, y), dtype = operands("mse_loss", prediction, target)
    d = subtract(x, y)
    return reduce(square(d) if raw(d).dtype.kind != "c" else real(multiply(d, conj(d))), reduction, dtype)


def cross_entropy(
    logits: Any,
    labels: Any,
    reduction: str = "mean",
    weight: Any = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
) -> Any:
    """Softmax cross-entropy of `logits` (..., classes) with `labels`, in natural units (nats).

    labels           integers (...), or probabilities of the shape of the logits, which may have a gradient
    weight           (classes,): how much a row with this label counts; "mean" divides by what all rows count.  Of
                     probabilities, how much a class counts; "mean" divides by the number of rows
    ignore_index     rows with this label count nothing; not with probabilities
    label_smoothing  this part of each label is spread evenly over all classes

    The classes are along the last axis.  TypeError if the labels are neither; ValueError if shapes do not fit or a
    label is out of range; on a GPU, which is not waited for, such a label gives NaN.
    """
    logits = boxed(logits, "cross_entropy")
    index = indices(labels)
    if not is_inexact(logits.dtype):
        raise TypeError(f"cross_entropy: needs floating logits, given {logits.dtype}; cast them to float32")
    shape = logits.shape
    spread = is_inexact(index.dtype) and index.shape == shape != ()
    if not spread:
        check_labels("cross_entropy", index, shape, "logits")
    check_weight("cross_entropy", weight, shape)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing is a number from 0 to 1, not {label_smoothing!r}")
    if spread:
        if ignore_index is not None:
            raise ValueError("cross_entropy: ignore_index is for integer labels; of probabilities, give a row zeros")
        return distribution_loss(logits, labels, reduction, weight, label_smoothing)
    ignore_index = _to_ignore(index, shape[-1], ignore_index)
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction is 'mean', 'sum' or 'none', not {reduction!r}")
    index = placed(index, raw(logits))
    if weight is not None or label_smoothing:
        return _weighted(log_softmax(logits), index, reduction, weight, ignore_index, label_smoothing)
    rows = logits if len(shape) == 2 else logits.reshape(-1, shape[-1])
    loss = softmax_xent(rows, index.reshape(-1), reduction=reduction, ignore_index=ignore_index)
    return loss if reduction != "none" or len(shape) == 2 else loss.reshape(shape[:-1])


def check_labels(name: str, index: Any, shape: tuple[int, ...], what: str) -> None:
    """TypeError unless labels are integers, ValueError unless there is one for each row of `what`, of this shape."""
    if index.dtype.kind not in "iu":
        raise TypeError(f"{name}: labels are integer class indices, given {index.dtype}")
    if not shape or index.shape != shape[:-1]:
        raise ValueError(
            f"{name}: labels of shape {index.shape} do not fit {what} of shape {shape}; "
            f"they must have the shape of {what} without its last axis, {shape[:-1]}"
        )


def check_weight(name: str, weight: Any, shape: tuple[int, ...]) -> None:
    """ValueError unless `weight` is None or has a number for each class, those of the last axis of `shape`."""
    if weight is not None and (given := getattr(raw(weight), "shape", np.shape(weight))) != shape[-1:]:
        raise ValueError(f"{name}: weight has shape {given}; it is a number for each class, {shape[-1:]}")


def _to_ignore(index: Any, classes: int, ignore_index: int | None) -> int | None:
    """`ignore_index`, or None if no label is.  ValueError if another one is out of range.

    On a GPU no label is looked at, which would wait for it: `ignore_index` as it is.
    """
    if library(index) is not NUMPY:
        return ignore_index
    # Read as unsigned, a negative label is a large one: one reduction instead of two.
    beyond = bool(index.size) and index.view(f"u{index.itemsize}").max() >= classes
    if ignore_index is not None and (beyond or 0 <= ignore_index < classes):
        ignored = index == ignore_index
        if ignored.any():
            _to_ignore(index[~ignored], classes, None)
            return ignore_index
    if beyond:
        raise ValueError(f"labels are in {index.min()}..{index.max()}, allowed are 0..{classes - 1}")
    return None


def _weighted(
    log_p: Any, index: Any, reduction: str, weight: Any, ignore_index: int | None, smoothing: float = 0.0
) -> Any:
    """The negative log-probabilities of the labels, each as much as it counts."""
    dtype, classes = raw(log_p).dtype, raw(log_p).shape[-1]
    log_p = astype(log_p, wide(dtype))  # half types do not hold how much many rows count
    places, counts = lookup(xp_of(index), index, classes, ignore_index, wide(dtype))
    weight = None if weight is None else placed(weight, index)
    each = counts if weight is None else (counts * weight[places]).astype(counts.dtype, copy=False)
    rows = where(counts != 0, take_along_axis(log_p, places[..., None])[..., 0], 0.0) * -each
    if smoothing:
        even = sum(log_p if weight is None else multiply(log_p, weight), axis=-1)
        rows = rows * (1 - smoothing) - where(counts != 0, even, 0.0) * (smoothing / classes)
    return astype(sum(rows) / each.sum() if reduction == "mean" else reduce(rows, reduction), dtype)


def distribution_loss(
    logits: Any, target: Any, reduction: str = "mean", weight: Any = None, label_smoothing: float = 0.0
) -> Any:
    """Softmax cross-entropy of `logits` (..., classes) with probabilities of the same shape; the mean is over rows."""
    (z, target), dtype = operands("cross_entropy", logits, target)
    each = multiply(log_softmax(z), _smoothed(target, label_smoothing, raw(target).shape[-1]))
    return reduce(negative(sum(weighted(each, weight), axis=-1)), reduction, dtype)


# ---------------------------------------------------------------------------------------------- a value a row
TINY = 1e-7  # how far probabilities are kept from 0 and 1, whose logarithms are infinite or flat


def _fitted(prediction: Any, target: Any) -> tuple[Any, Any]:
    """Both, the target in the dtype of the prediction, and with the last axis of length 1 that it may lack."""
    prediction = boxed(prediction, "loss")
    target = astype(target, raw(prediction).dtype)
    shape = raw(prediction).shape
    return prediction, expand_dims(target, -1) if raw(target).ndim == len(shape) - 1 and shape[-1] == 1 else target


def squared_rows(prediction: Any, target: Any) -> Any:
    """The mean of (prediction - target)² over the last axis."""
    return mean(square(subtract(*_fitted(prediction, target))), axis=-1)


def absolute_rows(prediction: Any, target: Any) -> Any:
    """The mean of |prediction - target| over the last axis."""
    return mean(abs(subtract(*_fitted(prediction, target))), axis=-1)


def sigmoid_xent(logits: Any, target: Any) -> Any:
    """The cross-entropy of a yes-or-no answer in each place: log(1 + exp(x)) - x target."""
    return subtract(softplus(logits), multiply(logits, target))


def _smoothed(target: Any, smoothing: float, classes: int) -> Any:
    """`smoothing` of each target spread evenly over all classes (Szegedy et al. 2016)."""
    return add(multiply(target, 1.0 - smoothing), smoothing / classes) if smoothing else target


def binary_rows(prediction: Any, target: Any, logits: bool = False, smoothing: float = 0.0) -> Any:
    """The mean cross-entropy of yes-or-no answers over the last axis; of probabilities, or of logits."""
    p, target = _fitted(prediction, target)
    target = _smoothed(target, smoothing, 2)
    if logits:
        return mean(sigmoid_xent(p, target), axis=-1)
    p = clip(p, TINY, 1 - TINY)
    return negative(mean(add(multiply(log(p), target), multiply(log(1 - p), subtract(1, target))), axis=-1))


def _logits(prediction: Any, logits: bool) -> Any:
    return prediction if logits else log(clip(prediction, TINY, 1 - TINY))


def class_rows(prediction: Any, target: Any, logits: bool = False, smoothing: float = 0.0) -> Any:
    """The cross-entropy of each row with its distribution; of numbers in proportion to probabilities, or of logits."""
    prediction, target = _fitted(prediction, target)
    target = _smoothed(target, smoothing, raw(prediction).shape[-1])
    return negative(sum(multiply(log_softmax(_logits(prediction, logits)), target), axis=-1))


def label_rows(prediction: Any, labels: Any, logits: bool = False) -> Any:
    """The cross-entropy of each row with its label; of numbers in proportion to probabilities, or of logits.

    labels: integers, also as floats, one a row, also with a last axis of length 1.
    """
    prediction = boxed(prediction, "loss")
    labels = indices(labels)
    if labels.ndim == raw(prediction).ndim:
        labels = labels[..., 0]
    labels = labels.astype(np.int64) if labels.dtype.kind == "f" else labels
    return cross_entropy(_logits(prediction, logits), labels, "none")


# ---------------------------------------------------------------------------------------------- log-probabilities
def nll_loss(
    log_probabilities: Any, labels: Any, reduction: str = "mean", weight: Any = None, ignore_index: int | None = None
) -> Any:
    """The negative of the log-probability of the right class: -x[label], of x (..., classes) and labels (...).

    weight, ignore_index as in `cross_entropy`.  ValueError for another shape, and for a label out of range, which on a
    GPU gives NaN.
    """
    x, labels = boxed(log_probabilities, "nll_loss"), indices(labels)
    shape = raw(x).shape
    check_labels("nll_loss", labels, shape, "log-probabilities")
    check_weight("nll_loss", weight, shape)
    ignore_index = _to_ignore(labels, shape[-1], ignore_index)
    labels = placed(labels, raw(x))
    if ignore_index is not None or weight is not None or library(labels) is not NUMPY:
        return _weighted(x, labels, reduction, weight, ignore_index)
    return reduce(negative(take_along_axis(x, labels[..., None])[..., 0]), reduction)
