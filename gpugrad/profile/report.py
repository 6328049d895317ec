"""Floor 7: what a step costs in memory, one way beside another: the data of every report, and its text."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

from ..ledger_text import size
from .page import page
from .picture import draw

SCHEMA = 1
GENERATOR = "gpugrad memory"  # in every report that is a file
MARKS = {  # how such a file begins, by its ending
    "json": rf'\{{\s*"generator": "{GENERATOR}"',
    "html": rf'<!doctype html>\s<html lang="en">.{{0,50}}<meta name="generator" content="{GENERATOR}">',
    "png": rf"\x89PNG\r\n\x1a\n.{{25,400}}?tEXtSoftware\x00{GENERATOR}",
}
AS_WRITTEN = "as written"


@dataclass
class Line:
    """What one line of the user's program keeps.

    line    "file.py:12"
    source  its text
    saved   bytes that its ops had saved at the moment of the way's `saved`
    peak    bytes of what it had allocated, alive at the peak
    ops     of both, the names; and of what is saved the bytes
    """

    line: str
    source: str
    saved: int
    peak: int
    ops: dict[str, int]


@dataclass
class Cell:
    """What one op at one line had allocated for one purpose, over time; "rest" where many are summed.

    kind   "saved", "temporary" or "other", as in `MemoryProfile`
    bytes  alive at each of the way's times
    """

    op: str
    line: str | None
    kind: str
    bytes: list[int]


@dataclass
class Way:
    """One way to run a step, and what it took.  Bytes are those allocated since the step began; times in seconds.

    name       "as written", "not persistent", "persistent", "uses=2", "recompute"
    how        what was changed of the step as it is written
    failed     why the step cannot run this way; None.  Then the rest says nothing
    saved      bytes that nodes had saved when a gradient was asked for, the one before which it was most
    peak, peak_at, peak_phase   the most bytes alive at once, when, and in which phase
    freed      when the last of what was saved was freed
    seconds    of one step, the median of `runs` that were not recorded; with 0 runs of the recorded one, a slower one
    gradients  "equal" or "differ", or why that is not known; "-" of the way that the others are compared with
    duration   of the recorded step
    phases     [name, start, end]
    times      when the cells were sampled; the peak is among them
    cells      what was alive, in parts: at each time they add up to all of it
    lines      what each line of the program keeps, largest first
    ledger     `Ledger.to_dict()` of the tape at that moment, the smallest blocks "left_out"
    """

    name: str
    how: str = ""
    failed: str | None = None
    saved: int = 0
    peak: int = 0
    peak_at: float = 0.0
    peak_phase: str = ""
    freed: str = ""
    seconds: float = 0.0
    runs: int = 0
    gradients: str = "-"
    duration: float = 0.0
    phases: list[list[Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    ledger: dict[str, Any] | None = None

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Way:
        """The way that `dataclasses.asdict` took apart."""
        parts = {"lines": [Line(**n) for n in given["lines"]], "cells": [Cell(**c) for c in given["cells"]]}
        return cls(**{**given, **parts})


@dataclass(repr=False)
class Comparison:
    """A step run in several ways, one beside another.  `print` shows a table; see `to_html`, `plot`, `to_dict`.

    title   what was run
    device  where new tensors landed
    ways    the first of them as the step is written
    notes   what the figures are made of
    """

    title: str
    device: str
    ways: list[Way]
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain data: {"generator", "schema": 1, "title", "device", "notes", "findings", "ways"}.

        `findings` are sentences, the same as in the other reports.  A way has what `Way` says, by the same names.
        """
        return {"generator": GENERATOR, "schema": SCHEMA, **asdict(self), "findings": findings(self)}

    def save_json(self, path: Any) -> None:
        """Write `to_dict()` into a file."""
        text = json.dumps(self.to_dict(), indent=1)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text + "\n")

    def to_html(self) -> str:
        """The comparison as one page that needs nothing else: areas over time, the ledger, light and dark."""
        return page(self.to_dict())

    def save_html(self, path: Any) -> None:
        """Write `to_html()` into a file."""
        made = self.to_html()
        with open(path, "w", encoding="utf-8") as f:
            f.write(made)

    def plot(self, path: Any) -> None:
        """Write a PNG: what was alive over time, by op, one way beside another.  ImportError without matplotlib."""
        draw(self, path)

    def __str__(self) -> str:
        return text(self)

    def __repr__(self) -> str:
        return f"<Comparison of {self.title} on {self.device}: {', '.join([w.name for w in self.ways])}>"

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{escape(self.to_html())}" style="width: 100%; height: 56em; border: 0"></iframe>'


