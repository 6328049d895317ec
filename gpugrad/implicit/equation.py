"""What solves an equation, as a function of all that the equation reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..array import Array, xp
from ..autograd import no_grad
from ..backprop import backprop
from ..core import Node, Tape, Tensor, identity, leaf, on, wrap
from ..custom import attach
from ..hooks import muted
from ..jacobian import chunk
from ..krylov import cg, gmres, norm
from ..levels import Traced, followed
from ..ops.casting import view
from ..ops.matrices import LinAlgError
from ..recording import active, enter, replace
from .blocks import FLAT, SINGULAR, Blocks, written
from .refining import refined

DENSE = 200  # unknowns up to which the Jacobian is written out at once, a walk a row
WRITTEN = 4000  # unknowns up to which it is where products with it do not solve a system
PRODUCTS = 2000  # of a Jacobian with a vector, for one linear system

Tie = tuple[Node, Any]  # a leaf of an equation's own tape, and the Tensor or node outside that it stands for


class NoConvergence(RuntimeError):
    """A solver has not reached its tolerance.

    x          where it was, like x0; None where the linear system of a gradient failed, and inside a vmap
    residual   the largest absolute value of what should be zero there
    """

    def __init__(self, words: str, x: Any = None, residual: float = float("nan")) -> None:
        super().__init__(words)
        self.x, self.residual = x, residual


class Equation:
    """f(x) = 0 at a vector x, with f recorded once, on a tape of its own, persistent, beside those that record.

    Nothing outside sees what lies between x, what f reads, and f(x).  A walk on that tape is one op to other tapes,
    of x, of what f reads and of its seeds; where they record, the walk itself is recorded on that tape, so that the op
    is differentiated by another walk on it.  So is the answer, and derivatives of every order are right.

    symmetric   the Jacobian is symmetric and positive definite: x is a minimum, f its gradient
    groups      answers ways to group unknowns that may have nothing to do with each other: (groups, unknowns of each)
    apart       such groups, where it is known that they have nothing to do with each other
    """

    def __init__(
        self,
        name: str,
        f: Callable[[Tensor], Tensor],
        x: Tensor,
        symmetric: bool = False,
        groups: Callable[[], Sequence[np.ndarray]] = tuple,
        apart: np.ndarray | None = None,
    ) -> None:
        self.name, self.symmetric, self.groups, self.apart = name, symmetric, groups, apart
        self.tape = Tape(persistent=True, beside=True)
        self.x = self._leaf(x)
        enter(self.tape)
        try:
            if self.tape not in active().tapes:
                raise RuntimeError(f"{name} differentiates f, which inference_mode forbids: use no_grad() instead")
            self.value = f(self.x)
        finally:
            replace(self.tape)
        self.reads = _outside(self.value.node, self.tape)
        self.tape.watched = {identity(n) for n in self.reads}

    def _leaf(self, like: Tensor) -> Tensor:
        t = wrap(view(like.array), None, like.kind)
        leaf(t, self.tape)
        return t

    # ------------------------------------------------------------------------------------ differentiating
    def solution(self) -> Tensor:
        """x, with its gradient by what f reads: J dx = -df."""
        return attach(self.name, wrap(view(self.x.array), None, self.x.kind), [*self.reads], self._back)

    def _back(self, gs: list[Any]) -> list[Any]:
        return self._pull([self.value], [self._adjoint(gs[0])], [identity(n) for n in self.reads])

    def _adjoint(self, g: Tensor) -> Tensor:
        """u with J^T u = -g: the solution of a linear equation, and differentiable as such."""
        with no_grad():
            u = wrap(self.solve(-g.array, transposed=True))
        if not active().tapes:
            return u
        residual = lambda u: self.across(u) + g
        if isinstance(u.array, Traced) and (u.array.size <= DENSE or followed(residual(u).array)):
            return refined(f"{self.name}'s adjoint", residual, u, self.symmetric, DENSE)
        e = Equation(f"{self.name}'s adjoint", residual, u, self.symmetric)
        e.blocks = self.blocks.T if self.blocks is not None else None
        return e.solution()

    def across(self, u: Tensor) -> Tensor:
        """J^T u."""
        found = self._pull([self.value], [u], [self.x.node])[0]
        return wrap(xp(u.array).zeros_like(u.array)) if found is None else found

    def _pull(self, ys: list[Any], gs: list[Any], nodes: list[Any], ties: tuple[Tie, ...] = ()) -> list[Any]:
        """The cotangents of `nodes` from gs, those of ys; `ties` are of the earlier seeds that ys depend on."""
        asked = [wrap(None, n) for n in nodes]
        with muted([*self.reads, *self.tape.watched]):
            if not active().tapes:
                return backprop(ys, gs, self.tape, asked, True, False) or []
            seeds = [self._leaf(g) for g in gs]
            with no_grad():
                enter(self.tape)
                try:
                    ds = backprop(ys, seeds, self.tape, asked, True, True) or []
                finally:
                    replace(self.tape)
        return self._tied(ds, (*ties, *[(leaf(s), g) for s, g in zip(seeds, gs, strict=True)]))

    def _tied(self, ys: list[Any], seeds: tuple[Tie, ...]) -> list[Any]:
        """`ys`, computed on our tape, as functions of x, of what f reads and of the seeds."""
        live = [y for y in ys if y is not None]
        if not live:
            return ys
        ties = [(leaf(self.x), self.solution()), *[(identity(n), n) for n in self.reads], *seeds]
        back = lambda gs: self._pull(live, gs, [n for n, _ in ties], seeds)
        made = iter(attach(f"{self.name}'s derivative", tuple(live), [t for _, t in ties], back))
        return [None if y is None else next(made) for y in ys]

    # ------------------------------------------------------------------------------------ its linear systems
    def solve(self, b: Array, transposed: bool = False, rtol: float | None = None) -> Array:
        """The array s with J s = b, or J^T s = b.

        rtol   how exactly, where it is solved by products; None: as well as the dtype allows
        LinAlgError where J is singular, NoConvergence where products do not solve it.
        """
        if self.blocks is None and isinstance(b, Traced):  # of a vmap: example by example
            return b.level.plain(lambda v: self.solve(v, transposed, rtol), [b])
        if self.blocks is None:
            eps, n = float(np.finfo(b.dtype).eps), b.size
            product = self._across if transposed or self.symmetric else self._along()
            solver, most = cg if self.symmetric else gmres, min(n, PRODUCTS) if n <= WRITTEN else PRODUCTS
            found = solver(product, b, eps**0.75 if rtol is None else rtol, most)
            if found.falls:
                raise LinAlgError(FLAT.format(self.name))
            left = norm(b - product(found.x)) / (norm(b) or 1.0) if self.symmetric else found.residual
            if left <= (eps**0.5 if rtol is None else rtol):
                return found.x
            if n > WRITTEN:
                raise NoConvergence(
                    f"{self.name}: products with the Jacobian of f, in {n} unknowns, solve its linear system to a "
                    f"relative residual of {left:.1e} only: it is singular, or nearly, or needs scaling"
                )
            self.blocks = self._written([np.arange(n)[None]])
        blocks: Any = self.blocks
        return (blocks.T if transposed else blocks).solve(b)

    def _across(self, u: Array) -> Array:
        with no_grad():
            return self.across(wrap(u)).array

    def _along(self) -> Callable[[Array], Array]:
        """What takes v to J v: a walk back is linear in its seed, so that is a walk back through a walk back."""
        u, asked = self._leaf(wrap(xp(self.x.array).zeros_like(self.x.array))), [self.x]
        with no_grad():
            enter(self.tape)
            try:
                down = (backprop([self.value], [u], self.tape, asked, True, True) or [None])[0]
            finally:
                replace(self.tape)
        if down is None:
            raise LinAlgError(SINGULAR.format(self.name))

        def along(v: Array) -> Array:
            found = (backprop([down], [wrap(v)], self.tape, [u], True, False) or [None])[0]
            return xp(v).zeros_like(v) if found is None else found.array

        return along

    @cached_property
    def blocks(self) -> Blocks | None:
        """The Jacobian, where writing it out is better than products with it."""
        n, apart = self.x.array.size, self.apart
        if apart is not None:
            groups = [apart] if apart.shape[1] <= DENSE else []
        else:
            groups = [np.arange(n)[None]] if n <= DENSE else self.groups()
        return self._written(groups)

    def _written(self, groups: Sequence[np.ndarray]) -> Blocks | None:
        step = chunk(self.value, self.tape)
        with no_grad():
            return written(self.name, self.across, self.x.array, groups, self.symmetric, step)


def _outside(n: Node | None, tape: Tape) -> list[Node]:
    """The nodes that were not made on `tape`, and that `n`, which was, depends on; oldest first."""
    start = None if n is None else on(n, tape)
    todo, found = [] if start is None else [start], {}
    seen = {*todo}
    for m in todo:  # grows
        for e in m.edges:
            inner = None if e is None else on(e, tape)
            if inner is None and e is not None:
                found[identity(e)] = e
            elif inner is not None and inner not in seen:
                seen.add(inner)
                todo.append(inner)
    return sorted(found.values(), key=lambda e: e.seq)
