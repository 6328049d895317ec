"""Floor 7: the ways to run a step: as it is written, its tapes kept longer or shorter, its layers computed again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from .again import layers_again, these_again
from .follow import ONCE, PERSISTENT, USES, Follower, followed_by
from .report import AS_WRITTEN, Way

RECOMPUTE = "recompute"
WAYS = (AS_WRITTEN, ONCE, PERSISTENT, USES, RECOMPUTE)


def chosen(ways: Iterable[str] | None) -> list[str]:
    """Which ways are asked for, the one that is written first.  ValueError for one that is not known."""
    asked = WAYS if ways is None else [ways] if isinstance(ways, str) else list(ways)
    if wrong := [w for w in asked if w not in WAYS]:
        raise ValueError(f"unknown way {wrong[0]!r}; the ways are {', '.join(map(repr, WAYS))}")
    return [w for w in WAYS if w in asked or w == AS_WRITTEN]


def planned(way: str, uses: dict[str, int], graphs: int) -> Way:
    """The way under the name that reports have, with what it changes; `failed` says why there is nothing to run.

    uses, graphs   what a run of the program as it is written was asked for: see `Follower`
    """
    tapes = ", ".join([f"{line} asked {_times(n)}" for line, n in uses.items()])
    if way == AS_WRITTEN:
        return Way(way, "; ".join([f"tape of {tapes}"] * bool(uses) + ["the graph of tensors"] * bool(graphs)))
    if way == RECOMPUTE:
        return Way(way)
    if way == USES:
        most = max(uses.values(), default=0)
        how = ", ".join([f"GradientTape(uses={n}) at {line}" for line, n in uses.items() if n > 1])
        alone = "no tape is asked more than once: GradientTape() frees as early"
        none = "there is no GradientTape; on the graph of tensors leave retain_graph out of the last backward()"
        return Way(f"uses={max(most, 1)}", how, None if most > 1 else alone if uses else none)
    at = f" at {', '.join(uses)}"
    kept, left = ("persistent=True", "retain_graph=True") if way == PERSISTENT else ("", "")
    how = [f"GradientTape({kept}){at}"] if uses else []
    return Way(way, "; ".join(how + ([f"backward({left})"] if graphs else [])))


def _times(n: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(n, f"{n} times")


@contextmanager
def running(follower: Follower, way: Way, parts: Iterable[Any] | None = None) -> Iterator[None]:
    """Run a program inside, this way; in the end `way` says what was computed again, or that nothing was.

    parts   what is computed again, or with None the layers of models
    """
    again: Any = nullcontext(None)
    if way.name == RECOMPUTE:
        again = layers_again() if parts is None else these_again(parts)
    with followed_by(follower), again as found:
        yield
    if found is not None:
        if not found:
            way.failed = "no module was called that calls others, which could be computed again"
        what = "the layers of " if parts is None else ""
        way.how = f"gg.checkpoint around {what}{', '.join(sorted(found))}"
