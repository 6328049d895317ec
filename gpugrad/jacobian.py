"""Floor 4: Jacobians: walks back for many elements of the output at once, a chunk that fits a bound of memory each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from math import ceil, prod
from typing import Any

import numpy as np

from .array import device_of, library, xp
from .backprop import alive
from .batching import Examples
from .core import Node, Tape, Tensor, on, wrap
from .hooks import arriving, leaving
from .levels import Traced, concrete
from .ops.diagonal import diag_embed
from .ops.shape import concat, moveaxis, reshape
from .recording import active, scope

Pull = Callable[[Tensor], Sequence[Any]]  # the gradients of all sources from one cotangent of the target, or None
SHARE, MOST = 4, 1 << 28  # of what is free a fourth, but no more than is worth while at once
NUMBERS = int, float, np.integer, np.floating
SPARE = 2  # of what is to be kept to: an op may take as much again for itself as its cotangents
CACHED, ENOUGH = 1 << 24, 64  # what a CPU's cache keeps from one op to the next, worth while for so many elements


def jacobian(
    pull: Pull, target: Tensor, sources: Sequence[Tensor], zero: bool, tape: Tape | None = None, step: int | None = None
) -> list[Any]:
    """The derivative of each element of target by each element of each source: target's shape, then the source's.

    zero   zeros, not None, for a source that target does not depend on
    tape   where it was recorded; None: on the graph of tensors
    step   how many elements at once, of `chunk`; None: what fits
    """
    a = target.array
    step = chunk(target, tape) if step is None else step
    ones = lambda: wrap(xp(concrete(a)).ones(a.shape, a.dtype))
    if a.size == 1:
        found = list(pull(ones()))
    elif target.node is not None and a.size and all([_diagonal(target, s, tape) for s in sources]):
        found = [None if g is None else diag_embed(reshape(g, -1)) for g in pull(ones())]
    else:
        found = whole(lambda lo, hi: walks(pull, units(a, lo, hi), a), a.size, step, 0)
    found = found or [None] * len(sources)
    return [_shaped(f, a.shape + s.array.shape, s, zero or not a.size) for f, s in zip(found, sources)]


def batch_jacobian(
    pull: Pull, target: Tensor, source: Tensor, tape: Tape | None = None, step: int | None = None
) -> Any:
    """The Jacobian of each example, target[i] by source[i]; zeros where target does not depend on source.

    A walk back has an element of all examples at once: what depends on other examples is added up.
    """
    a = target.array
    n = elements(a)

    def rows(lo: int, hi: int) -> list[Any]:
        some = units(a[0], lo, hi)
        found = walks(pull, xp(some).broadcast_to(some[:, None], (hi - lo, *a.shape)), a)
        return [None if r is None else moveaxis(r, 0, 1) for r in found]

    found = whole(rows, n, chunk(target, tape, n=n) if step is None else step, 1)
    return _shaped(found[0] if found else None, a.shape + source.array.shape[1:], source, True)


def elements(a: Any) -> int:
    """How many elements an example of array a has; 0 without examples."""
    return prod(a.shape[1:]) if a.shape[0] else 0


def units(like: Any, lo: int = 0, hi: int | None = None) -> Any:
    """The arrays from lo to hi of those that are 1 in one element, shaped like `like`."""
    n = like.size
    rows = (n if hi is None else hi) - lo
    out = xp(concrete(like)).zeros((rows, n), like.dtype)
    out.reshape(-1)[lo :: n + 1] = 1
    return out.reshape(rows, *like.shape)


def walks(pull: Pull, seeds: Any, like: Any) -> list[Any]:
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


def whole(rows: Callable[[int, int], list[Any]], n: int, step: int, axis: int) -> list[Any]:
    """rows(0, n), a step at a time, side by side along `axis`; [] for an n of 0.

    What a step answers is written to its place at once, so that memory holds it once.  What is recorded around, or is
    of a level, is joined in the end.
    """
    if not n or step >= n:
        return rows(0, n) if n else []
    first = rows(0, step)
    if any([r is not None and (r.node is not None or isinstance(r.array, Traced)) for r in first]):
        parts = [first, *[rows(lo, min(lo + step, n)) for lo in range(step, n, step)]]
        return [None if p[0] is None else concat(list(p), axis) for p in zip(*parts)]
    shapes = [None if r is None else (*r.array.shape[:axis], n, *r.array.shape[axis + 1 :]) for r in first]
    found = [None if r is None else xp(r.array).empty(s, r.array.dtype) for r, s in zip(first, shapes)]

    def put(lo: int, part: list[Any]) -> None:
        for f, r in zip(found, part):
            if f is not None:
                f[(slice(None),) * axis + (slice(lo, lo + step),)] = r.array

    put(0, first)
    del first
    for lo in range(step, n, step):
        put(lo, rows(lo, min(lo + step, n)))
    return [None if f is None else wrap(f) for f in found]


def _shaped(found: Any, shape: tuple[int, ...], source: Tensor, zero: bool) -> Any:
    if found is not None:
        found = reshape(found, shape)
        return wrap(found.array, found.node, source.kind)
    return wrap(xp(source.array).zeros(shape, source.array.dtype), None, source.kind) if zero else None


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
    """Whether each element of target depends on that of source in its place alone: all ops are element by element.

    Hooks may be anything.
    """
    shape = target.array.shape
    if source.array.shape != shape or source.node is None:
        return False
    return all(
        [
            (n.op is None or (getattr(n.op, "batch", None) == "elementwise" and n.shape == shape))
            and not (arriving.of(n) or leaving.of(n))
            for n in _upstream(target, tape)
        ]
    )


# ---------------------------------------------------------------------------------------------- memory
def checked(chunk_size: Any, max_bytes: Any) -> None:
    """ValueError for numbers below 1 and what is no number."""
    for name, given in (("chunk_size", chunk_size), ("max_bytes", max_bytes)):
        if given is not None and (
            isinstance(given, bool) or not isinstance(given, (int, float, np.number)) or not given >= 1
        ):
            raise ValueError(f"jacobian: {name} is a number from 1 on, or None for what fits, not {given!r:.40}")


def chunk(
    target: Tensor, tape: Tape | None, chunk_size: Any = None, max_bytes: Any = None, n: int | None = None
) -> int:
    """How many elements of target a walk back may have at once, of n; None: of all.

    chunk_size, max_bytes   so many, or what fits into so much memory beside the result; None: a share of what is free
    ValueError for numbers below 1 and what is no number, and where there is no memory for one element.
    """
    checked(chunk_size, max_bytes)
    if chunk_size is not None:
        return int(min(chunk_size, target.array.size or 1))
    n = target.array.size if n is None else n
    if n == 1 and max_bytes is None:
        return 1
    row = max(1, _row_bytes(target, tape)) if target.node is not None else 1
    if max_bytes is None:
        bound = min(free_bytes(target.array) // SHARE, MOST)
    elif (bound := max_bytes / SPARE) < row:
        raise ValueError(
            f"jacobian: one element of the target takes about {SPARE * row:,} bytes on the way back, and max_bytes is "
            f"{max_bytes:,}: give {SPARE * row:,} or more"
        )
    most = max(1, int(min(n, bound // row)))
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
    """The memory that is free where array a is, in bytes; enough, where the system does not say."""
    free = getattr(library(concrete(a)), "free_bytes", None)
    if free is not None:
        return free()
    if "SC_AVPHYS_PAGES" not in getattr(os, "sysconf_names", ()):
        return SHARE * MOST
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
