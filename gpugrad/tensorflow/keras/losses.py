"""tf.keras.losses: means over all but the last axis, then over the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...adapt import adapted, chosen
from ...nn.losses import RowLoss as Loss
from ...op import findable
from ...ops import loss
from ..module import snake
from ..tensor import convert_to_tensor


def _rows(name: str, f: Callable[..., Any], more: str = "") -> Callable[..., Any]:
    """A loss of the core's, a value a row, under Keras's parameters: targets first."""
    call = lambda y_true, y_pred, **options: f(convert_to_tensor(y_pred), convert_to_tensor(y_true), **options)
    call.__name__ = name
    return findable({name: adapted(call, f"y_true, y_pred{more}", None, f.__doc__)}, __name__)[name]


_LOGITS = ", from_logits:logits=False"
_SMOOTHED = f"{_LOGITS}, label_smoothing:smoothing=0.0"
mean_squared_error = _rows("mean_squared_error", loss.squared_rows)
mean_absolute_error = _rows("mean_absolute_error", loss.absolute_rows)
binary_crossentropy = _rows("binary_crossentropy", loss.binary_rows, _SMOOTHED)
categorical_crossentropy = _rows("categorical_crossentropy", loss.class_rows, _SMOOTHED)
sparse_categorical_crossentropy = _rows("sparse_categorical_crossentropy", loss.label_rows, _LOGITS)


class MeanSquaredError(Loss):
    """The mean of (y_true - y_pred)²."""

    f = staticmethod(mean_squared_error)


class MeanAbsoluteError(Loss):
    """The mean of |y_true - y_pred|."""

    f = staticmethod(mean_absolute_error)


class BinaryCrossentropy(Loss):
    """The cross-entropy of yes-or-no answers."""

    f = staticmethod(binary_crossentropy)

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0, **options: Any) -> None:
        super().__init__(from_logits=from_logits, label_smoothing=label_smoothing, **options)


class CategoricalCrossentropy(BinaryCrossentropy):
    """The cross-entropy of distributions."""

    f = staticmethod(categorical_crossentropy)


class SparseCategoricalCrossentropy(Loss):
    """The cross-entropy of integer labels."""

    f = staticmethod(sparse_categorical_crossentropy)

    def __init__(self, from_logits: bool = False, **options: Any) -> None:
        super().__init__(from_logits=from_logits, **options)


_KNOWN = MeanSquaredError, MeanAbsoluteError, BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy
NAMES = {**{snake(c.__name__): c() for c in _KNOWN}, "mse": MeanSquaredError(), "mae": MeanAbsoluteError()}


def get(identifier: Any) -> Callable[..., Any]:
    """The loss called so, or the function given.  ValueError for an unknown name."""
    return chosen("loss", identifier, NAMES)
