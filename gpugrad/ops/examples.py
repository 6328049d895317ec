"""How ops run on the arrays of all examples of a `vmap`, which are along axis 0: see gpugrad/batching.py."""

from __future__ import annotations

from typing import Any

from ..core import raw
from .shape import aligned, broadcast_to, matrix_transpose, moveaxis, reshape


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
    """x with an axis for n examples, which it has already, where it is `each`; None as it is."""
    return x if each or x is None else for_each(x, n)


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
