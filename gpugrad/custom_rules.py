"""Floor 6: `custom_vjp` and `custom_jvp`: functions of trees of tensors with a derivative of their own, in JAX's words.

The function becomes one op, made by `custom.attach`: tapes, accumulators and `vmap`, inside and around, see its rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from functools import partial, reduce, update_wrapper
from inspect import Parameter as Argument, signature
from threading import get_ident
from typing import Any

import optree

from .array import library
from .backprop import backprop
from .core import Node, Tape, Tensor, leaf, on, tick, wrap
from .custom import attach
from .dtypes import is_inexact
from .forward_mode import follows, unfollowed
from .levels import Traced, blank, followed
from .ops.math import add
from .ops.shape import reshape
from .recording import active, enter, recorded, replace
from .tensor import tensor

_SPACE = "gpugrad"
_running: ContextVar[tuple[Any, ...]] = ContextVar("gpugrad_fwd", default=())  # the functions whose fwd runs


def custom_vjp(f: Callable[..., Any] | None = None, nondiff_argnums: Sequence[int] = ()) -> Any:
    """`f` with a rule of one's own for the way back, as JAX's.

        @gg.custom_vjp
        def clipped(x, limit):
            return x

        clipped.defvjp(lambda x, limit: (x, limit), lambda limit, g: (gg.clip(g, -limit, limit), None))

    fwd(*args) answers (what f answers, anything that bwd needs); bwd(that, cotangent of the answer) answers a tuple:
    for each argument its cotangent, in the argument's tree, or None where there is none.  Arguments and answers are
    trees of tensors.  Where nobody differentiates, f runs; else fwd.  What fwd and bwd compute is recorded by outer
    tapes, so higher orders work, and `vmap` runs each for all examples at once.  Forward mode transposes bwd; of one
    that is not linear, its derivative at zero.  fwd may call the function itself.

    nondiff_argnums   places of arguments that are no tensors: bwd gets them in front of its own

    Cotangents are as everywhere here: of complex numbers the direction of steepest ascent, the conjugates of JAX's.
    AttributeError for a call before `defvjp`.  RuntimeError where f or fwd reads a tensor that it is not given and that
    a gradient is for: give it as an argument, or write stop_gradient.  TypeError and ValueError for answers of fwd and
    bwd of other trees and shapes.
    """
    return partial(custom_vjp, nondiff_argnums=nondiff_argnums) if f is None else CustomVjp(f, nondiff_argnums)


def custom_jvp(f: Callable[..., Any] | None = None, nondiff_argnums: Sequence[int] = ()) -> Any:
    """`f` with a rule of one's own for tangents, as JAX's.

        @gg.custom_jvp
        def log1pexp(x):
            return gg.log(1 + gg.exp(x))

        @log1pexp.defjvp
        def rule(primals, tangents):
            (x,), (v,) = primals, tangents
            return log1pexp(x), v * gg.sigmoid(x)

    The rule takes the arguments and their tangents, tuples, and answers (what f answers, its tangent); it is linear in
    the tangents.  Zeros stand for tangents that nobody gave.  On the way back the rule runs, and its linear part is
    walked back; so higher orders, tapes, accumulators and `vmap` follow it.  `defjvps` takes a rule for each argument:
    rule(tangent, what f answers, *args), or None: f does not depend on that.

    nondiff_argnums   places of arguments that are no tensors: the rule gets them in front of its own

    AttributeError for a call before `defjvp`.  RuntimeError where f reads a tensor that it is not given and that a
    gradient is for: give it as an argument, or write stop_gradient.  TypeError and ValueError for answers of the rule
    of other trees, shapes or dtypes than those of f.
    """
    return partial(custom_jvp, nondiff_argnums=nondiff_argnums) if f is None else CustomJvp(f, nondiff_argnums)


class _Ruled:
    """A function whose derivative is a rule."""

    kind, define = "", ""

    def __init__(self, f: Callable[..., Any], nondiff_argnums: Sequence[int]) -> None:
        if not callable(f):
            raise TypeError(f"{self.kind} takes a function, not {f!r:.40}")
        update_wrapper(self, f)
        self.f = f
        self.rule: Any = None
        self.nondiff: tuple[int, ...] = (
            (nondiff_argnums,) if isinstance(nondiff_argnums, int) else tuple(nondiff_argnums)
        )
        self.places = _places(f)
        self.name = f"{self.kind}({getattr(f, '__name__', type(f).__name__)})"

    def __call__(self, *args: Any, **named: Any) -> Any:
        if self.rule is None:
            raise AttributeError(f"{self.name} has no rule: define it with {self.define}")
        if named or len(args) < self.places:
            try:
                bound = signature(self.f).bind(*args, **named)
            except TypeError as e:
                raise TypeError(f"{self.name}: {e}") from None
            bound.apply_defaults()
            args = bound.args
            if apart := sorted({*bound.kwargs} & {*named}):
                raise TypeError(f"{self.name}: {apart} can be given by name only, and rules get arguments by place")
        for i in self.nondiff:
            if not -len(args) <= i < len(args):
                raise ValueError(
                    f"{self.name}: nondiff_argnums has {i}, and {len(args)} arguments are given, from 0 on"
                )
        apart = [i % len(args) for i in self.nondiff]
        fixed = [args[i] for i in apart]
        if any([followed(x) for x in _flat(fixed)[0]]):
            raise TypeError(
                f"{self.name}: an argument of nondiff_argnums {self.nondiff} is a tensor that a gradient is for; take "
                "it out of nondiff_argnums, and answer None for it"
            )
        args = tuple([a if i in apart else optree.tree_map(_own, a, namespace=_SPACE) for i, a in enumerate(args)])
        own = tuple([a for i, a in enumerate(args) if i not in apart])
        return self.call(args, fixed, own, [x for x in _flat(own)[0] if isinstance(x, Tensor)])

    def call(self, args: tuple, fixed: list[Any], own: tuple, tensors: list[Tensor]) -> Any:
        """The function of args, of which those in `own` have derivatives, and `tensors` are theirs."""
        raise NotImplementedError

    def run(self, f: Callable[..., Any], args: tuple, tensors: list[Tensor]) -> Any:
        """f(*args).  RuntimeError if it reads another tensor that a gradient is for."""
        probe, start, me, seen = Tape(silent=True), tick(), get_ident(), []

        def tell(n: Node) -> None:
            if get_ident() == me and not any([probe in c.off for c in active().changes if c.last]):  # f, no tangent
                seen.extend([e for e in n.edges if e is not None and e.seq < start])

        recorded.append(tell)
        enter(probe)  # under which no op takes its short path
        try:
            out = f(*args)
        finally:
            replace(probe)
            recorded.remove(tell)
        given = {n for t in tensors for n in _histories(t)}
        tapes = active().open
        read = [n for n in seen if n not in given and any([on(n, t) is not None for t in tapes])]
        if read or _beyond([t for t in _flat(out)[0] if isinstance(t, Tensor)], given, start):
            what = f"a tensor of shape {read[0].shape}" if read else "a tensor"
            raise RuntimeError(
                f"{self.name}: the function reads {what} that a gradient is for and that it is not given, and the rule "
                "has no gradient for it. Give it as an argument, or write gg.stop_gradient(it) inside."
            )
        return out

    def attached(self, out: Any, tensors: list[Tensor], back: Any, push: Any = None) -> Any:
        """`out`, a tree of Tensors, with the gradient `back`, which gets a tree of cotangents."""
        outs, spec = _flat(out)
        for o in outs:
            if not isinstance(o, Tensor) and library(o) is None:
                raise TypeError(f"{self.name}: it answers tensors, or trees of them, not {o!r:.60}")
        ts: tuple[Any, ...] = tuple([o if isinstance(o, Tensor) else tensor(o) for o in outs])
        if not ts:
            return out
        pull = lambda gs: back(optree.tree_unflatten(spec, gs))
        if len(ts) == 1:
            return optree.tree_unflatten(spec, [attach(self.name, *ts, tensors, pull, push=push)])
        return optree.tree_unflatten(spec, attach(self.name, ts, tensors, pull, push=push))


class CustomVjp(_Ruled):
    """A function with a rule for the way back."""

    kind, define = "custom_vjp", "defvjp(fwd, bwd)"

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any]) -> None:
        """Use fwd(*args) -> (answer, residuals) and bwd(residuals, cotangent) -> a cotangent for each argument."""
        for f in (fwd, bwd):
            if not callable(f):
                raise TypeError(f"{self.name}: defvjp takes two functions, fwd and bwd, not {f!r:.40}")
        self.rule = fwd, bwd

    def call(self, args: tuple, fixed: list[Any], own: tuple, tensors: list[Tensor]) -> Any:
        """f, or fwd where somebody differentiates; inside fwd itself f, and fwd when its cotangent arrives."""
        if not any(map(followed, tensors)):
            return self.run(self.f, args, tensors)
        later = any([g is self for g in _running.get()])
        out, kept = (self.run(self.f, args, tensors), None) if later else self.forward(args, tensors)

        def back(g: Any) -> list[Any]:
            residuals = self.forward(args, tensors)[1] if later else kept
            return self.backward(fixed, own, residuals, g)

        return self.attached(out, tensors, back)

    def forward(self, args: tuple, tensors: list[Tensor]) -> tuple[Any, Any]:
        """What fwd answers."""
        token = _running.set((*_running.get(), self))
        try:
            found = self.run(self.rule[0], args, tensors)
        finally:
            _running.reset(token)
        if not isinstance(found, tuple) or len(found) != 2:
            raise TypeError(f"{self.name}: fwd answers (what the function answers, residuals), not {found!r:.60}")
        return found

    def backward(self, fixed: list[Any], own: tuple, residuals: Any, g: Any) -> list[Any]:
        """What bwd answers, for each tensor among the arguments; None where there is no cotangent."""
        found = self.rule[1](*fixed, residuals, g)
        if not isinstance(found, (tuple, list)) or len(found) != len(own):
            got = f"{len(found)} cotangents" if isinstance(found, (tuple, list)) else f"a {type(found).__name__}"
            raise TypeError(
                f"{self.name}: bwd answers a tuple with a cotangent for each of {len(own)} arguments, None where there "
                f"is none; it answered {got}"
            )
        answers = []
        for i, (d, arg) in enumerate(zip(found, own)):
            leaves, wanted = _flat(arg)[0], _spread(d, arg)
            if wanted is None:
                raise ValueError(
                    f"{self.name}: bwd answered {_told(d)} for argument {i}, which is {_told(arg)}; nest it alike"
                )
            for x, c in zip(leaves, wanted):
                if isinstance(x, Tensor):
                    answers.append(self._cotangent(i, x, c))
        return answers

    def _cotangent(self, i: int, x: Tensor, c: Any) -> Any:
        if c is None or not is_inexact(x.array.dtype):
            return None
        c = c if isinstance(c, Tensor) or library(c) is None else wrap(c)
        if not isinstance(c, Tensor):
            raise TypeError(
                f"{self.name}: bwd answered {c!r:.40} in argument {i}, which is no tensor; None stands for zeros"
            )
        if c.array.shape != x.array.shape:
            raise ValueError(
                f"{self.name}: bwd answered a cotangent of shape {tuple(c.array.shape)} in argument {i}, for a tensor "
                f"of shape {tuple(x.array.shape)}"
            )
        return c


class CustomJvp(_Ruled):
    """A function with a rule for tangents."""

    kind, define = "custom_jvp", "defjvp(rule), or defjvps"

    def defjvp(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Use rule(primals, tangents) -> (answer, its tangent); a decorator."""
        if not callable(rule):
            raise TypeError(f"{self.name}: defjvp takes a function, not {rule!r:.40}")
        self.rule = rule
        return rule

    def defjvps(self, *rules: Callable[..., Any] | None) -> None:
        """Use rule(tangent, answer, *args) for each argument, None where the answer does not depend on it."""
        if self.nondiff:
            raise TypeError(f"{self.name}: defjvps knows no nondiff_argnums; write defjvp")

        def rule(primals: tuple, tangents: tuple) -> Any:
            if len(rules) != len(primals):
                raise TypeError(f"{self.name}: defjvps was given {len(rules)} rules, and {len(primals)} arguments came")
            out = self(*primals)
            terms = [r(v, out, *primals) for r, v in zip(rules, tangents) if r is not None]
            if not terms:
                return out, optree.tree_map(_zeros, out, namespace=_SPACE)
            return out, reduce(lambda a, b: optree.tree_map(add, a, b, namespace=_SPACE), terms)

        self.rule = rule

    def call(self, args: tuple, fixed: list[Any], own: tuple, tensors: list[Tensor]) -> Any:
        """f, with the rule for tangents, and for cotangents its transpose."""
        out = self.run(self.f, args, tensors)
        if not any(map(followed, tensors)):
            return out
        leaves, spec = _flat(own)
        like = [(o.shape, o.dtype) for o in _flat(out)[0] if hasattr(o, "dtype")]
        shape = optree.tree_structure(out, namespace=_SPACE)

        def push(vs: Sequence[Any]) -> Any:
            given = iter(vs)
            tangents = [
                (_zeros(x) if (v := next(given)) is None else v) if isinstance(x, Tensor) else _zeros(x) for x in leaves
            ]
            found = self.tangents(self.rule(*fixed, own, optree.tree_unflatten(spec, tangents)), shape, like)
            return tuple(found) if len(found) > 1 else found[0]

        def back(g: Any) -> list[Any]:
            tape, zeros = Tape(set(), beside=True), [_zeros(x) if is_inexact(x.array.dtype) else None for x in tensors]
            sources = [z for z in zeros if z is not None]
            tape.watched.update(map(leaf, sources))
            enter(tape)
            try:
                found = push(zeros)
            finally:
                replace(tape)
            ts = list(found) if isinstance(found, tuple) else [found]
            if loose := [i for i, t in enumerate(ts) if not follows(tape, t) and is_inexact(t.array.dtype)]:
                ones = push([None if z is None else wrap(z.array + 1, None, z.kind) for z in zeros])
                unfollowed(self.name, "a walk back", [(ones if len(ts) > 1 else (ones,))[i] for i in loose])
            answers = iter(backprop(ts, _flat(g)[0], tape, sources, False, True) or [])
            return [None if z is None else next(answers) for z in zeros]

        return self.attached(out, tensors, back, push)

    def tangents(self, found: Any, spec: Any, like: list[tuple[Any, Any]]) -> list[Tensor]:
        """The tangents that the rule has answered, one for each Tensor that f has."""
        if not isinstance(found, tuple) or len(found) != 2:
            raise TypeError(
                f"{self.name}: the rule answers (what the function answers, its tangent), not {found!r:.60}"
            )
        for what, tree in zip(("value", "tangent"), found):
            leaves, other = _flat(tree)
            if other != spec:
                raise TypeError(f"{self.name}: the rule's {what} is {other}, and the function answered {spec}")
            for x, (shape, dtype) in zip(leaves, like):
                if not hasattr(x, "dtype"):
                    raise TypeError(
                        f"{self.name}: the rule's {what} has {x!r:.40}, which is no tensor; write gg.zeros_like"
                    )
                if tuple(x.shape) != tuple(shape) or x.dtype != dtype:
                    raise TypeError(
                        f"{self.name}: the rule's {what} is {x.dtype} of shape {tuple(x.shape)}, and the function "
                        f"answered {dtype} of shape {tuple(shape)}; they must be alike"
                    )
        return [v if isinstance(v, Tensor) else wrap(v) for v in _flat(found[1])[0]]


