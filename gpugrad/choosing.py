"""Floor 0: which saved values are kept for a backward pass, and which are made again in it, under a bound in bytes.

A value is an array that an op reads or makes, known by its number; a block is the memory of one or several.  To keep
few bytes, blocks are given up one after the other: next, whichever frees most bytes a second that its making costs.
One way counts what is kept; another counts the most that lives while the ops are walked back, too, so that of a long
run of equal ops every second one goes first, and chains grow only when they must.  What a way has left is spent on what
costs most time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from heapq import heappop, heappush
from math import inf
from typing import NamedTuple

_INSTANT = 1e-7  # seconds: what a view costs
_WORK = 16_000  # how many steps are looked at, over all ways that are tried
_FAR = 64  # blocks


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
    peak = alive
    stops: dict[int, list[int]] = {}
    for i, at in until.items():
        stops.setdefault(at, []).append(i)
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
        alive -= sum([made.pop(i, 0) for i in stops.get(at, ())]) + ends.get(at, 0)
    return peak


class _State:
    """What is kept while blocks are given up one by one; what the next one changes is found around it alone.

    needed   values that are saved, or read by a step that is run again
    again    the steps that are run again
    used     the blocks that are kept, for nodes or to make others
    saved    bytes of those
    longest  the most bytes, of those looked at, that are made again one from the other
    """

    def __init__(self, trace: Trace) -> None:
        self.trace, cannot = trace, trace.cannot
        self.keep = {trace.blocks[v] for s in trace.steps for _, v in s.saved}
        self.there = trace.there(self.keep)
        self.stays = [m < 0 or m in cannot or b in trace.fixed for m, b in zip(trace.makers, trace.blocks)]
        self.readers: list[list[int]] = [[] for _ in trace.makers]
        self.values: dict[int, list[int]] = {}
        for v, b in enumerate(trace.blocks):
            self.values.setdefault(b, []).append(v)
        for i, s in enumerate(trace.steps):
            for v in s.inputs:
                self.readers[v].append(i)
        self.needed: set[int] = set()
        self.again: set[int] = set()
        self.used: set[int] = set()
        self.saved = self.longest = 0
        self._add(*self._closure([v for s in trace.steps for _, v in s.saved], -1))

    def _closure(self, values: Iterable[int], block: int) -> tuple[set[int], set[int], set[int]]:
        """What is needed, run again and used besides, for these values, if `block` is given up."""
        t, needed, again, used = self.trace, set(values), set(), set()
        todo = list(needed)
        for v in todo:  # grows
            if self.stays[v] or (self.there[v] and t.blocks[v] != block):
                used.add(t.blocks[v])
            elif (m := t.makers[v]) not in self.again and m not in again:
                again.add(m)
                more = {u for u in t.steps[m].inputs if u not in needed and u not in self.needed}
                more |= {u for u in t.steps[m].inputs if t.blocks[u] == block and u not in needed}
                needed |= more
                todo += more
        return needed - self.needed, again, used - self.used

    def _add(self, needed: set[int], again: set[int], used: set[int]) -> None:
        self.needed |= needed
        self.again |= again
        self.used |= used
        self.saved += self.trace.size(used)

    def without(self, b: int) -> tuple[int, float, int, tuple[set[int], set[int], set[int]]]:
        """(bytes freed, seconds, bytes made again one from the other, the rest), if block `b` is given up."""
        more = self._closure([v for v in self.values[b] if v in self.needed], b)
        held = any([self.stays[v] for v in self.values[b] if v in self.needed or v in more[0]])
        freed = (0 if held else self.trace.size([b])) - self.trace.size(more[2] - {b})
        return freed, sum([self.trace.steps[i].seconds for i in more[1]]), self._chain(b), more

    def _chain(self, b: int) -> int:
        """Bytes of the blocks around `b`, and it, that are made again one from the other; of `_FAR` at most."""
        t, total = self.trace, 0
        for up in (True, False):
            blocks = [b]
            for c in blocks:  # grows
                for v in self.values[c]:
                    steps = [t.makers[v]] if up else [j for j in self.readers[v] if j in self.again]
                    for u in [u for i in steps if i >= 0 for u in (t.steps[i].inputs if up else t.steps[i].outs)]:
                        d = t.blocks[u]
                        if not self.there[u] and not self.stays[u] and d not in blocks and len(blocks) < _FAR:
                            blocks.append(d)
            total += t.size(blocks)
        return total - t.size([b])

    def give_up(self, b: int, freed: int, chain: int, more: tuple[set[int], set[int], set[int]]) -> None:
        saved = self.saved - freed
        self.keep.discard(b)
        for v in self.values[b]:
            self.there[v] = b in self.trace.free or self.stays[v]
        self._add(*more)
        if not any([self.there[v] for v in self.values[b] if v in self.needed]):
            self.used.discard(b)
        self.saved, self.longest = saved, max(self.longest, chain)


def choose(trace: Trace, bound: float) -> tuple[set[int], Outcome]:
    """(the blocks to keep, what comes of it), with at most `bound` bytes kept; more, if that is the least found.

    Of the ways tried, the one with the least product of seconds and peak, or of seconds and bound where that is more.
    What it takes grows as the number of steps does, or a little faster: of a longer run fewer ways are tried.
    """
    keep = {trace.blocks[v] for s in trace.steps for _, v in s.saved}
    now = outcome(trace, keep)
    if now.saved <= bound:
        return keep, now
    tries = max(8, _WORK // len(trace.steps))
    fast = [(k, outcome(trace, k)) for k in _given_up(trace, bound, 0)[-1:]]
    steps = _given_up(trace, 0, 1)
    every = max(1, -(-len(steps) // tries))
    slow = [(k, outcome(trace, k)) for k in steps[::-every][::-1]]  # the last of them, too
    ways = [way for way in (*fast, *slow) if way[1].saved <= bound]
    if not ways:
        return min([(keep, now), *fast, *slow], key=lambda way: way[1].saved)
    cost = lambda way: (way[1].seconds + _INSTANT) * max(way[1].peak, bound)
    return min([_spent(trace, bound, *way, tries) for way in (*fast, min(ways, key=cost), ways[-1])], key=cost)


def _given_up(trace: Trace, bound: float, peaks: float) -> list[set[int]]:
    """What is kept without the block that frees most bytes a second, without that and the next, and so on.

    It ends when `bound` is kept or none frees any.

    peaks   how much a byte counts that the peak is less by, beside one that is not kept
    """
    state, found = _State(trace), []
    heap = [(-inf, b) for b in sorted(state.keep) if trace.size([b])]
    while state.saved > bound and heap:
        b = heappop(heap)[1]
        freed, seconds, chain, more = state.without(b)
        if freed <= 0:
            continue
        value = max(freed + peaks * (freed - max(0, chain - state.longest)), 1) / (seconds + _INSTANT)
        if heap and value < -0.9 * heap[0][0]:  # by now another may be better
            heappush(heap, (-value, b))
        else:
            state.give_up(b, freed, chain, more)
            found.append(set(state.keep))
    return found


def _spent(trace: Trace, bound: float, keep: set[int], now: Outcome, tries: int) -> tuple[set[int], Outcome]:
    """`keep`, and what else the bound leaves room for: what saves most seconds a byte first."""
    fits = lambda then: then.saved <= bound and then.peak <= max(now.peak, bound) and then.seconds < now.seconds
    rate = {
        trace.blocks[o]: trace.steps[i].seconds / max(1, trace.sizes[trace.blocks[o]])
        for i in now.until
        for o in trace.steps[i].outs
    }
    gains = []
    for b in sorted(rate.keys() - keep, key=lambda b: -rate[b])[:tries]:
        then = outcome(trace, keep | {b})
        if fits(then):
            gains.append(((now.seconds - then.seconds) / max(1, then.saved - now.saved), b))
    for _, b in sorted(gains, reverse=True):
        then = outcome(trace, keep | {b})
        if fits(then):
            keep, now = keep | {b}, then
    return keep, now
