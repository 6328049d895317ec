"""Optimizer steps and the global norm: one launch for up to 600 arrays of a dtype."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ..array import Array, float64, wide
from ..kernels import BLOCK, TABLES, Place, ceil, place

CHUNK = 16 * BLOCK  # elements of an array that a block takes; a multiple of every pack
RATE, STEP, LOSS_SCALE, CLIP, SKIP, NORM = range(6)  # places in `control`, as in kernels/optimizer.cu
Arrays = Sequence[Array]


def control(like: Array, rate: float, step: int = 1) -> Array:
    """What a step reads when it runs, six float64 on the device of `like`.

    [learning rate, step from 1, loss scale, clip factor, whether to skip, norm].  Write to it between steps; a step
    captured in a CUDA graph stays as it is.
    """
    p = place(like)
    with p.scope():
        return p.lib.asarray([rate, step, 1.0, 1.0, 0.0, 0.0], float64, p.device)


def sgd(
    xs: Arrays,
    outs: Arrays,
    gs: Arrays,
    momenta: Arrays | None,
    control: Array,
    momentum: float = 0.0,
    decay: float = 0.0,
    nesterov: bool = False,
) -> None:
    """outs = xs - rate v, with v = g + decay x, or its running sum v ← momentum v + g, which `momenta` keep (wide).

    outs may be xs themselves.  Gradients are multiplied by the clip factor and divided by the loss scale.
    """
    if momentum and momenta is None:
        raise ValueError("sgd with momentum needs arrays that keep it")
    dtype = xs[0].dtype
    states = [momenta if momentum else None, None]
    _launch("sgd", dtype, [xs, outs, gs, *states], control, [momentum, decay, int(nesterov)])


def adam(
    xs: Arrays,
    outs: Arrays,
    gs: Arrays,
    ms: Arrays,
    vs: Arrays,
    control: Array,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    decay: float = 0.0,
    decoupled: bool = False,
    raw_eps: bool = False,
) -> None:
    """Adam, and with `decoupled` AdamW, by the step count in `control`.  ms and vs are wide, and updated in place.

    raw_eps: eps beside the root before its bias is corrected, as Keras has it.
    """
    arguments = [*betas, eps, decay, int(decoupled), int(raw_eps)]
    _launch("adam", xs[0].dtype, [xs, outs, gs, ms, vs], control, arguments)


def global_norm(gs: Arrays, control: Array, limit: float = 0.0, eps: float = 0.0) -> None:
    """Leaves in `control` the length of all gradients together, over the loss scale, and the factor to clip it.

    The factor is limit / (length + eps), or 1 for a length within it or a limit of 0.  A length that is not finite
    makes the next step skip.  Gradients may have several dtypes.
    """
    p = place(control, *gs)
    kinds: dict[np.dtype, list[Array]] = {}
    for g in gs:
        kinds.setdefault(g.dtype, []).append(g)
    with p.scope():
        launches = [(d, t, b) for d, same in kinds.items() for t, b in _tables(p, d, [None, None, same, None, None])]
        total = sum([blocks for _, _, blocks in launches])
        partial, start = p.empty((total,), float64), 0
        for dtype, table, blocks in launches:
            p.get("optimizer", "squares", dtype, _size(table))((blocks,), (BLOCK,), table, partial, start, CHUNK)
            start += blocks
        run = p.get("optimizer", "global_norm", float64)
        run((1,), (BLOCK,), partial, control, total, limit, eps)


def _launch(kernel: str, dtype: np.dtype, arrays: list[Any], control: Array, arguments: list[Any]) -> None:
    p = place(control, arrays[0][0])
    with p.scope():
        for table, blocks in _tables(p, dtype, arrays):
            run = p.get("optimizer", kernel, dtype, _size(table))
            run((blocks,), (BLOCK,), table, control, CHUNK, *arguments)


@cache
def _layout(n: int) -> np.dtype:
    """struct Table<n> of kernels/optimizer.cu."""
    fields = [("arrays", "u8", (5, n)), ("size", "i8", (n,)), ("first", "i4", (n + 1,)), ("count", "i4")]
    return np.dtype(fields, align=True)


def _size(table: np.ndarray) -> int:
    return table.dtype["size"].shape[0]


def _tables(p: Place, dtype: np.dtype, columns: list[Arrays | None]) -> list[tuple[np.ndarray, int]]:
    """(table, blocks) of each launch.  The arrays of a column are checked here: a kernel sees only their addresses."""
    count = next(len(c) for c in columns if c is not None)
    kinds = (dtype, dtype, dtype, wide(dtype), wide(dtype))
    sizes = [a.size for a in next(c for c in columns if c is not None)]
    for kind, column in zip(kinds, columns):
        if column is not None:
            _check(p, kind, column, sizes)
    kept = [i for i in range(count) if sizes[i]]
    out = []
    for at in range(0, len(kept), TABLES[-1]):
        some = kept[at : at + TABLES[-1]]
        n = next(t for t in TABLES if len(some) <= t)
        table = np.zeros((), _layout(n))
        for row, column in zip(table["arrays"], columns):
            if column is not None:
                row[: len(some)] = [p.lib.address(column[i]) for i in some]
        table["size"][: len(some)] = [sizes[i] for i in some]
        blocks = np.cumsum([ceil(sizes[i], CHUNK) for i in some])
        table["first"][1 : len(some) + 1] = blocks
        table["count"] = len(some)
        out.append((table, int(blocks[-1])))
    return out


def _check(p: Place, dtype: np.dtype, column: Arrays, sizes: list[int]) -> None:
    if len(column) != len(sizes):
        raise ValueError(f"{len(sizes)} arrays to update, {len(column)} beside them")
    for a, size in zip(column, sizes):
        if not isinstance(a, p.lib.types) or a.dtype != dtype or p.lib.device_of(a) != p.device:
            raise TypeError(f"an array of {dtype} on {p.device} is needed, given {a.dtype} on {p.lib.device_of(a)}")
        if a.size != size or not a.flags.c_contiguous or p.lib.address(a) % dtype.itemsize:
            raise ValueError(f"a contiguous, aligned array of {size} elements is needed, given one of shape {a.shape}")
