"""Optimizers whose step for an element depends on the gradients of that element alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from .. import fused
from ..array import Array, xp
from .checks import refuse_complex
from .launches import Kernel
from .optimizer import Optimizer
from .state import Group, Todo, kept


class Elementwise(Optimizer):
    """A rule for one element, which runs over many variables at once: on the CPU by blocks (`blocks.py`).

    A subclass gives `rule` and says what it needs beside: `arrays`, `counts`, `advance`, `factor`, `scratch`;
    `kind` and `values` for a kernel that does the same on a GPU.
    """

    kind: ClassVar[str | None] = None  # the rule's name among `fused.RULES`, for a GPU
    counts: ClassVar[dict[str, float]] = {"step": 0}  # what the state counts, before the first step
    scratch: ClassVar[int] = 0  # how many arrays `rule` works in, beside the gradient's

    def arrays(self, group: Group) -> dict[str, float]:
        """The names of the arrays of the state, and where they start."""
        return {}

    def advance(self, counts: dict[str, Any], group: Group) -> dict[str, Any]:
        """What the counts are in the step that comes."""
        return {"step": int(counts["step"]) + 1}

    def factor(self, group: Group) -> float:
        """What a gradient is multiplied by as it is read, before `rule` sees it."""
        return 1.0

    def blockwise(self, todo: Todo) -> bool:
        """Whether these variables are to be updated together on the CPU."""
        return True

    def plain(self, group: Group) -> bool:
        """Whether `rule` has no state and leaves the gradient as it is."""
        return False

    def rule(
        self, g: Array, state: Sequence[Array], work: Sequence[Array], group: Group, counts: dict[str, Any]
    ) -> None:
        """Make g what is taken from the variable, and the state what it is after the step, in place.

        g       the gradient times `factor`, with weight decay
        work    arrays as g to write to
        counts  those of this step; `first` where a variable had no state before
        """
        raise NotImplementedError

    def values(self, group: Group) -> dict[str, Any]:
        """What the kernel of the rule is given: a, b, eps, extra, option."""
        return {}

    def kernel(self, group: Group) -> Kernel | None:
        if self.kind is None:
            return None
        names = tuple(self.arrays(group))
        options = {
            "kind": self.kind, "states": len(names), "counts": bool(self.counts), "maximize": group["maximize"],
            "decay": group["weight_decay"], "decoupled": self.decoupled or group.get("decoupled_weight_decay", False),
        }  # fmt: skip
        return Kernel(fused.rule, names, {**options, **self.values(group)})

    def init(self, x: Array, group: Group) -> dict[str, Any]:
        refuse_complex(type(self).__name__, x)
        made = lambda start: xp(x).full_like(x, start) if start else xp(x).zeros_like(x)  # zeros need no kernel
        return {**self.counts, **{n: made(start) for n, start in self.arrays(group).items()}}

    def update(self, x: Array, g: Array, state: dict[str, Any], group: Group) -> Array:
        lib, names = xp(x), self.arrays(group)
        counts = {"first": not names.keys() <= state.keys(), **self.counts, **state}
        counts = {"first": counts["first"], **self.advance(counts, group)}
        g = lib.multiply(g, x.dtype.type(self.factor(group)), out=lib.empty_like(x))
        work = [lib.empty_like(x) for _ in range(self.scratch)]
        self.rule(g, [kept(state, n, x, start) for n, start in names.items()], work, group, counts)
        state.update({n: counts[n] for n in self.counts})
        return x - g


def root(lib: Any, v: Array, eps: float, inside: bool, out: Array) -> None:
    """out = √v + eps, or √(v + eps)."""
    lib.sqrt(lib.add(v, eps, out=out) if inside else v, out=out)
    if not inside:
        out += eps


def average(lib: Any, mean: Array, value: Array, beta: float, work: Array) -> None:
    """mean ← beta mean + (1 - beta) value."""
    mean *= beta
    mean += lib.multiply(value, 1 - beta, out=work)


def average_square(lib: Any, mean: Array, value: Array, beta: float, work: Array) -> None:
    """mean ← beta mean + (1 - beta) value²."""
    mean *= beta
    lib.multiply(value, value, out=work)
    work *= 1 - beta
    mean += work
