"""More elements around an array."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from typing import Any

import numpy as np

from ..array import to_host
from ..core import Tensor, raw
from ..forward import boxed
from ..op import op
from .index import beside, take
from .shape import concat

Width = tuple[tuple[int, int], ...]
# How far each mode goes: the elements that are not mirrored; None: as far as one likes.
MODES = {"constant": None, "reflect": 1, "symmetric": 0, "edge": None, "wrap": None}
MODES |= {m.upper(): MODES[m] for m in ("constant", "reflect", "symmetric")}


def _pad_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    width, value = ((0, 0), *static["width"]), static["value"]
    if np.ndim(value) == 2:  # numbers for each axis
        value = [[0, 0], *np.broadcast_to(value, (len(width) - 1, 2)).tolist()]
    return call(xs[0], width=width, value=value)


def _crop_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    return call(xs[0], width=((0, 0), *static["width"]))


@op(x=lambda g, width: _crop(g, width=width), name="pad", batch=_pad_batch)
def _pad(xp: Any, x: Any, *, width: Width, value: Any = 0) -> Any:
    if np.ndim(value):
        return xp.pad(x, width, constant_values=value)
    shape = tuple([a + n + b for (a, b), n in zip(width, x.shape)])  # xp.pad takes ten times as long for small arrays
    out = xp.zeros(shape, x.dtype) if type(value) is int and not value else xp.full(shape, value, x.dtype)
    out[tuple([slice(a, a + n) for (a, _), n in zip(width, x.shape)])] = x
    return out


@op(x=lambda g, width: _pad(g, width=width), name="crop", batch=_crop_batch, linear=True)
def _crop(xp: Any, x: Any, *, width: Width) -> Any:
    return x[tuple([slice(a, n - b) for (a, b), n in zip(width, x.shape)])]


def _widths(given: Any, ndim: int) -> Width:
    """A pair (before, after) for each axis, broadcast.  ValueError if `given` does not say that."""
    widths = np.asarray(raw(given))
    if widths.shape in ((), (1,), (2,), (1, 1), (1, 2), (ndim, 1)):
        widths = np.broadcast_to(widths, (ndim, 2))
    if widths.shape != (ndim, 2) or widths.dtype.kind not in "iu" or widths.min(initial=0) < 0:
        raise ValueError(f"pad: {given} is not a pair of numbers from 0 on for each of {ndim} axes")
    return tuple([(before, after) for before, after in widths.tolist()])


def _constants(x: Any, given: Any) -> Any:
    """`given` as numbers that x can hold."""
    if type(given) is int and given == 0:
        return given
    if isinstance(given, Tensor) and given.node is not None:
        raise TypeError("pad: constant_values are numbers, of no gradient, not a tracked Tensor; see where, concat")
    return to_host(raw(beside("pad", x, given))).tolist()


def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> Any:
    """x with more elements around it: a pair (before, after) or one number for each axis, or one of these for all.

    mode: "constant" has `constant_values` there (a number, or pairs of numbers as for `pad_width`), "edge" the
    outermost element, "wrap" goes on at the other end, "reflect" mirrors x at its outermost elements, "symmetric"
    repeats those too; "constant", "reflect" and "symmetric" in capitals, too.
    ValueError for another mode, and for more than there is to mirror; TypeError or OverflowError for constants that x
    cannot hold, and for a tracked Tensor of them, which would have no gradient.
    """
    x = boxed(x, "pad")
    lengths = raw(x).shape
    width = _widths(pad_width, len(lengths))
    if mode not in MODES:
        raise ValueError(f"pad: mode is one of {list(MODES)}, not {mode!r}")
    mode, mirror = mode.lower(), MODES[mode]
    if mode == "constant":
        return _pad(x, width=width, value=_constants(x, constant_values))
    for axis, (before, after) in enumerate(width):
        n = lengths[axis]
        most = before + after if mirror is None and n else n - (mirror or 0)
        if max(before, after) > most:
            raise ValueError(f"pad: {mode} makes at most {max(most, 0)} elements of axis {axis}, not {width[axis]}")
        if before or after:
            places = np.pad(np.arange(n), (before, after), mode)  # type: ignore[call-overload]
            ends = [take(x, places[:before], axis), x, take(x, places[before + n :], axis)]
            x = concat([part for part, some in zip(ends, (before, True, after)) if some], axis)
    return x
