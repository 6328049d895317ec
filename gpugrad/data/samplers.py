"""Which elements of a dataset come in which order.

A sampler of ours is asked `order(generator)` once an epoch, with the generator that the loader's seed and the epoch
determine; gone through by itself it draws from this thread's generator.  Anything else that can be gone through is a
sampler, too, if it is the same each time that an epoch is to be resumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import index
from typing import Any

import numpy as np

from ..array import to_host
from ..core import raw
from ..generator import Generator, own
from ..ops.discrete import permutation, randint
from ..ops.random import uniform


class Sampler:
    """Numbers of elements: `len()` of them, in the order of `order(generator)`, an array of integers."""

    def order(self, generator: Generator) -> np.ndarray:
        """The numbers of one epoch."""
        raise TypeError(f"{type(self).__name__} has no order(generator)")

    def __iter__(self) -> Iterator[int]:
        return iter(self.order(own().split(1)[0]).tolist())

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__} has no len()")


class SequentialSampler(Sampler):
    """From the first to the last."""

    def __init__(self, data_source: Any) -> None:
        self._n = len(data_source)

    def order(self, generator: Generator) -> np.ndarray:
        return np.arange(self._n)

    def __len__(self) -> int:
        return self._n


class RandomSampler(Sampler):
    """In random order, or with replacement: `num_samples` (as many as there are) that may repeat.

    A dataset that is read in blocks says how it is shuffled: `shuffled(generator)`, as Parquet files do.
    ValueError for more samples than elements, without replacement.
    """

    def __init__(self, data_source: Any, replacement: bool = False, num_samples: int | None = None) -> None:
        self._data, self._replacement = data_source, replacement
        self._n = len(data_source) if num_samples is None else index(num_samples)
        if self._n < 0 or (self._n > len(data_source) and not replacement) or (self._n and not len(data_source)):
            raise ValueError(
                f"RandomSampler: num_samples={num_samples} of {len(data_source)} elements"
                f"{'' if replacement else '; to draw some more than once, write replacement=True'}"
            )

    def order(self, generator: Generator) -> np.ndarray:
        n = len(self._data)
        if self._replacement:
            return raw(randint(0, n, (self._n,), dtype="int64", device="cpu", generator=generator))
        if hasattr(self._data, "shuffled"):
            return self._data.shuffled(generator)[: self._n]
        return shuffled(n, generator)[: self._n]

    def __len__(self) -> int:
        return self._n


class SubsetRandomSampler(Sampler):
    """The given numbers in random order."""

    def __init__(self, indices: Sequence[int]) -> None:
        self._indices = np.asarray(indices)

    def order(self, generator: Generator) -> np.ndarray:
        return self._indices[shuffled(len(self._indices), generator)]

    def __len__(self) -> int:
        return len(self._indices)


class WeightedRandomSampler(Sampler):
    """num_samples numbers, each as often as its weight says; without replacement, each once at most.

    ValueError for weights that are negative, not finite or all 0, and for more samples than weights above 0.
    """

    def __init__(self, weights: Any, num_samples: int, replacement: bool = True) -> None:
        self._weights = np.asarray(to_host(raw(weights)), np.float64)
        self._n, self._replacement = index(num_samples), replacement
        w = self._weights
        if w.ndim != 1 or not np.isfinite(w).all() or (w < 0).any() or not w.sum() > 0:
            raise ValueError("WeightedRandomSampler: weights are numbers from 0 on, in one row, not all of them 0")
        if self._n < 1 or (not replacement and self._n > np.count_nonzero(w)):
            raise ValueError(
                f"WeightedRandomSampler: num_samples={num_samples} with {np.count_nonzero(w)} weights above 0"
                f"{'' if replacement else ' and replacement=False'}"
            )

    def order(self, generator: Generator) -> np.ndarray:
        w = self._weights
        draw = lambda n: raw(uniform((n,), dtype="float64", device="cpu", generator=generator))
        if self._replacement:
            total = np.cumsum(w)
            last = np.flatnonzero(w)[-1]  # a draw may round up to the sum
            return np.minimum(np.searchsorted(total, draw(self._n) * total[-1], side="right"), last)
        with np.errstate(divide="ignore"):  # the first of exponential clocks (Efraimidis & Spirakis 2006)
            times = -np.log1p(-draw(len(w))) / w
        times[w == 0] = np.inf
        return np.argsort(times, kind="stable")[: self._n]

    def __len__(self) -> int:
        return self._n


def shuffled(n: int, generator: Generator) -> np.ndarray:
    """0 .. n - 1 in random order."""
    return raw(permutation(n, "cpu", generator=generator))
