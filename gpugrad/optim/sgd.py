"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import fused
from ..array import Array, xp
from .launches import Kernel
from .optimizer import Group, Optimizer, option


class SGD(Optimizer):
    """x ← x - lr v, with v the gradient, or its running sum v ← momentum v + g (Sutskever et al. 2013 for nesterov).

    weight_decay adds weight_decay x to the gradient; from the second step on, dampening makes g smaller in the sum;
    maximize goes uphill.  ValueError for a negative or NaN option, and for nesterov without momentum.
    """

    numbers = ("lr", "momentum", "dampening", "weight_decay")
    momentum, dampening, weight_decay = option("momentum"), option("dampening"), option("weight_decay")

    def __init__(
        self,
        variables: Iterable[Any] | None = None,
        learning_rate: float = 1e-2,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        dampening: float = 0.0,
        maximize: bool = False,
        **clipping: float | None,
    ) -> None:
        options = {
            "lr": learning_rate, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize,
        }  # fmt: skip
        super().__init__(variables, options, **clipping)

    def check(self, group: Group) -> None:
        super().check(group)
        if group["nesterov"] and (not group["momentum"] or group["dampening"]):
            raise ValueError(
                "Nesterov momentum requires a momentum and zero dampening: write SGD(..., momentum=0.9, nesterov=True)"
            )

    def update(self, x: Array, g: Array, state: dict[str, Array], group: Group) -> Array:
        if momentum := group["momentum"]:
            v = state.get("momentum_buffer")
            if v is None:
                v = state["momentum_buffer"] = xp(g).array(g)
            else:
                v *= v.dtype.type(momentum)
                v += g * g.dtype.type(1 - group["dampening"]) if group["dampening"] else g
            g = g + v * v.dtype.type(momentum) if group["nesterov"] else v
        return x - g * g.dtype.type(group["lr"])

    def kernel(self, group: Group) -> Kernel | None:
        if group["dampening"]:
            return None
        options = {
            "momentum": group["momentum"], "decay": group["weight_decay"], "nesterov": group["nesterov"],
            "decoupled": self.decoupled, "maximize": group["maximize"],
        }  # fmt: skip
        return Kernel(fused.sgd, ("momentum_buffer",) if group["momentum"] else (), options)
