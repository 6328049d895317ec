"""tf.keras.Model and Sequential: compile, fit, evaluate, predict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from ... import random
from ...core import raw
from ...tape import GradientTape
from ..data import Dataset
from ..tensor import constant, convert_to_tensor
from . import losses, optimizers
from .layers import Layer


class History:
    """What `fit` answers: `history` has one number an epoch for the loss and each metric."""

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []


def _accuracy(y_true: Any, y_pred: Any) -> float:
    """The share of right answers: by the largest score, or with one score a row by the threshold 0.5."""
    scores, labels = np.asarray(raw(y_pred)), np.asarray(raw(y_true))
    if scores.shape[-1] == 1:
        return float(((scores > 0.5).reshape(-1) == (labels.reshape(-1) > 0.5)).mean())
    if labels.shape == scores.shape:
        labels = labels.argmax(-1)
    return float((scores.argmax(-1) == labels.reshape(scores.shape[:-1])).mean())


def _mean_of(loss: Any) -> Any:
    return lambda y, p: float(np.mean(np.asarray(losses.get(loss)(y, p))))


def _metric(m: Any) -> tuple[str, Any]:
    if m in ("accuracy", "acc", "sparse_categorical_accuracy", "categorical_accuracy", "binary_accuracy"):
        return ("accuracy" if m == "acc" else m), _accuracy
    return (m if isinstance(m, str) else m.__name__), _mean_of(m)


class Model(Layer):
    """A model: subclass it and write `call(inputs)`."""

    built = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.built = True

    optimizer: Any = None

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, metrics: Sequence[Any] | None = None) -> None:
        """Say how to train: an optimizer, a loss and metrics, by name or as objects."""
        self.optimizer = optimizers.get(optimizer)
        self._loss = None if loss is None else losses.get(loss)
        self._metrics = dict(map(_metric, metrics or ()))

    def _compiled(self) -> None:
        if self.optimizer is None or self._loss is None:
            raise ValueError("You must call `compile()` with an optimizer and a loss before using the model.")

    def train_step(self, data: Any) -> dict[str, float]:
        """One update on (inputs, targets).  Override it for a loss or a step of your own."""
        x, y = data
        with GradientTape() as tape:
            predicted = self(x)
            loss = self._loss(y, predicted)  # type: ignore[misc]
        variables = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return {"loss": float(loss), **{n: f(y, predicted) for n, f in self._metrics.items()}}

    def test_step(self, data: Any) -> dict[str, float]:
        """The loss and metrics of one batch."""
        x, y = data
        predicted = self(x)
        loss = self._loss(y, predicted)  # type: ignore[misc]
        return {"loss": float(loss), **{n: f(y, predicted) for n, f in self._metrics.items()}}

    def fit(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1, verbose: Any = "auto",
        validation_data: Any = None, shuffle: bool = True, initial_epoch: int = 0,
    ) -> History:  # fmt: skip
        """Train on arrays, or on a Dataset of (inputs, targets).  verbose=0 shows no progress."""
        self._compiled()
        out = History()
        with tqdm(range(initial_epoch, epochs), unit="epoch", disable=not verbose) as bar:
            for epoch in bar:
                means = _means(self.train_step, _batches(x, y, batch_size or 32, shuffle))
                if validation_data is not None:
                    found = _means(self.test_step, _batches(*_unpacked(validation_data), batch_size or 32, False))
                    means |= {f"val_{k}": v for k, v in found.items()}
                out.epoch.append(epoch)
                for k, v in means.items():
                    out.history.setdefault(k, []).append(v)
                bar.set_postfix({k: f"{v:.4f}" for k, v in means.items()})
        self.history = out
        return out

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        return_dict: bool = False,
    ) -> Any:
        """The loss, and the metrics if there are any, over all batches."""
        self._compiled()
        means = _means(self.test_step, _batches(x, y, batch_size or 32, False))
        return means if return_dict else next(iter(means.values())) if len(means) == 1 else list(means.values())

    def predict(self, x: Any, batch_size: int | None = None, verbose: Any = "auto") -> np.ndarray:
        """The outputs for all inputs, as a NumPy array."""
        batches = (b[0] for b in _batches(x, None, batch_size or 32, False))
        return np.concatenate([np.asarray(self(b)) for b in batches])


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


def _unpacked(data: Any) -> tuple[Any, Any]:
    return (data, None) if isinstance(data, Dataset) else (data[0], data[1])


def _batches(x: Any, y: Any, size: int, shuffle: bool) -> Iterator[tuple[Any, Any]]:
    if isinstance(x, Dataset):
        yield from (e if isinstance(e, tuple) else (e, None) for e in x)
        return
    x = np.asarray(raw(convert_to_tensor(x)))
    y = None if y is None else np.asarray(raw(convert_to_tensor(y)))
    if y is not None and len(x) != len(y):
        raise ValueError(f"Data cardinality is ambiguous: {len(x)} inputs and {len(y)} targets. They must be as many.")
    order = random.permutation(len(x), "cpu").array if shuffle else np.arange(len(x))
    for start in range(0, len(x), size):
        rows = order[start : start + size]
        yield constant(x[rows]), None if y is None else constant(y[rows])


def _means(step: Any, batches: Iterator[tuple[Any, Any]]) -> dict[str, float]:
    total, rows = {}, 0
    for batch in batches:
        n = len(np.asarray(raw(batch[0])))
        rows += n
        for k, v in step(batch).items():
            total[k] = total.get(k, 0.0) + float(v) * n
    if not rows:
        raise ValueError("the data has no rows")
    return {k: v / rows for k, v in total.items()}


__all__ = ["History", "Model", "Sequential"]
