"""Floor 7: arrays in safetensors files, the state of models and optimizers by name, and checkpoints made of both."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any, ClassVar

import numpy as np

from .array import device_of, library, xp
from .core import Tensor, trainable
from .dtypes import wide
from .nn.loading import from_older
from .nn.module import Module, _children
from .optim.optimizer import Optimizer
from .optim.state import Count, plain
from .replacing import replace as replace
from .tensor import tensor, to_numpy
from .variable import Variable


# ---------------------------------------------------------------------------------------------- files
def save(path: str | os.PathLike[str], arrays: Mapping[str, Any], format: str = "gpugrad") -> None:
    """Write arrays and Tensors by name into a safetensors file: whole, or not at all.

    format: what the file says it is for ("pt": PyTorch, which some readers insist on).
    ValueError for a dtype that the format does not have, such as complex128.
    """
    _files().write(path, {name: to_numpy(a) for name, a in arrays.items()}, {"format": format})


def load(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, by name.  CheckpointError, a ValueError, for one that is cut off or is none."""
    return _files().read(path)[0]


def _files() -> Any:
    return import_module("gpugrad.tensor_files")  # when it is needed: JSON takes 3 ms


# ---------------------------------------------------------------------------------------------- objects
def gather(objects: Any) -> dict[str, Any]:
    """name -> array for every variable and optimizer in a nest of modules, dicts and lists."""
    variables, optimizers = _found(objects)
    out: dict[str, Any] = {name: v.array for name, v in variables.items()}
    for path, o in optimizers.items():
        out[f"{path}.iterations"] = np.array(o.iterations, np.int64)
        out[f"{path}.learning_rate"] = np.array([g["lr"] for g in o.param_groups], np.float64)
        for name, v in _known(o, variables):
            for slot, value in o.state.by_id.get(id(v), (v, {}))[1].items():
                value = plain(slot, value)
                out[f"{path}.state.{name}.{slot}"] = value if library(value) else np.array(value)
    return out


def restore(objects: Any, arrays: Mapping[str, Any]) -> set[str]:
    """Take from `arrays` what `gather` would have named so; answers the names taken.

    Variables keep their dtype.  An optimizer adopts variables that it has not seen.  ValueError, with nothing
    changed, for another shape.
    """
    variables, optimizers = _found(objects)
    taken: set[str] = set()
    changes: list[Callable[[], None]] = []
    for name in [n for n in variables if n in arrays]:
        v = variables[name]
        taken.add(name)
        changes.append(partial(setattr, v, "array", _fitted(name, arrays[name], v.array)))
    for path, o in optimizers.items():
        if (name := f"{path}.iterations") in arrays:
            taken.add(name)
            changes.append(partial(setattr, o, "iterations", Count(arrays[name])))
        if (name := f"{path}.learning_rate") in arrays:
            taken.add(name)
            rates = np.ravel(arrays[name]).tolist()
            if len(rates) != len(o.param_groups) or not all([0 <= r < float("inf") for r in rates]):
                raise ValueError(f"{name} has {rates}; it takes one for each of {len(o.param_groups)} parameter groups")
            changes += [partial(g.__setitem__, "lr", r) for g, r in zip(o.param_groups, rates)]
        for name, v in _known(o, variables):
            start = f"{path}.state.{name}."
            saved = {n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)}
            if saved and not (o._fixed and all([v is not w for w in o.variables])):
                state = {slot: _entry(start + slot, a, v) for slot, a in saved.items()}
                taken |= {start + slot for slot in saved}
                changes.append(partial(_adopt, o, v, state))
    for change in changes:
        change()
    return taken


def _fitted(name: str, value: Any, old: Any) -> Any:
    """A copy of `value` as an array of the library, device and dtype of `old`.  ValueError for another shape."""
    if np.shape(value) != old.shape:
        raise ValueError(
            f"Received incompatible tensor with shape {np.shape(value)} when attempting to restore variable with shape "
            f"{old.shape} and name {name}. Make the model as it was when the checkpoint was written."
        )
    new = tensor(value, old.dtype, device_of(old)).array
    return xp(new).array(new)


def _entry(name: str, value: Any, v: Tensor) -> Any:
    """An entry of an optimizer's state for v: an array like v, or a number."""
    wider = v.array.astype(wide(v.array.dtype), copy=False)
    return (
        value.item()
        if np.ndim(value) == 0 and (wider.ndim or value.dtype.kind in "iu")
        else _fitted(name, value, wider)
    )


