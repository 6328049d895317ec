"""Floor 7: following a program that knows nothing of it: its tapes, walks back and updates, and another way of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any
from weakref import ref

from ..hooks import observers, opening
from ..origin import Place, find, shown

PERSISTENT, ONCE, USES = "persistent", "not persistent", "uses"


class Follower:
    """Tells a program's tapes how long to keep what they saved, and remembers what they were asked for.

    way    "persistent"; "not persistent"; "uses": as often as `uses` says for each line; else as the program says
    uses   how often the tapes made in a line were asked for a gradient or a Jacobian, by "file.py:12"
    graphs how many walks went back through the graph of tensors
    start  called before each walk, with the tape, or the targets on the graph of tensors
    around called as around(walk, *its arguments), for what the walk answers
    Tapes and walks inside a walk belong to what computes something again or has a gradient of its own: they are left
    alone.
    """

    def __init__(self, way: str | None = None, uses: dict[str, int] | None = None) -> None:
        self.way, self.wanted = way, uses or {}
        self.uses: dict[str, int] = {}
        self.graphs = 0
        self.start: Callable[[Any], None] | None = None
        self.around: Callable[..., Any] = lambda run, *args: run(*args)
        self._tapes: list[tuple[Any, str]] = []  # (weak reference to a GradientTape, the line that made it)
        self._inside: set[int] = set()  # the threads that walk

    def opened(self, tape: Any) -> None:
        """A GradientTape has been made."""
        if get_ident() in self._inside:
            return
        line = shown(find(Place()))
        self.uses.setdefault(line, 0)
        self._tapes = [(r, where) for r, where in self._tapes if r() is not None] + [(ref(tape), line)]
        if self.way in (PERSISTENT, ONCE, USES):
            n = None if self.way == PERSISTENT else 1 if self.way == ONCE else max(1, self.wanted.get(line, 1))
            tape._persistent, tape._uses = n is None, n

    def observe(self, what: str, run: Callable[..., Any], *args: Any) -> Any:
        """The engine walks back, or an optimizer takes a step."""
        if what == "backward":
            return self._walk(run, *args)
        out = run(*args)
        self.after(True)
        return out

    def _walk(self, run: Callable[..., Any], *args: Any) -> Any:
        if get_ident() in self._inside:
            return run(*args)
        targets, seeds, tape, sources, retain, lift = args
        own = None if tape is None else self._asked(tape)
        self.before(targets, tape)
        if tape is None:
            self.graphs += 1
            retain = True if self.way == PERSISTENT else lift if self.way == ONCE else retain
        if self.start is not None:
            self.start(targets if own is None else own)
        self._inside.add(get_ident())
        try:
            out = self.around(run, targets, seeds, tape, sources, retain, lift)
        finally:
            self._inside.remove(get_ident())
        self.after(False)
        return out

    def _asked(self, tape: Any) -> Any:
        """The GradientTape of a recording, its use counted."""
        for r, line in self._tapes:
            own = r()
            if own is not None and own._tape is tape:
                self.uses[line] = max(self.uses[line], own._used + 1)
                return own
        return None

    # ------------------------------------------------------------------------------------ for subclasses
    def before(self, targets: Any, tape: Any) -> None:
        """A walk begins, back from targets, through this recording or, with None, through the graph of tensors."""

    def after(self, update: bool) -> None:
        """A walk, or an update, is over."""


@contextmanager
def followed_by(follower: Follower) -> Iterator[None]:
    """The programs of this process are followed inside."""
    opening.append(follower.opened)
    observers.append(follower.observe)
    try:
        yield
    finally:
        observers.remove(follower.observe)
        opening.remove(follower.opened)
