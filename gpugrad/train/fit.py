"""The training loop of models like Keras': batches, epochs, means over the rows, a progress bar."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import signature
from typing import Any

import numpy as np
from tqdm import tqdm

from .. import checkpoints, random
from ..core import Tensor, raw
from ..data import Dataset, detached
from ..dtypes import is_inexact
from ..ops.casting import astype
from ..tape import GradientTape
from ..tensor import tensor, to_numpy

Batch = tuple[Any, ...]  # (inputs, targets), or with the weights of the rows
Step = Callable[[Batch], dict[str, float]]  # of one batch: the loss, and each metric by name
_UNREADY = "You must call `compile()` with an optimizer and a loss before using the model."


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
    x: Any, y: Any = None, size: int = 32, shuffle: bool = False, element: Callable[[Any], Tensor] = detached,
    weights: Any = None,
) -> Iterator[Batch]:  # fmt: skip
    """(inputs, targets) of `size` rows from arrays, the last may be smaller; or the elements of a Dataset.

    With `weights`, a number a row, (inputs, targets, weights).  ValueError for another number of targets than inputs.
    """
    if isinstance(x, Dataset):
        yield from (e if isinstance(e, tuple) else (e, None) for e in x)
        return
    x, rest = to_numpy(tensor(x)), [None if a is None else to_numpy(tensor(a)) for a in (y, weights)]
    for what, a in zip(("targets", "weights"), rest):
        if a is not None and len(x) != len(a):
            raise ValueError(
                f"Data cardinality is ambiguous: {len(x)} inputs and {len(a)} {what}. They must be as many."
            )
    if weights is None:
        rest.pop()
    order = random.permutation(len(x), "cpu").array if shuffle else np.arange(len(x))
    for start in range(0, len(x), size):
        rows = order[start : start + size]
        yield element(x[rows]), *[None if a is None else element(a[rows]) for a in rest]


def split(arrays: Iterable[Any], share: float) -> tuple[list[Any], list[Any]]:
    """The first rows of all arrays, and the last, `share` of them.  ValueError for a share that leaves one empty."""
    whole: list[Any] = [None if a is None else to_numpy(tensor(a)) for a in arrays]
    n = len(whole[0])
    at = math.floor(n * (1 - share))
    if not 0 < at < n:
        raise ValueError(f"validation_split={share!r} of {n} rows leaves none to train on or to check")
    first, last = ([None if a is None else a[rows] for a in whole] for rows in (slice(at), slice(at, None)))
    return first, last


def unknown(f: Callable[..., Any], options: Iterable[str], name: str | None = None) -> None:
    """TypeError, if there are any, for options that f does not have, with those that it has."""
    if names := sorted(options):
        taken = [p.name for p in signature(f).parameters.values() if p.name != "self" and p.kind is not p.VAR_KEYWORD]
        named = ", ".join(map(repr, names))
        raise TypeError(
            f"{name or f.__name__}() got an unexpected keyword argument {named}; what it takes is {', '.join(taken)}"
        )


def means(step: Step, data: Iterable[Batch]) -> dict[str, float]:
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
    step: Step, data: Callable[[], Iterable[Batch]], epochs: Iterable[int],
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
    loss_of: Callable[..., Any] | None = None
    measures: Mapping[str, Callable[[Any, Any], float]] = {}

    def _element(self, x: Any) -> Tensor:
        """What batches are made of."""
        return detached(x)

    def _measured(self, target: Any, prediction: Any, weights: Any = None) -> tuple[Any, dict[str, float]]:
        if self.loss_of is None:
            raise ValueError(_UNREADY)
        own = raw(prediction).dtype
        if isinstance(target, Tensor) and is_inexact(target.array.dtype) and is_inexact(own):
            target = astype(target, own)
        if weights is not None:
            weights = astype(weights, own)
        loss = self.loss_of(target, prediction) if weights is None else self.loss_of(target, prediction, weights)
        return loss, {"loss": float(loss), **{n: f(target, prediction) for n, f in self.measures.items()}}

    def train_step(self: Any, data: Any) -> dict[str, float]:
        """One update on (inputs, targets).  Override it for a loss or a step of your own."""
        x, *rest = data
        with GradientTape() as tape:
            loss, found = self._measured(rest[0], self(x, training=True), *rest[1:])
        if variables := self.trainable_variables:
            self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return found

    def test_step(self: Any, data: Any) -> dict[str, float]:
        """The loss and metrics of one batch."""
        x, *rest = data
        return self._measured(rest[0], self(x, training=False), *rest[1:])[1]

    def _batches(
        self, x: Any, y: Any, size: int | None, shuffle: bool = False, weights: Any = None
    ) -> Iterator[Batch]:  # fmt: skip
        return batches(x, y, size or 32, shuffle, self._element, weights)

    def fit(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1, verbose: Any = "auto",
        callbacks: Any = None, validation_split: float = 0.0, validation_data: Any = None, shuffle: bool = True,
        *, sample_weight: Any = None, initial_epoch: int = 0, **options: Any,
    ) -> History:  # fmt: skip
        """Train on arrays, or on a Dataset of (inputs, targets).  verbose=0 shows no progress.

        validation_split   the share of the last rows that is not trained on, but checked after each epoch
        sample_weight      a number a row, by which its loss is multiplied
        ValueError for callbacks, which there are none of; TypeError for an option that is not there.
        """
        unknown(Fitted.fit, options)
        if callbacks:
            raise ValueError("fit(callbacks=...): there are no callbacks; call fit(epochs=1) in a loop of your own")
        if self.optimizer is None:
            raise ValueError(_UNREADY)
        rows: Any = x, y, sample_weight
        if validation_split and validation_data is None:
            if isinstance(x, Dataset):
                raise ValueError("`validation_split` is only supported for arrays; give a Dataset as validation_data")
            rows, validation_data = split(rows, validation_split)
        check = None
        if validation_data is not None:
            kept = (validation_data,) if isinstance(validation_data, Dataset) else validation_data
            check = lambda: self._tested(batch_size, *kept)
        data = lambda: self._batches(rows[0], rows[1], batch_size, shuffle, rows[2])
        self.history = fit(self.train_step, data, range(initial_epoch, epochs), check, bool(verbose))
        return self.history

    def _tested(self, size: int | None, x: Any, y: Any = None, weights: Any = None) -> dict[str, float]:
        return means(self.test_step, self._batches(x, y, size, weights=weights))

    def evaluate(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: Any = "auto",
        sample_weight: Any = None, *, return_dict: bool = False,
    ) -> Any:  # fmt: skip
        """The loss, and the metrics if there are any, over all batches."""
        return _told(self._tested(batch_size, x, y, sample_weight), return_dict)

    def predict(self: Any, x: Any, batch_size: int | None = None, verbose: Any = "auto") -> np.ndarray:
        """The outputs for all inputs, as a NumPy array."""
        return np.concatenate([to_numpy(self(b, training=False)) for b, *_ in self._batches(x, None, batch_size)])

    # ------------------------------------------------------------------------------------ one batch, and files
    def train_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, *, return_dict: bool = False) -> Any:
        """One update on all rows.  Answers the loss before it, and the metrics if there are any."""
        if self.optimizer is None:
            raise ValueError(_UNREADY)
        (batch,) = self._batches(x, y, len(x), weights=sample_weight)
        return _told(self.train_step(batch), return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, *, return_dict: bool = False) -> Any:
        """The loss of all rows, and the metrics if there are any."""
        return self.evaluate(x, y, len(x), 0, sample_weight, return_dict=return_dict)

    def predict_on_batch(self, x: Any) -> np.ndarray:
        """The outputs for all rows, as a NumPy array."""
        return self.predict(x, len(x))

    def save_weights(self: Any, filepath: Any, overwrite: bool = True) -> None:
        """Write all variables into a safetensors file.  ValueError for the name of an HDF5 file."""
        if not overwrite and os.path.exists(filepath):
            raise ValueError(f"there is a file {os.fspath(filepath)} already; overwrite=True replaces it")
        checkpoints.save(_safetensors(filepath), self.state())

    def load_weights(self: Any, filepath: Any) -> None:
        """Take all variables from such a file.  ValueError before the model is built; RuntimeError if they differ."""
        path = _safetensors(filepath)
        if not self.built:
            raise ValueError(
                "load_weights: the model has no variables yet; call it, or model.build(input_shape), first"
            )
        self.load_state_dict(checkpoints.load(path))


def _told(answer: dict[str, Any], by_name: bool) -> Any:
    found = {name: float(value) for name, value in answer.items()}
    return found if by_name else next(iter(found.values())) if len(found) == 1 else list(found.values())


def _safetensors(path: Any) -> Any:
    if os.fspath(path).endswith((".h5", ".hdf5", ".keras")):
        raise ValueError(
            f"{os.fspath(path)!r} is the name of a file that Keras writes; weights are safetensors files here: name it "
            "'model.safetensors'"
        )
    return path
