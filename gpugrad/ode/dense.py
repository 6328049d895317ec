"""dense: the solution of an ordinary differential equation as a function of time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from math import inf
from typing import Any

from ..core import Tensor
from . import given
from .dopri5 import Step
from .march import search, stacked, start


class Solution:
    """y as a function of t between the first and the last time: `solution(t)`.

    times   where its steps end, the first time in front
    """

    def __init__(self, steps: list[Step], spec: Any) -> None:
        self._steps, self._spec = steps, spec
        self.times = [steps[0].start, *[s.stop for s in steps]]

    def __repr__(self) -> str:
        return f"<Solution from t={self.times[0]:.8g} to {self.times[-1]:.8g} in {len(self._steps)} steps>"

    def __call__(self, t: Any) -> Any:
        """y at t, a number or one axis of them, in any order; gradients reach t where it is a Tensor.

        ValueError for a time outside.
        """
        values, tensor = given.numbers(t, self._steps[0].y[0])
        if values.ndim > 1 or not values.size:
            raise ValueError(f"Solution: t is a number or one axis of them, not of shape {values.shape}")
        if values.ndim == 0:
            return self._spec.unflatten(self._at(float(values), tensor))
        found = [self._at(float(v), None if tensor is None else tensor[i]) for i, v in enumerate(values)]
        return self._spec.unflatten(stacked(found))

    def _at(self, value: float, t: Tensor | None) -> list[Tensor]:
        first, last = self.times[0], self.times[-1]
        if not min(first, last) <= value <= max(first, last):
            raise ValueError(f"Solution: t={value:.8g} is outside of [{first:.8g}, {last:.8g}], where y is known")
        way = 1.0 if last > first else -1.0
        i = bisect_left(self._steps, value * way, key=lambda s: s.stop * way)
        return self._steps[i].within(value if t is None else t)


def dense(
    f: Callable[..., Any],
    y0: Any,
    t: Any,
    *args: Any,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    method: str = "dopri5",
    max_steps: int = 10_000,
    first_step: float | None = None,
    max_step: float = inf,
) -> Solution:
    """The solution of dy/dt = f(t, y, *args) from t[0], where y is y0, to t[-1], as a function of time.

        y = gg.ode.dense(f, y0, (0.0, 10.0))
        y(2.5)

    Options, errors and gradients are those of `solve` with gradient="discrete"; all steps are kept.  Within a step it
    is a polynomial of degree 4, and y and dy/dt are continuous.
    """
    p, times, y, flat_args, spec = given.prepared(
        f, y0, t, args, method, rtol=rtol, atol=atol, max_steps=max_steps, first_step=first_step, max_step=max_step
    )
    slope, control = start(p, times, y, flat_args)
    return Solution(list(search(p, times, y, slope, flat_args, control)), spec)
