"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from .. import fused
from ..array import Array, xp
from .checks import option
from .elementwise import Elementwise
from .launches import Kernel
from .optimizer import Optimizer
from .state import Group, Todo

SMALL = 1 << 14  # elements
MANY = 8  # variables


class SGD(Elementwise):
    """x ← x - lr v, with v the gradient, or its running sum v ← momentum v + g (Sutskever et al. 2013 for nesterov).

    weight_decay adds weight_decay x to the gradient; from the second step on, dampening makes g smaller in the sum;
    maximize goes uphill.  ValueError for a negative or NaN option, and for nesterov without momentum.
    """

    kind = "dampened"
    counts: ClassVar[dict[str, float]] = {}
    scratch = 1
    numbers = ("lr", "momentum", "dampening", "weight_decay")
    momentum, dampening, weight_decay = option("momentum"), option("dampening"), option("weight_decay")

    def __init__(
        self,
        variables: Iterable[Any] | None = None,
        learning_rate: float = 1e-2,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        dampening: float = 0.0,
        maximize: bool = False,
        **clipping: float | None,
    ) -> None:
        options = {
            "lr": learning_rate, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize,
        }  # fmt: skip
        super().__init__(variables, options, **clipping)

    def check(self, group: Group) -> None:
        super().check(group)
        if group["nesterov"] and (not group["momentum"] or group["dampening"]):
            raise ValueError(
                "Nesterov momentum requires a momentum and zero dampening: write SGD(..., momentum=0.9, nesterov=True)"
            )

    init = Optimizer.init  # complex variables are welcome; the sum starts as the first gradient

    def arrays(self, group: Group) -> dict[str, float]:
        return {"momentum_buffer": 0.0} if group["momentum"] else {}

    def advance(self, counts: dict[str, Any], group: Group) -> dict[str, Any]:
        return {}

    def factor(self, group: Group) -> float:
        return 1.0 if group["momentum"] else group["lr"]

    def rule(
        self, g: Array, state: Sequence[Array], work: Sequence[Array], group: Group, counts: dict[str, Any]
    ) -> None:
        if not (momentum := group["momentum"]):
            return
        lib, (v,), (w,) = xp(g), state, work
        v *= momentum
        v += lib.multiply(g, 1 - group["dampening"], out=w) if group["dampening"] and not counts["first"] else g
        if group["nesterov"]:
            g += lib.multiply(v, momentum, out=w)
            g *= group["lr"]
        else:
            lib.multiply(v, group["lr"], out=g)

    def plain(self, group: Group) -> bool:
        return not group["momentum"]

    def blockwise(self, todo: Todo) -> bool:  # alone, a small variable takes two operations
        return (
            len(todo) >= MANY
            or any([g["momentum"] for g in self.param_groups])
            or any([v.array.size > SMALL for _, v, _ in todo])
        )

    def update(self, x: Array, g: Array, state: dict[str, Any], group: Group) -> Array:
        if group["momentum"]:
            return super().update(x, g, state, group)
        return x - g * x.dtype.type(group["lr"])

    def values(self, group: Group) -> dict[str, Any]:
        return {"a": group["momentum"], "extra": group["dampening"]}

    def kernel(self, group: Group) -> Kernel | None:
        if group["dampening"] and group["momentum"]:
            kernel = super().kernel(group)
            return kernel and kernel._replace(zeros=False)
        options = {
            "momentum": group["momentum"], "decay": group["weight_decay"], "nesterov": group["nesterov"],
            "decoupled": self.decoupled, "maximize": group["maximize"],
        }  # fmt: skip
        return Kernel(fused.sgd, ("momentum_buffer",) if group["momentum"] else (), options)
