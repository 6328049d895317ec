"""Adam."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from .. import fused
from ..array import Array, xp
from .launches import Kernel
from .optimizer import Group, Optimizer, number, option, refuse_complex
from .state import kept


class Adam(Optimizer):
    """Adam (Kingma & Ba 2014): x ← x - lr m̂ / (sqrt(v̂) + eps), with bias-corrected running means of g and g².

    weight_decay adds weight_decay x to the gradient; amsgrad takes the largest v so far (Reddi et al. 2018); maximize
    goes uphill.  ValueError for an option out of range or NaN.
    """

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
        betas = group["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TypeError(f"Adam: betas is a pair of numbers, such as (0.9, 0.999), not {betas!r}")
        group["betas"] = tuple([number(f"beta parameter at index {i}", b, 1.0) for i, b in enumerate(betas)])

    def init(self, x: Array, group: Group) -> dict[str, Any]:
        refuse_complex("Adam", x)
        return {"step": 0, "exp_avg": xp(x).zeros_like(x), "exp_avg_sq": xp(x).zeros_like(x)}

    def update(self, x: Array, g: Array, state: dict[str, Any], group: Group) -> Array:
        b1, b2 = group["betas"]
        kind = x.dtype.type
        step = state["step"] = int(state["step"]) + 1
        m, v = state["exp_avg"], state["exp_avg_sq"]
        m *= kind(b1)
        m += g * kind(1 - b1)
        v *= kind(b2)
        v += g * g * kind(1 - b2)
        if group["amsgrad"]:
            top = kept(state, "max_exp_avg_sq", x)
            v = xp(x).maximum(top, v, out=top)
        size = group["lr"] / (1 - b1**step)
        scale = math.sqrt(1 - b2**step)
        root = xp(x).sqrt(v)
        if self.eps_unscaled:
            size *= scale
        else:
            root *= kind(1 / scale)
        root += kind(group["eps"])
        return x - m / root * kind(size)

    def kernel(self, group: Group) -> Kernel | None:
        if group["amsgrad"]:
            return None
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
