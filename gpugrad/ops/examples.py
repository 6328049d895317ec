"""How ops run on the arrays of all examples of a `vmap`, which are along axis 0: see gpugrad/batching.py."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..array import library, xp as xp_of
from ..core import raw
from .places import parts
from .shape import aligned, broadcast_to, inverse, matrix_transpose, moveaxis, permute_dims, reshape


def for_each(x: Any, n: int) -> Any:
    """x, the same for all n examples, with an axis for them."""
    return broadcast_to(x, shape=(n, *raw(x).shape))


def join(x: Any, axis: int = 0) -> Any:
    """x of all examples, with these along `axis` of an example, one after the other."""
    shape = list(raw(x).shape)
    x = moveaxis(x, 0, axis) if axis else x
    return reshape(x, (*shape[1 : axis + 1], shape[0] * shape[axis + 1], *shape[axis + 2 :]))


def part(x: Any, n: int, axis: int = 0) -> Any:
    """What `join` makes of n examples, with their own axis again, the first."""
    shape = raw(x).shape
    x = reshape(x, (*shape[:axis], n, shape[axis] // n, *shape[axis + 1 :]))
    return moveaxis(x, axis, 0) if axis else x


def own(x: Any, each: bool, n: int) -> Any:
    """x with an axis for n examples, which it has already, where it is `each`; None and numbers as they are."""
    return x if each or not hasattr(raw(x), "shape") else for_each(x, n)


def product_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    """Products of matrices.  One matrix for all, times a column of each example, is one product of many rows."""
    x, y = xs
    a, b = raw(x), raw(y)
    if each == [False, True] and a.ndim == 2 and b.ndim == 3 and b.shape[-1] == 1:
        out, *_ = call(reshape(y, b.shape[:2]), matrix_transpose(x))
        return (reshape(out, (*out.shape, 1)),)
    rank = max(a.ndim - each[0], b.ndim - each[1])
    return call(*[aligned(v, rank) if e else v for v, e in zip(xs, each)])


# ---------------------------------------------------------------------------------------------- convolution
def _beside(x: Any, each: bool, level: Any, axis: int) -> Any:
    """x of all examples beside each other: along axis 1, channels; of weights along axis 0."""
    return join(own(x, each, level.n), axis)


def _groups(x: Any, each: bool, groups: int, level: Any) -> tuple[Any, int]:
    """(channels of all examples, in how many groups); those that are the same for all, in one group, once."""
    return (x, 1) if groups == 1 and not each else (_beside(x, each, level, 1), groups * level.n)


def conv_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    """Images of all examples are one batch; with weights of each example's own, examples are groups of channels."""
    x, w, bias = xs
    if not (each[1] or each[2]):
        found = call(join(x), w, bias, **static)
        return tuple([part(v, level.n) for v in found])
    x, groups = _groups(x, each[0], static["groups"], level)
    w, bias = _beside(w, each[1], level, 0), None if bias is None else _beside(bias, each[2], level, 0)
    return (part(call(x, w, bias, at=static["at"], groups=groups)[0], level.n, 1),)


def conv_input_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    g, w = xs
    if not each[1]:
        return (part(call(join(g), w, **static)[0], level.n),)
    g, w = _beside(g, each[0], level, 1), _beside(w, each[1], level, 0)
    return (part(call(g, w, at=static["at"], groups=static["groups"] * level.n)[0], level.n, 1),)


def conv_weight_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    g, (x, groups) = _beside(xs[0], each[0], level, 1), _groups(xs[1], each[1], static["groups"], level)
    return (part(call(g, x, at=static["at"], groups=groups)[0], level.n),)


# ---------------------------------------------------------------------------------------------- indices
class Selected(NamedTuple):
    """What an index of an example is in the array of all examples.

    key     the index; of it, or of an array that has no axis for examples
    order   how the axes of what it selects are permuted, for the examples to come first; None: they do
    rank    how many axes it selects of an example
    """

    key: tuple[Any, ...]
    order: tuple[int, ...] | None
    rank: int


def selected(xp: Any, ndim: int, each: bool, key: Any, level: Any) -> Selected | None:
    """Of an array of which an example has `ndim` axes.  None if each example has a mask of its own, or for a bool.

    each    whether the array has an axis for examples
    """
    given = list(parts(key))
    if any([isinstance(k, bool) or (_is_mask(k) and (level.own(k) or not k.ndim)) for k in given]):
        return None
    given = [i for k in given for i in (raw(k).nonzero() if _is_mask(k) else (k,))]
    spent = len([k for k in given if k is not None and k is not Ellipsis])
    full = [i for k in given for i in ([slice(None)] * (ndim - spent) if k is Ellipsis else [k])]
    full += [slice(None)] * (ndim - len([k for k in full if k is not None]))
    rest = [k is None or isinstance(k, slice) for k in full]
    if not any([hasattr(k, "dtype") for k in given]):
        return Selected((slice(None), *given), None, sum(rest))
    block = max(
        [k.ndim for k in given if hasattr(k, "dtype")]
    )  # axes that the arrays make, where the first of them is,
    at = [i for i, k in enumerate(given) if isinstance(k, int) or hasattr(k, "dtype")]
    before = rest.index(False) if at[-1] - at[0] < len(at) else 0  # or, if they are not side by side, in front
    rank, own = block + sum(rest), any(map(level.own, given))
    if not own:
        order = (block, *range(block), *range(block + 1, rank + 1)) if at[-1] - at[0] >= len(at) else None
        return Selected((slice(None), *given), order, rank)
    mine = lambda k: aligned(raw(k.value), block) if level.own(k) else k
    if not each:
        order = (before, *range(before), *range(before + 1, rank + 1)) if before else None
        return Selected(tuple(map(mine, given)), order, rank)
    line = xp.arange(level.n).reshape(level.n, *[1] * block)
    order = (0, *range(1 + block, 1 + block + before), *range(1, 1 + block), *range(1 + block + before, 1 + rank))
    return Selected((line, *map(mine, full)), order if before else None, rank)


def _is_mask(k: Any) -> bool:
    return hasattr(k, "dtype") and k.dtype.kind == "b"


def getitem_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    x = xs[0]
    s = selected(xp_of(raw(x)), raw(x).ndim - each[0], each[0], static["key"], level)
    if s is None:
        return NotImplemented
    out, *_ = call(x, key=s.key)
    return (out if s.order is None else permute_dims(out, s.order),)


def put_add_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    g, to = own(xs[0], each[0], level.n), (level.n, *static["to"])
    s = selected(xp_of(raw(g)), len(to) - 1, True, static["key"], level)
    return NotImplemented if s is None else call(_ordered(g, s), key=s.key, to=to)


def put_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    x, value = own(xs[0], each[0], level.n), xs[1]
    s = selected(xp_of(raw(x)), raw(x).ndim - 1, True, static["key"], level)
    if s is None:
        return NotImplemented
    return call(x, _ordered(own(value, each[1], level.n), s) if library(raw(value)) else value, key=s.key)


def _ordered(value: Any, s: Selected) -> Any:
    """A value of each example, broadcast, with its axes as those of what is selected."""
    value = aligned(value, s.rank)
    return value if s.order is None else permute_dims(value, inverse(s.order))
