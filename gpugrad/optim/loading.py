"""A state_dict that an optimizer is given, checked before anything changes."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from .checks import BESIDE
from .state import Group, States, restored


def checked(optimizer: Any, state_dict: Any) -> tuple[list[Group], States]:
    """(its groups, its states), for this optimizer.  ValueError that names what does not fit."""
    given, own = entries(state_dict), optimizer.param_groups
    if len(given) != len(own):
        raise ValueError(f"loaded state dict has a different number of parameter groups: {len(given)}, here {len(own)}")
    sizes = [(len(g["params"]), len(o["params"])) for g, o in zip(given, own)]
    if any([g != o for g, o in sizes]):
        raise ValueError(
            "loaded state dict contains a parameter group that doesn't match the size of optimizer's group: "
            f"(theirs, here) {sizes}"
        )
    for g, o in zip(given, own):
        _same_options(optimizer, g, o)
    groups = [{**o, **deepcopy({**g, "params": []}), "params": o["params"]} for g, o in zip(given, own)]
    for group in groups:
        optimizer.check(group)
    places = {i: v for g, o in zip(given, own) for i, v in zip(g["params"], o["params"])}
    states = States()
    for i, state in state_dict["state"].items():
        if i not in places or not isinstance(state, dict):
            raise ValueError(
                f"loaded state dict has state {state!r:.40} for parameter {i!r}; its groups have {[*places]!r:.60}"
            )
        v = places[i]
        states[v] = {k: restored(k, value, v, optimizer.state_shape(k, v)) for k, value in state.items()}
    return groups, states


def _same_options(optimizer: Any, given: Group, own: Group) -> None:
    """ValueError unless a group has the options of this optimizer, as one of another kind has not."""
    if not optimizer.defaults:
        return
    unknown = [k for k in given if k not in own and k not in BESIDE and k not in optimizer.may_lack]
    lacking = [k for k in optimizer.defaults if k not in given and k not in optimizer.may_lack]
    if unknown or lacking:
        told = [f"has {', '.join(unknown)}, which {type(optimizer).__name__} has not"] if unknown else []
        told += [f"lacks {', '.join(lacking)}"] if lacking else []
        raise ValueError(
            f"loaded state dict is of another optimizer: a parameter group {' and '.join(told)}; the options of "
            f"{type(optimizer).__name__} are {', '.join(optimizer.defaults)}"
        )


def entries(state_dict: Any) -> list[Group]:
    """The groups of a state_dict.  ValueError for what is none of an optimizer's."""
    if not isinstance(state_dict, dict) or not {"state", "param_groups"} <= {*state_dict}:
        has = f"has {[*state_dict]!r:.60}" if isinstance(state_dict, dict) else f"is a {type(state_dict).__name__}"
        raise ValueError(f"loaded state dict is none of an optimizer: it {has}, not 'state' and 'param_groups'")
    groups = state_dict["param_groups"]
    if not isinstance(groups, (list, tuple)) or not all([isinstance(g, dict) and "params" in g for g in groups]):
        raise ValueError(f"loaded state dict: param_groups is a list of dicts with 'params', not {groups!r:.60}")
    if not isinstance(state_dict["state"], dict):
        raise ValueError(f"loaded state dict: state is a dict by number, not {state_dict['state']!r:.60}")
    return [*groups]
