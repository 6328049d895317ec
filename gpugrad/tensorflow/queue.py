"""tf.queue.  What a queue gives back is state: gradients stop there."""

from __future__ import annotations

from typing import Any

from ..data import Queue
from .data import fresh
from .errors import OutOfRangeError
from .tensor import refuse


class FIFOQueue(Queue):
    """First in, first out, of nested tensors.  OutOfRangeError from an empty queue, ValueError into a full one."""

    element = staticmethod(fresh)
    empty = OutOfRangeError

    def __init__(self, capacity: int, dtypes: Any = None, shapes: Any = None, **options: Any) -> None:
        refuse(options, {"names", "shared_name", "name"})
        super().__init__(capacity)
