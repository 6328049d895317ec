"""Floor 6: Taylor mode: `taylor`, derivatives of f(x(t)) by t, of several orders in one run.

A `Series` stands for x(t), by its derivatives x, x', x'', ... at t = 0.  Ops take series to series: linear ones term by
term, products by Leibniz's rule.  Of what works element by element y' is what the op's pullback makes of x' (its own
transpose), so that rule, run on the series that are known so far, gives the next term of y: for exp, tanh and the like
that is the recurrence of the tables (Griewank and Walther 2008, chapter 13).  All else is nested forward mode.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from math import comb
from typing import Any

import numpy as np
import optree

from .array import asarray, device_of, library, xp
from .batching import called
from .core import Tensor, raw, wrap
from .dtypes import is_inexact
from .forward_mode import LINEAR, ForwardAccumulator, _fitting
from .levels import Level, Traced
from .ops.casting import astype
from .ops.linalg import matmul
from .ops.linear import ACTIVATIONS
from .ops.math import add, multiply, positive
from .ops.shape import broadcast_to
from .recording import active, resume
from .tensor import tensor

Terms = list[Any]  # Tensors, or None for 0; the first is never None
TERMWISE = {n for n, places in LINEAR.items() if places == (0,)} | {"conj", "real", "imag"}  # linear in the operand 0
PRODUCTS = {n for n, places in LINEAR.items() if places == (0, 1)} | {"multiply"}  # linear in each of two


def _steps(activation: str | None) -> Callable[..., Any]:
    act = ACTIVATIONS[activation] if activation else lambda z: z
    return lambda x, weight, bias: act(add(matmul(x, weight), bias))


STEPS = {"linear_" + a: _steps(a) for a in ACTIVATIONS} | {"linear": _steps(None)}  # ops that are several at once


# ---------------------------------------------------------------------------------------------- values
class Series(Traced):
    """x(t) by its derivatives at 0.  Where a program asks for a number, that is x(0)."""

    __slots__ = ("terms",)

    def __init__(self, level: Level, terms: Terms) -> None:
        self.level, self.terms = level, terms
        self.shape, self.dtype = tuple(terms[0].array.shape), terms[0].array.dtype

    @property
    def within(self) -> Any:
        return self.terms[0].array

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"{self.level.name}: NumPy's functions lose derivatives: write gpugrad's")


def _number(kind: Callable[[Any], Any]) -> Callable[[Series], Any]:
    return lambda self: kind(raw(self.terms[0]))


for _kind in (bool, int, float, complex, operator.index):
    setattr(Series, f"__{_kind.__name__}__", _number(_kind))
for _name in ("item", "tolist"):
    setattr(Series, _name, _number(operator.methodcaller(_name)))


class Expansion(Level):
    """A `taylor` to some order that runs.  Lists of terms are outside: their Tensors are none of this level's."""

    def __init__(self, name: str, order: int) -> None:
        super().__init__(name)
        self.order = order

    def lift(self, value: Any) -> Series:
        return Series(self, [boxed(value)] + [None] * self.order)

    def has(self, x: Any) -> bool:
        """Whether x is a value of this level."""
        return isinstance(x, Series) and x.level is self

    def plain(self, f: Callable[..., Any], xs: Sequence[Any]) -> Any:
        with resume(self.outside(active())):
            return self.constant(f(*map(self.first, xs)))

    def function(self, f: Callable[..., Any], xs: Sequence[Any], options: dict[str, Any]) -> Any:
        lib: Any = next(lib for v in xs if (lib := library(self.first(v))) is not None)
        return super().function(f if lib.traced else getattr(lib.xp, f.__name__, f), xs, options)

    def constant(self, v: Any) -> Any:
        """v, or what is nested in it, with series in the place of arrays: those that are no NumPy's meet those inside."""
        if type(v) in (list, tuple):
            return type(v)(map(self.constant, v))
        return v if library(v) is None or isinstance(v, np.generic) else self.lift(v)

    def first(self, v: Any) -> Any:
        """v, or what is nested in it, with arrays in the place of series."""
        if type(v) in (list, tuple):
            return type(v)(map(self.first, v))
        if self.has(v):
            return raw(v.terms[0])
        return self.here(v) if isinstance(v, np.ndarray) else v

    def outward(self, t: Tensor) -> list[Tensor]:
        """The terms of a Tensor from inside, zeros where there are none."""
        x = t.array if self.has(t.array) else self.lift(t)
        terms = [wrap(xp(x.terms[0].array).zeros_like(x.terms[0].array)) if v is None else v for v in x.terms]
        return [wrap(v.array, v.node, t.kind) for v in terms]

    def forward(self, op: Any, xs: Sequence[Any], static: dict[str, Any]) -> Any:
        if op.name in STEPS:
            out = STEPS[op.name](*map(wrap, xs)).array
            return (out, *[None] * op.aux) if op.aux else out
        n = min([len(x.terms) for x in xs if self.has(x)], default=self.order + 1)
        terms = [x.terms[:n] if self.has(x) else [x] for x in xs]
        with resume(self.outside(active())):
            rows, aux = self.expanded(op, terms, {k: self.first(v) for k, v in {**op.static, **static}.items()}, n)
        out = tuple([Series(self, r) for r in rows]) if isinstance(rows, tuple) else Series(self, rows)
        return (out, *aux) if op.aux else out

    # ------------------------------------------------------------------------------------ one op
    def expanded(self, op: Any, xs: list[Terms], static: dict[str, Any], n: int) -> tuple[Any, tuple]:
        """(n terms of the output of `op`, of several outputs a tuple; its auxiliaries, of x(0))."""
        out, *aux = called(op, [x[0] for x in xs], static)
        outs = parts(out)
        moving = [i for i, x in enumerate(xs) if any(x[j] is not None for j in range(1, len(x)))]
        moving = [i for i in moving if op.rules[i] is not None]
        if not moving or not any([is_inexact(v.array.dtype) for v in outs]):
            rows = [[v] + [None] * (n - 1) for v in outs]
        elif op.name in TERMWISE and moving == [0]:
            rows = [[v] for v in outs]
            for t in xs[0][1:]:
                found = [None] * len(rows) if t is None else parts(called(op, [t, *[x[0] for x in xs[1:]]], static)[0])
                for r, v in zip(rows, found):
                    r.append(v)
        elif op.name in PRODUCTS and set(moving) <= {0, 1}:
            rows = [self.product(op, outs[0], xs, static, n)]
        elif op.batch == "elementwise" and not op.aux:
            rows = [self.pointwise(op, outs[0], xs, static, moving, n)]
        else:
            rows = [[v, *r] for v, r in zip(outs, zip(*self.nested(op, xs, static, moving, n)))]
        return (tuple(rows) if isinstance(out, (tuple, list)) else rows[0]), tuple(aux)

    def product(self, op: Any, out: Tensor, xs: list[Terms], static: dict[str, Any], n: int) -> Terms:
        """Leibniz's rule."""
        x, y, *rest = [x + [None] * (n - len(x)) for x in xs]
        terms: Terms = [out]
        for k in range(1, n):
            total = None
            for j in range(k + 1):
                if x[j] is not None and y[k - j] is not None:
                    both = called(op, [x[j], y[k - j], *[r[0] for r in rest]], static)[0]
                    both = self.gathered(both, j, k)
                    total = plus(total, both if j in (0, k) else multiply(both, comb(k, j)))
            terms.append(total if total is None else _fitting(total, out.array))
        return terms

    def gathered(self, both: Any, j: int, k: int) -> Any:
        """The product of term j of one factor and k - j of the other."""
        return both

    def pointwise(self, op: Any, out: Tensor, xs: list[Terms], static: dict, moving: list[int], n: int) -> Terms:
        """y' = what the pullback makes of x': run on the terms of x and y that are known, it gives one more of y."""
        terms: Terms = [out]
        by_out = any([len(xs) in op.needs[i] for i in moving])
        for m in range(1, n) if by_out else [n - 1]:
            saved = (*[self.known(x, m) for x in (*xs, terms)], *[static[s] for s in op.static], None)
            slope: Terms = [None] * m
            for i in moving:
                d = self.pushed(op, i, self.shaped(xs[i][1 : m + 1], out), saved, out)
                slope = [plus(a, b) for a, b in zip(slope, d)]
            terms = [out, *[None if t is None else _fitting(t, out.array) for t in slope]]
        return terms

    def pushed(self, op: Any, i: int, g: Terms, saved: tuple, out: Tensor) -> Terms:
        """What the pullback of operand i makes of the series g."""
        if all([t is None for t in g]):
            return g
        g = [wrap(xp(out.array).zeros_like(out.array)) if g[0] is None else g[0], *g[1:]]
        d = through(op, i, wrap(Series(self, g)), saved, out)
        return d.array.terms if self.has(raw(d)) else [boxed(d)] + [None] * (len(g) - 1)

    def known(self, x: Terms, m: int) -> Any:
        """m terms of an operand as a Tensor of this level; what is no Tensor as it is."""
        return wrap(Series(self, (x + [None] * m)[:m])) if isinstance(x[0], Tensor) else x[0]

    def shaped(self, terms: Terms, out: Tensor) -> Terms:
        shape = tuple(out.array.shape)
        return [t if t is None or t.array.shape == shape else broadcast_to(t, shape) for t in terms]

    def nested(self, op: Any, xs: list[Terms], static: dict, moving: list[int], n: int) -> list[list[Any]]:
        """For each order from 1 on, that term of each output: by forward mode in forward mode."""
        like = xs[moving[0]][0].array
        t = wrap(asarray(0.0, like.real.dtype, device_of(like)))

        def at(t: Tensor) -> list[Tensor]:
            given = [x[0] for x in xs]
            for i in moving:
                rest = None
                for k in range(n - 1, 0, -1):
                    rest = times(plus(xs[i][k], rest), t / k)
                given[i] = plus(given[i], rest)
            return parts(called(op, given, static)[0])

        return _derivatives(at, t, n - 1)[1:]


