"""Batches brought to the device: on a GPU the next one is copied while this one is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..array import Device, default_device, device as named, library
from ..core import Tensor
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
            sent += [] if over else [mapped(lambda x: courier.send(x) if _sendable(x) else x, batch)]
        if sent and (over or len(sent) == 2):
            yield mapped(lambda x: _tensor(courier.back(x) if isinstance(x, Stowed) else x, device), sent.pop(0))
    if error is not None:
        raise error


def _sendable(x: Any) -> bool:
    """Whether x is an array of numbers in the CPU's memory."""
    return type(x) is np.ndarray and (x.dtype.kind in "biufc" or x.dtype == bfloat16) and x.size > 0


def _tensor(x: Any, device: str | Device | None) -> Any:
    return detached(x, device=device) if isinstance(x, Tensor) or library(x) is not None else x
