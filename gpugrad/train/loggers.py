"""Where a Trainer writes what it has measured: the console, a CSV file, TensorBoard's event files."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from ..files import install
from ..replacing import replace


class Logger:
    """Told of means: every few steps (`kind` "step") and of each epoch ("epoch").  Override what you need.

    resumes   whether what was written of later steps may go; a Trainer says False where `fit` does not resume
    """

    resumes = True

    def start(self, step: int, epoch: int) -> None:
        """A run begins, or goes on after `step` updates and `epoch` epochs: what was written of later ones is to go."""

    def log(self, kind: str, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """The means since the last time, by name; `step` counts updates, `epoch` from 1."""

    def close(self) -> None:
        """The run has ended, however it did."""


class Console(Logger):
    """A line for each epoch."""

    def log(self, kind: str, step: int, epoch: int, values: Mapping[str, float]) -> None:
        if kind == "epoch":
            tqdm.write(f"epoch {epoch}, step {step}: " + ", ".join([f"{k} {v:.4g}" for k, v in values.items()]))


class CSVFile(Logger):
    """A file of rows `kind, step, epoch, ...`, a column for each name; a run that goes on writes no row twice.

    FileExistsError at the start of a run for another file, and for rows of later steps where it does not resume.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._columns = ["kind", "step", "epoch"]

    def start(self, step: int, epoch: int) -> None:
        os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
        last, rows = {"step": step, "epoch": epoch}, self._rows()
        kept = [row for row in rows if int(row[row["kind"]]) <= last[row["kind"]]]
        if len(kept) < len(rows) and not self.resumes:
            raise FileExistsError(
                f"{self.path} has rows of a run, of steps after {step}: fit(resume=True) goes on with it; another run "
                "takes another file"
            )
        self._write(kept)

    def log(self, kind: str, step: int, epoch: int, values: Mapping[str, float]) -> None:
        new = [name for name in values if name not in self._columns]
        if new:
            self._columns += new
            self._write(self._rows())
        with open(self.path, "a", newline="", encoding="utf-8") as f:
            csv.DictWriter(f, self._columns).writerow({"kind": kind, "step": step, "epoch": epoch, **values})

    def _rows(self) -> list[dict[str, str]]:
        """The rows that are whole: the last may be cut off."""
        if not os.path.exists(self.path):
            return []
        with open(self.path, newline="", encoding="utf-8") as f:
            lines = list(f)
        if lines and (lines[0].strip() + ",")[:16] != "kind,step,epoch,":
            raise FileExistsError(f"{self.path} is there, and no file of gpugrad.train.CSVFile; take another name")
        rows = list(csv.DictReader([line for line in lines if line.endswith("\n")]))
        return [row for row in rows if row.get("kind") in ("step", "epoch") and None not in (*row, *row.values())]

    def _write(self, rows: list[dict[str, str]]) -> None:
        self._columns += [name for row in rows[:1] for name in row if name not in self._columns]

        def fill(aside: str) -> None:
            with open(aside, "w", newline="", encoding="utf-8") as f:
                out = csv.DictWriter(f, self._columns)
                out.writeheader()
                out.writerows(rows)

        replace(self.path, fill)


class TensorBoard(Logger):
    """TensorBoard's event files in `folder`, with scalars step/loss, epoch/val_loss, and so on.

    Written by tensorboardX; ImportError without it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            import tensorboardX
        except ImportError:
            raise ImportError(f"TensorBoard files need tensorboardX: {install('train')}") from None
        self._open: Any = lambda step: tensorboardX.SummaryWriter(os.fspath(folder), purge_step=step + 1)
        self._writer: Any = None

    def start(self, step: int, epoch: int) -> None:
        self._writer = self._open(step)

    def log(self, kind: str, step: int, epoch: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
