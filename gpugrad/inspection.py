"""Floor 4: what others may do and see while the engine walks: hooks, suspicions, changes in place."""

from __future__ import annotations

from typing import Any

from .array import library
from .core import Node, Packed, Tensor, wrap, writes
from .hooks import arriving, leaving, suspecting
from .ops.math import conj
from .ops.reduce import unbroadcast


def hooked(n: Node, g: Any) -> Any:
    """The cotangent after the hooks of `n`, which see it as users do.  RuntimeError for another shape."""
    for f in arriving.of(n):
        lift = isinstance(g, Tensor)
        seen = conj(g) if g.dtype.kind == "c" else g
        new = f(seen if lift else wrap(seen))
        if new is None:
            continue
        if not isinstance(new, Tensor):
            raise TypeError(
                f"hook {getattr(f, '__name__', f)!r} should return None or a Tensor, not {type(new).__name__}"
            )
        if new.array.shape != g.shape:
            raise RuntimeError(f"hook {getattr(f, '__name__', f)!r} has changed the size of value")
        if new.array.dtype != g.dtype:
            name, was, got = getattr(f, "__name__", f), g.dtype, new.array.dtype
            raise RuntimeError(f"hook {name!r} has changed the type of value (was {was} got {got})")
        new = wrap(new.array, new.node) if lift else new.array
        g = conj(new) if new.dtype.kind == "c" else new
    return g


def inspected(n: Node, g: Any, s: tuple, need: set[Node] | None, alias: dict) -> list[Any]:
    """The cotangents of n's inputs, looked at by whom suspects errors, and changed by the hooks of n."""
    try:
        ds = None if n.op.joint is None else n.op.joint(g, s, None)
        out: list[Any] = [None] * len(n.edges)
        for i, e in enumerate(n.edges):
            e = alias.get(e, e)
            if e is not None and (need is None or e in need):
                d = ds[i] if ds is not None else n.op.rules[i](g, s, e.shape)
                out[i] = d if d is None or d.shape == e.shape else unbroadcast(d, e.shape)
        for suspect in suspecting:
            for i, d in enumerate(out):
                for part in _parts(d):
                    suspect.look(n, i, part)
    except Exception:
        for suspect in suspecting:
            suspect.blame(n)
        raise
    lift = any([isinstance(part, Tensor) for part in _parts(g)])
    conjugated = lambda d: conj(d) if d.dtype.kind == "c" else d
    outward = lambda d: None if d is None else conjugated(d if isinstance(d, Tensor) else wrap(d))
    for f in leaving.of(n):
        new = f(tuple(map(outward, out)), tuple(map(outward, _parts(g))))
        if new is not None:
            if any(d is not None and e is not None and d.array.shape != e.shape for d, e in zip(new, n.edges)):
                raise RuntimeError(f"hook {getattr(f, '__name__', f)!r} has changed the size of value")
            out = [None if d is None else conjugated(wrap(d.array, d.node) if lift else d.array) for d in new]
    return out


def _parts(d: Any) -> list[Any]:
    """The cotangents in d: of several outputs, or itself."""
    return list(d.values()) if isinstance(d, dict) else [d]


def unchanged(n: Node) -> None:
    """RuntimeError if memory that `n` saved has been written to since."""
    for v in n.saved.kept() if type(n.saved) is Packed else n.saved:
        if library(v) is None:
            continue
        ages = writes.of(v)
        before = sum([age < n.seq for age in ages])
        if before < len(ages):
            for suspect in suspecting:
                suspect.blame(n)
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: "
                f"[{v.dtype} {list(v.shape)}], which {n.op.name} saved, is at version {len(ages)}; expected version "
                f"{before} instead. Write y = x + 1 in the place of x += 1, or x.clone() before the change."
            )
