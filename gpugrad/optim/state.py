"""What an optimizer keeps for each variable, and how that is saved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..array import Array, library, xp
from ..core import Tensor, raw, wrap
from ..dtypes import wide
from ..tensor import tensor

Group = dict[str, Any]
Todo = list[tuple[Array, Tensor, Group]]  # what a step is to do: (gradient, variable, its group)


NUMBERS = ("step", "mu_product", "t", "ro", "H_diag", "prev_loss", "al")  # entries of states that are no arrays


class Count(int):
    """A number of steps, which can also be asked as a variable is."""

    def numpy(self) -> np.int64:
        """The number as NumPy's."""
        return np.int64(self)


class States:
    """A dict for each variable, by identity: equality of tensors is by element, and TensorFlow's do not hash.

    `states[v]` makes an empty one where there is none.
    """

    def __init__(self) -> None:
        self.by_id: dict[int, tuple[Tensor, dict[str, Any]]] = {}

    def __getitem__(self, v: Tensor) -> dict[str, Any]:
        return self.by_id.setdefault(id(v), (v, {}))[1]

    def __setitem__(self, v: Tensor, state: dict[str, Any]) -> None:
        self.by_id[id(v)] = v, state

    def __contains__(self, v: object) -> bool:
        return id(v) in self.by_id

    def __iter__(self) -> Iterator[Tensor]:
        return (v for v, _ in self.by_id.values())

    def __len__(self) -> int:
        return len(self.by_id)

    def items(self) -> list[tuple[Tensor, dict[str, Any]]]:
        """(variable, its state)."""
        return list(self.by_id.values())

    def __getstate__(self) -> dict[str, Any]:
        return {"pairs": self.items()}  # ids are for this process

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.by_id = {id(v): (v, s) for v, s in state["pairs"]}


def kept(state: dict[str, Array], name: str, x: Array, start: float = 0.0) -> Array:
    """The entry of a state, the first time full of `start`, like x."""
    if name not in state:
        state[name] = xp(x).full_like(x, start)
    return state[name]


def plain(name: str, value: Any) -> Any:
    """One entry of a state: what is counted as a number, wherever that is."""
    return int(value) if name == "step" else float(value) if name == "mu_product" else value


def saved(name: str, value: Any, v: Tensor) -> Any:
    """One entry of the state of v, as a state_dict has it."""
    if isinstance(value, list):
        return [saved("", a, v) for a in value]
    value = plain(name, value)
    return wrap(value.view(), None, v.kind) if library(value) is not None else value


def _number(name: str, value: Any) -> Any:
    """An entry that is a number: a count, whole and not negative, for "step"; finite for the others.  Or None."""
    if value is None:
        return None
    n = float(value) if hasattr(value, "__float__") and getattr(value, "size", 1) == 1 else math.nan
    if name == "step" and not (n >= 0 and n.is_integer()):
        raise ValueError(f"loaded state dict has {value!r:.60} for step; it is to be a whole number from 0 on")
    if not math.isfinite(n) and name != "prev_loss":
        raise ValueError(f"loaded state dict has {value!r:.60} for {name}; it is to be a finite number")
    return int(n) if name == "step" else n


def restored(name: str, value: Any, v: Tensor, shape: tuple[int, ...]) -> Any:
    """An entry of a state_dict, for v: an array of its own of that shape, or a number.

    Of a list, of each entry.  ValueError for another shape, and for what is no number where one is needed.
    """
    if isinstance(value, list):
        return [restored(name, a, v, shape) for a in value]
    array = raw(value)
    if name in NUMBERS:  # PyTorch's are tensors
        return _number(name, array)
    if library(array) is None:
        if array is not None and not isinstance(array, (int, float)):
            raise ValueError(f"loaded state dict has {value!r:.60} for {name}; it is to be an array or a number")
        return array
    if array.shape != shape:
        raise ValueError(f"loaded state dict has {name} of shape {array.shape} for a variable of {shape}")
    own = raw(tensor(array, wide(v.array.dtype), v.device))
    return xp(own).array(own)
