"""Floor 6: what recorded ops save, kept in another form until a backward pass needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .array import Device, library
from .autograd import no_grad
from .core import Packed, Parcel, Tape, Tensor, raw, wrap
from .ops.casting import view
from .recording import active, enter, packing, replace
from .tensor import to


class saved_tensors_hooks:
    """A context in which every array that an op saves is packed, and unpacked when a pullback reads it.

    pack    f(tensor) -> anything; the tensor shares the array's memory: do not change it
    unpack  f(what pack answered) -> a tensor of the same shape, dtype and device
    Of contexts in one another the innermost counts.  TypeError where unpack answers no tensor.
    """

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]) -> None:
        self._pack, self._unpack = pack_hook, unpack_hook

    def __enter__(self) -> None:
        tape = Tape(silent=True)
        packing[tape] = self._packed
        enter(tape)

    def __exit__(self, *exc: object) -> None:
        for tape in reversed(active().open):  # its own of this thread, wherever that is
            if packing.get(tape) == self._packed:
                replace(tape)
                del packing[tape]
                return

    def _packed(self, saved: tuple, op: Any, values: tuple, heads: Any, kind: type[Tensor]) -> Packed:
        return Packed([v if library(v) is None else self._parcel(v, kind) for v in saved])

    def _parcel(self, array: Any, kind: type[Tensor]) -> Parcel:
        with no_grad():
            return Parcel((self._pack(wrap(view(array), None, kind)), self._opened))

    def _opened(self, packed: Any) -> Any:
        with no_grad():
            t = self._unpack(packed)
        if not isinstance(t, Tensor):
            raise TypeError(
                "Output of saved tensor unpack_hook expected to be a Tensor but got result of type "
                f"{type(t).__name__}. Answer a tensor with the values that pack_hook was given."
            )
        return raw(t)


class save_on_cpu(saved_tensors_hooks):
    """A context in which what ops save is kept in the CPU's memory and copied back when a pullback reads it.

    pin_memory, device_type   taken, to no effect: copies wait for each other, and the device is the array's own
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(self._leave, lambda packed: to(packed[0], packed[1]))

    @staticmethod
    def _leave(t: Tensor) -> tuple[Tensor, Device]:
        return to(t, "cpu"), t.device
