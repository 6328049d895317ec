"""RowLoss: a loss as an object, made of a function that answers a value a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..core import raw
from ..forward import boxed
from ..ops import math, reduce
from ..ops.shape import squeeze

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
            rows = math.multiply(rows, _fitted(sample_weight, rows))
        if self.reduction in ("none", None):
            return rows
        return reduce.sum(rows) if self.reduction == "sum" else reduce.mean(rows)


def _fitted(weight: Any, rows: Any) -> Any:
    """A weight a row: without a last axis of length 1 too many.  ValueError for what does not broadcast to the rows."""
    w, shape = boxed(weight, "sample_weight"), raw(rows).shape
    if raw(w).ndim == len(shape) + 1 and raw(w).shape[-1] == 1:
        w = squeeze(w, axis=-1)
    if np.broadcast_shapes(raw(w).shape, shape) != shape:
        raise ValueError(f"sample_weight has shape {raw(w).shape}, and the loss one value for each of {shape}")
    return w
