"""How long the next step is, decided on the CPU by one number a step (Hairer, Norsett, Wanner II.4)."""

from __future__ import annotations

from functools import reduce
from math import inf, isfinite, sqrt, ulp
from typing import Any

import numpy as np

from ..array import to_host
from ..autograd import no_grad
from ..core import Tensor, raw, wrap
from ..levels import Traced, concrete, innermost
from ..ops.choice import maximum
from ..ops.math import add
from .dopri5 import ORDER, Problem, Step, Times, combined

SAFETY, SHRINK, GROW = 0.9, 0.2, 10.0
BETA = 0.04  # of the PI controller: how much the error of the step before counts
ALPHA = 1 / ORDER - 0.75 * BETA


def norm(p: Problem, errors: list[Any], *ys: list[Tensor]) -> float:
    """The root of the mean over all elements of (error / (atol + rtol * the largest |y|)) squared.

    Integrals are measured apart, each leaf as a whole: many small elements of a gradient need no digits of their own.
    The larger one of the two counts; inside a vmap that of the worst example.
    """
    pairs = [(raw(e), [raw(y) for y in some]) for e, *some in zip(errors, *ys) if raw(e).size]
    n = len([e for e in errors[: p.moving] if raw(e).size])
    if innermost([v for e, some in pairs for v in (e, *some)]) is not None:  # of which ops know what to do
        pairs = [(wrap(e), [wrap(y) for y in some]) for e, some in pairs]
    with np.errstate(over="ignore", invalid="ignore"), no_grad():  # NaN and inf are answers here
        found = _measured(p, pairs, n, 1.0)
        if found == inf:  # perhaps of the squares alone
            unit = float(np.finfo(raw(pairs[0][0]).dtype).max) ** 0.5
            found = unit * _measured(p, pairs, n, unit)
    return found


def _measured(p: Problem, pairs: list[tuple[Any, list[Any]]], n: int, unit: float) -> float:
    integrals = [(_rms(e), [_rms(y) for y in some]) for e, some in pairs[n:]]
    means = [_mean_square(p, some, unit) for some in (pairs[:n], integrals) if some]
    if not means:
        return 0.0
    worst = raw(reduce(maximum, means))
    return sqrt(float(to_host(concrete(worst).max() if isinstance(worst, Traced) else worst)))


def _mean_square(p: Problem, pairs: list[tuple[Any, list[Any]]], unit: float) -> Any:
    """Of the errors in `unit`s of what is allowed."""
    sums = []
    for error, ys in pairs:
        ratio = abs(error) / (p.atol + p.rtol * reduce(maximum, [abs(y) for y in ys])) / unit
        sums.append((ratio * ratio).sum())
    return reduce(add, sums) / sum([raw(e).size for e, _ in pairs])


def _rms(x: Any) -> Any:
    size = abs(x)
    return (size * size).mean() ** 0.5


def first_step(p: Problem, times: Times, y: list[Tensor], slope: list[Tensor], args: Any) -> float:
    """A step of which Euler's method makes an error like the tolerance.  FloatingPointError where f is not finite."""
    way = times.at[-1] - times.at[0]
    size, speed = norm(p, y, y), norm(p, slope, y)
    if not isfinite(size) or not isfinite(speed):
        raise FloatingPointError(
            f"ode: {'y0' if not isfinite(size) else 'f(t, y0)'} is not finite at the first time, t={times.at[0]:.8g}"
        )
    if p.first_step is not None:
        return p.first_step
    h = 1e-6 if min(size, speed) < 1e-5 else 0.01 * size / speed
    h = min(h, abs(way), p.max_step)
    there = times.at[0] + (h if way > 0 else -h)
    ahead = combined(y, [slope], [1.0], there - times.at[0])
    ahead = p.f(times.placed([there])[0], ahead, args)
    bend = norm(p, [a - s for a, s in zip(ahead, slope)], y) / h
    if not isfinite(bend):
        return h
    steep = max(speed, bend)
    better = max(1e-6, h * 1e-3) if steep <= 1e-15 else (0.01 / steep) ** (1 / ORDER)
    return min(100 * h, better)


class Control:
    """Where the solution has come to, and how far the next step goes.

    now   the time    h   the length of the next step    tried   how many steps have been tried
    """

    def __init__(self, p: Problem, times: Times, h: float) -> None:
        self.p, self.h, self.tried = p, h, 0
        self.now, self.last = times.at[0], times.at[-1]
        self._sign = 1.0 if self.last > self.now else -1.0
        self._before, self._norm, self._rejected = 1.0, 0.0, False

    @property
    def done(self) -> bool:
        """Whether the last time is reached."""
        return self.now == self.last

    def propose(self) -> float:
        """Where the next step ends.  RuntimeError where there is no next one."""
        if self.tried == self.p.max_steps:
            raise RuntimeError(
                f"ode: max_steps={self.p.max_steps} reached at t={self.now:.8g} on the way to {self.last:.8g}; the "
                f"next step would be {self.h:.3g}, the last had {self._norm:.3g} times the error allowed. Allow more "
                "steps, a larger rtol or atol, or look whether the equation is stiff there."
            )
        if self.h < 4 * ulp(self.now):
            why = (
                "Is f discontinuous there, or stiff? If neither, the tolerances ask for more digits than y's dtype has."
                if isfinite(self._norm)
                else "y or f is not finite near there."
            )
            raise RuntimeError(
                f"ode: the step has shrunk to {self.h:.3g} at t={self.now:.8g} after {self.tried} steps, the last of "
                f"which had {self._norm:.3g} times the error allowed. {why}"
            )
        self.tried += 1
        left = abs(self.last - self.now)
        h = min(self.h, self.p.max_step)
        return self.last if min(1.01 * h, self.p.max_step) >= left else self.now + self._sign * h

    def accept(self, s: Step) -> bool:
        """Whether the step's error is small enough.  Sets the length of the next one."""
        self._norm = e = norm(self.p, s.error(), s.y, s.end)
        e = e if isfinite(e) else inf
        taken = abs(s.stop - s.start)
        if e > 1:
            self.h, self._rejected = taken * max(SHRINK, SAFETY * e**-ALPHA), True
            return False
        grow = GROW if e == 0 else SAFETY * e**-ALPHA * self._before**BETA
        new = taken * min(1.0 if self._rejected else GROW, max(SHRINK, grow))
        self.h = max(self.h, new) if s.stop == self.last else new  # which may have been cut short
        self._before, self._rejected, self.now = max(e, 1e-4), False, s.stop
        return True
