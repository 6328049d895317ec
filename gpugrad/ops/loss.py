"""Squared error and cross-entropy.  `reduction` is 'mean', 'sum' or 'none'; classes are along the last axis."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from ..array import NUMPY, library, xp as xp_of
from ..core import Tensor, raw
from ..dtypes import default_float, is_float, is_inexact, wide
from ..forward import as_float, boxed, fit, indices, narrow, placed
from ..levels import looked_at
from ..op import elementwise
from .activation import sigmoid
from .casting import astype
from .choice import clip
from .index import getitem, take_along_axis
from .logic import where
from .math import abs, add, conj, divide, log, multiply, negative, real, square, subtract
from .reduce import mean, sum
from .shape import expand_dims
from .softmax import log_softmax, lookup, softmax_xent


def operands(name: str, *xs: Any, complex: bool = False) -> tuple[list[Any], Any]:
    """(xs in one floating dtype in which to compute, the dtype of the loss `name` of them).

    Half types are computed in float32; integers are targets or counts, which take the dtype of the others and may come
    from the host.  ValueError for shapes that do not broadcast; TypeError for complex arrays, unless `complex`.
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
    if dtype.kind == "c" and not complex:
        raise TypeError(f"{name}: takes real arrays, given {dtype}")
    full = wide(dtype)
    return [x if a.dtype == full else astype(x, full) for x, a in zip(ys, arrays)], dtype


def weights(weight: Any, beside: Any) -> Any:
    """A weight in the dtype of array `beside`, on its device: a Tensor keeps its history, others come from anywhere."""
    return astype(weight if isinstance(weight, Tensor) else placed(weight, beside), beside.dtype)


def weighted(rows: Any, weight: Any) -> Any:
    """`rows`, each as much as it counts; None: once."""
    return rows if weight is None else multiply(rows, weights(weight, raw(rows)))


def mean_weighted(name: str, rows: Any, weight: Any, reduction: str, dtype: Any) -> Any:
    """`reduce` of rows that count `weight` each; the mean is over what all count.  ValueError for another shape."""
    if weight is None:
        return reduce(rows, reduction, dtype)
    rows, weight = each_weighted(name, rows, weight)
    if reduction == "mean":
        return reduce(divide(sum(rows), sum(weight)), "none", dtype)
    return reduce(rows, reduction, dtype)


def each_weighted(name: str, rows: Any, weight: Any) -> tuple[Any, Any]:
    """(rows, each as much as it counts; the weights as they are used).  ValueError for another shape."""
    weight = weights(weight, raw(rows))
    if raw(weight).shape != raw(rows).shape:
        raise ValueError(f"{name}: weight has shape {raw(weight).shape}; it has that of the loss, {raw(rows).shape}")
    return multiply(rows, weight), weight


def plain(name: str, what: str, given: Any) -> float:
    """An argument that has no gradient, as a number.  TypeError for a Tensor, an array, and for anything else."""
    if not isinstance(given, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name}: {what} is a number, which has no gradient, given {type(given).__name__}")
    return float(given)


def reduce(x: Any, reduction: str, dtype: Any = None) -> Any:
    """x summed up as `reduction` says, in `dtype` where that is a half type.  ValueError for an unknown reduction."""
    check_reduction(reduction)
    if reduction != "none":
        x = mean(x) if reduction == "mean" else sum(x)
    return x if dtype is None or wide(dtype) is dtype else astype(x, dtype)


def check_reduction(reduction: str) -> None:
    """ValueError for an unknown one, and for a weight in its place, where PyTorch's losses take it."""
    if hasattr(reduction, "shape"):
        raise ValueError("reduction is 'mean', 'sum' or 'none', given an array; of weights say weight=")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction is 'mean', 'sum' or 'none', not {reduction!r}")


