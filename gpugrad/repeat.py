"""Floor 1: a run of a function that can be repeated: from the same random numbers, and without a second effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

from .array import chosen_device
from .core import tick


class Run:
    """One run, and the generators that it drew from, as they were before it did.

    A repetition draws from copies of them: the generators themselves do not change, whoever else draws from them.
    What the run starts in other threads is not followed.
    own       the generator of the thread that it ran in; None where nothing is followed
    settings  what was set around it, of `carried`
    """

    __slots__ = ("before", "own", "settings")

    def __init__(self) -> None:
        self.settings = [(v, v.get()) for v in carried]
        self.before: dict[Any, Any] = {}
        self.own: Any = None

    @contextmanager
    def follow(self, own: Any) -> Iterator[None]:
        """Remember what is drawn from inside."""
        self.own = own
        token = _followed.set((*_followed.get(), self))
        try:
            yield
        finally:
            _followed.reset(token)

    @contextmanager
    def again(self) -> Iterator[None]:
        """Draw the same numbers inside, under the same settings, in whatever thread this is."""
        own, copies, _ = _repeated.get() or (None, {}, 0)
        token = _repeated.set((self.own or own, {**copies, **{g: b.twin() for g, b in self.before.items()}}, tick()))
        tokens = [(v, v.set(value)) for v, value in self.settings]
        try:
            yield
        finally:
            for v, before in tokens:
                v.reset(before)
            _repeated.reset(token)


carried: list[ContextVar[Any]] = [chosen_device]  # what a program sets around a part of itself
_followed: ContextVar[tuple[Run, ...]] = ContextVar("gpugrad_followed", default=())
# In a repetition: (the generator of the run's thread, what stands for each generator, when it began).
_repeated: ContextVar[tuple[Any, dict[Any, Any], int] | None] = ContextVar("gpugrad_repeated", default=None)


def drawing_on(f: Callable[..., Any]) -> Callable[..., Any]:
    """f with other numbers each time: it draws as if called from here, though a run that calls it is repeated."""
    drawn: list[ContextVar[Any]] = [_followed, _repeated]
    here = [(v, v.get()) for v in drawn]

    @wraps(f)
    def call(*args: Any, **named: Any) -> Any:
        tokens = [(v, v.set(value)) for v, value in here]
        try:
            return f(*args, **named)
        finally:
            for v, before in tokens:
                v.reset(before)

    return call


def repeated() -> bool:
    """Whether a function is being computed again for its gradient: running statistics do not move a second time."""
    return _repeated.get() is not None


def followed() -> bool:
    """Whether a function is being computed that may be computed again, from the same random numbers."""
    return bool(_followed.get())


def assigned_before(born: int) -> bool:
    """Whether a variable of this age has been assigned to in the first run, so that a repetition leaves it alone."""
    found = _repeated.get()
    return found is not None and born < found[2]


def own_of_run() -> Any:
    """In a repetition, the generator of the thread of the run; else None."""
    found = _repeated.get()
    return None if found is None else found[0]


def stand_in(g: Any) -> Any:
    """What generator `g` stands for now: itself, or in a repetition its copy.  Whoever follows learns of it."""
    found = _repeated.get()
    now = g if found is None else found[1].get(g, g)
    for run in _followed.get():
        if g not in run.before:
            run.before[g] = now.twin()
    return now
