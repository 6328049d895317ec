"""Adam."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from .. import fused
from ..array import Array, xp
from .checks import option, by_letters, pair_of_betas
from .elementwise import Elementwise
from .launches import Kernel
from .state import Group


class Adam(Elementwise):
    """Adam (Kingma & Ba 2014): x ← x - lr m̂ / (sqrt(v̂) + eps), with bias-corrected running means of g and g².

    weight_decay adds weight_decay x to the gradient; amsgrad takes the largest v so far (Reddi et al. 2018); maximize
    goes uphill.  ValueError for an option out of range or NaN.
    """

    kind = "amsgrad"
    eps_unscaled = False  # x ← x - lr' m / (√v + eps), with the bias corrections in lr' alone, as Keras has it
    numbers = ("lr", "eps", "weight_decay")
    betas, eps, weight_decay = option("betas"), option("eps"), option("weight_decay")

    def __init__(
        self,
        variables: Iterable[Any] | None = None,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        maximize: bool = False,
        **clipping: float | None,
    ) -> None:
        options = {
            "lr": learning_rate, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(variables, options, **clipping)

    def check(self, group: Group) -> None:
        super().check(group)
        pair_of_betas("Adam", group)

    def arrays(self, group: Group) -> dict[str, float]:
        return dict.fromkeys(["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * group["amsgrad"], 0.0)

    def factor(self, group: Group) -> float:
        return 1 - group["betas"][0]

    def rule(
        self, g: Array, state: Sequence[Array], work: Sequence[Array], group: Group, counts: dict[str, Any]
    ) -> None:
        lib, (m, v, *top), (b1, b2), step = xp(g), state, group["betas"], counts["step"]
        m *= b1
        m += g
        v *= b2
        lib.multiply(g, g, out=g)
        g *= (1 - b2) / (1 - b1) ** 2  # of the gradient itself, which `factor` has made smaller
        v += g
        for most in top:
            v = lib.maximum(most, v, out=most)
        # lr m̂ / (√v̂ + eps) with one scalar for both corrections of the bias
        scale = math.sqrt(1 - b2**step)
        lib.sqrt(v, out=g)
        g += group["eps"] if self.eps_unscaled else group["eps"] * scale
        lib.divide(m, g, out=g)
        g *= group["lr"] * scale / (1 - b1**step)

    def values(self, group: Group) -> dict[str, Any]:
        return {**by_letters(group), "eps": group["eps"], "option": self.eps_unscaled}

    def kernel(self, group: Group) -> Kernel | None:
        if group["amsgrad"]:
            return super().kernel(group)
        options = {
            "betas": group["betas"], "eps": group["eps"], "decay": group["weight_decay"], "decoupled": self.decoupled,
            "raw_eps": self.eps_unscaled, "maximize": group["maximize"],
        }  # fmt: skip
        return Kernel(fused.adam, ("exp_avg", "exp_avg_sq"), options)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2017): x shrinks by lr weight_decay x before the update."""

    decoupled = True

    def __init__(
        self,
        variables: Iterable[Any] | None = None,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        maximize: bool = False,
        **clipping: float | None,
    ) -> None:
        super().__init__(variables, learning_rate, betas, eps, weight_decay, amsgrad, maximize, **clipping)
