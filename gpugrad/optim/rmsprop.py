"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..array import Array
from .optimizer import Group, Optimizer, option, refuse_complex, root
from .state import kept


class RMSprop(Optimizer):
    """x ← x - lr g / (√v + eps), with v ← alpha v + (1 - alpha) g² (Hinton 2012, lecture 6).

    centered subtracts the square of the running mean of g from v; momentum gathers the steps; weight_decay adds
    weight_decay x to the gradient; maximize goes uphill.  ValueError for an option out of range or NaN.
    """

    eps_inside = False  # √(v + eps), as Keras has it
    numbers = ("lr", "alpha", "eps", "weight_decay", "momentum")
    alpha, eps, momentum = option("alpha"), option("eps"), option("momentum")

    def __init__(
        self,
        variables: Iterable | None = None,
        learning_rate: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        maximize: bool = False,
        **clipping: float | None,
    ) -> None:
        options = {
            "lr": learning_rate, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum,
            "centered": centered, "maximize": maximize,
        }  # fmt: skip
        super().__init__(variables, options, **clipping)

    def init(self, x: Array, group: Group) -> dict[str, Any]:
        refuse_complex("RMSprop", x)
        return {}

    def update(self, x: Array, g: Array, state: dict[str, Array], group: Group) -> Array:
        kind, rate, alpha = x.dtype.type, group["lr"], group["alpha"]
        v = kept(state, "square_avg", x)
        v *= kind(alpha)
        v += g * g * kind(1 - alpha)
        if group["centered"]:
            mean = kept(state, "grad_avg", x)
            mean *= kind(alpha)
            mean += g * kind(1 - alpha)
            v = v - mean * mean
        delta = g / root(v, group["eps"], self.eps_inside)
        if group["momentum"]:
            m = kept(state, "momentum_buffer", x)
            m *= kind(group["momentum"])
            m += delta * kind(rate) if self.eps_inside else delta
            return x - m if self.eps_inside else x - m * kind(rate)
        return x - delta * kind(rate)
