"""Floor 0: which saved values are kept for a backward pass, and which are made again in it, under a bound in bytes.

A value is an array that an op reads or makes, known by its number; a block is the memory of one or several.  To keep
few bytes, blocks are given up one after the other: next, whichever frees most bytes a second that its making costs.
One way counts what is kept; another counts the most that lives while the ops are walked back, too, so that of a long
run of equal ops every second one goes first, and chains grow only when they must.  What a way has left is spent on what
costs most time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from math import inf
from typing import NamedTuple

_INSTANT = 1e-7  # seconds: what a view costs


class Step(NamedTuple):
    """One recorded call of an op.

    key      what tells it from others
    inputs   the numbers of the values that it read, arrays among the static arguments too
    reads    (position, number) of each that is an input
    outs     the numbers of the values that it made: outputs, then auxiliaries
    saved    (position in its node, number) of each value that its node keeps
    seconds  what making it again costs; inf: it cannot be
    passing  bytes of the cotangents that its pullback takes and makes
    """

    key: tuple
    name: str
    line: str
    inputs: tuple[int, ...]
    reads: tuple[tuple[int, int], ...]
    outs: tuple[int, ...]
    saved: tuple[tuple[int, int], ...]
    seconds: float
    passing: int = 0


class Trace:
    """The calls of one run.

    makers, blocks   of each value: the step that made it, or -1, and the number of its memory block
    sizes    bytes of each block
    free     blocks that live anyway: inputs, parameters and, once they are known, `outputs`
    fixed    blocks that stay as they are, whatever is chosen
    written  blocks that have been written to in place: they stay, and no op that reads or makes them is run again
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.makers: list[int] = []
        self.blocks: list[int] = []
        self.sizes: list[int] = []
        self.free: set[int] = set()
        self.outputs: set[int] = set()
        self.fixed: set[int] = set()
        self.written: set[int] = set()

    def upto(self, steps: int, values: int) -> Trace:
        """The first steps and values, of a run that may go on otherwise."""
        t = Trace()
        t.steps, t.makers, t.blocks = self.steps[:steps], self.makers[:values], self.blocks[:values]
        t.sizes = self.sizes[: max(t.blocks, default=-1) + 1]
        t.free, t.fixed, t.written = self.free - self.outputs, set(self.fixed), set(self.written)
        return t

    def there(self, keep: set[int]) -> list[bool]:
        """Of each value, whether it is there when the ops are walked back, if the blocks in `keep` are."""
        keep = keep | self.free | self.fixed
        cannot = self.cannot
        return [b in keep or m < 0 or m in cannot for b, m in zip(self.blocks, self.makers)]

    @property
    def cannot(self) -> set[int]:
        """The steps that cannot be run again."""
        return {i for i, s in enumerate(self.steps) if s.seconds == inf}

    def size(self, blocks: Iterable[int]) -> int:
        """Bytes of the blocks that do not live anyway."""
        return sum([self.sizes[b] for b in blocks if b not in self.free])


class Outcome(NamedTuple):
    """What comes of keeping some blocks.

    saved    bytes kept
    peak     the most bytes of what is kept and made again and of the cotangents of one op, while all are walked back
    seconds  what all that is made again costs, once
    until    of each step that is run again: the one in whose pullback its values are needed last
    used     the blocks that are kept
    """

    saved: int
    peak: int
    seconds: float
    until: dict[int, int]
    used: set[int]


def outcome(trace: Trace, keep: set[int]) -> Outcome:
    """What comes of keeping the blocks in `keep`, and what cannot be made again."""
    steps, makers, blocks, there = trace.steps, trace.makers, trace.blocks, trace.there(keep)
    when: dict[int, int] = {}  # of each step that is run again: in whose pullback, first
    until: dict[int, int] = {}
    life: dict[int, int] = {}  # of the same: the last node that can still ask for it
    last: dict[int, int] = {}  # of each kept block: the last node that holds it, itself or to make others
    roots: set[tuple[int, int]] = set()
    for i in range(len(steps) - 1, -1, -1):  # consumers come before what they consume
        step = steps[i]
        for _, v in step.saved:
            if there[v]:
                last[blocks[v]] = i
            else:
                m = makers[v]
                roots.add((m, i))
                when[m] = max(when.get(m, i), i)
                until[m] = min(until.get(m, i), i)
                life[m] = min(life.get(m, i), i)
        if i not in when:
            continue
        for v in step.inputs:
            if there[v]:
                last[blocks[v]] = min(last.get(blocks[v], life[i]), life[i])
            else:
                m, at = makers[v], when[i]
                if blocks[v] in [blocks[o] for o in step.outs]:  # a view holds what it is a view of
                    at = min(at, until[i])
                when[m] = max(when.get(m, when[i]), when[i])
                until[m] = min(until.get(m, at), at)
                life[m] = min(life.get(m, life[i]), life[i])
    saved, seconds = trace.size(last), sum([steps[i].seconds for i in when])
    return Outcome(saved, _peak(trace, there, when, until, last, roots, saved), seconds, until, set(last))


