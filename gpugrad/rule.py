"""Floor 2: an op's pullbacks, and what of the forward each of them needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from inspect import Parameter, Signature
from operator import itemgetter
from typing import Any

import numpy as np

from .array import library

Rule = Callable[..., Any]


class Op:
    """A differentiable op: its name, a pullback for each differentiable input, and what each pullback needs.

    `rules[i](g, saved, shape)` is the cotangent of input `i`.  `joint(g, saved, None)` gives those of all inputs.
    `via` is the first step of all pullbacks, taken once: the rules get what it answers instead of the cotangent.
    `adds[i](g, saved, total)` adds the cotangent of input `i` to the array `total` itself, where a kernel can.
    Of an op with `over` there is beside the quick pullback of its first input, or as `joint_over` beside `joint`, one
    that writes over g, which nobody else holds.
    `lean(values)` answers what large arrays are recorded as, that takes less memory: (another Op, what it saves).
    `exact` has the places of what must not be rounded.
    `saves` says whether any of them needs an array, `fused` whether GPU arrays have a forward of their own.
    The last `outs` names are those of several outputs.
    `order` is the order in which pullbacks run; ~i stands for one that runs when `rest` has dropped what the others
    alone need of what was saved.
    `host` and `run` are its forward, of NumPy's arrays and of any; None where it has none that can be called alone.
    `aux` says how many values it answers after its output, `batch` how `vmap` runs it, `linear` in what it is linear.
    `calls` are weak references to the functions that users call: one for each class of tensors.  `showing()`, where
    there are auxiliaries, is one that answers them, too.
    `keep(tracked)` answers a function that picks from `(*inputs, out, *static, *aux, *outs, None)` what the pullbacks
    of the tracked inputs asked for, with None in the other places.  `whole` is that function where all are tracked.
    """

    __slots__ = (
        "_keep",
        "adds",
        "args",
        "asks",
        "aux",
        "batch",
        "calls",
        "exact",
        "fused",
        "host",
        "joint",
        "joint_over",
        "lean",
        "linear",
        "name",
        "names",
        "needs",
        "order",
        "outs",
        "quick",
        "rest",
        "rules",
        "run",
        "saves",
        "showing",
        "static",
        "whole",
    )

    def __init__(
        self,
        name: str,
        args: Sequence[str],
        static: dict[str, Any],
        aux: tuple[str, ...],
        pull: Rule | None,
        rules: Any,
        via: Rule | None = None,
        adds: dict[str, Rule] | None = None,
        outs: tuple[str, ...] = (),
        last: str | None = None,
        over: Rule | None = None,
    ) -> None:
        self.name, self.args, self.static, self.fused = name, list(args), static, False
        self.host: Callable[..., Any] | None = None
        self.aux = 0
        self.batch: Any = None
        self.linear: bool | str = False
        self.calls: list[Any] = []
        self.run: Callable[..., Any] | None = None
        self.names, self.outs = [*args, "out", *static, *aux, *outs], len(outs)
        if pull:
            rules = dict.fromkeys(args, pull)
        for a in rules:
            if a not in args:
                raise TypeError(f"op {name}: rule for {a!r}, which is no array argument; those are {list(args)}")
        self.asks = {a: asked_by(r) for a, r in rules.items()}
        for a, asked in self.asks.items():
            for n in asked:
                if n != "shape" and n not in self.names:
                    raise TypeError(f"op {name}: the pullback of {a!r} asks for {n!r}; it may ask for {self.names}")
        self.needs = [{self._at(n) for n in self.asks[a]} - {-1} if a in rules else set() for a in args]
        self.rules = [_positional(rules[a], [self._at(n) for n in self.asks[a]]) if a in rules else None for a in args]
        # The commonest pullbacks, for the engine to call without a wrapper: (rule, -1) is rule(g), (rule, i) is
        # rule(g, saved[i]); (rule, -2) is the wrapped one; ((rule, over), -3 - i) is either of (g, saved[i]).
        self.quick: list[Any] = [
            _quick(rules[a], [self._at(n) for n in self.asks[a]], wrapped) if wrapped is not None else None
            for a, wrapped in zip(args, self.rules, strict=True)
        ]
        self.lean: Callable[[tuple], tuple[Op, tuple]] | None = None
        self.exact: frozenset[int] = frozenset()
        self.order, self.rest = tuple(range(len(args))), None
        if last is not None:
            i = self.args.index(last)
            self.order = (*[k for k in self.order if k != i], ~i)
            pick = itemgetter(*[k if k in self.needs[i] else len(self.names) for k in range(len(self.names))])
            self.rest = lambda saved: type(saved)(pick(tuple.__add__(saved, (None,))))  # packed values stay so
        self.joint_over = None
        if over is not None and via is None:
            plain, k = self.quick[0]
            self.quick[0] = (plain, over), -3 - k
        if pull and (via or adds):
            raise TypeError(f"op {name}: `via` and `adds` go with a rule for each input, not with `pull`")
        self.joint = self.rules[0] if pull else None
        if via is not None:
            shared = [self._at(n) for n in asked_by(via)]
            self.needs = [need | set(shared) if a in rules else need for a, need in zip(args, self.needs)]
            self.joint = partial(_Shared, self.rules, _positional(via, shared))
            if over is not None:
                self.joint_over = partial(_Shared, self.rules, _positional(over, [self._at(n) for n in asked_by(over)]))
        asked = {a: [self._at(n) for n in asked_by(r)[:-1]] for a, r in (adds or {}).items()}
        self.adds = adds and [
            (lambda g, s, total, r=adds[a], at=tuple(asked[a]): r(g, *[s[i] for i in at], total)) if a in adds else None
            for a in args
        ]
        arrays = {i for i, n in enumerate(self.names) if n not in static}
        self.saves = bool(arrays & set().union(*self.needs))
        self._keep: dict[tuple[bool, ...], Callable[[tuple], tuple]] = {}
        self.whole = self.keep((True,) * len(self.args))

    def __repr__(self) -> str:
        return f"<op {self.name}({', '.join(self.args)})>"

    @property
    def own(self) -> str | None:
        """The name of an op of the package; None for those of users, which may be called the same."""
        f = self.calls[0]() if self.calls else None
        return self.name if f is not None and f.__module__.startswith("gpugrad.ops.") else None

    def _at(self, name: str) -> int:
        return -1 if name == "shape" else self.names.index(name)

    def keep(self, tracked: tuple[bool, ...]) -> Callable[[tuple], tuple]:
        found = self._keep.get(tracked)
        if found is None:
            needed = set().union(*[need for need, t in zip(self.needs, tracked, strict=True) if t])
            last = len(self.names)  # where `values` has its None
            picks = [i if i in needed else last for i in range(last)]
            found = self._keep[tracked] = itemgetter(*picks) if last > 1 else lambda v, i=picks[0]: (v[i],)
        return found


def asked_by(rule: Any) -> list[str]:
    """The names of a rule's parameters after the cotangent: its attribute `asks`, where its signature hides them."""
    if (names := getattr(rule, "asks", None)) is not None:
        return names
    code = rule.__code__  # `inspect.signature` of 300 rules would double the import's time
    return list(code.co_varnames[1 : code.co_argcount])


