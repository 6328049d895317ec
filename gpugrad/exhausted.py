"""Floor 4: out of memory: which op asked, what tapes and graphs keep, and what would help."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Sequence
from functools import cache
from math import prod
from types import TracebackType
from typing import Any, NamedTuple

from .array import library
from .core import Node
from .hooks import post_mortem
from .ledger import Entry, Ledger, of_everything
from .ledger_text import blocks, size
from .recording import active

_OURS = ("gpugrad", "numpy", "cupy", "cupyx", "scipy")
_TOP = 5
_RESERVED = 1 << 24
reserve: list[bytes] = []  # let go when memory is exhausted, so that there is some to say so


class Remedy(NamedTuple):
    """What would help, and the bytes that it saves."""

    what: str
    nbytes: int


class OutOfMemoryError(MemoryError):
    """A MemoryError that tells what holds the memory; it is one of the class that NumPy or CuPy raised, too.

    ledger    what tapes and graphs of tensors kept when it was raised, all of them together
    remedies  what would help, with the bytes that each would save; first what changes the program least
    __cause__ the error of NumPy or CuPy
    """

    ledger: Ledger
    remedies: tuple[Remedy, ...]
    report: str

    def __str__(self) -> str:
        return self.report

    def __reduce__(self) -> tuple[Any, ...]:
        return MemoryError, (self.report,)


def tell(name: str | None, e: MemoryError, values: Sequence[Any] = ()) -> None:
    """Raise `e`, of op `name` on `values` or of a walk, with a post-mortem; return where it has one.

    What our functions that failed held is let go, so that a program that catches the error has its memory back.
    """
    reserve.clear()
    try:
        new = None if isinstance(e, OutOfMemoryError) else _told(name or _walking(e.__traceback__), e, values)
    except Exception:  # of a program's class, or for want of memory even so: the error stays as it is
        new = None
    finally:
        _clear(e.__traceback__)
        set_aside()
    if new is None:
        return
    try:
        raise new from e
    finally:
        del new  # which its own traceback would hold


def _told(name: str, e: MemoryError, values: Sequence[Any]) -> OutOfMemoryError:
    """The error with its post-mortem.  What our functions that failed held is let go first."""
    _clear(e.__traceback__)
    new = MemoryError.__new__(_kind(type(e)), *e.args)  # not by __new__ of a program's class, which asks for its own
    new.__dict__.update(vars(e))
    given = ", ".join([f"{v.dtype}{list(v.shape)}" for v in values if library(v) is not None])
    said = f"out of memory in {name}{given and f' of {given}'}. {e}".rstrip()
    try:
        kept = of_everything()
        help = remedies(kept)
        new.ledger, new.remedies, new.report = kept, help, _report(said, kept, help)
    except Exception as failed:
        short = isinstance(failed, MemoryError)
        why = "no memory is left for it" if short else f"{type(failed).__name__}: {failed!s:.99}"
        new.ledger, new.remedies = Ledger(()), ()
        new.report = f"{said}\nWhat tapes and graphs keep could not be told: {why}."
    return new


def set_aside() -> None:
    """Take memory for the next post-mortem: addresses, no pages, since nothing writes to it."""
    try:
        reserve[:] = [bytes(_RESERVED)]
    except MemoryError:  # the next tape tries again
        pass


@cache
def _kind(kind: type[MemoryError]) -> Any:
    own = {"__module__": __name__, "__doc__": OutOfMemoryError.__doc__}
    return OutOfMemoryError if kind is MemoryError else type("OutOfMemoryError", (OutOfMemoryError, kind), own)


def let_go(e: BaseException | None) -> None:
    """Where `e` is a MemoryError, let go of what our functions on its way held."""
    seen: set[int] = set()  # a program may make a circle of causes: `raise e from e`
    while isinstance(e, MemoryError) and id(e) not in seen:
        seen.add(id(e))
        _clear(e.__traceback__)
        e = e.__cause__


def _clear(tb: TracebackType | None) -> None:
    """Drop the local variables of our functions that are over."""
    while tb is not None:
        if str(tb.tb_frame.f_globals.get("__name__")).partition(".")[0] in _OURS:
            try:
                tb.tb_frame.clear()
            except RuntimeError:  # it is running
                pass
        tb = tb.tb_next


def _walking(tb: TracebackType | None) -> str:
    """What a walk that failed was doing."""
    ops = [n.op.name for n in _walked(tb) if n.op is not None]
    return f"the backward of {ops[-1]}" if ops else "a backward pass"


def _walked(tb: TracebackType | None) -> list[Node]:
    """The youngest node that each function of the engine had in hand: a local variable of it."""
    found = []
    while tb is not None:
        if tb.tb_frame.f_globals.get("__name__") == "gpugrad.backprop":
            # Not by f_locals: before Python 3.13 the frame would keep that copy of its variables.
            nodes = [x for x in gc.get_referents(tb.tb_frame) if isinstance(x, Node)]
            found += sorted(nodes, key=lambda n: n.seq)[-1:]
        tb = tb.tb_next
    return found


# ---------------------------------------------------------------------------------------------- what would help
def remedies(kept: Ledger) -> tuple[Remedy, ...]:
    """Three that would give back something worth it, of what `kept` keeps alone; first what changes a program least."""
    own = [e for e in kept.entries if not e.held]
    worth = kept.freed / 20
    idle = _persistent() if any([e.persistent for e in own]) else None
    found = [idle, _narrow(own), _again(own), _elsewhere(own), _smaller(own)]
    return tuple([r for r in found if r is not None and r.nbytes > worth][:3])


def _persistent() -> Remedy:
    """Persistent tapes that record no more."""
    now = active().open
    idle = of_everything(lambda n: n.tape is not None and n.tape.persistent and n.tape not in now)
    text = "let persistent tapes go: `del tape` after the last gradient, GradientTape(uses=N), or without persistent"
    return Remedy(text, idle.freed)


def _narrow(own: list[Entry]) -> Remedy:
    parts = {"float32": 2, "float64": 4}
    n = sum([e.nbytes - e.nbytes // parts[e.dtype] for e in own if e.dtype in parts and _packed(e)])
    return Remedy("keep what ops save in 16 bits: `with gg.save_as(gg.bfloat16):`", n)


def _packed(e: Entry) -> bool:
    """Whether `save_as` and `save_on_cpu` pack it: what ops made, but for what is small."""
    return e.made_by is not None and prod(e.shape) >= 1024


def _again(own: list[Entry]) -> Remedy | None:
    """The line whose results could be computed again; the op, where no line is known."""
    groups: Counter[tuple[str | None, str | None]] = Counter()
    for e in own:
        groups[(e.line, e.source) if e.line else (None, e.op)] += e.nbytes
    if not groups:
        return None
    ((line, what), n) = groups.most_common(1)[0]
    where = f"{line}, `{what}`" if line else f"what calls {what}; gg.profile.lines() tells in which line"
    return Remedy(f"compute again what is not kept: gg.checkpoint(f) around {where} (up to)", n)


def _elsewhere(own: list[Entry]) -> Remedy:
    n = sum([e.nbytes for e in own if e.device != "cpu" and _packed(e)])
    return Remedy("keep what ops save in the host's memory: `with gg.save_on_cpu():`", n)


def _smaller(own: list[Entry]) -> Remedy | None:
    """Half of the batch: the first axis that most bytes share."""
    axes: Counter[int] = Counter()
    for e in own:
        if e.shape and e.shape[0] > 1:
            axes[e.shape[0]] += e.nbytes
    if not axes:
        return None
    ((batch, n),) = axes.most_common(1)
    return Remedy(f"half the batch, if that is the first axis: {batch // 2} in the place of {batch}", n // 2)


def _report(said: str, kept: Ledger, help: tuple[Remedy, ...]) -> str:
    lines = [said]
    share = sum([e.nbytes for e in kept.entries if e.persistent])
    if not kept.entries:
        return f"{said}\nNo tape and no graph of tensors keeps anything: what was asked for alone is too much."
    of = f", {100 * share // kept.nbytes}% of it on persistent tapes" if share else ""
    lines.append(
        f"Tapes and graphs keep {size(kept.nbytes)} in {blocks(len(kept.entries))}{of}; "
        + (
            f"{size(kept.freed)} of it they alone hold. The largest:"
            if kept.freed
            else "all of it is held by others, too: by the program, or by a walk that is under way. The largest:"
        )
    )
    for e in kept.entries[:_TOP]:
        line = f"  {e.line}  {e.source}" if e.line else ""
        lines.append(f"  {size(e.nbytes):>8}  {e.dtype}{list(e.shape)}  {e.op}: {e.argument}{line}")
    if help:
        lines += ["What would help, and the bytes that it saves; first what changes the program least:"]
        lines += [f"  {size(r.nbytes):>8}  {r.what}" for r in help]
    return "\n".join(lines)


set_aside()
post_mortem.append(tell)
