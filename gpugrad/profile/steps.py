"""Floor 7: the steps of a program that trains in a loop: which is timed, which recorded, and where to stop."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

from ..core import tick
from ..origin import Place, find, shown
from ..recording import LINES, active, enter
from .follow import Follower
from .measure import keep_most, measure
from .report import Way
from .state import Digest, history, settle
from .trace import memory


class Steps(Follower):
    """Follows a loop: the gradients of the first step are remembered, those between are timed, one is recorded.

    name    of the way; uses as in `Follower`
    last    the number of the step to record, from 0; timed: how many before it are timed, but not the first of all
    report  called once, after that step; then leave, which does not return
    A step is one walk or several, and the updates after them.  A walk through what was recorded before the last one is
    of the same step; one at a
    line that this step has not seen (a GAN's other half) is, too.  Any other, after an update or in a program without
    optimizers, is of the next.  The recording
    begins with the end of the step before and ends with the first walk of the next, or with the program: then it is
    seen whether a tape outlives its step.
    """

    def __init__(
        self, name: str | None, uses: dict[str, int], last: int, timed: int, report: Callable[[], None],
        leave: Callable[[], None],
    ) -> None:  # fmt: skip
        super().__init__(name, uses)
        self.last, self.timed, self.report, self.leave = last, timed, report, leave
        self.done, self.ends = 0, []  # steps that are over, and when they were
        self.digest: Any = Digest()
        self.around = self.digest.walk
        self._pending = False  # whether a walk of this step is over
        self._age = 0  # of the last walk
        self._lines: set[str] = set()  # of the tapes of this step, or of its backward()
        self._updates = [False, False]  # whether there was one in this step, ever
        self._profile: Any = None  # the recording
        self.books: list[Any] = []
        if last == 0:
            self._record()

    def _record(self) -> None:
        """Begin to record, and forget what has been recorded."""
        self._recorded()
        self._profile = memory(least=0).__enter__()
        self.books = []
        self.start = self._book

    def opened(self, tape: Any) -> None:
        """A GradientTape has been made, maybe in another thread than the one that began to record."""
        super().opened(tape)
        if self._profile is not None and self._profile.seconds is None and LINES not in active().open:
            enter(LINES)

    def _book(self, subject: Any) -> None:
        """Keep the ledger of the walk before which most is saved."""
        keep_most(self.books, self._profile, subject)

    def before(self, targets: Any, tape: Any) -> None:
        """A walk begins: of this step, or of the next."""
        if self.done > self.last:
            return
        line = self._line(tape)
        whole = self._pending and (self._updates[0] or not self._updates[1]) and line in self._lines
        if whole and not self._again(targets, tape):
            self.over()
            if self.done > self.last:
                self.leave()
        self._lines.add(line)
        self._age = tick()

    def _line(self, tape: Any) -> str:
        """The line that made the tape, or that asks the graph of tensors."""
        made = [line for r, line in self._tapes if (own := r()) is not None and own._tape is tape]
        return made[0] if tape is not None and made else shown(find(Place()))

    def _again(self, targets: Any, tape: Any) -> bool:
        """Whether a walk goes through what was recorded before the last one."""
        nodes = [n for n in history(targets) if n.op is not None] if tape is None else tape.live()
        return any(n.seq < self._age for n in nodes)

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
        self._lines.clear()
        self.around = lambda run, *args: run(*args)
        if self.done == self.last + 1:
            self._recorded()
            self.report()

    def _recorded(self) -> None:
        """Record no more."""
        if self._profile is not None and self._profile.seconds is None:
            self._profile.__exit__(None, None, None)

    def end(self) -> None:
        """The program is over, and with it the step."""
        if self.done <= self.last:
            self.over()
            self._recorded()

    def write(self, way: Way) -> None:
        """Write into `way` what was measured."""
        measure(way, self._profile, *self.books[0])
        times = [b - a for a, b in zip(self.ends, self.ends[1:])]  # the first step has no beginning
        timed = times[: self.last - 1][-self.timed :]
        way.runs = len(timed)
        way.seconds = median(timed) if timed else (times or [way.duration])[-1]
