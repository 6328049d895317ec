"""NAdam."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from ..array import Array, xp
from .checks import option, by_letters, pair_of_betas
from .elementwise import Elementwise, average, average_square
from .state import Group


class NAdam(Elementwise):
    """Adam with Nesterov's momentum (Dozat 2016), on the schedule mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2).

    x ← x - lr (mu_(t+1) m / (1 - M mu_(t+1)) + (1 - mu_t) g / (1 - M)) / (√v̂ + eps), with M the product of all mu so
    far, m and v̂ as in Adam.  weight_decay adds weight_decay x to the gradient, or with decoupled_weight_decay shrinks x
    by lr weight_decay x; maximize goes uphill.  ValueError for an option out of range or NaN.
    """

    kind = "nadam"
    counts: ClassVar[dict[str, float]] = {"step": 0, "mu_product": 1.0}
    scratch = 1
    numbers = ("lr", "eps", "weight_decay", "momentum_decay")
    betas, eps, weight_decay = option("betas"), option("eps"), option("weight_decay")

    def __init__(
        self,
        variables: Iterable[Any] | None = None,
        learning_rate: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        maximize: bool = False,
        **clipping: float | None,
    ) -> None:
        options = {
            "lr": learning_rate, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize,
        }  # fmt: skip
        super().__init__(variables, options, **clipping)

    def check(self, group: Group) -> None:
        super().check(group)
        pair_of_betas("NAdam", group)

    def arrays(self, group: Group) -> dict[str, float]:
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0}

    def advance(self, counts: dict[str, Any], group: Group) -> dict[str, Any]:
        step = int(counts["step"]) + 1
        return {"step": step, "mu_product": float(counts["mu_product"]) * _momentum(group, step)}

    def values(self, group: Group) -> dict[str, Any]:
        return {**by_letters(group), "eps": group["eps"], "extra": group["momentum_decay"]}

    def rule(
        self, g: Array, state: Sequence[Array], work: Sequence[Array], group: Group, counts: dict[str, Any]
    ) -> None:
        lib, (m, v), (w,), (b1, b2) = xp(g), state, work, group["betas"]
        step, product = counts["step"], counts["mu_product"]
        average(lib, m, g, b1, w)
        average_square(lib, v, g, b2, w)
        now, later = _momentum(group, step), _momentum(group, step + 1)
        scale = math.sqrt(1 - b2**step)
        g *= group["lr"] * scale * (1 - now) / (1 - product)
        g += lib.multiply(m, group["lr"] * scale * later / (1 - product * later), out=w)
        lib.sqrt(v, out=w)
        w += group["eps"] * scale
        g /= w


def _momentum(group: Group, step: int) -> float:
    return group["betas"][0] * (1 - 0.5 * 0.96 ** (step * group["momentum_decay"]))
