"""Floor 6: changes in place, on tensors whose front door has them.

Views share memory: a change is written there, and `core.writes` remembers when.  A view knows its owner (`view_of`),
and an owner its views: a change of one is recorded on all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from sys import getrefcount
from typing import Any
from weakref import ref

import numpy as np

from . import autograd
from .array import xp
from .core import Tensor, owner_of, raw, trainable, wrap, writes
from .dtypes import category
from .levels import Traced, unwritable
from .ops import casting, index, shape
from .recording import active

_ALONE: tuple[Any, Any] = (None, None)
# The views of an owner, by its id: (weak reference to the owner, [(weak reference to a view, the way to it)]).
_views: dict[int, tuple[Any, list[tuple[Any, Callable[[Tensor], Tensor]]]]] = {}


def view(base: Tensor, forth: Callable[[Tensor], Tensor], back: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """forth(base), which may share the memory of `base`.  `back(base, out)` is base with out in its place."""
    out = forth(base)
    if not isinstance(out.array, np.generic) and out is not base and owner_of(out.array) is owner_of(base.array):
        out.view_of = base, back
        key = id(base)
        if key not in _views:
            _views[key] = ref(base, lambda _: _views.pop(key, None)), []
        known = _views[key][1]
        if len(known) > 8 and not len(known) & (len(known) - 1):  # now and then, without the dead
            known[:] = [entry for entry in known if entry[0]() is not None]
        known.append((ref(out), forth))
    return out


def in_place(f: Callable[..., Any]) -> Callable[..., Any]:
    """The method t.f_(...) that writes f(t, ...) into t."""

    def call(self: Tensor, *args: Any, **kw: Any) -> Tensor:
        check(self)
        before = _apart(self, args)
        return change(self, f(before, *[before if a is self else a for a in args], **kw))

    call.__name__, call.__doc__ = f"{f.__name__}_", f"{f.__doc__ or ''}  In place."
    return call


def check(t: Tensor) -> None:
    """RuntimeError if a gradient would be lost by a change in place: of a leaf, or of a view of one."""
    if autograd.is_inference(t) and not autograd.is_inference_mode_enabled():
        raise RuntimeError(
            "Inplace update to inference tensor outside InferenceMode is not allowed. You can make a clone to get a "
            "normal tensor before doing inplace update."
        )
    if not autograd.is_grad_enabled():
        return
    what, at = "a", t
    while at is not None:
        if trainable(at) and autograd.requires_grad(at):
            raise RuntimeError(
                f"{what} leaf Variable that requires grad is being used in an in-place operation. "
                f"Write `with {t.prefix}no_grad():` around it, or `y = ...` for a new tensor."
            )
        what, (at, _) = "a view of a", getattr(at, "view_of", _ALONE)


def _apart(t: Tensor, others: tuple) -> Tensor:
    """t now, in memory that the change leaves alone, if an op of it and `others` is recorded and may save it."""
    tracked = [u for u in (t, *others) if isinstance(u, Tensor) and u.node is not None]
    if not (tracked and active().tapes):
        return t
    return wrap(xp(t.array).array(t.array), t.node, t.kind)


def change(t: Tensor, out: Any) -> Tensor:
    """Write the values of `out` into the memory of t, and give t the history of out, unless nothing records.

    RuntimeError for a shape that does not broadcast to t's, and for a dtype of a higher category.
    """
    a, new = t.array, raw(out)
    for x in (a, new):
        if isinstance(x, Traced):
            raise unwritable(x.level)
    if np.shape(new) != a.shape:
        if np.broadcast_shapes(np.shape(new), a.shape) != a.shape:
            raise RuntimeError(
                f"output with shape {list(a.shape)} doesn't match the broadcast shape {list(np.shape(new))}"
            )
        out = shape.broadcast_to(out, a.shape)
    if category(new.dtype) > category(a.dtype):
        raise RuntimeError(f"result type {new.dtype} can't be cast to the desired output type {a.dtype}")
    out = casting.astype(out, a.dtype)
    if isinstance(a, np.generic):
        t.array = a = np.asarray(a)
    recorded = active().tapes and not trainable(t)
    if not getattr(getattr(a, "flags", None), "writeable", True):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory "
            "location. Please clone() the tensor before performing the operation."
        )
    if recorded and t.node is not None and getattr(t, "view_of", None) is None and _shared(a):
        raise RuntimeError(
            f"this tensor shares its memory with another one, of which {getattr(t.node.op, 'name', 'an op')} made it; "
            "a change in place of it cannot be recorded. Write t.clone() first, or y = ... for a new tensor."
        )
    writes.add(a)
    a[...] = raw(out)
    if recorded:
        remember(t, out)
    return t


def _shared(a: Any) -> bool:
    """Whether another array object is in use that has the memory of `a`."""
    return a.base is not None and getrefcount(a.base) > 2  # held by `a`, and by this call


def remember(t: Tensor, out: Any) -> None:
    """Give t, what it is a view of, and all views of that, the history of a change; memory has the values already."""
    t.node = out.node if isinstance(out, Tensor) else None
    told = [t]
    base, back = getattr(t, "view_of", _ALONE)
    while base is not None and (t.node is not None or base.node is not None):
        base.node = back(base, t).node
        told.append(base)
        t, (base, back) = base, getattr(base, "view_of", _ALONE)
    _renew(t, told)


def _renew(base: Tensor, told: list[Tensor]) -> None:
    """Give the views of `base` its history, but for those that have it."""
    for known, forth in _views.get(id(base), (None, ()))[1]:
        part = known()
        if part is None:
            continue
        if all([part is not t for t in told]):
            part.node = forth(base).node
        _renew(part, told)


def set_item(t: Tensor, key: Any, value: Any) -> None:
    """t[key] = value."""
    check(t)
    if not isinstance(value, Tensor):
        value = wrap(xp(t.array).asarray(value, t.array.dtype))
    change(t, index.put(t, casting.astype(value, t.array.dtype), key=index.settled("put", t.array, key)))


def get_item(t: Tensor, key: Any) -> Tensor:
    """t[key], a view where the key is basic."""
    key = index._raw_key(key)
    parts = key if isinstance(key, tuple) else (key,)
    if parts and all([type(k) is int for k in parts]):
        key = (*parts, ...)  # NumPy answers a view, not a scalar
    return view(t, lambda base: index.getitem(base, key), lambda base, part: index.put(base, part, key=key))


# ---------------------------------------------------------------------------------------------- views with an owner
def folded(x: Tensor, forth: Callable[[Tensor], Tensor]) -> Tensor:
    """forth(x), the elements of x in another shape, as a view of x."""
    return view(x, forth, lambda base, part: shape.reshape(part, base.array.shape))


def permuted(x: Tensor, axes: Sequence[int]) -> Tensor:
    """The axes in another order, as a view of x."""

    def back(base: Tensor, part: Tensor) -> Tensor:
        return shape.permute_dims(part, np.argsort([a % len(axes) for a in axes]).tolist())

    return view(x, lambda base: shape.permute_dims(base, axes), back)


def swapped(x: Tensor, axis1: int, axis2: int) -> Tensor:
    """Two axes exchanged, as a view of x."""
    return view(
        x, lambda base: shape.swapaxes(base, axis1, axis2), lambda base, part: shape.swapaxes(part, axis1, axis2)
    )
