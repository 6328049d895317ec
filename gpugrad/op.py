"""Floor 2: `op()`, the declaration of a differentiable op.

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
from functools import cache, partial
from typing import Any
from weakref import WeakSet, ref

import numpy as np
from numpy import generic

from .array import library
from .core import Tensor
from .paths import Parts as Parts, binary, general, ternary, unary, unary_static
from .rule import Op, Rule, checked_forward, checked_rule, missing, signature, unwritten

BATCHES = "elementwise", "broadcast", "leading", "along", "joined"  # the rules in batching.py
every: WeakSet[Any] = WeakSet()  # the functions that users call, of all ops: one for each class of tensors
made: list[Callable[[Any], None]] = []  # told of each such function that is new


# ---------------------------------------------------------------------------------------------- declaring
def op(
    forward: Callable[..., Any] | None = None,
    *,
    gpu: Callable[..., Any] | None = None,
    name: str | None = None,
    args: Sequence[str] | None = None,
    aux: tuple[str, ...] = (),
    pull: Rule | None = None,
    via: Rule | None = None,
    adds: dict[str, Rule] | None = None,
    last: str | None = None,
    over: Rule | None = None,
    lean: tuple[Callable[..., Any], ...] | None = None,
    exact: Sequence[str] = (),
    batch: Any = None,
    linear: bool | str = False,
    several: bool | tuple[str, ...] = False,
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
    via       the first step of all pullbacks, taken once: what it answers, they get in the place of the cotangent
    adds      `f(g, ..., total)` for some inputs: adds the cotangent to the array `total` and answers it; or None,
              where that is no better than a sum
    last      the input whose pullback runs last, when what the others alone need has been freed
    over      `via`, or without it the pullback of the first input, that writes over the cotangent; for arrays of
              NumPy's that the engine owns
    lean      (bits(...), rule, over) of an op of one input whose pullback chooses: from LARGE elements on it is
              recorded with what `bits` makes of its input, `out` or static arguments, asked for by name
    exact     the names of what a pullback compares or takes differences of: `gg.save_as` does not round it
    batch     how `vmap` runs it on the arrays of all examples at once: "elementwise", "broadcast" (axes in front do),
              "leading" (so they do, once all operands have them), "along" (an `axis`), "joined" (in a batch), or a
              function rule(call, xs, each, static, level), see `batching.py`; None: example by example
    linear    True: the op is linear in its operands together; "each": in each of its two, while the other is held.
              Forward mode and Taylor mode then give the op itself the tangents
    several   the forward returns a tuple of outputs, and the pullback takes `Parts`; the outputs' names, if it asks
              for them
    rules     for each array argument, its pullback, or None: it has no gradient.  An argument without a rule raises
              LookupError when somebody differentiates with respect to it, unless the op has no rule at all and a
              gradient was registered for its name (`gg.register_gradient`)
    differentiable   False: the op has no gradient and is never recorded
    checked   check what the forward and the pullbacks return at every call

    Returns a function: Tensors in, Tensor out; raw arrays in, raw array out.
    """
    if forward is None:
        options: dict[str, Any] = {"gpu": gpu, "name": name, "args": args, "aux": aux, "pull": pull, **rules}
        options |= {"via": via, "adds": adds, "last": last, "over": over, "lean": lean, "exact": exact, "batch": batch}
        options["linear"] = linear
        return lambda f: op(f, several=several, differentiable=differentiable, checked=checked, **options)
    if isinstance(batch, str) and batch not in BATCHES:
        raise ValueError(f"op: batch is one of {BATCHES}, a function or None, not {batch!r}")
    if linear not in (True, False, "each"):
        raise ValueError(f'op: linear is True, False or "each", not {linear!r}')
    code = getattr(forward, "__code__", None)
    if code is None:
        raise TypeError(f"op: the forward is a Python function f(xp, *arrays, **static), not {forward!r:.60}")
    if args is None:
        nin = getattr(forward, "nin", None)
        args = code.co_varnames[1 : code.co_argcount] if nin is None else tuple("xyz"[:nin])
    assert args is not None
    if linear == "each" and len(args) != 2:
        raise ValueError(f'op: linear="each" is for two operands, not {list(args)}')
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    static = {n: (forward.__kwdefaults__ or {}).get(n) for n in keywords}
    name = name or forward.__name__.lstrip("_")
    if differentiable and pull is None and not rules and not several:
        pull = unwritten(name, args)
    elif differentiable and pull is None:
        rules = {**{a: missing(name, a) for a in args}, **rules}
    if checked:
        rules = {a: r if r is None else checked_rule(name, a, r) for a, r in rules.items()}
    outs = several if isinstance(several, tuple) else ()
    self = Op(
        name, args, static, aux, pull, {a: r for a, r in rules.items() if r is not None}, via, adds, outs, last, over
    )
    self.fused, self.exact = gpu is not None, frozenset([self.names.index(n) for n in exact])
    host = getattr(forward, "host", None) or partial(forward, np)
    run = _dispatch(self, forward, host, gpu)
    if checked:
        host, run = [checked_forward(name, f, bool(several or aux)) for f in (host, run)]
    self.host, self.run, self.aux, self.batch, self.linear = host, run, len(aux), batch, linear
    if lean is not None:
        self.lean = _leaner(self, *lean)
    simple = not (aux or several or None in self.rules)
    if simple and len(self.rules) == 1:
        make = unary_static if static else unary
    elif simple and len(self.rules) < 4 and not static:
        make = binary if len(self.rules) == 2 else ternary
    else:
        make = partial(general, aux=aux, several=bool(several))
    if aux:
        self.showing = cache(lambda: _finished(partial(make, shows=True), self, host, run, Tensor, self.args, None))
    return _finished(make, self, host, run, Tensor, self.args, forward.__doc__)


