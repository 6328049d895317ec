"""Adam."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..array import Array, xp
from .optimizer import Optimizer, check


class Adam(Optimizer):
    """Adam (Kingma & Ba 2014): x ← x - lr m̂ / (sqrt(v̂) + eps), with bias-corrected running means of g and g².

    weight_decay adds weight_decay x to the gradient.  ValueError for an option out of range or NaN.
    """

    def __init__(
        self,
        variables: Iterable[Any] | None = None,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(variables, learning_rate)
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TypeError(f"Adam: betas is a pair of numbers, such as (0.9, 0.999), not {betas!r}")
        self.betas = check("beta_1", betas[0], high=1.0), check("beta_2", betas[1], high=1.0)
        self.eps = check("eps", eps)
        self.weight_decay = check("weight_decay", weight_decay)

    def init(self, x: Array) -> dict[str, Array]:
        if x.dtype.kind == "c":
            raise TypeError(
                "Adam: complex variables are not supported; keep real and imaginary part in two, or use SGD"
            )
        return {"m": xp(x).zeros_like(x), "v": xp(x).zeros_like(x), "step": 0}

    def update(self, x: Array, g: Array, state: dict[str, Array], step: int) -> Array:
        b1, b2 = self.betas
        kind = x.dtype.type
        if self.weight_decay:
            g = g + x * kind(self.weight_decay)
        state["step"] += 1
        m, v = state["m"], state["v"]
        m *= kind(b1)
        m += g * kind(1 - b1)
        v *= kind(b2)
        v += g * g * kind(1 - b2)
        size = self.learning_rate / (1 - b1 ** state["step"])
        root = xp(x).sqrt(v)
        root *= kind(1 / math.sqrt(1 - b2 ** state["step"]))
        root += kind(self.eps)
        return x - m / root * kind(size)