def shapes_of(prediction: Any, target: Any) -> str:
    """Which shapes the two have, if they differ; "" where one is a number or a list, and where they do not."""
    shapes = [getattr(raw(a), "shape", None) for a in (prediction, target)]
    if None in shapes or shapes[0] == shapes[1]:
        return ""
    return f"target has shape {shapes[1]} and prediction {shapes[0]}"


def alike(loss: Callable[..., Any]) -> Callable[..., Any]:
    """`loss`, with a UserWarning when the shapes differ and broadcasting hides it; `__wrapped__` is that without."""

    @wraps(loss)
    def call(prediction: Any, target: Any, *args: Any, **options: Any) -> Any:
        if shapes := shapes_of(prediction, target):
            warnings.warn(
                f"{loss.__name__}: {shapes}; broadcasting them is likely a mistake. Reshape one to the shape of the "
                "other.",
                stacklevel=2,
            )
        return loss(prediction, target, *args, **options)

    return call


def squared_error(prediction: Any, target: Any, reduction: str = "mean", weight: Any = None) -> Any:
    """|prediction - target|², of shapes that the caller has compared."""
    (x, y), dtype = operands("mse_loss", prediction, target, complex=True)
    d = subtract(x, y)
    rows = square(d) if raw(d).dtype.kind != "c" else real(multiply(d, conj(d)))
    return mean_weighted("mse_loss", rows, weight, reduction, dtype)


