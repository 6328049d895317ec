"""Newton's method, Anderson's and truncated Newton's, on vectors: each ends where a step no longer moves x."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import inf, isfinite
from typing import NamedTuple

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

    def within(self, step: Array, x: Array) -> bool:
        return bool((abs(step) <= self.absolute + self.relative * abs(x)).all())

    def halved(self, now: Equation, new: Equation, step: Array, x: Array) -> bool:
        """Whether the next step will be half of this one, in all elements: |f| does not tell of those where f is small
        (Deuflhard 2011, section 3.3).
        """
        then = now.solve(-new.value.array, rtol=1e-4)
        return bool((abs(then) <= abs(step) / 2 + self.absolute + self.relative * abs(x)).all())

    def noise(self, step: Array, x: Array) -> bool:
        """Whether a step may be of rounding errors alone."""
        return largest(step) <= self.absolute + self.eps**0.5 * largest(x)


class Reached(NamedTuple):
    """Where a solver ended.

    residual   the largest absolute value of what should be zero; not finite where the solver could not begin
    why        what kept it from its tolerance; None if nothing
    """

    x: Array
    residual: float
    why: str | None = None


def newton(at: Callable[[Array], Equation], x: Array, allowed: Tolerance, most: int) -> Reached:
    """A root of f, by steps -J⁻¹ f, halved until |f| falls (Dennis & Schnabel 1983, chapter 6).

    at   the equation f(x) = 0 at x
    """
    now = at(x)
    size = norm(now.value.array)
    for n in range(most):
        reached = Reached(x, largest(now.value.array))
        if size == 0:
            return reached
        if not isfinite(size):
            return reached._replace(why=f"f is not finite after {n} steps")
        try:
            step = now.solve(-now.value.array, rtol=1e-4)
        except (LinAlgError, NoConvergence) as e:
            return reached._replace(why=f"after {n} steps, " + str(e).removeprefix(f"{now.name}: ").rstrip("."))
        t, done = 1.0, allowed.within(step, x)
        new = at(x + step)
        least = norm(new.value.array)
        nearer = not least <= (1 - ENOUGH) * size and isfinite(least) and allowed.halved(now, new, step, x)
        while not (nearer or least <= (1 - ENOUGH * t) * size):
            if done or (t < 2.0**-TRIES and allowed.noise(step, x)):
                return reached
            if t < 2.0**-TRIES:
                return reached._replace(why="no step along Newton's direction makes |f| smaller")
            t /= 2
            new = at(x + step * t)
            least = norm(new.value.array)
        now, size, x = new, least, new.x.array
        if done:
            return Reached(x, largest(now.value.array))
    return Reached(x, largest(now.value.array), f"{most} steps were not enough")


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
                return reached._replace(why=None if allowed.noise(step, x) and not found.falls else stuck)
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
