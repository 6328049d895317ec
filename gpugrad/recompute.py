"""Floor 6: functions that are computed again for their gradient, where others keep what their ops save."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial, reduce, update_wrapper
from math import inf
from types import CellType, FunctionType
from typing import Any
from weakref import ref

import optree

from .autograd import no_grad
from .backprop import backprop
from .core import Node, Tape, Tensor, identity, tick, wrap, writes
from .custom import attach
from .generator import own
from .hooks import muted
from .levels import innermost
from .recording import AMBIENT, Packing, active, enter, packing, replace, tracked
from .rematerialize import within
from .repeat import Run

_flatten: Any = partial(optree.tree_flatten, namespace="gpugrad")
_unflatten: Any = optree.tree_unflatten


class CheckpointError(RuntimeError):
    """The second run of a function was not as the first."""


def checkpoint(
    f: Callable[..., Any] | None = None, *, max_bytes: float | None = None, preserve_rng_state: bool = True
) -> Any:
    """`f`, of which a tape keeps the inputs alone: for a gradient it is computed again (Chen et al. 2016).

        @gg.checkpoint                     y = gg.checkpoint(block)(x)
        def block(x): ...

    Arguments and answers may be nested, and f may read tensors that it is not given.  The gradient, to any order, is
    that of f: the second run draws the same random numbers and moves no running statistics.  It takes place inside
    each walk back, which frees what that run saved as it goes on: of several checkpoints one at a time is in memory.
    A Jacobian, and each gradient of a persistent tape, runs f once more.

    max_bytes            None: f is run again whole.  A number: its ops keep at most so many bytes for the way back, and
                         those that cost least are run again one by one; see `rematerialize.within`
    preserve_rng_state   False: the second run draws other numbers; for an f that draws none

    f computes the same when called again.  What it computes first keeps nothing: hooks and `backward` inside f are
    refused there.  What f assigns to variables, it assigns once.  np.random inside f draws anew, and arrays of NumPy
    that f is given or finds are read again: gg.random draws the same, and tensors are looked at.
    Inside a vmap f runs as it is, and keeps what it keeps: write gg.checkpoint(gg.vmap(f)).
    RuntimeError where f changes an argument in place, or a variable after it has read it for its answer.
    CheckpointError from the walk, if f answers other shapes then, or if a tensor that it reads has been given another
    value since: a variable, or a constant that f names; of others' attributes and lists only variables are known.
    """
    if f is None:
        return partial(checkpoint, max_bytes=max_bytes, preserve_rng_state=preserve_rng_state)
    if not callable(f):
        raise TypeError(f"checkpoint takes a function, not {f!r:.40}: write checkpoint(f)(x) for f(x)")
    if max_bytes is not None:
        if not preserve_rng_state:
            raise ValueError(
                "checkpoint: preserve_rng_state=False is for f run whole; with max_bytes no number is drawn again"
            )
        return within(f, max_bytes)

    def call(*args: Any, **kw: Any) -> Any:
        if not active().tapes or innermost(_flatten((args, kw))[0]) is not None:
            return f(*args, **kw)
        return _once(f, preserve_rng_state, args, kw)

    return update_wrapper(call, f, updated=())


recompute_grad = checkpoint


class _Read(set[Node]):
    """What a shadow run tracks: every tensor.

    leaves   of each that was read: what answers its array while that lives, and when it was read first
    """

    def __init__(self) -> None:
        self.leaves: dict[Node, tuple[Callable[[], Any], int]] = {}

    def __contains__(self, n: Any) -> bool:
        if n.op is None and n not in self.leaves and (t := n.saved()) is not None:
            self.leaves[n] = writes.ask(t.array), tick()
        return True


def _once(f: Callable[..., Any], follows: bool, args: tuple, kw: dict[str, Any]) -> Any:
    """f(*args, **kw), with a gradient by a second run."""
    run, read, start = Run(), _Read(), tick()
    shadow = Tape(read, nodes=[], apart=True)  # its nodes say what depends on what, and keep no array
    packs = lambda saved, *_: saved if active().open[-1] is not shadow else (None,) * len(saved)
    packing[shadow] = Packing(packs, inf)
    try:
        with no_grad(), run.follow(own()) if follows else nullcontext():
            enter(shadow)
            try:
                answer = f(*args, **kw)
            finally:
                replace(shadow)
                del packing[shadow]
        outs, spec = _flatten(answer)
        if (level := innermost(outs)) is not None:
            raise RuntimeError(
                f"checkpoint: {getattr(f, '__name__', type(f).__name__)} reads a tensor of {level.name} that it is not "
                "given. Give it as an argument, or write the checkpoint around the vmap."
            )
        passed = {id(a) for a in _flatten((args, kw))[0]}
        below = {id(o): _below(o.node, shadow) for o in outs if isinstance(o, Tensor) and id(o) not in passed}
    finally:
        shadow.close()
    tapes = active().tapes
    on_tapes = {n for some in below.values() for n in some if tracked(tapes, [n])[0][0] is not None}
    made = [i for i, o in enumerate(outs) if on_tapes & below.get(id(o), set())]
    if not made:
        return answer
    needed = sorted({n for i in made for n in below[id(outs[i])]}, key=lambda n: n.seq)
    sources = [n for n in needed if n in on_tapes]
    name = getattr(f, "__name__", type(f).__name__)
    again, reads, makers = _repetition(f, args, kw)
    if writes.ages and any([age > start for a in reads for age in writes.of(a)]):
        raise RuntimeError(
            f"checkpoint: {name} has changed an argument in place, and would again when it is computed again. Write "
            "y = x + 1 in the place of x += 1, or give it x.clone()."
        )
    leaves = [(n.saved, *read.leaves[n]) for n in needed if n in read.leaves]
    if changed := _changed(leaves):
        raise RuntimeError(
            f"checkpoint: {name} reads {changed} and then changes it, so that it would read another value when it is "
            "computed again. Change it after the call of the checkpoint."
        )
    first = {id(outs[i]): i for i in reversed(made)}  # a tensor that is answered twice stays one
    some = sorted(first.values())
    back = _pullback(name, run, again, sources, some, [*leaves, *_enclosed(f)])
    new = attach(name, tuple([outs[i] for i in some]), sources, back, reads, False, True, makers)
    news = dict(zip(some, new, strict=True))
    outs = [news[first[id(o)]] if id(o) in first else o for o in outs]
    return _unflatten(spec, outs)


def _below(n: Node | None, shadow: Tape) -> set[Node]:
    """The nodes from outside of the shadow run that `n` depends on, where it was made in it."""
    found: set[Node] = set()
    start = _made_in(n, shadow)
    todo = [] if start is None else [start]
    seen = {*todo}
    for m in todo:  # grows
        for e in m.edges:
            inner = _made_in(e, shadow)
            if inner is None and e is not None:
                found.add(e)
            elif inner is not None and inner not in seen:
                seen.add(inner)
                todo.append(inner)
    return found


def _made_in(n: Node | None, shadow: Tape) -> Node | None:
    """The node of `n`'s chain that was made in the shadow run."""
    while n is not None and n.tape is not shadow:
        n = n.next
    return n