def _adopt(o: Any, v: Tensor, state: dict[str, Any]) -> None:
    """Make `state` the optimizer's state for v."""
    if all([v is not w for w in o.variables]):
        o.param_groups[0]["params"].append(v)
    o.state[v] = state


def _known(o: Any, variables: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The variables of an optimizer, or that it may adopt, by their names among `variables`, else by number."""
    named = {id(v) for v in variables.values()}
    yield from ((str(i), v) for i, v in enumerate(o.variables) if id(v) not in named)
    yield from ((name, v) for name, v in variables.items() if trainable(v) or v in o.state)


def _found(objects: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(the variables, the optimizers) in a nest, by path; what is shared has the first."""
    variables: dict[str, Tensor] = {}
    optimizers: dict[str, Any] = {}
    seen: set[int] = set()
    queue = deque([("", objects)])  # the nearest first: an optimizer given by name, before the one of a model
    while queue:
        path, x = queue.popleft()
        if id(x) in seen:
            continue
        seen.add(id(x))
        if isinstance(x, Tensor):
            if isinstance(x, Variable) or trainable(x):
                variables[path] = x
        elif isinstance(x, Optimizer):
            optimizers[path] = x
        else:
            own = x.state() if isinstance(x, Module) else {}
            queue.extendleft((f"{path}.{name}" if path else name, v) for name, v in reversed(own.items()))
            queue.extend((f"{path}.{name}" if path else str(name), child) for name, child in _children(x))
    return variables, optimizers


# ---------------------------------------------------------------------------------------------- checkpoints
_SUFFIX, _STATE = ".safetensors", "checkpoint"  # what files end in, and the file that says which there are


class Status:
    """What `restore` answers.  What the checkpoint has and no object took waits for layers to be built."""

    def __init__(self, root: Any, arrays: dict[str, Any]) -> None:
        self._root, self._waiting, self._names = root, dict(arrays), set(arrays)
        self._take()

    def _take(self) -> None:
        for name in restore(self._root, self._waiting):
            del self._waiting[name]
        for m in self._root.modules():
            if self._waiting and getattr(m, "built", True) is False:
                m.when_built = self._take

    def assert_existing_objects_matched(self) -> Status:
        """AssertionError if a variable was not in the checkpoint."""
        if new := sorted(set(gather(self._root)) - self._names):
            raise AssertionError(
                f"Found {len(new)} Python objects that were not bound to checkpointed values, likely due to changes "
                f"in the Python program. Showing {min(len(new), 10)} of {len(new)} unmatched objects: {new[:10]}"
            )
        return self

    def assert_consumed(self) -> Status:
        """AssertionError if a variable was not in the checkpoint, or a value of that has found no variable."""
        self.assert_existing_objects_matched()
        if self._waiting:
            raise AssertionError(
                f"Unresolved object in checkpoint: {', '.join(sorted(self._waiting))}. Build the model first, or "
                "write expect_partial()."
            )
        return self

    def expect_partial(self) -> Status:
        """Does nothing: nobody warns of values that are left."""
        return self


class Checkpoint(Module):
    """Variables, modules and optimizers by name, for a file: the same objects, made again, go on where it was written.

        checkpoint = gg.checkpoints.Checkpoint(model=model, optimizer=optimizer)
        path = checkpoint.save("runs/first")            # runs/first-1.safetensors
        checkpoint.restore(path).assert_consumed()

    ValueError for what has no state.
    """

    _counter: ClassVar[type[Variable]] = Variable
    _absent: ClassVar[type[Exception]] = FileNotFoundError

    def __init__(self, root: Any = None, **kwargs: Any) -> None:
        if root is not None:
            kwargs["root"] = root
        for name, x in kwargs.items():
            if not isinstance(x, (Tensor, Module, Optimizer, list, tuple, dict)):
                raise ValueError(
                    f"`Checkpoint` was expecting {name} to be a trackable object (an object derived from `Trackable`), "
                    f"got {x!r:.60}. Trackable are variables, modules, optimizers, and lists and dicts of them."
                )
        vars(self).update(kwargs)
        self.save_counter = self._counter(0, False, "save_counter", "int64")

    def write(self, file_prefix: Any, options: Any = None) -> str:
        """Write the file, without a number.  Answers the prefix, for `read`."""
        prefix = os.fspath(file_prefix)
        if not prefix.isprintable():
            raise ValueError(f"a file name has no control characters, as {prefix!r} does")
        os.makedirs(os.path.dirname(prefix) or ".", exist_ok=True)
        save(prefix + _SUFFIX, gather(self))
        return prefix

    def save(self, file_prefix: Any, options: Any = None) -> str:
        """Write the next file, `file_prefix-1` and so on, and note it as the latest.  Answers its path."""
        path = self.write_next(file_prefix)
        _note([path])
        return path

    def write_next(self, file_prefix: Any) -> str:
        """Write the next file.  Answers its path."""
        self.save_counter.assign_add(1)
        return self.write(f"{os.fspath(file_prefix)}-{int(self.save_counter)}")

    def read(self, save_path: Any, options: Any = None) -> Status:
        """Take the values of a file, now or when layers are built.  FileNotFoundError if there is none."""
        path = os.fspath(save_path)
        if not os.path.exists(path + _SUFFIX):
            raise self._absent(
                f"Error when restoring from checkpoint or SavedModel at {path}: there is no file {path + _SUFFIX}. You "
                "may be missing the checkpoint suffix (e.g. the '-1' in 'path/to/ckpt-1')."
            )
        variables, optimizers = _found(self)
        return Status(self, from_older(variables, load(path + _SUFFIX), [f"{o}.state." for o in optimizers]))

    def restore(self, save_path: Any, options: Any = None) -> Status:
        """`read`; of None, as `latest_checkpoint` answers where there is none, nothing."""
        return Status(self, {}) if save_path is None else self.read(save_path)


class CheckpointManager:
    """Saves `checkpoint` into `directory`, and keeps the last `max_to_keep` files (None: all)."""

    def __init__(
        self, checkpoint: Checkpoint, directory: Any, max_to_keep: int | None, *, checkpoint_name: str = "ckpt"
    ) -> None:
        if max_to_keep is not None and max_to_keep < 1:
            raise ValueError(f"Expected a positive integer or `None` for `max_to_keep`, got {max_to_keep}.")
        self.checkpoint, self.directory, self._keep = checkpoint, os.fspath(directory), max_to_keep
        self._prefix, self.checkpoints = os.path.join(self.directory, checkpoint_name), _noted(self.directory)

    @property
    def latest_checkpoint(self) -> str | None:
        """The last path saved, or None."""
        return self.checkpoints[-1] if self.checkpoints else None

    def save(self, checkpoint_number: int | None = None) -> str:
        """Write the next file, or the one of this number, and delete the oldest.  Answers its path."""
        if checkpoint_number is not None:
            self.checkpoint.save_counter.assign(checkpoint_number - 1)
        path = self.checkpoint.write_next(self._prefix)
        paths = [*[p for p in self.checkpoints if p != path], path]
        first = max(len(paths) - self._keep, 0) if self._keep is not None else 0
        self.checkpoints = paths[first:]
        _note(self.checkpoints)  # before the others go, so that what is noted is always there
        for old in paths[:first]:
            with suppress(FileNotFoundError):  # somebody may have tidied up
                os.remove(old + _SUFFIX)
        return path

    def restore_or_initialize(self) -> str | None:
        """Restore the latest file, if there is one.  Answers its path."""
        self.checkpoint.restore(self.latest_checkpoint)
        return self.latest_checkpoint


def latest_checkpoint(checkpoint_dir: Any, latest_filename: str | None = None) -> str | None:
    """The path that was last saved in a folder, or None."""
    paths = _noted(os.fspath(checkpoint_dir), latest_filename or _STATE)
    return paths[-1] if paths else None


def _note(paths: list[str]) -> None:
    """Write down which files there are, in the form that TensorFlow has."""
    folder = os.path.dirname(paths[-1])
    names = [os.path.basename(p) for p in paths]
    lines = [f'model_checkpoint_path: "{names[-1]}"', *[f'all_model_checkpoint_paths: "{n}"' for n in names], ""]

    def write(aside: str) -> None:
        with open(aside, "w", encoding="utf-8") as f:
            f.write("\n".join(lines))

    replace(os.path.join(folder, _STATE), write)


def _noted(folder: str, name: str = _STATE) -> list[str]:
    """The paths that are written down, oldest first, and still there."""
    if not os.path.exists(os.path.join(folder, name)):
        return []
    with open(os.path.join(folder, name), encoding="utf-8") as f:
        found = re.findall(r'^all_model_checkpoint_paths: "(.*)"$', f.read(), re.MULTILINE)
    here = [n for n in found if n == os.path.basename(n)]  # a path elsewhere is none of ours, to read or to delete
    return [os.path.join(folder, n) for n in here if os.path.exists(os.path.join(folder, n) + _SUFFIX)]
