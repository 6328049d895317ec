"""Muon."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..array import Array, device_of, xp
from ..dtypes import wide
from .adam import AdamW
from .checks import option, refuse_complex
from .optimizer import Optimizer
from .state import Group, Todo, kept

HOST, GPU = 1 << 16, 1 << 22  # elements of the matrices that go together

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
    may_lack = ("use_muon", "betas", "amsgrad", "maximize")  # PyTorch's is for matrices alone
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

    def _update(self, rest: Todo) -> None:
        """Matrices of a group that are alike go together."""
        if type(self).update is not Muon.update:  # a subclass has its way
            return super()._update(rest)
        others, batches, times = [], {}, Counter()
        for todo in rest:
            _, v, group = todo
            x = v.array
            if self.single(x, group):
                times[id(v)] += 1  # a variable that is there twice takes two steps
                batches.setdefault((id(group), x.shape, x.dtype, device_of(x), times[id(v)]), []).append(todo)
            else:
                others.append(todo)
        super()._update(others)
        for batch in batches.values():
            most = max(1, (HOST if type(batch[0][0]) is np.ndarray else GPU) // max(1, batch[0][0].size))
            for i in range(0, len(batch), most):
                self._together(batch[i : i + most])

    def _together(self, todo: Todo) -> None:
        """A step of matrices of one group, shape, dtype and device."""
        group, own = todo[0][2], todo[0][1].array.dtype
        kind, (_, shrink) = wide(own), self.decay(group)
        gs = [g.astype(kind, copy=False) for g, _, _ in todo]
        xs = [v.array.astype(kind, copy=False) for _, v, _ in todo]
        states = [self.state[v] for _, v, _ in todo]
        new = _stack(xs) * kind.type(shrink)
        new -= self._steps(xs, [-g for g in gs] if group["maximize"] else gs, states, group)
        for i, (_, v, _) in enumerate(todo):
            v.array = new[i].astype(own)  # a copy

    def update(self, x: Array, g: Array, state: dict[str, Any], group: Group) -> Array:
        if not self.single(x, group):
            return super().update(x, g, state, group)
        return x - self._steps([x], [g], [state], group)[0]

    def _steps(self, xs: list[Array], gs: list[Array], states: list[dict[str, Any]], group: Group) -> Array:
        """What matrices of one shape are moved by, one after the other; their momentum is what it is after the step."""
        kind, momentum = xs[0].dtype.type, group["momentum"]
        g, m = _stack(gs), _stack([kept(s, "momentum_buffer", x) for s, x in zip(states, xs)])
        m += (g - m) * kind(1 - momentum)
        for state, own in zip(states, m):
            state["momentum_buffer"] = own
        to = g + (m - g) * kind(momentum) if group["nesterov"] else m
        o = orthogonal(to, group["ns_coefficients"], group["ns_steps"], group["eps"])
        o *= kind(group["lr"] * _RATES[group["adjust_lr_fn"] or "original"](*xs[0].shape))
        return o


def _stack(arrays: list[Array]) -> Array:
    return arrays[0][None] if len(arrays) == 1 else xp(arrays[0]).stack(arrays)


def _finite(k: Any) -> bool:
    return isinstance(k, (int, float)) and math.isfinite(k)


def orthogonal(x: Array, coefficients: tuple[float, float, float], steps: int, eps: float) -> Array:
    """Nearly U Vᵀ of x = U S Vᵀ: singular values from some 0.7 to 1.2, by a polynomial in x (Jordan et al. 2024).

    x is a matrix, or many along the first axis.
    """
    lib, kind = xp(x), x.dtype.type
    a, b, c = [kind(k) for k in coefficients]
    tall = x.shape[-2] > x.shape[-1]
    o = x.swapaxes(-1, -2) if tall else x
    o = o / lib.maximum(lib.sqrt(lib.sum(o * o, axis=(-2, -1), keepdims=True)), kind(eps))
    for _ in range(steps):
        gram = o @ o.swapaxes(-1, -2)
        square = gram @ gram
        square *= c
        gram *= b
        gram += square
        square = gram @ o
        o *= a
        o += square
    return o.swapaxes(-1, -2) if tall else o
