"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable

from ..array import Array, xp
from .optimizer import Optimizer, check, decayed, root


class RMSprop(Optimizer):
    """x ← x - lr g / (√v + eps), with v ← alpha v + (1 - alpha) g² (Hinton 2012, lecture 6).

    centered subtracts the square of the running mean of g from v; momentum gathers the steps; weight_decay adds
    weight_decay x to the gradient.  ValueError for an option out of range or NaN.
    """

    eps_inside = False  # √(v + eps), as Keras has it

    def __init__(
        self,
        variables: Iterable | None = None,
        learning_rate: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        super().__init__(variables, learning_rate)
        self.alpha, self.eps = check("alpha", alpha), check("eps", eps)
        self.weight_decay, self.momentum = check("weight_decay", weight_decay), check("momentum", momentum)
        self.centered = centered

    def init(self, x: Array) -> dict[str, Array]:
        names = ["v", *["mean"] * self.centered, *["momentum"] * bool(self.momentum)]
        return {n: xp(x).zeros_like(x) for n in names}

    def update(self, x: Array, g: Array, state: dict[str, Array], step: int) -> Array:
        kind = x.dtype.type
        g = decayed(x, g, self.weight_decay)
        v = state["v"]
        v *= kind(self.alpha)
        v += g * g * kind(1 - self.alpha)
        if self.centered:
            mean = state["mean"]
            mean *= kind(self.alpha)
            mean += g * kind(1 - self.alpha)
            v = v - mean * mean
        delta = g / root(v, self.eps, self.eps_inside)
        if self.momentum:
            m = state["momentum"]
            m *= kind(self.momentum)
            m += delta * kind(self.learning_rate) if self.eps_inside else delta
            return x - m if self.eps_inside else x - m * kind(self.learning_rate)
        return x - delta * kind(self.learning_rate)
