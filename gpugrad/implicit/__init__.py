"""Floor 7: functions that are given by an equation, with gradients by the implicit function theorem.

What solves f(x, theta) = 0 has the derivative -J⁻¹ df/dtheta, J = df/dx, however it was found: a gradient costs one
linear system with J transposed, and no memory of the steps on the way (Griewank & Walther 2008, chapter 15;
Blondel et al. 2022).  Up to 200 unknowns J is written out.  Beyond, equations beside each other, element by element or
by the first axis of x, are recognised and solved each for itself; all else is solved by products with J, and J is
written out where those do not solve it, up to 4,000 unknowns.

All functions here take a nest of Tensors as x, of float32, float64, complex64 or complex128, on one device.  Gradients
of every order reach the tensors among `args` and those that f finds elsewhere: variables, what a closure names, a
model's parameters.  They do not reach x0.  f is called without recording while the solver runs, then once more; a tape
keeps what that call keeps, which is less for gg.checkpoint(f).

The examples of a `vmap` are solved together, as one system, and all or none converge.  Gradients, inside and around,
go through at most 200 unknowns of an example there; those taken of gradients on the graph of tensors, by create_graph,
are right to the third order, those by tapes and functions to any.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np
import optree

from ..array import Array, library
from ..autograd import no_grad
from ..backprop import backprop
from ..core import Tape, Tensor, identity, leaf, wrap
from ..krylov import largest
from ..levels import Traced, concrete
from ..recording import active, enter, replace
from ..tensor import tensor
from .equation import DENSE, Equation, NoConvergence as NoConvergence
from .examples import refined, together
from .form import Form
from .solvers import Reached, Tolerance, anderson, newton, newton_cg

Solver = Callable[..., Any]


def root(
    f: Callable[..., Any],
    x0: Any,
    *args: Any,
    rtol: float | None = None,
    atol: float | None = None,
    max_iter: int | None = None,
    solver: Solver | None = None,
    on_failure: str = "raise",
) -> Any:
    """x with f(x, *args) = 0, found by Newton's method from x0.

        x = gg.implicit.root(lambda x, a: x * x - a, gg.tensor(1.0), a)      # sqrt(a)

    f           answers a nest like x0, smooth near x
    x0          a Tensor, or a nest of them
    rtol, atol  it ends where a Newton step moves no element by more than atol + rtol |x|; by default both are
                eps**0.75 of the dtype: 2e-12, 6e-6 for float32
    max_iter    the steps, each with a line search (100)
    solver      one of your own, solver(f, x0, *args) -> x, in the place of Newton's; how exactly is its choice
                It answers Tensors or arrays, and runs without recording; a tape that it opens records, and so does
                gg.enable_grad()
    on_failure  "raise", or "warn" and answer the x that was reached

    NoConvergence where it does not get there.  LinAlgError from a gradient, where the Jacobian of f is singular at x.
    ValueError for an f of other shapes than x, or not finite at x0; TypeError for x0 of integers or half types;
    RuntimeError under inference_mode, where Newton's method cannot differentiate f.
    """
    form = Form("root", x0)
    residual = lambda x: form.vector(form.call(f, x, args), "f")
    options = _options(form, rtol, atol, max_iter, 100, solver, on_failure)

    def solve(f: Any, x: Array, apart: Any, allowed: Tolerance, most: int) -> Reached:
        at = lambda x: Equation("root", f, wrap(x), groups=form.groups, apart=apart)
        return newton(at, x, allowed, most, apart)

    return _solved(form, f, args, residual, residual, solve, False, *options)


def fixed_point(
    g: Callable[..., Any],
    x0: Any,
    *args: Any,
    rtol: float | None = None,
    atol: float | None = None,
    max_iter: int | None = None,
    solver: Solver | None = None,
    on_failure: str = "raise",
) -> Any:
    """x with g(x, *args) = x, found by iterating g from x0 with Anderson acceleration.

        z = gg.implicit.fixed_point(lambda z, x: gg.tanh(z @ w + x), gg.zeros((32, 64)), x)  # a deep equilibrium model

    g           answers a nest like x0
    rtol, atol  it ends where g moves no element by more than atol + rtol |x|, so that x is known to 1/(1 - c) as much
                where g contracts by c; by default both are eps**0.75 of the dtype: 2e-12, 6e-6 for float32
    max_iter    the calls of g (1000)
    solver      one of your own, solver(g, x0, *args) -> x, in the place of Anderson's; how exactly is its choice
    on_failure  "raise", or "warn" and answer the x that was reached

    Errors as of `root`, with the Jacobian of g(x) - x.
    """
    form = Form("fixed_point", x0)
    values = lambda x: form.vector(form.call(g, x, args), "g")
    options = _options(form, rtol, atol, max_iter, 1000, solver, on_failure)
    solve = lambda g, x, apart, *given: anderson(lambda x: g(wrap(x)).array, x, *given)
    return _solved(form, g, args, values, lambda x: values(x) - x, solve, False, *options)


def argmin(
    f: Callable[..., Any],
    x0: Any,
    *args: Any,
    rtol: float | None = None,
    atol: float | None = None,
    max_iter: int | None = None,
    solver: Solver | None = None,
    on_failure: str = "raise",
) -> Any:
    """x where f(x, *args) is least near x0, found by truncated Newton steps (conjugate gradients, strong Wolfe search).

        w = gg.implicit.argmin(lambda w, ridge: gg.sum((a @ w - b) ** 2) + ridge * gg.sum(w * w), w0, ridge)

    f           answers one real number, as a Tensor of shape (); twice differentiable
    rtol, atol  it ends where a Newton step moves no element by more than atol + rtol |x|; by default both are
                eps**0.75 of the dtype: 2e-12, 6e-6 for float32
    max_iter    the steps (5000)
    solver      one of your own, solver(f, x0, *args) -> x, in the place of Newton's; how exactly is its choice
    on_failure  "raise", or "warn" and answer the x that was reached

    Errors as of `root`, with the Hessian of f; one that is not positive definite has no gradient, and is a LinAlgError.
    """
    form = Form("argmin", x0)
    loss = lambda x: _scalar(form.call(f, x, args))
    slope = lambda x: _slope(loss, x)[1]
    options = _options(form, rtol, atol, max_iter, 5000, solver, on_failure)
    solve = lambda loss, x, apart, *given: newton_cg(partial(_sloping, loss), x, *given)
    return _solved(form, f, args, loss, slope, solve, True, *options)


def _sloping(loss: Callable[[Tensor], Tensor], x: Array) -> tuple[float, Equation]:
    """(the loss at x, the equation that its gradient is zero)."""
    values: list[Tensor] = []

    def both(x: Tensor) -> Tensor:
        value, g = _slope(loss, x)
        values.append(value)
        return g

    e = Equation("argmin", both, wrap(x), symmetric=True)
    return float(values[0].array), e


def _slope(loss: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """(the loss, its gradient by x, which is recorded as the loss is)."""
    tape = Tape({identity(leaf(x))}, beside=True)
    enter(tape)
    try:
        value = loss(x)
    finally:
        replace(tape)
    g = (backprop([value], [None], tape, [x], False, True) or [None])[0]
    if g is None:
        raise ValueError(
            "argmin: f does not depend on x, as far as gpugrad sees: it computes outside, or stops gradients"
        )
    return value, g


def _scalar(value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"argmin: f answers one number as a Tensor, not {type(value).__name__}")
    if value.array.shape or value.array.dtype.kind == "c":
        raise ValueError(
            f"argmin: f answers {value.array.dtype} of shape {value.array.shape}; it is one real number of shape (): "
            "write gg.sum(...) or gg.mean(...) of it"
        )
    return value


# ---------------------------------------------------------------------------------------------- what all three do
def _options(
    form: Form, rtol: Any, atol: Any, most: Any, default: int, solver: Any, on_failure: str
) -> tuple[Tolerance, int, Any, str]:
    name = form.name
    if on_failure not in ("raise", "warn"):
        raise ValueError(f"{name}: on_failure is 'raise' or 'warn', not {on_failure!r}")
    for what, value in (("rtol", rtol), ("atol", atol)):
        real = isinstance(value, Real) and not isinstance(value, bool)
        if value is not None and not (real and 0 <= float(value) < float("inf")):
            raise ValueError(f"{name}: {what} is a number from 0, not {value!r}")
    if most is not None and not (isinstance(most, (int, np.integer)) and not isinstance(most, bool) and most > 0):
        raise ValueError(f"{name}: max_iter is a whole number from 1, not {most!r}")
    if solver is not None:
        if not callable(solver):
            raise TypeError(f"{name}: solver is a function, solver(f, x0, *args) -> x, not {solver!r:.40}")
        if (rtol, atol, most) != (None, None, None):
            raise ValueError(f"{name}: rtol, atol and max_iter are of {name}'s own solver; give them to yours")
    small = form.eps**0.75
    allowed = Tolerance(small if rtol is None else float(rtol), small if atol is None else float(atol), form.eps)
    return allowed, default if most is None else int(most), solver, on_failure


def _solved(
    form: Form,
    f: Callable[..., Any],
    args: tuple,
    given: Callable[[Tensor], Tensor],
    residual: Callable[[Tensor], Tensor],
    solve: Callable[..., Reached],
    symmetric: bool,
    allowed: Tolerance,
    most: int,
    solver: Any,
    on_failure: str,
) -> Any:
    """The solution of residual(x) = 0 like x0, by `solve`, which works with `given`, or the user's `solver`."""
    with no_grad():
        x = form.flat(form.leaves)
        x = wrap(x.array.copy(), None, x.kind)
        if solver is None:
            with np.errstate(all="ignore"):  # a step that is tried may overflow
                found = together(given, x, lambda f, x, apart: solve(f, x, apart, allowed, most))
            if not isfinite(found.residual):
                raise ValueError(f"{form.name}: {found.why}; begin elsewhere")
            x = wrap(found.x, None, x.kind)
            if not isfinite(largest(concrete(x.array))):
                found = found._replace(why="x grows without bound")
            if found.why is not None:
                _fail(form, x, found, on_failure)
        else:
            answer = solver(f, form.tree(x), *args)  # arrays, too: nothing of it is differentiated
            x = form.vector(optree.tree_map(_tensor, answer, namespace="gpugrad"), "solver")
            if not isfinite(largest(concrete(x.array))):
                raise ValueError(f"{form.name}: the solver answers an x that is not finite")
            x = wrap(x.array.copy(), None, x.kind)  # it may be a variable of the solver's
    if not active().tapes:
        return form.tree(x)
    if isinstance(x.array, Traced):
        return form.tree(refined(form.name, residual, x, symmetric, DENSE))
    return form.tree(Equation(form.name, residual, x, symmetric, form.groups).solution())


def _tensor(x: Any) -> Any:
    return tensor(x) if library(x) is not None and not isinstance(x, Tensor) else x


def _fail(form: Form, x: Tensor, found: Reached, on_failure: str) -> None:
    words = (
        f"{form.name} has not converged: {found.why}. The residual is {found.residual:.1e} there. Begin nearer, allow "
        "more steps with max_iter=, or a larger rtol= or atol=."
    )
    if on_failure == "raise":
        raise NoConvergence(words, None if isinstance(x.array, Traced) else form.tree(x), found.residual)
    warnings.warn(words, RuntimeWarning, stacklevel=4)