def _places(f: Callable[..., Any]) -> int:
    """How many arguments f has by place; 0 where Python does not know."""
    try:
        places = Argument.POSITIONAL_ONLY, Argument.POSITIONAL_OR_KEYWORD
        return len([p for p in signature(f).parameters.values() if p.kind in places])
    except (TypeError, ValueError):
        return 0


# ---------------------------------------------------------------------------------------------- trees
def _flat(tree: Any) -> tuple[list[Any], Any]:
    return optree.tree_flatten(tree, namespace=_SPACE)


def _spread(d: Any, arg: Any) -> list[Any] | None:
    """The cotangents `d`, whose None may stand for a tree, for each leaf of `arg`; None if it is nested otherwise."""
    try:
        whole = optree.tree_broadcast_prefix(d, arg, none_is_leaf=True, namespace=_SPACE)
    except (ValueError, TypeError):
        return None
    given = [x for x in optree.tree_leaves(d, namespace=_SPACE) if x is not None]
    found = optree.tree_leaves(whole, none_is_leaf=True, namespace=_SPACE)
    if len(given) != len([x for x in found if x is not None]):
        return None
    at = optree.tree_leaves(arg, none_is_leaf=True, namespace=_SPACE)
    return [c for c, x in zip(found, at) if x is not None]


