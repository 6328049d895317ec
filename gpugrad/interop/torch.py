"""Weights from and to PyTorch: the state_dict of a module, in a safetensors file or as arrays by name.

A model's paths are PyTorch's names, and its arrays have PyTorch's layout, but for those that a module class lists in
`transposed`.  A tensor that a model has under several names (tied weights) has them all here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..array import library
from ..checkpoints import load, save
from ..core import Tensor
from ..dlpack import from_dlpack
from ..dtypes import is_float, is_inexact
from ..nn.holder import _children, all_names, joined
from ..nn.module import Module
from ..tensor import to_numpy

Names = Mapping[str, str | None] | Callable[[str], str | None] | None


def load_weights(
    model: Module, path: str | os.PathLike[str], names: Names = None, strict: bool = True
) -> tuple[list[str], list[str]]:
    """Take the weights of a PyTorch state_dict from a safetensors file.  Answers the (missing, unexpected) names.

    path     "x.safetensors", or "x.safetensors.index.json", which says what is in which of several files
    names    what the file's names are in the model: a dict of names, or of beginnings that end in a dot, the longest
             of which counts ({"model.": "", "model.body.": "layers."}; all names begin with ""), or a function;
             None: a name to leave out
    strict   missing and unexpected names are an error
    Floats are converted to the model's dtype.  Sizes that the model has not seen yet are those of the file.
    RuntimeError, with nothing changed, which lists what is wrong: missing and unexpected names, other shapes, dtypes of
    another kind, floats beyond the model's dtype, tied weights that differ.  ValueError for a file of another kind.
    """
    _first("load_weights", model)
    return load_state_dict(model, _read(os.fspath(path)), names, strict)


def save_weights(model: Module, path: str | os.PathLike[str], names: Names = None) -> None:
    """Write the model's weights as a safetensors file for PyTorch: whole, or not at all.

    There, `model.load_state_dict(safetensors.torch.load_file(path))` takes it.  names: what the model's names are in
    the file, as for `load_weights`.  Tied weights are written under each of their names.
    """
    _first("save_weights", model)
    save(path, state_dict(model, names), "pt")


def _first(name: str, model: Any) -> None:
    """TypeError for what is no model, in its place."""
    if not isinstance(model, Module):
        raise TypeError(f"{name}(model, path): the model comes first, given {model!r:.60}")


def state_dict(model: Module, names: Names = None) -> dict[str, np.ndarray]:
    """name -> array, as the state_dict of the same model in PyTorch.  ValueError for two of one name."""
    own = model.state()
    first, turned = {id(v) for v in own.values()}, set(_turned(model))
    every = {**{k: v for k, v in all_names(model) if id(v) in first}, **own}
    renamed = _renamed(names, every)
    host = {k: to_numpy(every[k]) for k in renamed}
    return {new: host[k].T if k in turned else host[k] for k, new in renamed.items()}


def load_state_dict(
    model: Module, arrays: Mapping[str, Any], names: Names = None, strict: bool = True
) -> tuple[list[str], list[str]]:
    """`load_weights` from arrays by name; PyTorch's tensors, too, which are on the CPU."""
    turned = set(_turned(model))
    host = {new: np.asarray(_host(arrays[old])) for old, new in _renamed(names, arrays).items()}
    host = {k: a.T if k in turned else a for k, a in host.items()}
    if wrong := _misfits(model, host):
        raise RuntimeError(f"these weights do not fit this {type(model).__name__}:\n  " + "\n  ".join(wrong))
    missing, unexpected = model.load_state_dict(host, strict)
    return missing, unexpected


def _host(x: Any) -> Any:
    """The values of an array, or of another library's tensor, as NumPy's."""
    return to_numpy(x if isinstance(x, Tensor) or library(x) is not None else from_dlpack(x))


def _misfits(model: Module, host: Mapping[str, np.ndarray]) -> list[str]:
    """What `Module.load_state_dict` would take and should not."""
    wrong = []
    taken: dict[int, str] = {}
    for name, v in [*all_names(model), *model.named_buffers()]:
        if (a := host.get(name)) is None:
            continue
        old = v.array.dtype
        if is_float(a.dtype) != is_float(old) and a.dtype != old:
            wrong.append(f"{name} has dtype {a.dtype}, and the model's is {old}")
        elif is_float(old):
            with np.errstate(over="ignore"):
                lost = np.isfinite(a) & ~np.isfinite(a.astype(old))
            if lost.any():
                wrong.append(f"{name} has numbers beyond the model's {old}, as {a[lost][0]}")
        first = taken.setdefault(id(v), name)
        if first != name and not np.array_equal(a, host[first], equal_nan=is_inexact(a.dtype)):
            wrong.append(f"{name} differs from {first}, and in the model they are one tensor")
    return wrong


def _turned(x: Any, path: str = "", above: tuple[int, ...] = ()) -> Iterator[str]:
    """All names of the parameters that PyTorch has transposed."""
    if isinstance(x, Module):
        yield from [joined(path, name) for name in x.transposed]
    if id(x) not in above:
        for name, child in _children(x):
            yield from _turned(child, joined(path, name), (*above, id(x)))


# ---------------------------------------------------------------------------------------------- names
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
