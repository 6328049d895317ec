"""Floor 0: axes by name, as in "... cols, cols -> ... cols": which sizes arrays share, and what follows from them.

An array's axes are words; those of all arrays that are called alike have one size.  `...` at the beginning stands for
any number of axes, the same in all arrays that have it, and `rows` for the number of their elements.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from operator import index
from typing import Any, NamedTuple

import numpy as np

Spec = tuple[str, ...]
Sizes = dict[str, Any]  # of each axis its size; of "..." the shape that it stands for


class Axes(NamedTuple):
    """The axes of each input and of the output.  `broadcast`: all are `...`, broadcast, of n elements."""

    inputs: dict[str, Spec]
    output: Spec
    broadcast: bool = False

    @property
    def lead(self) -> str:
        """The name of the number of elements of `...`."""
        return "n" if self.broadcast else "rows"

    def known(self, specs: Iterable[Spec]) -> set[str]:
        """The sizes that arrays of these axes tell."""
        found = {axis for spec in specs for axis in spec}
        return found | {self.lead} if "..." in found else found

    def sizes(self, given: Iterable[tuple[str, Spec, tuple[int, ...]]]) -> Sizes:
        """The sizes that follow from (an array's name, its axes, its shape).  ValueError where they do not agree."""
        found: Sizes = {}
        if self.broadcast:
            shapes = {shape for _, _, shape in given}
            found["..."] = shapes.pop() if len(shapes) == 1 else np.broadcast_shapes(*shapes)
        else:
            for name, spec, shape in given:
                for axis, size in _measured(name, spec, shape):
                    if found.setdefault(axis, size) != size:
                        raise ValueError(
                            f"{name} has shape {shape}, and its axes are {' '.join(spec) or 'none'!r}: "
                            f"{axis!r} is {size} here and {found[axis]} in another array"
                        )
        if "..." in found:
            found[self.lead] = math.prod(found["..."])
        return found


def _measured(name: str, spec: Spec, shape: tuple[int, ...]) -> list[tuple[str, Any]]:
    open_ = spec[:1] == ("...",)
    named = spec[1:] if open_ else spec
    if len(shape) < len(named) or (len(shape) > len(named) and not open_):
        raise ValueError(f"{name} has shape {shape}, and is to have the axes {' '.join(spec) or 'none'!r}")
    at = len(shape) - len(named)
    return [*([("...", shape[:at])] if open_ else []), *zip(named, shape[at:])]


def elementwise(args: Sequence[str]) -> Axes:
    """The axes of an op on each element: inputs are broadcast to the shape of the output."""
    return Axes(dict.fromkeys(args, ("...",)), ("...",), True)


def axes(text: str, args: Sequence[str]) -> Axes:
    """`text`, of the inputs `args`, taken apart.  ValueError, saying how it is written, for what does not fit them."""
    left, arrow, right = text.partition("->")
    specs = [tuple(part.split()) for part in left.split(",")]
    for spec in (*specs, tuple(right.split())):
        for i, axis in enumerate(spec):
            if not (re.fullmatch(r"[A-Za-z_]\w*", axis) or (axis == "..." and i == 0)):
                raise ValueError(f"shapes {text!r}: {axis!r} is no axis; axes are words, and '...' at the beginning")
            if axis == "rows" and "..." in text:
                raise ValueError(f"shapes {text!r}: 'rows' is the number of elements of '...'; call the axis otherwise")
    if not arrow or len(specs) != len(args):
        raise ValueError(
            f"shapes {text!r}: the axes of {', '.join(args)}, by commas, then -> and those of the output are needed, "
            f"as in {', '.join(['... cols'] * len(args))} -> ... cols"
        )
    return Axes(dict(zip(args, specs)), tuple(right.split()))


def shape(spec: Spec, sizes: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape of an array of these axes."""
    lead = sizes["..."] if spec[:1] == ("...",) else ()
    return (*lead, *[index(sizes[axis]) for axis in spec if axis != "..."])


def grown(value: np.ndarray, spec: Spec, axis: str, size: int) -> np.ndarray:
    """`value` with this size of an axis, its values repeated or cut; of "..." it is the first."""
    if axis not in spec or (axis == "..." and value.ndim < len(spec)):
        return value
    at = 0 if axis == "..." else value.ndim - len(spec) + spec.index(axis)
    return value.take(np.arange(size) % max(value.shape[at], 1), at) if value.shape[at] or not size else value
