"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..array import Array, xp
from .checks import option
from .elementwise import Elementwise, average_square, root
from .state import Group


class RMSprop(Elementwise):
    """x ← x - lr g / (√v + eps), with v ← alpha v + (1 - alpha) g² (Hinton 2012, lecture 6).

    centered subtracts the square of the running mean of g from v, down to 0; momentum gathers the steps; weight_decay
    adds weight_decay x to the gradient; maximize goes uphill.  ValueError for an option out of range or NaN.
    """

    kind = "rmsprop"
    scratch = 1
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

    def arrays(self, group: Group) -> dict[str, float]:
        names = {"square_avg": True, "grad_avg": group["centered"], "momentum_buffer": group["momentum"]}
        return {name: 0.0 for name, wanted in names.items() if wanted}

    def values(self, group: Group) -> dict[str, Any]:
        return {
            "a": group["alpha"], "b": 0.0 if group["centered"] else 1.0, "eps": group["eps"],
            "extra": group["momentum"], "option": self.eps_inside,
        }  # fmt: skip

    def rule(
        self, g: Array, state: Sequence[Array], work: Sequence[Array], group: Group, counts: dict[str, Any]
    ) -> None:
        lib, (v, *more), (w,), alpha = xp(g), state, work, group["alpha"]
        average_square(lib, v, g, alpha, w)
        if group["centered"]:
            mean = more.pop(0)
            lib.subtract(g, mean, out=w)  # as a difference: of gradients that stay the same, mean² is below v
            w *= 1 - alpha
            mean += w
            lib.multiply(mean, mean, out=w)
            v = lib.maximum(lib.subtract(v, w, out=w), 0, out=w)
        root(lib, v, group["eps"], self.eps_inside, w)
        g /= w
        if not group["momentum"]:
            g *= group["lr"]
            return
        (m,) = more
        m *= group["momentum"]
        if self.eps_inside:  # Keras gathers steps, the rate in them
            g *= group["lr"]
        m += g
        lib.multiply(m, 1.0 if self.eps_inside else group["lr"], out=g)
