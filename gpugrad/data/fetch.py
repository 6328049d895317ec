"""Batches made of a dataset's elements, by the program itself or by a worker, to the same bit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from itertools import islice
from threading import Lock
from typing import Any

import numpy as np
import optree

from ..array import CPU, asarray, library, xp
from ..core import Tensor, raw
from ..generator import Generator, as_own, own
from .rows import mapped, of_door

END = object()  # what is answered when an iterable dataset has no more batches


class Numbers(Generator):
    """The random numbers of one element: the seed, the epoch, the batch and the place in it determine them.

    Worked out when the first is drawn, as most datasets draw none.
    """

    def __init__(self, seed: int, *place: int) -> None:
        self._lock, self._root = Lock(), _root(seed)
        self._start(0, seed, {})
        self.at(*place)

    def at(self, *place: int) -> None:
        """Go to an element."""
        self._place = place
        if "_key" in self.__dict__:
            del self._key
            self._draws = {}

    def __getattr__(self, name: str) -> Any:
        if name != "_key" or "_place" not in vars(self):
            raise AttributeError(name)
        self._key = self._base = self._root.fork(*self._place).get_state()["key"]
        return self._key


@lru_cache(16)
def _root(seed: int) -> Generator:
    """The generator of a seed, of which only forks are drawn from."""
    return Generator(seed)


def rng() -> np.random.Generator:
    """A generator of NumPy's, seeded by the next random number of this thread's own generator.

    In a dataset's `__getitem__` it is the same whatever the number of workers, and another for each element and epoch.
    """
    return np.random.default_rng(own().take(CPU))


class Maker:
    """Makes batches of a dataset: `maker((seed, epoch, number of the batch), what)` answers nested arrays.

    what   numbers of elements; one number, of a loader of single elements; None, for the next of an iterable dataset
    """

    def __init__(
        self, dataset: Any, collate: Callable[[list[Any]], Any] | None, size: int | None, drop_last: bool
    ) -> None:
        self.dataset, self.collate, self.size, self.drop_last = dataset, collate, size, drop_last
        self.whole = collate is None and size is not None and hasattr(dataset, "__getbatch__")
        self.quiet = self.whole and "draws_nothing" in vars(type(dataset))  # its own: a subclass of it may draw
        self._rows: tuple[Any, Iterator[Any]] | None = None  # (where the next batch is, the elements)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_rows": None}

    def __call__(self, where: tuple[int, int, int], what: Any) -> Any:
        if what is None:
            return self._next(where)
        numbers = Numbers(*where, 0)
        with as_own(numbers), nullcontext() if self.quiet else _seeded(numbers):
            if self.whole:
                return self.dataset.__getbatch__(np.asarray(what))
            if self.size is None:
                return self._one(self.dataset[what])
            if hasattr(self.dataset, "__getitems__"):
                return self._together(list(self.dataset.__getitems__(list(what))), what)
            rows = []
            for i, key in enumerate(what.tolist() if isinstance(what, np.ndarray) else what):
                numbers.at(*where[1:], i)
                rows.append(self.dataset[key])
            return self._together(rows, what)

    def _next(self, where: tuple[int, int, int]) -> Any:
        """The next batch of an iterable dataset, which is gone through from its start if another one comes next."""
        seed, epoch, number = where
        if self._rows is None or self._rows[0] != where:
            self._rows = None
            for before in range(number):
                self._pulled((seed, epoch, before))
        got = self._pulled(where)
        if not got or (self.drop_last and len(got) < (self.size or 1)):
            self._rows = None
            return END
        numbers = Numbers(*where, 1)
        with as_own(numbers), nullcontext() if self.collate is None else _seeded(numbers):
            first = number * (self.size or 1)
            return self._one(got[0]) if self.size is None else self._together(got, range(first, first + len(got)))

    def _pulled(self, where: tuple[int, int, int]) -> list[Any]:
        """The elements of one batch, with the random numbers of that batch: resumed, they are drawn again."""
        seed, epoch, number = where
        numbers = Numbers(*where, 0)
        with as_own(numbers), _seeded(numbers):
            if self._rows is None and hasattr(self.dataset, "set_epoch"):
                self.dataset.set_epoch(epoch)
            rows = iter(self.dataset) if self._rows is None else self._rows[1]
            got = list(islice(rows, self.size or 1))
        self._rows = (seed, epoch, number + 1), rows
        return got

    def _one(self, element: Any) -> Any:
        return element if self.collate is None else self.collate(element)

    def _together(self, rows: list[Any], numbers: Any) -> Any:
        return default_collate(rows, numbers) if self.collate is None else self.collate(rows)


_numpy: Any = np.random  # whose types lack what is asked for here
_switching = Lock()
_found: list[tuple[Any, Any, Any]] = []  # the random states of those inside `_seeded`, first the program's own


@contextmanager
def _seeded(numbers: Numbers) -> Iterator[None]:
    """NumPy's and Python's own random numbers follow the seed inside, and are where they were afterwards.

    All threads share them: those inside at once disturb each other, but the last one out leaves the program's own.
    NumPy's state takes 0.1 ms to keep and to put back.
    """
    seed = numbers.take(CPU)[0]
    with _switching:
        before = random.getstate(), _numpy.get_bit_generator(), _numpy.get_state(legacy=False)
        _found.append(before)
    try:
        with _switching:
            if not isinstance(before[1], np.random.MT19937):  # what workers have
                _numpy.set_bit_generator(np.random.MT19937())
            random.seed(seed)
            np.random.seed(seed % 2**32)
        yield
    finally:
        with _switching:
            last = _found.pop()
            own = before if _found else last
            random.setstate(own[0])
            if _numpy.get_bit_generator() is not own[1]:
                _numpy.set_bit_generator(own[1])
            np.random.set_state(own[2])


def default_collate(batch: Sequence[Any], numbers: Any = None) -> Any:
    """The elements put together: arrays and numbers are stacked, strings listed, in nested tuples, lists and dicts.

    Python's floats become float32 and its integers int32, as elsewhere; arrays keep their dtype.  ValueError for an
    element that differs in shape or structure, which is named; TypeError for what can't be stacked.
    numbers   by which the elements are named in errors
    """
    names = range(len(batch)) if numbers is None else numbers
    first, tree = optree.tree_flatten(batch[0], namespace="gpugrad")
    leaves: list[list[Any]] = [first]
    for name, element in zip(names[1:], batch[1:]):
        try:
            leaves.append(tree.flatten_up_to(element))
        except ValueError:
            lacks = " (does the dataset's __getitem__ lack a return for it?)" if batch[0] is None else ""
            here = _shown(batch[0]) + lacks
            raise ValueError(
                f"DataLoader: element {name} is {_shown(element)}, and element {names[0]} is {here}; "
                "all elements need the same structure, or pass collate_fn="
            ) from None
    columns = [_stacked([raw(x) for x in column], names) for column in zip(*leaves)]
    columns = [c if _plain(x) else of_door(c, x.kind) for c, x in zip(columns, first)]
    return optree.tree_unflatten(tree, columns)


def _plain(x: Any) -> bool:
    """Whether x is no tensor of a front door, whose batches are such tensors, too."""
    return not isinstance(x, Tensor) or x.kind is Tensor


class _Kind:
    """What stands for a leaf of an element: the name of its class."""

    def __init__(self, leaf: Any) -> None:
        self._name = type(leaf).__name__

    def __repr__(self) -> str:
        return self._name


def _shown(element: Any) -> str:
    """The structure of an element, such as (ndarray, int)."""
    return repr(mapped(_Kind, element))


def _stacked(column: list[Any], names: Any) -> Any:
    first = column[0]
    for name in [name for name, x in zip(names, column) if x is None]:
        raise ValueError(
            f"DataLoader: element {name} has None where element {names[0]} has {type(first).__name__}: does the "
            "dataset's __getitem__ lack a return for it? Or pass collate_fn="
        )
    if isinstance(first, (str, bytes)):
        return column
    if library(first) is None or isinstance(first, np.generic):
        if not all([isinstance(x, (int, float, complex, np.generic)) for x in column]):
            kinds = sorted({type(x).__name__ for x in column})
            raise TypeError(
                f"DataLoader can't put {', '.join(kinds)} together in a batch: it stacks arrays, tensors and numbers, "
                "in nested tuples, lists and dicts; pass collate_fn="
            )
        return asarray(column, None, CPU)
    for name, x in zip(names, column):
        if getattr(x, "shape", None) != first.shape:
            raise ValueError(
                f"DataLoader: element {name} has shape {getattr(x, 'shape', ())} where element {names[0]} has "
                f"{first.shape}; all elements of a batch need the same shape, or pass collate_fn="
            )
    if first.dtype.kind == "O":
        raise TypeError("DataLoader: arrays of Python objects can't be tensors; give numbers, or pass collate_fn=")
    if type(first) is np.ndarray and first.ndim:  # as np.stack, in half the time
        return np.concatenate(column).reshape(len(column), *first.shape)
    return xp(first).stack(column)