def is_report(path: Any, ending: str) -> bool:
    """Whether a file is one that was written as a report with this ending: "json", "html", "png"."""
    with open(path, "rb") as f:
        start = f.read(1024).decode("latin-1")
    return re.match(MARKS[ending], start, re.DOTALL) is not None


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    for unit, least in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= least:
            return f"{seconds / least:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def findings(c: Comparison) -> list[str]:
    """What to know first: which line holds the memory, what frees it, and which way takes less."""
    first = c.ways[0]
    out = []
    if first.saved and first.lines and first.lines[0].saved:
        top = first.lines[0]
        share = f"{size(top.saved)} of the {size(first.saved)} that are saved for the backward pass"
        out.append(f"{top.line} holds {share} ({top.saved / first.saved:.0%}): {top.source}")
        if len(parts := [f"{op} {size(n)}" for op, n in top.ops.items() if n]) > 1:
            out.append(f"Of that line, by op: {', '.join(parts)}.")
    elif not first.saved:
        out.append("Nothing is saved for a backward pass.")
    if first.saved:
        out.append(f"What was saved is freed{':' if ', ' in first.freed else ''} {first.freed}.")
    better = [w for w in c.ways[1:] if w.failed is None and w.peak < 0.99 * first.peak]
    for w in sorted(better, key=lambda w: w.peak):
        time = w.seconds / first.seconds if first.seconds else 1.0
        slower = f", {time:.2g} times the time" if time > 1.25 else ""
        out.append(
            f"{w.how} takes {size(first.peak - w.peak)} off the peak: {size(w.peak)} in the place of "
            f"{size(first.peak)}{slower}."
        )
    worse = [w for w in c.ways[1:] if w.failed is None and w.peak > 1.01 * first.peak]
    out += [f"{w.how} would add {size(w.peak - first.peak)} to the peak." for w in worse if w.name == "persistent"]
    if not better and any(w.failed is None for w in c.ways[1:]):
        out.append(f"None of the other ways that were tried has a lower peak than {size(first.peak)}.")
    return out


def text(c: Comparison) -> str:
    """The comparison for a terminal: what to know first, the ways side by side, the lines that hold most."""
    out = [f"{c.title} on {c.device}", "", *[f"  {line}" for line in findings(c)], ""]
    rows = [["", "saved", "peak", "peak in", "freed", "time", "gradients"]]
    for w in c.ways:
        if w.failed is None:
            time = duration(w.seconds) + ("" if w.runs else " *")
            rows.append([w.name, size(w.saved), size(w.peak), w.peak_phase, w.freed, time, w.gradients])
    out += table(rows, "lrrllrl")
    out += [f"{w.name}: not run: {w.failed}" for w in c.ways if w.failed is not None]
    if any(w.failed is None and not w.runs for w in c.ways):
        out.append("* of the recorded step, which recording makes slower")
    lines = [line for line in c.ways[0].lines if line.saved or line.peak][:10]
    if lines:
        rows = [["saved", "at the peak", "line", ""]]
        rows += [[size(n.saved), size(n.peak), n.line, clipped(n.source, 70)] for n in lines]
        out += ["", f"By line of the program, {c.ways[0].name}:", *table(rows, "rrll")]
    return "\n".join([*out, "", *c.notes])


def table(rows: list[list[str]], sides: str) -> list[str]:
    """Rows of cells as lines of text; the first row is the head.  `sides`: l or r for each column."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    just = [str.rjust if s == "r" else str.ljust for s in sides]
    lines = ["  ".join([j(c, w) for j, c, w in zip(just, r, widths)]).rstrip() for r in rows]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def clipped(source: str, width: int) -> str:
    """The start of a line that is too long."""
    return source if len(source) <= width else source[: width - 1] + "…"
