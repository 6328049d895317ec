"""Floor 7: sources of data.  What they yield is state: gradients stop there."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import optree

from ..array import CPU
from ..core import Tensor, raw, wrap
from ..generator import own
from ..ops.casting import view
from ..origin import STATE, left, logs
from ..recording import lost
from ..tensor import tensor


def _map(f: Callable[..., Any], *trees: Any) -> Any:
    return optree.tree_map(f, *trees, namespace="gpugrad")


def detached(x: Any, kind: type[Tensor] = Tensor, device: Any = None) -> Tensor:
    """The values of x as a Tensor without history."""
    own = x if isinstance(x, Tensor) and device is None else tensor(x, None, device)
    return lost(wrap(view(raw(own)), None, kind), "dataset", (x,), STATE)


class _Place:
    """Where a shuffled dataset is: an epoch, and how often it has been gone through in it."""

    def __init__(self) -> None:
        self.epoch = self.times = 0


class Dataset:
    """A source of elements, nested tensors, that can be gone through again and again.

    A class of one's own derives from it as from PyTorch's: with `__len__` and `__getitem__`, or with `__iter__`.
    """

    element: Callable[[Any], Tensor] = staticmethod(detached)  # what an element's leaves are made into
    _start: Callable[[], Iterable[Any]] | None = None
    _length: int | None = None
    _shuffles: Sequence[_Place] = ()  # of it and of what it is made from

    def __init__(self, start: Callable[[], Iterable[Any]] | None = None, length: int | None = None) -> None:
        self._start, self._length = start, length

    def _on(self, start: Callable[[], Iterable[Any]], length: int | None = None) -> Any:
        """A dataset that is made from this one."""
        kind = next(c for c in type(self).__mro__ if c.__module__.startswith("gpugrad."))  # none of a user's own
        made = kind(start, length)
        made._shuffles = self._shuffles
        return made

    def set_epoch(self, epoch: int) -> None:
        """Let what is shuffled by a seed go on with the orders of an epoch, as a DataLoader and a Trainer do."""
        for place in self._shuffles:
            place.epoch, place.times = epoch, 0

    @classmethod
    def from_tensor_slices(cls, tensors: Any) -> Any:
        """The slices of nested tensors along their first axis.  ValueError if those differ in length."""
        if logs:
            _map(lambda t: left(t, STATE), tensors)
        arrays = _map(lambda t: np.array(raw(t)), _leaves(tensors))  # copies: elements are views, and users change both
        lengths = {len(a) for a in optree.tree_leaves(arrays, namespace="gpugrad")}
        if len(lengths) != 1:
            raise ValueError(f"from_tensor_slices: the first axes have lengths {sorted(lengths)}; they must be as long")
        (n,) = lengths
        return cls(lambda: (_map(lambda a, i=i: cls.element(a[i]), arrays) for i in range(n)), n)

    @classmethod
    def from_tensors(cls, tensors: Any) -> Any:
        """The one element given."""
        return cls(lambda: iter([_map(cls.element, tensors)]), 1)

    @classmethod
    def from_generator(
        cls, generator: Callable[[], Iterable[Any]], output_types: Any = None, output_shapes: Any = None,
        output_signature: Any = None,
    ) -> Any:  # fmt: skip
        """What the function yields, each time anew."""
        return cls(lambda: (_map(cls.element, e) for e in generator()))

    @classmethod
    def range(cls, *args: int) -> Any:
        """The integers of Python's range."""
        numbers = range(*args)
        return cls(lambda: (cls.element(np.int64(i)) for i in numbers), len(numbers))

    @classmethod
    def zip(cls, *datasets: Any) -> Any:
        """One element of each, as a tuple, until the shortest ends."""
        parts = datasets[0] if len(datasets) == 1 and isinstance(datasets[0], tuple) else datasets
        lengths = [d._known() for d in parts]
        made = cls(lambda: zip(*parts), None if None in lengths else min(lengths))
        made._shuffles = [place for d in parts for place in d._shuffles]
        return made

    def __iter__(self) -> Iterator[Any]:
        if self._start is not None:
            return iter(self._start())
        get = getattr(self, "__getitem__", None)
        if get is None:
            raise TypeError(f"{type(self).__name__} needs __len__ and __getitem__, or __iter__")
        return (get(i) for i in range(len(self)))

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError(
                "The dataset's length is unknown: it comes from a generator or a filter, or it is infinite."
            )
        return self._length

    def _known(self) -> int | None:
        """The number of elements; None where it is unknown.  It asks a class of one's own, which has a `__len__`."""
        with suppress(TypeError):
            return len(self)
        return None

    def cardinality(self) -> Tensor:
        """The number of elements; -2 where it is unknown."""
        return self.element(np.int64(-2 if (n := self._known()) is None else n))

    def batch(
        self, batch_size: int, drop_remainder: bool = False, num_parallel_calls: Any = None, deterministic: Any = None
    ) -> Any:
        """So many elements stacked into one; the last may be smaller."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, not {batch_size}")

        def start() -> Iterator[Any]:
            source = iter(self)
            while rows := list(itertools.islice(source, batch_size)):
                if len(rows) == batch_size or not drop_remainder:
                    yield _map(lambda *xs: self.element(np.stack([np.asarray(x) for x in xs])), *rows)

        n = self._known()
        return self._on(start, None if n is None else n // batch_size if drop_remainder else -(-n // batch_size))

    def unbatch(self) -> Any:
        """The elements of each batch."""
        return self._on(lambda: itertools.chain.from_iterable(self.from_tensor_slices(e) for e in self))

    def shuffle(self, buffer_size: int, seed: int | None = None, reshuffle_each_iteration: bool | None = True) -> Any:
        """Elements in random order, drawn from a buffer of so many.

        seed   determines it, together with the epoch (`set_epoch`) and how often it has been gone through in it; None:
               this thread's generator does, each time
        """
        place, again = _Place(), reshuffle_each_iteration is not False
        entropy = seed if seed is not None or again else own().take(CPU)[0]

        def start() -> Iterator[Any]:
            if entropy is None:
                rng = np.random.default_rng(own().take(CPU))
            else:
                rng = np.random.default_rng([entropy, place.epoch, place.times])
                place.times += again
            buffer: list[Any] = []
            for e in self:
                buffer.append(e)
                if len(buffer) >= buffer_size:
                    yield buffer.pop(rng.integers(len(buffer)))
            while buffer:
                yield buffer.pop(rng.integers(len(buffer)))

        made = self._on(start, self._known())
        made._shuffles = [*self._shuffles, *([place] if again else [])]
        return made

    def map(self, map_func: Callable[..., Any], num_parallel_calls: Any = None, deterministic: Any = None) -> Any:
        """The function of each element; of a tuple, of its parts."""
        call = lambda e: map_func(*e) if isinstance(e, tuple) else map_func(e)
        return self._on(lambda: (_map(self.element, call(e)) for e in self), self._known())

    def filter(self, predicate: Callable[..., Any]) -> Any:
        """The elements for which the function is true."""
        call = lambda e: predicate(*e) if isinstance(e, tuple) else predicate(e)
        return self._on(lambda: (e for e in self if bool(call(e))))

    def repeat(self, count: int | None = None) -> Any:
        """All elements so many times (None: without end)."""
        endless = count is None or count < 0
        times = itertools.count() if endless else range(count)  # type: ignore[arg-type]
        n = self._known()
        n = None if endless or n is None else n * count  # type: ignore[operator]
        return self._on(
            lambda: itertools.chain.from_iterable(self for _ in (itertools.count() if endless else times)), n
        )

    def take(self, count: int) -> Any:
        """The first so many elements; -1: all."""
        n, stop = self._known(), None if count < 0 else count
        fewer = n if stop is None or n is None else min(stop, n)
        return self._on(lambda: itertools.islice(iter(self), stop), fewer)

    def skip(self, count: int) -> Any:
        """All but the first so many elements; -1: none of them."""
        if count < 0:
            return self.take(0)
        n = self._known()
        return self._on(lambda: itertools.islice(iter(self), count, None), None if n is None else max(n - count, 0))

    def enumerate(self, start: int = 0) -> Any:
        """(number, element) pairs."""
        return self._on(lambda: ((self.element(np.int64(i)), e) for i, e in enumerate(self, start)), self._known())

    def prefetch(self, buffer_size: int) -> Any:
        """The dataset itself: elements are made when they are asked for."""
        return self

    cache = prefetch

    def as_numpy_iterator(self) -> Iterator[Any]:
        """The elements as NumPy arrays."""
        return (_map(lambda t: np.asarray(raw(t)), e) for e in self)


IterableDataset = Dataset


class Queue:
    """First in, first out, of nested tensors.  LookupError from an empty queue, ValueError into a full one."""

    element: Callable[[Any], Tensor] = staticmethod(detached)
    empty: type[Exception] = LookupError

    def __init__(self, capacity: int) -> None:
        self._capacity, self._elements = capacity, deque()

    def enqueue(self, vals: Any) -> None:
        """Put one element in."""
        if len(self._elements) >= self._capacity:
            raise ValueError(f"the queue is full: its capacity is {self._capacity}; dequeue first")
        self._elements.append(_map(self.element, vals))

    def dequeue(self) -> Any:
        """Take the oldest element out."""
        if not self._elements:
            raise self.empty("the queue is empty; enqueue first")
        return self._elements.popleft()

    def size(self) -> int:
        """The number of elements."""
        return len(self._elements)


def _leaves(tensors: Any) -> Any:
    """Lists of numbers are tensors here, not nesting: as in TensorFlow, tuples and dicts nest."""
    if isinstance(tensors, tuple):
        return tuple([_leaves(t) for t in tensors])
    if isinstance(tensors, dict):
        return {k: _leaves(t) for k, t in tensors.items()}
    return np.asarray(raw(tensor(tensors))) if isinstance(tensors, list) else tensors
