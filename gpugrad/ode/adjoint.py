"""Gradients by the adjoint equation, solved backward in time (Pontryagin et al. 1962, Chen et al. 2018).

For the cotangent a of y: da/dt = -(df/dy)^T a from the last time to the first, with the cotangents of the answers added
at their times.  The gradient by an argument is the integral of (df/darg)^T a on the way, that by a time is f there
times the cotangent.  y is computed backward beside a, each piece from what was answered, so nothing else is kept.
What the pass back computes is such a solution itself, so derivatives of all orders exist.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import reduce
from math import nan
from typing import Any, NamedTuple

from ..array import xp
from ..autograd import is_grad_enabled, no_grad, require_grad
from ..backprop import backprop
from ..core import Node, Tape, Tensor, identity, leaf, tick, wrap, writes
from ..dtypes import is_inexact
from ..function import Function
from ..hooks import muted
from ..levels import Level, Traced, innermost
from ..ops.casting import astype, stop_gradient
from ..ops.choice import maximum
from ..ops.logic import isfinite, logical_and, where
from ..ops.math import add, conj, positive, real
from ..ops.reduce import max as amax, sum as total
from ..ops.shape import stack, unstack
from ..recompute import _changed as changed
from ..recording import AMBIENT, NONE, active, enter, replace, resume, tracked
from .dopri5 import Problem, Slopes, Times
from .march import rows, stacked


class Run(NamedTuple):
    """What the way back needs beside tensors.

    n       how many leaves y has       fixed    arguments that are no tensors, None in the place of tensors
    closed  what f reads without being given it, as `changed` asks for it
    hint    how long the last step was
    """

    p: Problem
    times: Times
    n: int
    fixed: list[Any]
    closed: list[Any]
    hint: float


def flow(p: Problem, times: Times, y: list[Tensor], args: list[Any]) -> tuple[list[Tensor], float]:
    """(y at all times, stacked, with gradients by the adjoint equation; how long a next step would be).

    RuntimeError where f reads a computed tensor that it is not given.
    """
    tapes = _recording()
    bare = [stop_gradient(a) for a in args]
    plain = times._replace(tensor=None)
    probe, begin = Tape(set(), silent=True, every=True), tick()
    with no_grad():
        if tapes:
            enter(probe)
        try:
            found, h = rows(p, plain, [stop_gradient(v) for v in y], bare, None)
            answers = stacked(found)
        finally:
            if tapes:
                replace(probe)
    if not tapes:
        return answers, h
    closed = _closed_over([n for n in probe.watched if n.seq < begin], tapes)
    _check_around(answers, lambda: p.f(times.placed([times.at[0]])[0], [stop_gradient(v) for v in y], bare), closed)
    known = [(lambda v=v: v, writes.ask(v.array), tick()) for v in closed]
    run = Run(p, plain, len(y), [None if isinstance(a, Tensor) else a for a in args], known, h)
    return list(Solve.apply(run, answers, times.tensor, *y, *args, *closed)), h


def _recording() -> tuple[Tape, ...]:
    """The tapes that record, without those that only look."""
    return tuple([t for t in active().tapes if t is not NONE and not t.silent])


def _closed_over(read: list[Node], tapes: tuple[Tape, ...]) -> list[Tensor]:
    every = tapes if tapes[0] is AMBIENT else (NONE, *tapes)
    found = sorted([n for n in read if tracked(every, [n])[0][0] is not None], key=lambda n: n.seq)
    for n in found:
        if n.op is not None or n.saved() is None:
            what = f"the answer of {n.op.name}, of shape {n.shape}," if n.op is not None else "a tensor"
            raise RuntimeError(
                f"ode: f reads {what} that gradients go through, and is not given it. With gradient='adjoint' "
                "they reach y0, t, args and variables alone: give it to f, solve(f, y0, t, it, ...), or write "
                "gradient='discrete'."
            )
    return [n.saved() for n in found]


def _check_around(answers: list[Tensor], slopes: Callable[[], Any], closed: list[Tensor]) -> None:
    """RuntimeError where f reads examples of a vmap that gradients around it go through, and is not given them."""
    levels: list[Level] = []
    while (level := innermost(answers)) is not None:
        levels.append(level)
        answers = [a.array.within for a in answers if isinstance(a.array, Traced) and a.array.level is level]
        answers = [a if isinstance(a, Tensor) else wrap(a) for a in answers]
        probe, begin = Tape(set(), silent=True, every=True), tick()
        with ExitStack() as around:
            for inner in levels:
                around.enter_context(resume(inner.outside(active())))
            tapes = _recording()
            around.enter_context(no_grad())
            enter(probe)
            try:
                for inner in reversed(levels):
                    around.enter_context(inner.again())
                slopes()
            finally:
                replace(probe)
        known = [identity(leaf(v)) for v in closed]
        every = tapes if tapes and tapes[0] is AMBIENT else (NONE, *tapes)
        for n in probe.watched:
            if n.seq < begin and identity(n) not in known and tracked(every, [n])[0][0] is not None:
                raise RuntimeError(
                    f"ode: f reads a tensor of {level.name} that gradients around it go through, and is not given it. "
                    "With gradient='adjoint' give it to f, solve(f, y0, t, it, ...), or write gradient='discrete'."
                )


class Solve(Function):
    """The solution that has been found, with its gradient."""

    @staticmethod
    def forward(ctx: Any, run: Run, answers: list[Tensor], *given: Any) -> tuple[Tensor, ...]:
        ctx.run = run
        ctx.save_for_backward(*answers, *[g if isinstance(g, Tensor) else None for g in given])
        return tuple(answers)

    @staticmethod
    def backward(ctx: Any, *gs: Tensor) -> tuple[Any, ...]:
        run, n = ctx.run, ctx.run.n
        if said := changed(run.closed):
            raise RuntimeError(
                f"ode: f is called again for the gradient, and {said}, which it reads, has been given another "
                "value since. Take the gradient before the variables change."
            )
        needed, saved = ctx.needs_input_grad[2:], ctx.saved_tensors
        times = _scale(list(gs))
        points, cotangents = [list(zip(*map(unstack, some))) for some in (saved[:n], [times(g, True) for g in gs])]
        found = _back(run, points, cotangents, saved[n], saved[2 * n + 1 :], needed[0], needed[1 + n :])
        return None, None, *[None if x is None else times(x) for x in found]


def _scale(gs: list[Tensor]) -> Callable[..., Tensor]:
    """What multiplies by the largest absolute value of these, or divides by it; NaN for one that is not finite."""
    sizes = [stop_gradient(amax(abs(g))) for g in gs if g.array.size]
    size = reduce(maximum, sizes) if sizes else None

    def times(x: Tensor, divided: bool = False) -> Tensor:
        if size is None:
            return x
        fine = isfinite(size)
        unit = astype(where(logical_and(fine, size > 0), size, 1.0), x.array.real.dtype)
        return where(fine, x / unit, 0.0) if divided else x * where(fine, unit, nan)

    return times


def _back(
    run: Run, points: list[Any], cotangents: list[Any], t: Any, given: Any, by_time: bool, needed: Any
) -> list[Tensor | None]:
    """The gradients by t, by y0 and by what else is given, from the cotangents of the points."""
    n, at = run.n, run.times.at
    args = [f if x is None else x for x, f in zip(given, run.fixed)]
    wanted = [i for i, x in enumerate(given) if needed[i] and is_inexact(x.array.dtype)]
    among = [i for i in wanted if i < len(args)]
    p = run.p._replace(f=augmented(run.p.f, n, among, [c[0]() for c in run.closed]), moving=2 * n)
    a, sums, h = list(cotangents[-1]), [_zeros(given[i]) for i in wanted], run.hint
    moments: list[Any] = [None] * len(at)
    for i in reversed(range(1, len(at))):
        tensor = stack([t[i], t[i - 1]]) if by_time and is_grad_enabled() else None
        piece = Times([at[i], at[i - 1]], tensor, run.times.like, run.times.dtype)
        state, h = flow(p._replace(first_step=h), piece, [*points[i], *a, *sums], args)
        ends = [s[-1] for s in state]
        if by_time:
            moments[i] = _speed(run, i, t, points[i], args, cotangents[i])
            moments[0] = -_speed(run, 0, t, points[0], args, ends[n : 2 * n]) if i == 1 else None
        a = [x + g for x, g in zip(ends[n : 2 * n], cotangents[i - 1])]
        sums = ends[2 * n :]
    by_given = dict(zip(wanted, sums))
    return [stack(moments) if by_time else None, *a, *[by_given.get(i) for i in range(len(given))]]


def _zeros(x: Tensor) -> Tensor:
    return wrap(xp(x.array).zeros_like(x.array), None, x.kind)


def _speed(run: Run, i: int, t: Tensor, y: Any, args: list[Any], a: Any) -> Tensor:
    """How fast the loss changes with where y is along its way: the product of f and cotangent, summed."""
    slopes = run.p.f(run.times._replace(tensor=t).placed([t[i]])[0], list(y), args)
    parts = [total(real(conj(g) * s)) for g, s in zip(a, slopes)]
    return reduce(add, parts)


def augmented(f: Slopes, n: int, among: list[int], closed: list[Tensor]) -> Slopes:
    """The slopes of (y, its cotangent, the gradients by the arguments of these numbers and by closed-over leaves)."""

    def call(t: Tensor, state: list[Tensor], args: list[Any]) -> list[Tensor]:
        slopes, found = _pulled(f, t, state[:n], state[n : 2 * n], args, among, closed)
        return [*slopes, *[-g for g in found]]

    return call


def _pulled(
    f: Slopes, t: Tensor, y: list[Tensor], a: list[Tensor], args: list[Any], among: list[int], closed: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """(f; what pulling `a` back through it gives for y, some arguments and closed-over leaves), for whoever records."""
    tapes = _recording()
    y, some = [_fresh(v) for v in y], {i: _fresh(args[i]) for i in among}
    asked = [*y, *some.values(), *closed]
    ends = [identity(leaf(v)) for v in asked]
    tape = Tape({*ends}, nodes=[], beside=tapes == (AMBIENT,))
    enter(tape)
    try:
        slopes = f(t, y, [some.get(i, v) for i, v in enumerate(args)])
    finally:
        replace(tape)
    try:
        with muted(ends):
            found = backprop(slopes, a, tape, asked, False, bool(tapes)) or []
    finally:
        tape.close()
    return slopes, [_zeros(v) if g is None else g for v, g in zip(asked, found, strict=True)]


def _fresh(v: Tensor) -> Tensor:
    """v as a Tensor of its own: one that is given twice has a gradient in each place, and f may differentiate by it."""
    return require_grad(stop_gradient(v)) if v.node is None else positive(v)
