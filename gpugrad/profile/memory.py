"""Floor 7: every allocation of a run: when, for what, and how long."""

from __future__ import annotations

import linecache
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from os.path import basename
from time import perf_counter
from typing import Any

import numpy as np

from ..array import library
from ..core import DROP, Node
from ..hooks import observers, walking
from ..ledger import _arrays
from ..origin import Place
from ..recording import LINES, enter, leave, recorded
from . import numpy_memory
from .asker import Walks, asker, innermost
from .cuda_memory import Gpu, gpus

SAVED, TEMPORARY, OTHER = "saved", "temporary", "other"
SMALL, BEFORE, REST = "small blocks", "before", "the rest"


class Phase:
    """A part of the run: its name, and where it starts and ends, in seconds; None while it goes on."""

    __slots__ = ("end", "name", "start")

    def __init__(self, name: str, start: float) -> None:
        self.name, self.start = name, start
        self.end: float | None = None

    def __repr__(self) -> str:
        return f"Phase({self.name!r}, {self.start!r}, {self.end!r})"


class Block:
    """One allocation.

    nbytes, device   how much, and where
    born, died       seconds since the start; of a block from before it is born at 0; died is None while it is there
    op               the innermost op, "mul backward" in a walk, or the function of gpugrad that was called; None
    phase            the name of the innermost phase it was born in; "before"; None
    """

    __slots__ = ("born", "device", "died", "held_by", "nbytes", "of_phase", "op", "place", "saved", "within")

    def __init__(self, nbytes: int, device: str, born: float, op: str | None, place: Place | None) -> None:
        self.nbytes, self.device, self.born, self.op, self.place = nbytes, device, born, op, place
        self.died: float | None = None
        self.of_phase: Phase | None = None
        self.saved = False
        self.within: Any = None  # the call of an op, or the phase, in which it is temporary if it dies; True: it did

    @property
    def phase(self) -> str | None:
        return None if self.of_phase is None else self.of_phase.name

    @property
    def kind(self) -> str:
        """ "saved": some node kept it; "temporary": lived and died in an op, a walk or an update; "other"."""
        return SAVED if self.saved else TEMPORARY if self.within is True else OTHER

    @property
    def line(self) -> str | None:
        """The line of the program: "file.py:12"."""
        return None if self.place is None else f"{basename(self.place.file)}:{self.place.line}"

    @property
    def source(self) -> str | None:
        """The text of that line."""
        return None if self.place is None else linecache.getline(self.place.file, self.place.line).strip()

    def __repr__(self) -> str:
        return f"<Block of {self.nbytes} bytes by {self.op} at {self.line}: {self.kind}, {self.phase}>"


class _Curve:
    """What is known of the memory of one device while the run goes on.

    here     by address: blocks that are there, or the bytes of small ones
    now, top, top_at   bytes allocated less those freed since the start; the most so far, and when
    before   bytes that were there at the start, of what has been freed since
    small, high   the same of small blocks: now, and the most since the last entry of the log
    log      (seconds, a block, whether it is born, small, high) in the order of events
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.here: dict[int, Block | int] = {}
        self.now = self.top = self.before = self.small = self.high = 0
        self.top_at = 0.0
        self.log: list[tuple[float, Block, bool, int, int]] = []

    def note(self, t: float, block: Block, born: bool) -> None:
        self.log.append((t, block, born, self.small, self.high))
        self.high = self.small

    def grow(self, t: float, nbytes: int, small: bool) -> None:
        self.now += nbytes
        if self.now > self.top:
            self.top, self.top_at = self.now, t
        if small:
            self.small += nbytes
            if self.small > self.high:
                self.high = self.small

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """(seconds, bytes): two points an entry: the most before it, and after it."""
        log = list(self.log)
        change = np.array([b.nbytes if born else -b.nbytes for _, b, born, _, _ in log], np.int64)
        after = self.start() + np.cumsum(change)
        small, high = [np.array([e[i] for e in log], np.int64) for i in (3, 4)]
        low = sum([b for b in self.here.values() if isinstance(b, int)])  # only to keep the sum's dtype
        del low
        return np.repeat([e[0] for e in log], 2), np.stack([after - change + high, after + small], 1).ravel()

    def start(self) -> int:
        return self.before
