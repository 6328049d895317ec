"""Floor 7: `compare`: one function, run with tapes that keep what they saved longer, shorter, or not at all."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

from ..array import default_device
from .again import home
from .follow import Follower
from .measure import keep_most, measure, notes
from .report import AS_WRITTEN, Comparison, Way
from .state import DIFFER, UNREPEATED, Digest, Leaves, settle, snapshot, told
from .trace import memory
from .ways import chosen, planned, running


def compare(
    f: Callable[..., Any],
    *args: Any,
    ways: Iterable[str] | None = None,
    recompute: Iterable[Any] | None = None,
    runs: int = 3,
) -> Comparison:
    """What one step, `f(*args)`, costs in memory as it is written, and what it would cost in other ways.

    f          a step: it opens tapes, or calls backward(), and may update variables.  It need not know of this
    ways       some of "as written", "not persistent", "persistent", "uses" (as often as the tapes are asked), and
               "recompute"; None: all.  A way in which f fails is there with the reason
    recompute  what "recompute" computes again in the backward pass: modules, or functions of a file; None: every
               module that a module calls
    runs       how often each way is timed, without being recorded

    f runs 2 + runs times each way, one after the other in this process.  Before each time the variables that have
    gradients, their gradients and this thread's generator are put back to where they were after the first run, so that
    the gradients of all ways can be compared bit by bit; an optimizer's moments are not put back.
    What f raises as it is written is raised.  ValueError if it asks for no gradient, for an unknown way, for no runs;
    TypeError for what cannot be computed again.  What the step changes that is not put back (the averages of a
    batch norm, moments, counters of its own) every run changes: give it a copy of the model where that matters.
    """
    if not isinstance(runs, int) or isinstance(runs, bool):
        raise TypeError(f"compare: runs is a number of runs, such as 3, not {runs!r:.40}")
    if runs < 1:
        raise ValueError(f"compare: runs is at least 1, not {runs!r}")
    names, parts = chosen(ways), None if recompute is None else list(recompute)
    for part in parts or ():
        home(part)
    first, leaves = Follower(), Leaves()
    first.around = leaves.walk
    with running(first, Way(AS_WRITTEN)):
        f(*args)
    if not leaves.walks:
        raise ValueError(
            "compare: the function asked for no gradient. Give it a whole step: its tape and tape.gradient(...), or "
            "backward()"
        )
    restore = snapshot(leaves.found)
    made, facts, repeats = [], None, None
    try:
        for name in names:
            way = planned(name, first.uses, first.graphs)
            if way.failed is None:
                given = _run(way, name, f, args, first.uses, parts, runs, restore)
                if facts is not None and given is not None:
                    way.gradients = told(facts, given)
                    if way.gradients == DIFFER and repeats is None:
                        repeats = _again(f, args, first.uses, restore) == facts
                    if way.gradients == DIFFER and not repeats:
                        way.gradients = UNREPEATED
                facts = facts or given
            made.append(way)
    finally:
        restore()
    return Comparison(getattr(f, "__qualname__", repr(f)), str(default_device()), made, notes())


def _again(f: Any, args: Any, uses: Any, restore: Any) -> list[str]:
    """The digests of the gradients of one more run of the step as it is written."""
    digest, follower = Digest(), Follower(AS_WRITTEN, uses)
    follower.around = digest.walk
    restore()
    with running(follower, Way(AS_WRITTEN)):
        f(*args)
    return digest.told()


def _run(way: Way, name: str, f: Any, args: Any, uses: Any, parts: Any, runs: int, restore: Any) -> Any:
    """Run one way, write into `way` what it took, and answer the digests of its gradients."""

    digest, books, times = Digest(), [], []
    follower = lambda: Follower(name, uses)
    try:
        restore()
        warm = follower()
        warm.around = digest.walk
        with running(warm, way, parts):
            f(*args)
        if way.failed is not None:
            return None
        restore()
        gc.collect()
        recorded = follower()
        with running(recorded, way, parts), memory(least=0) as m:
            recorded.start = partial(keep_most, books, m)
            f(*args)
        for _ in range(runs):
            restore()
            with running(follower(), way, parts):
                start = perf_counter()
                f(*args)
                settle()
                times.append(perf_counter() - start)
    except Exception as e:
        if name == AS_WRITTEN:
            raise
        way.failed = f"{type(e).__name__}: {e}".rstrip(": ")
        return None
    if not books:
        way.failed = "the function asked for no gradient this time"
        return None
    measure(way, m, *books[0])
    way.seconds, way.runs = median(times), runs
    return digest.told()
