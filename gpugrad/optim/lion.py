"""Lion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from ..array import Array, xp
from .checks import option, by_letters, pair_of_betas
from .elementwise import Elementwise, average
from .state import Group


class Lion(Elementwise):
    """x ← x - lr (sign(beta1 m + (1 - beta1) g) + weight_decay x), then m ← beta2 m + (1 - beta2) g (Chen et al. 2023).

    Every element moves by lr, so lr is some ten times smaller than Adam's, and weight_decay as much larger; maximize
    goes uphill.  ValueError for an option out of range or NaN.
    """

    kind = "lion"
    decoupled = True
    counts: ClassVar[dict[str, float]] = {}
    scratch = 2
    numbers = ("lr", "weight_decay")
    betas, weight_decay = option("betas"), option("weight_decay")

    def __init__(
        self,
        variables: Iterable[Any] | None = None,
        learning_rate: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        maximize: bool = False,
        **clipping: float | None,
    ) -> None:
        options = {"lr": learning_rate, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(variables, options, **clipping)

    def check(self, group: Group) -> None:
        super().check(group)
        pair_of_betas("Lion", group)

    def arrays(self, group: Group) -> dict[str, float]:
        return {"exp_avg": 0.0}

    def advance(self, counts: dict[str, Any], group: Group) -> dict[str, Any]:
        return {}

    def values(self, group: Group) -> dict[str, Any]:
        return {**by_letters(group)}

    def rule(
        self, g: Array, state: Sequence[Array], work: Sequence[Array], group: Group, counts: dict[str, Any]
    ) -> None:
        lib, (m,), (w, other), (b1, b2) = xp(g), state, work, group["betas"]
        lib.multiply(m, b1, out=w)
        w += lib.multiply(g, 1 - b1, out=other)
        average(lib, m, g, b2, other)
        lib.sign(w, out=g)
        g *= group["lr"]
