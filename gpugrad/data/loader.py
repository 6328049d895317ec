"""DataLoader: batches of a dataset, shuffled by a seed, made by worker processes if asked for, that can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from itertools import islice, repeat
from operator import index
from typing import Any

import numpy as np

from ..array import Device, device as named
from ..generator import Generator, own
from .deliver import delivered
from .fetch import END, Maker
from .samplers import RandomSampler, Sampler, SequentialSampler


class DataLoader:
    """Batches of a dataset as tensors on a device; each time it is gone through is an epoch.

        for x, y in gg.data.DataLoader(ArrayDataset(images, labels), batch_size=64, shuffle=True): ...

    dataset         anything with `len()` and `dataset[i]`, or that can be gone through (an iterable dataset)
    batch_size      how many elements are a batch; None: the elements themselves
    shuffle         in another order each epoch, which the seed and the number of the epoch determine
    sampler         the numbers of the elements instead: a Sampler, or anything else to go through
    batch_sampler   lists of numbers, one a batch, instead of batch_size, shuffle, sampler and drop_last
    num_workers     processes that make the batches.  The batches, their order and the random numbers drawn in the
                    dataset (`gg.random`, `gg.data.rng()`, NumPy's, Python's) are the same whatever the number.  An
                    iterable dataset takes one at most.  A script that asks for workers starts them under
                    `if __name__ == "__main__":`, as they read it, too
    collate_fn      f(list of elements) -> batch, instead of `default_collate`
    pin_memory      whether copies to a GPU go through pinned memory, one batch ahead, beside the computing; None: yes
    drop_last       leave out a last batch that is smaller
    timeout         how many seconds to wait for a batch of a worker; 0: as long as it takes.  Then a TimeoutError
    worker_init_fn  f(number of the worker), called first in each
    generator       where the seed comes from (None: this thread's generator); seed: or the seed itself
    prefetch_factor how many batches are made ahead for each worker
    persistent_workers   whether they live as long as the loader, or as one epoch
    device          where the tensors are: None, arrays of a GPU stay there and others go to the default device

    `state_dict()` says where it is: the batches handed out so far, whatever was made ahead.  A loader of the same
    dataset and options that loads it goes on with exactly the batches that are left.  ValueError for a loader that
    would be empty; `WorkerError` for a worker that died.  What a worker raises is raised here, its traceback noted.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool | None = None,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        generator: Generator | None = None,
        *,
        seed: int | None = None,
        prefetch_factor: int = 2,
        persistent_workers: bool = True,
        device: str | Device | None = None,
    ) -> None:
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.num_workers, self.collate_fn, self.pin_memory, self.timeout = num_workers, collate_fn, pin_memory, timeout
        self.worker_init_fn, self.prefetch_factor, self.persistent_workers = (
            worker_init_fn, prefetch_factor, persistent_workers,
        )  # fmt: skip
        self.device = None if device is None else named(device)
        self.batch_sampler, self.iterable = batch_sampler, not hasattr(dataset, "__getitem__")
        self._check(shuffle, sampler, generator, seed)
        if sampler is None and batch_sampler is None and not self.iterable:
            sampler = RandomSampler(dataset) if shuffle else SequentialSampler(dataset)
        self.sampler = sampler
        self.seed = (generator or own()).split(1)[0].get_state()["key"] if seed is None else index(seed)
        self._epoch, self._batch, self._running = 0, 0, False
        self._run, self._closed, self._workers = 0, 0, None
        if self._length() == 0:
            given = f"{len(dataset)} elements" if hasattr(dataset, "__len__") else "a sampler of none"
            raise ValueError(f"DataLoader has no batches: {given}, batch_size={batch_size}, drop_last={drop_last}")

    def _check(self, shuffle: Any, sampler: Any, generator: Any, seed: Any) -> None:
        """An error for options that are out of range or contradict each other."""
        for name, least in (("num_workers", 0), ("timeout", 0), ("prefetch_factor", 1)):
            value = getattr(self, name)
            if not isinstance(value, int if name != "timeout" else (int, float)) or not value >= least:
                raise ValueError(f"DataLoader: {name} is a number from {least} on, not {value!r}")
        size = self.batch_size
        if size is not None and (not isinstance(size, (int, np.integer)) or size < 1):
            raise ValueError(f"DataLoader: batch_size is a number from 1 on, or None for single elements, not {size!r}")
        if size is None and self.drop_last:
            raise ValueError("DataLoader: batch_size=None has no last batch to drop; leave out drop_last")
        if generator is not None and seed is not None:
            raise ValueError("DataLoader: give a generator or a seed, not both")
        if sampler is not None and shuffle:
            raise ValueError("DataLoader: sampler option is mutually exclusive with shuffle")
        if self.batch_sampler is not None and (size != 1 or shuffle or sampler is not None or self.drop_last):
            raise ValueError(
                "DataLoader: batch_sampler option is mutually exclusive with batch_size, shuffle, sampler and drop_last"
            )
        if self.iterable:
            if not hasattr(self.dataset, "__iter__"):
                raise TypeError(
                    f"DataLoader: a dataset has len() and dataset[i], or can be gone through; {self.dataset!r:.60} of "
                    f"type {type(self.dataset).__name__} has neither"
                )
            if shuffle or sampler is not None or self.batch_sampler is not None:
                raise ValueError("DataLoader: the elements of an iterable dataset come in its own order; shuffle there")
            if self.num_workers > 1:
                raise ValueError(
                    f"DataLoader: an iterable dataset can't be shared among num_workers={self.num_workers} without its "
                    "elements coming twice; write num_workers=1, or give it len() and dataset[i]"
                )
        elif not hasattr(self.dataset, "__len__") and sampler is None and self.batch_sampler is None:
            raise TypeError("DataLoader: a dataset with dataset[i] needs len(), or a sampler")

    # ------------------------------------------------------------------------------------ going through
    def _length(self) -> int | None:
        """The number of batches; None if it is not known."""
        numbers = self.batch_sampler if self.batch_sampler is not None else self.sampler
        numbers = self.dataset if numbers is None else numbers
        if not hasattr(numbers, "__len__"):
            return None
        try:
            n = len(numbers)  # type: ignore[arg-type]
        except TypeError:
            return None
        size = 1 if self.batch_sampler is not None or self.batch_size is None else self.batch_size
        return n // size if self.drop_last else -(-n // size)

    def __len__(self) -> int:
        n = self._length()
        if n is None:
            raise TypeError("the length of this DataLoader is unknown: its dataset, or sampler, has none")
        return n

    def __iter__(self) -> Iterator[Any]:
        if self._running:  # the last epoch was left before its end
            self._epoch, self._batch = self._epoch + 1, 0
        self._running = True
        self._run += 1
        return self._going(self._run, self._epoch, self._batch)

    def _going(self, run: int, epoch: int, first: int) -> Iterator[Any]:
        number = first
        for batch in delivered(self._made(epoch, first), self.device, self.pin_memory):
            number += 1
            if run == self._run:
                self._batch = number
            yield batch
            if run <= self._closed:
                raise RuntimeError("this iteration ended as the DataLoader was closed; begin another with iter(loader)")
        if number == 0:
            raise ValueError(self._empty())
        if run == self._run:
            self._epoch, self._batch, self._running = epoch + 1, 0, False

    def _empty(self) -> str:
        """What is wrong where an epoch had no batches."""
        again = "; what can be gone through only once, as a generator, is at its end after the first epoch"
        if self.batch_sampler is not None or (self.sampler is not None and not isinstance(self.sampler, Sampler)):
            return f"the sampler gave no numbers{again}"
        what = f"less than a batch of {self.batch_size}, with drop_last" if self.drop_last else "no elements"
        return f"the dataset gave {what}: {self.dataset!r:.80}{again}"

    def _plan(self, epoch: int, first: int) -> Iterator[Any]:
        """What the batches of an epoch are made of, from batch `first` on."""
        if self.iterable:
            return repeat(None)
        if self.batch_sampler is not None:
            return islice(iter(self.batch_sampler), first, None)
        if not isinstance(self.sampler, Sampler):
            return islice(self._parts(iter(self.sampler)), first, None)  # type: ignore[arg-type]
        order = self.sampler.order(Generator(self.seed).fork(epoch))
        if self.batch_size is None:
            return iter(order[first:].tolist())
        size, end = self.batch_size, len(order)
        end -= end % size if self.drop_last else 0
        return (order[i : min(i + size, end)] for i in range(first * size, end, size))

    def _parts(self, numbers: Iterator[Any]) -> Iterator[Any]:
        if self.batch_size is None:
            yield from numbers
        else:
            while part := list(islice(numbers, self.batch_size)):
                if len(part) == self.batch_size or not self.drop_last:
                    yield part

    def _made(self, epoch: int, first: int) -> Iterator[Any]:
        """The batches in the memory of the CPU, or where the dataset has its arrays."""
        plan = (((self.seed, epoch, number), what) for number, what in enumerate(self._plan(epoch, first), first))
        if not self.num_workers:
            maker = self._maker()
            for where, what in plan:
                if (batch := maker(where, what)) is END:
                    return
                yield batch
            return
        team = self._workers
        if team is None or team.closed:
            make = import_module("gpugrad.data.workers").Workers
            team = make(self._maker(), self.num_workers, self.prefetch_factor, self.timeout, self.worker_init_fn)
            self._workers = team if self.persistent_workers else None
        try:
            yield from team.run(plan)
        finally:
            if not self.persistent_workers:
                team.close()

    def _maker(self) -> Maker:
        return Maker(self.dataset, self.collate_fn, self.batch_size, self.drop_last)

    def close(self) -> None:
        """End the workers, and iterations under way with a RuntimeError.  The next iteration starts others."""
        self._closed = self._run
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def __enter__(self) -> DataLoader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------ state
    def state_dict(self) -> dict[str, Any]:
        """{"seed", "epoch", "batch"}: `batch` batches of this epoch have been handed out; what they are batches of.

        That is "batch_size" (of a batch sampler 1), and "batches", how many an epoch has, None if it is not known.
        """
        at = {"seed": self.seed, "epoch": self._epoch, "batch": self._batch}
        return {**at, "batch_size": self.batch_size, "batches": self._length()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state_dict: the next iteration has the batches that were left.

        ValueError for anything else, for a position behind the last batch, and for one in the middle of an epoch of
        other batches; then nothing has changed.
        """
        if not isinstance(state_dict, dict) or {*state_dict} - {"batch_size", "batches"} != {"seed", "epoch", "batch"}:
            raise ValueError(f"loaded state dict is none of a DataLoader: {state_dict!r:.80}")
        seed, epoch, batch = (state_dict[k] for k in ("seed", "epoch", "batch"))
        if not all([isinstance(n, (int, np.integer)) for n in (seed, epoch, batch)]) or min(epoch, batch) < 0:
            raise ValueError(f"loaded state dict is none of a DataLoader: {state_dict!r:.80}")
        for name, here in (("batch_size", self.batch_size), ("batches", self._length())) if batch else ():
            if name in state_dict and state_dict[name] != here:
                raise ValueError(
                    f"loaded state dict is of a DataLoader with {name.replace('_', ' ')} {state_dict[name]}, and here "
                    f"it is {here}: {batch} batches of an epoch have been handed out, and what is left would be others"
                )
        if (n := self._length()) is not None and batch > n:
            raise ValueError(f"loaded state dict is of a longer DataLoader: batch {batch}, and here are {n}")
        self.seed, self._epoch, self._batch, self._running = int(seed), int(epoch), int(batch), False
