"""tf.keras.losses: means over all but the last axis, then over the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...core import raw
from ...ops import math, reduce, shape
from .. import functions as F
from ..tensor import convert_to_tensor


def _pair(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    y_pred = convert_to_tensor(y_pred)
    y_true = math.astype(convert_to_tensor(y_true), y_pred.array.dtype)
    if y_true.array.ndim == y_pred.array.ndim - 1 and y_pred.shape[-1] == 1:
        y_true = shape.expand_dims(y_true, -1)
    return y_true, y_pred


def _logs(y_pred: Any, from_logits: bool) -> Any:
    return F.log_softmax(y_pred) if from_logits else math.log(math.clip(y_pred, 1e-7, 1.0))


def mean_squared_error(y_true: Any, y_pred: Any) -> Any:
    """The mean of (y_true - y_pred)² over the last axis."""
    y_true, y_pred = _pair(y_true, y_pred)
    return reduce.mean(math.square(math.subtract(y_pred, y_true)), axis=-1)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Any:
    """The mean of |y_true - y_pred| over the last axis."""
    y_true, y_pred = _pair(y_true, y_pred)
    return reduce.mean(math.abs(math.subtract(y_pred, y_true)), axis=-1)


def binary_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False) -> Any:
    """The mean cross-entropy of yes-or-no answers over the last axis; of probabilities, or of logits."""
    y_true, y_pred = _pair(y_true, y_pred)
    if from_logits:
        return reduce.mean(F.sigmoid_cross_entropy_with_logits(y_true, y_pred), axis=-1)
    p = math.clip(y_pred, 1e-7, 1 - 1e-7)
    yes, no = math.multiply(y_true, math.log(p)), math.multiply(1 - y_true, math.log(1 - p))
    return math.negative(reduce.mean(math.add(yes, no), axis=-1))


def categorical_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False) -> Any:
    """The cross-entropy of a distribution in each row; of probabilities, or of logits."""
    y_true, y_pred = _pair(y_true, y_pred)
    return math.negative(reduce.sum(math.multiply(y_true, _logs(y_pred, from_logits)), axis=-1))


def sparse_categorical_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False) -> Any:
    """The cross-entropy of an integer label in each row; of probabilities, or of logits."""
    y_pred, labels = convert_to_tensor(y_pred), raw(convert_to_tensor(y_true))
    if labels.ndim == y_pred.array.ndim:
        labels = labels[..., 0]
    labels = labels.astype("int64") if labels.dtype.kind == "f" else labels
    if from_logits:
        return F.sparse_softmax_cross_entropy_with_logits(labels, y_pred)
    rows = F.index.take_along_axis(_logs(y_pred, False), labels[..., None], -1)
    return math.negative(shape.squeeze(rows, axis=-1))


class Loss:
    """A loss function, averaged over the batch ("sum": added up, "none": a value a row)."""

    f: Callable[..., Any]

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = None, **options: Any) -> None:
        known = ("sum_over_batch_size", "mean", "sum", "none", None)
        if reduction not in known:
            raise ValueError(f"Invalid value for argument `reduction`: {reduction!r}; known are {known}")
        self.reduction, self.options = reduction, options

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        rows = type(self).f(y_true, y_pred, **self.options)
        if sample_weight is not None:
            rows = math.multiply(rows, sample_weight)
        if self.reduction in ("none", None):
            return rows
        return reduce.sum(rows) if self.reduction == "sum" else reduce.mean(rows)


class MeanSquaredError(Loss):
    """The mean of (y_true - y_pred)²."""

    f = staticmethod(mean_squared_error)


class MeanAbsoluteError(Loss):
    """The mean of |y_true - y_pred|."""

    f = staticmethod(mean_absolute_error)


class BinaryCrossentropy(Loss):
    """The cross-entropy of yes-or-no answers."""

    f = staticmethod(binary_crossentropy)

    def __init__(self, from_logits: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.options["from_logits"] = from_logits


class CategoricalCrossentropy(BinaryCrossentropy):
    """The cross-entropy of distributions."""

    f = staticmethod(categorical_crossentropy)


class SparseCategoricalCrossentropy(BinaryCrossentropy):
    """The cross-entropy of integer labels."""

    f = staticmethod(sparse_categorical_crossentropy)


NAMES: dict[str, Callable[..., Any]] = {
    "mse": MeanSquaredError, "mean_squared_error": MeanSquaredError, "mae": MeanAbsoluteError,
    "mean_absolute_error": MeanAbsoluteError, "binary_crossentropy": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
}  # fmt: skip


def get(identifier: Any) -> Callable[..., Any]:
    """The loss called so, or the function given.  ValueError for an unknown name."""
    if callable(identifier):
        return identifier
    if identifier not in NAMES:
        raise ValueError(f"unknown loss {identifier!r}; known are {sorted(NAMES)}")
    return NAMES[identifier]()
