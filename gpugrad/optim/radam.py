"""RAdam."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ..array import Array, xp
from .checks import option, by_letters, pair_of_betas
from .elementwise import Elementwise, average, average_square
from .state import Group


class RAdam(Elementwise):
    """Adam with a rectified rate (Liu et al. 2020): momentum alone until the variance of v̂ can be told.

    With rho = 2 / (1 - beta2) - 1 and rho_t = rho - 2 t beta2^t / (1 - beta2^t), above rho_t = 5:
    x ← x - lr m̂ r / (√v̂ + eps'), r² = (rho_t - 4)(rho_t - 2) rho / ((rho - 4)(rho - 2) rho_t), eps' beside
    the uncorrected root, as PyTorch has it; else x ← x - lr m̂.  weight_decay adds weight_decay x to the gradient, or with
    decoupled_weight_decay shrinks x by lr weight_decay x; maximize goes uphill.  ValueError for an option out of range.
    """

    numbers = ("lr", "eps", "weight_decay")
    betas, eps, weight_decay = option("betas"), option("eps"), option("weight_decay")
    kind = "radam"
    scratch = 1

    def __init__(
        self,
        variables: Iterable[Any] | None = None,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        maximize: bool = False,
        **clipping: float | None,
    ) -> None:
        options = {
            "lr": learning_rate, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize,
        }  # fmt: skip
        super().__init__(variables, options, **clipping)

    def check(self, group: Group) -> None:
        super().check(group)
        pair_of_betas("RAdam", group)

    def arrays(self, group: Group) -> dict[str, float]:
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0}

    def values(self, group: Group) -> dict[str, Any]:
        return {**by_letters(group), "eps": group["eps"]}

    def rule(
        self, g: Array, state: Sequence[Array], work: Sequence[Array], group: Group, counts: dict[str, Any]
    ) -> None:
        lib, (m, v), (w,), (b1, b2), step = xp(g), state, work, group["betas"], counts["step"]
        average(lib, m, g, b1, w)
        average_square(lib, v, g, b2, w)
        size, left = group["lr"] / (1 - b1**step), 1 - b2**step
        rho = 2 / (1 - b2) - 1
        now = rho - 2 * step * b2**step / left
        if now <= 5:
            lib.multiply(m, size, out=g)
            return
        lib.sqrt(v, out=g)
        g += group["eps"]
        lib.divide(m, g, out=g)
        g *= size * math.sqrt(left * (now - 4) * (now - 2) * rho / ((rho - 4) * (rho - 2) * now))
