"""Floor 6: functions with a gradient of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from inspect import Parameter as Argument, signature
from typing import Any

import optree

from .autograd import no_grad
from .core import Node, Tape, Tensor, raw, wrap
from .dtypes import is_inexact
from .levels import blank, innermost
from .ops.math import conj
from .ops.reduce import sum as total, unbroadcast
from .paths import PICK
from .recording import active, enter, record, replace, resume
from .tensor import tensor


def outward(g: Any, kind: type[Tensor]) -> Tensor:
    """A cotangent as users see it: the direction of steepest ascent; inside, nothing is conjugated."""
    g = conj(g) if g.dtype.kind == "c" else g
    return wrap(raw(g), g.node if isinstance(g, Tensor) else None, kind)


def answered(name: str, i: int, d: Any, x: Any) -> Any:
    """Gradient d, which a user's function has answered for its input i, x.  TypeError, ValueError for what is none."""
    if d is None:
        return None
    if not hasattr(d, "dtype"):
        raise TypeError(f"{name}: the gradient of input {i} is a Tensor, an array or None, not {d!r:.40}")
    own, shape = tuple(d.shape), tuple(getattr(x, "shape", ()))
    if own != shape and not all([m == n or 1 in (m, n) for m, n in zip(own[::-1], shape[::-1])]):
        raise ValueError(f"{name}: the gradient of input {i} has shape {own}, and the input {shape}")
    return d


def inward(d: Any) -> Any:
    """What users answer, as a cotangent."""
    d = wrap(d.array, d.node) if isinstance(d, Tensor) else d
    return conj(d) if d.dtype.kind == "c" else d


class CustomOp:
    """An op made for one call.  Its node saves `back(gs)`, which takes its outputs' cotangents to those of its inputs.

    In what that sees and answers, cotangents are Tensors and conjugated, as users write gradients.
    feeds   whether it is called as back(gs, the arrays that it reads)
    makers  of each array that it reads, the node that made it; True: the function itself; None: somebody gave it
    born    while it is recorded: what is told of its node before anybody asks for `joint`; else None
    push    takes the tangents of its inputs, some of them None, to those of its outputs; None: `back` is transposed
    """

    __slots__ = (
        "born", "feeds", "kind", "like", "makers", "materialize", "name", "order", "push", "quick", "saves", "several"
    )  # fmt: skip
    adds, outs, lean, joint_over = None, 0, None, None

    def __init__(
        self,
        name: str,
        inputs: int,
        out: Any,
        kind: type[Tensor],
        saves: bool = True,
        materialize: bool = True,
        feeds: bool = False,
        makers: Sequence[Any] = (),
    ) -> None:
        self.makers, self.feeds = makers, feeds
        self.born: Any = None
        self.push: Any = None
        self.name, self.kind, self.materialize = name, kind, materialize
        self.quick, self.saves, self.order = [(None, -1)] * inputs, saves, range(inputs)
        self.several = isinstance(out, tuple)
        self.like = [blank(o) for o in (out if self.several else (out,))]

    def __repr__(self) -> str:
        return f"<custom op {self.name}>"

    @property
    def joint(self) -> Callable[..., Any]:
        """The pullback of all inputs; made when it is asked for, since an op that held it would be a cycle."""
        return self._pull

    def keep(self, tracked: Any) -> Callable[[tuple], tuple]:
        return lambda values: (None,) * (len(self.quick) + 1) + values

    @property
    def whole(self) -> Callable[[tuple], tuple]:
        """`keep` where all inputs are tracked: the same."""
        return self.keep(())

    def _pull(self, g: Any, saved: tuple, shape: None) -> list[Any]:
        parts = [g.get(i) for i in range(len(self.like))] if self.several else [g]
        lift = any([isinstance(p, Tensor) for p in parts])
        back, *reads = saved[len(self.quick) + 1 :] if self.feeds else (saved[len(self.quick) + 1],)
        fed = (reads,) if self.feeds else ()
        gs = [self._zeros(like) if p is None else outward(p, self.kind) for p, like in zip(parts, self.like)]
        if lift:
            return [None if d is None else inward(d) for d in back(gs, *fed)]
        with no_grad():
            return [None if d is None else raw(inward(d)) for d in back(gs, *fed)]

    def _zeros(self, like: Callable[[], Any]) -> Tensor | None:
        return wrap(like(), None, self.kind) if self.materialize else None


