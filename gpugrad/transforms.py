"""Floor 6: derivatives of functions as functions: `grad`, `vjp`, `jvp`, Jacobians, Hessians and products with them.

Each takes a function of trees of Tensors and answers a function, or what that answers.  They may be combined with each
other, with tapes, accumulators and `vmap`: nothing is hidden from what is around.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial, wraps
from typing import Any

import numpy as np
import optree

from . import autograd
from .array import xp
from .core import Tape, Tensor, wrap
from .dtypes import is_inexact
from .forward_mode import ForwardAccumulator
from .generator import own as generator
from .jacobian import chunk, units
from .ops.shape import reshape
from .recording import AMBIENT, active, scope
from .repeat import Run
from .tape import GradientTape
from .tensor import tensor
from .vmap import is_integer, vmap

Argnums = int | Sequence[int]
_SPACE = "gpugrad"


# ---------------------------------------------------------------------------------------------- arguments
def _flat(tree: Any) -> tuple[list[Any], Any]:
    return optree.tree_flatten(tree, namespace=_SPACE)


def _like(tree: Any, leaves: Iterator[Any]) -> Any:
    """The next of `leaves`, nested like `tree`."""
    return optree.tree_map(lambda _: next(leaves), tree, namespace=_SPACE)


def _makes(name: str, f: Any, argnums: Any) -> None:
    """TypeError for what is no function, and for an argument of it in the place of `argnums`."""
    if not callable(f):
        raise TypeError(f"{name} takes a function, not {f!r:.60} of type {type(f).__name__}")
    places = argnums if isinstance(argnums, Sequence) else [argnums]
    if not all(map(is_integer, places)):
        raise TypeError(f"{name}: argnums is {argnums!r:.40}, no place of an argument; write gg.{name}(f)(x)")


def _chosen(name: str, args: tuple, argnums: Argnums) -> tuple[list[int], bool]:
    """(the places of the arguments that derivatives are for, whether one was asked for).  ValueError for others."""
    one = not isinstance(argnums, Sequence)
    places: list[Any] = [argnums] if one else [*argnums]
    for i in places:
        if not -len(args) <= i < len(args):
            raise ValueError(f"{name}: argnums is {argnums!r}, and {len(args)} arguments are given, from 0 on")
    places = [int(i) % len(args) for i in places]
    if len({*places}) < len(places):
        raise ValueError(f"{name}: argnums is {argnums!r}, which has an argument twice")
    return places, one


def _own(name: str, args: tuple, places: list[int]) -> tuple[list[Any], list[Tensor]]:
    """(the arguments, with Tensors of their own in those places; these Tensors).

    They have the history of what was given, and are not it: a function may also close over that.
    """
    mine: list[Tensor] = []

    def new(x: Any) -> Tensor:
        t = x if isinstance(x, Tensor) else tensor(x)
        if not is_inexact(t.array.dtype):
            raise TypeError(f"{name}: an argument is {t.array.dtype}, which has no derivative; make it a float first")
        mine.append(reshape(t, t.array.shape))
        return mine[-1]

    own = list(args)
    for i in places:
        own[i] = optree.tree_map(new, args[i], namespace=_SPACE)
    return own, mine


def _tuples(name: str, *given: Any) -> None:
    if not all([isinstance(v, (tuple, list)) for v in given]):
        raise TypeError(f"{name}: primals and their directions are tuples: gg.{name}(f, (x,), (v,))")


def _alike(name: str, what: str, given: Any, whose: str, of: Any) -> list[Tensor]:
    """The leaves of `given` as Tensors.  ValueError, if they are not nested and shaped as those of `of`."""
    vs, spec = _flat(given)
    ts, wanted = _flat(of)
    if spec != wanted:
        raise ValueError(f"{name}: the {what}s are {spec}, the {whose}s {wanted}; nest them alike")
    vs = [v if isinstance(v, Tensor) else tensor(v) for v in vs]
    for v, t in zip(vs, ts):
        a, b = v.array, t.array if isinstance(t, Tensor) else np.asarray(t)
        if a.shape != b.shape:
            raise ValueError(f"{name}: a {what} has shape {tuple(a.shape)}, and its {whose} {tuple(b.shape)}")
        if a.dtype.kind == "c" != b.dtype.kind:
            raise ValueError(f"{name}: a {what} is {a.dtype}, and its {whose} {b.dtype}")
    return vs


def _kept(name: str, outs: Sequence[Tensor], mine: Sequence[Tensor]) -> None:
    """TypeError for complex outputs of real arguments: a walk back would leave the imaginary part out."""
    if any([t.array.dtype.kind == "c" for t in outs]) and any([x.array.dtype.kind != "c" for x in mine]):
        raise TypeError(
            f"{name}: an argument is real and what the function answers complex, of whose derivative it would have the "
            "real part alone; take gg.real and gg.imag of the answer, or write gg.jacfwd"
        )


def _split(name: str, out: Any, has_aux: bool) -> tuple[Any, Any]:
    if not has_aux:
        return out, None
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"{name}: with has_aux the function answers (output, auxiliary data), not {type(out).__name__}")
    return out


def _scalar(name: str, out: Any) -> Tensor:
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}: the function answers one scalar Tensor, not {out!r:.60} of type {type(out).__name__}")
    if out.array.size != 1:
        raise ValueError(
            f"{name}: the function answers a scalar, not shape {tuple(out.array.shape)}; sum it, or write gg.jacrev"
        )
    return out


def _tensors(name: str, out: Any) -> tuple[list[Tensor], Any]:
    ts, spec = _flat(out)
    for t in ts:
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}: the function answers Tensors, or a tree of them, not {t!r:.60}")
    return ts, spec


def _left(tree: Any, tape: Any) -> None:
    """What a function has answered, without its history on `tape`, which is over."""
    for t in _flat(tree)[0]:
        if isinstance(t, Tensor) and t.node is not None and t.node.tape is tape:
            t.node = t.node.next


# ---------------------------------------------------------------------------------------------- reverse
class _Within(GradientTape):
    """A tape that the graph of tensors records beside, so that what is found has its history there, too."""

    def __init__(self, persistent: bool = False) -> None:
        super().__init__(persistent, watch_accessed_variables=False)

    def _new(self) -> Tape:
        tape = super()._new()
        tape.beside = AMBIENT in active().tapes
        return tape


def value_and_grad(f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that answers (f(*args), its gradient with respect to the arguments `argnums`).

    f         answers a scalar; with `has_aux` (scalar, anything)
    argnums   the place of an argument, or several: the gradient is a tuple then.  An argument may be a tree of Tensors
    The gradient has the tree, shapes and dtypes of the argument, and zeros where f does not depend on it: variables
    that f reads itself, as a model does, are no arguments.
    With `has_aux` the function answers ((scalar, anything), gradient).
    ValueError for what is no scalar; TypeError for arguments that are integers.
    """
    return _both("value_and_grad", f, argnums, has_aux)


