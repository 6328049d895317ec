"""Floor 6: what recorded ops save, kept in another form until a backward pass needs it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import ref

import ml_dtypes
import numpy as np

from .array import Device, device_of, library, xp
from .autograd import no_grad
from .core import Node, Packed, Parcel, Tape, Tensor, owner_of, raw, wrap, writes
from .dtypes import DTypeLike, as_dtype, bfloat16, float16, float32, is_float
from .gemm import halves
from .ops.casting import view
from .recording import LARGE, Packing, active, enter, packing, replace


class saved_tensors_hooks:
    """A context in which every array that an op saves is packed, and unpacked when a pullback reads it.

    pack    f(tensor) -> anything; the tensor shares the array's memory: do not change it
    unpack  f(what pack answered) -> a tensor of the same shape, dtype and device
    Of contexts in one another the innermost counts.  What ops save inside a vmap stays as it is.  TypeError where
    unpack answers no tensor, or one of another shape or dtype.
    """

    _lean = math.inf  # pack is given what the ops of small arrays save, too, and no bits

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]) -> None:
        self._pack, self._unpack = pack_hook, unpack_hook

    def __enter__(self) -> None:
        tape = Tape(silent=True)
        packing[tape] = Packing(self._saved, self._lean)
        enter(tape)

    def __exit__(self, *exc: object) -> None:
        for tape in reversed(active().open):  # its own of this thread, wherever that is
            if tape in packing and packing[tape].pack == self._saved:
                replace(tape)
                del packing[tape]
                return

    def _saved(self, saved: tuple, op: Any, values: tuple, heads: Any, kind: type[Tensor]) -> Packed:
        return Packed([
            v if self._stays(op, i, v) else self._parcel(v, kind, maker(op, heads, i, v, values))
            for i, v in enumerate(saved)
        ])  # fmt: skip

    def _stays(self, op: Any, i: int, v: Any) -> bool:
        """Whether v, the i-th value that `op` saves, is not packed."""
        lib = library(v)
        return lib is None or lib.traced

    def _parcel(self, array: Any, kind: type[Tensor], maker: Any) -> Any:
        with no_grad():
            return Parcel((
                self._pack(wrap(view(array), None, kind)),
                partial(self._opened, array.shape, array.dtype),
            ))  # fmt: skip

    def _opened(self, shape: tuple[int, ...], dtype: np.dtype, packed: Any) -> Any:
        with no_grad():
            t = self._unpack(packed)
        if not isinstance(t, Tensor):
            raise TypeError(
                "Output of saved tensor unpack_hook expected to be a Tensor but got result of type "
                f"{type(t).__name__}. Answer a tensor with the values that pack_hook was given."
            )
        if t.shape != shape or t.dtype != dtype:
            raise TypeError(
                f"saved_tensors_hooks: unpack_hook answered a tensor of shape {list(t.shape)} and {t.dtype} for one of "
                f"shape {list(shape)} and {dtype}. Answer a tensor with the values that pack_hook was given."
            )
        return raw(t)


def maker(op: Any, heads: Any, i: int, v: Any, values: tuple) -> Node | bool | None:
    """What made the i-th value that `op` saved: a node, True for the op itself, None for what somebody gave it.

    Auxiliaries that are smaller than an input, such as a number a row, count as given: another form would save
    little, and cost their digits, which others are computed from.
    """
    k = len(heads)
    if i < k:
        return heads[i]
    if (makers := getattr(op, "makers", None)) is not None:
        return makers[i - k - 2]
    if i <= k + len(op.static):
        return True if i == k else None
    return v.size >= max([getattr(a, "size", 0) for a in values[:k]])


# ---------------------------------------------------------------------------------------------- in less memory
class _Kept(saved_tensors_hooks):
    """Packs what recorded ops made, each array once, however many of them save it.

    The values of leaves, constants and views of them are somebody else's, who keeps them anyway; arrays of less than
    `min_size` elements, single numbers and views that repeat their memory would gain nothing.
    """

    _lean = LARGE

    def __init__(self, min_size: int) -> None:
        self._min_size = max(min_size, 1)  # what is empty has no bytes
        # By the id of an array that was packed: (weak references to it and to what it was packed as, writes before).
        self._known: dict[int, tuple[Any, Any, int]] = {}

    def _store(self, array: Any) -> Any:
        """The contiguous array packed, as an object with its memory as `array`; None where it is to stay."""
        raise NotImplementedError

    def _fetch(self, stored: Any) -> Any:
        """The array that was packed."""
        raise NotImplementedError

    def _parcel(self, array: Any, kind: type[Tensor], maker: Any) -> Any:
        if array.size < self._min_size or not array.ndim or not _made(maker, array):
            return array
        base = owner_of(array)
        if array.nbytes > base.nbytes:
            return array
        # A tensor and what is reshaped of it are one memory block, and one parcel.
        whole = base.size == array.size and base.dtype == array.dtype and _contiguous(array) and _contiguous(base)
        one = base if whole else array
        stored = self._packed(one)
        return array if stored is None else Parcel((stored, partial(self._shaped, array.shape)))

    def _packed(self, array: Any) -> Any:
        key, written = id(array), max(writes.of(array), default=-1) if writes.ages else -1
        if key in self._known:
            of, packed, before = self._known[key]
            if of() is array and before == written and (stored := packed()) is not None:
                return stored
        with device_of(array).library.scope(device_of(array)):
            stored = self._store(array if _contiguous(array) else xp(array).ascontiguousarray(array))
        if stored is not None:
            self._known[key] = ref(array, lambda _: self._known.pop(key, None)), ref(stored), written
        return stored

    def _shaped(self, shape: tuple[int, ...], stored: Any) -> Any:
        return self._fetch(stored).reshape(shape)


def _contiguous(a: Any) -> bool:
    return a.flags.c_contiguous


def _made(maker: Any, array: Any) -> bool:
    """Whether recorded ops made the values: `maker` is True, or the node of a tensor that is no view of a leaf."""
    if not isinstance(maker, Node):
        return maker is True
    if maker.op is None:
        return False
    base, n = owner_of(array), maker
    while base is not array and n is not None and n.op is not None:
        n = n.edges[0] if len(n.edges) == 1 else None  # a view has one operand
    leaf = n.saved() if n is not maker and n is not None and isinstance(n.saved, ref) else None
    return leaf is None or owner_of(leaf.array) is not base


class _Stored:
    """An array that is kept in another form.  opened: a weak reference to the array last made of it."""

    __slots__ = ("__weakref__", "array", "device", "dtype", "opened")

    def __init__(self, array: Any, like: Any) -> None:
        self.array, self.dtype, self.device = array, like.dtype, device_of(like)
        self.opened: Any = None


def _again(stored: _Stored, make: Callable[[], Any]) -> Any:
    """The array made of it last, if anybody still has it, or another."""
    found = None if stored.opened is None else stored.opened()
    if found is None:
        with stored.device.library.scope(stored.device):
            found = make()
        stored.opened = ref(found)
    return found


class save_as(_Kept):
    """A context in which what ops save is kept in a smaller floating dtype, and widened when a pullback reads it.

    dtype      bfloat16 (rounds to 8 bits: a relative error of up to 2⁻⁸), float16 (11 bits: 2⁻¹¹, and below 6e-5 an
               absolute 2⁻²⁵) or float32 (24 bits: 2⁻²⁴)
    min_size   arrays of fewer elements stay as they are
    Only real floating arrays of a larger dtype are packed, and only what recorded ops made: no parameters, inputs and
    constants, which live anyway, no statistics of rows, which need their digits, and nothing that a pullback compares,
    as those of max and maximum do (`exact` in `gg.op`).  Of relu, clip and their kin a bit an element is kept, whatever
    their size.  Results do not change; gradients are those of the rounded values, in their own dtypes.  In float16 what
    is below 3e-8 is 0: where something is divided by it, take bfloat16.  Arrays with values out of the range of dtype
    stay as they are; to know that, a GPU is waited for.  Of float32 in bfloat16, whose range is nearly the same, it is
    not: what is beyond 3.39e38 becomes that.
    ValueError for another dtype.
    """

    _lean = 0  # a rounded value may be on the other side of a limit; a bit is not

    def __init__(self, dtype: DTypeLike = bfloat16, min_size: int = 1024) -> None:
        super().__init__(min_size)
        self._dtype = as_dtype(dtype)
        if self._dtype not in (bfloat16, float16, float32):
            raise ValueError(f"save_as: dtype is bfloat16, float16 or float32, not {self._dtype}")

    def _stays(self, op: Any, i: int, v: Any) -> bool:
        return super()._stays(op, i, v) or i in getattr(op, "exact", ())

    def _store(self, array: Any) -> Any:
        dtype = array.dtype
        if not is_float(dtype) or dtype.itemsize <= self._dtype.itemsize:
            return None
        to, own = ml_dtypes.finfo(self._dtype), ml_dtypes.finfo(dtype)
        top = dtype.type(to.max)
        if to.maxexp < own.maxexp:
            if not _within(array, top):
                return None
        elif type(array) is not np.ndarray or not _within(array, top):  # some may round to infinity
            array = xp(array).where(xp(array).isfinite(array), array.clip(-top, top), array)
        return _Stored(_cast(array, self._dtype), array)

    def _fetch(self, stored: Any) -> Any:
        return _again(stored, lambda: _cast(stored.array, stored.dtype))


def _within(a: Any, top: Any) -> bool:
    return bool(a.max() <= top and a.min() >= -top)  # a NaN is not


def _cast(a: Any, dtype: np.dtype) -> Any:
    if type(a) is np.ndarray and {a.dtype, dtype} == {float16, float32}:
        return halves.narrowed(a) if dtype == float16 else halves.widened(a)
    return a.astype(dtype)


class save_on_cpu(_Kept):
    """A context in which what ops save on a GPU is kept in the CPU's memory, and copied back when a pullback reads it.

    pin_memory   in pinned memory, by copies beside what the GPU computes, the next one needed fetched ahead; else
                 forward and backward wait for each copy
    device_type  taken, to no effect: the device is the array's own
    min_size     arrays of fewer elements stay where they are
    Only what recorded ops made leaves the GPU; on the CPU nothing is copied.
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda", min_size: int = 1024) -> None:
        super().__init__(min_size)
        self._pin = pin_memory

    def _store(self, array: Any) -> Any:
        device = device_of(array)
        if device.kind == "cpu":
            return None
        courier = self._courier(device)
        return _Stored(device.library.to_host(array), array) if courier is None else courier.away(array)

    def _fetch(self, stored: Any) -> Any:
        if not isinstance(stored, _Stored):
            return stored.courier.back(stored)
        return _again(stored, lambda: stored.device.library.asarray(stored.array, None, stored.device))

    def _courier(self, device: Device) -> Any:
        courier = device.library.courier(device) if self._pin else None
        if courier is not None and courier.wait not in writes.before:
            writes.before.append(courier.wait)
        return courier