# An op whose output has at each place what it makes of the operands' elements at that place, broadcast, and of nothing
# else: the declaration of those.
elementwise = partial(op, batch="elementwise")


def _leaner(self: Op, bits: Callable[..., Any], rule: Rule, over: Rule | None = None) -> Callable[..., Any]:
    """What a call is recorded as instead, from its (input, out, *static, None)."""
    twin = Op(self.name, self.args, self.static, ("bits",), None, {self.args[0]: rule}, over=over)
    code = bits.__code__
    at = [self.names.index(n) for n in code.co_varnames[: code.co_argcount]]
    make = lambda *values: bits(*[values[i] for i in at])
    again = lambda forward: lambda x, **static: (y := forward(x, **static), make(x, y, *static.values()))
    twin.host, twin.run = again(self.host), again(self.run)
    return lambda values: (twin, twin.whole((*values[:-1], make(*values), None)))


def _finished(
    make: Any, self: Op, host: Any, run: Any, own: type[Tensor], names: Sequence[str], doc: str | None
) -> Any:
    call = make(self, host, run, own)
    code = call.__code__
    n = code.co_argcount - bool(call.__defaults__)  # without `name`, which those have who ignore it
    own_names = [f".{v}" if v in names[:n] else v for v in code.co_varnames[n:]]  # of two alike, a frame shows one
    code = code.replace(co_varnames=(*names[:n], *own_names), co_name=self.name)  # as users know them
    if call.__defaults__ and not own.ignored:
        code, call.__defaults__ = code.replace(co_argcount=n), None
    call.__code__ = code
    call.__name__ = call.__qualname__ = self.name
    call.__doc__ = doc
    call.__module__ = next(m for m in _callers() if m != __name__)  # where pickle finds it
    call.__signature__ = signature(names, self.static, n > 0, own.ignored if n else ())
    call.op = self
    call.spoken = lambda own, names: _finished(make, self, host, run, own, names or self.args, doc)
    self.calls.append(ref(call))
    every.add(call)
    for tell in made:
        tell(call)
    return call


def spoken(f: Any, own: type[Tensor], names: Sequence[str] = ()) -> Any:
    """Op `f` for users whose tensors are `own` and who call its arrays `names`.

    Where no operand is a Tensor, `own.box` makes the first one.  The same code, the same rules, the same cost; `own`
    takes the short path.
    """
    return f.spoken(own, names)


def findable(table: dict[str, Any], module: str) -> dict[str, Any]:
    """A front door's functions, known to pickle by the module and the names under which users have them."""
    for name, f in table.items():
        f.__module__, f.__qualname__ = module, name
    return table


def user_op(forward: Callable[..., Any] | None = None, **options: Any) -> Any:
    return op(forward, checked=True, **options)


user_op.__doc__, user_op.__name__, user_op.__qualname__ = op.__doc__, "op", "op"


def _callers() -> Iterator[str]:
    frame = sys._getframe(2)
    while frame is not None:
        yield frame.f_globals["__name__"]
        frame = frame.f_back


def _dispatch(self: Op, forward: Any, host: Any, gpu: Any) -> Callable[..., Any]:
    """The forward for arrays of any library, chosen by the first array among the arguments."""

    def run(*xs: Any, **static: Any) -> Any:
        for x in xs:
            lib = None if isinstance(x, generic) else library(x)  # NumPy's 0-d results go with any library
            if lib is not None:
                if lib.traced:
                    return lib.forward(self, xs, static)  # type: ignore[attr-defined]
                return (forward if gpu is None or lib.name == "numpy" else gpu)(lib.xp, *xs, **static)
        return host(*xs, **static)

    return run
