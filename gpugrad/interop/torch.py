"""Weights from and to PyTorch: the state_dict of a module, in a safetensors file or as arrays by name.

A model's paths are PyTorch's names, and its arrays have PyTorch's layout, but for those that a module class lists in
`transposed`.  A tensor that a model has under several names (tied weights) has them all here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..array import device_of, xp
from ..checkpoints import load, save
from ..core import Tensor
from ..dtypes import is_float
from ..nn.module import Module, _children
from ..tensor import tensor, to_numpy

Names = Mapping[str, str | None] | Callable[[str], str | None] | None
_COUNTER, _MEAN = ".num_batches_tracked", ".running_mean"  # PyTorch counts batches always, BatchNorm here if it must


def load_weights(
    model: Module, path: str | os.PathLike[str], names: Names = None, strict: bool = True
) -> tuple[list[str], list[str]]:
    """Take the weights of a PyTorch state_dict from a safetensors file.  Answers the (missing, unexpected) names.

    path     "x.safetensors", or "x.safetensors.index.json", which says what is in which of several files
    names    what the file's names are in the model: a dict of names, or of beginnings that end in a dot, the longest
             of which counts ({"model.": "", "model.body.": "layers."}), or a function; None: a name to leave out
    strict   missing and unexpected names are an error
    Floats are converted to the model's dtype, integers too where they fit.
    RuntimeError, which lists all that is wrong, with nothing changed: for missing and unexpected names, other shapes,
    dtypes that do not convert, floats beyond the model's dtype, tied weights that differ.  ValueError for a file of
    another kind.
    """
    return load_state_dict(model, _read(os.fspath(path)), names, strict)


def save_weights(model: Module, path: str | os.PathLike[str], names: Names = None) -> None:
    """Write the model's weights as a safetensors file for PyTorch: whole, or not at all.

    There, `model.load_state_dict(safetensors.torch.load_file(path))` takes it.  names: what the model's names are in
    the file, as for `load_weights`.  Tied weights are written under each of their names.
    """
    save(path, state_dict(model, names), "pt")


def state_dict(model: Module, names: Names = None) -> dict[str, np.ndarray]:
    """name -> array, as the state_dict of the same model in PyTorch.  ValueError for two of one name."""
    renamed = _renamed(names, [e.name for e in _entries(model)])
    return {renamed[e.name]: e.turned(to_numpy(e.tensor)) for e in _entries(model) if e.name in renamed}


def load_state_dict(
    model: Module, arrays: Mapping[str, Any], names: Names = None, strict: bool = True
) -> tuple[list[str], list[str]]:
    """`load_weights` from arrays, or PyTorch's tensors on the CPU, by name."""
    entries = {e.name: e for e in _entries(model)}
    given = {new: old for old, new in _renamed(names, arrays).items()}
    host = {name: np.asarray(to_numpy(arrays[given[name]])) for name in given if name in entries}
    found = {id(e.tensor) for name, e in entries.items() if name in host}
    missing = [n for n, e in entries.items() if id(e.tensor) not in found and not _counter(n, host)]
    unexpected = [n for n in given if n not in entries and not _counter(n, host)]
    wrong = [f"missing: {n}" for n in missing if strict] + [f"unexpected: {n}" for n in unexpected if strict]
    new: dict[int, tuple[Tensor, Any, str]] = {}
    for name, a in host.items():
        e = entries[name]
        if problem := _misfit(a, e):
            wrong.append(f"{name} {problem}")
        elif id(e.tensor) not in new:
            new[id(e.tensor)] = e.tensor, e.turned(a), name
        elif not np.array_equal(new[id(e.tensor)][1], e.turned(a), equal_nan=a.dtype.kind in "fc"):
            wrong.append(f"{name} differs from {new[id(e.tensor)][2]}, and in the model they are one")
    if wrong:
        raise RuntimeError(f"these weights do not fit this {type(model).__name__}:\n  " + "\n  ".join(wrong))
    made = [(t, tensor(a, t.array.dtype, device_of(t.array)).array) for t, a, _ in new.values()]
    for t, a in made:  # all of them before the first change
        t.array = xp(a).array(a)
    return missing, unexpected


# ---------------------------------------------------------------------------------------------- what a model has
class _Entry(NamedTuple):
    """A tensor under one of its names, and whether PyTorch has its transpose."""

    name: str
    tensor: Tensor
    transposed: bool

    def turned(self, a: Any) -> Any:
        """An array of one layout in the other."""
        return a.T if self.transposed else a


def _entries(model: Module) -> list[_Entry]:
    return list(_walk(model, "", model, "", {id(v) for v in model.state().values()}, ()))


