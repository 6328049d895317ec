"""Sized: a layer with a size that may be None; then the first input tells it, and the parameters are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from ..repeat import followed
from .holder import NoParameters, making, refuse_waiting, waiting
from .module import Module


class Waiting(NamedTuple):
    """How the parameters of a layer will be made: with these options, and then moved so."""

    dtype: Any
    device: Any
    moves: list[tuple[Any, Any]]  # (device, dtype), as `to` was told


class Sized(Module):
    """A layer whose attribute `_size` names its size, from which `_make` makes the parameters.

    A subclass ends its __init__ with `self._sized(dtype, device)`: the parameters are made there, or if the size is
    None when the first input has come, with the random numbers that are next then.  Until that, asking for parameters
    is a ValueError.
    """

    _size: ClassVar[str]

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            refuse_waiting(self, error=NoParameters)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def _make(self, dtype: Any, device: Any) -> None:
        """Make the parameters, now that the size is known."""
        raise NotImplementedError

    def _seen(self, x: Any) -> Any:
        """The size that the input x tells.  ValueError for an input that does not."""
        raise NotImplementedError

    def _told(self, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """The size that saved tensors of these shapes tell, by name; None if they do not."""
        raise NotImplementedError

    def _sized(self, dtype: Any, device: Any) -> None:
        if getattr(self, self._size) is not None:
            self._make(dtype, device)
            return
        own = self._mine()
        own.waiting = Waiting(dtype, device, [])
        own.before[_FIRST] = _first

    def _arrived(self, size: Any) -> None:
        """Make the parameters for this size.  Nothing changes if that fails."""
        if followed():
            raise ValueError(
                f"{type(self).__name__}: its {self._size} is None, and its first call is inside a function that runs "
                "again with the same random numbers (by gg.checkpoint, gg.vmap in chunks).  Call the model once outside"
            )
        before = self._before()
        own, (dtype, device, moves) = before[0], before[1]
        setattr(self, self._size, size)
        own.waiting = None
        try:
            self._make(dtype, device)
            for where, cast in moves:
                self.to(device=where, dtype=cast)
        except BaseException:
            self._forget(before)
            raise
        own.before.pop(_FIRST, None)

    def _before(self) -> tuple[Any, Waiting, dict[str, Any], dict[str, bool]]:
        """What `_forget` takes."""
        own = self._mine()
        return own, own.waiting, dict(vars(self)), dict(own.buffers)

    def _forget(self, before: tuple[Any, Waiting, dict[str, Any], dict[str, bool]]) -> None:
        """Be the layer again that this was before its parameters were made."""
        own, waiting, attributes, own.buffers = before
        vars(self).clear()
        vars(self).update(attributes)
        own.waiting, others = waiting, {k: f for k, f in own.before.items() if k != _FIRST}
        own.before.clear()  # the same dict: handles of the users' hooks know it
        own.before.update({_FIRST: _first, **others})


_FIRST = -1  # the key of the hook that makes the parameters, before all others


def _first(layer: Any, args: tuple[Any, ...]) -> None:
    if not args:
        name = type(layer).__name__
        raise TypeError(f"{name}: its {layer._size} is None, which the first input tells: give that by position")
    with making:
        if waiting(layer):  # else another thread has made them meanwhile
            layer._arrived(layer._seen(args[0]))
