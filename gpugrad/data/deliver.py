"""Batches brought to the device: on a GPU the next one is copied while this one is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..array import Device, default_device, device as named, library
from ..core import Tensor, raw
from ..courier import Stowed
from ..dtypes import bfloat16
from .dataset import detached
from .rows import mapped


def delivered(batches: Iterator[Any], device: str | Device | None, pin: bool | None) -> Iterator[Any]:
    """The batches as Tensors on `device`, or on the default device.

    To a GPU they go through pinned memory, on a stream beside the computing, one batch ahead; with pin=False at once.
    What is there already stays there; what is no number stays as it is.  An error comes when its batch is due.
    """
    target = default_device() if device is None else named(device)
    courier = None if pin is False else target.library.courier(target)
    if courier is None:
        for batch in batches:
            yield mapped(lambda x: _tensor(x, device), batch)
        return
    sent: list[Any] = []
    error: Exception | None = None
    over = False
    while not over or sent:
        try:
            batch = None if over else next(batches)
        except StopIteration:
            over = True
        except Exception as e:
            error, over = e, True
        else:
            sent += [] if over else [mapped(lambda x: _sent(x, courier), batch)]
        if sent and (over or len(sent) == 2):
            yield mapped(lambda x: _tensor(x, device, courier), sent.pop(0))
    if error is not None:
        raise error


class _Sent:
    """What is on its way, and the class of the tensor that it becomes."""

    def __init__(self, stowed: Stowed, kind: type[Tensor]) -> None:
        self.stowed, self.kind = stowed, kind


def _bare(x: Any) -> tuple[Any, type[Tensor]]:
    """(x, the class that it has as a tensor); of a front door's tensor its array, which goes where others go."""
    return (raw(x), x.kind) if isinstance(x, Tensor) and x.kind is not Tensor else (x, Tensor)


def _sent(x: Any, courier: Any) -> Any:
    """x on its way, if it is an array of numbers in the CPU's memory; else as it is."""
    a, kind = _bare(x)
    sendable = type(a) is np.ndarray and (a.dtype.kind in "biufc" or a.dtype == bfloat16) and a.size > 0
    return _Sent(courier.send(a), kind) if sendable else x


def _tensor(x: Any, device: str | Device | None, courier: Any = None) -> Any:
    a, kind = (courier.back(x.stowed), x.kind) if isinstance(x, _Sent) else _bare(x)
    return detached(a, kind, device) if isinstance(a, Tensor) or library(a) is not None else x