def _positional(rule: Rule, index: list[int]) -> Rule:
    """`rule`, which asks by name, as a function of (g, saved, shape)."""
    match index:
        case []:
            return lambda g, s, shape: rule(g)
        case [-1]:
            return lambda g, s, shape: rule(g, shape)
        case [i]:
            return lambda g, s, shape: rule(g, s[i])
        case [i, j] if -1 not in index:
            return lambda g, s, shape: rule(g, s[i], s[j])
        case _:
            return lambda g, s, shape: rule(g, *[shape if i < 0 else s[i] for i in index])


class _Shared:
    """The cotangents of inputs, each computed when the engine takes it, from what `via` answers once."""

    __slots__ = ("g", "rules", "saved")

    def __init__(self, rules: Sequence[Any], via: Rule, g: Any, saved: tuple, shape: None) -> None:
        self.rules, self.g, self.saved = rules, via(g, saved, shape), saved

    def __getitem__(self, i: int) -> Any:
        return self.rules[i](self.g, self.saved, None)


def _quick(rule: Rule, index: list[int], wrapped: Rule) -> tuple[Rule, int]:
    if not index:
        return rule, -1
    return (rule, index[0]) if len(index) == 1 and index[0] >= 0 else (wrapped, -2)


def signature(args: Sequence[str], static: dict[str, Any], named: bool, ignored: Iterable[str]) -> Signature:
    """What `help` shows: arrays by position, and by name where there are so few that a path is written out."""
    either, by_name = Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY
    return Signature(
        [
            *[Parameter(a, either if named else Parameter.POSITIONAL_ONLY) for a in args],
            *[Parameter(n, either, default=v) for n, v in static.items()],
            *[Parameter(n, by_name if static else either, default=None) for n in ignored],
        ]
    )


