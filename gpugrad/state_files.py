"""Floor 7: the state of a program, a nest of tensors, numbers and text, in one safetensors file with hashes.

The arrays are in the file by their paths; a JSON document among its notes has the schema, the tree, and a hash of each
array; another note is the hash of the document.  In the tree, what JSON has not is an object with one entry:

    {"dict": [[key, value], ...]}   {"tuple": [...]}   {"float": "nan"}   {"complex": [re, im]}
    {"tensor": [name, dtype]}   {"array": [name, dtype]}    complex128 as float64 with one more axis, of 2
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np

from .array import library
from .core import Tensor
from .dtypes import complex128
from .tensor import tensor, to_numpy
from .tensor_files import DTYPES, CheckpointError, once, read, write

SCHEMA = 1
_DEEPEST = 100
_DOCUMENT, _HASH = "gpugrad.state", "gpugrad.state.blake2b"
_ALLOWED = "dicts, lists, tuples, tensors, arrays, numbers, strings, bools and None"


def save(path: str | os.PathLike[str], state: Any) -> None:
    """Write a nest of dicts, lists, tuples, tensors, arrays, numbers, strings, bools and None into one file.

        gg.save("run.safetensors", {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 500})
        state = gg.load("run.safetensors")

    The whole file, or nothing: OSError where it cannot be, as on a full disk, and what was there is untouched.  It is
    made in the host's memory first.
    Tensors of every dtype, with their bits; keys are strings, numbers, bools or None.  Subclasses come back as dict,
    list, tuple, int, float, str; CuPy's arrays as NumPy's.
    TypeError for anything else, ValueError for a nest deeper than 100 or within itself: before a byte is written.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"the path comes first: write gg.save(path, state); {type(path).__name__} is none")
    arrays: dict[str, np.ndarray] = {}
    tree = _told(state, (), arrays)
    hashes = {name: _hash(a) for name, a in arrays.items()}
    document = json.dumps({"schema": SCHEMA, "tree": tree, "hashes": hashes}, allow_nan=False, separators=(",", ":"))
    write(path, arrays, {"format": "gpugrad", _DOCUMENT: document, _HASH: _digest(document.encode())})


def load(path: str | os.PathLike[str], device: Any = None) -> Any:
    """What `save` has written, equal to the bit; tensors are new, on `device` (None: the default one).

    CheckpointError for a file that is damaged, cut off, hostile, or not of `save`: nothing in it is executed, and no
    more memory is taken than twice what the file has.  FileNotFoundError.
    """
    arrays, notes = read(path)
    try:
        return _state(arrays, notes, lambda a: tensor(a, device=device))
    except RecursionError:
        raise CheckpointError(f"{os.fspath(path)} is damaged: its tree is too deep") from None
    except ValueError as e:
        raise CheckpointError(f"{os.fspath(path)} {e}") from None


def _digest(*parts: Any) -> str:
    h = blake2b(digest_size=16)
    for part in parts:
        h.update(part)
    return h.hexdigest()


def _hash(a: np.ndarray) -> str:
    return _digest(f"{a.dtype.name} {list(a.shape)} ".encode(), a.reshape(-1).view(np.uint8).data)


# ---------------------------------------------------------------------------------------------- out
def _told(x: Any, path: tuple[Any, ...], arrays: dict[str, np.ndarray]) -> Any:
    """The tree of x, whose arrays are put among `arrays`."""
    if len(path) > _DEEPEST:
        raise ValueError(f"save: a nest deeper than {_DEEPEST}, or one that is within itself")
    inner = lambda key, value: _told(value, (*path, key), arrays)
    if isinstance(x, (Tensor, np.generic)) or library(x) is not None:
        if not isinstance(x, (float, str)):  # as np.float64 is
            return {"tensor" if isinstance(x, Tensor) else "array": _kept(to_numpy(x), path, arrays)}
    if x is None or isinstance(x, (bool, str)):
        return x if x is None or isinstance(x, bool) else str(x)
    if isinstance(x, int):
        return int(x)
    if isinstance(x, float):
        return float(x) if math.isfinite(x) else {"float": repr(float(x))}
    if isinstance(x, complex):
        return {"complex": [inner("real", x.real), inner("imag", x.imag)]}
    if isinstance(x, Mapping):
        return {"dict": [[_key(k, path), inner(k, v)] for k, v in x.items()]}
    if isinstance(x, (list, tuple)):
        found = [inner(i, v) for i, v in enumerate(x)]
        return found if isinstance(x, list) else {"tuple": found}
    hint = "; save its .state_dict()" if hasattr(x, "state_dict") else ""
    raise TypeError(f"save: {_place(path)} is a {type(x).__name__}; what can be saved are {_ALLOWED}{hint}")


