"""Floor 7: `memory()`: every allocation of a run, on the CPU and on GPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from html import escape
from time import perf_counter
from typing import Any

import numpy as np

from ..array import cupy_or_reason, default_device, library
from ..core import DROP, Node
from ..hooks import observers, walking
from ..ledger import arrays_in
from ..ledger_text import size
from ..recording import LINES, enter, leave, recorded
from . import numpy_memory
from .asker import Running, asker
from .blocks import BEFORE, SAVED, Block, History, Phase
from .gpu_memory import Figure, figures, hook
from .memory_text import text

FORWARD, BACKWARD, UPDATE = "forward", "backward", "update"
BY = ("op", "line", "kind", "phase")


def memory(least: int = 1024) -> MemoryProfile:
    """A context in which every allocation of arrays is noted: how much, for which op and line, from when until when.

        with gg.profile.memory() as m:
            train_step()
        print(m)

    least   blocks of fewer bytes are summed up, not listed

    On the CPU it is the memory of NumPy's arrays, in all threads, to the byte; on a GPU that of CuPy's pool in this
    thread, in the pool's units of 512 bytes.  Not in it: Python's objects, what BLAS takes for itself.  Bytes are
    counted from the start; what was there before is known, and counted, if it is freed inside.
    Ops recorded in this thread remember their lines; of other threads' ops it is not known what they save.  Phases are
    those of all threads together.
    Costs about 10 us an allocation and 2 us a recorded op while it is open, nothing otherwise.
    It is opened in the main thread, where handlers of signals wait while an array is allocated: RuntimeError in another
    one, and for a NumPy or a Python whose memory cannot be watched.  TypeError for a size that is no integer.
    """
    if not isinstance(least, int) or isinstance(least, bool) or least < 0:
        raise TypeError(f"profile.memory: least is a number of bytes, such as 1024, not {least!r:.40}")
    return MemoryProfile(least)


class MemoryProfile:
    """What `memory()` has noted.

    blocks   every allocation of at least so many bytes, and what was there before and has been freed
    phases   "forward", from the first op recorded; "backward", a walk; "update", a step of an optimizer; those named
             with `phase`.  They may lie in one another; a block is of the innermost
    gpu      what CuPy's pool, the driver and NVML say of each GPU at the start and in the end
    errors   those of the profile itself, which then is not complete
    seconds  how long it took; None while it goes on
    What is said of a device is said of `device`, where no other is asked for: the GPU with most, if arrays were on one.
    """

    def __init__(self, least: int) -> None:
        self.blocks: list[Block] = []
        self.phases: list[Phase] = []
        self.gpu: list[Figure] = []
        self.errors: list[Exception] = []
        self.seconds: float | None = None
        self._least, self._open, self._running = least, ExitStack(), Running()
        self._histories = {"cpu": History("cpu", least)}
        self._within: list[Phase] = []
        self._start: float | None = None

    # ------------------------------------------------------------------------------------ the run
    def __enter__(self) -> MemoryProfile:
        if self._start is not None:
            raise RuntimeError("a memory profile is of one run; make another one with gg.profile.memory()")
        self._start = perf_counter()
        with ExitStack() as undo:
            enter(LINES)
            undo.callback(leave, LINES)
            told: list[tuple[list[Any], Any]] = [
                (recorded, self._recorded),
                (walking, self._running.nodes),
                (observers, self._observe),
            ]
            for those, what in told:
                those.append(what)
                undo.callback(those.remove, what)
            self._watch_gpus(undo)
            cpu = self._histories["cpu"]
            watcher = partial(self._born, cpu), partial(self._died, cpu), self.errors.append
            numpy_memory.watch(watcher)
            undo.callback(numpy_memory.unwatch, watcher)
            self._open = undo.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._start is None or self.seconds is not None:
            return
        self._open.close()
        self.seconds = self.now()
        while self._within:
            self._leave(self._within[-1])

    def _watch_gpus(self, undo: ExitStack) -> None:
        cupy = cupy_or_reason()[0]
        if cupy is None:
            return
        first: dict[int, dict[str, int | str]] = {}

        def at(index: int) -> History:
            if index not in first:
                first[index] = figures(cupy, index)
            return self._histories.setdefault(name := f"cuda:{index}", History(name, self._least))

        def end() -> None:
            for index, start in first.items():
                last = figures(cupy, index)
                self.gpu += [Figure(f"cuda:{index}", what, start[what], last[what]) for what in start]

        if default_device().kind == "cuda":
            at(default_device().index)
        undo.callback(end)
        born = self._safely(lambda index, number, nbytes: self._born(at(index), number, nbytes))
        died = self._safely(lambda index, number, nbytes: self._died(at(index), number, nbytes))
        undo.enter_context(hook(cupy, born, died))

    def _safely(self, f: Callable[..., None]) -> Callable[..., None]:
        """`f`, whose errors are noted: the program goes on."""

        def call(*args: Any) -> None:
            try:
                f(*args)
            except Exception as e:
                self.errors.append(e)

        return call

    @contextmanager
    def phase(self, name: str) -> Iterator[Phase]:
        """Name a part of the run; "forward" does not begin in it.  TypeError for a name that is no text.

        RuntimeError while there is no run.
        """
        if not isinstance(name, str):
            raise TypeError(f'phase: a name is a text, such as "data", not {name!r:.40}')
        if self._start is None or self.seconds is not None:
            raise RuntimeError("phase: the profile is not open; name parts inside `with gg.profile.memory() as m:`")
        phase = self._enter(name)
        try:
            yield phase
        finally:
            self._leave(phase)

    # ------------------------------------------------------------------------------------ what came of it
    @property
    def devices(self) -> list[str]:
        """The devices on which there were arrays, the main one first."""
        most = sorted(self._histories.values(), key=lambda h: (h.device == "cpu", -h.top))
        return [h.device for h in most if h.log or h.top] or ["cpu"]

    @property
    def device(self) -> str:
        """The main device."""
        return self.devices[0]

    @property
    def peak(self) -> int:
        """The most bytes that were there at once."""
        at = self._at(None)
        return at.before + at.top

    @property
    def peak_at(self) -> float:
        """When that was, in seconds since the start."""
        return self._at(None).top_at

    @property
    def live(self) -> int:
        """The bytes that are there now, or were in the end, of those that are known."""
        at = self._at(None)
        return at.before + at.now

    def timeline(self, device: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(seconds, bytes): what was there before and after each event; the largest is the peak."""
        return self._at(device).timeline()

    def stack(
        self, by: str = "op", top: int = 8, device: str | None = None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """(seconds, {name: bytes}) after each event, by "op", "line", "kind" or "phase": they add up to what was there.

        top   how many names: those that ever had most; the others are "the rest", small blocks "small blocks"
        """
        if by not in BY:
            raise ValueError(f"stack: by is one of {', '.join(map(repr, BY))}, not {by!r:.40}")
        return self._at(device).stack(by, top)

    def saved_at(self, t: float, device: str | None = None) -> int:
        """The bytes that were there at `t` seconds and that nodes saved at some time."""
        return sum([b.nbytes for b in self.there(t, device) if b.kind == SAVED])

    def there(self, t: float, device: str | None = None) -> list[Block]:
        """The blocks that were there at `t` seconds."""
        name = self._at(device).device
        live = lambda b: b.born <= t and (b.died is None or b.died > t)
        return [b for b in list(self.blocks) if b.device == name and live(b)]

    def at_peak(self, device: str | None = None) -> list[Block]:
        """The blocks that were there at the peak, the largest first."""
        at = self._at(device)
        return sorted(at.alive(at.peak_event()), key=lambda b: -b.nbytes)

    def to_dict(self) -> dict[str, Any]:
        """All of it for JSON.  `schema` is 1; columns of blocks are lists of one length."""
        blocks = list(self.blocks)
        columns = ("nbytes", "device", "born", "died", "op", "line", "source", "phase", "kind")
        return {
            "schema": 1,
            "seconds": self.seconds,
            "device": self.device,
            "devices": {d: self.summary(d) for d in self.devices},
            "phases": [{"name": p.name, "start": p.start, "end": p.end} for p in self.phases],
            "blocks": {name: [getattr(b, name) for b in blocks] for name in columns},
            "gpu": [f._asdict() for f in self.gpu],
            "errors": [repr(e) for e in self.errors],
        }

    def summary(self, device: str) -> dict[str, Any]:
        at = self._at(device)
        return {"peak": at.before + at.top, "peak_at": at.top_at, "live": at.before + at.now, "before": at.before}

    def _at(self, device: str | None) -> History:
        name = self.device if device is None else str(device)
        if name not in self._histories:
            raise ValueError(f"no arrays were on device {name!r}; they were on {', '.join(self.devices)}")
        return self._histories[name]

    def __str__(self) -> str:
        return text(self)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(text(self))}</pre>"

    def __repr__(self) -> str:
        return f"<MemoryProfile: peak {size(self.peak)} on {self.device}, {len(self.blocks)} blocks>"

    # ------------------------------------------------------------------------------------ events
    def now(self) -> float:
        """Seconds since the start."""
        return perf_counter() - (self._start or 0.0)

    def _enter(self, name: str) -> Phase:
        phase = Phase(name, self.now())
        self.phases.append(phase)
        self._within.append(phase)
        return phase

    def _leave(self, phase: Phase) -> None:
        if phase in self._within:
            phase.end = self.now()
            self._within.remove(phase)

    def _observe(self, what: str, run: Callable[..., Any], *args: Any) -> Any:
        """A walk or an update is a phase."""
        for phase in [p for p in self._within if p.name == FORWARD]:
            self._leave(phase)
        phase = self._enter(what)
        if what == BACKWARD:
            self._running.begin()
        try:
            return run(*args)
        finally:
            if what == BACKWARD:
                self._running.end()
            self._leave(phase)

    def _born(self, at: History, address: int, nbytes: int) -> None:
        t = self.now()
        if address in at.here:  # it was freed where nobody told us
            self._died(at, address, None)
        at.grow(t, nbytes)
        if nbytes < self._least:
            at.here[address] = nbytes
            return
        op, place, call = asker(self._running)
        part = self._within[-1] if self._within else None
        block = Block(nbytes, at.device, t, op, place, part)
        block.within = part if part is not None and part.name in (BACKWARD, UPDATE) else call
        at.here[address] = block
        self.blocks.append(block)
        at.note(t, block, True)

    def _died(self, at: History, address: int, nbytes: int | None) -> None:
        t = self.now()
        block = at.here.pop(address, None)
        if block is None:
            if nbytes is None:
                return
            at.before += nbytes
            block = nbytes
            if nbytes >= self._least:
                block = Block(nbytes, at.device, 0.0, None, None, BEFORE)
                self.blocks.append(block)
        if isinstance(block, int):
            at.grow(t, -block)
            return
        at.grow(t, -block.nbytes)
        block.died = t
        if w := block.within:
            block.within = w.end is None if type(w) is Phase else w == asker(self._running)[2]
        at.note(t, block, False)

    def _recorded(self, n: Node) -> None:
        """What a node saves is saved, but for parameters.  The first node begins the phase "forward"."""
        for i, v in enumerate(tuple.__iter__(n.saved)):
            e = n.edges[i] if i < len(n.edges) else None
            if v is None or (e is not None and e.op is None and e.grad is not DROP):
                continue
            for a, _ in arrays_in(v, ""):
                number = _number(library(a).block(a)[0])  # type: ignore[union-attr]
                for at in self._histories.values():
                    block = at.here.get(number)
                    if isinstance(block, Block):
                        block.saved = True
        if not self._within:
            phase = self._enter(FORWARD)
            for block in reversed(self.blocks):  # what this very op has allocated
                if block.part is not None or block.op != n.op.name:
                    break
                block.part, phase.start = phase, block.born


def _number(memory: Any) -> int:
    """What NumPy's handler or CuPy's hook calls this memory."""
    return memory.__array_interface__["data"][0] if isinstance(memory, np.ndarray) else id(memory)
