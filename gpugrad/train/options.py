"""What a Trainer is given: errors that say what to write, before anything changes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from operator import index
from typing import Any

import numpy as np

from ..dtypes import is_inexact
from ..nn.holder import waiting
from .batch import named

# Of an option that is an object: what it must have, and how one is made.
_OBJECTS = {
    "optimizer": ("step", "gg.optim.Adam(model.parameters())"),
    "schedule": ("step", "gg.optim.lr_scheduler.StepLR(optimizer, 10)"),
    "scaler": ("update", "gg.GradScaler()"),
    "ema": ("applied", "gg.optim.EMA(model)"),
    "early_stopping": ("better", "gg.train.EarlyStopping(patience=3)"),
    "autocast": ("__enter__", "gg.autocast('bfloat16')"),
}


def check_objects(given: Mapping[str, Any]) -> None:
    """TypeError for an option that is a class, a name or a number where an object is asked for."""
    for name, (needed, made) in _OBJECTS.items():
        x = given[name]
        if (x is not None or name == "optimizer") and (isinstance(x, type) or not hasattr(x, needed)):
            raise TypeError(f"Trainer: {name} is an object, as {made}, not {x!r:.60}")


def check_functions(loss: Any, metrics: Mapping[str, Callable[..., Any]] | None) -> None:
    """TypeError for a loss or a metric that cannot be called with (output, y), ValueError for a metric named "loss"."""
    if isinstance(loss, type):
        raise TypeError(f"Trainer: loss is a class: write {loss.__name__}()")
    if loss is not None and not callable(loss):
        raise TypeError(f"Trainer: loss is a function loss(output, y), as gg.nn.CrossEntropyLoss(), not {loss!r:.60}")
    if not isinstance(metrics, Mapping | None) or not all(map(callable, (metrics or {}).values())):
        raise TypeError(f"Trainer: metrics are functions f(output, y) by name, {{'error': f}}, not {metrics!r:.60}")
    if "loss" in (metrics or {}):
        raise ValueError("Trainer: metrics has one named 'loss', which is the loss's own name; call it another")


def check_same(model: Any, optimizer: Any, schedule: Any, ema: Any, own_step: bool) -> None:
    """ValueError for an optimizer, a schedule or an EMA of something else: it would train, or average, nothing.

    own_step   whether the loss is the user's own step's, which may train something beside the model: a warning, then
    """
    if getattr(schedule, "optimizer", optimizer) is not optimizer:
        raise ValueError("Trainer: the schedule is of another optimizer, and would change nothing: make it of this one")
    if any(map(waiting, model.modules())):
        return
    own = {id(v) for v in model.variables}
    strange = "Trainer: {} has none of the model's parameters: it is of another model; write {}"
    if (averaged := getattr(ema, "variables", None)) and own.isdisjoint(map(id, averaged)):
        raise ValueError(strange.format("the EMA", "gg.optim.EMA(model)"))
    if optimizer.variables and own.isdisjoint(map(id, optimizer.variables)):
        said = strange.format("the optimizer", f"{type(optimizer).__name__}(model.parameters())")
        if not own_step:
            raise ValueError(said)
        warnings.warn(said, stacklevel=3)


def check_dtypes(model: Any, x: Any, out: Any) -> None:
    """A warning of inputs, in float64 or integers, by which a model of smaller floats computes in float64."""
    weights = {v.dtype for v in model.variables if is_inexact(v.dtype)}
    if not weights or any([d.itemsize >= 8 for d in weights]):
        return
    if not any([a.dtype == np.float64 for _, a in named(out, "")]):
        return
    wide = [(name, a.dtype) for name, a in named(x, "x") if a.dtype == np.float64]
    whole = [(name, a.dtype) for name, a in named(x, "x") if a.dtype.kind in "iu"]
    for name, dtype in (wide or whole)[:1]:
        warnings.warn(
            f"Trainer: {name} comes as {dtype} and the model's weights are {', '.join(map(str, weights))}: it computes "
            f"in float64, at half the speed or less. Give {name}.astype('float32')",
            stacklevel=6,
        )


def check_schedule(schedule: Any, every: str, epochs: int, batches: int | None, accumulate: int) -> None:
    """A warning of a schedule that is as long as the run has updates, or batches, and is stepped once an epoch."""
    n = _steps(schedule)
    if every == "step" or n is None or not batches or n <= epochs + 1:
        return
    if any([abs(n - epochs * many) <= 1 for many in (batches, -(-batches // accumulate))]):
        warnings.warn(
            f"Trainer: the schedule has {n} steps, as many as {epochs} epochs of {batches} batches, and is stepped "
            f"once an epoch: {epochs} of its steps will be done. Write schedule_every='step'",
            stacklevel=3,
        )


def _steps(schedule: Any) -> int | None:
    """How many steps a schedule is made for; None where it says nothing of that."""
    if parts := getattr(schedule, "_schedulers", None):
        last = _steps(parts[-1])
        return None if last is None else last + [0, *getattr(schedule, "_milestones", [])][-1]
    names = ("total_steps", "T_max", "total_iters")
    return next((n for n in [getattr(schedule, name, None) for name in names] if isinstance(n, int)), None)


def whole(name: str, n: Any) -> int:
    """A number of epochs.  TypeError for one that is no integer."""
    try:
        return index(n)
    except TypeError:
        raise TypeError(f"{name} is an integer, not {n!r:.60}") from None


def check_values(numbers: Mapping[str, Any], words: Mapping[str, tuple[Any, str, str]]) -> None:
    """ValueError for a number that is none from 1 on, and for a word that is not one of two."""
    for name, n in numbers.items():
        if n is not None and (not isinstance(n, int) or n < 1):
            raise ValueError(f"Trainer: {name} is an integer from 1 on, not {n!r}")
    for name, (value, *allowed) in words.items():
        if value not in allowed:
            raise ValueError(f"Trainer: {name} is {allowed[0]!r} or {allowed[1]!r}, not {value!r}")
