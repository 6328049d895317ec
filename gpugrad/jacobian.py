"""Floor 4: Jacobians: walks back for many elements of the output at once, a chunk that fits a bound of memory each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from math import ceil, prod
from typing import Any

from .array import device_of, library, xp
from .backprop import alive
from .batching import Examples
from .core import Node, Tape, Tensor, on, wrap
from .levels import concrete
from .ops.diagonal import diag_embed
from .ops.shape import concat, moveaxis, reshape
from .recording import active, scope

Pull = Callable[[Tensor], Sequence[Any]]  # the gradients of all sources from one cotangent of the target, or None
SHARE, MOST = 4, 1 << 28  # of what is free a fourth, but no more than is worth while at once
CACHED, ENOUGH = 1 << 24, 64  # what a CPU's cache keeps from one op to the next, worth while for so many elements


def jacobian(
    pull: Pull,
    target: Tensor,
    sources: Sequence[Tensor],
    zero: bool,
    tape: Tape | None = None,
    chunk_size: int | None = None,
    max_bytes: int | None = None,
) -> list[Any]:
    """The derivative of each element of target by each element of each source: target's shape, then the source's.

    zero         zeros, not None, for a source that target does not depend on
    tape         where it was recorded; None: on the graph of tensors
    chunk_size, max_bytes   how many elements at once, or how much memory they may take
    """
    a = target.array
    step = _chunk(target, a.size, tape, chunk_size, max_bytes)
    if target.node is not None and a.size > 1 and all([_diagonal(target, s, tape) for s in sources]):
        found = pull(wrap(xp(concrete(a)).ones(a.shape, a.dtype)))
        shapes = [a.shape + s.array.shape for s in sources]
        return [None if g is None else reshape(diag_embed(reshape(g, -1)), s) for g, s in zip(found, shapes)]
    rows = [_rows(pull, units(a, lo, min(lo + step, a.size)), a) for lo in range(0, a.size, step)]
    return [_joined([r[j] for r in rows], 0, a.shape + s.array.shape, s, zero) for j, s in enumerate(sources)]


def batch_jacobian(
    pull: Pull,
    target: Tensor,
    source: Tensor,
    tape: Tape | None = None,
    chunk_size: int | None = None,
    max_bytes: int | None = None,
) -> Any:
    """The Jacobian of each example, target[i] by source[i]; zeros where target does not depend on source.

    A walk back has an element of all examples at once: what depends on other examples is added up.
    """
    a = target.array
    n = prod(a.shape[1:]) if a.shape[0] else 0
    step = _chunk(target, n, tape, chunk_size, max_bytes)
    rows = []
    for lo in range(0, n, step):
        some = units(a[0], lo, min(lo + step, n))
        rows.append(_rows(pull, xp(some).broadcast_to(some[:, None], (some.shape[0], *a.shape)), a)[0])
    rows = [None if r is None else moveaxis(r, 0, 1) for r in rows]
    return _joined(rows, 1, a.shape + source.array.shape[1:], source, True)


def units(like: Any, lo: int = 0, hi: int | None = None) -> Any:
    """The arrays from lo to hi of those that are 1 in one element, shaped like `like`."""
    n = like.size
    rows = (n if hi is None else hi) - lo
    out = xp(concrete(like)).zeros((rows, n), like.dtype)
    out.reshape(-1)[lo :: n + 1] = 1
    return out.reshape(rows, *like.shape)


def _rows(pull: Pull, seeds: Any, like: Any) -> list[Any]:
    """What `pull` answers for each of the seeds, in one walk, with a leading axis for them."""
    level = Examples("jacobian", seeds.shape[0])
    level.device = device_of(like)
    inside = nullcontext() if len(active().tapes) > 1 else scope(False)  # nobody is to differentiate it
    try:
        with inside:
            found = pull(wrap(level.batched(seeds)))
    finally:
        level.open = False
    return [None if g is None else level.outward(g) for g in found]


def _joined(rows: list[Any], axis: int, shape: tuple[int, ...], source: Tensor, zero: bool) -> Any:
    if rows and rows[0] is not None:  # one row has the connections of all
        whole = rows[0] if len(rows) == 1 else concat(rows, axis)
        whole = reshape(whole, shape)
        return wrap(whole.array, whole.node, source.kind)
    return wrap(xp(source.array).zeros(shape, source.array.dtype), None, source.kind) if zero or not rows else None


# ---------------------------------------------------------------------------------------------- what is upstream
def _upstream(target: Tensor, tape: Tape | None) -> list[Node]:
    """The nodes that a walk back from target may pass."""
    first = target.node if tape is None else on(target.node, tape)  # type: ignore[arg-type]
    seen = {first}
    order: list[Any] = [first]
    for n in order:  # grows
        if n is None or n.op is None or n.saved is None:
            continue
        for e in n.edges:
            p = None if e is None else on(e, tape) if tape is not None else alive(e)
            if p is not None and p not in seen:
                seen.add(p)
                order.append(p)
    return [n for n in order if n is not None]


def _diagonal(target: Tensor, source: Tensor, tape: Tape | None) -> bool:
    """Whether each element of target depends on that of source in its place alone: all ops are element by element."""
    shape = target.array.shape
    if source.array.shape != shape or source.node is None:
        return False
    return all(
        [
            n.op is None or (getattr(n.op, "batch", None) == "elementwise" and n.shape == shape)
            for n in _upstream(target, tape)
        ]
    )


# ---------------------------------------------------------------------------------------------- memory
def _chunk(target: Tensor, n: int, tape: Tape | None, chunk_size: Any, max_bytes: Any) -> int:
    """How many elements of target a walk back may have at once.

    ValueError for numbers below 1 and what is no number, and where there is no memory for one element.
    """
    for name, given in (("chunk_size", chunk_size), ("max_bytes", max_bytes)):
        if given is not None and (isinstance(given, bool) or not isinstance(given, (int, float)) or not given >= 1):
            raise ValueError(f"jacobian: {name} is a number from 1 on, or None for what fits, not {given!r:.40}")
    if chunk_size is not None:
        return int(chunk_size)
    row = max(1, _row_bytes(target, tape)) if target.node is not None else 1
    bound = min(free_bytes(target.array) // SHARE, MOST) if max_bytes is None else max_bytes
    if max_bytes is not None and row > max_bytes:
        raise ValueError(
            f"jacobian: one element of the target takes about {row:,} bytes on the way back, and max_bytes is "
            f"{max_bytes:,}: give {row:,} or more"
        )
    most = max(1, min(n, int(bound // row)))
    if CACHED // row >= ENOUGH and device_of(target.array).kind == "cpu":
        most = min(most, CACHED // row)
    return ceil(n / ceil(n / most)) if n else 1


def _row_bytes(target: Tensor, tape: Tape | None) -> int:
    """What cotangents take on the way back from one element: those that wait, and those that one op makes."""
    order = sorted(_upstream(target, tape), key=lambda n: n.seq)
    size = {n: prod(n.shape or ()) * (n.dtype.itemsize if n.dtype is not None else 8) for n in order}
    live, held, most = set(order[-1:]), sum(size[n] for n in order[-1:]), 0
    while order:
        n = order.pop()
        made = 0
        for e in n.edges if n.op is not None and n.saved is not None else ():
            p = None if e is None else on(e, tape) if tape is not None else alive(e)
            if p is None or p not in size:
                continue
            made += size[p]
            if p not in live:
                live.add(p)
                held += size[p]
        most = max(most, held + 2 * max(made, size[n]))
        if n.op is not None:
            held -= size[n]
    return most


def free_bytes(a: Any) -> int:
    """The memory that is free where array a is, in bytes."""
    free = getattr(library(concrete(a)), "free_bytes", None)
    return free() if free is not None else os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
