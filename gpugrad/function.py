"""Floor 6: Function, a function with a gradient of its own, as a class with a context."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any
from weakref import ref

from .array import xp
from .autograd import is_grad_enabled, no_grad, requires_grad
from .backprop import FREED, _since_watched as since_watched, alive
from .core import Node, Tensor, raw, trainable, wrap
from .custom import attach
from .dtypes import is_inexact
from .inplace import remember
from .levels import Traced, blank, followed
from .origin import CONSTANT
from .paths import PICK
from .recording import active, lost, record, scope


def _chain(n: Node | None) -> Iterator[Node]:
    """The same op on each of the tapes that record it."""
    while n is not None:
        yield n
        n = n.next


class _Saved:
    """Where a context finds what it saved: the arrays are in the node, which a walk frees, and some hooks pack.

    For each tensor (its history, its class); for an output of the call itself its number in the place of the history.
    """

    __slots__ = ("entries", "nodes", "several")

    def __init__(self, entries: list[tuple[Node | int | None, type[Tensor]] | None], node: Node, several: bool) -> None:
        self.entries, self.several = entries, several
        self.nodes = [ref(n) for n in _chain(node)]  # weak: they hold the context; an inner tape's may die first

    def tensors(self) -> tuple[Any, ...]:
        """The tensors with the history they had.  RuntimeError once they are freed."""
        node = next((n for r in self.nodes if (n := r()) is not None), None)
        n = None if node is None else alive(node)
        if n is None or n.saved is None:
            raise RuntimeError(FREED)
        arrays = iter(n.saved[len(n.edges) + 2 :])
        return tuple([None if e is None else self._tensor(next(arrays), node, *e) for e in self.entries])

    def _tensor(self, array: Any, node: Any, history: Node | int | None, kind: type[Tensor]) -> Tensor:
        if history is None:  # a tape may have watched it since
            found = since_watched(array)
            return wrap(array, found.node if isinstance(found, Tensor) else None, kind)
        if isinstance(history, int) and self.several:
            return record(PICK, array, (None, None, history, None), (node,), kind)
        return wrap(array, node if isinstance(history, int) else history, kind)


class _Inside:
    """Where a context finds what it saved inside a level, whose node may be freed before those around it."""

    def __init__(self, kept: tuple[Any, ...]) -> None:
        self.kept = kept

    def tensors(self) -> tuple[Any, ...]:
        """The tensors."""
        return self.kept


class Context:
    """What `forward` leaves for `backward`: attributes of its own, and tensors by `save_for_backward`.

    needs_input_grad  for each argument of forward, whether its gradient may be asked for
    """

    def __init__(self, args: tuple[Any, ...]) -> None:
        self.needs_input_grad = tuple([followed(a) for a in args])
        self._to_save: tuple[Any, ...] = ()
        self._dirty: tuple[Any, ...] = ()
        self.materialize_grads = True
        self._constant: set[int] = set()
        self._saved: Any = None
        self._forward: tuple[Any, ...] = ()
        self._count, self._pushing = 0, False  # of what is saved, how much is for backward; whether jvp runs

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors, or None, for `backward`, where they are `saved_tensors`."""
        self._to_save = _only_tensors(tensors, TypeError, "save_for_backward can only save variables", allow_none=True)

    def save_for_forward(self, *tensors: Any) -> None:
        """Keep tensors, or None, for `jvp`, where they are `saved_tensors`."""
        self._forward = _only_tensors(tensors, TypeError, "save_for_forward can only save variables", allow_none=True)

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward`, in `jvp` `save_for_forward`, kept.  RuntimeError once the graph has been freed."""
        found = () if self._saved is None else self._saved.tensors()
        return found[self._count :] if self._pushing else found[: self._count]

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """These outputs have no gradient."""
        self._constant = {id(t) for t in tensors}

    def mark_dirty(self, *tensors: Any) -> None:
        """These inputs are changed in place; forward answers them."""
        self._dirty = _only_tensors(tensors, RuntimeError, "mark_dirty can only accept variables")

    def set_materialize_grads(self, value: bool) -> None:
        """Whether the cotangent of an output that nobody used is zeros, or None."""
        self.materialize_grads = value


def _only_tensors(ts: tuple[Any, ...], error: type[Exception], what: str, allow_none: bool = False) -> tuple[Any, ...]:
    for i, t in enumerate(ts):
        if not isinstance(t, Tensor) and not (allow_none and t is None):
            raise error(f"{what}, but argument {i} is of type {type(t).__name__}. Keep it as an attribute: ctx.x = ...")
    return ts


class Function:
    """A function with a gradient of its own, used as `MyFunction.apply(*args)`.

        class Exp(gg.Function):
            @staticmethod
            def forward(ctx, x):
                y = gg.exp(x)
                ctx.save_for_backward(y)
                return y

            @staticmethod
            def backward(ctx, g):
                (y,) = ctx.saved_tensors
                return g * y

    forward(ctx, *args), or forward(*args) and setup_context(ctx, inputs, output), answers a tensor or a tuple; what it
    computes is not recorded.  backward(ctx, *cotangents) answers the gradient of each argument, None for those that
    have none; what it computes is recorded where somebody differentiates it, so higher orders work.
    Forward mode calls jvp(ctx, *tangents), if the class has one, with zeros for tensors that have none and None for
    other arguments; without it, and around a `vmap`, it transposes backward.  `vmap` runs forward for all examples at
    once, so a `vmap` method is not asked.
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The values."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradient of each argument of forward, None for those that have none."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. Please use new-style autograd "
            f"function with static forward method: {type(self).__name__}.apply(...), without an instance."
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """The values of forward, with the gradient of backward."""
        ctx = Context(args)
        with scope(False, *active().open):  # forward mode, too
            setup = getattr(cls, "setup_context", None)
            if setup is None:
                out = cls.forward(ctx, *args, **kwargs)
            else:
                out = cls.forward(*args, **kwargs)
                setup(ctx, args, out)
        outs = list(out) if isinstance(out, tuple) else [out]
        _check_dirty(ctx, outs)
        answers = _connected(cls, ctx, args, outs)
        return tuple(answers) if isinstance(out, tuple) else answers[0]


def _check_dirty(ctx: Context, outs: list[Any]) -> None:
    for t in ctx._dirty:
        if not any([t is o for o in outs]):
            raise RuntimeError(
                "Some elements marked as dirty during the forward method were not returned as output. The inputs that "
                "are modified inplace must all be outputs of the Function."
            )
        if is_grad_enabled() and trainable(t) and requires_grad(t):
            raise RuntimeError(
                "a leaf Variable that requires grad has been used in an in-place operation. Give the function x.clone()"
            )


def _connected(cls: type[Function], ctx: Context, args: tuple[Any, ...], outs: list[Any]) -> list[Any]:
    """The outputs as the user gets them: new Tensors with a history, and inputs that were changed in place."""
    inputs = [a for a in args if isinstance(a, Tensor)]
    kind = inputs[0].kind if inputs else Tensor
    dirty = {id(t) for t in ctx._dirty}
    own = {id(o): i for i, o in enumerate(outs) if id(o) in dirty or all([o is not a for a in inputs])}
    answers = [wrap(_view(o), None, kind) if isinstance(o, Tensor) and id(o) not in dirty else o for o in outs]
    live = [
        i
        for i, o in enumerate(outs)
        if isinstance(o, Tensor) and is_inexact(o.array.dtype) and id(o) not in ctx._constant
    ]
    made: tuple[Tensor, ...] = ()
    ctx._count, ctx._to_save = len(ctx._to_save), (*ctx._to_save, *ctx._forward)
    if live:
        back = _backward(cls, ctx, args, outs, live, kind)
        some = tuple([wrap(outs[i].array if id(outs[i]) in dirty else answers[i].array, None, kind) for i in live])
        kept = [t for t in ctx._to_save if t is not None]
        given = {id(a) for a in args}
        makers = [t.node if t.node is not None else None if id(t) in given else True for t in kept]
        found = attach(
            cls.__name__,
            some if len(live) > 1 else some[0],
            inputs,
            back,
            [(answers[own[id(t)]] if own.get(id(t), -1) in live else t).array for t in kept],
            ctx.materialize_grads,
            makers=makers,
            born=_keeper(ctx, {id(t): own.get(id(t), -1) for t in kept}, live) if kept else None,
            push=_push(cls, ctx, args, answers, live) if hasattr(cls, "jvp") else None,
        )
        made = found if len(live) > 1 else (found,)
    for i, o in enumerate(outs):
        if i not in live and isinstance(o, Tensor) and id(o) in own:
            lost(answers[i], cls.__name__, inputs, CONSTANT)
    ctx._to_save, ctx._forward, ctx._dirty = (), (), ()
    for i, t in zip(live, made):
        if id(outs[i]) not in dirty:
            answers[i] = t
        elif t.node is not None:
            remember(outs[i], t)
    return answers


def _push(
    cls: Any, ctx: Context, args: tuple[Any, ...], outs: list[Any], live: list[int]
) -> Callable[[Sequence[Any]], Any]:
    """`jvp` as forward mode calls it, its answers checked."""
    like = [(tuple(o.array.shape), o.array.dtype) if i in live else None for i, o in enumerate(outs)]
    kind = outs[live[0]].kind

    def push(tangents: Sequence[Any]) -> Any:
        given = iter(tangents)
        own = [_tangent(next(given), a, ctx.materialize_grads, kind) if isinstance(a, Tensor) else None for a in args]
        ctx._pushing = True
        try:
            found = cls.jvp(ctx, *own)
        finally:
            ctx._pushing = False
        vs = found if isinstance(found, tuple) else (found,)
        if len(vs) != len(like):
            raise RuntimeError(f"function {cls.__name__}: jvp answered {len(vs)} tangents for {len(like)} outputs")
        for i, v in enumerate(vs):
            if i in live and (not isinstance(v, Tensor) or (tuple(v.array.shape), v.array.dtype) != like[i]):
                raise RuntimeError(
                    f"function {cls.__name__}: jvp answers for output {i} a Tensor of shape {like[i][0]} and "  # type: ignore[index]
                    f"{like[i][1]}, as that is, not {v!r:.60}"  # type: ignore[index]
                )
        plain = tuple([wrap(vs[i].array, vs[i].node) for i in live])
        return plain if len(live) > 1 else plain[0]

    return push


def _tangent(v: Any, x: Tensor, zeros: bool, kind: type[Tensor]) -> Tensor | None:
    """Tangent v of argument x as `jvp` sees it."""
    if v is not None:
        return wrap(raw(v), getattr(v, "node", None), kind)
    return wrap(xp(x.array).zeros(x.array.shape, x.array.dtype), None, kind) if zeros else None


def _keeper(ctx: Context, own: dict[int, int], live: list[int]) -> Callable[[list[Tensor], Any], None]:
    """What tells `ctx` where it finds what it is to save; `own`: of which output that is the array."""
    places, saves = {i: n for n, i in enumerate(live)}, ctx._to_save

    def born(outs: list[Tensor], node: Any) -> None:
        at = [None if t is None else places.get(own[id(t)]) for t in saves]
        if isinstance(outs[0].array, Traced):
            ctx._saved = _Inside(tuple([t if i is None else outs[i] for t, i in zip(saves, at)]))
            return
        entries: Any = [None if t is None else (t.node if i is None else i, t.kind) for t, i in zip(saves, at)]
        ctx._saved = _Saved(entries, node, len(live) > 1)

    return born


def _view(o: Tensor) -> Any:
    return o.array.view() if hasattr(o.array, "view") else o.array


def _backward(
    cls: type[Function], ctx: Context, args: tuple[Any, ...], outs: list[Any], live: list[int], kind: type[Tensor]
) -> Callable[[list[Any]], list[Any]]:
    """`backward` as the engine calls it: with the cotangents of `live` outputs, checked."""
    like = [blank(o.array) if isinstance(o, Tensor) else None for o in outs]
    shapes = [raw(a).shape if isinstance(a, Tensor) else None for a in args]
    name, count = f"{cls.__name__}Backward", len(args)

    def zeros(i: int) -> Any:
        if like[i] is None or not ctx.materialize_grads:
            return None
        return wrap(like[i](), None, kind)  # type: ignore[misc]

    def back(gs: list[Any]) -> list[Any]:
        given = dict(zip(live, gs))
        found = cls.backward(ctx, *[given[i] if i in given else zeros(i) for i in range(len(like))])
        grads = list(found) if isinstance(found, tuple) else [found]
        while len(grads) > count and grads[-1] is None:
            grads.pop()
        if len(grads) != count:
            raise RuntimeError(
                f"function {name} returned an incorrect number of gradients (expected {count}, got {len(grads)}). "
                "Return one for each argument of forward, None for those that have none."
            )
        for i, (g, shape) in enumerate(zip(grads, shapes)):
            if g is not None:
                _check_gradient(name, i, g, shape)
        return [g for g, shape in zip(grads, shapes) if shape is not None]

    return back


def _check_gradient(name: str, i: int, g: Any, shape: tuple[int, ...] | None) -> None:
    if not isinstance(g, Tensor):
        raise RuntimeError(f"expected Variable or None (got {type(g).__name__}). Return a Tensor, or None.")
    if shape is None:
        raise RuntimeError(
            f"function {name} returned a gradient different than None at position {i + 1}, but the corresponding "
            "forward input was not a Variable. Return None there."
        )
    own = g.array.shape
    spread = len(own) >= len(shape) and all([n in (1, m) for n, m in zip(shape[::-1], own[::-1])])
    if own != shape and not spread:
        raise RuntimeError(
            f"Function {name} returned an invalid gradient at index {i} - got {list(own)} but expected shape "
            f"compatible with {list(shape)}"
        )


def once_differentiable(f: Callable[..., Any]) -> Callable[..., Any]:
    """A `backward` that is not to be differentiated itself: RuntimeError where somebody does."""

    def refuse(gs: list[Any]) -> Any:
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable. Write its backward "
            "with differentiable operations, and take the mark off."
        )

    @wraps(f)
    def call(ctx: Any, *gs: Any) -> Any:
        with no_grad():
            found = f(ctx, *gs)
        several = isinstance(found, tuple)
        outs = list(found) if several else [found]
        for i, o in enumerate(outs):
            if isinstance(o, Tensor):
                outs[i] = attach(f.__name__, wrap(_view(o), None, o.kind), [g for g in gs if g is not None], refuse)
        return tuple(outs) if several else outs[0]

    return call
