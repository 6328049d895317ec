"""Newton's method, Anderson's and truncated Newton's, on vectors: each ends where a step no longer moves x."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import inf, isfinite
from typing import Any, NamedTuple

import numpy as np

from ..array import Array, xp
from ..krylov import beside, cg, dot, host, largest, norm
from ..ops.matrices import LinAlgError
from ..optim.line_search import ENOUGH, Point, strong_wolfe
from .equation import PRODUCTS, Equation, NoConvergence

HISTORY = 5  # steps that Anderson's method mixes
TRIES = 30  # of a line search


class Tolerance(NamedTuple):
    """A step is small where no element of it is above absolute + relative |x|; eps is that of the dtype."""

    relative: float
    absolute: float
    eps: float

    def within(self, step: Array, x: Array, axis: int | None = None) -> Any:
        """Whether all elements of a step are small, along an axis or at all."""
        return (abs(step) <= self.absolute + self.relative * abs(x)).all(axis)

    def noise(self, step: Any, x: Any) -> Any:
        """Whether a step may be of rounding errors alone, by the largest elements of both."""
        return step <= self.absolute + self.eps**0.5 * x


class Reached(NamedTuple):
    """Where a solver ended.

    residual   the largest absolute value of what should be zero; not finite where the solver could not begin
    why        what kept it from its tolerance; None if nothing
    """

    x: Array
    residual: float
    why: str | None = None


def newton(
    at: Callable[[Array], Equation], x: Array, allowed: Tolerance, most: int, apart: np.ndarray | None = None
) -> Reached:
    """A root of f, by steps -J⁻¹ f, halved until |f| falls (Dennis & Schnabel 1983, chapter 6).

    at      the equation f(x) = 0 at x
    apart   equations that have nothing to do with each other: (how many, places of each in x).  Each goes its own way
    """
    lib, parts = xp(x), np.arange(x.size)[None] if apart is None else apart
    there = lib.asarray(parts)
    peaks = lambda a: host(abs(a[there]).max(1)) if a.size else np.zeros(1)

    def lengths(a: Array) -> np.ndarray:
        if not a.size:
            return np.zeros(1)
        rows = a[there]
        top = abs(rows).max(1)
        unit = lib.where(lib.isfinite(top) & (top > 0), top, 1)
        return host(lib.where(lib.isfinite(top), unit * ((rows / unit[:, None]) ** 2).sum(1) ** 0.5, top))

    def halved(now: Equation, new: Equation, step: Array, x: Array) -> np.ndarray:
        """Whether the next step will be half of this one, in all elements: |f| does not tell of those where f is small
        (Deuflhard 2011, section 3.3).
        """
        then = now.solve(-lib.where(lib.isfinite(new.value.array), new.value.array, 0), rtol=1e-4)
        return host((abs(then) <= abs(step) / 2 + allowed.absolute + allowed.relative * abs(x))[there].all(1))

    now, over = at(x), np.zeros(len(parts), bool)
    size = lengths(now.value.array)
    for n in range(most):
        reached = Reached(x, largest(now.value.array))
        if not size.any():
            return reached
        if not np.isfinite(size).all():
            return reached._replace(why=f"f is not finite after {n} steps")
        try:
            step = now.solve(-now.value.array, rtol=1e-4)
        except (LinAlgError, NoConvergence) as e:
            return reached._replace(why=f"after {n} steps, " + str(e).removeprefix(f"{now.name}: ").rstrip("."))
        done = host(allowed.within(step[there], x[there], 1))
        t = np.where(over | (size == 0), 0.0, 1.0)
        new = at(_moved(x, step, t, parts))
        least = lengths(new.value.array)
        falls = (t == 0) | (least <= (1 - ENOUGH) * size)
        if not falls.all():
            falls |= np.isfinite(least) & halved(now, new, step, x)
        while not falls.all():
            small = t < 2.0**-TRIES
            stays = ~falls & (done | (small & allowed.noise(peaks(step), peaks(x))))
            if (~falls & ~stays & small).any():
                return reached._replace(why="no step along Newton's direction makes |f| smaller")
            over |= stays
            t = np.where(falls, t, np.where(stays, 0.0, t / 2))
            if not t.any():
                return reached
            new = at(_moved(x, step, t, parts))
            least = lengths(new.value.array)
            falls |= (t == 0) | (least <= (1 - ENOUGH * t) * size)
        now, size, x, over = new, least, new.x.array, over | done
        if (over | (size == 0)).all():
            return Reached(x, largest(now.value.array))
    return Reached(x, largest(now.value.array), f"{most} steps were not enough")


def _moved(x: Array, step: Array, t: np.ndarray, parts: np.ndarray) -> Array:
    """x + t * step, with a t of each part; step where all are one."""
    if (t == 1).all():
        return x + step
    whole = np.empty(x.shape)
    whole[parts] = t[:, None]
    shares = beside(whole, x)
    return x + xp(x).where(shares > 0, step * shares, 0)


def anderson(g: Callable[[Array], Array], x: Array, allowed: Tolerance, most: int) -> Reached:
    """A fixed point of g, by steps that mix the last ones so that the linear model of g - x is least (Anderson 1965,
    Walker & Ni 2011).  Where that takes it away from the fixed point, it begins anew with a step of g itself.
    """
    xs, fs, best, reached = [], [], inf, Reached(x, inf)
    for n in range(most):
        y = g(x)
        f = y - x
        if allowed.within(f, x):
            return Reached(y, largest(f))
        size = norm(f)
        if not isfinite(size):
            if not fs:
                return reached._replace(why=f"g is not finite after {n} steps")
            x, xs, fs = xs[-1] + fs[-1], [], []  # as g has it, without a mixture
            continue
        reached = Reached(x, largest(f))
        if size > 10 * best:
            xs, fs = [], []
        best = min(best, size)
        xs, fs = [*xs, x][-HISTORY - 1 :], [*fs, f][-HISTORY - 1 :]
        x = y if len(xs) == 1 else _mixed(xs, fs)
    return reached._replace(why=f"{most} steps were not enough")


def _mixed(xs: list[Array], fs: list[Array]) -> Array:
    lib = xp(fs[-1])
    df = lib.stack([b - a for a, b in pairwise(fs)])
    dx = lib.stack([b - a for a, b in pairwise(xs)])
    scale = largest(fs[-1])  # so that squares stay in range
    unit = df / scale
    gram, along = host(unit @ unit.T), host(unit @ (fs[-1] / scale))
    gram = gram.astype(np.float64)
    ridge = 4 * float(np.finfo(df.dtype).eps) * np.trace(gram)
    shares = np.linalg.solve(gram + (ridge + np.finfo(np.float64).tiny) * np.eye(len(gram)), along)
    return xs[-1] + fs[-1] - beside(shares, df) @ (dx + df)


def newton_cg(at: Callable[[Array], tuple[float, Equation]], x: Array, allowed: Tolerance, most: int) -> Reached:
    """A minimum of f, by Newton's steps, solved as far as is of use by conjugate gradients, and a line search
    (Nocedal & Wright 2006, algorithm 7.1).

    at   (f(x), the equation f'(x) = 0) at x
    """
    loss, now = at(x)
    first, reached = norm(now.value.array), Reached(x, inf)
    for n in range(most):
        g = now.value.array
        size = norm(g)
        if size == 0:
            break
        if not isfinite(size):
            return reached._replace(why=f"the gradient of f is not finite after {n} steps")
        reached = Reached(x, largest(g))
        found = cg(now._across, -g, min(0.1, (size / first) ** 0.5), min(PRODUCTS, max(20, 2 * x.size)))
        step = found.x if largest(found.x) > 0 else -g
        length = largest(step)
        done = not found.falls and allowed.within(step, x)
        full, new = _point(at, x, step, 1.0)
        slope = dot(g, step)
        # Near the minimum the losses are equal but for rounding, and only the slopes tell (Hager & Zhang 2005).
        level = full.loss <= loss + 8 * allowed.eps * abs(loss) and abs(full.slope) <= -slope / 2
        if found.falls or not (level or full.loss <= loss + ENOUGH * slope):
            made: dict[float, Equation] = {}

            def along(t: float, x: Array = x, step: Array = step, made: dict[float, Equation] = made) -> Point:
                p, made[t] = _point(at, x, step, t)
                return p

            start = Point(0.0, loss, g, slope)
            full = strong_wolfe(along, start, 1.0, length, allowed.eps * length, TRIES)[0]
            if not full.loss < loss:
                stuck = "f falls without bound" if found.falls else "no step along Newton's direction makes f smaller"
                return reached._replace(why=None if allowed.noise(length, largest(x)) and not found.falls else stuck)
            new = made[full.t]
        loss, now, x = full.loss, new, new.x.array
        if done:
            break
    else:
        return Reached(x, largest(now.value.array), f"{most} steps were not enough")
    return Reached(x, largest(now.value.array), _not_minimal(now))


def _point(at: Callable[[Array], tuple[float, Equation]], x: Array, step: Array, t: float) -> tuple[Point, Equation]:
    loss, e = at(x + step * t)
    return Point(t, loss if loss == loss else inf, e.value.array, dot(e.value.array, step)), e


def _not_minimal(e: Equation) -> str | None:
    """What is wrong if f falls along some direction, taken at random, though it is stationary."""
    x = e.x.array
    v = beside(np.random.default_rng(0).standard_normal(x.shape), x)
    hv = e._across(v)
    falls = dot(v, hv) < -(float(np.finfo(v.dtype).eps) ** 0.5) * norm(v) * norm(hv)
    return "f is stationary there, but not least: it falls in some direction" if falls else None
