"""Which epoch was the best, and when no better one is to be expected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


class EarlyStopping:
    """Stop when `monitor` has not got better for `patience` epochs.

    patience      epochs; None: never stop, only tell which epoch was the best
    monitor       a name of the history; None: "val_loss" where there is validation data, else "loss"
    mode          "min": less is better; "max": more is
    min_delta     what counts as better is better by more than this
    restore_best  whether the model has the best epoch's weights at the end of `fit`
    ValueError for an option out of range.
    """

    def __init__(
        self, patience: int | None = None, *, monitor: str | None = None, mode: str = "min", min_delta: float = 0.0,
        restore_best: bool = False,
    ) -> None:  # fmt: skip
        if mode not in ("min", "max"):
            raise ValueError(f"EarlyStopping: mode is 'min' or 'max', not {mode!r}")
        if patience is not None and (not isinstance(patience, int) or patience < 1):
            raise ValueError(f"EarlyStopping: patience is a number of epochs from 1 on, or None, not {patience!r}")
        if not 0 <= min_delta < math.inf:
            raise ValueError(f"EarlyStopping: min_delta is a number from 0 on, not {min_delta!r}")
        self.patience, self.monitor, self.mode, self.min_delta = patience, monitor, mode, float(min_delta)
        self.restore_best = restore_best
        self.best: float | None = None
        self.since = 0  # epochs since the best one

    def check(self, validates: bool) -> None:
        """ValueError for a value of validation data where there are none: before the first epoch, not after it."""
        if self.monitor is not None and self.monitor.startswith("val_") and not validates:
            raise ValueError(f"EarlyStopping: monitor={self.monitor!r} needs validation data: fit(train, validation)")

    def watched(self, values: Mapping[str, Any]) -> str:
        """The name of what counts, among what an epoch, or a history, has."""
        return self.monitor or ("val_loss" if "val_loss" in values else "loss")

    def monitored(self, values: Mapping[str, float]) -> float:
        """The value of an epoch that counts.  ValueError where there is none of that name."""
        name = self.watched(values)
        if name not in values:
            raise ValueError(f"EarlyStopping: monitor={name!r} is not among what an epoch has: {', '.join(values)}")
        return values[name]

    def better(self, values: Mapping[str, float]) -> bool:
        """Count an epoch.  Whether it is the best so far; NaN never is."""
        value = self.monitored(values)
        sign = 1 if self.mode == "min" else -1
        limit = math.inf if self.best is None else sign * self.best - self.min_delta
        if sign * value < limit:
            self.best, self.since = value, 0
            return True
        self.since += 1
        return False

    @property
    def over(self) -> bool:
        """Whether the patience is at its end."""
        return self.patience is not None and self.since >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """The best value, and the epochs since."""
        return {"best": self.best, "since": self.since}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there.  ValueError for anything else."""
        best, since = state_dict["best"], state_dict["since"]
        if not (best is None or isinstance(best, (int, float))) or not isinstance(since, int):
            raise ValueError(f"the best value is a number or None, and since when an integer, not {best!r}, {since!r}")
        self.best, self.since = best, since
