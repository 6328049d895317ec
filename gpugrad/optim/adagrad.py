"""Adagrad."""

from __future__ import annotations

from collections.abc import Iterable

from ..array import Array, xp
from .optimizer import Optimizer, check, decayed, root


class Adagrad(Optimizer):
    """x ← x - lr g / (√v + eps), with v ← v + g² (Duchi et al. 2011).

    initial_accumulator_value is where v starts; lr_decay divides lr by 1 + lr_decay (step - 1); weight_decay adds
    weight_decay x to the gradient.  ValueError for an option out of range or NaN.
    """

    eps_inside = False  # √(v + eps), as Keras has it

    def __init__(
        self,
        variables: Iterable | None = None,
        learning_rate: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        super().__init__(variables, learning_rate)
        self.lr_decay, self.weight_decay = check("lr_decay", lr_decay), check("weight_decay", weight_decay)
        self.initial_accumulator_value = check("initial_accumulator_value", initial_accumulator_value)
        self.eps = check("eps", eps)

    def init(self, x: Array) -> dict[str, Array]:
        return {"v": xp(x).full_like(x, self.initial_accumulator_value)}

    def update(self, x: Array, g: Array, state: dict[str, Array], step: int) -> Array:
        kind = x.dtype.type
        g = decayed(x, g, self.weight_decay)
        v = state["v"]
        v += g * g
        return x - g / root(v, self.eps, self.eps_inside) * kind(self.learning_rate / (1 + self.lr_decay * (step - 1)))
