"""Floor 2: recipes, which nodes keep in the place of arrays that an op can make again."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from .array import library
from .core import tick, writes
from .hooks import remade
from .rule import Op


class Made:
    """What has been made again for the walk under way, of what one call of a function recorded.

    ends    (-until, step, weak reference to the Again): a heap, the first that the walk will be past in front
    """

    __slots__ = ("__weakref__", "ends", "lock")

    def __init__(self) -> None:
        self.ends: list[tuple[int, int, ref[Again]]] = []
        self.lock = threading.RLock()

    def past(self, step: int) -> None:
        """The walk has come to `step`: let go what is needed before it alone."""
        while self.ends and -self.ends[0][0] > step:
            if (call := heappop(self.ends)[2]()) is not None:
                call.outs = None

    def clear(self) -> None:
        """The walk is over."""
        with self.lock:
            self.past(-1)


class Part(NamedTuple):
    """One output of a call that is run again."""

    call: Again
    i: int

    def array(self) -> Any:
        """The output, which has been made."""
        return self.call.outs[self.i]  # type: ignore[index]


class Again:
    """One call of an op that is run again when its outputs are asked for.

    step     its number; inputs have smaller ones
    until    the step in whose pullback its outputs are needed last
    wanted   which of the outputs are
    inputs   arrays, None, or Parts
    age      when it was recorded: its arrays have not been written to since
    outs     the outputs that are wanted, None in the place of others, while a walk needs them
    """

    __slots__ = ("__weakref__", "age", "inputs", "op", "outs", "static", "step", "until", "wanted")

    def __init__(
        self, op: Op, inputs: Sequence[Any], static: dict[str, Any], step: int, until: int, wanted: set[int]
    ) -> None:
        self.op, self.inputs, self.static = op, inputs, static
        self.step, self.until, self.wanted = step, until, wanted
        self.outs: list[Any] | None = None
        self.age = tick()

    def run(self) -> None:
        """Make the outputs of inputs that are there.  RuntimeError if one has been changed."""
        arrays = [x.array() if type(x) is Part else x for x in self.inputs]
        for a in arrays if writes.ages else ():
            if any([age > self.age for age in writes.of(a)]):
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an inplace operation: "
                    f"[{a.dtype} {list(a.shape)}], from which checkpoint(max_bytes=...) makes the output of "
                    f"{self.op.name} again. Write y = x + 1 in the place of x += 1, or x.clone() before the change."
                )
        with np.errstate(all="ignore"):  # the first run has said it
            outs = outputs(self.op, arrays, self.static)
        self.outs = [o if i in self.wanted else None for i, o in enumerate(outs)]

    def upstream(self) -> dict[int, Again]:
        """By their steps, this call and those that its inputs are made by."""
        calls: list[Again] = [self]
        found = {self.step: calls[0]}
        for call in calls:  # grows
            for x in call.inputs:
                if type(x) is Part and x.call.step not in found:
                    found[x.call.step] = x.call
                    calls.append(x.call)
        return found


class Recipe:
    """What a node keeps in the place of an array that can be made again.

    step    the node's; a walk comes to smaller and smaller ones
    roots   all calls whose outputs that node wants: they are made together, so that what they share is made once
    """

    __slots__ = ("made", "part", "roots", "step")

    def __init__(self, part: Part, step: int, roots: list[Again], made: Made) -> None:
        self.part, self.step, self.roots, self.made = part, step, roots, made

    def kept(self) -> tuple:
        """The arrays that are held to make it."""
        calls = self.part.call.upstream().values()
        return tuple([a for c in calls for a in (*c.inputs, *nested(c.static)) if library(a) is not None])

    def open(self) -> Any:
        """The array, made again unless the walk has made it already."""
        call = self.part.call
        with self.made.lock:
            self.made.past(self.step)
            if call.outs is None:
                remade.add(self.made)
                self._make()
            return self.part.array()

    def _make(self) -> None:
        todo = {c.step: c for root in self.roots for c in _missing(root)}
        order = sorted(todo)
        left = Counter([x.call.step for s in order for x in todo[s].inputs if type(x) is Part])
        roots = {r.step for r in self.roots}
        for s in order:
            todo[s].run()
            heappush(self.made.ends, (-todo[s].until, s, ref(todo[s])))
            for x in todo[s].inputs:
                if type(x) is Part:
                    left[x.call.step] -= 1
                    if not left[x.call.step] and x.call.until >= self.step and x.call.step not in roots:
                        x.call.outs = None


def _missing(root: Again) -> list[Again]:
    """The calls that have to be run before there is the output of `root`, and it."""
    calls = [] if root.outs is not None else [root]
    seen = {root.step}
    for call in calls:  # grows
        for x in call.inputs:
            if type(x) is Part and x.call.outs is None and x.call.step not in seen:
                seen.add(x.call.step)
                calls.append(x.call)
    return calls


def outputs(op: Op, arrays: Sequence[Any], static: dict[str, Any]) -> list[Any]:
    """The output, or outputs, and the auxiliaries."""
    run: Any = op.host if type(arrays[0]) is np.ndarray else op.run
    out = run(*arrays, **static)
    many = out if type(out) is tuple else (out,)
    return [*many[0], *many[1:]] if type(many[0]) is tuple else list(many)


def nested(static: dict[str, Any]) -> Iterator[Any]:
    """The static arguments, and what is in tuples and lists of them: an index may be several arrays."""
    for v in static.values():
        yield from v if isinstance(v, (tuple, list)) else (v,)
