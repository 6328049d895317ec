"""Floor 1: counter-based generators of random numbers: a key, and how many draws were taken of each stream."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .array import Device
from .repeat import own_of_run, stand_in


def _mixed(*numbers: int) -> int:
    """64 bits that the numbers determine; without numbers, others each time."""
    words = [w for n in numbers for w in (n % 2**32, n >> 32 & 0xFFFFFFFF)]  # two each: it takes [0] and [0, 0] for one
    entropy = [len(numbers), *words] if numbers else None
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])


class Generator:
    """Streams of random numbers: one a device, and one a device for each `seed=` of a draw.

    All that it keeps is a key, and how many draws were taken from each stream.  seed: None for another one each time.
    Threads may share it, but what each of them gets then depends on who comes first; `fork` gives them one each.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._lock = threading.Lock()
        self._start(_mixed() if seed is None else _mixed(int(seed)), 0 if seed is None else int(seed), {})

    def _start(self, key: int, base: int, draws: dict[str, int]) -> None:
        self._key, self._base, self._draws = key, base, draws

    def __repr__(self) -> str:
        return f"Generator(key={self._key}, draws={self._draws})"

    def __getstate__(self) -> dict[str, Any]:
        return self.get_state()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._lock = threading.Lock()
        self._start(*_read(state))

    def seed(self, value: int) -> None:
        """Start anew: the same seed gives the same numbers on the same device."""
        stand_in(self)._start(_mixed(int(value)), int(value), {})

    def get_state(self) -> dict[str, Any]:
        """Where the streams are, in plain numbers, for `set_state`: a dict that JSON can hold."""
        g = stand_in(self)
        return {"key": g._key, "base": g._base, "draws": dict(g._draws)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` answered.  ValueError for anything else."""
        stand_in(self)._start(*_read(state))

    def fork(self, *numbers: int) -> Generator:
        """The generator that this one's seed and the numbers determine: for a worker, a layer, a step.

        This one does not change, nor does it matter what was drawn from it.
        """
        if not numbers:
            raise ValueError("fork: give a number, or several, that the new generator is to be known by")
        return stand_in(self)._child(2**33, *numbers)

    def split(self, n: int) -> list[Generator]:
        """n generators, others each time."""
        g = stand_in(self)
        with g._lock:
            before = g._draws.get("split", 0)
            g._draws["split"] = before + n
        return [g._child(2**34, before + i) for i in range(n)]

    def _child(self, *numbers: int) -> Generator:
        key = _mixed(self._key, *[int(n) for n in numbers])
        return _made(key, key, {})

    def twin(self) -> Generator:
        """Another generator that is where this one is."""
        with self._lock:
            return _made(self._key, self._base, dict(self._draws))

    def take(self, device: Device, count: int = 1, stream: int | None = None) -> tuple[int, int]:
        """(key, offset) of `count` offsets of a counter-based generator that nobody else gets.

        stream   a sequence of its own, which this generator's seed (none: 0) and the number determine
        """
        name = str(device) if stream is None else f"{device}/{stream}"
        g = stand_in(self)
        with g._lock:
            offset = g._draws.get(name, 0)
            g._draws[name] = offset + count
        return g._key if stream is None else _mixed(g._base, stream), offset


def _read(state: Any) -> tuple[int, int, dict[str, int]]:
    if not isinstance(state, dict) or {*state} != {"key", "base", "draws"}:
        raise ValueError(f"set_state: takes what get_state answered, given {state!r:.60}")
    return int(state["key"]), int(state["base"]), {str(k): int(v) for k, v in state["draws"].items()}


def _made(key: int, base: int, draws: dict[str, int]) -> Generator:
    g = Generator.__new__(Generator)
    g._lock = threading.Lock()
    g._start(key, base, draws)
    return g


# ---------------------------------------------------------------------------------------------- this thread's
_thread = threading.local()


def own() -> Generator:
    """This thread's generator, made when it is first asked for.  Where a run is repeated, that of its thread."""
    if (of_run := own_of_run()) is not None:
        return of_run
    try:
        return _thread.generator
    except AttributeError:
        _thread.generator = Generator()
        return _thread.generator


@contextmanager
def as_own(g: Generator) -> Iterator[None]:
    """Let `g` be this thread's generator inside."""
    before = own()
    _thread.generator = g
    try:
        yield
    finally:
        _thread.generator = before


def seed(value: int) -> None:
    """Start this thread's generator anew: the same seed gives the same numbers on the same device."""
    own().seed(value)


def get_state() -> dict[str, Any]:
    """Where this thread's generator is, in plain numbers, for `set_state`."""
    return own().get_state()


def set_state(state: dict[str, Any]) -> None:
    """Let this thread's generator go on from what `get_state` answered.  ValueError for anything else."""
    own().set_state(state)


def split(n: int) -> list[Generator]:
    """n generators from this thread's, others each time."""
    return own().split(n)


def counters(
    device: Device, count: int, stream: int | None = None, generator: Generator | None = None
) -> tuple[int, int]:
    """(key, offset) of `count` offsets of this thread's generator or another, as `Generator.take`."""
    return (generator or own()).take(device, count, stream)
