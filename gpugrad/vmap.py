"""Floor 6: `vmap`: a function of one example, for many of them at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import optree

from .array import device_of, library
from .batching import Examples
from .core import Tensor, raw, wrap
from .generator import own as generator
from .ops.shape import concat, moveaxis
from .repeat import Run
from .tensor import tensor

TREES = {"none_is_leaf": True, "namespace": "gpugrad"}


def is_integer(v: Any) -> bool:
    """Whether v is an integer, Python's or NumPy's, and no bool."""
    return isinstance(v, (int, np.integer)) and not isinstance(v, bool)


def vmap(
    f: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0, chunk_size: int | None = None
) -> Callable[..., Any]:
    """`f`, a function of one example, as a function of many: each op runs once, on the arrays of all of them.

        per_example = gg.vmap(gg.grad(loss), in_axes=(None, 0, 0))(weights, x, y)

    in_axes      for each argument the axis along which the examples are, or None: the same for all; or one for all
                 arguments; for a tree of tensors, a tree that begins alike
    out_axes     where the answers have that axis: one, or a tree that begins like what f answers; None: one for all
    chunk_size   at most so many examples at once, for less memory

    Named arguments are the same for all, and so are random numbers that f draws, those of dropout too.
    Tapes inside and around, `gg.grad` and `vmap` itself may be combined.  f sees tensors of one example: what asks for
    a number, such as `if`, is a TypeError that names the line; write `gg.where`.

    ValueError for axes that are not there and for numbers of examples that differ; TypeError for answers that are no
    tensors.
    """
    if not callable(f):
        raise TypeError(f"vmap takes a function, not {type(f).__name__}")
    if isinstance(in_axes, Tensor) or (library(in_axes) is not None and not is_integer(in_axes)):
        raise TypeError(f"vmap: in_axes are integers and None, not {in_axes!r:.60}; write gg.vmap(f)(x)")
    if chunk_size is not None and (not is_integer(chunk_size) or chunk_size < 1):
        raise ValueError(f"vmap: chunk_size is a number of examples from 1 on, or None, not {chunk_size!r}")
    name = f"vmap({getattr(f, '__name__', type(f).__name__)})"

    @wraps(f)
    def call(*args: Any, **named: Any) -> Any:
        leaves, tree = optree.tree_flatten(args, **TREES)  # pyright: ignore[reportArgumentType]
        axes = _axes(name, in_axes, args, leaves)
        n = _number(name, leaves, axes)
        step = n if chunk_size is None else chunk_size
        if n <= step:
            return _run(name, f, leaves, tree, axes, out_axes, n, named)
        rows: list[Any] = []
        run = Run()
        for begin in range(0, n, step):
            part = slice(begin, min(begin + step, n))
            some = [x if a is None else x[(slice(None),) * a + (part,)] for x, a in zip(leaves, axes)]
            with run.again() if rows else run.follow(generator()):
                rows.append(_run(name, f, some, tree, axes, out_axes, part.stop - begin, named))
        flat = [optree.tree_flatten(r, **TREES) for r in rows]
        places = _prefix(name, "out_axes", out_axes, rows[0])
        joined = [p[0] if a is None else concat(list(p), a) for p, a in zip(zip(*[v for v, _ in flat]), places)]
        return optree.tree_unflatten(flat[0][1], joined)

    return call


def _run(name: str, f: Any, leaves: Any, tree: Any, axes: Any, out_axes: Any, n: int, named: dict[str, Any]) -> Any:
    level = Examples(name, n)
    first = next(x for x, a in zip(leaves, axes) if a is not None)
    level.device = device_of(raw(first))
    ins = [x if a is None else _inward(level, x, a) for x, a in zip(leaves, axes)]
    try:
        out = f(*optree.tree_unflatten(tree, ins), **named)
    finally:
        level.open = False
    found, shape = optree.tree_flatten(out, **TREES)
    places = _prefix(name, "out_axes", out_axes, out)
    return optree.tree_unflatten(shape, [_outward(level, t, a) for t, a in zip(found, places)])


def _inward(level: Examples, x: Tensor, axis: int) -> Tensor:
    x = moveaxis(x, axis, 0) if axis else x
    return wrap(level.batched(wrap(x.array, x.node)), None, x.kind)


def _outward(level: Examples, t: Any, axis: int | None) -> Tensor:
    """What f has answered, with the examples along `axis`."""
    if not isinstance(t, Tensor):
        if library(t) is None:
            raise TypeError(f"{level.name}: the function answers tensors, or trees of them, not {t!r:.60}")
        t = wrap(t)
    if axis is None and level.own(t.array):
        raise ValueError(f"{level.name}: out_axes is None for an answer that each example has one of; write its axis")
    v = level.outward(t, spread=axis is not None)
    if axis is None:
        return v
    rank = len(v.array.shape)
    if not -rank <= axis < rank:
        raise ValueError(f"{level.name}: out_axes has {axis}, and the answer has {rank} axes")
    return moveaxis(v, 0, axis) if axis else v


def _axes(name: str, in_axes: Any, args: tuple, leaves: list[Any]) -> list[int | None]:
    """The axis of each tensor among the arguments, from 0 on; makes tensors of the arrays that have one."""
    if isinstance(in_axes, (tuple, list)):
        if len(in_axes) != len(args):
            raise ValueError(f"{name}: in_axes {in_axes!r} are for {len(in_axes)} arguments, and {len(args)} are given")
        in_axes = tuple(in_axes)
    else:
        in_axes = (in_axes,) * len(args)
    axes = _prefix(name, "in_axes", in_axes, args)
    for i, (x, a) in enumerate(zip(leaves, axes)):
        if a is None:
            continue
        if not isinstance(x, Tensor):
            if library(x) is None:
                hint = "; gg.nn.stack_module_state makes tensors of modules" if hasattr(x, "named_parameters") else ""
                raise ValueError(f"{name}: {x!r:.60} has no axis {a}: in_axes must be None for what is no array{hint}")
            leaves[i] = x = tensor(x)
        rank = len(x.array.shape)
        if not -rank <= a < rank:
            raise ValueError(f"{name}: in_axes has {a}, and the argument has shape {tuple(x.array.shape)}")
        axes[i] = a % rank
    return axes


def _prefix(name: str, what: str, axes: Any, tree: Any) -> list[int | None]:
    """`axes`, a tree that begins like `tree`, for each leaf of that."""
    try:
        whole = optree.tree_broadcast_prefix(axes, optree.tree_map(lambda _: 0, tree, **TREES), **TREES)
    except (ValueError, TypeError):
        given = "the arguments are" if what == "in_axes" else "the function answers"
        nest = str(optree.tree_structure(tree, **TREES)).removeprefix("PyTreeSpec(").partition(", NoneIsLeaf")[0]
        raise ValueError(f"{name}: {what} {axes!r} do not fit: {given} nested as {nest:.200}") from None
    found = optree.tree_leaves(whole, **TREES)
    for a in found:
        if a is not None and not is_integer(a):
            raise TypeError(f"{name}: {what} are integers and None, not {a!r}")
    return found


def _number(name: str, leaves: list[Any], axes: list[int | None]) -> int:
    """How many examples there are."""
    sizes = [(tuple(x.array.shape), a, x.array.shape[a]) for x, a in zip(leaves, axes) if a is not None]
    if not sizes:
        raise ValueError(f"{name}: no argument has examples: in_axes is None for all")
    if len({n for *_, n in sizes}) > 1:
        said = ", ".join([f"{n} along axis {a} of shape {shape}" for shape, a, n in sizes])
        raise ValueError(f"{name}: the arguments have different numbers of examples: {said}")
    if not sizes[0][2]:
        raise ValueError(f"{name}: there are no examples: axis {sizes[0][1]} of shape {sizes[0][0]} has length 0")
    return sizes[0][2]