def _peak(
    trace: Trace,
    there: list[bool],
    when: dict[int, int],
    until: dict[int, int],
    last: dict[int, int],
    roots: set[tuple[int, int]],
    alive: int,
) -> int:
    """The most bytes that live at once, from the `alive` that are kept to the end of the walk."""
    starts: dict[int, list[int]] = {}
    ends: dict[int, int] = {}  # bytes that are let go as the walk leaves a step
    for i in sorted(when):
        starts.setdefault(when[i], []).append(i)
    for b, i in last.items():
        ends[i] = ends.get(i, 0) + trace.size([b])
    made: dict[int, int] = {}
    for i in when:
        own = {trace.blocks[o] for o in trace.steps[i].outs} - {trace.blocks[v] for v in trace.steps[i].inputs}
        made[i] = sum([trace.sizes[b] for b in own])
    peak, ending = alive, set(until.values())
    for at in range(len(trace.steps) - 1, -1, -1):
        again, passing = starts.get(at, ()), trace.steps[at].passing
        peak = max(peak, alive + passing)
        reads = {i: [trace.makers[v] for v in trace.steps[i].inputs if not there[v]] for i in again}
        left = Counter([m for i in again for m in reads[i]])
        for i in again:
            alive += made[i]
            peak = max(peak, alive + passing)
            for m in reads[i]:
                left[m] -= 1
                if not left[m] and until[m] == at and (m, at) not in roots:
                    alive -= made.pop(m, 0)
        gone = [i for i in made if until[i] == at] if at in ending else []
        alive -= sum([made.pop(i) for i in gone]) + ends.get(at, 0)
    return peak


def choose(trace: Trace, bound: float) -> tuple[set[int], Outcome]:
    """(the blocks to keep, what comes of it), with at most `bound` bytes kept; more, if that is the least found.

    Of the ways tried, the one with the least product of seconds and peak, or of seconds and bound where that is more.
    """
    keep = {trace.blocks[v] for s in trace.steps for _, v in s.saved}
    now = outcome(trace, keep)
    if now.saved <= bound:
        return keep, now
    fast = list(_given_up(trace, bound, keep, now, 0))[-1:]
    slow = list(_given_up(trace, 0, keep, now, 1))
    ways = [way for way in (*fast, *slow) if way[1].saved <= bound]
    if not ways:
        return min([(keep, now), *fast, *slow], key=lambda way: way[1].saved)
    cost = lambda way: (way[1].seconds + _INSTANT) * max(way[1].peak, bound)
    return min([_spent(trace, bound, *way) for way in (*fast, min(ways, key=cost), ways[-1])], key=cost)


def _given_up(
    trace: Trace, bound: float, keep: set[int], now: Outcome, peaks: float
) -> Iterator[tuple[set[int], Outcome]]:
    """`keep` without the block that frees most bytes a second, without that and the next, until `bound` is kept or none
    frees any.

    peaks   how much a byte counts that the peak is less by, beside one that is not kept
    """

    def worth(b: int) -> tuple[float, Outcome]:
        then = outcome(trace, keep - {b})
        freed = now.saved - then.saved
        if freed <= 0:
            return 0.0, then
        return max(freed + peaks * (now.peak - then.peak), 1) / (then.seconds - now.seconds + _INSTANT), then

    heap = [(-inf, b) for b in sorted(keep) if trace.size([b])]
    while now.saved > bound and heap:
        b = heappop(heap)[1]
        value, then = worth(b)
        if value and heap and value < -0.9 * heap[0][0]:  # by now another may be better
            heappush(heap, (-value, b))
        elif value:
            keep, now = keep - {b}, then
            yield keep, now


def _spent(trace: Trace, bound: float, keep: set[int], now: Outcome) -> tuple[set[int], Outcome]:
    """`keep`, and what else the bound leaves room for: what saves most seconds a byte first."""
    fits = lambda then: then.saved <= bound and then.peak <= max(now.peak, bound) and then.seconds < now.seconds
    gains = []
    for b in {trace.blocks[o] for i in now.until for o in trace.steps[i].outs} - keep:
        then = outcome(trace, keep | {b})
        if fits(then):
            gains.append(((now.seconds - then.seconds) / max(1, then.saved - now.saved), b))
    for _, b in sorted(gains, reverse=True):
        then = outcome(trace, keep | {b})
        if fits(then):
            keep, now = keep | {b}, then
    return keep, now
