"""Floor 2: what a call of an op does, written out: one array; one array and static arguments; two arrays; any number.

A recorded `a * b` is one Python call.  `tests/test_calls.py` counts them.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary, ref

from numpy import generic, ndarray

from .array import NUMPY, library
from .core import DROP, Node, Tensor, compact, joins, tick, wrap
from .forward import boxed, operand, placed
from .habits import unknown as not_taken
from .origin import CONSTANT, logs
from .recording import LARGE, active, lost, record
from .rule import Op

_NOBODY = (None, None, None)  # tracks one of three


def _unboxed(self: Op, call: Any, run: Any, args: tuple, static: dict[str, Any]) -> Any:
    """No argument is a Tensor: raw arrays give a raw array; numbers and lists are made Tensors first."""
    for a in args:
        if library(a) is not None:
            return run(*args, **static)
    return call(boxed(args[0], self.name), *args[1:], **static)


def _untracked(self: Op, call: Any, host: Any, run: Any, own: type[Tensor]) -> tuple[Any, Any]:
    """What a call does with (an array, anything else) where no operand is a Tensor."""
    if own is Tensor:
        return host, lambda *args, **static: _unboxed(self, call, run, args, static)
    into = lambda a, *more, **static: call(own.box(a), *more, **static)
    return into, into


def unary(self: Op, host: Any, run: Any, own: type[Tensor]) -> Any:
    """One input, no static arguments: recorded without a call of our own."""
    keep_x, keep_y, lean = 0 in self.needs[0], 1 in self.needs[0], self.lean

    def call(a: Any, name: Any = None) -> Any:
        kind = type(a)
        if kind is not own:
            if not isinstance(a, Tensor):
                return bare(a) if kind is ndarray or isinstance(a, generic) else other(a)
            kind = a.kind
        x = a.array
        h = a.node
        try:
            y = host(x) if type(x) is ndarray else run(x)
        except Exception as e:
            raise kind.explain(self.name, e, (x,)) from None
        t = kind()
        t.array = y
        if h is None:
            t.node = None
            return t
        tape = active().only
        if h.tape is not tape and h not in tape.watched and not joins(h, tape):
            return record(self, y, (x, y, None), (h,), kind)
        n = Node()
        n.tape = tape
        if lean is None or y.size < LARGE:
            n.op = self
            n.saved = (x if keep_x else None, y if keep_y else None)
        else:
            n.op, n.saved = lean((x, y, None))
        n.edges = (h,)
        n.shape = y.shape
        n.dtype = y.dtype
        n.seq = tick()
        n.next = None
        n.grad = DROP
        t.node = n
        nodes = tape.nodes
        if nodes is not None:
            nodes.append(ref(n))
            if len(nodes) > tape.limit:
                compact(tape)
        return t

    bare, other = _untracked(self, call, host, run, own)
    return call


def unary_static(self: Op, host: Any, run: Any, own: type[Tensor]) -> Any:
    """One input and static arguments: reductions, reshapes."""
    keep, lean = self.keep((True,)), self.lean
    defaults = self.static
    values = tuple(defaults.values())

    def call(a: Any, *more: Any, **static: Any) -> Any:
        if more:  # gg.sum(x, 0), as NumPy's users write
            if len(more) > len(defaults):
                raise TypeError(f"{self.name} takes one array and {list(defaults)}; given {1 + len(more)} arguments")
            static = {**dict(zip(defaults, more, strict=False)), **static}
        kind = type(a)
        if kind is not own:
            if not isinstance(a, Tensor):
                return bare(a, **static) if kind is ndarray or isinstance(a, generic) else other(a, **static)
            kind = a.kind
        x = a.array
        h = a.node
        try:
            y = host(x, **static) if type(x) is ndarray else run(x, **static)
        except Exception as e:
            if unknown := set(static) - set(defaults):
                if unknown <= kind.ignored:
                    return call(a, **{k: v for k, v in static.items() if k in defaults})
                raise TypeError(not_taken(self.name, unknown, list(defaults))) from None
            lists = {k: tuple(v) for k, v in static.items() if type(v) is list and k != "key"}
            if lists:  # axis=[0, 1]
                return call(a, **{**static, **lists})
            raise kind.explain(self.name, e, (x,)) from None
        t = kind()
        if y is x:  # two tensors never share an array object
            y = y.view()
        t.array = y
        if h is None:
            t.node = None
            return t
        tape = active().only
        given = (x, y, *({**defaults, **static}.values() if static else values), None)
        if h.tape is not tape and h not in tape.watched and not joins(h, tape):
            return record(self, y, given, (h,), kind)
        n = Node()
        n.tape = tape
        if lean is None or y.size < LARGE:
            n.op = self
            n.saved = keep(given)
        else:
            n.op, n.saved = lean(given)
        n.edges = (h,)
        n.shape = y.shape
        n.dtype = y.dtype
        n.seq = tick()
        n.next = None
        n.grad = DROP
        t.node = n
        nodes = tape.nodes
        if nodes is not None:
            nodes.append(ref(n))
            if len(nodes) > tape.limit:
                compact(tape)
        return t

    bare, other = _untracked(self, call, host, run, own)
    return call


def binary(self: Op, host: Any, run: Any, own: type[Tensor]) -> Any:
    """Two inputs, no static arguments.  A recorded `a*b` is this one Python call."""
    left, right = self.needs
    both = left | right
    lx, ly, lz = 0 in left, 1 in left, 2 in left
    rx, ry, rz = 0 in right, 1 in right, 2 in right
    bx, by, bz = 0 in both, 1 in both, 2 in both
    meets = own is not Tensor

    def call(a: Any, b: Any, name: Any = None) -> Any:
        kind = type(a)
        if kind is own and (type(b) is own or isinstance(b, Tensor)):  # `is` takes 10 ns less than isinstance
            x = a.array
            y = b.array
            h = a.node
            k = b.node
            if meets and x.dtype is not y.dtype:
                x, y = kind.meet(self.name, x, y)
        elif isinstance(a, Tensor):
            kind = a.kind
            x = a.array
            h = a.node
            if isinstance(b, Tensor):
                y = b.array
                k = b.node
                if kind is not Tensor and x.dtype is not y.dtype:
                    x, y = kind.meet(self.name, x, y)
            else:
                x, y = kind.pair(x, b)
                k = None
        elif isinstance(b, Tensor):
            h = None
            y = b.array
            k = b.node
            kind = b.kind
            y, x = kind.pair(y, a)
        else:
            return bare(a, b) if kind is ndarray or isinstance(a, generic) else other(a, b)
        try:
            z = host(x, y) if type(x) is ndarray else run(x, y)
        except Exception as e:
            raise kind.explain(self.name, e, (x, y)) from None
        t = kind()
        t.array = z
        if h is None:
            if k is None:
                t.node = None
                return t
            tape = active().only
            if k.tape is not tape and k not in tape.watched and not joins(k, tape):
                return record(self, z, (x, y, z, None), (h, k), kind)
            saved = (x if rx else None, y if ry else None, z if rz else None)
        elif k is None:
            tape = active().only
            if h.tape is not tape and h not in tape.watched and not joins(h, tape):
                return record(self, z, (x, y, z, None), (h, k), kind)
            saved = (x if lx else None, y if ly else None, z if lz else None)
        else:
            tape = active().only
            if (h.tape is not tape and h not in tape.watched and not joins(h, tape)) or (
                k.tape is not tape and k not in tape.watched and not joins(k, tape)
            ):
                return record(self, z, (x, y, z, None), (h, k), kind)
            saved = (x if bx else None, y if by else None, z if bz else None)
        n = Node()
        n.tape = tape
        n.op = self
        n.saved = saved
        n.edges = (h, k)
        n.shape = z.shape
        n.dtype = z.dtype
        n.seq = tick()
        n.next = None
        n.grad = DROP
        t.node = n
        nodes = tape.nodes
        if nodes is not None:
            nodes.append(ref(n))
            if len(nodes) > tape.limit:
                compact(tape)
        return t

    bare, other = _untracked(self, call, host, run, own)
    return call


def ternary(self: Op, host: Any, run: Any, own: type[Tensor]) -> Any:
    """Three inputs, each with a pullback, and no static arguments: a linear layer."""
    other = general(self, host, run, own, (), False)
    keep, whole = self.keep, self.whole

    def call(a: Any, b: Any, c: Any) -> Any:
        if not (isinstance(a, Tensor) and isinstance(b, Tensor) and isinstance(c, Tensor)):
            return other(a, b, c)
        kind = a.kind
        x, y, z = a.array, b.array, c.array
        h, k, m = a.node, b.node, c.node
        try:
            out = host(x, y, z) if type(x) is ndarray else run(x, y, z)
        except Exception as e:
            raise kind.explain(self.name, e, (x, y, z)) from None
        t = kind()
        t.array = out
        edges = (h, k, m)
        if edges == _NOBODY:
            t.node = None
            return t
        tape = active().only
        for e in edges:
            if e is not None and e.tape is not tape and e not in tape.watched and not joins(e, tape):
                return record(self, out, (x, y, z, out, None), edges, kind)
        n = Node()
        n.tape = tape
        n.op = self
        n.saved = (keep((h is not None, k is not None, m is not None)) if None in edges else whole)(
            (x, y, z, out, None)
        )
        n.edges = edges
        n.shape = out.shape
        n.dtype = out.dtype
        n.seq = tick()
        n.next = None
        n.grad = DROP
        t.node = n
        nodes = tape.nodes
        if nodes is not None:
            nodes.append(ref(n))
            if len(nodes) > tape.limit:
                compact(tape)
        return t

    return call


def general(
    self: Op, host: Any, run: Any, own: type[Tensor], aux: tuple[str, ...], several: bool, shows: bool = False
) -> Any:
    """Any number of inputs, static arguments, auxiliaries and outputs.  shows: auxiliaries are answered, too."""

    def call(*args: Any, **static: Any) -> Any:
        values: list[Any] = []
        heads: list[Node | None] = []
        anchor = tracked = None
        kind = Tensor
        for a in args:
            if isinstance(a, Tensor):
                anchor, kind = a.array, a.kind
                break
        if anchor is None:
            numpy = type(args[0]) is ndarray if args else False
            out = (bare if numpy else other)(*args, **static)
            return out[0] if aux and not shows and isinstance(out, tuple) else out
        if len(args) != len(self.args):
            raise TypeError(f"{self.name} takes the arrays {self.args}; given {len(args)}")
        for a, rule in zip(args, self.rules):
            n = None
            if isinstance(a, Tensor):
                if a.node is not None and rule is not None:
                    n = tracked = a.node
                a = a.array
            elif a is not None:
                lib = library(a)
                if lib is None:
                    a = operand(a, anchor)
                elif lib is NUMPY and kind.copies:
                    a = placed(a, anchor)
            values.append(a)
            heads.append(n)
        try:
            out = host(*values, **static) if type(values[0]) is ndarray else run(*values, **static)
        except Exception as e:
            raise kind.explain(self.name, e, values) from None
        kept: tuple[Any, ...] = ()
        if aux:
            out, *kept = out  # type: ignore[assignment]
        extra = (*kept, *out) if self.outs else kept
        if tracked is None:
            t = wrap(out, None, kind)
        else:
            given = {**self.static, **static}.values() if static else self.static.values()
            t = record(self, out, (*values, out, *given, *extra, None), heads, kind)
        if logs:
            lost(t, self.name, [a for a, rule in zip(args, self.rules) if rule is None], CONSTANT)
        if not several:
            return (t, *kept) if shows else t
        if t.node is None:
            ts = tuple([wrap(o, None, kind) for o in out])
            return (ts, *kept) if shows else ts
        ts = tuple([record(PICK, o, (None, None, i, None), (t.node,), kind) for i, o in enumerate(out)])
        if self.outs:
            picked[t.node] = [None if o.node is None else ref(o.node) for o in ts]
        return (ts, *kept) if shows else ts

    bare, other = _untracked(self, call, host, run, own)
    return call


# ---------------------------------------------------------------------------------------------- several outputs
class Parts(dict):
    """The cotangents of an op with several outputs, by position; an output that nobody used has none."""

    shape = dtype = None

    def __add__(self, other: Parts) -> Parts:
        return Parts(
            {
                i: self[i] + other[i] if i in self and i in other else self.get(i, other.get(i))
                for i in {**self, **other}
            }
        )


# The i-th output: what a call with several outputs is followed by, an output each.
PICK = Op("pick", ["x"], {"i": None}, (), None, {"x": lambda g, i: Parts({i: g})})
# By the node of an op with named outputs, those of the outputs: its pullback gets them with the user's own history.
picked: WeakKeyDictionary[Node, list[ref[Node] | None]] = WeakKeyDictionary()
