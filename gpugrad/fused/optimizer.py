"""Optimizer steps and the global norm: one launch for up to 512 arrays of a dtype."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from ..array import Array, device_of, library
from ..dtypes import float64, wide
from ..kernels import BLOCK, TABLES, ceil, place

CHUNK = 16 * BLOCK  # elements of an array that a block takes; a multiple of every pack
RATE, STEP, TICKET, PRODUCT = range(4)  # places in a schedule, as in kernels/table.cuh
LOSS_SCALE, CLIP, SKIP, NORM, SKIPPED = range(5)  # places in a scaling
SCALE, GOOD, FOUND, MISSED, ROW = range(5)  # places in a moving loss scale
PARAMETER, UPDATED, GRADIENT, STATE, STATE2, STATE3 = range(6)  # columns of a table
RULES = ("amsgrad", "nadam", "radam", "adamax", "adadelta", "adagrad", "rmsprop", "lion", "dampened")
LAUNCHES = {"lamb": ("lamb_squares", "lamb_shares", "lamb")}  # of steps that are not one kernel of their name
FILES = dict.fromkeys(LAUNCHES["lamb"], "lamb")  # of kernels that are not in optimizer.cu
EACH = ("lamb_shares",)  # of kernels, those that have a block for each array
Arrays = Sequence[Array]


# ---------------------------------------------------------------------------------------------- read on the device
def schedule(like: Array, rate: float, done: float = 0, product: float = 1.0) -> Array:
    """What a step reads when it runs, float64 on the device of `like`: [rate, steps done, 0, NAdam's product].

    `adam` and `rule` count the steps themselves.  Write to it between steps; a step captured in a CUDA graph stays.
    """
    return _on_device(like, [rate, done, 0.0, product])


def scaling(like: Array, loss_scale: float = 1.0) -> Array:
    """What `global_norm` leaves for the steps after it, float64 on the device of `like`.

    [loss scale, clip factor, whether to skip, norm, how many were skipped so far]
    """
    return _on_device(like, [loss_scale, 1.0, 0.0, 0.0, 0.0])


def moving(like: Array, values: Sequence[float]) -> Array:
    """A loss scale that `update_scale` moves, float64 on the device of `like`.

    [loss scale, steps since it changed, whether one was skipped since the last update, how many were so far, and how
    many of these in a row until now]
    """
    return _on_device(like, list(values))


def _on_device(like: Array, values: list[float]) -> Array:
    p = place(like)
    with p.scope():
        return p.lib.asarray(values, float64, p.device)


def entry(control: Array, i: int) -> Array:
    """The value at `i` of a schedule or scaling as a 0-d array, a view: reading it as a number waits for the device."""
    return control[i : i + 1].reshape(())


# ---------------------------------------------------------------------------------------------- tables
@cache
def _layout(n: int) -> np.dtype:
    """struct Table<n> of kernels/table.cuh."""
    fields = [("arrays", "u8", (6, n)), ("size", "i8", (n,)), ("first", "i4", (n + 1,))]
    return np.dtype([*fields, ("count", "i4"), ("masters", "i4")], align=True)


class Table:
    """Where the arrays of a step are: columns of addresses, for arrays of the sizes, dtype and device of `like`.

    A kernel sees addresses only, so a column is checked as it is set; what stays is set once, for many steps.  States
    are wide.  A table holds the arrays it points to, those of one step until the launch.
    masters: the parameters are wide, too, and written over; the updated ones are rounded.
    """

    def __init__(self, like: Arrays, masters: bool = False) -> None:
        self.place, self.dtype, self.masters = place(*like), like[0].dtype, masters
        self.sizes = [a.size for a in like]
        self.columns: dict[int, Arrays] = {}
        self._parts: list[tuple[np.ndarray, np.ndarray, int]] = []  # (struct, its rows of addresses, blocks)
        kept = [n for n in self.sizes if n]
        for at in range(0, len(kept), TABLES[-1]):
            sizes = kept[at : at + TABLES[-1]]
            struct = np.zeros((), _layout(next(t for t in TABLES if len(sizes) <= t)))
            blocks = np.cumsum([ceil(n, CHUNK) for n in sizes])
            struct["size"][: len(sizes)], struct["first"][1 : len(sizes) + 1] = sizes, blocks
            struct["count"], struct["masters"] = len(sizes), masters
            self._parts.append((struct, struct["arrays"][:, : len(sizes)], int(blocks[-1])))

    def set(self, column: int, arrays: Arrays) -> None:
        """Point a column at `arrays`: those that are only read may be strided, and are copied.

        TypeError for another dtype, device or library; ValueError for other sizes and strided arrays to write to.
        """
        kept = column >= STATE or (column == PARAMETER and self.masters)
        lib, dtype, own = self.place.lib, wide(self.dtype) if kept else self.dtype, self.place.device.index
        types, address, sign = lib.types, lib.address, lib.sign
        if len(arrays) != len(self.sizes):
            raise ValueError(f"{len(self.sizes)} arrays to update, {len(arrays)} beside them")
        arrays, addresses = list(arrays), []
        for i, (a, size) in enumerate(zip(arrays, self.sizes)):
            about = sign(a) if isinstance(a, types) else None
            if about is None or about[2:4] != (dtype, own):
                raise TypeError(f"an array of {dtype} on {self.place.device} is needed, given {_shown(a)}")
            if a.size != size:
                raise ValueError(f"an array of {size} elements is needed, given one of shape {a.shape}")
            if not about[-1]:
                if kept or column == UPDATED:
                    raise ValueError(f"a contiguous, aligned array is needed, given one of strides {a.strides}")
                with self.place.scope():
                    a = arrays[i] = self.place.whole(a)
            if size:
                addresses.append(address(a))
        self._point(column, arrays, addresses)

    def allocate(self, like: Arrays, over: Sequence[bool] = ()) -> list[Array]:
        """Arrays of the shapes of `like` for the results: new ones, or where `over` says so the parameters themselves.

        A parameter that had to be copied is not written over.  Beside masters, `like` are the rounded parameters.
        """
        p, dtype, address = self.place, self.dtype, self.place.lib.address
        if self.masters:
            own = [w and p.lib.sign(a)[-1] for a, w in zip(like, over or [False] * len(like))]
        else:
            own = [a is x and w for a, x, w in zip(like, self.columns[PARAMETER], over or [False] * len(like))]
        with p.scope():
            outs = [a if w else p.empty(a.shape, dtype) for a, w in zip(like, own)]
        self._point(UPDATED, outs, [address(a) for a, n in zip(outs, self.sizes) if n])
        return outs

    def _point(self, column: int, arrays: Arrays, addresses: list[int]) -> None:
        at = 0
        for _, rows, _ in self._parts:
            end = at + rows.shape[1]
            rows[column] = addresses[at:end]
            at = end
        self.columns[column] = arrays

    def launches(self, kernel: str, columns: Sequence[int], *values: Any) -> Iterator[tuple[Callable[..., None], int]]:
        """(what launches a part of the table with the kernel's other arguments, how many blocks that has).

        ValueError for a column that is not set: its addresses are of arrays that may be gone.
        """
        if missing := [c for c in columns if c not in self.columns]:
            raise ValueError(f"{kernel} needs the columns {list(columns)} of its table; {missing} are not set")
        for struct, _, blocks in self._parts:
            run = self._get(kernel, struct, *values)
            yield partial(run, (int(struct["count"]) if kernel in EACH else blocks,), (BLOCK,), struct), blocks

    def compile(self, kernel: str, *values: Any) -> None:
        """Make what `launches` of this kernel needs, so that an error comes before the first launch of a step."""
        for struct, _, _ in self._parts:
            self._get(kernel, struct, *values)

    def _get(self, kernel: str, struct: np.ndarray, *values: Any) -> Any:
        name, n = FILES.get(kernel, "optimizer"), struct.dtype["size"].shape[0]
        return self.place.get(name, kernel, self.dtype, *values, n)

    def forget(self) -> None:
        """Let go of the arrays of one step."""
        for column in (PARAMETER, UPDATED, GRADIENT):
            self.columns.pop(column, None)


def _shown(a: Any) -> str:
    return f"one of {a.dtype} on {device_of(a)}" if library(a) is not None else type(a).__name__


# ---------------------------------------------------------------------------------------------- steps
def sgd(
    table: Table,
    schedule: Array,
    scaling: Array | None = None,
    momentum: float = 0.0,
    decay: float = 0.0,
    nesterov: bool = False,
    decoupled: bool = False,
    maximize: bool = False,
) -> None:
    """updated = x - rate v, with v = g + decay x, or its running sum v ← momentum v + g, which STATE keeps.

    decoupled: x shrinks by rate decay x instead; maximize: uphill.  Gradients are multiplied by the clip factor and
    divided by the loss scale, if there is a scaling.
    """
    columns = [PARAMETER, UPDATED, GRADIENT] + [STATE] * bool(momentum)
    with table.place.scope():
        for launch, _ in list(table.launches("sgd", columns)):
            launch(schedule, scaling, CHUNK, momentum, decay, int(nesterov), int(decoupled), int(maximize))
    table.forget()


def adam(
    table: Table,
    schedule: Array,
    scaling: Array | None = None,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    decay: float = 0.0,
    decoupled: bool = False,
    raw_eps: bool = False,
    maximize: bool = False,
) -> None:
    """Adam, and with `decoupled` AdamW; STATE and STATE2 keep the running means of g and g².  It counts the step.

    raw_eps: eps beside the root before its bias is corrected, as Keras has it; maximize: uphill.
    """
    columns = (PARAMETER, UPDATED, GRADIENT, STATE, STATE2)
    options = [*betas, eps, decay, int(decoupled), int(raw_eps), int(maximize)]
    with table.place.scope():
        launches = [launch for launch, _ in table.launches("adam", columns)]
        for launch in launches:
            launch(schedule, scaling, CHUNK, *options, int(launch is launches[-1]))
    table.forget()


def rule(
    table: Table,
    schedule: Array,
    scaling: Array | None = None,
    *,
    kind: str,
    states: int,
    counts: bool = True,
    a: float = 0.0,
    b: float = 0.0,
    eps: float = 0.0,
    decay: float = 0.0,
    extra: float = 0.0,
    decoupled: bool = False,
    option: bool = False,
    maximize: bool = False,
) -> None:
    """A step of one of `RULES`, with so many states; what a, b, extra and option are is its own (kernels/optimizer.cu).

    counts: the step is counted in the schedule.
    """
    columns = (PARAMETER, UPDATED, GRADIENT, STATE, STATE2, STATE3)[: 3 + states]
    options = [a, b, eps, decay, extra, int(decoupled), int(option), int(maximize)]
    with table.place.scope():
        launches = [launch for launch, _ in table.launches("rule", columns, RULES.index(kind))]
        for launch in launches:
            launch(schedule, scaling, CHUNK, *options, int(counts and launch is launches[-1]))
    table.forget()


def lamb(
    table: Table,
    schedule: Array,
    scaling: Array | None = None,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-6,
    decay: float = 0.0,
    maximize: bool = False,
) -> None:
    """LAMB; STATE and STATE2 keep the running means of g and g².  It counts the step.  Three launches.

    The lengths of arrays are sums of squares in float64, and are the same from run to run.
    """
    columns, p = (PARAMETER, UPDATED, GRADIENT, STATE, STATE2), table.place
    options = [*betas, eps, decay]
    with p.scope():
        kernels = [list(table.launches(name, columns)) for name in LAUNCHES["lamb"]]
        sums, shares, start = (
            p.empty((2 * sum([n for _, n in kernels[0]]),), float64),
            p.empty((TABLES[-1],), float64),
            0,
        )
        for (squares, blocks), (share, _), (launch, _) in zip(*kernels):
            squares(schedule, scaling, sums, start, CHUNK, *options, int(maximize))
            share(sums, shares, start)
            start += blocks
            launch(schedule, scaling, shares, CHUNK, *options, int(start == sums.size // 2))
    table.forget()


def global_norm(
    tables: Sequence[Table],
    scaling: Array,
    limit: float = math.inf,
    eps: float = 0.0,
    skips: bool = False,
    moving: Array | None = None,
    found: Array | None = None,
) -> None:
    """Leaves in `scaling` the length of all gradients together, over the loss scale, and the factor to clip it.

    The factor is min(1, limit / (length + eps)), NaN for a length that is NaN.  skips: a length that is not finite
    makes the steps after it leave everything as it is.  The tables may be of several dtypes.
    moving: a moving loss scale, which is put into `scaling` and told of a skip.  found: a number, from when gradients
    were divided by it, which is not 0 if the step is to be skipped.
    """
    p = place(scaling)
    with p.scope():
        launches = [found for table in tables for found in table.launches("squares", (GRADIENT,))]
        total = sum([blocks for _, blocks in launches])
        sums, start = p.empty((total,), float64), 0
        for launch, blocks in launches:
            launch(sums, start, CHUNK)
            start += blocks
        run = p.get("optimizer", "global_norm", float64)
        run((1,), (BLOCK,), sums, scaling, moving, found, total, limit, eps, int(skips))


def update_scale(moving: Array, growth: float, backoff: float, interval: int) -> None:
    """After a round of steps: the scale times `backoff` if one was skipped, times `growth` after `interval` others."""
    p = place(moving)
    with p.scope():
        p.get("optimizer", "update_scale", float64)((1,), (1,), moving, growth, backoff, interval)


def clipped(table: Table, scaling: Array) -> list[Array]:
    """New arrays: the gradients of a table over the loss scale, times the factor that `global_norm` left."""
    gs = table.columns[GRADIENT]
    table.set(PARAMETER, gs)
    outs = table.allocate(gs)
    with table.place.scope():
        for launch, _ in table.launches("clipped", (PARAMETER, UPDATED, GRADIENT)):
            launch(scaling, CHUNK)
    table.forget()
    return outs
