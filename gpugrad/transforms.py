"""Floor 6: derivatives of functions as functions: `grad`, `vjp`, `jvp`, Jacobians, Hessians and products with them.

Each takes a function of trees of Tensors and answers a function, or what that answers.  They may be combined with each
other, with tapes, accumulators and `vmap`: nothing is hidden from what is around.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial, wraps
from itertools import count
from typing import Any

import optree

from . import autograd
from .arguments import (
    SPACE,
    Argnums,
    alike,
    chosen,
    flat,
    nested_like,
    nothing_lost,
    off_tape,
    one_number,
    only_tensors,
    own_tensors,
    split_aux,
    takes_function,
    tuples,
)
from .array import xp
from .core import Tape, Tensor, wrap
from .forward_mode import ForwardAccumulator
from .generator import own as generator
from .jacobian import checked, chunk, units, whole
from .ops.shape import moveaxis, reshape
from .recording import AMBIENT, active, scope
from .repeat import Run
from .tape import GradientTape
from .tensor import tensor
from .vmap import vmap


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
    takes_function(name, f, argnums)

    @wraps(f)
    def call(*args: Any, **named: Any) -> Any:
        places, one = chosen(name, args, argnums)
        own, mine = own_tensors(name, args, places)
        with _Within() as tape:
            tape.watch(mine)
            within = tape._tape
            whole = f(*own, **named)
            out, aux = split_aux(name, whole, has_aux)
            nothing_lost(name, [one_number(name, out)], mine)
        grads = iter(tape.gradient(out, mine, unconnected_gradients="zero"))
        off_tape(whole, within)
        found = [nested_like(own[i], grads) for i in places]
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
    own, mine = own_tensors("vjp", primals, list(range(len(primals))))
    with _Within(True) as tape:
        tape.watch(mine)
        within: Any = tape._tape
        out, aux = split_aux("vjp", f(*own), has_aux)
        ts, spec = only_tensors("vjp", out)

    def pull(cotangents: Any) -> tuple[Any, ...]:
        seeds = alike("vjp", "cotangent", cotangents, "output", optree.tree_unflatten(spec, ts))
        found = iter(tape.gradient(ts, mine, seeds, unconnected_gradients="zero"))
        return tuple([nested_like(x, found) for x in own])

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
    tuples(name, primals, tangents)
    own, mine = own_tensors(name, tuple(primals), list(range(len(primals))))
    given = alike(name, "tangent", tuple(tangents), "primal", tuple(primals))
    with ForwardAccumulator(mine, given) as acc:
        out, aux = split_aux(name, f(*own), has_aux)
        only_tensors(name, out)
    found = acc.jvp(out, unconnected_gradients="zero")
    off_tape((out, aux), acc._tape)
    return (out, found, aux) if has_aux else (out, found)


def linearize(f: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """(f(*primals), the function that takes tangents of the primals to that of the output).

    It is linear, and f is not run again: the tape of f is walked back twice for each call.
    """
    out, pull = vjp(f, *primals)
    zeros = optree.tree_map(lambda t: wrap(xp(t.array).zeros_like(t.array), None, t.kind), out, namespace=SPACE)
    _, push = vjp(pull, zeros)

    def call(*tangents: Any) -> Any:
        alike("linearize", "tangent", tangents, "primal", primals)
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
    takes_function("jacrev", f, argnums)

    @wraps(f)
    def call(*args: Any, **named: Any) -> Any:
        places, one = chosen("jacrev", args, argnums)
        own, mine = own_tensors("jacrev", args, places)
        with _Within(True) as tape:
            tape.watch(mine)
            within = tape._tape
            out, aux = split_aux("jacrev", f(*own, **named), has_aux)
            ts, spec = only_tensors("jacrev", out)
            if any([t.array.dtype.kind == "c" for t in ts]):
                told = "jacrev: the function answers complex numbers, of whose derivative a walk back has one half"
                raise TypeError(f"{told}: write gg.jacfwd, or answer gg.real and gg.imag")
        rows = []
        for t in ts:
            found = iter(tape._jacobian(t, mine, True, chunk(t, within, chunk_size, max_bytes)))
            trees = [nested_like(own[i], found) for i in places]
            rows.append(trees[0] if one else tuple(trees))
        off_tape(aux, within)
        result = optree.tree_unflatten(spec, rows)
        return (result, aux) if has_aux else result

    return call


def jacfwd(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    *,
    chunk_size: int | None = None,
    max_bytes: int | None = None,
) -> Callable[..., Any]:
    """The Jacobian of f by forward mode, for many elements of the argument at once: for more outputs than inputs.

    Nested and shaped as by `jacrev`.  Of a complex argument it is that along the real part: f' of a holomorphic f.
    chunk_size, max_bytes   as of `jacrev`, of elements of the argument; default: all at once.  With max_bytes f runs
                            once more, to know what one takes
    """
    takes_function("jacfwd", f, argnums)

    @wraps(f)
    def call(*args: Any, **named: Any) -> Any:
        checked(chunk_size, max_bytes)
        places, one = chosen("jacfwd", args, argnums)
        leaves, spec = flat([args[i] for i in places])
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

        most, run, runs = None if chunk_size is None else int(chunk_size), Run(), count()
        same = lambda: run.again() if next(runs) else run.follow(generator())  # one f: the same random numbers
        again = nullcontext if most is max_bytes is None and len(leaves) == 1 else same
        if most is None and max_bytes is not None:
            with again():
                most = _directions(of, leaves, has_aux, max_bytes)
        columns = [_columns(partial(along, at), x, most, again) for at, x in enumerate(leaves)]
        shapes = [tuple(x.array.shape) for x in leaves]
        flats = [flat(c) for c in columns]
        rows = []
        for k in range(len(flats[0][0])):
            parts = [reshape(c[k], (*c[k].array.shape[:-1], *s)) for (c, _), s in zip(flats, shapes)]
            trees = optree.tree_unflatten(spec, parts)
            rows.append(trees[0] if one else tuple(trees))
        result = optree.tree_unflatten(flats[0][1], rows)
        return (result, kept[0]) if has_aux else result

    return call


def _directions(of: Callable[..., Any], leaves: list[Tensor], has_aux: bool, max_bytes: int | None) -> int:
    """How many directions at once fit: a tangent waits where a cotangent would, on a walk back."""
    with _Within() as tape:
        mine = [reshape(x, x.array.shape) for x in leaves]
        tape.watch(mine)
        ts, _ = only_tensors("jacfwd", split_aux("jacfwd", of(*mine), has_aux)[0])
        n = max([x.array.size for x in leaves])
        return min([chunk(t, tape._tape, None, max_bytes, n) for t in ts], default=n)


def _columns(along: Callable[[Tensor], Any], x: Tensor, most: int | None, again: Callable[[], Any]) -> Any:
    """What `along` makes of each direction of x, along a last axis; of as many at once as `most` says."""
    trees: list[Any] = []

    def some(lo: int, hi: int) -> list[Tensor]:
        with again():
            found, tree = flat(vmap(along)(wrap(units(x.array, lo, hi), None, x.kind)))
        trees.append(tree)
        return found

    n = x.array.size
    if n:
        found = whole(some, n, n if most is None else most, 0)
        return optree.tree_unflatten(trees[0], [moveaxis(wrap(t.array, t.node, x.kind), 0, -1) for t in found])
    none = lambda t: wrap(xp(t.array).zeros((*t.array.shape, 0), t.array.dtype), None, t.kind)
    return optree.tree_map(none, along(x), namespace=SPACE)


def hessian(
    f: Callable[..., Any], argnums: Argnums = 0, *, chunk_size: int | None = None, max_bytes: int | None = None
) -> Callable[..., Any]:
    """The second derivatives, the Jacobian of the Jacobian: nested like the output, then like the argument twice."""
    takes_function("hessian", f, argnums)
    return jacrev(jacrev(f, argnums), argnums, chunk_size=chunk_size, max_bytes=max_bytes)


def hvp(f: Callable[..., Any], primals: Any, tangents: Any) -> Any:
    """The Hessian of a scalar function times `tangents`, as tuples; forward over reverse: a gradient's tangent."""
    tuples("hvp", primals, tangents)
    return _jvp("hvp", _slope("hvp", f, range(len(primals))), primals, tangents)[1]


def vhp(f: Callable[..., Any], primals: Any, cotangents: Any) -> Any:
    """`cotangents` times the Hessian of a scalar function, reverse over reverse; the same as `hvp`, by a tape."""
    tuples("vhp", primals, cotangents)
    alike("vhp", "cotangent", tuple(cotangents), "primal", tuple(primals))
    _, pull = vjp(_slope("vhp", f, range(len(primals))), *primals)
    return pull(tuple(cotangents))
