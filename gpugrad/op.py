"""Floor 2: `op()`, the declaration of a differentiable op, and the written-out hot paths.

    mul = op(ufunc("multiply"), x=lambda g, y: g * y, y=lambda g, x: g * x)
    exp = op(ufunc("exp"), x=lambda g, out: g * out)

    @op(x=lambda g, out: relu_grad(g, out))
    def relu(xp, x): return xp.maximum(x, 0)

A pullback takes the cotangent `g` of the output and asks by name for what else it needs: an input, `out`, an
auxiliary, a static (keyword-only) argument, or `shape`, the shape of the input it is for.  Only that is saved, and
only for inputs that are tracked.  Tensors in, Tensor out; raw arrays in, raw array out: one rule serves both the
first derivative and, run on Tensors, all others.

Cotangents are linear maps, not conjugated: the rule of a holomorphic op needs no `conj`.  `backprop` conjugates
seeds and answers, so users see the convention of TensorFlow and PyTorch (the direction of steepest ascent).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from weakref import ref

import numpy as np
from numpy import generic, ndarray

from .array import library
from .core import DROP, Node, Tensor, compact, joins, tick, wrap
from .forward import boxed, operand
from .recording import active, record
from .rule import Op, Rule, checked_forward, checked_rule, missing, signature


# ---------------------------------------------------------------------------------------------- declaring
def op(
    forward: Callable[..., Any] | None = None,
    *,
    gpu: Callable[..., Any] | None = None,
    name: str | None = None,
    args: Sequence[str] | None = None,
    aux: tuple[str, ...] = (),
    pull: Rule | None = None,
    several: bool = False,
    differentiable: bool = True,
    checked: bool = False,
    **rules: Rule | None,
) -> Any:
    """Declare a differentiable op.

    forward   `forward(xp, *arrays, **static)`: arrays are positional, static arguments keyword-only
    gpu       the forward for GPU arrays, where a kernel is better than array functions
    name, args   the op's name and array arguments, where the forward's signature does not say them
    aux       names of values that the forward returns after its output, for pullbacks only: caches, not variables
    pull      one joint pullback, answering a tuple of the cotangents of all inputs, instead of a rule for each
    several   the forward returns a tuple of outputs, and the pullback takes `Parts`
    rules     for each array argument, its pullback, or None: it has no gradient.  An argument without a rule raises
              LookupError when somebody differentiates with respect to it
    differentiable   False: the op has no gradient and is never recorded
    checked   check what the forward and the pullbacks return at every call

    Returns a function: Tensors in, Tensor out; raw arrays in, raw array out.
    """
    if forward is None:
        options: dict[str, Any] = {"gpu": gpu, "name": name, "args": args, "aux": aux, "pull": pull, **rules}
        return lambda f: op(f, several=several, differentiable=differentiable, checked=checked, **options)
    code = getattr(forward, "__code__", None)
    if code is None:
        raise TypeError(f"op: the forward is a Python function f(xp, *arrays, **static), not {forward!r:.60}")
    if args is None:
        nin = getattr(forward, "nin", None)
        args = code.co_varnames[1 : code.co_argcount] if nin is None else tuple("xyz"[:nin])
    assert args is not None
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    static = {n: (forward.__kwdefaults__ or {}).get(n) for n in keywords}
    name = name or forward.__name__.lstrip("_")
    if differentiable and pull is None:
        rules = {**{a: missing(name, a) for a in args}, **rules}
    if checked:
        rules = {a: r if r is None else checked_rule(name, a, r) for a, r in rules.items()}
    self = Op(name, args, static, aux, pull, {a: r for a, r in rules.items() if r is not None})
    host = getattr(forward, "host", None) or partial(forward, np)
    run = _dispatch(forward, host, gpu)
    if checked:
        host, run = [checked_forward(name, f, several or bool(aux)) for f in (host, run)]
    simple = not (aux or several or None in self.rules)
    if simple and len(self.rules) == 1:
        call = _unary(self, host, run) if not static else _unary_static(self, host, run)
    elif simple and len(self.rules) == 2 and not static:
        call = _binary(self, host, run)
    else:
        call = _general(self, host, run, aux, several)
    call.__name__ = call.__qualname__ = self.name
    call.__doc__ = forward.__doc__
    call.__module__ = next(m for m in _callers() if m != __name__)  # where pickle finds it
    call.__signature__ = signature(args, static)
    call.op = self
    return call


def user_op(forward: Callable[..., Any] | None = None, **options: Any) -> Any:
    return op(forward, checked=True, **options)


user_op.__doc__, user_op.__name__, user_op.__qualname__ = op.__doc__, "op", "op"


def _callers() -> Iterator[str]:
    frame = sys._getframe(2)
    while frame is not None:
        yield frame.f_globals["__name__"]
        frame = frame.f_back


def _dispatch(forward: Any, host: Any, gpu: Any) -> Callable[..., Any]:
    """The forward for arrays of any library, chosen by the first array among the arguments."""

    def run(*xs: Any, **static: Any) -> Any:
        for x in xs:
            lib = None if isinstance(x, generic) else library(x)  # NumPy's 0-d results go with any library
            if lib is not None:
                return (forward if gpu is None or lib.name == "numpy" else gpu)(lib.xp, *xs, **static)
        return host(*xs, **static)

    return run


def _unboxed(self: Op, call: Any, run: Any, args: tuple, static: dict[str, Any]) -> Any:
    """No argument is a Tensor: raw arrays give a raw array; numbers and lists are made Tensors first."""
    for a in args:
        if library(a) is not None:
            return run(*args, **static)
    return call(boxed(args[0], self.name), *args[1:], **static)


def _unary(self: Op, host: Any, run: Any) -> Any:
    """One input, no static arguments: recorded without a call of our own."""
    keep_x, keep_y = 0 in self.needs[0], 1 in self.needs[0]

    def call(a: Any) -> Any:
        kind = type(a)
        if kind is not Tensor:
            if not isinstance(a, Tensor):
                return host(a) if kind is ndarray or isinstance(a, generic) else _unboxed(self, call, run, (a,), {})
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
        n.op = self
        n.saved = (x if keep_x else None, y if keep_y else None)
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

    return call


def _unary_static(self: Op, host: Any, run: Any) -> Any:
    """One input and static arguments: reductions, reshapes."""
    keep = self.keep([True])
    defaults = self.static
    values = tuple(defaults.values())

    def call(a: Any, *more: Any, **static: Any) -> Any:
        if more:  # gg.sum(x, 0), as NumPy's users write
            if len(more) > len(defaults):
                raise TypeError(f"{self.name} takes one array and {list(defaults)}; given {1 + len(more)} arguments")
            static = {**dict(zip(defaults, more, strict=False)), **static}
        kind = type(a)
        if kind is not Tensor:
            if not isinstance(a, Tensor):
                return (
                    host(a, **static)
                    if kind is ndarray or isinstance(a, generic)
                    else _unboxed(self, call, run, (a,), static)
                )
            kind = a.kind
        x = a.array
        h = a.node
        try:
            y = host(x, **static) if type(x) is ndarray else run(x, **static)
        except Exception as e:
            if unknown := set(static) - set(defaults):
                raise TypeError(f"{self.name} has no argument {min(unknown)!r}; it takes {list(defaults)}") from None
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
        n.op = self
        n.saved = keep(given)
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

    return call


def _binary(self: Op, host: Any, run: Any) -> Any:
    """Two inputs, no static arguments.  A recorded `a*b` is this one Python call."""
    left, right = self.needs
    both = left | right
    lx, ly, lz = 0 in left, 1 in left, 2 in left
    rx, ry, rz = 0 in right, 1 in right, 2 in right
    bx, by, bz = 0 in both, 1 in both, 2 in both

    def call(a: Any, b: Any) -> Any:
        kind = type(a)
        if kind is Tensor and type(b) is Tensor:  # the two tests are faster than one isinstance
            x = a.array
            y = b.array
            h = a.node
            k = b.node
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
            return host(a, b) if kind is ndarray or isinstance(a, generic) else _unboxed(self, call, run, (a, b), {})
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

    return call


def _general(self: Op, host: Any, run: Any, aux: tuple[str, ...], several: bool) -> Any:
    """Any number of inputs, static arguments, auxiliaries and outputs."""

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
            out = host(*args, **static) if numpy else _unboxed(self, call, run, args, static)
            return out[0] if aux and isinstance(out, tuple) else out
        if len(args) != len(self.args):
            raise TypeError(f"{self.name} takes the arrays {self.args}; given {len(args)}")
        for a, rule in zip(args, self.rules, strict=True):
            n = None
            if isinstance(a, Tensor):
                if a.node is not None and rule is not None:
                    n = tracked = a.node
                a = a.array
            elif a is not None and library(a) is None:
                a = operand(a, anchor)
            values.append(a)
            heads.append(n)
        try:
            out = host(*values, **static) if type(values[0]) is ndarray else run(*values, **static)
        except Exception as e:
            raise kind.explain(self.name, e, values) from None
        extra: tuple[Any, ...] = ()
        if aux:
            out, *extra = out  # type: ignore[assignment]
        if tracked is None:
            return tuple([wrap(o, None, kind) for o in out]) if several else wrap(out, None, kind)
        given = {**self.static, **static}.values() if static else self.static.values()
        t = record(self, out, (*values, out, *given, *extra, None), heads, kind)
        if not several:
            return t
        if t.node is None:
            return tuple([wrap(o, None, kind) for o in out])
        return tuple([record(pick.op, o, (None, None, i, None), (t.node,), kind) for i, o in enumerate(out)])

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


def _take(xp: Any, x: Any, *, i: int) -> Any:
    return x[i]


pick = op(_take, name="pick", x=lambda g, i: Parts({i: g}))
