"""Means of what a loop measures, kept on the device: nothing waits for it until somebody reads them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from operator import index
from typing import Any

import numpy as np

from ..array import device_of, library
from ..core import Tensor, raw
from ..dtypes import is_inexact, wide


def number(name: str, value: Any) -> Any:
    """A value as a float, or as a float64 array on its device.  ValueError unless it is one number."""
    a = raw(value) if isinstance(value, Tensor) else value
    if library(a) is None or isinstance(a, np.generic):
        try:
            return float(a)
        except (TypeError, ValueError):
            raise TypeError(f"{name!r} is to be one number, and is {a!r:.60}") from None
    if a.size != 1:
        raise ValueError(f"{name!r} is not one number but has shape {list(a.shape)}: take its mean, or sum")
    return float(a) if isinstance(a, np.ndarray) else a.reshape(()).astype(np.float64)


def finite(variables: Iterable[Tensor]) -> bool:
    """Whether all elements are finite.  Waits for the device, once."""
    found: dict[Any, Any] = {}
    with np.errstate(all="ignore"):
        for a in map(raw, variables):
            if is_inexact(a.dtype) and a.size:
                total = a.astype(wide(a.dtype), copy=False).sum() * 0.0  # NaN for what is not finite
                where = str(device_of(a))
                found[where] = found.get(where, 0.0) + abs(total)
    return not any([math.isnan(float(total)) for total in found.values()])


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

    def count(self, other: Means) -> None:
        """Count what another has counted, where it is."""
        for name, total in other.totals.items():
            self.totals[name] = self.totals.get(name, 0.0) + total
        self.rows += other.rows

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
        """Go on from there.  ValueError for anything else."""
        totals, rows = (state_dict[name] for name in ("totals", "rows"))
        if not isinstance(totals, Mapping) or not all([isinstance(x, float) for x in totals.values()]):
            raise ValueError(f"means are numbers by name, not {totals!r:.60}")
        self.totals, self.rows = dict(totals), index(rows)
