"""Adamax."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..array import Array, xp
from .checks import option, by_letters, pair_of_betas
from .elementwise import Elementwise, average
from .state import Group


class Adamax(Elementwise):
    """Adam with the largest gradient in the place of √v̂ (Kingma & Ba 2014, section 7.1).

    x ← x - lr m̂ / u, with u ← max(beta2 u, |g| + eps).  weight_decay adds weight_decay x to the gradient; maximize goes
    uphill.  ValueError for an option out of range or NaN.
    """

    kind = "adamax"
    scratch = 1
    numbers = ("lr", "eps", "weight_decay")
    betas, eps, weight_decay = option("betas"), option("eps"), option("weight_decay")

    def __init__(
        self,
        variables: Iterable[Any] | None = None,
        learning_rate: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        maximize: bool = False,
        **clipping: float | None,
    ) -> None:
        options = {"lr": learning_rate, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(variables, options, **clipping)

    def check(self, group: Group) -> None:
        super().check(group)
        pair_of_betas("Adamax", group)

    def arrays(self, group: Group) -> dict[str, float]:
        return {"exp_avg": 0.0, "exp_inf": 0.0}

    def values(self, group: Group) -> dict[str, Any]:
        return {**by_letters(group), "eps": group["eps"]}

    def rule(
        self, g: Array, state: Sequence[Array], work: Sequence[Array], group: Group, counts: dict[str, Any]
    ) -> None:
        lib, (m, u), (w,), (b1, b2) = xp(g), state, work, group["betas"]
        average(lib, m, g, b1, w)
        lib.abs(g, out=g)
        g += group["eps"]
        u *= b2
        lib.maximum(u, g, out=u)
        lib.divide(m, u, out=g)
        g *= group["lr"] / (1 - b1 ** counts["step"])
