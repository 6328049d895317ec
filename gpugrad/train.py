"""Floor 7: the training loop: batches, epochs, means over the rows, a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from . import random
from .core import Tensor, raw
from .data import Dataset, detached
from .tape import GradientTape
from .tensor import tensor, to_numpy

Step = Callable[[tuple[Any, Any]], dict[str, float]]  # of one batch: the loss, and each metric by name


class History:
    """What `fit` answers: `history` has one number an epoch for the loss and each metric."""

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def add(self, epoch: int, means: dict[str, float]) -> None:
        """Write down one epoch."""
        self.epoch.append(epoch)
        for name, value in means.items():
            self.history.setdefault(name, []).append(value)


def batches(
    x: Any, y: Any = None, size: int = 32, shuffle: bool = False, element: Callable[[Any], Tensor] = detached
) -> Iterator[tuple[Any, Any]]:
    """(inputs, targets) of `size` rows from arrays, the last may be smaller; or the elements of a Dataset.

    ValueError for another number of targets than inputs.
    """
    if isinstance(x, Dataset):
        yield from (e if isinstance(e, tuple) else (e, None) for e in x)
        return
    x, y = to_numpy(tensor(x)), None if y is None else to_numpy(tensor(y))
    if y is not None and len(x) != len(y):
        raise ValueError(f"Data cardinality is ambiguous: {len(x)} inputs and {len(y)} targets. They must be as many.")
    order = random.permutation(len(x), "cpu").array if shuffle else np.arange(len(x))
    for start in range(0, len(x), size):
        rows = order[start : start + size]
        yield element(x[rows]), None if y is None else element(y[rows])


def means(step: Step, data: Iterable[tuple[Any, Any]]) -> dict[str, float]:
    """The mean over all rows of what `step` answers for each batch.  ValueError if there are no rows."""
    total: dict[str, float] = {}
    rows = 0
    for batch in data:
        n = len(raw(batch[0]))
        rows += n
        for name, value in step(batch).items():
            total[name] = total.get(name, 0.0) + float(value) * n
    if not rows:
        raise ValueError("the data has no rows")
    return {name: value / rows for name, value in total.items()}


def fit(
    step: Step, data: Callable[[], Iterable[tuple[Any, Any]]], epochs: Iterable[int],
    check: Callable[[], dict[str, float]] | None = None, show: bool = True,
) -> History:  # fmt: skip
    """Go through `data()` once an epoch, with an update in each `step`; `check()` is asked after each, as val_*."""
    out = History()
    with tqdm(epochs, unit="epoch", disable=not show) as bar:
        for epoch in bar:
            found = means(step, data())
            if check is not None:
                found |= {f"val_{name}": value for name, value in check().items()}
            out.add(epoch, found)
            bar.set_postfix({name: f"{value:.4f}" for name, value in found.items()})
    return out


def accuracy(target: Any, prediction: Any) -> float:
    """The share of right answers: by the largest score, or with one score a row by the threshold 0.5."""
    scores, labels = to_numpy(prediction), np.asarray(to_numpy(target))
    if scores.shape[-1] == 1:
        return float(((scores > 0.5).reshape(-1) == (labels.reshape(-1) > 0.5)).mean())
    if labels.shape == scores.shape:
        labels = labels.argmax(-1)
    return float((scores.argmax(-1) == labels.reshape(scores.shape[:-1])).mean())


class Fitted:
    """What a model needs besides a call: `optimizer`, `loss_of(target, prediction)`, `measures` by name; then it fits.

    The model is called as `model(inputs, training=…)` and says which variables are `trainable_variables`.
    """

    optimizer: Any = None
    loss_of: Callable[[Any, Any], Any] | None = None
    measures: Mapping[str, Callable[[Any, Any], float]] = {}
    _element: Callable[[Any], Tensor] = staticmethod(detached)  # what batches are made of

    def _measured(self, target: Any, prediction: Any) -> tuple[Any, dict[str, float]]:
        if self.loss_of is None:
            raise ValueError("You must call `compile()` with an optimizer and a loss before using the model.")
        loss = self.loss_of(target, prediction)
        return loss, {"loss": float(loss), **{n: f(target, prediction) for n, f in self.measures.items()}}

    def train_step(self: Any, data: Any) -> dict[str, float]:
        """One update on (inputs, targets).  Override it for a loss or a step of your own."""
        x, y = data
        with GradientTape() as tape:
            loss, found = self._measured(y, self(x, training=True))
        variables = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return found

    def test_step(self: Any, data: Any) -> dict[str, float]:
        """The loss and metrics of one batch."""
        return self._measured(data[1], self(data[0], training=False))[1]

    def _batches(self, x: Any, y: Any, size: int | None, shuffle: bool = False) -> Iterator[tuple[Any, Any]]:
        return batches(x, y, size or 32, shuffle, self._element)

    def fit(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1, verbose: Any = "auto",
        validation_data: Any = None, shuffle: bool = True, initial_epoch: int = 0,
    ) -> History:  # fmt: skip
        """Train on arrays, or on a Dataset of (inputs, targets).  verbose=0 shows no progress."""
        if self.optimizer is None:
            raise ValueError("You must call `compile()` with an optimizer and a loss before using the model.")
        check = None
        if validation_data is not None:
            check = lambda: self._tested(*_unpacked(validation_data), batch_size)
        data = lambda: self._batches(x, y, batch_size, shuffle)
        self.history = fit(self.train_step, data, range(initial_epoch, epochs), check, bool(verbose))
        return self.history

    def _tested(self, x: Any, y: Any, size: int | None) -> dict[str, float]:
        return means(self.test_step, self._batches(x, y, size))

    def evaluate(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: Any = "auto",
        return_dict: bool = False,
    ) -> Any:  # fmt: skip
        """The loss, and the metrics if there are any, over all batches."""
        found = self._tested(x, y, batch_size)
        return found if return_dict else next(iter(found.values())) if len(found) == 1 else list(found.values())

    def predict(self: Any, x: Any, batch_size: int | None = None, verbose: Any = "auto") -> np.ndarray:
        """The outputs for all inputs, as a NumPy array."""
        return np.concatenate([to_numpy(self(b, training=False)) for b, _ in self._batches(x, None, batch_size)])


def _unpacked(data: Any) -> tuple[Any, Any]:
    return (data, None) if isinstance(data, Dataset) else (data[0], data[1])
