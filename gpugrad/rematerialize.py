"""Floor 6: functions whose ops keep no more bytes than allowed for the backward pass, and are run again in it instead.

The first call runs the function as it is and notes every op that is recorded.  Each is run a second time, to see that
it repeats and what that takes; `choosing` then says which values to keep.  From the next call on, a node that would
keep one of the others keeps a recipe of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from gc import get_referents, get_referrers
from math import inf
from numbers import Real
from time import perf_counter
from types import FrameType
from typing import Any
from weakref import ref

import numpy as np
import optree

from .array import library
from .choosing import Step, Trace, choose
from .core import Packed, Parcel, Tape, Tensor, owner_of, tick, writes
from .levels import innermost
from .origin import Place, find
from .paths import PICK
from .recipes import Again, Made, Part, Recipe, nested, outputs
from .recording import Packing, enter, packing, replace
from .rule import Op

_PLANS = 16  # of one function that are remembered


class Plan:
    """What one sequence of ops keeps, and what is made again.  Prints as a table.

    bound    the bytes that were allowed
    before   bytes that the ops keep by themselves, beyond what lives anyway
    saved    bytes that they keep under the plan
    peak     the most bytes of what is kept and made again and of the cotangents of one op, while all are walked back
    seconds  what making again adds to a backward pass, as measured in the first call
    rows     of each array: {"op", "line", "nbytes", "again": whether it is made again}, largest first
    """

    def __init__(self, trace: Trace, bound: float) -> None:
        keep, done = choose(trace, bound)
        steps, makers = trace.steps, trace.makers
        self.trace, self.bound, self.until = trace, bound, done.until
        self.before = trace.size({trace.blocks[v] for s in steps for _, v in s.saved})
        self.saved, self.peak, self.seconds = done.saved, done.peak, done.seconds
        kept = trace.there(keep)
        self.rows = _rows(trace, kept, done.used)
        part = lambda v: (makers[v], steps[makers[v]].outs.index(v))
        # Of each step, what to put in the place of saved values, and of inputs: (position, step, which of its outputs).
        self.saves = [[(j, *part(v)) for j, v in s.saved if not kept[v]] for s in steps]
        self.reads = {i: [(j, *part(v)) for j, v in steps[i].reads if not kept[v]] for i in done.until}
        self.wanted: dict[int, set[int]] = {i: set() for i in done.until}
        for _, step, out in [p for found in (*self.saves, *self.reads.values()) for p in found]:
            self.wanted[step].add(out)

    def begins(self, keys: list[tuple]) -> bool:
        """Whether it is of a sequence of ops that begins with `keys`."""
        return all([s.key == k for s, k in zip(self.trace.steps, keys)]) and len(keys) <= len(self.trace.steps)

    def __str__(self) -> str:
        mb = lambda n: f"{n / 1e6:.1f} MB"
        lines = [
            f"  {'made again' if r['again'] else 'kept':<10} {mb(r['nbytes']):>11}  {r['op']:<16} {r['line']}".rstrip()
            for r in self.rows
        ]
        return "\n".join(
            [
                f"of {mb(self.before)} that {len(self.trace.steps)} ops would keep, {mb(self.saved)} are kept "
                f"(allowed: {mb(self.bound)}); a backward pass runs {len(self.until)} ops again, in "
                f"{1e3 * self.seconds:.1f} ms, and has at most {mb(self.peak)} with what it makes, cotangents too",
                *lines,
            ]
        )

    __repr__ = __str__


def _rows(trace: Trace, kept: list[bool], used: set[int]) -> list[dict[str, Any]]:
    """Each block that is saved, or kept to make others, once."""
    saved = [(v, s.line) for s in trace.steps for _, v in s.saved]
    found: dict[int, dict[str, Any]] = {}
    for v, line in [*saved, *[(trace.blocks.index(b), "") for b in used]]:
        b, m = trace.blocks[v], trace.makers[v]
        if b not in trace.free and b not in found:
            op, line = (trace.steps[m].name, trace.steps[m].line) if m >= 0 else ("made by no op", line)
            found[b] = {"op": op, "line": line, "nbytes": trace.sizes[b], "again": not kept[v]}
    return sorted(found.values(), key=lambda r: -r["nbytes"])


def _hold(a: Any) -> Callable[[], Any]:
    """What answers `a` as long as it lives."""
    try:
        return ref(a)
    except TypeError:  # NumPy's 0-d results
        return lambda: a


def _given(op: Op, values: tuple) -> tuple[tuple, dict[str, Any], list[Any]]:
    """(inputs, static arguments, outputs and auxiliaries) of a call, from what `record` is told."""
    k, n = len(op.args), len(op.static)
    out, end = values[k], len(op.names) - op.outs
    return (
        values[:k],
        dict(zip(op.static, values[k + 1 : k + 1 + n])),
        [*(out if type(out) is tuple else (out,)), *values[k + 1 + n : end]],
    )


class _Call:
    """One call of the function: it follows a plan while the ops are the plan's, then notes what a new one needs.

    known    of each array, by its id: it, while it lives, and its number
    owners   the same of memory blocks, while there is a trace
    strange  arrays that come from elsewhere and may live no longer than the call, and their blocks
    """

    def __init__(self, plans: list[Plan], given: Sequence[Any]) -> None:
        self.plans, self.given = plans, {id(owner_of(a)) for a in given}
        self.plan = plans[0] if plans else None
        self.trace = None if plans else Trace()
        self.keys: list[tuple] = []
        self.values = 0
        self.known: dict[int, tuple[Callable[[], Any], int]] = {}
        self.owners: dict[int, tuple[Callable[[], Any], int]] = {}
        self.strange: list[tuple[Callable[[], Any], int]] = []
        self.again: dict[int, Again] = {}
        self.made = Made()
        self.age = tick()

    def packed(self, saved: tuple, op: Any, values: tuple, heads: Any, kind: type[Tensor]) -> tuple:
        """What the node of a call of `op` is to keep in the place of `saved`."""
        if op is PICK:
            return saved
        ours = type(op) is Op
        if ours and len(values) == len(op.names):  # what it keeps in the place of large arrays, it has made since
            values = (*values[:-1], saved[-1], None)
        inputs, static, outs = _given(op, values) if ours else ((), {}, [])
        given = [*zip(inputs, heads), *[(a, None) for a in (nested(static) if ours else values)]]
        given = [(a, h) for a, h in given if library(a) is not None]
        i, first = len(self.keys), self.values
        numbers = tuple([self._number(a, h) for a, h in given])
        like = [(o.shape, o.dtype) for o in outs if library(o) is not None]
        self.keys.append((op if ours else op.name, *numbers, *[v is None for v in saved], *like))
        if self.plan is not None and (i >= len(self.plan.trace.steps) or self.plan.trace.steps[i].key != self.keys[i]):
            self._leave(first)
            numbers = tuple([self._number(a, h) for a, h in given])
        made = tuple([self._new(o, i) for o in outs])
        if self.trace is not None:
            self.trace.steps.append(self._step(self.trace, saved, op, values, heads, numbers, made))
        if self.plan is None or not ours:
            return saved
        if i in self.plan.until:
            mixed: list[Any] = list(inputs)
            for j, step, out in self.plan.reads[i]:
                if step in self.again:
                    mixed[j] = Part(self.again[step], out)
            self.again[i] = Again(op, mixed, static, i, self.plan.until[i], self.plan.wanted[i])
        parts = [(j, Part(self.again[step], out)) for j, step, out in self.plan.saves[i] if step in self.again]
        if not parts:
            return saved
        mixed, roots = list(saved), [p.call for _, p in parts]
        for j, part in parts:
            mixed[j] = Parcel((Recipe(part, i, roots, self.made), Recipe.open))
        return Packed(mixed)

    def _leave(self, first: int) -> None:
        """The ops are the plan's no more: go on with another that has begun like this, or note what a new one needs.

        first   the number of values that there were before this op
        """
        old: Any = self.plan
        self.known = {k: found for k, found in self.known.items() if found[1] < first}
        self.values = first
        self.plan = next((p for p in self.plans if p.begins(self.keys)), None)
        if self.plan is None:
            self._begun(old.trace.upto(len(self.keys) - 1, first))

    def _begun(self, trace: Trace) -> None:
        """What has been called so far is `trace`; note what follows."""
        self.plan, self.trace = None, trace
        for hold, number in self.known.values():
            if (a := hold()) is not None:
                owner = owner_of(a)
                self.owners[id(owner)] = _hold(owner), trace.blocks[number]

    # ------------------------------------------------------------------------------------ arrays and their numbers
    def _number(self, a: Any, head: Any = None) -> int:
        found = self.known.get(id(a))
        if found is not None and found[0]() is a:
            return found[1]
        n = self._new(a, -1)
        if self.trace is not None:
            b = self.trace.blocks[n]
            if id(owner_of(a)) in self.given or _is_leaf(head, a):
                self.trace.free.add(b)
            else:
                self.strange += [(_hold(a), b), (_hold(owner_of(a)), b)]
        return n

    def _new(self, a: Any, maker: int) -> int:
        n, self.values = self.values, self.values + 1
        if library(a) is not None:
            self.known[id(a)] = _hold(a), n
        if self.trace is not None:
            self.trace.makers.append(maker)
            self.trace.blocks.append(self._block(self.trace, a))
        return n

    def _block(self, trace: Trace, a: Any) -> int:
        owner = owner_of(a)
        found = self.owners.get(id(owner))
        if found is not None and found[0]() is owner:
            return found[1]
        trace.sizes.append(owner.nbytes if library(owner) is not None else 0)
        self.owners[id(owner)] = _hold(owner), len(trace.sizes) - 1
        return len(trace.sizes) - 1

    # ------------------------------------------------------------------------------------ what a plan is made from
    def _step(
        self, trace: Trace, saved: tuple, op: Any, values: tuple, heads: Any, numbers: tuple, made: tuple
    ) -> Step:
        self._look(trace)
        place = find(Place(), 4)
        line = f"{place.file.rpartition('/')[2]}:{place.line}"
        if type(op) is not Op:
            trace.fixed |= {trace.blocks[n] for n in numbers}  # its pullback is a closure: it may hold them, too
            return Step(self.keys[-1], op.name, line, numbers, (), (), tuple(enumerate(numbers)), inf)
        kept = [(j, self._number(a)) for j, a in enumerate(saved) if library(a) is not None]
        for j, v in enumerate(saved):  # an index may be several arrays: these stay
            some = [self._number(a) for a in v if library(a) is not None] if isinstance(v, (tuple, list)) else ()
            trace.fixed |= {trace.blocks[n] for n in some}
            kept += [(j, n) for n in some]
        inputs, static, outs = _given(op, values)
        return Step(
            self.keys[-1],
            op.name,
            line,
            numbers,
            tuple([(j, self._number(a)) for j, a in enumerate(inputs) if library(a) is not None]),
            made,
            tuple(kept),
            _time(op, inputs, static, outs),
            _passing(inputs, outs, heads),
        )

    def _look(self, trace: Trace) -> None:
        """Blocks that have been written to since the last look stay as they are, and nothing is made again of them."""
        for key, (owner, ages) in list(writes.ages.items()) if writes.ages else ():
            hold, block = self.owners.get(key, (None, -1))
            if ages[-1] > self.age and hold is not None and hold() is owner():
                trace.written.add(block)
        self.age = tick()

    def end(self, out: Any) -> Plan | None:
        """The plan that was followed, or that is made of what was recorded; None if nothing was."""
        if self.plan is not None and len(self.keys) < len(self.plan.trace.steps):
            whole = [p for p in self.plans if len(p.trace.steps) == len(self.keys) and p.begins(self.keys)]
            if whole:
                return whole[0]
            self._begun(self.plan.trace.upto(len(self.keys), self.values))
        if self.trace is None or not self.keys:
            return self.plan
        t = self.trace
        self._look(t)
        for x in optree.tree_leaves(out, namespace="gpugrad"):
            found = self.owners.get(id(owner_of(x.array))) if isinstance(x, Tensor) else None
            if found is not None:
                t.outputs.add(found[1])
        t.free |= t.outputs | _held(self.strange)
        t.fixed |= t.written
        touched = lambda s: t.written & {t.blocks[v] for v in (*s.inputs, *s.outs)}
        t.steps = [s._replace(seconds=inf) if touched(s) else s for s in t.steps]
        return None


def _is_leaf(head: Any, a: Any) -> bool:
    """Whether `a` is the memory of the tensor that `head` is the leaf of, not a copy in another dtype."""
    t = head.saved() if head is not None and head.op is None else None
    return t is not None and owner_of(t.array) is owner_of(a)


def _held(strange: list[tuple[Callable[[], Any], int]]) -> set[int]:
    """The blocks of those arrays that something holds which is neither a node nor part of this call."""
    alive = [hold() for hold, _ in strange]  # not a name of an array: a comprehension's would be a cell, a holder, too
    blocks = {id(a): b for a, (_, b) in zip(alive, strange) if a is not None}
    found: set[int] = set()
    for holder in get_referrers(*alive) if blocks else ():
        if holder is not alive and type(holder) not in (tuple, Packed, FrameType):
            found |= {blocks[i] for i in map(id, get_referents(holder)) if i in blocks}
    return found


def _passing(inputs: tuple, outs: list[Any], heads: Any) -> int:
    """The bytes of the cotangent of the first output, and of the largest input that has one, unless that is a view."""
    sizes = [a.nbytes for a, h in zip(inputs, heads) if h is not None and owner_of(a) is not owner_of(outs[0])]
    return outs[0].nbytes + max(sizes, default=0)


def _time(op: Op, inputs: tuple, static: dict[str, Any], outs: list[Any]) -> float:
    """The seconds that the call takes when it is run again; inf if that does not give the same to the bit."""
    lib = next((lib for a in inputs if (lib := library(a)) is not None), None)
    if lib is None or op.run is None:
        return inf
    try:
        with np.errstate(all="ignore"):
            lib.wait()
            start = perf_counter()
            again = outputs(op, inputs, static)
            lib.wait()
            end = perf_counter()
    except Exception:
        return inf
    same = len(again) == len(outs) and all([_same(a, b) for a, b in zip(again, outs)])
    return end - start if same else inf


def _same(a: Any, b: Any) -> bool:
    """Whether two results are equal to the bit, a NaN to a NaN."""
    if library(a) is None or library(b) is None:
        return a is b
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return owner_of(a) is owner_of(b) or bool(((a == b) | (a != a) & (b != b)).all())


# ---------------------------------------------------------------------------------------------- what users call
def within(f: Callable[..., Any], max_bytes: float) -> Callable[..., Any]:
    """`f`, whose ops keep at most `max_bytes` for the backward pass, and are run again in it where that is not enough.

    What lives anyway is not counted: the arguments, what f answers, trainable variables, and arrays that something else
    holds when f is done.  The first call runs f as it is, and each of its ops twice; so does any call that
    records other ops, or other shapes, than those before.  `plan` of what is answered is the last plan, or None.
    What is made again is equal to the bit.  Ops that do not repeat, gradients of one's own and what is written to in
    place keep what they keep.  Where the first call does not fit in memory, no plan comes of it: bound the parts of f
    one by one, or write gg.checkpoint(f).
    Of several bounds, save_as and hooks around one op the innermost has it alone; the others do not count it.

    TypeError where max_bytes is no number; ValueError, from a first call, where it is less than the least possible.
    """
    if isinstance(max_bytes, (bool, np.bool_)) or not isinstance(max_bytes, Real):  # NumPy's numbers are, too
        raise TypeError(f"checkpoint: max_bytes is a number of bytes, not {max_bytes!r:.60}; write max_bytes=64e6")
    if not max_bytes >= 0:
        raise ValueError(f"checkpoint: max_bytes is a number of bytes, 0 or more, not {max_bytes!r}")
    plans: list[Plan] = []

    @wraps(f, updated=())
    def call(*args: Any, **kw: Any) -> Any:
        if innermost(optree.tree_leaves((args, kw), namespace="gpugrad")) is not None:  # type: ignore[arg-type]
            return f(*args, **kw)
        given = [a.array for a in optree.tree_leaves((args, kw), namespace="gpugrad") if isinstance(a, Tensor)]  # type: ignore[arg-type]
        this, tape = _Call(list(plans), given), Tape(silent=True)
        packing[tape] = Packing(this.packed)
        enter(tape)
        try:
            out = f(*args, **kw)
        finally:
            replace(tape)
            del packing[tape]
        plan = this.end(out)
        if plan is None and this.trace is not None and this.keys:
            plan = Plan(this.trace, max_bytes)
            if plan.saved > max_bytes:
                raise ValueError(_least(plan))
        if plan is not None:
            plans[:] = [plan, *[p for p in plans if p is not plan]][:_PLANS]
            call.plan = plan  # type: ignore[attr-defined]
        return out

    call.plan = None  # type: ignore[attr-defined]
    return call


def _least(plan: Plan) -> str:
    kept = [r for r in plan.rows if not r["again"]]
    what = "; ".join([f"{r['nbytes']:,} of {r['op']} {r['line']}".rstrip() for r in kept[:3]])
    return (
        f"checkpoint: max_bytes={plan.bound:,.0f} is less than must be kept: the least found possible here is "
        f"{plan.saved:,} bytes. {len(kept)} arrays cannot be made again in less: {what}. Give at least "
        f"max_bytes={plan.saved}, or write gg.checkpoint(f), which keeps the arguments alone."
    )
