"""An optimizer's steps on the CPU: all variables of a group together, a block that fits the cache at a time.

The arrays of the state of variables that go together are views of one array each, made at the first step, so a block
of it is the state of many small variables, or of a piece of a large one.  In a block the gradients are gathered, the
optimizer's `rule` runs on all of them, and each variable takes its part.  Where the rule does nothing (`plain`), one
part after the other is done while it is near.  Blocks are spread over threads.  A variable whose array nobody else
holds is written over; the others get new arrays.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import accumulate, pairwise
from operator import attrgetter, is_, itemgetter
from sys import getrefcount
from typing import Any, NamedTuple

import numpy as np

from ..array import Array
from ..core import writes
from ..dtypes import wide
from ..ops.threads import cores, in_threads
from .state import Group, Todo, kept

BLOCK = 1 << 16  # elements: the arrays of a step for so many fit a core's cache
LONG = 1 << 18  # where there is little to keep near, and beside other threads, with which each pass changes places
PLAIN = 0x405  # flags of an array that owns its memory, is contiguous and may be written to
_array, _shape, _dtype, _flags = attrgetter("array"), attrgetter("shape"), attrgetter("dtype"), attrgetter("flags.num")
_HELD = next(map(getrefcount, [np.empty(0)])) + 1  # who holds an array in a list and in its variable

Piece = tuple[int, int, int]  # a variable by its place in a run, and which of its elements


class Part(NamedTuple):
    """A variable in a block, by its place in what is to do: all of it, or a piece of its elements."""

    i: int
    piece: slice | None
    step: Array  # views of the scratch
    other: Array


class Block(NamedTuple):
    """Parts with consecutive states, and the thread that has the scratch."""

    lane: int
    scratch: list[Array]
    state: list[Array]
    parts: list[Part]


class Bucket:
    """The variables that have a group, a dtype and counts in common."""

    def __init__(self, group: Group, dtype: np.dtype, counts: dict[str, Any], first: bool) -> None:
        self.group, self.dtype, self.counts, self.first = group, dtype, counts, first
        self.plain = False  # whether the rule does nothing
        self.at: list[int] = []
        self.states: list[dict[str, Any]] = []
        self.views: dict[str, list[Array]] = {}  # the arrays of the states
        self.blocks: list[Block] = []

    def valid(self, names: Any) -> bool:
        """Whether the states are as the last step left them."""
        try:
            return (
                self.views.keys() == names
                and all(
                    [list(map(itemgetter(k), self.states)).count(n) == len(self.at) for k, n in self.counts.items()]
                )
                and all([all(map(is_, map(itemgetter(k), self.states), views)) for k, views in self.views.items()])
            )
        except KeyError:
            return False

    def numbers(self, optimizer: Any) -> tuple[Array, Array | None, Array | None]:
        """What gradients are multiplied by; what of the variable is added to them; what it shrinks by."""
        factor, kind = optimizer.factor(self.group), wide(self.dtype)
        decay, shrink = optimizer.decay(self.group)
        return (
            np.array(-factor if self.group.get("maximize") else factor, kind),
            np.array(factor * decay, kind) if decay else None,
            np.array(shrink, kind) if shrink != 1 else None,
        )


class Blocks:
    """The plan of an optimizer's steps, good for as long as the same variables come with the same states."""

    def __init__(self) -> None:
        self._key: list[Any] = []
        self._same: list[Any] = []  # what is to be the very same: states with their variables, and groups
        self._buckets: list[Bucket] = []
        self._rest: list[int] = []
        self._cut: set[int] = set()  # the variables that are in several blocks
        self._lanes = 1

    def step(self, optimizer: Any, todo: Todo) -> Todo:
        """One step of the variables on the CPU; answers what is left.  After an error no variable has changed."""
        gs, vs, groups = zip(*todo)
        xs = list(map(_array, vs))
        if set(map(type, xs)) != {np.ndarray}:
            here = [t for t, x in zip(todo, xs) if type(x) is np.ndarray]
            return [t for t, x in zip(todo, xs) if type(x) is not np.ndarray] + (
                self.step(optimizer, here) if here else []
            )
        self._prepare(optimizer, gs, vs, groups, xs)
        outs = self._run(optimizer, gs, xs)
        for b in self._buckets if writes.asked or outs is not xs else ():
            for i in b.at:
                x, out = xs[i], outs[i]
                if out is not x:
                    vs[i].array = out
                elif id(x) in writes.asked:
                    writes.add(x)
        return [todo[i] for i in self._rest]

    def _run(self, optimizer: Any, gs: Any, xs: list[Array]) -> list[Any]:
        """The variables' new arrays, by their places; the states are what they are after the step."""
        outs = xs
        if not all(own := alone(xs)):
            outs = [x if a else np.empty(x.shape, x.dtype) for x, a in zip(xs, own)]
        arrays = list(zip(gs, xs, outs))
        for i in self._cut:
            arrays[i] = gs[i].reshape(-1), xs[i].reshape(-1), outs[i].reshape(-1)
        lanes: list[list[Callable[[], None]]] = [[] for _ in range(self._lanes)]
        counts = [{**optimizer.advance(b.counts, b.group), "first": b.first} for b in self._buckets]
        for b, now in zip(self._buckets, counts):
            rule, numbers = partial(optimizer.rule, group=b.group, counts=now), b.numbers(optimizer)
            update = _subtract if b.plain else partial(_update, rule)
            for block in b.blocks:
                lanes[block.lane].append(partial(update, block, arrays, *numbers))
        with np.errstate(all="ignore"):  # as on a GPU: what is not finite is seen in the loss
            if len(lanes) > 1:
                in_threads(_all, lanes)
            else:
                _all(lanes)
        for b, now in zip(self._buckets, counts):
            b.counts, b.first = {k: now[k] for k in b.counts}, False
            for k, n in b.counts.items():
                for state in b.states:
                    state[k] = n
        return outs

    def _prepare(self, optimizer: Any, gs: Any, vs: Any, groups: Any, xs: list[Array]) -> None:
        """Which variables go together, unless it is as the last time."""
        key = [*map(_dtype, xs), *map(_shape, xs), *map(_dtype, gs)]
        same = [*map(optimizer.state.by_id.get, map(id, vs)), *groups]  # a pair has its variable
        if key == self._key and all(map(is_, same, self._same)):
            if all([b.valid(optimizer.arrays(b.group).keys()) for b in self._buckets]):
                return
        self._key = []  # if what follows raises, there is no plan
        self._buckets, self._rest = _buckets(optimizer, gs, same[: len(xs)], groups, xs)
        total = sum([xs[i].size for b in self._buckets for i in b.at])
        threads = max(1, min(cores(), -(-total // BLOCK)))
        # as many blocks for each thread
        size = {k: -(-total // (threads * max(1, -(-total // (threads * k))))) or 1 for k in (BLOCK, LONG)}
        usual = BLOCK if threads == 1 else LONG
        runs = [
            (b, run, _cut([xs[b.at[j]].size for j in run], size[LONG if b.plain else usual]))
            for b in self._buckets
            for run in _runs(b)
        ]
        room = max([hi - lo for _, _, blocks in runs for lo, hi, _ in blocks], default=0)
        self._lanes = max(1, min(threads, sum([len(blocks) for _, _, blocks in runs])))
        scratch = [{b.dtype: _scratch(optimizer, room, b) for b in self._buckets} for _ in range(self._lanes)]
        self._cut, n = set(), 0
        for b, run, blocks in runs:
            state = [_whole([views[j] for j in run]) for views in b.views.values()]
            for lo, hi, pieces in blocks:
                lane = n % self._lanes
                rows = [row[: hi - lo] for row in scratch[lane][b.dtype]]
                parts = list(_parts([b.at[j] for j in run], pieces, rows, xs, b.plain))
                self._cut.update([p.i for p in parts if p.piece])
                b.blocks.append(Block(lane, rows, [a[lo:hi] for a in state], parts))
                n += 1
        self._key, self._same = key, same


# ---------------------------------------------------------------------------------------------- running
def alone(arrays: list[Array]) -> list[bool]:
    """Of arrays that this list and a tensor each hold: whether nobody else does, so that they may be written over."""
    return [n == _HELD and f & PLAIN == PLAIN for n, f in zip(map(getrefcount, arrays), map(_flags, arrays))]


def _all(lanes: Any) -> None:
    for lane in lanes:
        for job in lane:
            job()


def _subtract(block: Block, arrays: Any, factor: Array, decay: Array | None, shrink: Array | None) -> None:
    """A step of the parts of a block where the gradient, with what is added to it, is what is taken away."""
    multiply, subtract = np.multiply, np.subtract  # out= by its place costs less
    towards = decay is not None and decay == -factor  # from x to g: one difference does for both products
    for i, piece, step, other in block.parts:
        g, x, out = arrays[i]
        if piece is not None:
            g, x, out = g[piece], x[piece], out[piece]
        whole = out.dtype is step.dtype  # no half type, whose results are rounded once
        if towards and whole:
            subtract(g, x, step)
            multiply(step, factor, step)
        else:
            multiply(g, factor, step)
            if decay is not None:
                multiply(x, decay, other)
                step += other
        if shrink is not None:
            x = multiply(x, shrink, other)
        if whole:
            subtract(x, step, out)
        else:
            subtract(x, step, step)
            out[...] = step


def _update(rule: Any, block: Block, arrays: Any, factor: Array, decay: Array | None, shrink: Array | None) -> None:
    """A step of the parts of a block."""
    rows, multiply, subtract = block.scratch, np.multiply, np.subtract
    for i, piece, step, other in block.parts:
        g, x, _ = arrays[i]
        multiply(g if piece is None else g[piece], factor, step)
        if decay is not None:
            multiply(x if piece is None else x[piece], decay, other)
            step += other
    rule(rows[0], block.state, rows[1:])
    for i, piece, step, other in block.parts:
        _, x, out = arrays[i]
        if piece is not None:
            x, out = x[piece], out[piece]
        if shrink is not None:
            x = multiply(x, shrink, other)
        if out.dtype is step.dtype:
            subtract(x, step, out)
        else:  # a half type, rounded once
            subtract(x, step, step)
            out[...] = step


# ---------------------------------------------------------------------------------------------- planning
@cache
def ruled(cls: type) -> bool:
    """Whether `rule` speaks for an optimizer: a subclass of its class may have an `update` or `init` of its own."""
    return hasattr(cls, "rule") and min(_at(cls, "rule"), _at(cls, "single")) <= min(
        _at(cls, "update"), _at(cls, "init")
    )


def _at(cls: type, name: str) -> int:
    """How far up the class that has this is."""
    return next((i for i, c in enumerate(cls.__mro__) if name in vars(c)), len(cls.__mro__))


def _buckets(optimizer: Any, gs: Any, pairs: Any, groups: Any, xs: Any) -> tuple[list[Bucket], list[int]]:
    """(what goes together, what is left for `update`)."""
    found: dict[Any, Bucket] = {}
    rest, seen = [], set()
    for i, (g, (v, state), group, x) in enumerate(zip(gs, pairs, groups, xs)):
        again = id(v) in seen  # one after the other
        seen.add(id(v))
        if wide(x.dtype).kind not in "fc" or again or optimizer.single(x, group):
            rest.append(i)
            continue
        if not np.can_cast(g.dtype, wide(x.dtype), "same_kind"):
            raise TypeError(f"a gradient of {g.dtype} for a variable of {x.dtype}: it would lose its imaginary part")
        names = optimizer.arrays(group)
        counts = {k: _number(state.get(k, start)) for k, start in optimizer.counts.items()}
        first = not names.keys() <= state.keys()
        key = id(group), x.dtype, first, *counts.values()
        b = found.setdefault(key, Bucket(group, x.dtype, counts, first))
        b.plain = _at(type(optimizer), "plain") <= _at(type(optimizer), "rule") and optimizer.plain(group)
        b.at.append(i)
        b.states.append(state)
    for b in found.values():
        for name, start in optimizer.arrays(b.group).items():
            b.views[name] = _gathered(b, name, start, [xs[i] for i in b.at])
    return list(found.values()), rest


def _number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _gathered(b: Bucket, name: str, start: float, xs: list[Array]) -> list[Array]:
    """The arrays called `name` of the states, wide; those that are not yet views of one array become so."""
    kind = wide(b.dtype)
    arrays = [
        np.asarray(kept(s, name, x if x.dtype == kind else x.astype(kind), start), kind) for s, x in zip(b.states, xs)
    ]
    loose = [
        j for j, a in enumerate(arrays) if not (a.flags.c_contiguous and a.flags.writeable and _plain(a.base, kind))
    ]
    if loose:
        flat = np.concatenate([arrays[j] for j in loose], axis=None)
        ends = list(accumulate([arrays[j].size for j in loose]))
        for j, end in zip(loose, ends):
            arrays[j] = flat[end - arrays[j].size : end].reshape(arrays[j].shape)
    for state, a in zip(b.states, arrays):
        state[name] = a
    return arrays


def _plain(base: Any, kind: np.dtype) -> bool:
    return type(base) is np.ndarray and base.dtype == kind and base.flags.c_contiguous


def _address(a: Array) -> int:
    return a.__array_interface__["data"][0]


def _runs(b: Bucket) -> Iterator[range]:
    """Variables of a bucket whose states follow each other in memory, in all of their arrays."""
    breaks, n = {0, len(b.at)}, len(b.at)
    for views in b.views.values():
        at = list(map(_address, views))
        breaks |= {
            j for j in range(1, n) if views[j].base is not views[j - 1].base or at[j] != at[j - 1] + views[j - 1].nbytes
        }
    edges = sorted(breaks)
    return map(range, edges[:-1], edges[1:])


def _whole(views: list[Array]) -> Array:
    """The part of their common base that consecutive views make up."""
    base = views[0].base.reshape(-1)
    begin = (_address(views[0]) - _address(base)) // base.itemsize
    return base[begin : begin + sum([a.size for a in views])]


def _cut(sizes: list[int], size: int) -> list[tuple[int, int, list[Piece]]]:
    """(begin, end, pieces) of blocks of about `size` elements, which end with a variable where one ends near."""
    ends = list(accumulate(sizes))
    total, edges = ends[-1], [0]
    for k in range(1, round(total / size)):
        at = k * size
        j = bisect_left(ends, at)
        near = min(ends[max(j - 1, 0) : j + 1], key=lambda end: abs(end - at))
        at = near if abs(near - at) <= size // 8 else at - at % 16
        edges += [at] if at > edges[-1] else []
    edges += [total] if total > edges[-1] else []
    out = []
    for lo, hi in pairwise(edges):
        pieces = []
        for j in range(bisect_left(ends, lo + 1), bisect_left(ends, hi) + 1):
            begin = ends[j] - sizes[j]
            if sizes[j]:
                pieces.append((j, max(lo, begin) - begin, min(hi, ends[j]) - begin))
        out.append((lo, hi, pieces))
    return out


def _scratch(optimizer: Any, room: int, b: Bucket) -> Array:
    return np.empty((1 + max(1, optimizer.scratch), room), wide(b.dtype))


def _parts(at: list[int], pieces: list[Piece], rows: list[Array], xs: list[Array], plain: bool) -> Iterator[Part]:
    """The parts of a block, with the scratch of each; where they are `plain`, all have the same."""
    end = 0
    for j, start, stop in pieces:
        begin = 0 if plain else end
        end, x = begin + stop - start, xs[at[j]]
        whole = stop - start == x.size
        shape = x.shape if whole else -1
        step, other = (row[begin:end].reshape(shape) for row in rows[:2])
        yield Part(at[j], None if whole else slice(start, stop), step, other)
