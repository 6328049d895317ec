"""A run: what training has come to, and checkpoints of it from which it goes on to the bit."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Mapping
from contextlib import nullcontext, suppress
from copy import deepcopy
from math import isfinite
from typing import Any

import numpy as np

from .. import checkpoints as arrays, random
from ..core import raw
from ..state_files import load, save
from ..tensor import to_numpy
from ..tensor_files import CheckpointError, library
from .running import Means, finite
from .stopping import EarlyStopping

VERSION = 1  # of what a Trainer's checkpoints hold
_BEST = "best.safetensors"
_SETTINGS = "accumulate", "clip_norm", "schedule_every"  # of the program, by which a run goes on, whatever they were
_SPANS = "total_steps", "T_max", "T_0", "total_iters", "step_size", "milestones", "gamma", "eta_min"
_MOVED = {"params", "lr", "initial_lr", "min_lr", "max_lr", "max_momentum", "base_momentum"}  # in the course of a run


class NonFiniteLossError(FloatingPointError):
    """The loss, or a weight, is NaN or infinite."""


class ResumeError(ValueError):
    """A checkpoint is not of this model, optimizer or trainer; nothing has changed."""


class Run:
    """Objects by name that training changes, where it is, its means, and the folder of its checkpoints."""

    def __init__(
        self, parts: Mapping[str, Any], directory: str | os.PathLike[str] | None, keep: int, stopping: EarlyStopping
    ) -> None:
        self._parts = dict(parts)
        self.model, self.optimizer, self.ema = parts["model"], parts["optimizer"], parts.get("ema")
        self.directory = None if directory is None else os.fspath(directory)
        if self.directory is not None:
            library()  # where it is missing, that is said before the first epoch
        self.keep, self.early_stopping = keep, stopping
        self.step, self.epoch, self.skipped = 0, 0, 0
        self.history: dict[str, list[float]] = {}
        self._batch, self._trained = 0, False  # the batches done of this epoch; whether they are all
        self._seen = 0  # the last step whose loss is known to be finite
        self._window, self._whole = Means(), Means()  # of the epoch: since the last log; before that
        self._random = random.get_state()  # as it was when the epoch began
        self._loaders: dict[str, Any] = {}  # what the data come from: training, validation
        self._positions: dict[str, Any] = {}  # their states, where they are to go on
        self._best: Any = None  # the best model's weights, where there is no directory

    def _look(self) -> None:
        """Wait for the device, and see whether the losses so far, and the weights, are finite."""
        value = float(self._window.totals.get("loss", 0.0))
        if not isfinite(value):
            raise self._not_finite(self._seen + 1, self.step, f"the loss is {value}")
        if self.step > self._seen and not finite(self.optimizer.variables):
            raise self._not_finite(self._seen + 1, self.step, "weights are NaN or infinite, since a gradient was,")
        self._seen = self.step

    def _not_finite(self, first: int, last: int, what: str, data: str = "") -> NonFiniteLossError:
        where = f"at step {last}" if first == last else f"at a step from {first} to {last}"
        helps = (
            "What may help: a smaller learning rate, clip_norm=1.0, or on_nan='skip'; gg.detect_anomaly() around a "
            "step names the op."
        )
        if data:
            helps = f"{data}: fill them, or leave such rows out, or write on_nan='skip'"
        return NonFiniteLossError(
            f"{what} {where}, in epoch {self.epoch + 1}; no checkpoint was written since. {helps}"
        )

    def state_dict(self) -> dict[str, Any]:
        """All that a run depends on; tensors share the memory of what they are of."""
        own = "step", "epoch", "skipped", "history", "_batch", "_trained", "_seen"
        return {
            "version": VERSION,
            "kinds": {name: type(part).__name__ for name, part in self._parts.items()},
            "parts": {name: state_of(part) for name, part in self._parts.items()},
            "updates": getattr(self.optimizer, "iterations", None),
            "random": random.get_state(),
            "random_of_epoch": self._random,
            "loaders": {name: state_of(data) for name, data in self._loaders.items()} | self._positions,
            "means": [self._window.state_dict(), self._whole.state_dict()],
            "early_stopping": self.early_stopping.state_dict(),
            "loop": {name: getattr(self, name) for name in own},
            "settings": {name: getattr(self, name, None) for name in _SETTINGS},
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there.  ResumeError, with nothing changed, for the state of something else."""
        self._take(state_dict, {})

    def _take(self, state_dict: Mapping[str, Any], loaders: Mapping[str, Any]) -> None:
        """The same, with the data that are to go on, too."""
        before = self.state_dict()
        if not isinstance(state_dict, Mapping) or type(version := state_dict.get("version")) is not int:
            raise ResumeError("this is not a Trainer's state: gg.load reads it")
        if version > VERSION:
            raise ResumeError(f"it is of version {version}, and this gpugrad knows {VERSION}: update gpugrad")
        if state_dict.keys() | {"settings"} != before.keys():  # which older ones have not
            raise ResumeError("it lacks what a Trainer's state has, or has more")
        saved, positions = state_dict["parts"], state_dict["loaders"]
        try:
            _check(state_dict, before)
            wrong = _differences(before["kinds"], state_dict["kinds"], before["parts"], saved)
        except Exception as e:
            raise ResumeError(f"it is no Trainer's state: {e}") from e
        if wrong:
            raise ResumeError("it is of something else:\n  " + "\n  ".join(wrong))
        data = {f"the {name} data": d for name, d in loaders.items() if goes_on(d, positions.get(name))}
        to_load = data | self._parts
        then = {f"the {name} data": state for name, state in positions.items()} | saved
        now = {name: state_of(d) for name, d in data.items()} | before["parts"]
        at = ""
        try:
            for at, part in to_load.items():
                _load(part, then[at])
        except Exception as e:
            for name, part in to_load.items():
                _load(part, now[name])
            whose = "do" if at in data else "does"
            raise ResumeError(f"{at} {whose} not take what was saved: {e}") from e
        if state_dict["updates"] is not None:
            self.optimizer.iterations = state_dict["updates"]
        random.set_state(state_dict["random"])
        self._random, self._positions = state_dict["random_of_epoch"], dict(state_dict["loaders"])
        for means, sums in zip((self._window, self._whole), state_dict["means"]):
            means.load_state_dict(sums)
        self.early_stopping.load_state_dict(state_dict["early_stopping"])
        vars(self).update(deepcopy(state_dict["loop"]))

    def save(self) -> str:
        """Write a checkpoint into the directory, and delete the oldest.  Answers its path.

        NonFiniteLossError, with nothing written, where a loss since the last one was not finite.
        """
        if self.directory is None:
            raise ValueError("Trainer: give a directory for the checkpoints")
        self._look()
        os.makedirs(self.directory, exist_ok=True)
        path = _path(self.directory, self.step)
        save(path, self.state_dict())
        _prune(self.directory, self.keep, path)
        return path

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from a checkpoint.  CheckpointError, ResumeError, FileNotFoundError: nothing has changed."""
        self._load(path, {})

    def _load(self, path: str | os.PathLike[str], loaders: Mapping[str, Any]) -> str:
        """Load a checkpoint.  What this program has other than the one that wrote it; "" for nothing."""
        state, before = load(path, "cpu"), self.state_dict()
        try:
            self._take(state, loaders)
        except ResumeError as e:
            raise ResumeError(f"{os.fspath(path)}: {e}") from e.__cause__
        edited = _edited(before, state)
        return "\n  ".join([f"{os.fspath(path)} was written by a program that differs:", *edited]) if edited else ""

    def _begin(self, resume: Any) -> None:
        """Load what `resume` says.  FileExistsError where the directory has checkpoints of steps that come later."""
        if resume is True and self.directory is None:
            raise ValueError("fit(resume=True): the Trainer has no directory; give one, or resume=path")
        there = _paths(self.directory) if self.directory else []
        said = ""
        if resume is not False:
            said = self._load_newest(there) if resume is True else self._load(resume, self._loaders)
        if said:
            warnings.warn(said, stacklevel=3)
        if resume is True:
            return
        if later := [p for p in there if _step(p) > self.step]:
            raise FileExistsError(
                f"{self.directory} has checkpoints of a run, up to {os.path.basename(later[-1])}: resume=True goes on "
                f"with it; a run from step {self.step} on takes another directory"
            )

    def _load_newest(self, there: list[str]) -> str:
        for path in reversed(there):
            try:
                return self._load(path, self._loaders)
            except CheckpointError as e:
                if path == there[0]:
                    raise
                warnings.warn(f"{e}; going on from the checkpoint before it", stacklevel=4)
        return ""

    def _keep_best(self, values: Mapping[str, float]) -> None:
        with nullcontext() if self.ema is None else self.ema.applied():
            state = {"model": self.model.state_dict(), "epoch": self.epoch, "step": self.step, "values": dict(values)}
            if self.directory:
                os.makedirs(self.directory, exist_ok=True)
                save(os.path.join(self.directory, _BEST), state)
            else:
                self._best = {name: np.array(to_numpy(t)) for name, t in state["model"].items()}

    def best(self) -> dict[str, Any]:
        """The best model's weights, by `early_stopping`: a state_dict.

        ValueError before this run, or the one it goes on with, has ended an epoch whose value is a number.
        """
        path = os.path.join(self.directory or "", _BEST)
        if self.early_stopping.best is None or (self._best is None and not (self.directory and os.path.exists(path))):
            raise ValueError(
                "there is no best model yet: fit ends an epoch first, with a monitored value that is a number; of "
                "another run, load its checkpoint first"
            )
        return self._best or load(path, "cpu")["model"]

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write the best model's weights into a plain safetensors file, which `checkpoints.load` and others read."""
        arrays.save(path, self.best())


