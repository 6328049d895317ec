"""solve: the solution of an ordinary differential equation at given times."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from . import given
from .adjoint import flow
from .march import rows, stacked


def solve(
    f: Callable[..., Any],
    y0: Any,
    t: Any,
    *args: Any,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    method: str = "dopri5",
    gradient: str = "discrete",
    checkpoint: int | None = None,
    max_steps: int = 10_000,
    first_step: float | None = None,
    max_step: float = inf,
) -> Any:
    """y(t) of dy/dt = f(t, y, *args) with y(t[0]) = y0, by Dormand and Prince's method of order 5(4).

        ys = gg.ode.solve(lambda t, y, k: -k * y, y0, [0.0, 1.0, 2.0], k)

    f           f(t, y, *args) -> dy/dt, nested as y, of its shapes and dtypes.  t is a Tensor without axes, in y's
                precision.  f is a function of these alone: it draws no random numbers
    y0          a Tensor, an array, a tree of them, or a number: float32, float64, complex.  A batch has axes of its
                own in it, and steps in common; so have the examples of a vmap: those that the worst of them needs
    t           two times or more, increasing or decreasing; the same for all examples of a vmap
    args        trees, whose Tensors gradients reach
    rtol, atol  the error allowed in a step, as the root mean square over all of y of error / (atol + rtol |y|)
    gradient    "discrete": that of the steps as they were taken, on whatever tape records; memory for each step.
                "adjoint": of the equation, by another one solved backward in time to the same tolerances, for
                cotangents scaled to 1 at most; memory for the answer alone; for equations that are stable backward
    checkpoint  with "discrete", of so many steps at a time the ends are kept, and the rest is computed again, for an f
                that takes no gradients itself; inside a vmap all is kept
    max_steps   how many steps are tried, from the first time to the last; with "adjoint" backward from one to another
    first_step  how long the first step is; None: chosen so that Euler's method would do
    max_step    how long a step is at most: shorter than what f does for a short time only

    Answers y nested as y0, with the times along a new first axis.  What lies between the ends of a step is a polynomial
    of degree 4.  Gradients reach y0, args, t where it is a Tensor, and the variables that f reads, to any order.
    TypeError where f answers another nesting, shape or dtype than y's; ValueError for times that are not monotone and
    options that are none; FloatingPointError where f is not finite at the beginning; RuntimeError where steps shrink to
    nothing or there are too many, and, with "adjoint", where f reads a computed tensor that it is not given, or one of
    its variables has changed when the gradient is taken, or f changes y in place.
    """
    given.one_of("gradient", gradient, ("discrete", "adjoint"))
    if checkpoint is not None:
        given.whole("checkpoint", checkpoint)
    if checkpoint is not None and gradient == "adjoint":
        raise ValueError("ode: gradient='adjoint' keeps no steps; checkpoint is for gradient='discrete'")
    p, times, y, flat_args, spec = given.prepared(
        f, y0, t, args, method, rtol=rtol, atol=atol, max_steps=max_steps, first_step=first_step, max_step=max_step
    )
    if gradient == "adjoint":
        return spec.unflatten(flow(p, times, y, flat_args)[0])
    return spec.unflatten(stacked(rows(p, times, y, flat_args, checkpoint)[0]))