def _derivatives(f: Callable[[Tensor], list[Tensor]], t: Tensor, order: int) -> list[list[Any]]:
    """f(t) and its derivatives."""
    if not order:
        return [f(t)]
    one = wrap(xp(t.array).ones_like(t.array))
    t = positive(t)
    with ForwardAccumulator(t, one) as acc:
        found = _derivatives(f, t, order - 1)
    return [*found, acc.jvp(found[-1], "zero")]


def through(op: Any, i: int, g: Tensor, saved: tuple, out: Tensor) -> Any:
    """What the pullback of operand i makes of g."""
    joint = op.joint(g, saved, None) if op.joint is not None else None
    return op.rules[i](g, saved, tuple(out.array.shape)) if joint is None else joint[i]


def boxed(v: Any) -> Tensor:
    """v as a Tensor."""
    return v if isinstance(v, Tensor) else wrap(v)


def parts(out: Any) -> list[Tensor]:
    """The outputs of an op, one or several."""
    return [boxed(v) for v in out] if isinstance(out, (tuple, list)) else [boxed(out)]


def plus(a: Any, b: Any) -> Any:
    """a + b, of which None is 0."""
    return b if a is None else a if b is None else add(a, b)


def times(a: Any, b: Any) -> Any:
    """a b, of which None is 0."""
    return None if a is None or b is None else multiply(a, b)


