"""tf.keras.losses: means over all but the last axis, then over the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...adapt import adapted, chosen
from ...core import raw
from ...ops import loss, math, reduce, shape
from ..module import snake
from ..tensor import convert_to_tensor


def _rows(f: Callable[..., Any], more: str = "") -> Callable[..., Any]:
    """A loss of the core's, a value a row, under Keras's parameters: targets first, in the dtype of predictions."""

    def call(y_true: Any, y_pred: Any, **options: Any) -> Any:
        y_pred = convert_to_tensor(y_pred)
        y_true = math.astype(convert_to_tensor(y_true), y_pred.array.dtype)
        if y_true.array.ndim == y_pred.array.ndim - 1 and y_pred.shape[-1] == 1:
            y_true = shape.expand_dims(y_true, -1)
        return f(y_pred, y_true, **options)

    return adapted(call, f"y_true, y_pred{more}", None, f.__doc__)


_LOGITS = ", from_logits:logits=False"
mean_squared_error, mean_absolute_error = _rows(loss.squared_rows), _rows(loss.absolute_rows)
binary_crossentropy = _rows(loss.binary_rows, _LOGITS)
categorical_crossentropy = _rows(loss.class_rows, _LOGITS)


def sparse_categorical_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False) -> Any:
    """The cross-entropy of an integer label in each row; of probabilities, or of logits."""
    y_pred, labels = convert_to_tensor(y_pred), raw(convert_to_tensor(y_true))
    if labels.ndim == y_pred.array.ndim:
        labels = labels[..., 0]
    return loss.label_rows(y_pred, labels.astype("int64") if labels.dtype.kind == "f" else labels, from_logits)


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


_CLASSES = (
    MeanSquaredError, MeanAbsoluteError, BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy,
)  # fmt: skip
NAMES = {**{snake(c.__name__): c for c in _CLASSES}, "mse": MeanSquaredError, "mae": MeanAbsoluteError}


def get(identifier: Any) -> Callable[..., Any]:
    """The loss called so, or the function given.  ValueError for an unknown name."""
    found = chosen("loss", identifier, NAMES)
    return found() if isinstance(identifier, str) else found
