"""Runs for the tests of the Trainer: a model with everything that has a state, data that are shuffled, fakes."""

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


class Shuffled:
    """Batches in an order that comes from gg.random, and no state of its own."""

    def __iter__(self):
        x, y = arrays()
        order = to_host(gg.random.permutation(len(x), "cpu").array)
        for i in range(0, len(x), SIZE):
            yield x[order[i : i + SIZE]], y[order[i : i + SIZE]]


class Schedule:
    """A rate that falls, PyTorch's way."""

    def __init__(self, optimizer, gamma=0.9):
        self.optimizer, self.gamma, self.t = optimizer, gamma, 0

    def step(self):
        self.t += 1
        self.optimizer.learning_rate = self.optimizer.learning_rate * self.gamma

    def state_dict(self):
        return {"t": self.t}

    def load_state_dict(self, state):
        self.t = state["t"]


class EMA:
    """The mean of the weights, and of the buffers the last."""

    def __init__(self, model):
        self.model = model
        self.means = {name: np.array(to_host(t.array)) for name, t in model.state().items()}

    def update(self):
        for name, t in self.model.state().items():
            self.means[name] = np.asarray(0.5 * self.means[name] + 0.5 * to_host(t.array)).astype(t.array.dtype)

    def applied(self):
        return _Applied(self)

    def state_dict(self):
        return {"means": dict(self.means)}

    def load_state_dict(self, state):
        self.means = dict(state["means"])


class _Applied:
    def __init__(self, ema):
        self.ema = ema

    def __enter__(self):
        self.own = self.ema.model.state_dict()
        self.ema.model.load_state_dict(self.ema.means)

    def __exit__(self, *error):
        self.ema.model.load_state_dict(self.own)


class Scaler:
    """A loss scale that falls at each overflow, PyTorch's way, on the host."""

    def __init__(self):
        self.at, self.skipped, self.calls = 2.0**10, 0, []

    def scale(self, loss):
        return loss * self.at

    def unscale_(self, optimizer):
        self.calls.append("unscale_")
        for v in optimizer.variables:
            if v.grad is not None:
                v.grad.array = v.grad.array / np.float32(self.at)

    def step(self, optimizer):
        if "unscale_" not in self.calls[-1:]:
            self.unscale_(optimizer)
        self.calls.append("step")
        optimizer.step()

    def update(self):
        self.calls.append("update")
        self.at *= 0.5 if self.at > 2 else 1.0

    def state_dict(self):
        return {"at": self.at, "skipped": self.skipped}

    def load_state_dict(self, state):
        self.at, self.skipped = state["at"], state["skipped"]


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
    """A trainer with a schedule, a scaler and an EMA, too."""
    t = trainer(directory, **options)
    again = {"schedule": Schedule(t.optimizer), "scaler": Scaler(), "ema": EMA(t.model), "clip_norm": 1.0}
    made = lambda ps: t.optimizer
    return trainer(directory, model=t.model, optimizer=made, **{**again, **options})


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
