"""Floor 4: what tapes keep: each block of memory once, which op asked for it, in which line, and what lets go of it."""

from __future__ import annotations

import gc
import linecache
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from operator import attrgetter
from types import FunctionType, MethodType
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from .array import device_of, library
from .core import Node, Packed, Parcel, Tape, Tensor
from .holders import attributes, fall, named, uncollected
from .ledger_text import html, size, text
from .origin import place_of, shown
from .paths import PICK
from .recording import AMBIENT

GRADIENT, BACKWARD, TAPE, TENSOR = "the next gradient", "the next backward()", "drop of the tape", "drop of the tensor"
A_TENSOR, ELSEWHERE = "a tensor", "something outside"
_NO_ARRAYS = frozenset((Node, tuple, list, dict, set, ref))
_age = attrgetter("seq")


class Entry(NamedTuple):
    """One block of memory that is kept.

    nbytes         of the whole block, which may be larger than the array: views share it
    shape, dtype   of the array that was saved; the first of several
    device         "cpu", "cuda:0"
    op, argument   the op whose node keeps it, the first of several, and as what: "input x", "output", "auxiliary bits"
    line, source   the line that recorded the op: "file.py:12" and its text; None where lines were not remembered
    users          (op, argument, line) of all that share it
    made_by        the op that computed it, where that is known
    released       what lets go of it: "the next gradient", "drop of the tape", "drop of Variable 'w'"
    held           whether something else holds the memory, too, so that the tape alone does not give it back
    persistent     whether a persistent tape keeps it
    """

    nbytes: int
    shape: tuple[int, ...]
    dtype: str
    device: str
    op: str | None
    argument: str
    line: str | None
    source: str | None
    users: tuple[tuple[str | None, str, str | None], ...]
    made_by: str | None
    released: str
    held: bool
    persistent: bool


