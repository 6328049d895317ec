"""tf.keras.Model and Sequential: compile, and the core's fit, evaluate, predict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...nn import LazyModel, LazySequential
from ...tensor import to_numpy
from ...train import Fitted, History as History, accuracy, unknown
from ..data import fresh
from . import losses, optimizers
from .layers import Layer

_ACCURACY = ("accuracy", "acc", "sparse_categorical_accuracy", "categorical_accuracy", "binary_accuracy")


def _metric(m: Any) -> tuple[str, Any]:
    if m in _ACCURACY:
        return ("accuracy" if m == "acc" else m), accuracy
    loss = losses.get(m)
    return (m if isinstance(m, str) else m.__name__), lambda y, p: float(np.mean(to_numpy(loss(y, p))))


class Model(Fitted, LazyModel, Layer):
    """A model: subclass it and write `call(inputs)`."""

    def _element(self, x: Any) -> Any:
        return fresh(self.taken(x))

    def compile(
        self, optimizer: Any = "rmsprop", loss: Any = None, *, metrics: Sequence[Any] | None = None,
        run_eagerly: bool = False, jit_compile: Any = "auto", **options: Any,
    ) -> None:  # fmt: skip
        """Say how to train: an optimizer, a loss and metrics, by name or as objects."""
        unknown(Model.compile, options)
        self.optimizer = optimizers.get(optimizer)
        self.loss_of = None if loss is None else losses.Loss.of(losses.get(loss))
        self.measures = dict(map(_metric, metrics or ()))


class Sequential(LazySequential, Model):
    """Layers, one after the other."""

    def __init__(self, layers: Sequence[Any] | None = None, trainable: bool = True, name: str | None = None) -> None:
        Model.__init__(self, name, trainable)
        LazySequential.__init__(self, layers or ())
