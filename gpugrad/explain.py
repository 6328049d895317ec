"""Floor 4: why a gradient is None, read from the Origins that a tape with explain=True has left."""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterable
from dataclasses import dataclass
from os.path import basename  # pathlib takes 4 ms to import
from typing import Any
from weakref import ref

from .core import DROP, Node, Tape, Tensor, identity
from .dtypes import is_inexact
from .origin import INTEGER, LEFT, STATE, Followed, Log, Origin, Place, parent

CONNECTED, UNCONNECTED = "connected", "not connected"
UNWATCHED, FROZEN, REBOUND = "not watched", "not trainable", "name rebound to a tensor"
OUTSIDE, PAUSED = "computed outside the block", "recording stopped"

ADVICE = {
    UNWATCHED: "Call tape.watch(source) before the first op on it, or make it a Variable.",
    FROZEN: "Make it with trainable=True, or call tape.watch(source).",
    OUTSIDE: "Move that line into the `with` block of the tape.",
    PAUSED: "Move that line out of stop_recording() or no_grad().",
    LEFT: "Use gpugrad's function in the place of NumPy's, on the tensor itself.",
    INTEGER: "Integers have no gradient: cast to a floating dtype before the tape records, and stay there.",
    STATE: "A Variable or a dataset gives back values, not how they came about: use the tensor itself.",
    REBOUND: "Write variable.assign(...), which keeps the Variable.",
    "op with no gradient": "Use another op, or give this step a gradient with custom_gradient.",
    "gradient stopped": "Leave out stop_gradient or detach, or what copies a tensor's values.",
    UNCONNECTED: "Nothing that the target was computed from, since the tape was made, leads to the source.",
    CONNECTED: "Every op between them is on the tape; if the gradient is None, a gradient function of yours says so.",
}


@dataclass(frozen=True)
class Explanation:
    """Why the gradient of a target with respect to a source is None.

    reason      one of `gpugrad.explain.ADVICE`; "connected" where it is not None
    text        the same in a sentence, with what to write instead
    file, line  where the path from the source to the target broke; None where no line did it
    op          the op in that line; None
    """

    reason: str
    text: str
    file: str | None = None
    line: int | None = None
    op: str | None = None

    def __str__(self) -> str:
        where = "" if self.file is None else f" at {basename(self.file)}:{self.line}"
        return f"{self.reason}{where}: {self.text}"


def explain(
    targets: Iterable[Any], source: Any, tape: Tape, watched: Iterable[Node], auto: bool, log: Log
) -> Explanation:
    """Why the gradient of the sum of `targets` with respect to `source` on `tape` is None.

    `watched` and `auto`: what the tape has watched, and whether it took Variables by itself, before it was over.
    """
    if not isinstance(source, Tensor):
        return _because(UNWATCHED, f"The source is a {type(source).__name__}, not a tensor.")
    targets = list(targets)
    if any(t is source for t in targets) and is_inexact(source.array.dtype):
        return _because(CONNECTED)
    n = source.node
    if n is None or not (identity(n) in set(watched) or _recorded(n, tape)):
        found = _unwatched(source, tape, auto, log)
        if found is not None:
            return found
    trail = Trail(parent(n) if n is not None else None, tape, log)
    nodes = [t.node for t in targets if isinstance(t, Tensor) and t.node is not None]
    found = [broken for n in nodes if (broken := trail.broken(parent(n))) is not None]
    for f in found:
        if f.reason == CONNECTED:
            return f
    if found:
        return found[0]
    late = "" if hasattr(source, "trainable") else "Ops on a tensor before tape.watch(tensor) leave no trace."
    return trail.left(min([n.seq for n in nodes if type(n) is Followed], default=None), late)


def _because(reason: str, text: str = "", place: Place | None = None) -> Explanation:
    file, line = (None, None) if place is None else (place.file, place.line)
    return Explanation(reason, f"{text} {ADVICE[reason]}".strip(), file, line, getattr(place, "name", None))


def _recorded(n: Node | None, tape: Tape) -> bool:
    while n is not None:
        if n.tape is tape:
            return True
        n = n.next
    return False


def _unwatched(source: Tensor, tape: Tape, auto: bool, log: Log) -> Explanation | None:
    """Why the tape does not know the source; None if it would, had an op read it."""
    refused = log.refused.get(id(source))
    if not is_inexact(source.array.dtype):
        place = refused[1] if refused is not None and refused[0]() is source else None
        return _because(INTEGER, f"The source is {source.array.dtype}.", place)
    variable: Any = source
    if hasattr(variable, "trainable"):
        if not variable.trainable:
            return _because(
                FROZEN, f"The source is the Variable {variable.name!r}, made with trainable=False or frozen."
            )
        if auto:
            return None
        return _because(UNWATCHED, "The tape was made with watch_accessed_variables=False.")
    origin = getattr(source.node, "origin", None)
    if origin is None:
        return _because(UNWATCHED, "The source is a tensor, not a Variable, and the tape was not told to watch it.")
    if tape not in origin.mode.open:
        if _rebinds(origin) and _reads_variable(origin):
            return _because(REBOUND, "The source is a tensor now, computed from a Variable of that name.", origin)
        return _because(OUTSIDE, "The source was computed there and is not watched.", origin)
    return _because(UNWATCHED, f"The source is what {origin.name} made of values that are not watched.", origin)