class Ledger:
    """What a tape, or the graph behind tensors, keeps: `print` shows a table.

    entries   the blocks of memory, the largest first
    subject   whose they are: "the tape"
    """

    __slots__ = ("entries", "subject")

    def __init__(self, entries: Iterable[Entry], subject: str = "the tape") -> None:
        self.entries = tuple(sorted(entries, key=lambda e: -e.nbytes))
        self.subject = subject

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks."""
        return sum([e.nbytes for e in self.entries])

    @property
    def freed(self) -> int:
        """Bytes that come back when the subject is dropped: of the blocks that nobody else holds."""
        return sum([e.nbytes for e in self.entries if not e.held])

    def by_op(self) -> dict[str, int]:
        """Bytes by the op that keeps them, the most first."""
        return self._by(lambda e: e.op or e.argument)

    def by_line(self) -> dict[str, int]:
        """Bytes by the line that recorded the op, the most first; "" where no line is known."""
        return self._by(lambda e: e.line or "")

    def _by(self, key: Callable[[Entry], str]) -> dict[str, int]:
        groups: dict[str, int] = {}
        for e in self.entries:
            groups[key(e)] = groups.get(key(e), 0) + e.nbytes
        return dict(sorted(groups.items(), key=lambda item: -item[1]))

    def to_dict(self) -> dict[str, Any]:
        """The same as dicts, lists, strings and numbers, for JSON."""
        row = lambda e: {**e._asdict(), "shape": list(e.shape), "users": list(map(list, e.users))}
        return {
            "subject": self.subject,
            "nbytes": self.nbytes,
            "freed": self.freed,
            "by_op": self.by_op(),
            "by_line": self.by_line(),
            "entries": list(map(row, self.entries)),
        }

    def __repr__(self) -> str:
        return f"<Ledger of {self.subject}: {size(self.nbytes)} in {len(self.entries)} blocks>"

    def __str__(self) -> str:
        return text(self)

    def _repr_html_(self) -> str:
        return html(self)


class _Block:
    """An Entry in the making.  It holds no array: references are counted meanwhile."""

    __slots__ = ("device", "dtype", "made_by", "nbytes", "persistent", "released", "shape", "source", "users")

    def __init__(self, a: Any, nbytes: int, dtype: str, source: str | None, released: str) -> None:
        self.nbytes, self.shape, self.dtype, self.device = nbytes, a.shape, dtype, str(device_of(a))
        self.users: list[tuple[str | None, str, str | None]] = []
        self.source, self.released = source, released
        self.made_by: str | None = None
        self.persistent = False


# ---------------------------------------------------------------------------------------------- three questions
# No local variable holds a node or an array while `_Book.closed` counts references.
@uncollected
def of_tape(tape: Tape | None, released: str, roots: list[Any]) -> Ledger:
    """What `tape` keeps until it is `released`, and what else dies with it and `roots`, a list that is used up."""
    book = _Book()
    if tape is not None:
        roots += [x for n in tape.live() for x in (n.saved, n.edges)]
        roots += (tape.watched, tape.arrays, tape.nodes)
        book.collect(tape.live(), lambda n: released)
        book.name([*tape.watched, *[e for n in tape.live() for e in n.edges]])
    return book.closed(roots, "the tape", TAPE)


@uncollected
def nbytes(tape: Tape | None) -> int:
    """Bytes of the blocks that the nodes of `tape` saved, whoever holds them; nothing is asked about holders."""
    book = _Book()
    book.collect(() if tape is None else tape.live(), lambda n: TAPE)
    return sum([b.nbytes for b in book.blocks.values()])


@uncollected
def of_tensors(tensors: list[Tensor], subject: str) -> Ledger:
    """What the history of `tensors` keeps, which dies with them, but for their own values that no op saved."""
    book = _Book()
    nodes = upstream([t.node for t in tensors])
    book.collect(nodes, lambda n: BACKWARD if n.tape is AMBIENT else TENSOR if _persistent(n) else GRADIENT)
    book.name(nodes)
    nodes.clear()
    book.asked, book.loose = set(map(id, tensors)), False
    book.apart = {_key(t.array) for t in tensors}
    return book.closed([x for t in tensors for x in (t.array, t.node)], subject, TENSOR)


@uncollected
def of_everything(which: Callable[[Node], bool] = lambda n: True) -> Ledger:
    """What all nodes of the process keep, on tapes and on the graph of tensors, or `which` of them.  Takes a while."""
    book = _Book()
    nodes = [x for x in gc.get_objects() if issubclass(type(x), Node) and x.op is not None and x.saved is not None]
    nodes = sorted(filter(which, nodes), key=_age)
    book.collect(nodes, lambda n: BACKWARD if n.tape is AMBIENT else TAPE if _persistent(n) else GRADIENT)
    book.name([e for n in nodes for e in n.edges])
    roots = [x for n in nodes for x in (n.saved, n.edges)]
    nodes.clear()
    return book.closed(roots, "all that is recorded", TAPE)


def upstream(nodes: Iterable[Node | None]) -> list[Node]:
    """All nodes that these lead to, on all tapes, the oldest first."""
    seen: dict[int, Node] = {}
    todo = list(nodes)
    while todo:
        n = todo.pop()
        if n is not None and id(n) not in seen:
            seen[id(n)] = n
            todo += (n.next, *n.edges)
    return sorted(seen.values(), key=_age)


# ---------------------------------------------------------------------------------------------- how it is written
class _Book:
    """A ledger in the making.

    blocks  by the id of the memory
    names   what to call the tensors whose memory it is
    seen    the ids of what nodes saved: those of a chain share it
    asked   the ids of the tensors that it is about
    apart   blocks that are not the ledger's
    loose   whether the nodes let go of what they saved, so that no history of a tensor holds it
    dtypes  their names, which take NumPy a while
    """

    def __init__(self) -> None:
        self.blocks: dict[int, _Block] = {}
        self.names: dict[int, str] = {}
        self.seen: set[int] = set()
        self.asked: set[int] = set()
        self.apart: set[int] = set()
        self.loose = True
        self.dtypes: dict[Any, str] = {}

    def collect(self, nodes: Iterable[Node], released: Callable[[Node], str]) -> None:
        """Note what each of `nodes` saved; the first of a chain speaks for it."""
        for n in nodes:
            if n.op is None or n.saved is None or id(n.saved) in self.seen:
                continue
            self.seen.add(id(n.saved))
            place = place_of(n)
            line = None if place is None else shown(place)
            source = None if place is None else linecache.getline(place.file, place.line).strip()
            release, kept_on = released(n), _persistent(n)
            for i, v in enumerate(tuple.__iter__(n.saved)):
                if v is None:
                    continue
                argument = _argument(n, i)
                for a, how in ((v, argument),) if type(v) is np.ndarray else arrays_in(v, argument):
                    b = self.note(a, (n.op.name, how, line), release, source)
                    if b is not None:
                        if b.made_by is None and how == argument:
                            b.made_by = _maker(n, i, argument)
                        b.persistent = b.persistent or kept_on

    def note(
        self, a: Any, user: tuple[str | None, str, str | None], released: str, source: str | None = None
    ) -> _Block | None:
        """The block of array `a`, with one more user; None where there is no memory."""
        owner, nbytes = library(a).block(a)  # type: ignore[union-attr]
        if not nbytes:
            return None
        b = self.blocks.get(id(owner))
        if b is None:
            if a.dtype not in self.dtypes:
                self.dtypes[a.dtype] = str(a.dtype)
            b = self.blocks[id(owner)] = _Block(a, nbytes, self.dtypes[a.dtype], source, released)
        if user not in b.users:
            b.users.append(user)
        if released == TAPE:  # the last to let go
            b.released = TAPE
        return b

    def name(self, nodes: Iterable[Node | None]) -> None:
        """Note what to call the tensors that leaves stand for; those of one name by their shapes, too."""
        leaves: dict[int, Node] = {id(n): n for n in nodes if n is not None and n.op is None and type(n.saved) is ref}
        found = {n: t for n in leaves.values() if (t := n.saved()) is not None}
        called = {n: getattr(t, "name", None) for n, t in found.items()}
        often = Counter(called.values())
        for n, t in found.items():
            name = called[n]
            more = f" {t.array.dtype}{list(t.array.shape)}" if often[name] > 1 else ""
            self.names[_key(t.array)] = A_TENSOR if name is None else f"{type(t).__name__} {name!r}{more}"

    def closed(self, roots: list[Any], subject: str, drop: str) -> Ledger:
        """The ledger, with what else dies with `roots`."""
        dead, holder = fall(roots)
        self.collect(sorted([x for x in dead.values() if issubclass(type(x), Node)], key=_age), lambda n: drop)
        for key, x in dead.items():
            if type(x) in _NO_ARRAYS or library(x) is None:
                continue
            if (b := _key(x)) in dead and b not in self.blocks and b not in self.apart:
                self.note(x, (None, _way(key, dead, holder), None), drop)
        self.search({key for key in self.blocks if key not in dead})
        entries = [
            Entry(
                b.nbytes, tuple(b.shape), b.dtype, b.device, *b.users[0], b.source, tuple(b.users), b.made_by,
                b.released if key in dead else f"drop of {self.names.get(key, ELSEWHERE)}", key not in dead,
                b.persistent,
            )
            for key, b in self.blocks.items()
        ]  # fmt: skip
        return Ledger(entries, subject)

    def search(self, held: set[int]) -> None:
        """Find names for blocks that something else holds: a tensor of the program, or the history of one."""
        histories: list[tuple[str, Node]] = []
        for name, t in named():
            if id(t) in self.asked:
                continue
            if self.names.get(key := _key(t.array), A_TENSOR) == A_TENSOR:
                self.names[key] = f"tensor {name}"
            if t.node is not None:
                histories.append((name, t.node))
        seen: set[int] = set()
        for name, start in histories if held - set(self.names) else ():
            todo: list[Node | None] = [start]
            while todo:
                n = todo.pop()
                if n is None or id(n) in seen:
                    continue
                seen.add(id(n))
                todo += (n.next, *n.edges)
                saved: Any = () if n.op is None or n.saved is None else n.saved
                for v in () if self.loose and id(saved) in self.seen else tuple.__iter__(saved):
                    for a, _ in arrays_in(v, ""):
                        self.names.setdefault(_key(a), f"tensor {name}, in whose history it is")


def _way(key: int, dead: dict[int, Any], holder: dict[int, int]) -> str:
    """What to call an array that no node saved, by what it is reached through."""
    while (key := holder[key]) in dead:
        x = dead[key]
        if isinstance(x, FunctionType):
            return f"closure of {x.__name__}"
        if isinstance(x, Node) and x.op is None:
            return "gradient of a leaf"
    return "watched"


def _persistent(n: Node) -> bool:
    return n.tape is not None and n.tape.persistent


def _key(a: Any) -> int:
    lib = library(a)
    return id(a if lib is None else lib.block(a)[0])


def _argument(n: Node, i: int) -> str:
    """What position i of what `n` saved is."""
    op, k = n.op, len(n.edges)
    if i == k:
        return "output"
    names = getattr(op, "names", None)
    if names is None:  # an op made for one call: its pullback, and what that is known to read
        return f"closure of {op.name}" if i == k + 1 else f"saved tensor {i - k - 2}"
    if i < k:
        return f"input {names[i]}"
    if i >= len(names) - op.outs:
        return f"output {names[i]}"
    return f"{'argument' if i <= k + len(op.static) else 'auxiliary'} {names[i]}"


def _maker(n: Node, i: int, argument: str) -> str | None:
    """The op that computed it."""
    if i >= len(n.edges):
        return n.op.name if argument.startswith(("output", "auxiliary")) else None
    e = n.edges[i]
    if e is not None and e.op is PICK and e.edges:
        e = e.edges[0]
    return None if e is None or e.op is None else e.op.name


def arrays_in(v: Any, how: str) -> Iterator[tuple[Any, str]]:
    """The arrays in a saved value, which may be nested, packed, or a function's."""
    todo, seen = [v], set()
    while todo:
        v = todo.pop()
        kind = type(v)  # not __class__: of a proxy, that may raise
        if id(v) in seen or v is None or issubclass(kind, (int, float, str)):
            continue
        seen.add(id(v))
        if library(v) is not None:
            yield v, how
        elif issubclass(kind, Tensor):
            todo.append(v.array)
        elif kind is Parcel:
            if hasattr(v[0], "kept"):  # a recipe
                how = f"to make {how} again"
                todo += v[0].kept()
            else:
                todo.append(getattr(v[0], "array", v[0]))
        elif issubclass(kind, Packed):
            todo += tuple.__iter__(v)
        elif issubclass(kind, (tuple, list, set, frozenset)):
            todo += v
        elif issubclass(kind, dict):
            todo += v.values()
        elif issubclass(kind, FunctionType):
            todo += gc.get_referents(*(v.__closure__ or ()))  # an empty cell has none
            todo += (v.__defaults__, v.__kwdefaults__)
        elif issubclass(kind, MethodType):
            todo += (v.__func__, v.__self__)
        elif issubclass(kind, partial):
            todo += (v.func, v.args, v.keywords)
        else:
            own = attributes(v).values()
            todo += [x for x in own if issubclass(type(x), (Tensor, tuple, list, dict)) or library(x) is not None]
