"""Floor 7: nodes that remember the line of the program that recorded them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..recording import LINES, enter, leave


@contextmanager
def lines() -> Iterator[None]:
    """Ops recorded inside, in this thread or task, remember their source line: a context manager and a decorator.

    On tapes and on the graph of tensors.  Costs 2 us an op, which does not take its short path; what is kept
    is the line alone.  A ledger shows it.
    """
    enter(LINES)
    try:
        yield
    finally:
        leave(LINES)
