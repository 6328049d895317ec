"""Adam."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..array import Array, xp
from .optimizer import Optimizer, check, decayed


class Adam(Optimizer):
    """Adam (Kingma & Ba 2014): x ← x - lr m̂ / (sqrt(v̂) + eps), with bias-corrected running means of g and g².

    weight_decay adds weight_decay x to the gradient.  ValueError for an option out of range or NaN.
    """

    decoupled = False  # whether weight_decay shrinks x itself, instead of adding to the gradient
    eps_unscaled = False  # x ← x - lr' m / (√v + eps), with the bias corrections in lr' alone, as Keras has it

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
        if self.weight_decay and self.decoupled:
            x = x * kind(1 - self.learning_rate * self.weight_decay)
        else:
            g = decayed(x, g, self.weight_decay)
        state["step"] += 1
        m, v = state["m"], state["v"]
        m *= kind(b1)
        m += g * kind(1 - b1)
        v *= kind(b2)
        v += g * g * kind(1 - b2)
        size = self.learning_rate / (1 - b1 ** state["step"])
        scale = math.sqrt(1 - b2 ** state["step"])
        root = xp(x).sqrt(v)
        if self.eps_unscaled:
            size *= scale
        else:
            root *= kind(1 / scale)
        root += kind(self.eps)
        return x - m / root * kind(size)


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
    ) -> None:
        super().__init__(variables, learning_rate, betas, eps, weight_decay)
