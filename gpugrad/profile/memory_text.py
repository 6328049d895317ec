"""Floor 7: a memory profile as a short table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..ledger_text import size
from .blocks import OTHER, SAVED, TEMPORARY, UNKNOWN

LINES = 6  # of the program, in the table


def text(m: Any) -> str:
    """When the peak was, what was there at it, each device, each phase."""
    return "\n".join([line for device in m.devices for line in _device(m, device)] + [*_gpu(m), *_caveats(m)])


def _device(m: Any, device: str) -> Iterator[str]:
    there = m.at_peak(device)
    about = m.summary(device)
    kinds = {k: sum([b.nbytes for b in there if b.kind == k]) for k in (SAVED, TEMPORARY, OTHER)}
    phase = next((p.name for p in reversed(m.phases) if p.start <= about["peak_at"] <= _end(m, p)), "no phase")
    small = about["peak"] - sum(kinds.values())
    peak, live = size(about["peak"]), size(about["live"])
    yield f"{device}: peak {peak} at {about['peak_at']:.6f} s, in {phase}; {live} still there"
    parts = [f"{size(n)} {k}" for k, n in kinds.items()] + ([f"{size(small)} in small blocks"] if small else [])
    yield f"  at the peak: {', '.join(parts)}"
    times, nbytes = m.timeline(device)
    rows = []
    for p in m.phases:
        inside = nbytes[(times >= p.start) & (times <= _end(m, p))]
        if len(inside):
            rows.append((p.name, p.start, _end(m, p) - p.start, int(inside.max())))
    for name, start, seconds, most in rows[:LINES]:
        lasted = "not over" if seconds == float("inf") else f"{seconds:.6f} s"
        yield f"  {name:<10} from {start:.6f} s, {lasted}: at most {size(most)}"
    if rows[LINES:]:
        yield f"  and {len(rows) - LINES} phases more, at most {size(max([r[3] for r in rows[LINES:]]))}"
    yield from _lines(there)


def _lines(there: list[Any]) -> Iterator[str]:
    by: dict[str, list[Any]] = {}
    for b in there:
        by.setdefault(b.line or UNKNOWN, []).append(b)
    total = lambda blocks: sum([b.nbytes for b in blocks])
    order = sorted(by, key=lambda line: -total(by[line]))
    width = max([len(line) for line in order[:LINES]], default=0)
    for line in order[:LINES]:
        blocks = by[line]
        saved = total([b for b in blocks if b.kind == SAVED])
        kept = f", {size(saved)} saved" if saved else ""
        source = blocks[0].source or ", ".join(sorted({b.op for b in blocks if b.op}))
        yield f"  {line:<{width}}  {size(total(blocks)):>8}{kept}: {source}"
    if order[LINES:]:
        yield f"  and {len(order) - LINES} lines more, {size(sum([total(by[line]) for line in order[LINES:]]))}"


def _gpu(m: Any) -> Iterator[str]:
    said = lambda v: v if isinstance(v, str) else size(v)
    for device, what, start, end in m.gpu:
        yield f"{device}: {what}: {said(start)} at the start, {said(end)} in the end"


def _caveats(m: Any) -> Iterator[str]:
    if m.errors:
        yield f"not complete: {len(m.errors)} errors of the profile, the first {m.errors[0]!r:.200}"


def _end(m: Any, phase: Any) -> float:
    return float("inf") if phase.end is None else phase.end
