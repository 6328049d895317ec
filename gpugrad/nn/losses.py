"""RowLoss: a loss as an object, made of a function that answers a value a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from ..ops import math, reduce

_REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "none", None)


class RowLoss:
    """`f(target, prediction)` for each row, averaged over the batch; "sum": added up, "none": a value a row.

    `options` go to f; `sample_weight` multiplies the rows.  ValueError for another reduction.
    """

    f: ClassVar[Callable[..., Any]]

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = None, **options: Any) -> None:
        if reduction not in _REDUCTIONS:
            raise ValueError(f"Invalid value for argument `reduction`: {reduction!r}; known are {_REDUCTIONS}")
        self.reduction, self.options = reduction, options

    @classmethod
    def of(cls, f: Callable[..., Any]) -> Any:
        """f as such a loss; one that is, as it is."""
        return f if isinstance(f, RowLoss) else type(getattr(f, "__name__", "loss"), (cls,), {"f": staticmethod(f)})()

    def __call__(self, target: Any, prediction: Any, sample_weight: Any = None) -> Any:
        rows = type(self).f(target, prediction, **self.options)
        if sample_weight is not None:
            rows = math.multiply(rows, sample_weight)
        if self.reduction in ("none", None):
            return rows
        return reduce.sum(rows) if self.reduction == "sum" else reduce.mean(rows)
