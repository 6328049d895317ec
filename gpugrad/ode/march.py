"""From the first time to the last: steps, what is asked for on the way, and segments that are computed again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from ..autograd import no_grad
from ..core import Tensor
from ..ops.shape import stack
from ..recompute import checkpoint
from .control import Control, first_step
from .dopri5 import Problem, Step, Times, step


def start(p: Problem, times: Times, y: list[Tensor], args: Any) -> tuple[list[Tensor], Control]:
    """(f at the first time, what decides the steps)."""
    slope = p.f(times.placed([times.exactly(times.at[0])])[0], y, args)
    with no_grad():
        return slope, Control(p, times, first_step(p, times, y, slope, args))


def search(p: Problem, times: Times, y: list[Tensor], slope: list[Tensor], args: Any, c: Control) -> Iterator[Step]:
    """The steps from where `c` is to the last time, as long as their errors allow."""
    while not c.done:
        s = step(p, times, c.now, c.propose(), y, slope, args)
        while not c.accept(s):
            s = step(p, times, c.now, c.propose(), y, slope, args)
        yield s
        y, slope = s.end, s.slopes[-1]


def repeat(
    p: Problem, times: Times, y: list[Tensor], slope: list[Tensor], args: Any, ends: list[tuple[float, float]]
) -> Iterator[Step]:
    """The steps between these times once more."""
    for begin, end in ends:
        s = step(p, times, begin, end, y, slope, args)
        yield s
        y, slope = s.end, s.slopes[-1]


def found_in(s: Step, times: Times) -> list[list[Tensor]]:
    """y at the times that lie in step `s`, its end included."""
    way = 1.0 if s.stop > s.start else -1.0
    first, last = [bisect_right(times.at, way * t, key=lambda v: way * v) for t in (s.start, s.stop)]
    return [
        s.end if t == times.at[-1] else s.within(t if times.tensor is None else times.tensor[i])
        for i, t in enumerate(times.at[first:last], first)
    ]


def rows(p: Problem, times: Times, y: list[Tensor], args: Any, segment: int | None) -> tuple[list[list[Tensor]], float]:
    """(y at all times, how long a next step would be).

    segment  None: everything is kept.  A number: of so many steps, the ends; the rest is computed again
    """
    slope, c = start(p, times, y, args)
    found = [y]
    if segment is None:
        for s in search(p, times, y, slope, args, c):
            found += found_in(s, times)
    while not c.done:
        more, y, slope = _segment(p, c, segment)(times, y, slope, args)
        found += more
    return found, c.h


def _segment(p: Problem, c: Control, size: int | None) -> Any:
    """The next steps as a function that finds them when it is called first, and takes the same ones afterwards."""
    ends: list[tuple[float, float]] = []

    def segment(times: Times, y: list[Tensor], slope: list[Tensor], args: Any) -> Any:
        known = list(ends)
        steps: Iterable[Step] = (
            repeat(p, times, y, slope, args, known) if known else islice(search(p, times, y, slope, args, c), size)
        )
        found, last = [], None
        for last in steps:
            found += found_in(last, times)
            if not known:
                ends.append((last.start, last.stop))
        assert last is not None
        return found, last.end, last.slopes[-1]

    return checkpoint(segment)


def stacked(found: list[list[Tensor]]) -> list[Tensor]:
    """The leaves with the times along a new first axis."""
    return [stack(list(leaf)) for leaf in zip(*found, strict=True)]
