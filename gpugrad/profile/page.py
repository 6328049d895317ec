"""Floor 7: a report as one page of HTML that needs no network and no library."""

from __future__ import annotations

import json
from os.path import dirname, join
from typing import Any


def page(data: dict[str, Any]) -> str:
    """`Comparison.to_dict()` as a page.  The data is JSON in it, which its script draws as text, never as markup."""
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")  # no "</script>" ends it
    html = _part("report.html").replace("//SCRIPT", _part("report.js"))
    head, tail = html.split('id="data">{}</script>')
    return f'{head}id="data">{text}</script>{tail}'


def _part(name: str) -> str:
    with open(join(dirname(__file__), name), encoding="utf-8") as f:
        return f.read()