def _reads_variable(origin: Origin) -> bool:
    """Whether a Variable is an operand in the line of `origin`."""
    return any(
        p.grad is not DROP
        if isinstance(p, Node)
        else isinstance(p, Origin) and p.line == origin.line and _reads_variable(p)
        for p in origin.parents
    )


_ASSIGNMENT = r"(?<![\w.=!<>])([A-Za-z_][\w.\[\]'\"]*)\s*(?:([-+*/])=|=(?!=))(.*)"


def _rebinds(place: Place) -> bool:
    """Whether the line gives a name a value computed from what the name stood for, as `x = x + 1` and `x += 1` do."""
    found = re.search(_ASSIGNMENT, linecache.getline(place.file, place.line))
    if found is None:
        return False
    name, augmented, value = found.groups()
    return bool(augmented or re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", value))


class Trail:
    """What leads from one source, through Origins, to anything else."""

    def __init__(self, source: Any, tape: Tape, log: Log) -> None:
        self.tape, self.log = tape, log
        # By id, of everything looked at: whether the gradient gets from it to the source, None where no path does at
        # all; where a path that it does not get through breaks first; what the thing is made of.
        self.good: dict[int, bool | None] = {} if source is None else {id(source): True}
        self.first: dict[int, Explanation] = {}
        self.seen: dict[int, list[tuple[Any, Explanation | None]]] = {}

    def parents(self, item: Any) -> list[tuple[Any, Explanation | None]]:
        """(what `item` was made of, why there is no gradient to it)."""
        if isinstance(item, Origin):
            why = self.why(item)
            return [(p() if isinstance(p, ref) else p, why) for p in item.parents]
        if not isinstance(item, Node):
            return []  # a weak reference to what is gone
        if item.op is not None:
            text = f"{item.op.name} ran before the tape followed anything."
            found = None if _recorded(item, self.tape) else _because(OUTSIDE, text)
            return [(e.origin if isinstance(e, Followed) else e, found) for e in item.edges if e is not None]
        name = getattr(item.saved(), "name", "a Variable")
        return [
            (p, _because(STATE, f"{name!r} took the value there.", place))
            for leaf, place, p in self.log.stored
            if leaf is item
        ]

    def why(self, origin: Origin) -> Explanation | None:
        """Why there is no gradient through this op on this tape; None if there is."""
        if self.tape in origin.landed:
            return None
        text = f"{origin.name} was called there."
        if origin.cause is not None:
            return _because(origin.cause, text, origin)
        if self.tape not in origin.mode.open:
            return _because(OUTSIDE, text, origin)
        if self.tape not in origin.mode.tapes:
            return _because(PAUSED, text, origin)
        return _because(UNWATCHED, f"{origin.name} was called there on a tensor not watched yet.", origin)

    def broken(self, target: Any) -> Explanation | None:
        """Where the paths from the source to `target` break first; "connected" if one does not; None without a path."""
        good, first, seen = self.good, self.first, self.seen
        stack: list[tuple[Any, bool]] = [(target, False)]
        while stack:
            item, done = stack.pop()
            key = id(item)
            if key in good:
                continue
            if not done:
                if key not in seen:
                    seen[key] = self.parents(item)
                    stack.append((item, True))
                    stack.extend([(p, False) for p, _ in seen[key]])
                continue
            good[key] = None
            for p, why in seen[key]:
                state = good.get(id(p))
                if state is None:
                    continue
                if state and why is None:
                    good[key] = True
                    break
                good[key] = False
                first.setdefault(key, why if state and why is not None else first[id(p)])
        state = good.get(id(target))
        return None if state is None else _because(CONNECTED) if state else first[id(target)]

    def left(self, before: int | None, otherwise: str) -> Explanation:
        """Where values computed from the source went out of sight, where no path leads to the target."""
        exits = [
            (how, place)
            for how, place, p, age in self.log.exits
            if (before is None or age < before) and self.broken(p) is not None
        ]
        name = lambda p: f"{basename(p.file)}:{p.line}"
        for reason, text in ((LEFT, "Its values left the tape there"), (STATE, "Its values went into a dataset there")):
            gone = [place for how, place in exits if how == reason]
            if gone:
                more = ", ".join(sorted({name(p) for p in gone} - {name(gone[0])}))
                return _because(reason, f"{text}, and at {more}." if more else f"{text}.", gone[0])
        for _, place in exits:
            return _because(UNCONNECTED, f"Its value decided a branch at {name(place)}, which has no gradient.", place)
        return _because(UNCONNECTED, otherwise)
