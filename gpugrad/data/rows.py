"""Datasets whose elements have numbers: arrays, parts of datasets, several as one.

A dataset is anything with `len()` and `dataset[i]`.  One that also has `__getbatch__(indices)`, which answers the
elements of an array of numbers put together, makes a batch in one step, without Python for each row.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import optree

from ..array import library, xp
from ..core import Tensor, raw, wrap
from ..generator import Generator, own
from ..tensor import tensor
from .samplers import shuffled


class ArrayDataset:
    """The rows of arrays that are equally long: element i is (x[i], y[i], …), of named arrays {name: array[i]}.

        ArrayDataset(x, y)        ArrayDataset(image=x, label=y)

    arrays  NumPy's, a GPU's, Tensors or nested lists.  ValueError if their lengths differ, or one has no rows to take
    """

    draws_nothing = True

    def __init__(self, *arrays: Any, **named: Any) -> None:
        if bool(arrays) == bool(named):
            raise TypeError("ArrayDataset takes arrays, ArrayDataset(x, y), or named ones, ArrayDataset(image=x)")
        given = named if named else dict(enumerate(arrays))
        self.arrays = {k: a if library(a) is not None else raw(tensor(a)) for k, a in given.items()}
        shapes = {k: a.shape for k, a in self.arrays.items()}
        if len({s[:1] for s in shapes.values()}) != 1 or () in shapes.values():
            raise ValueError(f"ArrayDataset: all arrays need as many rows; the shapes are {shapes}")
        self._n, self._named = int(next(iter(shapes.values()))[0]), bool(named)
        self._kinds = [a.kind if isinstance(a, Tensor) else Tensor for a in given.values()]

    def _made(self, parts: Iterable[Any]) -> Any:
        made = [part if kind is Tensor else of_door(part, kind) for part, kind in zip(parts, self._kinds)]
        return dict(zip(self.arrays, made)) if self._named else tuple(made)

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, i: Any) -> Any:
        return self._made([a[i] for a in self.arrays.values()])

    def __getbatch__(self, indices: np.ndarray) -> Any:
        rows = checked(indices, self._n)
        return self._made([taken(a, rows) for a in self.arrays.values()])


TensorDataset = ArrayDataset


def of_door(array: Any, kind: type[Tensor]) -> Tensor:
    """An array, or a number of one, as a front door's tensor: what is made of such tensors is of their class."""
    return wrap(np.asarray(array) if isinstance(array, np.generic) else array, None, kind)


def checked(indices: Any, n: int) -> np.ndarray:
    """The numbers as an array, those from the end counted from the front.  IndexError for one that is out of range."""
    rows = np.asarray(indices)
    if rows.dtype.kind not in "iu":
        if rows.size:
            raise IndexError(f"elements have whole numbers, not {rows.dtype}")
        rows = rows.astype(np.int64)
    if rows.size and (rows.min() < -n or rows.max() >= n):
        raise IndexError(f"there is no element {rows[(rows < -n) | (rows >= n)][0]}: there are {n}, numbered from 0")
    return np.where(rows < 0, rows + n, rows) if rows.size and rows.min() < 0 else rows


def taken(a: Any, rows: np.ndarray) -> Any:
    """Copies of these rows, of an array anywhere; `rows` are in range."""
    if type(a) is np.ndarray:
        return a.take(rows, 0, mode="clip")  # as they are in range; the check would cost half the time
    lib: Any = library(a)
    return a[lib.asarray(rows, None, lib.device_of(a))]


class Subset:
    """The elements of a dataset that have the given numbers."""

    def __init__(self, dataset: Any, indices: Any) -> None:
        self.dataset, self.indices = dataset, checked(indices, len(dataset))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> Any:
        return self.dataset[int(self.indices[i])]

    @property
    def __getbatch__(self) -> Callable[[np.ndarray], Any]:
        get = self.dataset.__getbatch__  # or it has none, either
        return lambda indices: get(self.indices[checked(indices, len(self))])


class ConcatDataset:
    """Datasets one after the other as one.  ValueError if there are none."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: datasets should not be an empty iterable")
        self._ends = list(accumulate(map(len, self.datasets)))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, i: int) -> Any:
        i = int(checked(i, len(self)))
        at = bisect_right(self._ends, i)
        return self.datasets[at][i - (self._ends[at - 1] if at else 0)]

    @property
    def __getbatch__(self) -> Callable[[np.ndarray], Any]:
        gets = [d.__getbatch__ for d in self.datasets]  # or one has none

        def batch(indices: np.ndarray) -> Any:
            rows = checked(indices, len(self))
            homes = np.searchsorted(self._ends, rows, side="right")
            starts = [0, *self._ends]
            parts = [gets[h](rows[homes == h] - starts[h]) for h in np.unique(homes)]
            if len(parts) == 1:
                return parts[0]
            back = np.argsort(np.argsort(homes, kind="stable"), kind="stable")  # where each row has come to
            return mapped(lambda *some: taken(xp(some[0]).concatenate(some), back), *parts)

        return batch


def mapped(f: Callable[..., Any], *trees: Any) -> Any:
    """f of the leaves of nested tuples, lists and dicts."""
    return optree.tree_map(f, *trees, namespace="gpugrad")


def random_split(
    dataset: Any, lengths: Sequence[float], generator: Generator | None = None, seed: int | None = None
) -> list[Subset]:
    """The dataset in parts at random: of so many elements, or of such shares of all, which sum to 1.

    generator, seed   what decides; this thread's generator.  ValueError for lengths that do not add up
    """
    n, sizes = len(dataset), list(lengths)
    if all([0 <= s <= 1 for s in sizes]) and math.isclose(sum(sizes), 1, rel_tol=1e-9):
        sizes = [math.floor(n * s) for s in sizes]
        for i in range(n - sum(sizes)):  # what is left, one each
            sizes[i % len(sizes)] += 1
    if sum(sizes) != n or any([s < 0 or s != int(s) for s in sizes]):
        raise ValueError(f"random_split: lengths {list(lengths)} are neither shares that sum to 1 nor sum to {n}")
    if generator is None:
        generator = own().split(1)[0] if seed is None else Generator(seed)
    order, ends = shuffled(n, generator), list(accumulate([int(s) for s in sizes]))
    return [Subset(dataset, order[end - int(s) : end]) for s, end in zip(sizes, ends)]
