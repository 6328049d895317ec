"""What a Trainer is given: errors that say what to write, before anything changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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


def check_values(numbers: Mapping[str, Any], words: Mapping[str, tuple[Any, str, str]]) -> None:
    """ValueError for a number that is none from 1 on, and for a word that is not one of two."""
    for name, n in numbers.items():
        if n is not None and (not isinstance(n, int) or n < 1):
            raise ValueError(f"Trainer: {name} is an integer from 1 on, not {n!r}")
    for name, (value, *allowed) in words.items():
        if value not in allowed:
            raise ValueError(f"Trainer: {name} is {allowed[0]!r} or {allowed[1]!r}, not {value!r}")
