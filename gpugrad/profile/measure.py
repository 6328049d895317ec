"""Floor 7: what a recording of a step says, in the few numbers and areas of a report."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from ..ledger_text import size
from .of import ledger
from .report import Cell, Line, Way

SAMPLES, CELLS, ENTRIES = 400, 48, 300  # moments, parts and blocks of the ledger that a report has of a way
ORDINAL = {1: "first", 2: "second", 3: "third"}


def keep_most(books: list[tuple[float, Any]], m: Any, subject: Any) -> None:
    """Before a walk: keep (when, the Ledger of `subject`) as the only one, if more is saved than before any other."""
    now = m.now()
    if not books or m.saved_at(now) > m.saved_at(books[0][0]):
        books[:] = [(now, ledger(subject))]


def measure(way: Way, m: Any, start: float, book: Any) -> None:
    """Write into `way` what the MemoryProfile `m` of a step says, and the Ledger of when the walk at `start` began."""
    way.saved = int(m.saved_at(start))
    way.peak, way.peak_at = int(m.peak), float(m.peak_at)
    way.phases = outermost([[p.name, float(p.start), float(p.end)] for p in m.phases])
    way.peak_phase = phase_at(way, way.peak_at)
    told = book.to_dict()
    way.ledger = {**told, "entries": told["entries"][:ENTRIES], "left_out": len(told["entries"][ENTRIES:])}
    moments, total = last_of_each(*m.timeline())
    way.duration = float(max([*moments[-1:], *[p[2] for p in way.phases], way.peak_at], default=0.0))
    kept = [b for b in m.there(start) if b.kind == "saved"]
    way.freed = freed(way.phases, [(b.died, b.nbytes) for b in kept])
    picked = sample(moments, total)
    way.times = moments[picked].tolist()
    way.cells = cells([b for b in m.blocks if b.device == m.device], moments[picked], total[picked])
    way.lines = lines(kept, m.at_peak())


def outermost(phases: list[list[Any]]) -> list[list[Any]]:
    """The phases that are not inside one before: what computes something again walks back inside a walk."""
    out: list[list[Any]] = []
    for p in sorted(phases, key=lambda p: (p[1], -p[2])):
        if not any(a <= p[1] and p[2] <= b for _, a, b in out):
            out.append(p)
    return out


def phase_at(way: Way, t: float) -> str:
    """The phase of a moment: the latest that had begun, while it went on."""
    inside = [name for name, start, end in way.phases if start <= t <= end]
    return inside[-1] if inside else "between"


def freed(phases: list[list[Any]], deaths: list[tuple[float | None, int]]) -> str:
    """When what was saved was freed, in words, from (when, bytes) of its blocks; None: not in this step."""
    walks = [(start, end) for name, start, end in phases if name == "backward"]
    parts: dict[int, int] = defaultdict(int)  # number of the gradient, or after all of them, or never
    for t, nbytes in deaths:
        after, never = len(walks), len(walks) + 1
        inside = (i for i, (start, end) in enumerate(walks) if t is not None and t <= end)
        parts[never if t is None else next(inside, after)] += nbytes
    word = lambda i: f"in the {ORDINAL.get(i + 1, f'{i + 1}th')} gradient" if len(walks) > 1 else "in the gradient"
    words = [*map(word, range(len(walks))), "after the gradients" if len(walks) > 1 else "after the gradient", "later"]
    found = [(words[i], parts[i]) for i in sorted(parts) if parts[i] > 0.005 * sum(parts.values())]
    return found[0][0] if len(found) == 1 else ", ".join([f"{size(n)} {when}" for when, n in found]) or "-"


def last_of_each(moments: Any, total: Any) -> tuple[np.ndarray, np.ndarray]:
    """A timeline with each moment once: with what was there after it."""
    moments, total = np.asarray(moments), np.asarray(total)
    last = np.flatnonzero(np.diff(moments, append=np.inf))
    return moments[last], total[last]


def sample(moments: np.ndarray, total: np.ndarray) -> np.ndarray:
    """The numbers of at most SAMPLES moments: the most and the least of each stretch of time, the peak among them."""
    if len(moments) <= SAMPLES:
        return np.arange(len(moments))
    stretch = ((moments - moments[0]) / max(moments[-1] - moments[0], 1e-12) * (SAMPLES // 2 - 1)).astype(int)
    order = np.lexsort((total, stretch))
    last = np.flatnonzero(np.diff(stretch[order], append=-1))
    first = np.concatenate([[0], last[:-1] + 1])
    return np.unique(np.concatenate([order[first], order[last], [0, len(moments) - 1]]))


def cells(blocks: list[Any], times: np.ndarray, total: np.ndarray) -> list[Cell]:
    """What was alive at `times`, by op, line and kind; what is small, and what no block is listed for, as "rest"."""
    groups: dict[tuple, list[Any]] = defaultdict(list)
    for b in blocks:
        groups["before the step" if b.phase == "before" else b.op or "rest", b.line, b.kind].append(b)
    parts = {key: alive(group, times) for key, group in groups.items()}
    out = []
    for key in sorted(parts, key=lambda k: -int(parts[k].max(initial=0)))[:CELLS]:
        if key[0] != "rest":
            total = total - parts[key]
            out.append(Cell(key[0], key[1], key[2], parts[key].tolist()))
    return [*out, Cell("rest", None, "other", total.astype(int).tolist())]


def alive(blocks: list[Any], times: np.ndarray) -> np.ndarray:
    """The bytes of `blocks` that were there at each time."""
    out = np.zeros(len(times), np.int64)
    for sign, moments in ((1, [b.born for b in blocks]), (-1, [np.inf if b.died is None else b.died for b in blocks])):
        order = np.argsort(moments, kind="stable")
        sums = np.concatenate([[0], np.cumsum(np.array([b.nbytes for b in blocks], np.int64)[order])])
        out += sign * sums[np.searchsorted(np.array(moments)[order], times, side="right")]
    return out


def lines(kept: list[Any], at_peak: list[Any]) -> list[Line]:
    """What each line of the program keeps, from the blocks that are saved and those of the peak; most first."""
    saved, peak, ops = defaultdict(int), defaultdict(int), defaultdict(lambda: defaultdict(int))
    for part, blocks in ((saved, kept), (peak, at_peak)):
        for b in blocks:
            part[b.line] += b.nbytes
            ops[b.line][b.op or "rest"] += b.nbytes if part is saved else 0
    found = sorted({n for n in ops if n is not None}, key=lambda n: (-saved[n], -peak[n]))
    texts = {b.line: b.source or "" for b in (*kept, *at_peak)}
    ranked = lambda names: dict(sorted(names.items(), key=lambda item: -item[1]))
    return [Line(n, texts[n], saved[n], peak[n], ranked(ops[n])) for n in found]


def notes() -> list[str]:
    """What the figures are made of."""
    return [
        "Bytes are those of arrays that NumPy and CuPy allocated since the step began; Python's objects and buffers "
        "of BLAS are not in them. 1 MB is 1,000,000 bytes.",
        "saved: kept by the nodes of tapes and graphs when a gradient was asked for, the one before which it was most. "
        "A line holds what its ops allocated; which op keeps it, and why, is in the ledger (tape.memory(), --html, "
        "--json).",
        "time: of the whole step, not recorded; in the pictures, of the recorded step, which is slower.",
    ]
