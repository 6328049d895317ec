"""Floor 1: which tapes record, and `record`.

PyTorch's graph is the tape AMBIENT, which records an op when no GradientTape does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextvars import ContextVar
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any, NamedTuple
from weakref import ref

from .core import Node, Tape, Tensor, compact, leaf, make_node, on
from .dtypes import is_inexact
from .hooks import suspecting
from .origin import INTEGER, Followed, Place, Placed, find, follow, logs

AMBIENT, NONE = Tape(), Tape()
INFERENCE = Tape(silent=True)  # open under inference_mode; what has been computed there has a leaf on it
LARGE = 1 << 18  # elements from which on what an op saves may be a bit each
LINES = Tape(silent=True)  # open where nodes are to know the line that recorded them
marked: set[Tape] = set()  # INFERENCE, once a tensor has been marked
pushing: dict[Tape, Callable[..., None]] = {}  # by the tape of a ForwardAccumulator, what makes a node's tangent
recorded: list[Callable[[Node], None]] = []  # told of each node that `record` makes, once it is whole


class Packing(NamedTuple):
    """How what is saved under a tape is packed.

    pack   f(saved, op, values, heads, class of the result) -> saved
    lean   elements from which on an op with a `lean` twin is recorded as that
    """

    pack: Callable[..., tuple]
    lean: float = LARGE


packing: dict[Tape, Packing] = {}  # by a silent tape


class Change(NamedTuple):
    """One mode that has been entered: who entered it, and the open tapes it has switched off, and on.

    last    what it switches off stays so, whatever is entered after it
    """

    owner: Any
    off: frozenset[Tape]
    on: frozenset[Tape]
    last: bool = False


class Mode:
    """What records, in one thread or asyncio task.  Never changed; another takes its place.

    sole     the only tape an op can land on, or NONE
    only     the same, where an op may take its short path; else NONE
    tapes    the tapes that record, outermost first; NONE in the place of AMBIENT while that is off
    lines    whether nodes remember lines
    open     every tape that has been entered, AMBIENT first
    changes  the modes that have been entered, in order
    """

    __slots__ = ("changes", "lines", "only", "open", "sole", "tapes")

    def __init__(self, open: tuple[Tape, ...], changes: tuple[Change, ...]) -> None:
        off: frozenset[Tape] = frozenset()
        for c in changes:
            off = (off | c.off) - c.on
        for c in changes:
            if c.last:
                off |= c.off
        self.lines = LINES in open
        tapes: tuple[Tape, ...] = tuple([t for t in open if t not in off and t is not LINES and INFERENCE not in open])
        self.tapes = (NONE, *tapes) if tapes and tapes[0] is not AMBIENT else tapes
        last = self.tapes[-1] if 0 < len(self.tapes) < 3 else NONE
        self.sole = NONE if last.silent or last.beside else last
        self.only = NONE if self.sole.apart or self.lines else self.sole
        self.open, self.changes = open, changes


_active: ContextVar[Mode] = ContextVar("gpugrad_tapes", default=Mode((AMBIENT,), ()))  # noqa: B039
active = _active.get


def enter(tape: Tape) -> None:
    """Open `tape` in this thread or task."""
    now = active()
    _active.set(Mode((*now.open, tape), now.changes))


def leave(tape: Tape) -> None:
    """Close `tape`, once of the times that it was opened here."""
    now = active()
    if tape not in now.open:
        return
    i = len(now.open) - 1 - now.open[::-1].index(tape)
    _active.set(Mode(now.open[:i] + now.open[i + 1 :], now.changes))


def replace(tape: Tape, *new: Tape) -> None:
    """Put `new` in the place of `tape` among the open ones; without it, close it."""
    now = active()
    swap = lambda tapes: [u for t in tapes for u in (new if t is tape else (t,))]
    changes = tuple([Change(c.owner, frozenset(swap(c.off)), frozenset(swap(c.on)), c.last) for c in now.changes])
    _active.set(Mode(tuple(swap(now.open)), changes))


class resume:
    """A context manager inside which `mode` says what records."""

    __slots__ = ("mode", "token")

    def __init__(self, mode: Mode) -> None:
        self.mode = mode

    def __enter__(self) -> None:
        self.token = _active.set(self.mode)

    def __exit__(self, *exc: object) -> None:
        _active.reset(self.token)


def reverse(tapes: Iterable[Tape]) -> frozenset[Tape]:
    """All but those of forward mode, which `no_grad` leaves alone."""
    return frozenset([t for t in tapes if t not in pushing] if pushing else tapes)


def switch(on: bool) -> Change:
    """Switch every open tape on or off until the mode that we are in ends.  Answers what was there, for `restore`."""
    now = active()
    last = now.changes[-1] if now.changes else Change(None, frozenset(), frozenset())
    every, none = reverse(now.open), frozenset()
    _active.set(Mode(now.open, (*now.changes[:-1], Change(last.owner, none if on else every, every if on else none))))
    return last


def restore(last: Change) -> None:
    """Undo `switch`."""
    now = active()
    _active.set(Mode(now.open, (*now.changes[:-1], last)))


class scope:
    """Switches open tapes off, or on again: a context manager and a decorator, re-entrant, for several threads.

    `on`      True: the tapes that are open when it is entered record inside; False: they do not
    `tapes`   these alone, where they are given; else all but those of forward mode
    A generator or coroutine function that it decorates runs inside; its caller, between the steps, does not.
    """

    def __init__(self, on: bool, *tapes: Tape) -> None:
        self.on, self.tapes = on, tapes

    def __enter__(self) -> None:
        now = active()
        tapes, none = frozenset(self.tapes) or reverse(now.open), frozenset()
        change = Change(self, none, tapes) if self.on else Change(self, tapes, none)
        _active.set(Mode(now.open, (*now.changes, change)))

    def __exit__(self, *exc: object) -> None:
        now = active()
        for i in reversed(range(len(now.changes))):  # its own, wherever that is: modes may end in any order
            if now.changes[i].owner is self:
                _active.set(Mode(now.open, now.changes[:i] + now.changes[i + 1 :]))
                return

    def __call__(self, f: Callable[..., Any]) -> Callable[..., Any]:
        if isasyncgenfunction(f):
            raise TypeError(f"{f.__name__} is an async generator function; write the `with` block inside it")

        def call(*args: Any, **kw: Any) -> Any:
            with self:
                return f(*args, **kw)

        def steps(*args: Any, **kw: Any) -> Any:
            return self._steps(f(*args, **kw))

        async def task(*args: Any, **kw: Any) -> Any:
            with self:
                return await f(*args, **kw)

        return wraps(f)(steps if isgeneratorfunction(f) else task if iscoroutinefunction(f) else call)

    def _steps(self, inner: Any) -> Generator:
        step, value = inner.send, None
        while True:
            try:
                with self:
                    out = step(value)
            except StopIteration as e:
                return e.value
            try:
                step, value = inner.send, (yield out)
            except GeneratorExit:
                with self:
                    inner.close()
                raise
            except BaseException as e:
                step, value = inner.throw, e


# ---------------------------------------------------------------------------------------------- recording
def record(op: Any, out: Any, values: tuple, heads: Any, kind: type[Tensor] = Tensor) -> Tensor:
    """`out` as a Tensor, recorded on every active tape that tracks one of `heads`.

    `values`: inputs, out, static arguments, auxiliaries, None, as the op's `keep` picks from them.
    The general case; ops with one or two inputs and one tape have it written out.
    """
    t, now = kind(), active()
    t.array, t.node = out, None
    tape, tapes = now.sole, now.tapes
    live: Any
    for h in heads:
        if h is not None and h.tape is not tape and h not in tape.watched:
            live, landed = tracked(tapes, heads) if tapes else ([], [])
            break
    else:
        live, landed = heads, [tape]
    dtype, given = getattr(out, "dtype", None), values
    if not landed or (dtype is not None and dtype.kind not in "fc" and not is_inexact(dtype)):
        if logs:
            follow(t, op.name, heads, (), now, None if dtype is None or is_inexact(dtype) else INTEGER)
            for suspect in suspecting:
                suspect.made(op, out, values, heads)
        if INFERENCE in now.open:
            inferred(t)
        return t
    packed = next((packing[t] for t in reversed(now.open) if t in packing), None) if packing else None
    made = op
    large = LARGE if packed is None else packed.lean
    if op.lean is not None and out.size >= large and not hasattr(out, "level"):  # of Traced arrays there are no bits
        made, saved = op.lean(values)
        values = (*values[:-1], saved[-1], None)  # with the bits
    else:
        saved = (op.keep(tuple([h is not None for h in live])) if None in live else op.whole)(values)
    if marked:
        _no_inferred(saved, heads)
    if packed is not None:
        try:
            saved = packed.pack(saved, made, values, heads, kind)
        except MemoryError as e:
            raise kind.explain(op.name, e, values) from None
    edges = tuple(live)
    make = Followed if logs else Placed if now.lines else Node
    place = find(Place()) if make is Placed else None
    for tape in landed:
        t.node = n = make_node(tape, made, saved, edges, out, t.node, make)
        if make is Placed:
            n.place = place  # type: ignore[attr-defined]
        if tape.nodes is not None:
            tape.nodes.append(ref(n))
            if len(tape.nodes) > tape.limit:
                compact(tape)
    for tell in recorded:
        tell(t.node)  # type: ignore[arg-type]
    for tape in landed if pushing else ():
        if tape in pushing:
            pushing[tape](op, given, edges, t.node)
    if logs:
        follow(t, op.name, heads, landed, now)
        for suspect in suspecting:
            suspect.made(op, out, values, heads)
    return t


def inferred(t: Tensor) -> None:
    """Mark `t` as a tensor of inference_mode."""
    leaf(t).tape = INFERENCE
    marked.add(INFERENCE)


def _no_inferred(saved: tuple, heads: Any) -> None:
    for v, h in zip(saved, heads):
        if h is not None and h.tape is INFERENCE and v is not None:
            raise RuntimeError(
                "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode "
                "in computation tracked by autograd. To work around this, make a clone to get a normal tensor, or use "
                "no_grad() instead of inference_mode()."
            )


def lost(t: Tensor, name: str, inputs: Iterable[Any], cause: str) -> Tensor:
    """`t`, made of `inputs` in a way that no tape follows; `tape.explain` can, where it is asked for."""
    if logs:
        follow(t, name, [x.node for x in inputs if isinstance(x, Tensor)], (), active(), cause)
    return t


def tracked(tapes: tuple[Tape, ...], heads: Any) -> tuple[list[Node | None], list[Tape]]:
    """(the heads that some tape tracks, the tapes that track one).  The first tape is AMBIENT, or NONE."""
    live: list[Node | None] = [None] * len(heads)
    landed: list[Tape] = []
    for tape in tapes[1:]:
        hit = False
        if tape.every:
            tape.watched.update([h for h in heads if h is not None])
            continue
        for i, h in enumerate(heads):
            if h is not None and (h.tape is tape or on(h, tape) is not None) and not tape.silent:
                live[i] = h
                hit = True
        if hit:
            landed.append(tape)
    ambient, beside = False, all([tape.beside for tape in landed])
    for i, h in enumerate(heads):  # history that no GradientTape has
        if h is not None and (beside or live[i] is None) and on(h, tapes[0]) is not None:
            live[i], ambient = h, True
    return live, [tapes[0], *landed] if ambient and beside else landed