def _told(tree: Any) -> str:
    return str(optree.tree_structure(tree, namespace=_SPACE))


def _own(x: Any) -> Any:
    """An argument with a history, as a Tensor of the call's own: it may also be one that is closed over."""
    return reshape(x, x.array.shape) if isinstance(x, Tensor) and followed(x) else x


def _zeros(x: Any) -> Any:
    """The tangent of what does not move."""
    if isinstance(x, Tensor):
        return wrap(blank(x.array)(), None, x.kind)
    return x * 0 if isinstance(x, (int, float, complex)) or library(x) is not None else None


# ---------------------------------------------------------------------------------------------- what f reads
def _histories(t: Any) -> Iterator[Node]:
    """The history of t, inside the level that it is of and around that."""
    while isinstance(t, (Tensor, Traced)):
        if isinstance(t, Tensor) and t.node is not None:
            yield t.node
        t = t.array if isinstance(t, Tensor) else t.within


def _beyond(outs: list[Tensor], given: set[Node], start: int) -> bool:
    """Whether `outs` depend on a node that was there at `start` and is not `given`."""
    todo = [n for t in outs for n in _histories(t)]
    seen = set(todo)
    for n in todo:  # grows
        if n in given:
            continue
        if n.seq < start:
            return True
        fresh = [e for e in n.edges if e is not None and e not in seen]
        seen.update(fresh)
        todo += fresh
    return False
