"""Floor 1: where tensors came from, kept while a tape that can explain itself is alive.

Every op on a tensor that has a node leaves an Origin: on the node that a tape has recorded, or, where no tape has, on a
leaf of its own, so that the trail goes on through what has no gradient.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from traceback import StackSummary, walk_stack
from types import CodeType
from typing import Any
from weakref import ref

from .core import DROP, Node, Tape, Tensor, leaf, tick

STOPPED, CONSTANT, INTEGER, STATE = "gradient stopped", "op with no gradient", "integer op", "state assigned"
LEFT, BRANCH = "left through NumPy", "decided a branch"


class Place:
    """A line of the user's program, kept as an offset into its bytecode: to find the number takes time."""

    __slots__ = ("code", "offset", "stack")

    code: CodeType
    offset: int
    stack: StackSummary  # how the program got there, where somebody wants to know

    @property
    def file(self) -> str:
        """The path of the file."""
        return self.code.co_filename

    @property
    def line(self) -> int:
        """The number of the line."""
        found = [line for start, stop, line in self.code.co_lines() if start <= self.offset < stop]
        return found[0] or 0


class Origin(Place):
    """One op that the user's program called, where it did.

    name     of the op
    parents  of its inputs that have nodes: their Origins, leaves, or weak references to nodes that were not followed
    landed   the tapes that recorded it
    mode     what was recording
    cause    why there is no gradient through it on any tape; None
    """

    __slots__ = ("cause", "landed", "mode", "name", "parents")

    name: str
    parents: list[Any]
    landed: Iterable[Tape]
    mode: Any
    cause: str | None


class Followed(Node):
    """A node with an Origin."""

    __slots__ = ("origin",)

    origin: Origin


class Placed(Node):
    """A node that knows the line that recorded it, and nothing else of where it came from."""

    __slots__ = ("place",)

    place: Place


def place_of(n: Node) -> Place | None:
    """The line that recorded `n`, where it is remembered."""
    return n.origin if type(n) is Followed else n.place if type(n) is Placed else None


class Log:
    """What one tape's owner can tell beyond Origins.

    exits   values that left: (how, place, parent, age)
    stored  values that Variables took: (the Variable's leaf, place, parent)
    refused tensors that cannot be watched, by id: (weak reference, place)
    """

    def __init__(self) -> None:
        self.exits: list[tuple[str, Place, Any, int]] = []
        self.stored: list[tuple[Node, Place, Any]] = []
        self.refused: dict[int, tuple[Any, Place]] = {}
        key = id(self)
        logs[key] = ref(self, lambda _: logs.pop(key, None))

    def refuse(self, t: Tensor) -> None:
        """`t` cannot be watched."""
        self.refused[id(t)] = ref(t), find(Place())


# Who wants Origins, by id: a function that answers a Log that is alive, or None.  Empty as a rule: nothing is followed.
logs: dict[int, Callable[[], Log | None]] = {}
deep: list[Any] = []  # who wants the whole stack of every place
_ours: dict[Any, bool] = {}  # whether a module is one that programs call ops through, by its name


def between(frame: Any) -> bool:
    """Whether the program calls ops through the module of `frame`."""
    name = frame.f_globals.get("__name__")
    ours = _ours.get(name)
    if ours is None:
        ours = _ours[name] = str(name).partition(".")[0] in ("gpugrad", "numpy", "optree", "cupy", "cupyx")
    return ours


_files: dict[str, str] = {}  # by the ends of their paths


def shown(place: Place) -> str:
    """A place as people read it, "file.py:12"; of a second file of that name "folder/file.py:12"."""
    parts = place.file.replace("\\", "/").split("/")
    tails = ("/".join(parts[-n:]) for n in range(1, len(parts) + 1))
    return f"{next((t for t in tails if _files.setdefault(t, place.file) == place.file), place.file)}:{place.line}"


def find(place: Any, depth: int = 3) -> Any:
    """`place`, set to the line of the program that called gpugrad, maybe through NumPy or optree.

    depth   how many frames are gpugrad's for certain
    """
    frame: Any = sys._getframe(depth)
    while True:
        if not between(frame) or frame.f_back is None:
            place.code, place.offset = frame.f_code, frame.f_lasti
            if deep:
                place.stack = StackSummary.extract(walk_stack(frame), lookup_lines=False)
            return place
        frame = frame.f_back


def level() -> int:
    """The stacklevel by which `warnings.warn` in the function that asks names the line of the program."""
    frame: Any = sys._getframe(1)
    n = 1
    while between(frame) and frame.f_back is not None:
        n, frame = n + 1, frame.f_back
    return n


def parent(n: Node) -> Any:
    """What stands for node `n` in a trail."""
    return n.origin if type(n) is Followed else n if n.op is None else ref(n)


def follow(
    t: Tensor, name: str, heads: Iterable[Any], landed: Iterable[Tape], mode: Any, cause: str | None = None
) -> None:
    """Leave an Origin on `t`, which an op made of `heads`; where no tape has recorded that, on a leaf.

    With a `cause`, of a tensor that has one already, this is one more of its parents.
    """
    parents = [h.origin if type(h) is Followed else parent(h) for h in heads if h is not None]
    if not parents:
        return
    n: Any = t.node
    if type(n) is not Followed:
        n = t.node = Followed()
        n.tape = n.op = n.next = None
        n.saved, n.edges, n.grad, n.seq = ref(t), (), DROP, tick()
        n.shape, n.dtype = getattr(t.array, "shape", None), getattr(t.array, "dtype", None)
    origin = find(Origin(), 4)  # this, record or lost, who called that, and an op
    origin.name, origin.parents, origin.landed, origin.mode, origin.cause = name, parents, landed, mode, cause
    if cause is not None and (own := getattr(n, "origin", None)) is not None:
        own.parents.append(origin)
        return
    while type(n) is Followed:  # on every tape that recorded it
        n.origin, n = origin, n.next


def left(t: Any, how: str) -> None:
    """The values of `t` left for where no tape follows."""
    if isinstance(t, Tensor) and t.node is not None:
        where = find(Place())
        for log in _living():
            log.exits.append((how, where, parent(t.node), tick()))


def stored(variable: Tensor, value: Any) -> None:
    """`variable` took the values of `value`."""
    if isinstance(value, Tensor) and value.node is not None:
        where = find(Place())
        for log in _living():
            log.stored.append((leaf(variable), where, parent(value.node)))


def _living() -> list[Log]:
    return [log for r in list(logs.values()) if (log := r()) is not None]
