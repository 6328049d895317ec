"""Datasets for the tests of loaders, which worker processes import: so no test module, and nothing that takes long."""

import os
import signal
import threading

import numpy as np

import gpugrad as gg
from gpugrad.data import ArrayDataset

HOST = lambda t: gg.array.to_host(gg.core.raw(t))


class Rows:
    """Elements made one by one, with random numbers of three kinds."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        drawn = gg.random.uniform((2,), device="cpu"), gg.data.rng().integers(1 << 30), np.random.rand()
        return {"i": i, "x": np.full(3, i, np.float64), "drawn": drawn, "name": f"e{i}", "none": None}


class Stream:
    """Gone through only."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return ((np.float32(i), gg.random.uniform((), device="cpu")) for i in range(self.n))


def plain(batch):
    """A batch in Python's numbers, to compare."""
    if isinstance(batch, dict):
        return {k: plain(v) for k, v in batch.items()}
    if isinstance(batch, tuple | list):
        return [plain(v) for v in batch]
    return HOST(batch).tolist() if isinstance(batch, gg.Tensor) else batch


def arrays(n):
    return ArrayDataset(np.arange(2 * n, dtype=np.float32).reshape(n, 2), np.arange(n))


# ---------------------------------------------------------------------------------------------- for workers
class Odd(Exception):
    """Can be packed, and not unpacked."""

    def __init__(self, a, b):
        super().__init__(a)


class Misbehaving(Rows):
    """One element does something: by its number."""

    def __init__(self, n, what, at):
        super().__init__(n)
        self.what, self.at = what, at

    def __getitem__(self, i):
        if i == self.at:
            if self.what == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            elif self.what == "exits":
                os._exit(3)
            elif self.what == "raises":
                raise KeyError("element five")
            elif self.what == "odd":
                raise Odd(1, 2)
            elif self.what == "waits":
                threading.Event().wait()
        return np.full((4, 5), i, np.float32), gg.full((2,), i).astype("bfloat16"), f"e{i}"


class Shy:
    """Cannot be made again in another process."""

    def __len__(self):
        return 2

    def __getitem__(self, i):
        return i

    def __reduce__(self):
        return _refusing, ()


def _refusing():
    raise OSError("not here")


def growing(rows):
    """A batch whose size is that of its largest number, and what is no array."""
    n = max(r["i"] for r in rows)
    return np.ones((n * 100, 10)), {"empty": np.ones((0, 3)), "n": n}


def first_in_worker(number):
    os.environ["GPUGRAD_TEST_WORKER"] = str(number)


class Named(Rows):
    def __getitem__(self, i):
        return os.environ["GPUGRAD_TEST_WORKER"]
