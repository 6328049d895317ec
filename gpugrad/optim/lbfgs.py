"""L-BFGS."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ..array import Array, library, xp
from ..autograd import enable_grad
from ..core import Tensor, raw
from ..dtypes import wide
from ..hooks import updating
from .checks import refuse_complex
from .line_search import Point, strong_wolfe
from .optimizer import Optimizer
from .state import Group

NEVER = "LBFGS evaluates the loss several times a step: write optimizer.step(closure), with a closure that calls"


class LBFGS(Optimizer):
    """Steps along -H g, with H an inverse Hessian from the last `history_size` steps (Liu & Nocedal 1989).

        optimizer.step(closure)

    closure   zeroes the gradients, computes the loss, calls backward() and answers the loss; with a tape it answers
              (loss, gradients of the variables)
    One `step` takes up to max_iter steps of the algorithm, with up to max_eval calls of the closure (None: 5/4 as
    many).  line_search_fn "strong_wolfe" chooses how far each of them goes; None: learning_rate as far.  It ends where
    no element of the gradient is above tolerance_grad, or loss or variables change by no more than tolerance_change.

    One group, all variables on one device; the state is of the flat vector of all, in that of the first variable.  Each
    step waits for a GPU.  ValueError for an option out of range; after an error in the closure the variables are what
    they were.
    """

    numbers = ("lr", "tolerance_grad", "tolerance_change")

    def __init__(
        self,
        variables: Iterable[Any],
        learning_rate: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
        lr: float | None = None,
    ) -> None:
        options = {
            "lr": learning_rate, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn,
        }  # fmt: skip
        super().__init__(variables, options, lr=lr)
        for v in self.variables:
            refuse_complex("LBFGS", v.array)

    def check(self, group: Group) -> None:
        super().check(group)
        for name in ("max_iter", "max_eval", "history_size"):
            if type(group[name]) is not int or group[name] < 1:
                raise ValueError(f"Invalid {name}: {group[name]!r}; it must be a whole number from 1")
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise ValueError(f"Invalid line_search_fn: {group['line_search_fn']!r}; it is 'strong_wolfe' or None")

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        if self.param_groups:
            raise ValueError(
                "LBFGS doesn't support per-parameter options (parameter groups): its step is of one vector"
            )
        super().add_param_group(param_group)

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> None:
        raise TypeError(f"{NEVER} backward(), or answers (loss, gradients)")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Up to max_iter steps; the answer is the loss before them."""
        if closure is None:
            raise TypeError(f"{NEVER} backward()")
        (group,), vs = self.param_groups, self.variables
        self.check(group)
        before = [v.array for v in vs]
        try:
            first, state = self._minimize(partial(_evaluate, closure, vs), group, dict(self.state[vs[0]]))
        except BaseException:
            for v, x in zip(vs, before):
                v.array = x
            raise
        self.state[vs[0]].update(state)
        self._done += 1
        return first

    def _minimize(self, evaluate: Callable[[], Any], group: Group, state: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """(the first loss, the state after it)."""
        vs, rate, change = self.variables, group["lr"], group["tolerance_change"]
        first, loss, g = evaluate()
        evals, size = 1, _largest(g)
        state["func_evals"] = state.get("func_evals", 0) + 1
        state.setdefault("n_iter", 0)
        if size <= group["tolerance_grad"]:
            return first, state
        for n in range(1, group["max_iter"] + 1):
            self._direct(g, group, state)
            state["n_iter"] += 1
            state["prev_flat_grad"], state["prev_loss"], d = g, loss, state["d"]
            length = _largest(d)
            t = state["t"] = rate * (min(1.0, 1.0 / float(abs(g).sum())) if state["n_iter"] == 1 else 1.0)
            slope = _dot(g, d)
            if slope > -change:
                break
            xs, tried = [v.array for v in vs], 0
            if group["line_search_fn"]:
                at = partial(_at, evaluate, vs, xs, d)
                found, tried = strong_wolfe(
                    at, Point(0.0, loss, g, slope), t, length, change, group["max_eval"] - evals
                )
                _move(vs, xs, d, found.t)
                t, loss, g = found.t, found.loss, found.gradient
            else:
                _move(vs, xs, d, t)
                if n < group["max_iter"]:
                    _, loss, g = evaluate()
                    tried = 1
            state["t"] = t
            evals += tried
            state["func_evals"] += tried
            if (
                evals >= group["max_eval"]
                or _largest(g) <= group["tolerance_grad"]
                or length * abs(t) <= change
                or abs(loss - state["prev_loss"]) < change
            ):
                break
        return first, state

    @updating
    def _direct(self, g: Array, group: Group, state: dict[str, Any]) -> None:
        """state["d"] = -H g, with H after the last step."""
        if not state["n_iter"]:
            state.update(d=-g, old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
            return
        ys, steps, ro = ([*state[k]] for k in ("old_dirs", "old_stps", "ro"))
        y, s = g - state["prev_flat_grad"], state["d"] * g.dtype.type(state["t"])
        if (along := _dot(y, s)) > 1e-10:
            ys, steps, ro = ([*a, new][-group["history_size"] :] for a, new in ((ys, y), (steps, s), (ro, 1.0 / along)))
            state["H_diag"] = along / _dot(y, y)
        q, shares = -g, []
        for y, s, r in zip(reversed(ys), reversed(steps), reversed(ro)):
            shares.append(_dot(s, q) * r)
            q -= y * q.dtype.type(shares[-1])
        q *= q.dtype.type(state["H_diag"])
        for y, s, r, share in zip(ys, steps, ro, reversed(shares)):
            q += s * q.dtype.type(share - _dot(y, q) * r)
        state.update(d=q, old_dirs=ys, old_stps=steps, ro=ro)

    def state_shape(self, name: str, v: Tensor) -> tuple[int, ...]:
        return (sum([w.array.size for w in self.variables]),)


def _evaluate(closure: Callable[[], Any], vs: list[Tensor]) -> tuple[Any, float, Array]:
    """(the loss, its value, the gradient of all variables as one vector)."""
    with enable_grad():
        loss = closure()
    if isinstance(loss, tuple):
        loss, grads = loss
        grads = list(grads)
        if len(grads) != len(vs):
            raise ValueError(f"the closure answers {len(grads)} gradients for {len(vs)} variables")
    else:
        grads = [None if v.node is None or v.node.op is not None else v.node.grad for v in vs]
    if all([g is None for g in grads]):
        raise ValueError(
            "no variable has a gradient: the closure is to call backward(), or to answer (loss, gradients)"
        )
    lib, flat = xp(vs[0].array), []
    kind = wide(vs[0].array.dtype)
    for g, v in zip(grads, vs):
        g = lib.zeros_like(v.array) if g is None else raw(g)
        if library(g) is None or g.shape != v.array.shape:
            raise ValueError(f"a gradient of shape {getattr(g, 'shape', None)} for a variable of {v.array.shape}")
        flat.append(g.reshape(-1).astype(kind))
    return loss, float(loss), lib.concatenate(flat)


def _move(vs: list[Tensor], xs: list[Array], d: Array, t: float) -> None:
    """The variables to x + t d."""
    end = 0
    for v, x in zip(vs, xs):
        begin, end = end, end + x.size
        part = d[begin:end].reshape(x.shape)
        v.array = xp(x).asarray((x.astype(d.dtype) + part * d.dtype.type(t)).astype(x.dtype))


def _at(evaluate: Callable[[], Any], vs: list[Tensor], xs: list[Array], d: Array, t: float) -> Point:
    _move(vs, xs, d, t)
    _, loss, g = evaluate()
    return Point(t, loss, g, _dot(g, d))


def _dot(a: Array, b: Array) -> float:
    return float(xp(a).vdot(a, b))


def _largest(a: Array) -> float:
    return float(abs(a).max()) if a.size else 0.0
