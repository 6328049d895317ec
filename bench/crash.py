"""SIGKILL while checkpoints are written: every time the run goes on, and it ends with the bits of one never disturbed.

    python bench/crash.py [--kills 200] [--seed 0] [--output FOLDER]

A process trains a model (dropout, batch norm, momentum, shuffled batches) and writes a checkpoint after every step. It
is killed after a random time, from the first checkpoint of its life on; another one goes on from what it left.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import environment, machine, publish, table

ROWS, SIZE = 640, 16


def trained(folder: str | None, epochs: int) -> Any:
    """The run, from where the folder's checkpoints are."""
    import numpy as np

    import gpugrad as gg

    class Loader:
        """Shuffled batches of which the seed and the number of the epoch are the state."""

        def __init__(self) -> None:
            rng = np.random.default_rng(1)
            self.x = rng.standard_normal((ROWS, 20)).astype(np.float32)
            self.y = rng.integers(0, 4, ROWS).astype(np.int32)
            self.epoch = self.batch = 0

        def __iter__(self) -> Any:
            order = np.random.default_rng(self.epoch).permutation(ROWS)
            for i in range(self.batch * SIZE, ROWS, SIZE):
                self.batch += 1
                yield self.x[order[i : i + SIZE]], self.y[order[i : i + SIZE]]
            self.epoch, self.batch = self.epoch + 1, 0

        def state_dict(self) -> dict[str, int]:
            return {"epoch": self.epoch, "batch": self.batch}

        def load_state_dict(self, state: dict[str, int]) -> None:
            self.epoch, self.batch = state["epoch"], state["batch"]

    class Net(gg.nn.Module):
        def __init__(self) -> None:
            self.first, self.norm = gg.nn.Linear(20, 32), gg.nn.BatchNorm(32)
            self.dropout, self.last = gg.nn.Dropout(0.2), gg.nn.Linear(32, 4)

        def forward(self, x: Any) -> Any:
            return self.last(self.dropout(gg.nn.relu(self.norm(self.first(x)))))

    gg.set_default_device("cpu")
    gg.random.seed(0)
    model = Net()
    optimizer = gg.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    trainer = gg.train.Trainer(
        model, optimizer, gg.nn.cross_entropy, directory=folder, save_every=folder and 1, keep=2, progress=False,
        log_every=7, loggers=[gg.train.CSVFile(Path(folder) / "metrics.csv")] if folder else [],
    )  # fmt: skip
    trainer.fit(Loader(), epochs=epochs, resume=folder is not None)
    return trainer


def digest(trainer: Any) -> str:
    """The bits of the weights, of the optimizer's state, and of the history."""
    h = hashlib.blake2b()
    state = trainer.state_dict()["parts"]
    tensors = [*state["model"].values(), *[t for s in state["optimizer"]["state"].values() for t in s.values()]]
    for t in tensors:
        h.update(t.numpy().tobytes() if hasattr(t, "numpy") else repr(t).encode())
    h.update(json.dumps(trainer.history).encode())
    return h.hexdigest()


def child(folder: str, epochs: int) -> None:
    trainer = trained(folder, epochs)
    print("ended", trainer.step, digest(trainer), flush=True)


def newest(folder: Path) -> str:
    """The name of the newest checkpoint."""
    return max((n for n in os.listdir(folder) if n.startswith("step-") and n.endswith(".safetensors")), default="")


def kill_one(folder: Path, epochs: int, r: random.Random) -> str | None:
    """Kill a process in the midst of writing; answers its last line if it came to its end first."""
    before = newest(folder)
    process = subprocess.Popen(
        [sys.executable, __file__, "--child", str(folder), "--epochs", str(epochs)], stdout=subprocess.PIPE, text=True,
        env=environment(OPENBLAS_NUM_THREADS="1"),
    )  # fmt: skip
    while process.poll() is None and newest(folder) == before:
        time.sleep(0.002)
    time.sleep(r.expovariate(1 / 0.02))
    process.send_signal(signal.SIGKILL)
    said, _ = process.communicate()
    if process.returncode not in (-signal.SIGKILL, 0):
        raise RuntimeError(f"a run did not go on: {process.returncode} {said}")
    return said if process.returncode == 0 else None


def crash(kills: int, seed: int, folder: Path, epochs: int) -> dict[str, Any]:
    """What became of a run that was killed so often, beside one that was not."""
    import gpugrad as gg

    r = random.Random(seed)
    folder.mkdir()
    killed, checked, halves, ended = 0, 0, 0, None
    while killed < kills and ended is None:
        ended = kill_one(folder, epochs, r)
        killed += ended is None
        names = os.listdir(folder)
        halves += any(n.endswith(".tmp") for n in names)
        for name in names:
            if name.endswith(".safetensors"):
                gg.load(folder / name, "cpu")  # every file that has its name is whole
                checked += 1
    steps = int((newest(folder) or "step-0.")[5:].split(".")[0])
    trainer = trained(str(folder), epochs)
    left = [n for n in os.listdir(folder) if n.endswith(".tmp")]
    rows = (folder / "metrics.csv").read_text().splitlines()
    return {
        "kills": killed, "steps when the last one came": steps, "steps in all": trainer.step,
        "checkpoints found whole": checked, "kills in the midst of a write": halves, "left at the end": len(left),
        "rows of the log that are there twice": len(rows) - len(set(rows)),
        "same bits": digest(trainer) == digest(trained(None, epochs)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="default: as many as so many kills leave something to do in")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    epochs = args.epochs or 3 + args.kills // 3
    if args.child:
        return child(args.child, epochs)
    with tempfile.TemporaryDirectory() as scratch:
        found = crash(args.kills, args.seed, Path(scratch) / "run", epochs)
    fine = found["same bits"] and not found["left at the end"] and not found["rows of the log that are there twice"]
    resumed = found["kills"] if fine else 0
    lines = [*table(["", ""], found.items()), "", f"{found['kills']} SIGKILLs, {resumed} clean resumes."]
    publish("crash", "SIGKILL while checkpoints are written", machine("numpy"), lines, args.output)
    sys.exit(not fine or found["kills"] < args.kills)


if __name__ == "__main__":
    main()
