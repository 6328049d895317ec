"""Floor 7: the ledger of whatever has a history."""

from __future__ import annotations

from typing import Any

import optree

from ..core import Tensor
from ..ledger import Ledger, of_tensors
from ..tape import GradientTape


def ledger(x: Any) -> Ledger:
    """What `x` keeps for a backward pass: a GradientTape, a tensor, or nested tensors, whose histories count together.

    Each block of memory once.  TypeError for anything else.
    """
    if isinstance(x, GradientTape):
        return x.memory()
    found = {id(t): t for t in optree.tree_leaves(x, namespace="gpugrad")}
    for t in found.values():
        if not isinstance(t, Tensor):
            raise TypeError(
                f"ledger takes a GradientTape, a tensor or nested tensors, not {type(t).__name__}: {t!r:.40}"
            )
    return of_tensors(list(found.values()), "the tensor's history" if len(found) == 1 else "the tensors' history")