def _enclosed(f: Any) -> list[tuple[Any, Any, int]]:
    """As `leaves`, the constants that f finds around it by their names: no node tells of those."""
    functions, found = [f], {}
    for g in functions:  # grows
        if isinstance(g, FunctionType):
            cells = [c.cell_contents for c in g.__closure__ or () if c != CellType()]
            functions += [c for c in cells if isinstance(c, FunctionType) and c not in functions]
            named = [g.__globals__.get(name) for name in g.__code__.co_names]
            found |= {id(t): t for t in (*cells, *named) if isinstance(t, Tensor)}
    return [(ref(t), writes.ask(t.array), tick()) for t in found.values()]


def _changed(leaves: list[tuple[Any, Any, int]]) -> str | None:
    """How to say the first of the tensors that has another array than it had, or one that was written to since."""
    for leaf, array, age in leaves:
        t = leaf()
        if t is not None and (array() is not t.array or (writes.ages and max(writes.of(t.array), default=-1) > age)):
            return _called(t)
    return None


def _repetition(
    f: Callable[..., Any], args: tuple, kw: dict[str, Any]
) -> tuple[Callable[[list[Any]], Any], list[Any], list[Node | None]]:
    """(f of the same arguments as a function of the arrays among them, those arrays, the nodes that made them)."""
    given, spec = _flatten((args, kw))
    tensors = [i for i, a in enumerate(given) if isinstance(a, Tensor)]
    arrays, nodes = [given[i].array for i in tensors], [given[i].node for i in tensors]
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

    return again, arrays, nodes