@alike
def mse_loss(prediction: Any, target: Any, reduction: str = "mean", weight: Any = None) -> Any:
    """The squared error |prediction - target|².  Warns when the shapes differ and broadcasting hides it.

    weight: how much each element counts, of the shape of the loss; "mean" divides by what all count.  May have a
    gradient.
    """
    return squared_error(prediction, target, reduction, weight)


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
                     probabilities, how much a class counts; "mean" divides by the number of rows.  May have a gradient
    ignore_index     rows with this label count nothing; not with probabilities
    label_smoothing  this part of each label is spread evenly over all classes

    The classes are along the last axis; for `nn.CrossEntropyLoss`, as for PyTorch, along axis 1.  TypeError if the
    labels are neither; ValueError if shapes do not fit or a label is out of range; on a GPU, which is not waited for,
    such a label gives NaN.
    """
    logits = boxed(logits, "cross_entropy")
    index = indices(labels)
    if not is_float(logits.dtype):
        raise TypeError(f"cross_entropy: needs real floating logits, given {logits.dtype}; {_hint(index)}")
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
    ignore_index = to_ignore("cross_entropy", index, shape[-1], ignore_index)
    check_reduction(reduction)
    index = placed(index, raw(logits))
    if weight is not None or label_smoothing:
        return _weighted(log_softmax(logits), index, reduction, weight, ignore_index, label_smoothing)
    rows = logits if len(shape) == 2 else logits.reshape(-1, shape[-1])
    loss = softmax_xent(rows, index.reshape(-1), reduction=reduction, ignore_index=ignore_index)
    return loss if reduction != "none" or len(shape) == 2 else loss.reshape(shape[:-1])


def _hint(labels: Any) -> str:
    """What to do where the first argument is not floating."""
    return "they come first, and the labels second" if is_inexact(labels.dtype) else "cast them to float32"


def check_labels(name: str, index: Any, shape: tuple[int, ...], what: str) -> None:
    """TypeError unless labels are integers, ValueError unless there is one for each row of `what`, of this shape."""
    if index.dtype.kind not in "iu":
        raise TypeError(f"{name}: labels are integer class indices, given {index.dtype}. Write labels.astype('int64')")
    if not shape or index.shape != shape[:-1]:
        hint = ""
        if len(shape) > 2 and index.shape == (shape[0], *shape[2:]):
            hint = f". For classes along axis 1 write {name}(gg.moveaxis(x, 1, -1), labels), or use the layer"
        elif shape and index.shape == (*shape[:-1], 1):
            hint = ". Write labels[..., 0]"
        raise ValueError(
            f"{name}: labels of shape {index.shape} do not fit {what} of shape {shape}; "
            f"they must have the shape of {what} without its last axis, {shape[:-1]}" + hint
        )


def check_weight(name: str, weight: Any, shape: tuple[int, ...]) -> None:
    """ValueError unless `weight` is None or has a number for each class, those of the last axis of `shape`."""
    if weight is None:
        return
    given = raw(weight).shape if hasattr(raw(weight), "shape") else np.shape(weight)
    if given != shape[-1:]:
        raise ValueError(f"{name}: weight has shape {given}; it is a number for each class, {shape[-1:]}")


def to_ignore(name: str, index: Any, classes: int, ignore_index: int | None) -> int | None:
    """`ignore_index`, or None if no label is.  ValueError if another one is out of range.

    On a GPU no label is looked at, which would wait for it: `ignore_index` as it is.
    """
    index = looked_at(index)
    if index is None:
        return ignore_index
    # Read as unsigned, a negative label is a large one: one reduction instead of two.
    beyond = bool(index.size) and index.view(f"u{index.itemsize}").max() >= classes
    if ignore_index is not None and (beyond or 0 <= ignore_index < classes):
        ignored = index == ignore_index
        if ignored.any():
            to_ignore(name, index[~ignored], classes, None)
            return ignore_index
    if beyond:
        raise ValueError(f"{name}: labels are in {index.min()}..{index.max()}, allowed are 0..{classes - 1}")
    return None


def _weighted(
    log_p: Any, index: Any, reduction: str, weight: Any, ignore_index: int | None, smoothing: float = 0.0
) -> Any:
    """The negative log-probabilities of the labels, each as much as it counts."""
    dtype, classes = raw(log_p).dtype, raw(log_p).shape[-1]
    log_p = astype(log_p, wide(dtype))  # half types do not hold how much many rows count
    places, counts = lookup(xp_of(index), index, classes, ignore_index, wide(dtype))
    weight = None if weight is None else weights(weight, counts)
    each = counts if weight is None else multiply(getitem(weight, places), counts)
    rows = multiply(where(counts != 0, take_along_axis(log_p, places[..., None])[..., 0], 0.0), negative(each))
    if smoothing:
        even = sum(log_p if weight is None else multiply(log_p, weight), axis=-1)
        rows = rows * (1 - smoothing) - where(counts != 0, even, 0.0) * (smoothing / classes)
    return astype(divide(sum(rows), sum(each)) if reduction == "mean" else reduce(rows, reduction), dtype)


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


def _sigmoid_xent(xp: Any, logits: Any, target: Any) -> Any:
    """The cross-entropy of a yes-or-no answer in each place: log(1 + exp(x)) - x target."""
    x, y = [v.astype(wide(v.dtype), copy=False) if hasattr(v, "dtype") else v for v in (as_float(logits), target)]
    zero = x.dtype.type(0)
    out = xp.maximum(x, zero) * (1 - y) - xp.minimum(x, zero) * y  # terms of one sign: none is lost in the other
    return narrow(out + xp.log1p(xp.exp(-xp.abs(x))), logits)


sigmoid_xent = elementwise(
    _sigmoid_xent,
    name="sigmoid_xent",
    logits=lambda g, logits, target: g * (sigmoid(logits) * (1 - target) - sigmoid(-logits) * target),
    target=lambda g, logits: -g * logits,
)


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
    if not is_float(raw(x).dtype):
        raise TypeError(f"nll_loss: takes real floating log-probabilities, given {raw(x).dtype}; {_hint(labels)}")
    check_labels("nll_loss", labels, shape, "log-probabilities")
    check_weight("nll_loss", weight, shape)
    ignore_index = to_ignore("nll_loss", labels, shape[-1], ignore_index)
    labels = placed(labels, raw(x))
    if ignore_index is not None or weight is not None or library(labels) is not NUMPY:
        return _weighted(x, labels, reduction, weight, ignore_index)
    return reduce(negative(take_along_axis(x, labels[..., None])[..., 0]), reduction)
