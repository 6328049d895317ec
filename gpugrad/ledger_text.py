"""Floor 4: a ledger as a table, in a terminal and in a notebook."""

from __future__ import annotations

from typing import Any

UNITS = "1 MB = 1,000,000 bytes"
UNKNOWN = "no lines known: record inside `with gg.profile.lines():`, or with GradientTape(explain=True)"
ROWS = 12  # of each table; the rest is summed up


def size(n: float) -> str:
    """Bytes in decimal units, three digits: "1.23 MB"."""
    units = ["TB", "GB", "MB", "kB", "B"]
    while (unit := units.pop()) != "TB" and n >= 999.5:
        n /= 1000
    digits = 0 if unit == "B" or n >= 99.95 else 1 if n >= 9.995 else 2
    return f"{n:.{digits}f} {unit}"


def blocks(n: int) -> str:
    """ "1 block", "2 blocks"."""
    return f"{n} block{'' if n == 1 else 's'}"


def text(ledger: Any) -> str:
    """The tables of `ledger`: what it is by op, by line, and the largest blocks."""
    return "\n".join([_summary(ledger), *[line for title, rows in _tables(ledger) for line in _table(title, rows)]])


def html(ledger: Any) -> str:
    """The same as tables of HTML, which need nothing from elsewhere."""
    parts = [f"<p>{_escaped(_summary(ledger))}</p>"]
    for title, rows in _tables(ledger):
        cells = ["".join([_cell(i, c) for i, c in enumerate(row)]) for row in rows]
        parts.append(
            "<table style='border-collapse:collapse;margin:.5em 0'>"
            f"<caption style='text-align:left;font-weight:bold'>{_escaped(title)}</caption>"
            + "".join([f"<tr>{c}</tr>" for c in cells])
            + "</table>"
        )
    return f"<div>{''.join(parts)}</div>"


def _summary(ledger: Any) -> str:
    return (
        f"{ledger.subject} keeps {size(ledger.nbytes)} in {blocks(len(ledger.entries))} of memory; "
        f"{size(ledger.freed)} come back when it is dropped ({UNITS})"
    )


def _tables(ledger: Any) -> list[tuple[str, list[list[str]]]]:
    """(a title, rows of cells, the first of which is a number of bytes)."""
    if not ledger.entries:
        return []
    sources = {e.line or "": e.source or "" for e in ledger.entries}
    lines = ledger.by_line()
    known = [[size(n), line or "(no line known)", sources[line]] for line, n in lines.items()]
    largest = [
        [
            size(e.nbytes),
            f"{e.dtype}{list(e.shape)}",
            *([e.device] if e.device != "cpu" else []),
            _kept_as(e),
            e.line or "",
            e.released,
        ]
        for e in ledger.entries
    ]
    return [
        ("by op", _short([[size(n), op] for op, n in ledger.by_op().items()], list(ledger.by_op().values()))),
        (f"by line ({UNKNOWN})" if set(lines) == {""} else "by line", _short(known, list(lines.values()))),
        ("the largest, and what releases them", _short(largest, [e.nbytes for e in ledger.entries])),
    ]


def _kept_as(e: Any) -> str:
    first = e.argument if e.op is None else f"{e.op}: {e.argument}"
    more = len(e.users) - 1
    made = f", made by {e.made_by}" if e.made_by is not None and e.argument != "output" else ""
    return f"{first}{made}" + (f" (+{more} more use{'' if more == 1 else 's'})" if more else "")


def _short(rows: list[list[str]], nbytes: list[int]) -> list[list[str]]:
    if len(rows) <= ROWS + 1:
        return rows
    return [*rows[:ROWS], [size(sum(nbytes[ROWS:])), f"{len(rows) - ROWS} more"]]


def _table(title: str, rows: list[list[str]]) -> list[str]:
    widths = [max([len(row[i]) for row in rows if i < len(row)]) for i in range(max(map(len, rows)))]
    cell = lambda i, c: c.rjust(widths[i]) if i == 0 else c.ljust(widths[i])
    return ["", title, *["  " + "  ".join([cell(i, c) for i, c in enumerate(row)]).rstrip() for row in rows]]


def _cell(i: int, c: str) -> str:
    style = "padding:1px 8px;text-align:" + ("right" if i == 0 else "left;font-family:monospace")
    return f"<td style='{style}'>{_escaped(c)}</td>"


def _escaped(s: str) -> str:
    for c, name in ("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot"), ("'", "#39"):
        s = s.replace(c, f"&{name};")
    return s
