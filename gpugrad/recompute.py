"""Floor 6: functions that are computed again for their gradient, where others keep what their ops save."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial, update_wrapper
from typing import Any
from weakref import ref

import numpy as np
import optree

from .autograd import no_grad
from .backprop import backprop
from .core import Node, Tape, Tensor, identity, wrap
from .custom import attach
from .dtypes import is_inexact
from .generator import own
from .hooks import muted
from .recording import AMBIENT, active, enter, replace, tracked
from .repeat import Run

_flatten: Any = partial(optree.tree_flatten, namespace="gpugrad")
_unflatten: Any = optree.tree_unflatten


def checkpoint(f: Callable[..., Any] | None = None, *, preserve_rng_state: bool = True) -> Any:
    """`f`, of which a tape keeps the inputs alone: for a gradient it is computed again (Chen et al. 2016).

        @gg.checkpoint                     y = gg.checkpoint(block)(x)
        def block(x): ...

    Arguments and answers may be nested, and f may read tensors that it is not given.  The gradient, to any order, is
    that of f: the second run draws the same random numbers and moves no running statistics.  It takes place inside
    each walk back, which frees what that run saved as it goes on: of several checkpoints one at a time is in memory.
    A Jacobian, and each gradient of a persistent tape, runs f once more.

    preserve_rng_state   False: the second run draws other numbers; for an f that draws none

    f computes the same when called again.  What it computes first has no history: hooks and `backward` inside f are
    refused there.  RuntimeError from the walk, if f answers other shapes then, or if a variable that it reads has been
    given another value since.
    """
    if f is None:
        return partial(checkpoint, preserve_rng_state=preserve_rng_state)
    if not callable(f):
        raise TypeError(f"checkpoint takes a function, not {f!r:.40}: write checkpoint(f)(x) for f(x)")

    def call(*args: Any, **kw: Any) -> Any:
        return _once(f, preserve_rng_state, args, kw) if active().tapes else f(*args, **kw)

    return update_wrapper(call, f, updated=())


recompute_grad = checkpoint


def _once(f: Callable[..., Any], follows: bool, args: tuple, kw: dict[str, Any]) -> Any:
    """f(*args, **kw), with a gradient by a second run."""
    run, probe = Run(), Tape(set(), silent=True, every=True)
    with no_grad(), run.follow(own()) if follows else nullcontext():
        enter(probe)
        try:
            answer = f(*args, **kw)
        finally:
            replace(probe)
    read = sorted(probe.watched, key=lambda n: n.seq)
    sources = [n for n in tracked(active().tapes, read)[0] if n is not None]
    outs, spec = _flatten(answer)
    passed = {id(a) for a in _flatten((args, kw))[0]}
    made = [i for i, o in enumerate(outs) if id(o) not in passed and _is_new(o)]
    if not (sources and made):
        return answer
    name = getattr(f, "__name__", type(f).__name__)
    again, reads = _repetition(f, args, kw)
    back = _pullback(name, run, again, sources, made)
    new = attach(name, tuple([outs[i] for i in made]), sources, back, reads, materialize=False, feeds=True)
    for i, t in zip(made, new, strict=True):
        outs[i] = t
    return _unflatten(spec, outs)


def _is_new(o: Any) -> bool:
    """Whether an answer of f can have a gradient, and is no tensor with a history: those are handed through."""
    if not isinstance(o, Tensor) or not is_inexact(o.array.dtype):
        return False
    return o.node is None or tracked(active().tapes, [o.node])[0][0] is None


def _repetition(f: Callable[..., Any], args: tuple, kw: dict[str, Any]) -> tuple[Callable[[list[Any]], Any], list[Any]]:
    """(f of the same arguments as a function of the arrays among them, those arrays)."""
    given, spec = _flatten((args, kw))
    tensors = [i for i, a in enumerate(given) if isinstance(a, Tensor)]
    arrays = [given[i].array for i in tensors]
    # The node keeps the arrays, maybe packed.  A variable is itself: it may be more than its array.
    remade = {i: (given[i].node, type(given[i])) for i in tensors if type(given[i]) is given[i].kind}
    remade = {i: how for i, how in remade.items() if how[0] is None or how[0].op is not None}
    for i in remade:
        given[i] = None

    def again(arrays: list[Any]) -> Any:
        now = list(given)
        for i, a in zip(tensors, arrays, strict=True):
            if i in remade:
                now[i] = wrap(a, *remade[i])
        args, kw = _unflatten(spec, now)
        return f(*args, **kw)

    return again, arrays


def _pullback(
    name: str, run: Run, again: Callable[[list[Any]], Any], sources: list[Node], made: list[int]
) -> Callable[[list[Any], list[Any]], list[Any]]:
    """The cotangents of the sources from those of the answers `made`, by a second run and a walk back through it."""
    ends = [identity(n) for n in sources]
    leaves = [(n.saved, _weakly(n.saved().array)) for n in ends if n.op is None and n.saved() is not None]

    def back(gs: list[Any], arrays: list[Any]) -> list[Any]:
        for leaf, array in leaves:
            t = leaf()
            if t is not None and array is not None and array() is not t.array:
                raise RuntimeError(
                    f"checkpoint: {name} is computed again for its gradient, and {_called(t)}, which it reads, has "
                    "been given another value since. Take the gradient before the variables change."
                )
        tapes = active().tapes  # those that record this walk; none: it is of arrays
        tape = Tape({*ends}, nodes=[], beside=tapes == (AMBIENT,))
        enter(tape)
        try:
            with run.again():
                outs = _flatten(again(arrays))[0]
        finally:
            replace(tape)
        try:
            pairs = [(_matching(name, outs, i, g), g) for i, g in zip(made, gs, strict=True) if g is not None]
            del outs
            with muted([*sources, *ends]):
                asked = [wrap(None, n) for n in ends]
                return backprop([t for t, _ in pairs], [g for _, g in pairs], tape, asked, False, bool(tapes)) or []
        finally:
            tape.close()

    return back


def _matching(name: str, outs: list[Any], i: int, g: Tensor) -> Tensor:
    """The i-th answer of the second run, of which the walk needs the history alone.  RuntimeError if it is another."""
    o = outs[i] if i < len(outs) else None
    if not isinstance(o, Tensor) or (o.array.shape, o.array.dtype) != (g.array.shape, g.array.dtype):
        got = f"{o.array.dtype}{list(o.array.shape)}" if isinstance(o, Tensor) else type(o).__name__
        raise RuntimeError(
            f"checkpoint: {name}, computed again for its gradient, answered {got} where it had answered "
            f"{g.array.dtype}{list(g.array.shape)} first. It must compute the same both times."
        )
    return wrap(g.array, o.node, o.kind)


def _weakly(array: Any) -> Any:
    return None if isinstance(array, np.generic) else ref(array)


def _called(t: Tensor) -> str:
    name = getattr(t, "name", None)
    return f"variable {name!r}" if name else f"a {type(t).__name__} of shape {t.array.shape}"
