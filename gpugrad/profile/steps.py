"""Floor 7: the steps of a program that trains in a loop: which is timed, which recorded, and where to stop."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

from ..core import tick
from .follow import Follower
from .measure import measure
from .memory import memory
from .of import ledger
from .report import Way
from .state import Digest, history, settle


class Enough(SystemExit):
    """What was asked for is measured: the program is left as by sys.exit()."""


class Steps(Follower):
    """Follows a loop: the gradients of the first step are remembered, those between are timed, one is recorded.

    name    of the way; uses as in `Follower`
    last    the number of the step to record, from 0
    report  called once, after that step
    A step is one walk or several, and the updates after them.  A walk through what has been walked through before is
    of the same step; any other, after an update or in a program without optimizers, is of the next.  The recording
    begins with the end of the step before and ends with the first walk of the next, or with the program: then it is
    seen whether a tape outlives its step.
    """

    def __init__(self, name: str | None, uses: dict[str, int], last: int, report: Callable[[], None]) -> None:
        super().__init__(name, uses)
        self.last, self.report = last, report
        self.done, self.ends = 0, []  # steps that are over, and when they were
        self.digest: Any = Digest()
        self.around = self.digest.walk
        self._pending = False  # whether a walk of this step is over
        self._tape: Any = None  # the recording that the last walk went through
        self._age = 0  # of that walk
        self._updates = [False, False]  # whether there was one in this step, ever
        self._recording: Any = None  # (context manager, MemoryProfile)
        self.books: list[Any] = []
        if last == 0:
            self._record()

    def _record(self) -> None:
        """Begin to record, and forget what has been recorded."""
        if self._recording is not None:
            self._recording[0].__exit__(None, None, None)
        context = memory()
        self._recording = context, context.__enter__()
        self.books = []
        self.start = lambda subject: self.books.append(ledger(subject))

    def before(self, targets: Any, tape: Any) -> None:
        """A walk begins: of this step, or of the next."""
        if self.done > self.last:
            return
        if self._pending and (self._updates[0] or not self._updates[1]) and not self._again(targets, tape):
            self.over()
            if self.done > self.last:
                raise Enough(0)
        self._tape, self._age = tape, tick()

    def _again(self, targets: Any, tape: Any) -> bool:
        """Whether a walk goes through what there was at the walk before."""
        if tape is not None or self._tape is not None:
            return tape is self._tape
        return any(n.op is not None and n.seq < self._age for n in history(targets))

    def after(self, update: bool) -> None:
        """A walk, or an update, is over; the step may be, too."""
        if self.done > self.last:
            return
        settle()
        now = perf_counter()
        self._pending = True
        if update:
            self._updates = [True, True]
        self.ends[self.done :] = [now]
        if self.done == self.last - 1:
            self._record()

    def over(self) -> None:
        """The step is over."""
        if not self._pending:
            return
        self.done += 1
        self._pending = self._updates[0] = False
        self.around = lambda run, *args: run(*args)
        if self.done == self.last + 1:
            context, m = self._recording
            context.__exit__(None, None, None)
            self._recording = context, m
            self.report()

    def write(self, way: Way) -> None:
        """Write into `way` what was measured."""
        way_times = [b - a for a, b in zip(self.ends, self.ends[1:])]
        timed = way_times[: self.last - 1]  # the first has no beginning, the last was recorded
        measure(way, self._recording[1], self.books[0])
        way.runs = len(timed)
        way.seconds = median(timed) if timed else (way_times or [way.duration])[-1]
