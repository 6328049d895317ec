"""Adagrad."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..array import Array, xp
from .optimizer import Group, Optimizer, option, refuse_complex, root


class Adagrad(Optimizer):
    """x ← x - lr g / (√v + eps), with v ← v + g² (Duchi et al. 2011).

    initial_accumulator_value is where v starts; lr_decay divides lr by 1 + lr_decay (step - 1); weight_decay adds
    weight_decay x to the gradient; maximize goes uphill.  ValueError for an option out of range or NaN.
    """

    eps_inside = False  # √(v + eps), as Keras has it
    numbers = ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")
    lr_decay, eps = option("lr_decay"), option("eps")

    def __init__(
        self,
        variables: Iterable | None = None,
        learning_rate: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        maximize: bool = False,
        **clipping: float | None,
    ) -> None:
        options = {
            "lr": learning_rate, "lr_decay": lr_decay, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "eps": eps, "maximize": maximize,
        }  # fmt: skip
        super().__init__(variables, options, **clipping)

    def init(self, x: Array, group: Group) -> dict[str, Any]:
        refuse_complex("Adagrad", x)
        return {"step": 0, "sum": xp(x).full_like(x, group["initial_accumulator_value"])}

    def update(self, x: Array, g: Array, state: dict[str, Any], group: Group) -> Array:
        v = state["sum"]
        v += g * g
        rate = group["lr"] / (1 + group["lr_decay"] * state["step"])
        state["step"] += 1
        return x - g / root(v, group["eps"], self.eps_inside) * x.dtype.type(rate)
