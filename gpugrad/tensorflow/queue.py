"""tf.queue.  What a queue gives back is state: gradients stop there."""

from __future__ import annotations

from collections import deque
from typing import Any

from ..data import _map
from .data import fresh
from .errors import OpError


class OutOfRangeError(OpError):
    """The queue is empty."""


class FIFOQueue:
    """First in, first out, of nested tensors.  OutOfRangeError from an empty queue, ValueError into a full one."""

    def __init__(self, capacity: int, dtypes: Any = None, shapes: Any = None, **options: Any) -> None:
        self._capacity, self._elements = capacity, deque()

    def enqueue(self, vals: Any) -> None:
        """Put one element in."""
        if len(self._elements) >= self._capacity:
            raise ValueError(f"the queue is full: its capacity is {self._capacity}; dequeue first")
        self._elements.append(_map(fresh, vals))

    def dequeue(self) -> Any:
        """Take the oldest element out."""
        if not self._elements:
            raise OutOfRangeError("the queue is empty; enqueue first")
        return self._elements.popleft()

    def size(self) -> int:
        """The number of elements."""
        return len(self._elements)
