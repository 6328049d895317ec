"""LAMB."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import fused
from ..array import Array, xp
from .checks import option, pair_of_betas, refuse_complex
from .launches import Kernel
from .optimizer import Optimizer
from .state import Group


class LAMB(Optimizer):
    """Adam whose step for each variable is as long as a share of the variable, for large batches (You et al. 2020).

    x ← x - lr |x| / |r| r, with r = m̂ / (√v̂ + eps) + weight_decay x; lengths are of whole variables, and where one is
    0, x ← x - lr r.  maximize goes uphill.  ValueError for an option out of range or NaN.
    """

    numbers = ("lr", "eps", "weight_decay")
    betas, eps, weight_decay = option("betas"), option("eps"), option("weight_decay")

    def __init__(
        self,
        variables: Iterable[Any] | None = None,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        maximize: bool = False,
        **clipping: float | None,
    ) -> None:
        options = {"lr": learning_rate, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(variables, options, **clipping)

    def check(self, group: Group) -> None:
        super().check(group)
        pair_of_betas("LAMB", group)

    def decay(self, group: Group) -> tuple[float, float]:
        return 0.0, 1.0  # part of r

    def kernel(self, group: Group) -> Kernel:
        options = {k: group[k] for k in ("betas", "eps", "maximize")}
        return Kernel(fused.lamb, ("exp_avg", "exp_avg_sq"), {**options, "decay": group["weight_decay"]})

    def init(self, x: Array, group: Group) -> dict[str, Any]:
        refuse_complex("LAMB", x)
        return {"step": 0, "exp_avg": xp(x).zeros_like(x), "exp_avg_sq": xp(x).zeros_like(x)}

    def update(self, x: Array, g: Array, state: dict[str, Any], group: Group) -> Array:
        lib, kind, (b1, b2) = xp(x), x.dtype.type, group["betas"]
        step = state["step"] = int(state["step"]) + 1
        m, v = state["exp_avg"], state["exp_avg_sq"]
        m *= kind(b1)
        m += g * kind(1 - b1)
        v *= kind(b2)
        v += g * g * kind(1 - b2)
        r = m / kind(1 - b1**step) / (lib.sqrt(v / kind(1 - b2**step)) + kind(group["eps"]))
        if group["weight_decay"]:
            r = r + x * kind(group["weight_decay"])
        ours, theirs = lib.sqrt(lib.sum(x * x)), lib.sqrt(lib.sum(r * r))
        share = lib.where((ours > 0) & (theirs > 0), ours / lib.where(theirs > 0, theirs, kind(1)), kind(1))
        return x - r * (share * kind(group["lr"]))