def _key(k: Any, path: tuple[Any, ...]) -> Any:
    if not isinstance(k, (str, int, float, type(None))):
        raise TypeError(f"save: {_place(path)} has the key {k!r:.60}; keys are strings, numbers, bools or None")
    return _told(k, path, {})


def _place(path: tuple[Any, ...]) -> str:
    return "state" + "".join([f"[{k!r:.40}]" for k in path])


def _kept(a: np.ndarray, path: tuple[Any, ...], arrays: dict[str, np.ndarray]) -> list[str]:
    """Put an array among `arrays`; answers [its name, its dtype]."""
    a = np.asarray(a, a.dtype.newbyteorder("="), order="C")
    dtype = a.dtype
    if dtype == complex128:
        a = a.reshape(-1).view(np.float64).reshape(*a.shape, 2)
    if a.dtype not in DTYPES.values():
        raise TypeError(f"save: {_place(path)} has dtype {dtype}, which safetensors has not")
    start = name = ".".join([str(k) for k in path]).encode(errors="replace").decode() or "state"
    while name in arrays or name == "__metadata__":
        name = f"{start}~{len(arrays)}"
    arrays[name] = a
    return [name, dtype.name]


# ---------------------------------------------------------------------------------------------- in
def _state(arrays: dict[str, np.ndarray], notes: Mapping[str, str], made: Callable[[np.ndarray], Tensor]) -> Any:
    document = notes.get(_DOCUMENT)
    if document is None:
        raise ValueError("was not written by gpugrad.save; gpugrad.checkpoints.load reads its arrays by name")
    if _digest(document.encode()) != notes.get(_HASH):
        raise ValueError("is damaged: the document in its header is not the one that was written")
    found = json.loads(document, object_pairs_hook=once, parse_constant=_no_number)
    if not isinstance(found, dict) or type(found.get("schema")) is not int:
        raise ValueError("is damaged: its document has no schema")
    if found["schema"] > SCHEMA:
        raise ValueError(f"has schema {found['schema']}, and this gpugrad reads up to {SCHEMA}: update gpugrad")
    if found["schema"] < 1 or found.keys() != {"schema", "tree", "hashes"} or not isinstance(found["hashes"], dict):
        raise ValueError("is damaged: its document is not schema, tree and hashes")
    if found["hashes"].keys() != arrays.keys():
        raise ValueError("is damaged: it has not the arrays that were written")
    for name, a in arrays.items():
        if _hash(a) != found["hashes"][name]:
            raise ValueError(f"is damaged: {name!r:.60} is not what was written, by its hash")
    state = _made(found["tree"], arrays, made)
    if arrays:
        raise ValueError(f"is damaged: its tree leaves out {next(iter(arrays))!r:.60}")
    return state


def _no_number(text: str) -> Any:
    """ValueError for what Python's JSON has and JSON has not: NaN, Infinity."""
    raise ValueError(f"{text} is not JSON")


def _made(tree: Any, arrays: dict[str, np.ndarray], made: Callable[[np.ndarray], Tensor]) -> Any:
    """What a tree tells of; each array is taken out of `arrays`, so that no two things share one."""
    inner = lambda t: _made(t, arrays, made)
    if isinstance(tree, list):
        return [inner(t) for t in tree]
    if not isinstance(tree, dict):
        return tree
    ((tag, value),) = tree.items() if len(tree) == 1 else (("", None),)
    match tag, value:
        case "dict", list():
            pairs = [(inner(p[0]), inner(p[1])) for p in value if isinstance(p, list) and len(p) == 2]
            keys = {k for k, _ in pairs if isinstance(k, (str, int, float, type(None)))}
            if len(keys) == len(value):
                return dict(pairs)
        case "tuple", list():
            return tuple([inner(t) for t in value])
        case "float", "nan" | "inf" | "-inf":
            return float(value)
        case "complex", [re, im]:
            parts = inner(re), inner(im)
            if all([isinstance(p, float) for p in parts]):
                return complex(*parts)
        case "tensor" | "array", [str(name), str(dtype)] if name in arrays:
            a = arrays.pop(name)
            if dtype == "complex128" and a.dtype == np.float64 and a.shape[-1:] == (2,):
                a = a.reshape(-1).view(complex128).reshape(a.shape[:-1])
            if a.dtype.name == dtype:
                return made(a) if tag == "tensor" else a
    raise ValueError(f"is damaged: its tree has {json.dumps(tree):.60}")
