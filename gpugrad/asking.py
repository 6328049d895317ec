"""Floor 4: what a tape is asked for: targets, sources and seeds in any nesting, checked and in flat lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optree

from .array import library, xp
from .core import Tensor, wrap
from .ops.shape import broadcast_to


class UnconnectedGradients:
    """What `gradient` answers for a source that the target does not depend on."""

    NONE = "none"
    ZERO = "zero"


def zeros_asked(unconnected: Any) -> bool:
    """Whether a source that the target does not depend on gets zeros.  ValueError for any other word."""
    if unconnected not in ("none", "zero"):
        raise ValueError(f"Unknown value for unconnected_gradients: {unconnected!r}; write 'none' or 'zero'")
    return unconnected == "zero"


def uses_asked(uses: Any, persistent: bool) -> int | None:
    """How many gradients a tape serves; None for any number.  TypeError and ValueError for what is no such number."""
    if uses is None:
        return None if persistent else 1
    if type(uses) is bool or not hasattr(uses, "__index__"):
        raise TypeError(
            f"GradientTape: uses is how many gradients the tape serves, a whole number, not {uses!r:.40}; for any "
            "number of them write persistent=True"
        )
    if persistent:
        raise ValueError(
            f"GradientTape: persistent=True serves any number of gradients, uses={uses} frees all with the last of "
            "them; write one of the two"
        )
    if int(uses) < 1:
        raise ValueError(f"GradientTape: uses is at least 1, given {uses}")
    return int(uses)


def one_tensor(t: Any, what: str) -> Tensor:
    """t itself.  TypeError for what is not one tensor."""
    if not isinstance(t, Tensor):
        raise TypeError(f"the {what} is one tensor, not {t!r:.60} of type {type(t).__name__}; call for each of them")
    return t


def tensors(tree: Any, what: str) -> list[Tensor]:
    """The tensors of a nested structure.  TypeError for anything else in it."""
    found = [tree] if isinstance(tree, Tensor) else optree.tree_leaves(tree, namespace="gpugrad")
    for t in found:
        if not isinstance(t, Tensor):
            advice = (
                "Give its variables: model.trainable_variables"
                if hasattr(t, "trainable_variables")
                else "Give a list: list(...)"
                if hasattr(t, "__next__")
                else "A NumPy function in its computation has left the tape: use gpugrad's"
                if what == "target" and library(t) is not None
                else "Make it one with gg.tensor(...) before the tape records"
            )
            raise TypeError(
                f"gradient: every {what} must be a Tensor or Variable, given {t!r:.60} of type "
                f"{type(t).__name__}. {advice}."
            )
    return found


def flat_sources(sources: Any) -> tuple[list[Tensor], Callable[[list[Any]], Any]]:
    """(the sources in a flat list, the function that gives a flat list their structure)."""
    if isinstance(sources, Tensor):
        return [sources], lambda out: out[0]
    if type(sources) is list:
        for s in sources:
            if not isinstance(s, Tensor):
                break
        else:
            return sources, lambda out: out
    tree: Any = sources
    flat, spec = optree.tree_flatten(tree, namespace="gpugrad")
    return tensors(flat, "source"), spec.unflatten


def flat_seeds(targets: list[Tensor], given: Any) -> list[Any]:
    """A seed for each target; None for ones."""
    if given is None:
        return [None] * len(targets)
    found = (
        [given]
        if isinstance(given, Tensor) or library(given) is not None or isinstance(given, (int, float))
        else optree.tree_leaves(given, none_is_leaf=True, namespace="gpugrad")
    )
    if len(targets) == 1 and len(found) > 1 and all(isinstance(v, (int, float)) for v in found):
        found = [given]  # one target's gradient, as nested lists
    if len(found) < len(targets):
        raise ValueError(f"gradient: {len(targets)} targets need as many output_gradients, given {len(found)}")
    return [_seed_for(t, s) for t, s in zip(targets, found, strict=False)]


def _seed_for(t: Tensor, s: Any) -> Any:
    """Seed `s` checked against its tensor: its shape, or one that broadcasts to it."""
    if s is None:
        return None
    if not isinstance(s, Tensor):
        if isinstance(s, str) or (library(s) is None and not isinstance(s, (int, float, complex, list, tuple))):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(s).__name__}")
        s = wrap(xp(t.array).asarray(s, t.array.dtype))
    if s.array.shape != t.array.shape:
        if s.array.shape != ():
            raise ValueError(
                f"Mismatch in shape: the output gradient has shape {s.array.shape} and its target {t.array.shape}"
            )
        s = broadcast_to(s, t.array.shape)
    if s.array.dtype.kind == "c" != t.array.dtype.kind:
        raise ValueError(
            f"Mismatch in dtype: the output gradient is {s.array.dtype} and its target {t.array.dtype}; a real number "
            "has real gradients"
        )
    return s
