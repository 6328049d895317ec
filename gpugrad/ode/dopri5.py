"""One step of Dormand and Prince's method of order 5(4), and what lies within it (Hairer, Norsett, Wanner II.5-6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any, NamedTuple

import numpy as np

from ..array import library
from ..core import Tensor, raw, wrap
from ..ops.casting import astype
from ..ops.weighted import weighted_sum

ORDER = 5  # of the step; its error is estimated by a method of order 4
NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
ROWS = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),  # the step: the last slope is the next one's first
)
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
BEND = (  # d of the continuous extension of order 4
    -12715105075 / 11282082432, 0.0, 87487479700 / 32700410799, -10690763975 / 1880347072,
    701980252875 / 199316789632, -1453857185 / 822651844, 69997945 / 29380423,
)  # fmt: skip

Slopes = Callable[[Tensor, list[Tensor], list[Any]], list[Tensor]]  # f(t, y, args) on flat lists


class Problem(NamedTuple):
    """What is solved, and how well.

    f           the slopes, on flat lists
    max_steps   how many steps are tried
    first_step  how long the first step is; None: it is chosen
    max_step    how long a step is at most
    moving      how many leaves of y f depends on, the first ones; None: all.  The others are integrals along the way:
                they are computed at the ends of steps alone, and their errors are measured apart
    """

    f: Slopes
    rtol: float
    atol: float
    max_steps: int
    first_step: float | None = None
    max_step: float = inf
    moving: int | None = None


class Times(NamedTuple):
    """When y is asked for.

    at      the times, increasing or decreasing
    tensor  the same as a Tensor where gradients may be asked for by them, on the device of y; else None
    like    a leaf of y, and the real dtype: how f gets its times
    """

    at: list[float]
    tensor: Tensor | None
    like: Tensor
    dtype: np.dtype

    def exactly(self, t: float) -> Any:
        """The first or the last time as a Tensor with its history, another one as it is."""
        if self.tensor is not None and t in (self.at[0], self.at[-1]):
            return self.tensor[0 if t == self.at[0] else -1]
        return t

    def placed(self, ts: Sequence[Any]) -> list[Tensor]:
        """Times as f gets them: Tensors without axes, those of numbers made in one go."""
        if any([isinstance(t, Tensor) for t in ts]):
            return [astype(t, self.dtype) if isinstance(t, Tensor) else self.placed([t])[0] for t in ts]
        lib: Any = library(self.like.array)
        array = lib.asarray(np.array(ts, self.dtype), None, lib.device_of(self.like.array))
        return [wrap(array[i, ...], None, self.like.kind) for i in range(len(ts))]


class Step(NamedTuple):
    """From y at `start` to `end` at `stop`.

    begin, h   where it starts and how far it goes: numbers, or Tensors where gradients by the times go through them
    slopes     f at its seven stages
    """

    start: float
    stop: float
    begin: Any
    h: Any
    y: list[Tensor]
    end: list[Tensor]
    slopes: list[list[Tensor]]

    def error(self) -> list[Any]:
        """The estimated error of each leaf of `end`, as arrays."""
        h = self.stop - self.start
        terms = [(i, h * e) for i, e in enumerate(ERROR) if e]
        return [
            weighted_sum([raw(self.slopes[i][j]) for i, _ in terms], [w for _, w in terms]) for j in range(len(self.y))
        ]

    def within(self, t: Any) -> list[Tensor]:
        """y at time t inside, by the polynomial of degree 4; its error is that of the step."""
        x = (t - self.begin) / self.h
        left = 1.0 - x
        b, last = (*ROWS[-1], 0.0), len(BEND) - 1
        row = [
            x * (b[i] + left * ((i == 0) - b[i] + x * (2 * b[i] - (i == last) - (i == 0) + left * d))) if d else 0.0
            for i, d in enumerate(BEND)
        ]
        return combined(self.y, self.slopes, row, self.h)


def step(p: Problem, times: Times, start: float, stop: float, y: list[Tensor], slope: list[Tensor], args: Any) -> Step:
    """The step from y, where f is `slope`."""
    begin = times.exactly(start)
    h = times.exactly(stop) - begin
    slopes, at = [slope], y
    for i, (t, row) in enumerate(zip(times.placed([begin + c * h for c in NODES]), ROWS, strict=True)):
        n = p.moving if i < len(ROWS) - 1 else None
        at = [*combined(y[:n], slopes, row, h), *(() if n is None else y[n:])]
        slopes.append(p.f(t, at, args))
    return Step(start, stop, begin, h, y, at, slopes)


def combined(y: list[Tensor], slopes: list[list[Tensor]], row: Sequence[Any], h: Any) -> list[Tensor]:
    """y + h * (the sum of row * slopes), of numbers in one op."""
    terms = [(s, h * c) for s, c in zip(slopes, row) if isinstance(c, Tensor) or c]
    if not any([isinstance(w, Tensor) for _, w in terms]):
        weights = [1.0, *[w for _, w in terms]]
        return [weighted_sum([v, *[s[j] for s, _ in terms]], weights) for j, v in enumerate(y)]
    return [sum([s[j] * astype(w, _real(v)) for s, w in terms], v) for j, v in enumerate(y)]  # type: ignore[misc]


def _real(v: Tensor) -> np.dtype:
    return v.array.real.dtype
