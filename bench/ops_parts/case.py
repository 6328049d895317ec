"""What a case of bench/ops.py is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Step = Callable[[], Any]  # one forward and backward


class Case(NamedTuple):
    """An op, forward and backward, beside other ways to have it.

    name     "conv2d 3x3"
    makers   {library or way: a function without arguments that prepares inputs and answers a step}; imports are inside
    limits   {(ours, theirs): the ratio of times that is allowed}
    memory   {(ours, theirs): the ratio of peak memory that is allowed}
    """

    name: str
    makers: dict[str, Callable[[], Step]]
    limits: dict[tuple[str, str], float]
    memory: dict[tuple[str, str], float] = {}  # noqa: RUF012
