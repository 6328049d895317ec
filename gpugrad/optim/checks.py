"""What an optimizer is given, checked."""

from __future__ import annotations

from typing import Any

from ..array import Array, device_of
from ..core import Tensor
from .state import Group, Todo

INF = float("inf")
NAMES = {"lr": "learning rate", "eps": "epsilon value"}


def option(name: str) -> Any:
    """An option as an attribute of the optimizer: that of the first group; set, that of all of them."""

    def get(self: Any) -> Any:
        return self.param_groups[0][name]

    def change(self: Any, value: Any) -> None:
        self.check({**self.param_groups[0], name: value})
        self.defaults[name] = value
        for group in self.param_groups:
            group[name] = value

    return property(get, change, doc=f"The option {name}: that of the first group; set, that of all groups.")


def groups_of(name: str, variables: Any) -> list[Group]:
    """What the first argument of an optimizer says, as groups."""
    if isinstance(variables, Tensor):
        raise TypeError(
            "params argument given to the optimizer should be an iterable of Tensors or dicts, but got one tensor; "
            "write [v]"
        )
    if isinstance(variables, (str, dict)) or not hasattr(variables, "__iter__"):
        raise TypeError(
            f"{name}: the first argument is the variables to optimize, for example model.parameters(), not "
            f"{variables!r:.40}; the learning rate is learning_rate="
        )
    given = list(variables)
    if not given:
        raise ValueError("optimizer got an empty parameter list")
    return given if isinstance(given[0], dict) else [{"params": given}]


def fitting(todo: Todo) -> None:
    """An error for a gradient that is not its variable's."""
    for g, v, _ in todo:
        if g.shape != v.array.shape:
            name = getattr(v, "name", "a tensor")
            raise ValueError(f"the gradient of {name!r} has shape {g.shape}, the variable {v.array.shape}")
        if type(g) is not type(v.array) and device_of(g) != device_of(v.array):
            raise TypeError(f"the gradient is on {device_of(g)} and its variable on {device_of(v.array)}")


def refuse_complex(optimizer: str, x: Array) -> None:
    """TypeError for a complex variable, whose g² is not |g|²."""
    if x.dtype.kind == "c":
        raise TypeError(
            f"{optimizer}: complex variables are not supported; keep real and imaginary part in two, or use SGD"
        )


def number(name: str, value: Any, high: float = INF) -> Any:
    """`value`, if it is a number with 0 <= value < high.  ValueError otherwise, for NaN too."""
    if isinstance(value, Tensor):
        value = float(value)
    if not isinstance(value, (int, float)) or not 0 <= value < high:
        raise ValueError(f"Invalid {name}: {value!r}; it must be a number from 0 to below {high}")
    return value


def pair_of_betas(optimizer: str, group: Group) -> None:
    """`betas` of a group as two floats from 0 to below 1.  TypeError or ValueError otherwise."""
    betas = group["betas"]
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise TypeError(f"{optimizer}: betas is a pair of numbers, such as (0.9, 0.999), not {betas!r}")
    group["betas"] = tuple([float(number(f"beta parameter at index {i}", b, 1.0)) for i, b in enumerate(betas)])


def by_letters(group: Group) -> dict[str, float]:
    """The betas as kernels call them."""
    return dict(zip("ab", group["betas"]))
