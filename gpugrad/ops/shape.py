"""Shapes: reshape, permute, broadcast, join, cut."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np

from ..array import xp as xp_of
from ..core import raw
from ..forward import boxed, checked_axes, checked_axis, fit, promoted
from ..op import Parts, op


# ---------------------------------------------------------------------------------------------- for `vmap`
# How these ops run on the arrays of all examples, which are along axis 0: see gpugrad/batching.py.
def later(axis: Any, rank: int) -> Any:
    """An axis, or several, of an example of so many axes, in the array of all; one that is not there stays so."""
    if isinstance(axis, (tuple, list)):
        return tuple([later(a, rank) for a in axis])
    return axis if -rank <= axis < 0 else axis - 1 if axis < 0 else axis + 1


def aligned(x: Any, rank: int) -> Any:
    """x of all examples, with axes of length 1 after the first so that an example has `rank` axes."""
    n, *own = raw(x).shape
    return x if rank <= len(own) else reshape(x, (n, *[1] * (rank - len(own)), *own))


def _to_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    return call(xs[0], to=(level.n, *static["to"]))


def _spread_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    return call(aligned(xs[0], len(static["to"])), to=(level.n, *static["to"]))


def _permute_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    rank = raw(xs[0]).ndim - 1
    return call(xs[0], axes=(0, *later(static["axes"], rank)))


def _swap_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    axis1, axis2 = later((static["axis1"], static["axis2"]), raw(xs[0]).ndim - 1)
    return call(xs[0], axis1=axis1, axis2=axis2)


def _squeeze_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    axis, own = static["axis"], raw(xs[0]).shape[1:]
    ones = tuple([i for i, m in enumerate(own, 1) if m == 1])
    return call(xs[0], axis=ones if axis is None else later(axis, len(own)))


def _expand_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    axis = static["axis"]
    more = len(axis) if isinstance(axis, (tuple, list)) else 1
    return call(xs[0], axis=later(axis, raw(xs[0]).ndim - 1 + more))


def _transpose_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    return call(xs[0]) if raw(xs[0]).ndim > 2 else NotImplemented


def _roll_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    x, axis = xs[0], static["axis"]
    if axis is not None:
        return call(x, shift=static["shift"], axis=later(axis, raw(x).ndim - 1))
    out, *_ = call(reshape(x, (level.n, math.prod(raw(x).shape[1:]))), shift=static["shift"], axis=1)
    return (reshape(out, raw(x).shape),)


def _triangle_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    n, *own = raw(xs[0]).shape
    if not own:
        return NotImplemented
    x = broadcast_to(reshape(xs[0], (n, 1, *own)), (n, *own, *own)) if len(own) == 1 else xs[0]  # NumPy's rows
    return call(x, **static)


# ---------------------------------------------------------------------------------------------- axes
@op(x=lambda g, shape: reshape(g, shape=shape), name="reshape", args=["x"], batch=_to_batch, linear=True)
def _reshape(xp: Any, x: Any, *, to: tuple[int, ...]) -> Any:
    return x.reshape(to)


def reshape(x: Any, shape: int | Sequence[int]) -> Any:
    """The same elements, in order, in another shape; one entry may be -1."""
    return _reshape(x, to=_whole("reshape", shape))


def _whole(name: str, shape: int | Sequence[int]) -> tuple[int, ...]:
    """A shape, which may be given as a number, as a tuple.  TypeError for anything else."""
    try:
        return (shape,) if hasattr(shape, "__index__") else tuple(shape)  # type: ignore[return-value,arg-type]
    except TypeError:
        raise TypeError(f"{name}: a shape is an integer or several, not {shape!r:.60}") from None


def inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple([int(i) for i in np.argsort([a % len(axes) for a in axes])])


@op(x=lambda g, axes: _permute(g, axes=inverse(axes)), name="permute_dims", batch=_permute_batch, linear=True)
def _permute(xp: Any, x: Any, *, axes: tuple[int, ...]) -> Any:
    return x.transpose(axes)


def permute_dims(x: Any, axes: Sequence[int]) -> Any:
    """The axes in another order (NumPy's transpose)."""
    return _permute(x, axes=tuple(axes))


@op(x=lambda g: matrix_transpose(g), batch=_transpose_batch, linear=True)
def matrix_transpose(xp: Any, x: Any) -> Any:
    """The last two axes exchanged."""
    return x.swapaxes(-1, -2)


@op(x=lambda g, axis1, axis2: _swapaxes(g, axis1=axis1, axis2=axis2), name="swapaxes", batch=_swap_batch, linear=True)
def _swapaxes(xp: Any, x: Any, *, axis1: int, axis2: int) -> Any:
    return x.swapaxes(axis1, axis2)


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Two axes exchanged."""
    return _swapaxes(x, axis1=axis1, axis2=axis2)


def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Any:
    """Axis `source` moved to place `destination`; or several, each to its own.  The others keep their order."""
    x = boxed(x, "moveaxis")
    n = raw(x).ndim
    to, of = checked_axes("moveaxis", destination, n), checked_axes("moveaxis", source, n)
    if len(to) != len(of):
        raise ValueError(f"moveaxis: {len(of)} axes to move, and {len(to)} places for them")
    moves = sorted(zip(to, of))
    order = [i for i in range(n) if i not in [s for _, s in moves]]
    for d, s in moves:
        order.insert(d, s)
    return permute_dims(x, order)


@op(x=lambda g, shape: reshape(g, shape), batch=_squeeze_batch, linear=True)
def squeeze(xp: Any, x: Any, *, axis: int | tuple[int, ...] | None = None) -> Any:
    """Without axes of length 1 (`axis`: only these)."""
    return xp.squeeze(x, axis=axis)


@op(x=lambda g, shape: reshape(g, shape), name="expand_dims", batch=_expand_batch, linear=True)
def _expand_dims(xp: Any, x: Any, *, axis: int | tuple[int, ...]) -> Any:
    return xp.expand_dims(x, axis)


def expand_dims(x: Any, axis: int | tuple[int, ...] = 0) -> Any:
    """With a new axis of length 1 at `axis`."""
    return _expand_dims(x, axis=axis)


def flatten(x: Any, start: int = 0, end: int = -1) -> Any:
    """The axes from start to end, both included, as one; all of them, if nothing is said.

    ValueError for axes that x does not have, and for an end before the start.
    """
    lengths = np.shape(raw(x)) or (1,)
    a, b = [checked_axis("flatten", axis, len(lengths)) for axis in (start, end)]
    if b < a:
        raise ValueError(f"flatten: axis {end} is before axis {start} of {len(lengths)}")
    return reshape(x, (*lengths[:a], math.prod(lengths[a : b + 1]), *lengths[b + 1 :]))


def unflatten(x: Any, axis: int, sizes: Sequence[int]) -> Any:
    """One axis as several ones of these lengths, in which one may be -1: what is left."""
    lengths = np.shape(raw(x))
    axis = checked_axis("unflatten", axis, len(lengths))
    known = -math.prod(sizes)
    if -1 in sizes and known > 0 and not lengths[axis] % known:
        sizes = [lengths[axis] // known if n == -1 else n for n in sizes]
    if min(sizes, default=0) < 0 or math.prod(sizes) != lengths[axis]:
        raise ValueError(f"unflatten: {tuple(sizes)} are not the lengths of axes that make axis {axis} of {lengths}")
    return reshape(x, (*lengths[:axis], *sizes, *lengths[axis + 1 :]))


def _spread(xp: Any, x: Any, *, to: tuple[int, ...]) -> Any:
    return xp.broadcast_to(x, to)


def _spread_host(x: Any, *, to: tuple[int, ...]) -> Any:
    if x.ndim:
        return np.broadcast_to(x, to)
    out = np.ndarray(to, x.dtype, np.asarray(x), 0, (0,) * len(to))  # a scalar's view, at a quarter of the time
    out.flags.writeable = False
    return out


_spread.host = _spread_host
_broadcast_to = op(_spread, name="broadcast_to", x=lambda g: g, batch=_spread_batch, linear=True)  # summed back later


def broadcast_to(x: Any, shape: int | Sequence[int]) -> Any:
    """Repeated without copying to `shape`, by the rules of broadcasting."""
    return _broadcast_to(x, to=_whole("broadcast_to", shape))


@op(x=lambda g, axis: flip(g, axis=axis), batch="along", linear=True)
def flip(xp: Any, x: Any, *, axis: int | tuple[int, ...] | None = None) -> Any:
    """In reverse order along `axis` (None: all)."""
    return xp.flip(x, axis)


@op(x=lambda g, shift, axis: _roll(g, shift=_opposite(shift), axis=axis), name="roll", batch=_roll_batch, linear=True)
def _roll(xp: Any, x: Any, *, shift: Any, axis: Any = None) -> Any:
    return xp.roll(x, shift, axis)


def rot90(x: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> Any:
    """Turned by 90 degrees k times, from the first of two axes to the second.

    ValueError for axes that x does not have, or that are one.
    """
    x = boxed(x, "rot90")
    if len(axes) != 2:
        raise ValueError(f"rot90: two axes are turned, not {axes}")
    a, b = checked_axes("rot90", axes, raw(x).ndim)
    if k % 2 == 0:
        return flip(x, axis=(a, b)) if k % 4 else x
    return swapaxes(flip(x, axis=b), a, b) if k % 4 == 1 else flip(swapaxes(x, a, b), axis=b)


def _opposite(shift: Any) -> Any:
    return tuple([-s for s in shift]) if isinstance(shift, (tuple, list)) else -shift


def roll(x: Any, shift: int | tuple[int, ...], axis: int | tuple[int, ...] | None = None) -> Any:
    """Shifted along `axis` (None: as one axis); what leaves at the end comes in at the start.

    TypeError for a shift that is no integer.
    """
    if np.asarray(shift).dtype.kind not in "iu":
        raise TypeError(f"roll: a shift is an integer, or one for each axis, not {shift!r:.60}")
    return _roll(x, shift=shift, axis=axis)


@op(x=lambda g, k: tril(g, k=k), batch=_triangle_batch, linear=True)
def tril(xp: Any, x: Any, *, k: int = 0) -> Any:
    """The lower triangle of each matrix: zero above the k-th diagonal."""
    return xp.tril(_matrices(x), k)


@op(x=lambda g, k: triu(g, k=k), batch=_triangle_batch, linear=True)
def triu(xp: Any, x: Any, *, k: int = 0) -> Any:
    """The upper triangle of each matrix: zero below the k-th diagonal."""
    return xp.triu(_matrices(x), k)


def _matrices(x: Any) -> Any:
    if not x.ndim:
        raise ValueError("x has at least one axis; of a vector, each row of a matrix")
    return x


# ---------------------------------------------------------------------------------------------- repeating
def tile(x: Any, repetitions: int | Sequence[int]) -> Any:
    """x so many times along each axis; fewer numbers than axes are for the last axes, more give new ones."""
    x, last = boxed(x, "tile"), np.atleast_1d(raw(repetitions)).tolist()
    if [r for r in last if not isinstance(r, int) or r < 0]:
        raise ValueError(f"tile: repetitions are integers from 0 on, not {repetitions!r:.60}")
    n = max(len(last), raw(x).ndim)
    times = [1] * (n - len(last)) + last
    lengths = [1] * (n - raw(x).ndim) + list(raw(x).shape)
    rows = reshape(x, [m for length in lengths for m in (1, length)])
    rows = broadcast_to(rows, [m for pair in zip(times, lengths) for m in pair])
    return reshape(rows, [r * length for r, length in zip(times, lengths)])


def meshgrid(*xs: Any, indexing: str = "xy", sparse: bool = False) -> tuple[Any, ...]:
    """The coordinates of a grid from those of its axes; "xy" has the first two axes exchanged, "ij" has not.

    sparse: each with length 1 in the axes of the others.  ValueError for another indexing.
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing is 'xy' or 'ij', not {indexing!r}")
    n = len(xs)
    places = [1, 0, *range(2, n)] if indexing == "xy" and n > 1 else range(n)
    lines = [reshape(x, [-1 if j == i else 1 for j in range(n)]) for x, i in zip(xs, places)]
    return tuple(lines) if sparse else broadcast_arrays(*lines)


# ---------------------------------------------------------------------------------------------- joining
@cache
def _concat(n: int) -> Any:
    def forward(xp: Any, *xs: Any, axis: int) -> Any:
        dtype = promoted(*[x.dtype for x in xs]) if len({x.dtype for x in xs}) > 1 else xs[0].dtype
        return xp.concatenate([x.astype(dtype, copy=False) for x in xs], axis), [x.shape[axis] for x in xs]

    pull = lambda g, axis, sizes: _cut(g, axis=axis, sizes=tuple(sizes))
    args = [f"x{i}" for i in range(n)]
    return op(forward, name="concat", args=args, aux=("sizes",), pull=pull, batch="along", linear=True)


def _tensors(xs: Any, name: str) -> list[Any]:
    xs = list(xs)
    if not xs:
        raise ValueError(f"{name}: needs at least one tensor, given an empty list")
    return fit(xs, name)


def concat(xs: Sequence[Any], axis: int | None = 0) -> Any:
    """Arrays joined along an existing axis (None: flattened first)."""
    xs = _tensors(xs, "concat")
    if axis is None:
        xs, axis = [flatten(x) for x in xs], 0
    return _concat(len(xs))(*xs, axis=axis)


def stack(xs: Sequence[Any], axis: int = 0) -> Any:
    """Arrays of one shape joined along a new axis.  ValueError for several shapes."""
    xs = _tensors(xs, "stack")
    shapes = list(dict.fromkeys([raw(x).shape for x in xs]))
    if len(shapes) > 1:
        raise ValueError(f"stack: arrays have one shape, not {shapes[0]} and {shapes[1]}")
    (axis,) = checked_axes("stack", axis, len(shapes[0]) + 1)
    return concat([expand_dims(x, axis) for x in xs], axis)


# ---------------------------------------------------------------------------------------------- cutting
def _uncut(g: Parts, shape: tuple[int, ...], axis: int, sizes: tuple[int, ...]) -> Any:
    """The pullback of `_cut`: its parts joined, zeros where nobody used one."""
    some = raw(next(iter(g.values())))
    parts = []
    for i, n in enumerate(sizes):
        if i in g:
            parts.append(g[i])
        else:
            k = axis % len(shape)
            zero = xp_of(some).zeros_like(some, shape=())
            parts.append(broadcast_to(zero, (*shape[:k], n, *shape[k + 1 :])))
    return concat(parts, axis)


@op(x=_uncut, several=True, name="split", batch="along", linear=True)
def _cut(xp: Any, x: Any, *, axis: int, sizes: tuple[int, ...]) -> Any:
    rest, ends = (slice(None),) * (axis % x.ndim), [*accumulate(sizes)]
    return tuple([x[(*rest, slice(end - n, end))] for n, end in zip(sizes, ends)])


def split(x: Any, sizes_or_sections: int | Sequence[int], axis: int = 0) -> tuple[Any, ...]:
    """x cut along `axis` into so many equal parts, or into parts of the given sizes.

    ValueError if it does not come out even.
    """
    x = boxed(x, "split")
    (axis,) = checked_axes("split", axis, raw(x).ndim)
    length = raw(x).shape[axis]
    if hasattr(sizes_or_sections, "__index__"):
        n = operator.index(sizes_or_sections)  # type: ignore[arg-type]
        if n < 1 or length % n:
            raise ValueError(f"split: {length} elements along axis {axis} do not make {n} equal parts")
        sizes = (length // n,) * n
    else:
        sizes = tuple(sizes_or_sections)  # type: ignore[arg-type]
        if math.fsum(sizes) != length or [n for n in sizes if n < 0]:
            raise ValueError(f"split: sizes {list(sizes)} do not add up to {length}, the length of axis {axis}")
    return _cut(x, axis=axis, sizes=sizes)


def unstack(x: Any, axis: int = 0) -> tuple[Any, ...]:
    """The slices of x along `axis`, without that axis; of an axis of length 0, none."""
    x = boxed(x, "unstack")
    (axis,) = checked_axes("unstack", axis, raw(x).ndim)
    n = raw(x).shape[axis]
    return tuple([squeeze(part, axis=axis) for part in split(x, n, axis)]) if n else ()


def common(name: str, *xs: Any) -> tuple[int, ...]:
    """The shape to which all are broadcast.  ValueError if there is none."""
    shapes = [raw(x).shape for x in xs]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(f"{name}: the shapes {', '.join(map(str, shapes))} do not broadcast to one") from None


def broadcast_arrays(*xs: Any) -> tuple[Any, ...]:
    """All arrays, broadcast to their common shape."""
    xs = tuple(fit(xs, "broadcast_arrays"))
    shape = common("broadcast_arrays", *xs)
    return tuple([broadcast_to(x, shape) for x in xs])


def shape(x: Any) -> tuple[int, ...]:
    """The shape of x."""
    return raw(boxed(x, "shape")).shape
