"""Means of what a loop measures, kept on the device: nothing waits for it until somebody reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..array import library
from ..core import Tensor, raw


def number(name: str, value: Any) -> Any:
    """A value as a float, or as a float64 array on its device.  ValueError unless it is one number."""
    a = raw(value) if isinstance(value, Tensor) else value
    if library(a) is None or isinstance(a, np.generic):
        return float(a)
    if a.size != 1:
        raise ValueError(f"{name!r} is not one number but has shape {list(a.shape)}: take its mean, or sum")
    return float(a) if isinstance(a, np.ndarray) else a.reshape(()).astype(np.float64)


class Means:
    """Sums of values times rows, by name; float64, so that they come back from a file to the bit."""

    def __init__(self) -> None:
        self.totals: dict[str, Any] = {}
        self.rows = 0

    def add(self, values: Mapping[str, Any], rows: int) -> None:
        """Count the means over so many rows."""
        for name, value in values.items():
            self.totals[name] = self.totals.get(name, 0.0) + number(name, value) * rows
        self.rows += rows

    def empty_into(self, other: Means) -> None:
        """Hand all that was counted over, as numbers."""
        for name, total in self.totals.items():
            other.totals[name] = other.totals.get(name, 0.0) + float(total)
        other.rows += self.rows
        self.__init__()

    def finite(self, name: str) -> bool:
        """Whether all that was counted under a name is finite."""
        return math.isfinite(float(self.totals.get(name, 0.0)))

    def read(self) -> dict[str, float]:
        """The means.  Waits for the device."""
        return {name: float(total) / self.rows for name, total in self.totals.items()}

    def state_dict(self) -> dict[str, Any]:
        """The sums, as numbers."""
        return {"totals": {name: float(total) for name, total in self.totals.items()}, "rows": self.rows}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.totals, self.rows = dict(state_dict["totals"]), int(state_dict["rows"])
