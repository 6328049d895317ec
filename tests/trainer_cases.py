"""Runs for the tests of the Trainer: a model with everything that has a state, and data that are shuffled."""

import numpy as np

import gpugrad as gg
from gpugrad.array import to_host
from gpugrad.train import Trainer

ROWS, SIZE = 66, 8  # the last batch of an epoch is smaller


def arrays(rows=ROWS, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 5)).astype(np.float32)
    return x, (x @ rng.standard_normal(5) > 0).astype(np.int32)


def batches(rows=ROWS, size=SIZE, seed=0):
    x, y = arrays(rows, seed)
    return [(x[i : i + size], y[i : i + size]) for i in range(0, rows, size)]


class Loader:
    """Shuffled batches by a seed and the number of the epoch, with the protocol of gg.data.DataLoader."""

    def __init__(self, rows=ROWS, size=SIZE):
        self.x, self.y = arrays(rows)
        self.size, self.epoch, self.batch = size, 0, 0

    def __len__(self):
        return -(-len(self.x) // self.size)

    def __iter__(self):
        order = np.random.default_rng([7, self.epoch]).permutation(len(self.x))
        for i in range(self.batch * self.size, len(order), self.size):
            self.batch += 1
            yield self.x[order[i : i + self.size]], self.y[order[i : i + self.size]]
        self.epoch, self.batch = self.epoch + 1, 0

    def state_dict(self):
        return {"epoch": self.epoch, "batch": self.batch}

    def load_state_dict(self, state):
        self.epoch, self.batch = state["epoch"], state["batch"]


def loader(rows=ROWS, size=SIZE, **options):
    """The package's own."""
    return gg.data.DataLoader(gg.data.ArrayDataset(*arrays(rows)), size, shuffle=True, seed=3, **options)


class Shuffled:
    """Batches in an order that comes from gg.random, and no state of its own."""

    def __iter__(self):
        x, y = arrays()
        order = to_host(gg.random.permutation(len(x), "cpu").array)
        for i in range(0, len(x), SIZE):
            yield x[order[i : i + SIZE]], y[order[i : i + SIZE]]


class Net(gg.nn.Module):
    def __init__(self, width=6):
        self.first, self.norm = gg.nn.Linear(5, width), gg.nn.BatchNorm(width)
        self.dropout, self.last = gg.nn.Dropout(0.3), gg.nn.Linear(width, 2)

    def forward(self, x):
        return self.last(self.dropout(gg.nn.relu(self.norm(self.first(x)))))


def accuracy(out, y):
    return gg.mean(gg.astype(gg.argmax(out, -1) == y, "float32"))


def trainer(directory=None, *, model=None, seed=0, optimizer=None, cls=Trainer, **options):
    gg.random.seed(seed)
    model = Net() if model is None else model
    optimizer = (optimizer or (lambda ps: gg.optim.SGD(ps, 0.1, 0.9)))(model.parameters())
    quiet = {"progress": False, "loggers": [] if directory is None else [gg.train.CSVFile(directory / "m.csv")]}
    return cls(
        model, optimizer, gg.nn.cross_entropy, **{**quiet, "metrics": {"accuracy": accuracy}, "log_every": 4,
        "directory": directory, **options},
    )  # fmt: skip


def everything(directory=None, **options):
    """A trainer with a schedule, a scaler and an average of the weights, too."""
    t = trainer(directory, **options)
    return trainer(directory, model=t.model, optimizer=lambda ps: t.optimizer, **{
        "schedule": gg.optim.lr_scheduler.ExponentialLR(t.optimizer, 0.9), "ema": gg.optim.EMA(t.model, 0.9),
        "scaler": gg.GradScaler(growth_interval=5), "clip_norm": 1.0, **options,
    })  # fmt: skip


def outcome(t):
    """What must be equal to the bit: weights, buffers, the optimizer's state, the history, the generator."""
    state = t.state_dict()
    return plain({k: state[k] for k in ("parts", "loop", "random", "means", "early_stopping")})


def plain(x):
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    if isinstance(x, gg.Tensor):
        x = to_host(x.array)
    return (str(x.dtype), x.shape, x.tobytes()) if isinstance(x, np.ndarray) else x
