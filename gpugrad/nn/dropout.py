"""dropout and Dropout."""

from __future__ import annotations

from typing import Any

from ..ops.discrete import dropout as dropout
from ..ops.math import multiply
from .module import Module


class Dropout(Module):
    """In training, each element is zero with probability p and the others are larger by 1 / (1 - p)."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p = p

    def forward(self, x: Any) -> Any:
        if not self.training:
            return x
        return dropout(x, self.p) if self.p < 1 else multiply(x, 0.0)
