"""Adagrad."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..array import Array, xp
from .checks import option
from .elementwise import Elementwise, root
from .state import Group


class Adagrad(Elementwise):
    """x ← x - lr g / (√v + eps), with v ← v + g² (Duchi et al. 2011).

    initial_accumulator_value is where v starts; lr_decay divides lr by 1 + lr_decay (step - 1); weight_decay adds
    weight_decay x to the gradient; maximize goes uphill.  ValueError for an option out of range or NaN.
    """

    kind = "adagrad"
    scratch = 1
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

    def arrays(self, group: Group) -> dict[str, float]:
        return {"sum": group["initial_accumulator_value"]}

    def values(self, group: Group) -> dict[str, Any]:
        return {"eps": group["eps"], "extra": group["lr_decay"], "option": self.eps_inside}

    def rule(
        self, g: Array, state: Sequence[Array], work: Sequence[Array], group: Group, counts: dict[str, Any]
    ) -> None:
        lib, (v,), (w,) = xp(g), state, work
        v += lib.multiply(g, g, out=w)
        root(lib, v, group["eps"], self.eps_inside, w)
        g /= w
        g *= group["lr"] / (1 + group["lr_decay"] * (counts["step"] - 1))
