"""Muon."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..array import Array, xp
from .adam import AdamW
from .checks import option, refuse_complex
from .optimizer import Optimizer
from .state import Group, kept

_RATES = {  # by the shape, what the learning rate is multiplied by
    "original": lambda rows, cols: math.sqrt(max(1, rows / cols)),
    "match_rms_adamw": lambda rows, cols: 0.2 * math.sqrt(max(rows, cols)),
}


class Muon(AdamW):
    """Momentum made orthogonal, for matrices (Jordan et al. 2024); other variables are AdamW's.

    m ← momentum m + (1 - momentum) g; x ← x (1 - lr weight_decay) - lr' O, with O nearly the orthogonal matrix closest
    to m, or with nesterov to momentum m + (1 - momentum) g: ns_steps of X ← a X + (b XXᵀ + c (XXᵀ)²) X from m / |m|,
    with ns_coefficients a, b, c.  O is computed in the wide dtype of x, where PyTorch rounds it to bfloat16.

    adjust_lr_fn  "original": lr' = lr √max(1, rows / columns); "match_rms_adamw": lr' = 0.2 lr √max(rows, columns), for
                  which AdamW's rates fit (Liu et al. 2025)
    eps           the least |m| that is divided by, and AdamW's eps
    use_muon      of a group, False: its matrices are AdamW's, too, as embeddings and last layers should be
    betas         AdamW's; lr and weight_decay are of both, so the two are best told apart in groups:
                  `Muon([{"params": matrices, "lr": 0.02}, {"params": others, "lr": 3e-4}])`
    ValueError for an option out of range or NaN.
    """

    numbers = ("lr", "weight_decay", "momentum", "eps")
    momentum = option("momentum")

    def __init__(
        self,
        variables: Iterable[Any] | None = None,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        use_muon: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        **clipping: float | None,
    ) -> None:
        options = {
            "lr": learning_rate, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn,
            "use_muon": use_muon, "betas": betas, "amsgrad": False, "maximize": False,
        }  # fmt: skip
        Optimizer.__init__(self, variables, options, **clipping)

    def check(self, group: Group) -> None:
        super().check(group)
        given = group["ns_coefficients"]
        if not isinstance(given, (tuple, list)) or len(given) != 3 or not all([_finite(k) for k in given]):
            raise ValueError(f"Invalid ns_coefficients: {given!r}; they are three finite numbers")
        if type(group["ns_steps"]) is not int or not 0 <= group["ns_steps"] < 100:
            raise ValueError(f"Invalid ns_steps: {group['ns_steps']!r}; it must be a whole number from 0 to below 100")
        if group["adjust_lr_fn"] not in (None, *_RATES):
            raise ValueError(f"Invalid adjust_lr_fn: {group['adjust_lr_fn']!r}; it is None or one of {list(_RATES)}")

    def single(self, x: Array, group: Group) -> bool:
        return group["use_muon"] and x.ndim == 2

    def init(self, x: Array, group: Group) -> dict[str, Any]:
        refuse_complex("Muon", x)
        return {"momentum_buffer": xp(x).zeros_like(x)} if self.single(x, group) else super().init(x, group)

    def update(self, x: Array, g: Array, state: dict[str, Any], group: Group) -> Array:
        if not self.single(x, group):
            return super().update(x, g, state, group)
        kind, momentum = x.dtype.type, group["momentum"]
        m = kept(state, "momentum_buffer", x)
        m += (g - m) * kind(1 - momentum)
        if group["nesterov"]:
            g = g + (m - g) * kind(momentum)
        o = orthogonal(g if group["nesterov"] else m, group["ns_coefficients"], group["ns_steps"], group["eps"])
        rate = group["lr"] * _RATES[group["adjust_lr_fn"] or "original"](*x.shape)
        return x - o * kind(rate)


def _finite(k: Any) -> bool:
    return isinstance(k, (int, float)) and math.isfinite(k)


def orthogonal(x: Array, coefficients: tuple[float, float, float], steps: int, eps: float) -> Array:
    """Nearly U Vᵀ of x = U S Vᵀ: singular values from some 0.7 to 1.2, by a polynomial in x (Jordan et al. 2024)."""
    lib, kind = xp(x), x.dtype.type
    a, b, c = [kind(k) for k in coefficients]
    tall = x.shape[0] > x.shape[1]
    o = x.T if tall else x
    o = o / lib.maximum(lib.sqrt(lib.sum(o * o)), kind(eps))
    for _ in range(steps):
        gram = o @ o.T
        o = a * o + (b * gram + c * (gram @ gram)) @ o
    return o.T if tall else o
