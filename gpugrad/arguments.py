"""Floor 6: arguments and answers of functions of functions: trees of Tensors, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import optree

from .core import Tensor
from .dtypes import is_inexact
from .ops.shape import reshape
from .tensor import tensor
from .vmap import is_integer

Argnums = int | Sequence[int]
SPACE = "gpugrad"


def flat(tree: Any) -> tuple[list[Any], Any]:
    return optree.tree_flatten(tree, namespace=SPACE)


def nested_like(tree: Any, leaves: Iterator[Any]) -> Any:
    """The next of `leaves`, nested like `tree`."""
    return optree.tree_map(lambda _: next(leaves), tree, namespace=SPACE)


def takes_function(name: str, f: Any, argnums: Any) -> None:
    """TypeError for what is no function, and for an argument of it in the place of `argnums`."""
    if not callable(f):
        raise TypeError(f"{name} takes a function, not {f!r:.60} of type {type(f).__name__}")
    places = argnums if isinstance(argnums, Sequence) else [argnums]
    if not all(map(is_integer, places)):
        raise TypeError(f"{name}: argnums is {argnums!r:.40}, no place of an argument; write gg.{name}(f)(x)")


def chosen(name: str, args: tuple, argnums: Argnums) -> tuple[list[int], bool]:
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


def own_tensors(name: str, args: tuple, places: list[int]) -> tuple[list[Any], list[Tensor]]:
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
        own[i] = optree.tree_map(new, args[i], namespace=SPACE)
    return own, mine


def tuples(name: str, *given: Any) -> None:
    if not all([isinstance(v, (tuple, list)) for v in given]):
        raise TypeError(f"{name}: primals and their directions are tuples: gg.{name}(f, (x,), (v,))")


def alike(name: str, what: str, given: Any, whose: str, of: Any) -> list[Tensor]:
    """The leaves of `given` as Tensors.  ValueError, if they are not nested and shaped as those of `of`."""
    vs, spec = flat(given)
    ts, wanted = flat(of)
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


def nothing_lost(name: str, outs: Sequence[Tensor], mine: Sequence[Tensor]) -> None:
    """TypeError for complex outputs of real arguments: a walk back would leave the imaginary part out."""
    if any([t.array.dtype.kind == "c" for t in outs]) and any([x.array.dtype.kind != "c" for x in mine]):
        raise TypeError(
            f"{name}: an argument is real and what the function answers complex, of whose derivative it would have the "
            "real part alone; take gg.real and gg.imag of the answer, or write gg.jacfwd"
        )


def split_aux(name: str, out: Any, has_aux: bool) -> tuple[Any, Any]:
    if not has_aux:
        return out, None
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"{name}: with has_aux the function answers (output, auxiliary data), not {type(out).__name__}")
    return out


def one_number(name: str, out: Any) -> Tensor:
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}: the function answers one scalar Tensor, not {out!r:.60} of type {type(out).__name__}")
    if out.array.size != 1:
        raise ValueError(
            f"{name}: the function answers a scalar, not shape {tuple(out.array.shape)}; sum it, or write gg.jacrev"
        )
    return out


def only_tensors(name: str, out: Any) -> tuple[list[Tensor], Any]:
    ts, spec = flat(out)
    for t in ts:
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}: the function answers Tensors, or a tree of them, not {t!r:.60}")
    return ts, spec


def off_tape(tree: Any, tape: Any) -> None:
    """What a function has answered, without its history on `tape`, which is over."""
    for t in flat(tree)[0]:
        if isinstance(t, Tensor) and t.node is not None and t.node.tape is tape:
            t.node = t.node.next