def _both(name: str, f: Callable[..., Any], argnums: Argnums, has_aux: bool = False) -> Callable[..., Any]:
    _makes(name, f, argnums)

    @wraps(f)
    def call(*args: Any, **named: Any) -> Any:
        places, one = _chosen(name, args, argnums)
        own, mine = _own(name, args, places)
        with _Within() as tape:
            tape.watch(mine)
            within = tape._tape
            whole = f(*own, **named)
            out, aux = _split(name, whole, has_aux)
            _kept(name, [_scalar(name, out)], mine)
        grads = iter(tape.gradient(out, mine, unconnected_gradients="zero"))
        _left(whole, within)
        found = [_like(own[i], grads) for i in places]
        value = (out, aux) if has_aux else out
        return value, (found[0] if one else tuple(found))

    return call


def grad(f: Any, *args: Any, **options: Any) -> Any:
    """The gradient, of a function or of Tensors.

        gg.grad(f, argnums=0, has_aux=False)  # a function: the gradient of f
        gg.grad(outputs, inputs, grad_outputs=None, ...)  # a tuple: PyTorch's torch.autograd.grad

    f is as `value_and_grad` has it; with `has_aux` the answer is (gradient, what f answered beside the scalar).
    Of Tensors: grad_outputs, retain_graph, create_graph, allow_unused, materialize_grads as PyTorch's.
    """
    if isinstance(f, Tensor) or not callable(f):
        return autograd.grad(f, *args, **options)
    return _slope("grad", f, *args, **options)