# ---------------------------------------------------------------------------------------------- what has a state
def _check(state: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """An error for a state whose entries are not what they are in one's own."""
    for name in ("kinds", "parts", "loaders", "loop"):
        if not isinstance(state[name], Mapping):
            raise ValueError(f"{name} is {state[name]!r:.60}")
    if state["kinds"].keys() != state["parts"].keys() or state["loop"].keys() != own["loop"].keys():
        raise ValueError("it lacks what a Trainer's state has, or has more")
    for name, value in own["loop"].items():
        given = state["loop"][name]
        if type(given) is not type(value) or (type(value) is int and given < 0):
            raise ValueError(f"{name.strip('_')} is {given!r:.60}")
    for name, values in state["loop"]["history"].items():
        if not isinstance(values, list) or not all([isinstance(x, (int, float)) for x in values]):
            raise ValueError(f"the history of {name!r:.60} is {values!r:.60}")
    if state["updates"] is not None and (type(state["updates"]) is not int or state["updates"] < 0):
        raise ValueError(f"updates is {state['updates']!r:.60}")
    if not isinstance(state.get("settings", {}), Mapping):
        raise ValueError(f"settings is {state['settings']!r:.60}")
    window, whole = state["means"]
    for made, at in ((Means(), window), (Means(), whole), (EarlyStopping(), state["early_stopping"])):
        made.load_state_dict(at)
    for name in ("random", "random_of_epoch"):
        random.Generator(0).set_state(state[name])


def goes_on(data: Any, position: Any) -> bool:
    """Whether data have a position that they can be brought to."""
    return position is not None and hasattr(data, "load_state_dict")


def state_of(part: Any) -> Any:
    """The state of an object; None where it has none."""
    get = getattr(part, "state_dict", None) or getattr(part, "get_state", None)
    return None if get is None else get()


def _load(part: Any, state: Any) -> None:
    (getattr(part, "load_state_dict", None) or part.set_state)(state)


# ---------------------------------------------------------------------------------------------- files, differences
def _path(folder: str, step: int) -> str:
    """Where the checkpoint of a step is."""
    return os.path.join(folder, f"step-{step:09d}.safetensors")


def _paths(folder: str) -> list[str]:
    """The paths of a run's checkpoints, oldest first; none where there is no such folder."""
    with suppress(FileNotFoundError):
        names = [n for n in os.listdir(folder) if re.fullmatch(r"step-\d{9,}\.safetensors", n)]
        return [os.path.join(folder, n) for n in sorted(names, key=_step)]
    return []


def _step(path: str) -> int:
    """The step of a checkpoint, by its name."""
    return int(os.path.basename(path)[5:-12])


def _prune(folder: str, keep: int, last: str) -> None:
    """Delete all but the newest `keep` checkpoints; never the one that was written last."""
    for path in _paths(folder)[:-keep]:
        if path != last:
            with suppress(FileNotFoundError):  # somebody may have tidied up
                os.remove(path)


def _differences(kinds: Mapping[str, str], saved_kinds: Mapping[str, str], own: Any, saved: Any) -> list[str]:
    """What of a checkpoint does not fit: parts (the class of each, by name), weights, groups of parameters."""
    found = []
    for name in sorted({*kinds, *saved_kinds}):
        there, here = saved_kinds.get(name, "none"), kinds.get(name, "none")
        if there != here and (name != "model" or "none" in (there, here)):  # a model's class may have a new name
            found.append(f"{name}: {there} in the checkpoint, here {here}")
    if found:
        return found
    theirs, ours = saved["model"], own["model"]
    for name in sorted({*theirs, *ours}):
        shapes = [list(np.shape(raw(d[name]))) if name in d else None for d in (theirs, ours)]
        if shapes[0] != shapes[1]:
            there, here = ["missing" if s is None else str(s) for s in shapes]
            found.append(f"model {name}: {there} in the checkpoint, here {here}")
    sizes = [[len(g["params"]) for g in d["optimizer"]["param_groups"]] for d in (saved, own)]
    if sizes[0] != sizes[1]:
        found.append(f"optimizer: groups of {sizes[0]} parameters in the checkpoint, here {sizes[1]}")
    return found


def _edited(own: Mapping[str, Any], saved: Mapping[str, Any]) -> list[str]:
    """What fits and still differs between a program and a checkpoint, and which of the two a run goes on with."""
    found: list[str] = []

    def compare(theirs: Any, ours: Any, names: Iterable[str], of: str, counts: str) -> None:
        if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
            for name in names:
                if name in theirs and name in ours and _plain(theirs[name]) != _plain(ours[name]):
                    found.append(f"{of}{name}: {theirs[name]} there, {ours[name]} here; {counts} counts")

    compare(saved.get("settings"), own["settings"], _SETTINGS, "", "this program's")
    there, here = saved["loaders"].get("training"), own["loaders"].get("training")
    compare(there, here, ("batch_size", "batches"), "training data's ", "this program's")
    there, here = saved["parts"], own["parts"]
    compare(there.get("schedule"), here.get("schedule"), _SPANS, "schedule's ", "the checkpoint's")
    for theirs, ours in zip(there["optimizer"]["param_groups"], here["optimizer"]["param_groups"]):
        moved = {*_MOVED, "momentum", "betas"} if "max_momentum" in ours else _MOVED
        names = [k for k in ours if k not in moved]
        names += ["initial_lr"] if "initial_lr" in ours else [] if "schedule" in here else ["lr"]
        compare(theirs, ours, names, "optimizer's ", "the checkpoint's")
    if any([line.endswith("the checkpoint's counts") for line in found]):
        found.append("To change what the checkpoint's counts of: trainer.load(path), set it, then fit without resume")
    return found


def _plain(x: Any) -> Any:
    """A value as it comes back from a file."""
    return list(x) if isinstance(x, tuple) else x if isinstance(x, (int, float, str, list)) else None