def _walk(x: Any, path: str, owner: Module, local: str, own: set[int], way: tuple[int, ...]) -> Iterator[_Entry]:
    """The tensors of `own` in x, under each of their names; `local` is the name within the module `owner`."""
    if isinstance(x, Tensor):
        if id(x) in own:
            yield _Entry(path, x, local in owner.transposed)
        return
    if id(x) in way:
        return
    for name, child in _children(x):
        inside = isinstance(x, Module)
        yield from _walk(
            child,
            f"{path}.{name}" if path else str(name),
            x if inside else owner,
            str(name) if inside or not local else f"{local}.{name}",
            own,
            (*way, id(x)),
        )


def _renamed(names: Names, given: Iterable[str]) -> dict[str, str]:
    """name -> its new name, without those that are left out.  ValueError for two of one name."""
    out: dict[str, str] = {}
    before: dict[str, str] = {}
    for name in given:
        if (new := _new_name(names, name)) is None:
            continue
        if not isinstance(new, str):
            raise TypeError(f"names: {name!r} became {new!r}; a name is a string, or None to leave it out")
        if new in before:
            raise ValueError(f"names: {before[new]!r} and {name!r} would both be {new!r}")
        out[name], before[new] = new, name
    return out


def _new_name(names: Names, name: str) -> str | None:
    if names is None:
        return name
    if callable(names):
        return names(name)
    if name in names:
        return names[name]
    start = max((k for k in names if k.endswith(".") and name.startswith(k)), key=len, default="")
    new = names.get(start, "")
    return None if new is None else new + name.removeprefix(start)


def _counter(name: str, host: Mapping[str, Any]) -> bool:
    """Whether it is BatchNorm's count of batches, which either side may be without."""
    return name.endswith(_COUNTER) and name.removesuffix(_COUNTER) + _MEAN in host


def _misfit(a: np.ndarray, e: _Entry) -> str:
    """Why `a` is no value for the tensor; "" if it is one."""
    old, shape = e.tensor.array.dtype, e.tensor.array.shape[:: -1 if e.transposed else 1]
    if a.shape != shape:
        return f"has the shape {a.shape}; the model's is {shape}{', transposed' if e.transposed else ''}"
    if a.dtype == old:
        return ""
    floats, same = is_float(a.dtype) and is_float(old), a.dtype.kind == old.kind
    if not (floats or same or (a.dtype.kind in "iu" and old.kind in "iu")):
        return f"has dtype {a.dtype}, which does not convert to the model's {old}"
    with np.errstate(over="ignore"):
        new = a.astype(old)
    lost = np.isfinite(a) & ~np.isfinite(new) if floats or a.dtype.kind == "c" else new != a
    return f"has values beyond the model's {old}" if lost.any() else ""


# ---------------------------------------------------------------------------------------------- files
def _read(path: str) -> dict[str, np.ndarray]:
    if path.endswith(".json"):
        folder, arrays = os.path.dirname(path), {}
        for file, inside in _shards(path).items():
            found = load(os.path.join(folder, file))
            if lost := sorted(inside - set(found)):
                raise ValueError(f"{path} says that {file} has {lost[0]!r}; it has not")
            arrays |= {name: found[name] for name in inside}
        return arrays
    with open(path, "rb") as f:
        start = f.read(4)
    if start.startswith((b"PK\3\4", b"\x80")):  # a zip file, or a bare pickle
        raise ValueError(
            f"{path} is a pickle, which runs code; gpugrad reads safetensors. Where PyTorch is, write\n"
            "    import safetensors.torch, torch\n"
            f"    w = torch.load({path!r}, map_location='cpu', weights_only=True)\n"
            "    w = {k: v.clone().contiguous() for k, v in w.items()}\n"
            "    safetensors.torch.save_file(w, 'weights.safetensors')"
        )
    return load(path)


def _shards(path: str) -> dict[str, set[str]]:
    """file -> the names in it, as the index says.  ValueError for what is no index, and a file elsewhere."""
    try:
        with open(path, encoding="utf-8") as f:
            places = json.load(f)["weight_map"]
        pairs = [(str(name), os.fspath(file)) for name, file in places.items()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(
            f"{path} is no index of safetensors files: it has no 'weight_map' of names and files"
        ) from None
    out: dict[str, set[str]] = {}
    for name, file in pairs:
        if file != os.path.basename(file) or not file.endswith(".safetensors"):
            raise ValueError(f"{path} names {file!r}; only safetensors files beside it are read")
        out.setdefault(file, set()).add(name)
    return out
