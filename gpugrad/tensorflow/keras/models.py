"""tf.keras.Model and Sequential: compile, and the core's fit, evaluate, predict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...tensor import to_numpy
from ...train import Fitted, History as History, accuracy
from ..data import fresh
from ..tensor import convert_to_tensor
from . import losses, optimizers
from .layers import Layer

_ACCURACY = ("accuracy", "acc", "sparse_categorical_accuracy", "categorical_accuracy", "binary_accuracy")


def _metric(m: Any) -> tuple[str, Any]:
    if m in _ACCURACY:
        return ("accuracy" if m == "acc" else m), accuracy
    loss = losses.get(m)
    return (m if isinstance(m, str) else m.__name__), lambda y, p: float(np.mean(to_numpy(loss(y, p))))


class Model(Fitted, Layer):
    """A model: subclass it and write `call(inputs)`."""

    built = True
    _element = staticmethod(fresh)

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, metrics: Sequence[Any] | None = None) -> None:
        """Say how to train: an optimizer, a loss and metrics, by name or as objects."""
        self.optimizer = optimizers.get(optimizer)
        self.loss_of = None if loss is None else losses.get(loss)
        self.measures = dict(map(_metric, metrics or ()))


class Sequential(Model):
    """Layers, one after the other."""

    def __init__(self, layers: Sequence[Any] = (), name: str | None = None) -> None:
        super().__init__(name=name)
        self.layers: list[Any] = []
        for layer in layers:
            self.add(layer)

    def add(self, layer: Any) -> None:
        """Put a layer at the end."""
        if not callable(layer):
            raise ValueError(
                f"Only instances of `keras.Layer` can be added to a Sequential model. Received: {layer!r:.60}"
            )
        self.layers.append(layer)

    def call(self, inputs: Any) -> Any:
        x = convert_to_tensor(inputs)
        for layer in self.layers:
            x = layer(x)
        return x
