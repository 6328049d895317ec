"""Values from a state_dict into a module: all that is wrong is listed, and then nothing changes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import generator
from ..array import xp
from ..core import Tensor, raw
from ..dtypes import category
from ..tensor import tensor
from .holder import all_names, waiting


class Loaded(NamedTuple):
    """The names that a state_dict did not have, and those that nobody took."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load(module: Any, given: Mapping[str, Any], strict: bool) -> Loaded:
    """`Module.load_state_dict`."""
    made: list[tuple[Any, Any]] = []  # layers, and how they were before their parameters were made
    place = generator.get_state()  # the random numbers of those are written over
    try:
        if untold := _build(module, given, made):
            raise _refused(module, untold)
        own = module.state()
        found, new = _compared(module, own, renamed(module, own, given), strict)
    except BaseException:
        for layer, before in reversed(made):
            layer._forget(before)
        raise
    finally:
        generator.set_state(place)
    for k, a in new.items():
        own[k].array = a
    return found


def _build(module: Any, given: Mapping[str, Any], made: list[Any]) -> list[str]:
    """Make the parameters of the layers that have none yet, as `given` tells their sizes; what it does not tell."""
    untold = []
    for path, m in module.named_modules():
        if waiting(m):
            start = f"{path}." if path else ""
            shapes = {k.removeprefix(start): np.shape(raw(a)) for k, a in given.items() if k.startswith(start)}
            before = m._before()
            try:
                if told := (size := m._told(shapes)) is not None:
                    m._arrived(size)
                    made.append((m, before))
            except (ValueError, TypeError, IndexError):  # of a shape that no such layer has
                told = False
            if not told:
                untold.append(f"{type(m).__name__} {path!r}: there is nothing that tells its {m._size}, which is None.")
    return untold


def renamed(module: Any, own: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` by the names that the module has: a tensor that is shared may have several there, here it has one."""
    given = from_older(own, given)
    if all([k in own for k in given]):
        return given
    first = {id(v): k for k, v in own.items()}
    names = {k: first[id(v)] for k, v in all_names(module) if id(v) in first}
    out: dict[str, Any] = {}
    for k, a in given.items():
        out.setdefault(k if k in own else names.get(k, k), a)
    return out


def from_older(own: Iterable[str], given: Mapping[str, Any], states: Iterable[str] = ()) -> dict[str, Any]:
    """`given` by the names of today: in older files, what is in a Sequential is called "layers.0", not "0".

    states    what the names of optimizers' states begin with, in which the name of a variable and a slot follow
    """
    today, own = {_short(k): k for k in own}, set(own)

    def name(k: str) -> str:
        start = next((s for s in states if k.startswith(s)), "")
        k, dot, slot = k.removeprefix(start).rpartition(".") if start else (k, "", "")
        short = _short(k)
        return start + (k if k in own or short == k else today.get(short, k)) + dot + slot

    return {name(k): a for k, a in given.items()}


def _short(name: str) -> str:
    return re.sub(r"\blayers\.(?=\d)", "", name)


def _compared(
    module: Any, own: Mapping[str, Tensor], given: Mapping[str, Any], strict: bool
) -> tuple[Loaded, dict[str, Any]]:
    """(the names that do not match, the new arrays).  RuntimeError for what does not fit."""
    young = {f"{path}.{name}" if path else name for path, m in module.named_modules() for name in m._younger}
    missing, unexpected = [k for k in own if k not in given], [k for k in given if k not in own]
    wrong, new = [], {}
    for what, names in (("Missing", [k for k in missing if k not in young]), ("Unexpected", unexpected)):
        if strict and names:
            wrong.append(f"{what} key(s) in state_dict: " + ", ".join(f'"{n}"' for n in names) + ". ")
    inner = [k for k in unexpected if isinstance(given[k], Mapping) and not own.keys().isdisjoint(given[k])]
    if wrong and inner:
        wrong.append(f"The weights are in state[{inner[0]!r}]: write load_state_dict(state[{inner[0]!r}]).")
    for k, v in own.items():
        if k not in given:
            continue
        try:
            a = tensor(raw(given[k]), device=v.device).array
            if category(a.dtype) > category(v.array.dtype):
                wrong.append(f"{k}: takes {v.array.dtype}, which {a.dtype} does not become without loss.")
                continue
            a = xp(a).array(a, dtype=v.array.dtype)
        except (TypeError, ValueError) as e:
            wrong.append(f"{k}: takes an array of numbers: {e}")
            continue
        if a.shape != v.array.shape:
            door = v.prefix == "torch."
            prefix = "torch.Size" if door else ""
            turned = not door and a.ndim == 2 and a.shape == v.array.shape[::-1]
            wrong.append(
                f"size mismatch for {k}: copying a param with shape {prefix}({list(a.shape)}) from checkpoint, the "
                f"shape in current model is {prefix}({list(v.array.shape)})."
                + " For weights of PyTorch's, call gpugrad.interop.torch.load_state_dict."
                * turned
            )
        new[k] = a
    if wrong:
        raise _refused(module, wrong)
    return Loaded(missing, unexpected), new


def _refused(module: Any, wrong: list[str]) -> RuntimeError:
    return RuntimeError(f"Error(s) in loading state_dict for {type(module).__name__}:\n\t" + "\n\t".join(wrong))
