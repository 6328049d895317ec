"""Trainer: the loop: updates, what is measured, validation, and when a run is saved."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from inspect import Parameter, signature
from itertools import islice
from math import inf, isfinite
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from .. import random
from ..array import library
from ..autograd import no_grad
from ..core import Tensor
from ..optim.checks import bound
from ..optim.clip import clip_grad_norm_
from ..tensor import to_numpy
from .batch import length, measured, mode, not_finite, pair, rows, tensors
from .interrupts import waiting
from .loggers import Console, CSVFile, Logger
from .options import check_dtypes, check_functions, check_objects, check_same, check_schedule, check_values, whole
from .run import ResumeError, Run, goes_on, state_of
from .running import Means, number
from .stopping import EarlyStopping


class Trainer(Run):
    """Trains a model on batches (x, y), measures, writes checkpoints, and goes on from them to the bit.

        trainer = gg.train.Trainer(
            model, gg.optim.Adam(model.parameters(), 1e-3), gg.nn.cross_entropy,
            metrics={"accuracy": lambda out, y: (out.argmax(-1) == y).mean()}, directory="runs/first",
        )
        history = trainer.fit(batches, validation_batches, epochs=10, resume=True)

    loss            loss(output, y), a mean over the rows; metrics: functions like it, of one number each
    schedule        stepped every "epoch" or "step" (`schedule_every`); one whose step() takes a value gets the one that
                    `early_stopping` monitors
    scaler, ema     a GradScaler; an EMA, by whose weights a run is validated and its best model kept
    autocast        a context for the forward pass: gg.autocast("bfloat16")
    accumulate      batches for one update, weighted by their rows; clip_norm: a limit for the length of all gradients
    directory       where checkpoints go: every `save_every` updates and after each epoch, the last `keep` of them, and
                    the best model
    early_stopping  an EarlyStopping, which also says what "best" is
    loggers         None: the console and, in the directory, metrics.csv; `log_every` updates, until which nothing
                    waits for a GPU
    on_nan          "raise", or "skip": leave out an update whose loss or gradients are not finite (waits for a GPU at
                    each step)
    also            other objects by name that are saved: with state_dict and load_state_dict, or generators
    progress        whether there is a bar, in a terminal or a notebook

    x may be a dict or a tuple, which the model is given as it is; arrays become Tensors, as the model's front door has
    them.  `step` counts updates, `epoch` those done, `history` has a list of one number an epoch for each name,
    `skipped` the updates left out, and `interrupted` whether Ctrl-C ended the last fit.  Override
    `training_step(batch)` for another loss or another form of batches, `validation_step(batch)` for other figures: a
    dict with "loss".
    """

    def __init__(
        self, model: Any, optimizer: Any, loss: Callable[[Any, Any], Any] | None = None, *,
        metrics: Mapping[str, Callable[[Any, Any], Any]] | None = None, schedule: Any = None,
        schedule_every: str = "epoch", scaler: Any = None, ema: Any = None, autocast: Any = None, accumulate: int = 1,
        clip_norm: float | None = None, directory: str | os.PathLike[str] | None = None,
        save_every: int | None = None, keep: int = 3, early_stopping: EarlyStopping | None = None,
        loggers: Sequence[Logger] | None = None, log_every: int = 50, on_nan: str = "raise",
        also: Mapping[str, Any] | None = None, progress: bool = True,
    ) -> None:  # fmt: skip
        check_objects({
            "optimizer": optimizer, "schedule": schedule, "scaler": scaler, "ema": ema,
            "early_stopping": early_stopping, "autocast": autocast,
        })  # fmt: skip
        check_functions(loss, metrics)
        numbers = {"accumulate": accumulate, "save_every": save_every, "keep": keep, "log_every": log_every}
        choices = {"schedule_every": (schedule_every, "epoch", "step"), "on_nan": (on_nan, "raise", "skip")}
        check_values(numbers, choices)
        if save_every is not None and directory is None:
            raise ValueError("Trainer: save_every needs a directory for the checkpoints")
        limit = None if clip_norm is None else bound("Trainer: clip_norm", clip_norm)
        parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "scaler": scaler, "ema": ema}
        parts = {name: part for name, part in parts.items() if part is not None} | dict(also or {})
        super().__init__(parts, directory, keep, early_stopping or EarlyStopping())
        self.loss, self.metrics = loss, dict(metrics or {})
        self.schedule, self.schedule_every, self.scaler = schedule, schedule_every, scaler
        step = {} if schedule is None else signature(schedule.step).parameters
        self._watches = any([p.default is Parameter.empty for p in step.values()])  # whether it takes a value
        self.autocast = nullcontext() if autocast is None else autocast
        optimizer.accumulates |= accumulate > 1
        self._own_step = type(self).training_step is not Trainer.training_step
        self._called = False  # whether the model has been, so that it has its parameters
        check_same(model, optimizer, schedule, ema, self._own_step)
        self.accumulate, self.clip_norm, self.on_nan = accumulate, limit, on_nan
        self.save_every, self.log_every, self.progress, self.interrupted = save_every, log_every, progress, False
        if loggers is None:
            loggers = [Console(), *([CSVFile(os.path.join(self.directory, "metrics.csv"))] if self.directory else [])]
        self.loggers = list(loggers)

    # ------------------------------------------------------------------------------------ to override
    def training_step(self, batch: Any) -> Any:
        """The loss of a batch; or a dict with "loss", and what else is to be measured: one number each."""
        x, y = pair(batch)
        out = self.model(x)
        if self.loss is None:
            raise ValueError("Trainer: give a loss, or override training_step(batch)")
        if not self._called:
            self._called = True
            check_same(self.model, self.optimizer, self.schedule, self.ema, self._own_step)
            check_dtypes(self.model, x, out)
        loss = self.loss(out, y)
        with no_grad():
            return {"loss": loss, **{name: f(out, y) for name, f in self.metrics.items()}}

    def validation_step(self, batch: Any) -> Any:
        """The same for a batch of other data."""
        return self.training_step(batch)

    # ------------------------------------------------------------------------------------ fitting
    def fit(
        self, train: Iterable[Any], validation: Iterable[Any] | None = None, epochs: int = 1,
        resume: bool | str | os.PathLike[str] = False,
    ) -> dict[str, list[float]]:  # fmt: skip
        """Train until `epochs` are done, those before included.  Answers the history.

        resume   True: go on from the directory's newest checkpoint, if there is one; or the path of one; False: from
                 where this trainer is
        `train` can be gone through again and again: a DataLoader, a list.  A run goes on in the middle of an epoch by
        the loader's state_dict; without one, by going through the same batches again.  Ctrl-C ends the step, saves and
        returns; again, it stops at once.  SIGTERM, by which clusters end a job, does so, and then ends the program.
        ValueError for data without batches, ResumeError for a checkpoint of something else, FileExistsError where the
        directory has checkpoints of steps that this run has still before it, NonFiniteLossError, and whatever a step
        raises: the last checkpoint stays as it is.
        """
        epochs = whole("epochs", epochs)
        self._loaders = {"training": train} if validation is None else {"training": train, "validation": validation}
        for name, data in self._loaders.items():
            if length(data) == 0:
                raise ValueError(f"the {name} data have no batches: {data!r:.60}")
        self.early_stopping.check(validation is not None)
        check_schedule(self.schedule, self.schedule_every, epochs, length(train), self.accumulate)
        self._begin(resume)
        self.interrupted = False
        self._place("validation")
        if self.directory:  # where nothing can be written, that is said before the first epoch
            os.makedirs(self.directory, exist_ok=True)
            if not os.access(self.directory, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self.directory)
        with ExitStack() as stack:
            stack.enter_context(mode(self.model, True))
            asked = stack.enter_context(waiting())
            for logger in self.loggers:
                logger.resumes = resume is not False
                logger.start(self.step, self.epoch)
                stack.callback(logger.close)
            before = self.epoch
            while self.epoch < epochs and not self.early_stopping.over and not self.interrupted:
                self.interrupted = not (self._train(train, epochs, asked) and self._finish(validation, asked))
            if self.interrupted:
                saved = f"saved {self.save()}; resume=True goes on" if self.directory else "not saved: no directory"
                tqdm.write(f"interrupted in epoch {self.epoch + 1} after step {self.step}: {saved}")
            elif said := self._ended(before, epochs):
                tqdm.write(said)
        if self.early_stopping.restore_best and not self.interrupted:
            if self.early_stopping.best is None:
                said = "no epoch was the best, since no monitored value is a number: the weights are the last"
                warnings.warn(said, stacklevel=2)
            else:
                self.model.load_state_dict(self.best())
        return self.history

    def _ended(self, before: int, epochs: int) -> str:
        """Why no epoch was trained, or not all of them; "" where all were."""
        stopping = self.early_stopping
        if stopping.over:
            name = stopping.watched(self.history)
            never = f", and {name} was never a finite number"
            found = never if stopping.best is None else f" not better than {stopping.best:.6g}"
            goes_on = "; trained nothing: trainer.early_stopping.since = 0 lets fit go on" * (self.epoch == before)
            return f"early stopping after epoch {self.epoch}: {stopping.since} epochs{found}{goes_on}"
        if self.epoch > before or epochs < 1:
            return ""
        return f"trained nothing: {self.epoch} epochs are done, and epochs={epochs} counts them, too"

    def _train(self, train: Any, epochs: int, asked: list[int]) -> bool:
        """What is left of an epoch's batches.  False if it was interrupted."""
        batches = self._rest(train)
        with tqdm(
            total=length(train), initial=self._batch, unit="batch", leave=False,
            desc=f"epoch {self.epoch + 1}/{epochs}", disable=None if self.progress else True,
        ) as bar:  # fmt: skip
            while group := self._group(batches, asked):
                self._update(group)
                self.step, self._batch = self.step + 1, self._batch + len(group)
                self._positions["training"] = state_of(train)  # after an error a fit goes on from here
                bar.update(len(group))
                if self.step % self.log_every == 0:
                    bar.set_postfix({k: f"{v:.4g}" for k, v in self._log().items()})
                if self.save_every and self.step % self.save_every == 0:
                    self.save()
                if asked:
                    return False
        if asked:
            return False
        self._trained, self._positions["training"] = True, state_of(train)
        return True

    def _group(self, batches: Iterator[Any], asked: list[int]) -> list[Any]:
        """The batches of the next update; none where they end, or cannot come since the workers heard SIGTERM, too."""
        try:
            return list(islice(batches, self.accumulate))
        except Exception:
            if asked:
                return []
            raise

    def _rest(self, train: Any) -> Iterator[Any]:
        """The batches of this epoch that have not been trained on."""
        if self._batch == 0:
            self._random = random.get_state()
        if hasattr(train, "set_epoch"):
            train.set_epoch(self.epoch)
        if self._place("training"):
            batches = iter(() if self._trained else train)
            self._positions["training"] = state_of(train)
            return self._tensors(batches)
        now = random.get_state()
        random.set_state(self._random)  # by which the batches may be shuffled
        batches = iter(train)
        self._positions["training"] = state_of(train)
        if len(list(islice(batches, self._batch))) < self._batch:
            raise ResumeError(f"the training data end before batch {self._batch}, after which this run goes on")
        random.set_state(now)
        return self._tensors(batches)

    def _place(self, name: str) -> bool:
        """Let data go on where they are to.  Whether they can and have to."""
        data, position = self._loaders.get(name), self._positions.pop(name, None)
        if not goes_on(data, position):
            return False
        try:
            data.load_state_dict(position)  # type: ignore[union-attr]
        except Exception as e:
            self._positions[name] = position
            raise ResumeError(f"the {name} data do not take where this run is: {e}") from e
        return True

    def _update(self, group: list[Any]) -> None:
        """One update from the batches of a group, each of which weighs as much as it has rows."""
        self.optimizer.zero_grad()
        sizes, found = [rows(batch) for batch in group], Means()
        for batch, n in zip(group, sizes):
            with self.autocast:
                values = measured(self.training_step(batch))
            if not self._passes(values.get("loss"), batch):
                return self._skip()
            found.add(values, n)
            loss = values["loss"] if len(group) == 1 else values["loss"] * (n / sum(sizes))
            (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        looks = self.on_nan == "skip" and self.scaler is None  # a scaler does so itself
        if self.clip_norm is not None or looks:
            if self.scaler is not None:
                self.scaler.unscale_(self.optimizer)
            norm = clip_grad_norm_(self.optimizer.variables, inf if self.clip_norm is None else self.clip_norm)
            if looks and not isfinite(float(norm)):
                return self._skip()
        self._window.count(found)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if self.ema is not None:
            self.ema.update()
        if self.schedule is not None and self.schedule_every == "step":
            self._advance(found.read()["loss"] if self._watches else 0.0)

    def _tensors(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches as the model takes them."""
        kind = getattr(self.model, "takes", Tensor)
        return (tensors(batch, kind) for batch in batches)

    def _skip(self) -> None:
        """Leave an update out."""
        self.optimizer.zero_grad()
        self.skipped += 1

    def _passes(self, loss: Any, batch: Any) -> bool:
        """Whether a loss may be trained on.  On a GPU that is seen later, in `_look`, unless it is to be skipped."""
        if not isinstance(loss, Tensor):
            raise TypeError(f"training_step answers the loss, or a dict with 'loss', a Tensor; not {loss!r:.60}")
        value = number("loss", loss)
        if self.on_nan == "skip":
            return isfinite(value)
        if isinstance(value, float) and not isfinite(value):
            raise self._not_finite(self.step + 1, self.step + 1, f"the loss is {value}", not_finite(batch))
        return True

    def _advance(self, value: float) -> None:
        """One step of the schedule, which is given the value if it takes one."""
        if self._watches:
            self.schedule.step(value)
        else:
            self.schedule.step()

    def _log(self) -> dict[str, float]:
        """Tell the loggers of the steps since the last time."""
        self._look()
        values = {**self._window.read(), **self._settings()}
        self._window.empty_into(self._whole)
        for logger in self.loggers:
            logger.log("step", self.step, self.epoch + 1, values)
        return values

    def _settings(self) -> dict[str, float]:
        found = {"lr": float(self.optimizer.learning_rate)}
        if self.scaler is not None or self.on_nan == "skip":
            found["skipped"] = float(self.skipped + getattr(self.scaler, "skipped", 0))
        return found

    def _finish(self, validation: Any, asked: list[int]) -> bool:
        """Validate, count the epoch and save.  False if it was interrupted."""
        self._look()
        self._window.empty_into(self._whole)
        if not self._whole.rows:
            if self._batch:
                raise ValueError(
                    f"epoch {self.epoch + 1}: each of its updates was skipped, as no loss, or no gradient, was finite "
                    "(on_nan='skip'). Do the data, or the weights, hold NaN? on_nan='raise' says more"
                )
            raise ValueError(
                f"epoch {self.epoch + 1} had no batches. Give data that can be gone through again and again, a "
                "DataLoader or a list, no generator"
            )
        values = self._whole.read()
        if validation is not None:
            if hasattr(validation, "set_epoch"):
                validation.set_epoch(self.epoch)
            self._positions["validation"] = state_of(validation)  # if this is cut off, it begins again
            with nullcontext() if self.ema is None else self.ema.applied():
                found = self._measure(validation, asked)
            if asked:
                return False
            del self._positions["validation"]
            values |= {f"val_{name}": value for name, value in found.items()}
        values |= self._settings()
        better = self.early_stopping.better(values)
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)
        if self.schedule is not None and self.schedule_every == "epoch":
            self._advance(self.early_stopping.monitored(values))
        self.epoch, self._batch, self._trained, self._whole = self.epoch + 1, 0, False, Means()
        del self._positions["training"]
        if better:
            self._keep_best(values)
        for logger in self.loggers:
            logger.log("epoch", self.step, self.epoch, values)
        if self.directory:
            self.save()
        return True

    # ------------------------------------------------------------------------------------ without training
    def evaluate(self, data: Iterable[Any]) -> dict[str, float]:
        """The means over all rows of what `validation_step` answers.  ValueError if there are no batches.

        By the model's own weights; by the averages that `fit` validates: `with ema.applied(): trainer.evaluate(data)`.
        """
        return self._measure(data, [])

    def _measure(self, data: Iterable[Any], asked: list[int]) -> dict[str, float]:
        means = Means()
        with mode(self.model, False), no_grad():
            try:
                for batch in self._tensors(data):
                    with self.autocast:
                        means.add(measured(self.validation_step(batch)), rows(batch))
                    if asked:
                        return {}
            except Exception:
                if asked:  # as in _group
                    return {}
                raise
        if not means.rows:
            raise ValueError(f"the data have no batches: {data!r:.60}")
        return means.read()

    def predict(self, data: Any) -> np.ndarray:
        """The outputs for all inputs, as one NumPy array: for batches x or (x, y), or for one array."""
        found = []
        with mode(self.model, False), no_grad(), self.autocast:
            for batch in self._tensors([data] if isinstance(data, Tensor) or library(data) is not None else data):
                found.append(to_numpy(self.model(batch[0] if isinstance(batch, (tuple, list)) else batch)))
        if not found:
            raise ValueError(f"the data have no batches: {data!r:.60}")
        return np.concatenate(found)