def _pullback(
    name: str,
    run: Run,
    again: Callable[[list[Any]], Any],
    sources: list[Node],
    made: list[int],
    leaves: list[tuple[Any, Any, int]],
) -> Callable[[list[Any], list[Any]], list[Any]]:
    """The cotangents of the sources from those of the answers `made`, by a second run and a walk back through it."""
    ends = [identity(n) for n in sources]

    def back(gs: list[Any], arrays: list[Any]) -> list[Any]:
        if changed := _changed(leaves):
            raise CheckpointError(
                f"checkpoint: {name} is computed again for its gradient, and {changed}, which it reads, has been given "
                "another value since. Take the gradient before the variables change."
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
    """The history of the i-th answer of the second run.  CheckpointError if that is another."""
    o = outs[i] if i < len(outs) else None
    if not isinstance(o, Tensor) or (o.array.shape, o.array.dtype) != (g.array.shape, g.array.dtype):
        got = f"{o.array.dtype}{list(o.array.shape)}" if isinstance(o, Tensor) else type(o).__name__
        raise CheckpointError(
            f"checkpoint: {name}, computed again for its gradient, answered {got} where it had answered "
            f"{g.array.dtype}{list(g.array.shape)} first. It must compute the same both times."
        )
    return wrap(g.array, o.node, o.kind)


def _called(t: Tensor) -> str:
    name = getattr(t, "name", None)
    return f"variable {name!r}" if name else f"a {type(t).__name__} of shape {t.array.shape}"


# ---------------------------------------------------------------------------------------------- in PyTorch's words
def noop_context_fn() -> tuple[Any, Any]:
    """Two contexts that do nothing."""
    return nullcontext(), nullcontext()


def call_checkpointed(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[Any, Any]] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """function(*args, **kwargs), whose intermediate results are computed again for the gradient instead of kept.

    context_fn   answers two context managers, for the run and for its repetition
    use_reentrant, determinism_check, debug, early_stop   taken, to no effect: there is one way, which has no limits of
                 the reentrant one, and checks shapes and dtypes of the answers
    """
    if use_reentrant is None:
        _warn_of_reentrant("torch.utils.checkpoint")
    if kwargs and use_reentrant is not False:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    if use_reentrant is not False and (context_fn is not noop_context_fn or debug is not False):
        raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
    if determinism_check not in ("default", "none"):
        raise ValueError(f"determinism_check should be one of ['default', 'none'], but got {determinism_check}")
    contexts = list(context_fn())

    def run(*args: Any, **kwargs: Any) -> Any:
        with contexts.pop(0) if len(contexts) > 1 else contexts[0]:
            return function(*args, **kwargs)

    run.__name__ = getattr(function, "__name__", type(function).__name__)
    return checkpoint(run, preserve_rng_state=preserve_rng_state)(*args, **kwargs)


def call_in_segments(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, preserve_rng_state: bool = True
) -> Any:
    """functions, a Sequential or a list, one after the other, in so many segments, checkpointed but for the last.

    ValueError unless there are from 1 to len(functions) segments.
    """
    if use_reentrant is None:
        _warn_of_reentrant("torch.utils.checkpoint.checkpoint_sequential")
    steps = list(functions.children() if hasattr(functions, "children") else functions)
    if not 1 <= segments <= len(steps):
        n = len(steps)
        raise ValueError(f"checkpoint_sequential: {n} functions make 1 to {n} segments, not {segments}")
    size, x = len(steps) // segments, input
    run = lambda some: lambda x: reduce(lambda x, f: f(x), some, x)
    for start in range(0, size * (segments - 1), size):
        x = checkpoint(run(steps[start : start + size]), preserve_rng_state=preserve_rng_state)(x)
    return run(steps[size * (segments - 1) :])(x)


def _warn_of_reentrant(name: str) -> None:
    warnings.warn(
        f"{name}: the use_reentrant parameter should be passed explicitly. use_reentrant=False is recommended, and is "
        "what happens here in any case.",
        stacklevel=3,
    )
