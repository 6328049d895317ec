"""Floor 7: what a run allocated on one device: blocks, in the order in which they were born and died."""

from __future__ import annotations

import linecache
from functools import cached_property
from typing import Any

import numpy as np

from ..origin import Place, shown

SAVED, TEMPORARY, OTHER = "saved", "temporary", "other"
SMALL, REST, UNKNOWN = "small blocks", "the rest", "elsewhere"


class Line(Place):
    """A place in the program, whose line many blocks share."""

    @cached_property
    def text(self) -> str:
        return shown(self)

    @cached_property
    def source(self) -> str:
        return linecache.getline(self.file, self.line).strip()


class Phase:
    """A part of a run: its name, and where it starts and ends, in seconds; None while it goes on."""

    __slots__ = ("end", "name", "start")

    def __init__(self, name: str, start: float) -> None:
        self.name, self.start = name, start
        self.end: float | None = None

    def __repr__(self) -> str:
        return f"Phase({self.name!r}, start={self.start:.6f}, end={self.end})"


BEFORE = Phase("before", 0.0)  # the run


class Block:
    """One allocation.

    nbytes, device  how much, and where
    born, died      seconds since the start of the run; None: it was still there at the end
    op              the innermost op, or "mul backward" in a walk; outside of ops the function of gpugrad; None
    """

    __slots__ = ("born", "device", "died", "nbytes", "op", "part", "place", "saved", "within")

    def __init__(
        self, nbytes: int, device: str, born: float, op: str | None, place: Line | None, part: Phase | None
    ) -> None:
        self.nbytes, self.device, self.born, self.op, self.place, self.part = nbytes, device, born, op, place, part
        self.died: float | None = None
        self.saved = False
        self.within: Any = None  # the call or the phase in which it is temporary if it dies there; True: it did

    @property
    def phase(self) -> str | None:
        """The name of the innermost phase in which it was born; None between phases; "before" the run."""
        return None if self.part is None else self.part.name

    @property
    def kind(self) -> str:
        """What it was for.

        saved      a node kept it
        temporary  it lived and died in one op, walk or update, and no node kept it
        other      parameters, gradients, results that no node kept
        """
        return SAVED if self.saved else TEMPORARY if self.within is True else OTHER

    @property
    def line(self) -> str | None:
        """The line of the program that asked for it, "file.py:12"; in a walk the one that recorded the op."""
        return None if self.place is None else self.place.text

    @property
    def source(self) -> str | None:
        """The text of that line."""
        return None if self.place is None else self.place.source

    def __repr__(self) -> str:
        return f"<Block: {self.nbytes} bytes, {self.kind}, {self.op} in {self.line}, {self.phase}>"


class History:
    """The memory of one device during a run.

    here    by address what is there: blocks, or the bytes of small ones
    now     bytes allocated less bytes freed since the start
    top     the most of that so far, and when
    before  bytes that were there at the start, of what has been freed since: only then does one learn of it
    small   the same as `now` of small blocks, and the most of that since the last event of the log
    log     (seconds, block, whether it is born, small, most of small before) of each event, in order
    """

    def __init__(self, device: str, least: int) -> None:
        self.device, self.least = device, least
        self.here: dict[int, Block | int] = {}
        self.now = self.top = self.before = self.small = self.high = 0
        self.top_at = 0.0
        self.log: list[tuple[float, Block, bool, int, int]] = []

    def grow(self, t: float, nbytes: int) -> None:
        """So much more is there."""
        self.now += nbytes
        if self.now > self.top:
            self.top, self.top_at = self.now, t
        if abs(nbytes) < self.least:
            self.small += nbytes
            if self.small > self.high:
                self.high = self.small

    def note(self, t: float, block: Block, born: bool) -> None:
        """A block is born or died."""
        self.log.append((t, block, born, self.small, self.high))
        self.high = self.small

    # ------------------------------------------------------------------------------------ when it is over
    def timeline(self) -> tuple[np.ndarray, np.ndarray]:
        """(seconds, bytes) before and after each event: what happened to small blocks in between is in the first."""
        t, change, small, high = self._events()
        after = self.before + np.cumsum(change)
        return np.repeat(t, 2), np.stack([after - change + high, after + small], 1).ravel()

    def peak_event(self) -> int:
        """How many events of the log there were when most was there."""
        steps = self.timeline()[1]
        return 0 if not len(steps) else (int(np.argmax(steps)) + 1) // 2

    def alive(self, events: int) -> list[Block]:
        """The blocks that were there after so many events, those from before among them."""
        there = {id(b): b for _, b, born, *_ in self.log if not born and b.part is BEFORE}
        for _, b, born, *_ in self.log[:events]:
            if born:
                there[id(b)] = b
            else:
                del there[id(b)]
        return list(there.values())

    def stack(self, by: str, top: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """(seconds, bytes by name) after each event; the names that ever had most, then all others as one."""
        t, change, small, _ = self._events()
        known: dict[str, int] = {}
        blocks = {id(b): b for _, b, *_ in self.log}
        number = {k: known.setdefault(getattr(b, by) or UNKNOWN, len(known)) for k, b in blocks.items()}
        which = np.array([number[id(b)] for _, b, *_ in self.log], np.int64)
        at_start = np.zeros(len(known), np.int64)
        for k, b in blocks.items():
            if b.part is BEFORE:
                at_start[number[k]] += b.nbytes
        most = _most(which, change, at_start)
        order = sorted(range(len(known)), key=lambda i: -most[i])
        names = list(known)
        out = {names[i]: at_start[i] + np.cumsum(np.where(which == i, change, 0)) for i in order[:top]}
        if order[top:]:
            out[REST] = at_start.sum() + np.cumsum(change) - sum(out.values())
        if small.any():
            out[SMALL] = small + self.before - at_start.sum()
        return t, out

    def _events(self) -> tuple[np.ndarray, ...]:
        """Of each event: seconds, change of bytes in blocks, bytes in small ones, the most of those before."""
        times, blocks, born, small, high = zip(*self.log) if self.log else ((),) * 5
        nbytes = np.array([b.nbytes for b in blocks], np.int64)
        change = np.where(np.array(born, bool), nbytes, -nbytes)
        t = np.maximum.accumulate(np.array(times, np.float64))  # garbage may be collected in the middle of a birth
        return t, change, np.array(small, np.int64), np.array(high, np.int64)


def _most(which: np.ndarray, change: np.ndarray, at_start: np.ndarray) -> np.ndarray:
    """The most bytes that each name ever had."""
    order = np.argsort(which, kind="stable")
    sums = np.cumsum(change[order])
    most = at_start.copy()
    if len(order):
        first = np.flatnonzero(np.diff(which[order], prepend=-1))
        base = sums[first] - change[order][first]
        names = which[order][first]
        most[names] += np.maximum(np.maximum.reduceat(sums, first) - base, 0)
    return most
