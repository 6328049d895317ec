"""Adadelta."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..array import Array, xp
from .checks import option
from .elementwise import Elementwise, average_square, root
from .state import Group


class Adadelta(Elementwise):
    """x ← x - lr d, with d = g √(a + eps) / √(v + eps) (Zeiler 2012).

    v and a are running means of g² and d²: v ← rho v + (1 - rho) g².  weight_decay adds weight_decay x to the gradient;
    maximize goes uphill.  ValueError for an option out of range or NaN.
    """

    kind = "adadelta"
    scratch = 1
    numbers = ("lr", "rho", "eps", "weight_decay")
    rho, eps, weight_decay = option("rho"), option("eps"), option("weight_decay")

    def __init__(
        self,
        variables: Iterable[Any] | None = None,
        learning_rate: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        maximize: bool = False,
        **clipping: float | None,
    ) -> None:
        options = {"lr": learning_rate, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(variables, options, **clipping)

    def check(self, group: Group) -> None:
        super().check(group)
        if group["rho"] > 1:
            raise ValueError(f"Invalid rho value: {group['rho']!r}; it must be a number from 0 to 1")

    def arrays(self, group: Group) -> dict[str, float]:
        return {"square_avg": 0.0, "acc_delta": 0.0}

    def values(self, group: Group) -> dict[str, Any]:
        return {"a": group["rho"], "eps": group["eps"]}

    def rule(
        self, g: Array, state: Sequence[Array], work: Sequence[Array], group: Group, counts: dict[str, Any]
    ) -> None:
        lib, (v, a), (w,), rho, eps = xp(g), state, work, group["rho"], group["eps"]
        average_square(lib, v, g, rho, w)
        root(lib, v, eps, True, w)
        g /= w
        root(lib, a, eps, True, w)
        g *= w
        average_square(lib, a, g, rho, w)
        g *= group["lr"]