def attach(
    name: str,
    outputs: Any,
    inputs: list[Any],
    back: Callable[..., Any],
    reads: list[Any] | None = None,
    materialize: bool = True,
    feeds: bool = False,
    makers: Sequence[Any] = (),
    born: Callable[[list[Tensor], Any], None] | None = None,
    push: Callable[[Sequence[Any]], Any] | None = None,
) -> Any:
    """`outputs`, a Tensor or a tuple of Tensors, as new Tensors whose gradient with respect to `inputs` is `back`.

    inputs       Tensors, or nodes of them

    back([cotangent of each output]) -> [cotangent or None for each input].
    reads        the arrays that back reads, where they are known: a change of them in place is an error, and where
                 there are none the history can be walked again
    materialize  whether the cotangent of an output that nobody used is zeros, or None
    feeds        whether back takes the arrays of `reads` as its second argument
    makers       of each of `reads`, the node that made it; True: the function itself; None: somebody gave it
    born         told of the new Tensors, and the node of the call, before back is called
    push         push([tangent or None of each input]) -> those of the outputs, for forward mode; None: back is
                 transposed
    Inside `vmap` it is one function of all examples to what is open around, and `back` runs for all of them at once.
    """
    several = isinstance(outputs, tuple)
    outs = list(outputs) if several else [outputs]
    level: Any = innermost([x for x in (*outs, *inputs) if not isinstance(x, Node)])
    if level is None:
        found = _recorded(name, outs, several, inputs, back, reads, materialize, feeds, makers, born, push)
        return tuple(found) if several else found[0]
    level.check()
    ins = [level.lifted(x) for x in inputs]
    new = _all_examples(level, name, outs, ins, back, materialize, born)
    now = {id(o.array): t.array for o, t in zip(outs, new)}
    reads = None if reads is None else [now.get(id(a), a) for a in reads]
    with resume(level.inside(active())):
        found = _recorded(name, new, several, ins, back, reads, materialize, feeds, makers, born, push)
    return tuple(found) if several else found[0]


def _recorded(
    name: str,
    outs: list[Tensor],
    several: bool,
    inputs: list[Any],
    back: Callable[..., Any],
    reads: list[Any] | None,
    materialize: bool,
    feeds: bool,
    makers: Sequence[Any],
    born: Callable[[list[Tensor], Any], None] | None,
    push: Callable[[Sequence[Any]], Any] | None,
) -> list[Tensor]:
    kind, arrays = outs[0].kind, [o.array for o in outs]
    heads = [x if isinstance(x, Node) else _head(x) for x in inputs]
    if not any([h is not None for h in heads]):
        return [wrap(a, None, kind) for a in arrays]
    out = tuple(arrays) if several else arrays[0]
    op = CustomOp(name, len(inputs), out, kind, feeds or reads is None or bool(reads), materialize, feeds, makers)
    op.push, op.born = push, None if born is None else lambda head: born(_parts(arrays, several, head, kind), head)
    t = record(op, out, (back, *(reads or ())), heads, kind)
    op.born = None  # which held the outputs
    if t.node is None:
        return [wrap(a, None, kind) for a in arrays]
    found = _parts(arrays, several, t.node, kind) if several else [t]
    if born is not None:
        born(found, t.node)
    return found


def _parts(arrays: list[Any], several: bool, head: Node, kind: type[Tensor]) -> list[Tensor]:
    """The outputs of the function that `head` is the node of."""
    if not several:
        return [wrap(arrays[0], head, kind)]
    return [record(PICK, a, (None, None, i, None), (head,), kind) for i, a in enumerate(arrays)]


def _all_examples(
    level: Any,
    name: str,
    outs: list[Tensor],
    ins: list[Any],
    back: Callable[..., Any],
    materialize: bool,
    born: Callable[[list[Tensor], Any], None] | None,
) -> list[Tensor]:
    """`outs`, values of `level`, whose values are attached to those of `ins` around it: one call for all examples."""
    inside = lambda t: wrap(level.batched(wrap(t.array, t.node)), None, outs[0].kind)

    def all_back(gs: list[Any]) -> list[Any]:
        with level.again():
            ds = back([None if g is None else inside(g) for g in gs])
            return [None if d is None else _all_of(level, d, x) for d, x in zip(ds, ins, strict=True)]

    with resume(level.outside(active())):
        values = tuple([level.outward(o) for o in outs])
        sources = [_value(x) for x in ins]
        told = None if born is None else lambda ts, head: born([inside(t) for t in ts], head)
        new = attach(name, values, sources, all_back, None, materialize, born=told)
    return [inside(t) for t in new]


def _value(x: Any) -> Any:
    """What stands for x, a value of a level, around it; a node is that of one for all examples."""
    if isinstance(x, Node):
        return x
    v = x.array.value
    return v if isinstance(v, Tensor) else wrap(v)


