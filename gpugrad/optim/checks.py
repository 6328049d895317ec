"""What an optimizer is given, checked."""

from __future__ import annotations

from inspect import signature
from operator import attrgetter
from typing import Any

from ..array import Array, device_of
from ..core import Tensor
from .state import Group, Todo

INF = float("inf")
_array, _shape, _dtype = attrgetter("array"), attrgetter("shape"), attrgetter("dtype")
# what groups have beside options: names, what schedules note there, and how PyTorch's loops run, which changes nothing
_BESIDE = (
    "params name param_names initial_lr min_lr max_lr base_momentum max_momentum "
    "foreach fused capturable differentiable"
)
NAMES = {"lr": "learning rate", "eps": "epsilon value"}


def option(name: str) -> Any:
    """An option as an attribute of the optimizer: that of the first group; set, that of all of them."""

    def get(self: Any) -> Any:
        return self.param_groups[0][name]

    return property(
        get,
        lambda self, value: set_option(self, name, value),
        doc=f"The option {name}: that of the first group; set, that of all groups.",
    )


def set_option(optimizer: Any, name: str, value: Any) -> None:
    """Give an option to all groups.  After an error nothing has changed."""
    optimizer.check({**optimizer.param_groups[0], name: value})
    optimizer.defaults[name] = value
    for group in optimizer.param_groups:
        group[name] = value


def renamed(optimizer: Any, defaults: Group, lr: Any, unknown: dict[str, Any]) -> Group:
    """The defaults, with `lr` for the learning rate if it was given.  TypeError for that twice, and other keywords."""
    name = type(optimizer).__name__
    if unknown:
        raise TypeError(
            f"{name}: unexpected keyword argument {next(iter(unknown))!r}; its options are {', '.join(defaults)}, "
            "and clipnorm, clipvalue, global_clipnorm, loss_scale, master_weights"
        )
    if lr is None:
        return dict(defaults)
    own = signature(type(optimizer).__init__).parameters.get("learning_rate")
    if own is not None and defaults.get("lr") != own.default:
        raise TypeError(f"{name}: learning_rate and lr are two names of one option; give one of them")
    return {**defaults, "lr": lr}


def known_keys(optimizer: Any, group: Group) -> None:
    """ValueError for a key of a group that is no option, which is a misspelt one as a rule."""
    known = {*optimizer.defaults, *_BESIDE.split()}
    if optimizer.defaults and (unknown := [k for k in group if k not in known]):
        raise ValueError(
            f"{type(optimizer).__name__}: a parameter group has no option {unknown[0]!r}; they are params, "
            f"{', '.join(optimizer.defaults)}"
        )


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
    gs, vs, _ = zip(*todo) if todo else ((), (), ())
    xs = list(map(_array, vs))
    if any([d.kind == "c" for d in {*map(_dtype, gs)}]):
        for g, x in zip(gs, xs):
            if g.dtype.kind == "c" and x.dtype.kind != "c":
                raise TypeError(
                    f"a gradient of {g.dtype} for a variable of {x.dtype}: it would lose its imaginary part"
                )
    if list(map(_shape, gs)) == list(map(_shape, xs)) and len({*map(type, gs), *map(type, xs)}) == 1:
        return  # as a rule, and many of them at once
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