# ---------------------------------------------------------------------------------------------- users' ops
def checked_forward(name: str, run: Callable[..., Any], several: bool) -> Callable[..., Any]:
    """`run`, with a TypeError if it answers anything but arrays."""

    def call(*xs: Any, **static: Any) -> Any:
        out = run(*xs, **static)
        if several and type(out) is not tuple:
            raise TypeError(f"the forward returned {type(out).__name__}; with aux or several it returns a tuple")
        for o in out if several else (out,):
            if library(o) is None and not isinstance(o, np.generic):
                raise TypeError(f"the forward returned {o!r:.40} of type {type(o).__name__}; it must return an array")
        return out

    return call


def checked_rule(name: str, arg: str, rule: Rule) -> Rule:
    """`rule`, with an error that names op and argument if it answers anything but a cotangent for `arg`."""
    if not callable(rule):
        raise TypeError(
            f"op {name}: the rule of {arg!r} is a function (g, ...) -> cotangent, or None, not {rule!r:.40}"
        )

    def call(g: Any, *values: Any) -> Any:
        *asked, shape = values
        d = rule(g, *asked)
        if not (hasattr(d, "shape") and hasattr(d, "dtype")):
            raise TypeError(
                f"op {name}: the pullback of {arg!r} returned {d!r:.40} of type {type(d).__name__}; "
                f"it must return the cotangent of {arg!r}, an array of shape {shape}"
            )
        if shape is None:  # after a shared first step, whose rules are not told it
            return d
        try:
            np.broadcast_shapes(d.shape, shape)
        except ValueError:
            raise ValueError(
                f"op {name}: the pullback of {arg!r} returned shape {tuple(d.shape)}; "
                f"the cotangent of {arg!r} has shape {shape}, or one that {shape} broadcasts to"
            ) from None
        return d

    call.asks = [*asked_by(rule), "shape"]  # type: ignore[attr-defined]
    return call


def missing(name: str, arg: str) -> Rule:
    """The rule that nobody has written: LookupError, naming the op."""

    def rule(g: Any) -> Any:
        raise LookupError(
            f"gradient registry has no entry for: {name}. It has no rule for its argument {arg!r}: write this step "
            "with other ops, or cut the path with stop_gradient or detach"
        )

    return rule


# What users registered for ops that have no rule, by the op's name: back(inputs, out, g) -> cotangents.
registered: dict[str, Callable[[Sequence[Any], Any, Any], Sequence[Any]]] = {}


def unwritten(name: str, args: Sequence[str]) -> Rule:
    """The joint pullback of an op without any rule: what is registered for it when a gradient is asked for."""

    def pull(g: Any, *values: Any) -> Any:
        return _Asked(name, args, g, values)

    pull.asks = [*args, "out"]  # type: ignore[attr-defined]
    return pull


class _Asked:
    """The cotangents of all inputs, computed when the engine takes one: it leaves out what nobody wants."""

    __slots__ = ("args", "found", "g", "name", "values")

    def __init__(self, name: str, args: Sequence[str], g: Any, values: tuple) -> None:
        self.name, self.args, self.g, self.values, self.found = name, args, g, values, None

    def __getitem__(self, i: int) -> Any:
        if self.found is None:
            back = registered.get(self.name) or missing(self.name, self.args[i])(self.g)
            *inputs, out = self.values
            self.found = back(inputs, out, self.g)
        return self.found[i]
