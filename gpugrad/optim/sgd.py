"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..array import Array, xp
from .optimizer import Optimizer, check, decayed


class SGD(Optimizer):
    """x ← x - lr v, with v the gradient, or its running sum v ← momentum v + g (Sutskever et al. 2013 for nesterov).

    weight_decay adds weight_decay x to the gradient.  ValueError for a negative or NaN option, and for nesterov
    without momentum.
    """

    def __init__(
        self,
        variables: Iterable[Any] | None = None,
        learning_rate: float = 1e-2,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(variables, learning_rate)
        self.momentum = check("momentum", momentum)
        self.weight_decay = check("weight_decay", weight_decay)
        self.nesterov = nesterov
        if nesterov and not momentum:
            raise ValueError("Nesterov momentum requires a momentum: write SGD(..., momentum=0.9, nesterov=True)")

    def init(self, x: Array) -> dict[str, Array]:
        return {"momentum": xp(x).zeros_like(x)} if self.momentum else {}

    def update(self, x: Array, g: Array, state: dict[str, Array], step: int) -> Array:
        g = decayed(x, g, self.weight_decay)
        if self.momentum:
            v = state.get("momentum")
            if v is None:  # set after a step without
                v = state["momentum"] = xp(x).zeros_like(x)
            v *= v.dtype.type(self.momentum)
            v += g
            g = g + v * v.dtype.type(self.momentum) if self.nesterov else v
        return x - g * g.dtype.type(self.learning_rate)