# ---------------------------------------------------------------------------------------------- taylor
def taylor(f: Callable[..., Any], primals: Sequence[Any], series: Sequence[Sequence[Any]]) -> tuple[Any, list[Any]]:
    """(f(*primals), [its first derivative by t, the second, ...]), where each argument is x(t) = Σ_k x_k t^k / k!.

        y, (y1, y2, y3) = gg.taylor(gg.sin, (x,), ((v, None, None),))  # along the line x + t v

    primals   the arguments at t = 0, x_0: Tensors
    series    for each argument its derivatives [x_1, x_2, ...] at t = 0, shaped like it; None is 0; as many for each

    The derivatives are as many, each nested like what f answers, as jax.experimental.jet has them.  Order K costs about
    K² / 2 runs of f on element-wise, linear and bilinear ops; others (a softmax, a factorisation) go by nested forward
    mode, in 2^K.  Tapes and `vmap` may be inside and around.  Gradients of one's own (`custom_gradient`) are not asked.
    ValueError for series of other lengths and shapes; TypeError for arguments that are no floats.
    """
    xs = _primals("taylor", primals)
    if len(series) != len(xs) or len({len(s) for s in series}) != 1 or not len(series[0]):
        raise ValueError(
            f"taylor: {len(xs)} primals need as many series, all of one length from 1 on, given lengths "
            f"{[len(s) for s in series]}"
        )
    rows = [[x, *[_term(x, v) for v in s]] for x, s in zip(xs, series)]
    level = Expansion(f"taylor({getattr(f, '__name__', type(f).__name__)})", len(series[0]))
    found, spec = run(level, f, rows)
    first, *rest = [optree.tree_unflatten(spec, [terms[k] for terms in found]) for k in range(level.order + 1)]
    return first, rest


def run(level: Expansion, f: Callable[..., Any], rows: list[Terms]) -> tuple[list[list[Tensor]], Any]:
    """(the terms of each Tensor that f answers of arguments with these terms, the tree of them)."""
    level.device = device_of(raw(rows[0][0].array))
    try:
        out = f(*[wrap(Series(level, [wrap(r[0].array, r[0].node), *r[1:]]), None, r[0].kind) for r in rows])
    finally:
        level.open = False
    ts, spec = optree.tree_flatten(out, namespace="gpugrad")
    for t in ts:
        if not isinstance(t, Tensor):
            raise TypeError(f"{level.name}: the function answers Tensors, or a tree of them, not {t!r:.60}")
    return [level.outward(t) for t in ts], spec


def _primals(name: str, primals: Sequence[Any]) -> list[Tensor]:
    if isinstance(primals, Tensor) or not isinstance(primals, (tuple, list)) or not primals:
        raise TypeError(f"{name}: primals are a tuple of the function's arguments, not {primals!r:.60}")
    xs = [x if isinstance(x, Tensor) else tensor(x) for x in primals]
    for x in xs:
        if not is_inexact(x.array.dtype):
            raise TypeError(f"{name}: an argument is {x.array.dtype}, which has no derivative; make it a float first")
    return xs


def _term(x: Tensor, v: Any) -> Any:
    if v is None:
        return None
    v = v if isinstance(v, Tensor) else tensor(v, dtype=x.array.dtype)
    if v.array.shape != x.array.shape:
        raise ValueError(f"taylor: a coefficient has shape {tuple(v.array.shape)}, its primal {tuple(x.array.shape)}")
    return wrap(v.array, v.node) if v.array.dtype == x.array.dtype else astype(wrap(v.array, v.node), x.array.dtype)
