"""Floor 1: functions that are called with a gradient while a walk passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from itertools import count
from threading import local
from typing import Any
from weakref import ref

from .core import Node

_number = count()


class _Muted(local):
    """Nodes that a walk inside another one passes, in this thread; the outer one calls their functions."""

    def __init__(self) -> None:
        self.nodes: frozenset[Node] = frozenset()


_muted = _Muted()


@contextmanager
def muted(nodes: Iterable[Node]) -> Iterator[None]:
    """Call no function of these nodes inside."""
    before = _muted.nodes
    _muted.nodes = before.union(nodes)
    try:
        yield
    finally:
        _muted.nodes = before


class Hooks:
    """Functions by node, in the order of their registration; gone with the node."""

    def __init__(self) -> None:
        self.by_node: dict[int, tuple[Any, dict[int, Callable[..., Any]]]] = {}

    def add(self, node: Node, f: Callable[..., Any]) -> Handle:
        """Call f from now on; answers what takes it away again."""
        key = id(node)
        if key not in self.by_node:
            self.by_node[key] = ref(node, lambda _: self.by_node.pop(key, None)), {}
        return Handle(self.by_node[key][1], f)

    def of(self, node: Node) -> list[Callable[..., Any]]:
        """The functions of this node."""
        found = self.by_node.get(id(node))
        return list(found[1].values()) if found and node not in _muted.nodes else []


class Handle:
    """What a registration answers: `remove()` ends it.  A context manager, too."""

    def __init__(self, functions: dict[int, Callable[..., Any]], f: Callable[..., Any]) -> None:
        self._functions, self._key = functions, next(_number)
        functions[self._key] = f

    def remove(self) -> None:
        """Call the function no more."""
        self._functions.pop(self._key, None)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


class Handles(Handle):
    """Several registrations as one."""

    def __init__(self, handles: list[Handle]) -> None:
        self._handles = handles

    def remove(self) -> None:
        for h in self._handles:
            h.remove()


class Walks(local):
    """Of each walk under way in this thread: by gatherer, (what to call in the end, what has arrived so far)."""

    def __init__(self) -> None:
        self.stack: list[dict[Any, tuple[Callable[[Any], Any], Any]]] = []


class Remade(local):
    """Of each walk under way in this thread, innermost last: what holds values that were made again for it.

    In front, of none: cleared when the next one ends.
    """

    def __init__(self) -> None:
        self.stack: list[set[Any]] = [set()]

    def add(self, made: Any) -> None:
        """`made.clear()` is to be called at the end of the walk, or of the outer one that it was made for."""
        if all([made not in some for some in self.stack[1:]]):
            self.stack[-1].add(made)

    def end(self) -> None:
        """The innermost walk is over."""
        for some in (self.stack.pop(), self.stack[0] if len(self.stack) == 1 else set()):
            while some:
                some.pop().clear()


arriving = Hooks()  # f(gradient) -> None or another gradient, as it arrives at a tensor
deposited = Hooks()  # f(tensor), after backward() has left a gradient in it
leaving = Hooks()  # f(gradients of an op's inputs, of its outputs) -> None or other gradients of its inputs
walks = Walks()
opening: list[Callable[[Any], None]] = []  # told of each GradientTape that is made
post_mortem: list[Callable[..., None]] = []  # tell(op, error, arrays) raises a MemoryError that says what holds memory
observers: list[Callable[..., Any]] = []  # observe("backward" or "update", run, *args) -> run(*args)
walking: list[Callable[[list[Node]], None]] = []  # told the nodes of a walk, which takes them off the end
remade = Remade()
# made(op, its result, values, heads); look(node, number of the input, its cotangent); blame(node), of an error
suspecting: list[Any] = []


def gathering(walk: Callable[..., Any]) -> Callable[..., Any]:
    """`walk`, after which those are told who gather what arrives in it; after one that fails they are not.

    Observers may run it in their way.  A MemoryError of it gets a post-mortem.  What was made again for it is cleared.
    """

    def gather(*args: Any) -> Any:
        remade.stack.append(set())
        try:
            if not arriving.by_node:
                return walk(*args)
            walks.stack.append({})
            try:
                out = walk(*args)
            finally:
                arrived = walks.stack.pop()
        except MemoryError as e:
            for tell in post_mortem:
                tell(None, e)
            raise
        finally:
            remade.end()
        for end, got in arrived.values():
            end(got)
        return out

    @wraps(walk)
    def call(*args: Any) -> Any:
        return observed("backward", gather, *args) if observers else gather(*args)

    return call


def updating(step: Callable[..., Any]) -> Callable[..., Any]:
    """An optimizer's `step`, which observers may run in their way.  A MemoryError of it gets a post-mortem."""

    @wraps(step)
    def call(*args: Any) -> Any:
        with exhausting("an optimizer's update"):
            return observed("update", step, *args) if observers else step(*args)

    return call


class exhausting:
    """A MemoryError inside gets a post-mortem as of `what`; of None, as of a walk."""

    __slots__ = ("what",)

    def __init__(self, what: str | None) -> None:
        self.what = what

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, e: Any, tb: Any) -> None:
        if isinstance(e, MemoryError):
            for tell in post_mortem:
                tell(self.what, e)


def observed(what: str, run: Callable[..., Any], *args: Any) -> Any:
    """run(*args), by way of the observers, the first of them outermost, who may give it other arguments."""
    for observe in reversed(observers):
        run = partial(observe, what, run)
    return run(*args)