def _all_of(level: Any, d: Any, x: Any) -> Tensor:
    """What back answered for x, around the level: of all examples, or their sum where x is the same for all."""
    d = d if isinstance(d, Tensor) else wrap(d)
    if isinstance(x, Node):
        return total(level.outward(d), axis=0)
    b = x.array
    d = unbroadcast(d, b.shape) if d.array.shape != b.shape else d
    whole = level.outward(d)
    return whole if b.each else total(whole, axis=0)


def _head(x: Any) -> Node | None:
    return x.node if isinstance(x, Tensor) and is_inexact(x.array.dtype) else None


def _attach_nested(name: str, outputs: Any, inputs: list[Any], back: Callable[..., Any]) -> Any:
    flat, spec = optree.tree_flatten(outputs, namespace="gpugrad")
    flat = [o if isinstance(o, Tensor) else tensor(o) for o in flat]
    if len(flat) == 1:
        return spec.unflatten([attach(name, flat[0], inputs, back)])
    return spec.unflatten(attach(name, tuple(flat), inputs, back))


def _reading(f: Callable[..., Any], args: tuple, kw: dict[str, Any]) -> tuple[Any, list[Tensor]]:
    """(what f answers, the trainable leaves that it read, its arguments apart)."""
    probe = Tape(set(), True, silent=True)
    enter(probe)
    try:
        out = f(*args, **kw)
    finally:
        replace(probe)
    given = {id(a) for a in optree.tree_leaves(args, namespace="gpugrad")}  # type: ignore[arg-type]
    leaves = [n.saved() for n in sorted(probe.watched, key=lambda n: n.seq)]
    return out, [v for v in leaves if v is not None and id(v) not in given]


# ---------------------------------------------------------------------------------------------- in one function
def custom_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f(*tensors)` answers (outputs, grad_fn); `grad_fn(*cotangents)` answers the gradient of each tensor.

        @gg.custom_gradient
        def log1pexp(x):
            e = gg.exp(x)
            return gg.log(1 + e), lambda g: g * (1 - 1 / (1 + e))

    Where f reads trainable variables, grad_fn takes `variables=` and answers (gradients of the tensors, gradients of
    the variables).  Other tensors that f closes over are constants to it.  What grad_fn computes is recorded by outer
    tapes, so higher orders work; forward mode transposes grad_fn, and `vmap` runs it for all examples at once.
    ValueError for a wrong number of gradients; TypeError where f reads variables and grad_fn does not take them.
    """

    @wraps(f)
    def call(*args: Any, **kw: Any) -> Any:
        found, variables = _reading(f, args, kw)
        if not isinstance(found, (tuple, list)) or len(found) != 2 or not callable(found[1]):
            raise TypeError(
                f"custom_gradient: {f.__name__} answers (outputs, the function from their gradients to those of the "
                f"inputs), not {found!r:.60}"
            )
        outputs, grad_fn = found
        takes = signature(grad_fn).parameters
        if variables and "variables" not in takes and all(p.kind is not Argument.VAR_KEYWORD for p in takes.values()):
            raise TypeError(
                "@tf.custom_gradient grad_fn must accept keyword argument 'variables', since function uses variables: "
                f"{variables}. Write def grad(g, variables=None), and return (gradients, [one for each variable])."
            )
        given: list[Any] = optree.tree_leaves(args, namespace="gpugrad")  # type: ignore[arg-type]
        tensors = [a for a in given if isinstance(a, Tensor)]

        def back(gs: list[Any]) -> list[Any]:
            answer = grad_fn(*gs, variables=variables) if variables else grad_fn(*gs)
            more: list[Any] = []
            if variables:
                answer, more = answer
                if len(more) != len(variables):
                    raise ValueError(
                        f"Must return gradient for each variable from @custom_gradient grad_fn: {len(variables)} "
                        f"variables, {len(more)} gradients."
                    )
            grads = list(answer) if isinstance(answer, (list, tuple)) else [answer]
            if len(grads) == len(given):  # one for every argument, numbers too
                grads = [g for g, a in zip(grads, given) if isinstance(a, Tensor)]
            if len(grads) != len(tensors):
                raise ValueError(
                    f"custom_gradient function expected to return {len(tensors)} gradients, but returned {len(grads)} "
                    "instead. Return one for each tensor argument, None where there is none."
                )
            whole = zip([*grads, *more], [*tensors, *variables], strict=True)
            return [answered(f.__name__, i, g, x) for i, (g, x) in enumerate(whole)]

        return _attach_nested(f.__name__, outputs, [*tensors, *variables], back)

    return call


def grad_pass_through(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f`, through which gradients go as if it were the identity of its first argument."""

    @wraps(f)
    def call(x: Any, *args: Any, **kw: Any) -> Any:
        with no_grad():
            out = f(x, *args, **kw)
        return attach(f.__name__, out, [x], lambda gs: gs)

    return call
