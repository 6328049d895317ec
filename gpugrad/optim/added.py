"""A warning when a step's gradients were added up by several backward()."""

from __future__ import annotations

import warnings
from typing import Any

from ..core import STEPPED
from ..origin import level
from .state import Todo


def watch(optimizer: Any, todo: Todo) -> None:
    """Warn, once each, when `.grad` is a sum of several backward() since the last zero_grad().

    - With those that an earlier step() has used already, which is nearly always a forgotten zero_grad().
    - Of several backward() before one step(): gradients are accumulated.  If that is wanted, `optimizer.accumulates =
      True` says so.  The first warning comes all the same, as nobody wants that.

    One variable is looked at, the first that has a gradient: each walk counts where it leaves one, so nothing is
    counted for an op.  Gradients that a program writes itself, or sets to zero in place, count as new.
    """
    node: Any = todo[0][1].node
    deposits = getattr(node, "deposits", 0)
    if deposits > STEPPED:
        _tell(
            optimizer, "stale",
            "step() uses gradients that an earlier step() has used already: a later backward() was added to them, with "
            "no zero_grad() between. Call optimizer.zero_grad() before backward().",
        )  # fmt: skip
    elif 1 < deposits < STEPPED and not optimizer.accumulates:
        _tell(
            optimizer, "sum",
            f"step() follows {deposits} backward() calls with no zero_grad() between, so their gradients were added. "
            "Call optimizer.zero_grad() before each backward(); if the sum is wanted: optimizer.accumulates = True.",
        )  # fmt: skip
    if deposits:
        node.deposits = STEPPED


def _tell(optimizer: Any, kind: str, words: str) -> None:
    told = vars(optimizer).setdefault("_told", set())
    if kind not in told:
        told.add(kind)
        warnings.warn(words, stacklevel=level())
