"""Floor 4: `Batched` arrays, of which each example of a `vmap` has one, and how ops run on all of them at once.

An op says how by `batch=` in its declaration, by a name of RULES:

    "elementwise"   at each place of the output is what the op makes of the operands' elements at that place, broadcast,
                    and of nothing else: its Jacobian is diagonal
    "broadcast"     axes in front broadcast
    "leading"       so they do, once all operands have them
    "along"         one rank; the static argument `axis` or `axes` counts from the first of an example
    "joined"        the first axis is a batch, which the examples join

or by a function like those here,

    rule(call, xs, each, static, level) -> (output, *auxiliaries), or NotImplemented: example by example

where call(*xs, **static) is the op on Tensors or arrays, xs its operands, of which those that are `each` have the
level.n examples along a leading axis, as what it answers must have.  Of static arguments all are given; one of which
each example has its own, an index, is a Batched, and goes to functions only.  An op that says nothing runs example by
example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .array import library
from .core import Tensor, raw, wrap
from .levels import INSIDE, Level, Traced, innermost
from .ops.examples import join, own, part
from .ops.index import getitem
from .ops.shape import aligned, broadcast_to, later, permute_dims, reshape, stack, swapaxes
from .recording import active, resume

Call = Callable[..., tuple]
Rule = Callable[[Call, Sequence[Any], Sequence[bool], dict[str, Any], Any], tuple]


# Methods of arrays that need no loop over examples: with an axis, by its default; of each element.
_ALONG = dict.fromkeys(("all", "any", "argmax", "argmin", "max", "mean", "min", "prod", "sum")) | {"argsort": -1}
_SAME = frozenset(("astype", "clip", "conj", "copy", "round", "view"))
_SHAPE: dict[str, Callable[..., Any]] = {
    "reshape": lambda x, *to: reshape(x, to[0] if len(to) == 1 else to),
    "swapaxes": swapaxes,
    "transpose": lambda x, *axes: permute_dims(x, axes[0] if len(axes) == 1 else axes or range(raw(x).ndim)[::-1]),
}
_LIKE = frozenset((np.empty_like, np.full_like, np.ones_like, np.zeros_like))


class Batched(Traced):
    """The arrays of all examples: `value` has them along axis 0; without `each`, `value` is that of every example."""

    __slots__ = ("each", "value")

    def __init__(self, level: Level, value: Any, each: bool = True) -> None:
        a = raw(value)
        self.level, self.value, self.each, self.dtype = level, value, each, a.dtype
        self.shape = tuple(a.shape[1:]) if each else tuple(a.shape)

    @property
    def within(self) -> Any:
        return self.value

    def __getitem__(self, key: Any) -> Any:
        return raw(getitem(wrap(self), key))

    def __getattr__(self, name: str) -> Any:
        if name in _ALONG and self.each:
            return lambda *axis, **more: self._along(name, *axis, **more)
        if name in _SAME:
            return lambda *given, **more: self.like(getattr(raw(self.value), name)(*given, **more))
        if name in _SHAPE:
            return lambda *given: raw(_SHAPE[name](wrap(self), *given))
        if name in ("real", "imag"):
            return self.like(getattr(raw(self.value), name))
        return super().__getattr__(name)

    def like(self, value: Any) -> Batched:
        """What was made of the arrays of all examples at once."""
        return Batched(self.level, value, self.each)

    def _along(self, name: str, axis: Any = "default", **more: Any) -> Batched:
        a, axis = raw(self.value), _ALONG[name] if axis == "default" else axis
        if axis is None and name.startswith("arg"):
            found = getattr(a.reshape(self.level.n, -1), name)(axis=1, **more)
            return self.like(found.reshape(self.level.n, *[1] * self.ndim) if more.get("keepdims") else found)
        axis = tuple(range(1, a.ndim)) if axis is None else later(axis, a.ndim - 1)
        return self.like(getattr(a, name)(axis=axis, **more))

    @property
    def nbytes(self) -> int:
        return raw(self.value).nbytes


class Examples(Level):
    """A `vmap` of n examples that runs."""

    def __init__(self, name: str, n: int) -> None:
        super().__init__(name)
        self.n = n

    def lift(self, value: Any) -> Batched:
        return Batched(self, value, False)

    def batched(self, value: Any, each: bool = True) -> Batched:
        """What was computed of all examples, as a value of this level; history that nobody has is left."""
        if isinstance(value, Tensor) and value.node is None:
            value = value.array
        return Batched(self, value, each)

    def forward(self, op: Any, xs: Sequence[Any], static: dict[str, Any]) -> Any:
        call = lambda *v, **s: called(op, v, s)
        values, each, own = [], [], False  # own: whether there is an index of each example's own
        for x in xs:
            mine = type(x) is Batched and x.level is self
            values.append(x.value if mine else x)
            each.append(mine and x.each)
        if op.static:
            static = {k: v if self.own(v) else self._value(v) for k, v in {**op.static, **static}.items()}
            own = any(map(self.own, static.values()))
        some = own or True in each
        with resume(self.outside(active())):
            if some:
                rule: Any = one_by_one if own and op.batch in RULES else RULES.get(op.batch, op.batch) or one_by_one
                found = rule(call, values, each, static, self)
                if found is NotImplemented:
                    found = one_by_one(call, values, each, static, self)
            else:
                found = call(*values, **static)
        if op.aux:
            return tuple([self._boxed(v, some) for v in found])
        return self._boxed(found[0], some)

    def outward(self, t: Tensor, spread: bool = True) -> Tensor:
        """A Tensor from inside, of all examples along axis 0; without `spread`, what is one for all stays so."""
        a = t.array
        if self.has(a):
            v = a.value
            v = wrap(v.array, v.node, t.kind) if isinstance(v, Tensor) else wrap(v, None, t.kind)
            if a.each:
                return v
        else:
            v = wrap(self.here(a), t.node, t.kind)
        return broadcast_to(v, (self.n, *v.array.shape)) if spread else v

    def has(self, x: Any) -> bool:
        """Whether x is a value of this level."""
        return isinstance(x, Batched) and x.level is self

    def own(self, v: Any) -> bool:
        """Whether v, a static argument, holds an array of which each example has one of its own."""
        if type(v) in (list, tuple):
            return any(map(self.own, v))
        return isinstance(v, Batched) and v.level is self and v.each

    def _value(self, x: Any) -> Any:
        """x as rules have it: operands by what they are made of, static arguments where that is one for all."""
        if type(x) in (list, tuple):
            return type(x)([self._value(y) if not self.own(y) else y for y in x])
        return x.value if self.has(x) else x

    def example(self, v: Any, i: int) -> Any:
        """What example i has of a static argument, as arrays."""
        if type(v) in (list, tuple):
            return type(v)([self.example(y, i) for y in v])
        if self.has(v):
            return raw(v.value)[i] if v.each else raw(v.value)
        return v

    def _boxed(self, v: Any, each: bool) -> Any:
        a = v.array if isinstance(v, Tensor) else v
        if library(a) is not None:
            return Batched(self, a if a is v or v.node is None else v, each)
        return tuple([self._boxed(u, each) for u in v]) if isinstance(v, (tuple, list)) else v

    def plain(self, f: Callable[..., Any], xs: Sequence[Any]) -> Any:
        if not self.own(xs):
            return self._boxed(f(*self.example(xs, 0)), False)
        found = [f(*self.example(xs, i)) for i in range(self.n)]
        return self._boxed(_joined(found), True)

    def ufunc(self, f: Callable[..., Any], xs: Sequence[Any]) -> Any:
        values = [self._value(x) for x in xs]
        each = [self.own(x) for x in xs]
        found = f(*map(raw, _aligned(values, each, {})))
        return (
            tuple([self._boxed(v, any(each)) for v in found])
            if isinstance(found, tuple)
            else self._boxed(found, any(each))
        )

    def function(self, f: Callable[..., Any], xs: Sequence[Any], options: dict[str, Any]) -> Any:
        numpys = getattr(f, "__wrapped__", f)
        if numpys in _LIKE and not self.own(xs[1:]):
            return self._boxed(f(*self.example(xs, 0), **options), False)
        if numpys is np.where and len(xs) == 3:
            return self.ufunc(f, xs)
        return super().function(f, xs, options)


def called(op: Any, values: Sequence[Any], static: dict[str, Any]) -> tuple:
    """(what `op` answers, its auxiliaries) of Tensors or arrays; None among them is an operand left out."""
    for v in values:
        if isinstance(v, (Tensor, Traced)):
            break
    else:
        further = static and innermost(static.values()) is not None  # an index of a level further out
        out = INSIDE.forward(op, values, static) if further else op.run(*values, **static)
        return tuple(out) if op.aux else (out,)
    xs = [
        wrap(v.array, v.node) if isinstance(v, Tensor) else wrap(v) if isinstance(v, np.generic) else v for v in values
    ]
    if op.aux:
        return op.showing()(*xs, **static)
    own = next(f for r in op.calls if (f := r()) is not None)  # the first is that of plain Tensors
    return (own(*xs, **static),)


def _joined(found: list[Any]) -> Any:
    """What the examples have answered, each of them, with a leading axis for them."""
    first = found[0]
    if isinstance(first, (tuple, list)):
        return tuple([_joined(list(parts)) for parts in zip(*found)])
    if not isinstance(first, np.generic) and library(raw(first)) is None:
        if isinstance(first, (bool, int, float, complex)):
            return np.asarray(found)
        if any([v is not first and v != first for v in found]):
            raise TypeError(f"each example has a {type(first).__name__} of its own, which is no array: {first!r:.60}")
        return first
    shapes = list(dict.fromkeys([tuple(raw(v).shape) for v in found]))
    if len(shapes) > 1:
        raise ValueError(
            f"what the examples have is of shape {shapes[0]} in one and {shapes[1]} in another: a mask selects as many "
            "as it has; write gg.where(mask, x, 0)"
        )
    return stack(found, 0)


# ---------------------------------------------------------------------------------------------- rules
def one_by_one(call: Call, xs: Sequence[Any], each: Sequence[bool], static: dict[str, Any], level: Any) -> tuple:
    """One example after the other: right for every op."""
    rows = [
        call(
            *[_row(x, i) if b else x for x, b in zip(xs, each)],
            **{k: level.example(v, i) for k, v in static.items()},
        )
        for i in range(level.n)
    ]
    return tuple([_joined(list(parts)) for parts in zip(*rows)])


def _row(x: Any, i: int) -> Any:
    """x of example i; of numbers an array without axes."""
    return getitem(x, key=i) if len(raw(x).shape) > 1 else reshape(getitem(x, key=slice(i, i + 1)), shape=())


def broadcast(call: Call, xs: Sequence[Any], each: Sequence[bool], static: dict[str, Any], level: Any) -> tuple:
    """Axes in front broadcast: those of an example are aligned from the right."""
    return call(*_aligned(xs, each, static), **static)


def _aligned(xs: Sequence[Any], each: Sequence[bool], static: dict[str, Any]) -> list[Any]:
    if len(xs) == 1 and not static:
        return list(xs)
    ranks = []
    for x, b in zip(xs, each):
        a = x.array if isinstance(x, Tensor) else x
        ranks.append(len(a.shape) - b if hasattr(a, "shape") else 0)
    rank = max(ranks)
    if static:  # bounds, that may be arrays
        rank = max([rank, *[v.ndim for v in static.values() if hasattr(v, "dtype")]])
    if min(ranks) == rank:
        return list(xs)
    return [aligned(x, rank) if b and r < rank else x for x, b, r in zip(xs, each, ranks)]


def leading(call: Call, xs: Sequence[Any], each: Sequence[bool], static: dict[str, Any], level: Any) -> tuple:
    """As `broadcast`, of operands that all have the axes in front, and as many."""
    rank = max([len(raw(x).shape) - b for x, b in zip(xs, each) if hasattr(raw(x), "shape")])
    return call(*[x if x is None else aligned(own(x, b, level.n), rank) for x, b in zip(xs, each)], **static)


def along(call: Call, xs: Sequence[Any], each: Sequence[bool], static: dict[str, Any], level: Any) -> Any:
    """Operands of one rank, along `axis`, or `axes`; None: all of an example's."""
    xs = [own(x, b, level.n) for x, b in zip(xs, each)]
    name, rank = "axis" if "axis" in static else "axes", len(raw(xs[0]).shape) - 1
    axis = static[name]
    if not rank and axis is not None:
        return NotImplemented  # NumPy lets a number have an axis
    return call(*xs, **{**static, name: tuple(range(1, rank + 1)) if axis is None else later(axis, rank)})


def joined(call: Call, xs: Sequence[Any], each: Sequence[bool], static: dict[str, Any], level: Any) -> tuple:
    """Operands whose first axis is a batch: the examples' batches are one."""
    found = call(*[x if x is None else join(own(x, b, level.n)) for x, b in zip(xs, each)], **static)
    return tuple([None if v is None else part(v, level.n) for v in found])


RULES: dict[Any, Rule] = {
    "elementwise": broadcast,
    "broadcast": broadcast,
    "leading": leading,
    "along": along,
    "joined": joined,
}
