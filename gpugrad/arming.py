"""Floor 2: functions that become others, once a program asks for what that takes.

An armed function stays the object that everybody holds, and has new code: that looks whether the call is for `Armed`,
and else calls what the function was.  A program that never asks runs the code that it always ran.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from types import CodeType, FunctionType
from typing import Any, NamedTuple


class Armed(NamedTuple):
    """What stands in the place of a function.

    run     what the function was
    looks   looks(positional arguments, named ones) answers what the call is for; None: for the function as it was
    enter   enter(this, what `looks` answered, positional arguments, named ones): the call
    about   what whoever armed it wants to know
    """

    run: Callable[..., Any]
    looks: Callable[[tuple, dict[str, Any]], Any]
    enter: Callable[..., Any]
    about: Any = None


@cache
def _stand_in(slot: str, free: tuple[str, ...]) -> CodeType:
    """The code of an armed function with these free variables: a function keeps its cells, and as many names for them.

    It reads none of them, and finds all else in `slot`: its globals are those of the function's module.
    """
    source = f"""
def make({", ".join(free)}):
    def stand_in(*_args, {slot}=None, **_more):
        _found = {slot}.looks(_args, _more)
        if _found is None:
            return {slot}.run(*_args, **_more)
        return {slot}.enter({slot}, _found, _args, _more)
        {", ".join(free)}
    return stand_in
"""
    made: dict[str, Any] = {}
    exec(compile(source, __file__, "exec"), made)
    return made["make"](*free).__code__


def armed(f: Any, slot: str) -> bool:
    """Whether `f` is armed for `slot`."""
    return slot in (f.__kwdefaults__ or {})


Looks = Callable[[tuple, dict[str, Any]], Any]


def arm(f: Any, slot: str, looks: Looks, enter: Callable[..., Any], about: Any = None) -> None:
    """Arm `f` for `slot`, the name of whoever does it, if that has not been done.

    What `f.spoken` makes of an op later is armed, too.
    """
    if armed(f, slot):
        return
    was: Any = FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__, f.__closure__)
    was.__kwdefaults__, was.__qualname__ = f.__kwdefaults__, f.__qualname__
    f.__signature__ = inspect.signature(f)
    f.__kwdefaults__ = {**(f.__kwdefaults__ or {}), slot: Armed(was, looks, enter, about)}
    f.__code__ = _stand_in(slot, f.__code__.co_freevars)
    if hasattr(f, "spoken"):
        spoken = was.spoken = f.spoken

        def armed_too(own: Any, names: Any) -> Any:
            g = spoken(own, names)
            arm(g, slot, looks, enter, about)
            return g

        f.spoken = armed_too
