"""Master weights: half variables are updated as float32 copies, so that updates below their last digit add up.

Micikevicius et al. 2018.  A copy is in the state, as "master_param"; the variable is it, rounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..array import to_host, xp
from ..core import Tensor, tick, writes
from ..dtypes import wide
from .state import States, Todo

MASTER = "master_param"
Known = dict[int, tuple[Any, int]]  # by the id of a variable: (what answers its array, when its copy was rounded)


def half(v: Tensor) -> bool:
    """Whether a variable has a copy."""
    return wide(v.array.dtype) is not v.array.dtype


def refresh(todo: Todo, states: States, known: Known) -> None:
    """See to it that each half variable has a copy, which is it when rounded: a variable that was assigned to counts.

    Where another array is in the variable than the last step left, waits for the device.
    """
    for _, v, _ in todo:
        if half(v) and not _is_known(v, known):
            master = states[v].get(MASTER)
            if master is None or not bool(to_host((master.astype(v.array.dtype) == v.array).all())):
                states[v][MASTER] = v.array.astype(wide(v.array.dtype))


def _is_known(v: Tensor, known: Known) -> bool:
    array, age = known.get(id(v), (lambda: None, 0))
    return array() is v.array and not (writes.ages and any([a > age for a in writes.of(v.array)]))


def note(todo: Todo, known: Known) -> None:
    """The copies of these variables have been rounded into them."""
    now = tick()
    known.update({id(v): (writes.ask(v.array), now) for _, v, _ in todo if half(v)})


@contextmanager
def in_place_of(todo: Todo, states: States) -> Iterator[None]:
    """Inside, half variables have their copies for arrays; at the end those rounded, and the copies are kept."""
    swapped = [(v, v.array.dtype) for v in {id(v): v for _, v, _ in todo}.values() if half(v)]
    for v, _ in swapped:
        v.array = states[v].pop(MASTER)
    try:
        yield
    finally:
        for v, dtype in swapped:
            states[v][MASTER] = v.array
            v.array = xp(v.array).asarray(v.array.astype(dtype))