def _slope(name: str, f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    both = _both(name, f, argnums, has_aux)

    @wraps(f)
    def call(*args: Any, **named: Any) -> Any:
        value, found = both(*args, **named)
        return (found, value[1]) if has_aux else found

    return call


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(f(*primals), the function that takes a cotangent of that to those of the primals), and what else f answered.

    The function takes the tree that f answered, and answers a tuple, one for each primal; it may be called again.
    """
    own, mine = _own("vjp", primals, list(range(len(primals))))
    with _Within(True) as tape:
        tape.watch(mine)
        within: Any = tape._tape
        out, aux = _split("vjp", f(*own), has_aux)
        ts, spec = _tensors("vjp", out)

    def pull(cotangents: Any) -> tuple[Any, ...]:
        seeds = _alike("vjp", "cotangent", cotangents, "output", optree.tree_unflatten(spec, ts))
        found = iter(tape.gradient(ts, mine, seeds, unconnected_gradients="zero"))
        return tuple([_like(x, found) for x in own])

    with scope(False, within):
        out = optree.tree_unflatten(spec, [reshape(t, t.array.shape) for t in ts])  # apart from what pull holds
    return (out, pull, aux) if has_aux else (out, pull)


# ---------------------------------------------------------------------------------------------- forward
def jvp(f: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False) -> Any:
    """(f(*primals), its derivative in the direction of `tangents`), and what else f answered.

    primals, tangents   tuples of the same trees, shapes and dtypes
    The derivative has the tree that f answered, and zeros where that does not depend on the primals.
    """
    return _jvp("jvp", f, primals, tangents, has_aux)


def _jvp(name: str, f: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False) -> Any:
    _tuples(name, primals, tangents)
    own, mine = _own(name, tuple(primals), list(range(len(primals))))
    given = _alike(name, "tangent", tuple(tangents), "primal", tuple(primals))
    with ForwardAccumulator(mine, given) as acc:
        out, aux = _split(name, f(*own), has_aux)
        _tensors(name, out)
    found = acc.jvp(out, unconnected_gradients="zero")
    _left((out, aux), acc._tape)
    return (out, found, aux) if has_aux else (out, found)


def linearize(f: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """(f(*primals), the function that takes tangents of the primals to that of the output).

    It is linear, and f is not run again: the tape of f is walked back twice for each call.
    """
    out, pull = vjp(f, *primals)
    zeros = optree.tree_map(lambda t: wrap(xp(t.array).zeros_like(t.array), None, t.kind), out, namespace=_SPACE)
    _, push = vjp(pull, zeros)

    def call(*tangents: Any) -> Any:
        _alike("linearize", "tangent", tangents, "primal", primals)
        return push(tangents)[0]

    return out, call


# ---------------------------------------------------------------------------------------------- Jacobians
def jacrev(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    *,
    chunk_size: int | None = None,
    max_bytes: int | None = None,
) -> Callable[..., Any]:
    """The Jacobian of f by walks back, for many elements of the output at once.

    For each Tensor of the output, and each of the argument, an array of both shapes; nested in this order.
    chunk_size   so many elements of the output at once
    max_bytes    the memory that one chunk may take beside the result; default: a share of what is free
    Of a complex argument a row is the gradient of the output's element, the direction of steepest ascent.
    ValueError where not even one element fits, with what it takes; TypeError for complex outputs.
    """
    _makes("jacrev", f, argnums)

    @wraps(f)
    def call(*args: Any, **named: Any) -> Any:
        places, one = _chosen("jacrev", args, argnums)
        own, mine = _own("jacrev", args, places)
        with _Within(True) as tape:
            tape.watch(mine)
            within = tape._tape
            out, aux = _split("jacrev", f(*own, **named), has_aux)
            ts, spec = _tensors("jacrev", out)
            if any([t.array.dtype.kind == "c" for t in ts]):
                told = "jacrev: the function answers complex numbers, of whose derivative a walk back has one half"
                raise TypeError(f"{told}: write gg.jacfwd, or answer gg.real and gg.imag")
        rows = []
        for t in ts:
            found = iter(tape._jacobian(t, mine, True, chunk(t, within, chunk_size, max_bytes)))
            trees = [_like(own[i], found) for i in places]
            rows.append(trees[0] if one else tuple(trees))
        _left(aux, within)
        result = optree.tree_unflatten(spec, rows)
        return (result, aux) if has_aux else result

    return call


def jacfwd(
    f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False, *, chunk_size: int | None = None
) -> Callable[..., Any]:
    """The Jacobian of f by forward mode, for many elements of the argument at once: for more outputs than inputs.

    Nested and shaped as by `jacrev`.  Of a complex argument it is that along the real part: f' of a holomorphic f.
    """
    _makes("jacfwd", f, argnums)

    @wraps(f)
    def call(*args: Any, **named: Any) -> Any:
        places, one = _chosen("jacfwd", args, argnums)
        leaves, spec = _flat([args[i] for i in places])
        if not leaves:
            return jacrev(f, argnums, has_aux)(*args, **named)
        leaves = [x if isinstance(x, Tensor) else tensor(x) for x in leaves]
        zeros = [wrap(xp(x.array).zeros_like(x.array), None, x.kind) for x in leaves]
        kept: list[Any] = []

        def of(*given: Any) -> Any:
            own = list(args)
            for i, tree in zip(places, optree.tree_unflatten(spec, list(given))):
                own[i] = tree
            return f(*own, **named)

        def along(at: int, v: Tensor) -> Any:
            _, found, *kept[:] = _jvp("jacfwd", of, tuple(leaves), (*zeros[:at], v, *zeros[at + 1 :]), has_aux)
            return found

        columns = []
        run = Run()  # of one f: each leaf draws the same random numbers
        for at, x in enumerate(leaves):
            with run.again() if at else run.follow(generator()) if len(leaves) > 1 else nullcontext():
                columns.append(_columns(partial(along, at), x, chunk_size))
        shapes = [tuple(x.array.shape) for x in leaves]
        flats = [_flat(c) for c in columns]
        rows = []
        for k in range(len(flats[0][0])):
            parts = [reshape(c[k], (*c[k].array.shape[:-1], *s)) for (c, _), s in zip(flats, shapes)]
            trees = optree.tree_unflatten(spec, parts)
            rows.append(trees[0] if one else tuple(trees))
        result = optree.tree_unflatten(flats[0][1], rows)
        return (result, kept[0]) if has_aux else result

    return call


def _columns(along: Callable[[Tensor], Any], x: Tensor, chunk_size: int | None) -> Any:
    """What `along` makes of each direction of x, along a last axis."""
    if x.array.size:
        return vmap(along, out_axes=-1, chunk_size=chunk_size)(wrap(units(x.array), None, x.kind))
    none = lambda t: wrap(xp(t.array).zeros((*t.array.shape, 0), t.array.dtype), None, t.kind)
    return optree.tree_map(none, along(x), namespace=_SPACE)


def hessian(
    f: Callable[..., Any], argnums: Argnums = 0, *, chunk_size: int | None = None, max_bytes: int | None = None
) -> Callable[..., Any]:
    """The second derivatives, the Jacobian of the Jacobian: nested like the output, then like the argument twice."""
    _makes("hessian", f, argnums)
    return jacrev(jacrev(f, argnums), argnums, chunk_size=chunk_size, max_bytes=max_bytes)


def hvp(f: Callable[..., Any], primals: Any, tangents: Any) -> Any:
    """The Hessian of a scalar function times `tangents`, as tuples; forward over reverse: a gradient's tangent."""
    _tuples("hvp", primals, tangents)
    return _jvp("hvp", _slope("hvp", f, range(len(primals))), primals, tangents)[1]


def vhp(f: Callable[..., Any], primals: Any, cotangents: Any) -> Any:
    """`cotangents` times the Hessian of a scalar function, reverse over reverse; the same as `hvp`, by a tape."""
    _tuples("vhp", primals, cotangents)
    _alike("vhp", "cotangent", tuple(cotangents), "primal", tuple(primals))
    _, pull = vjp(_slope("vhp", f, range(len(primals))), *primals)
    return pull(tuple(cotangents))
