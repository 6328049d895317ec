"""Floor 5: the op of a NaN or an error in a backward pass, and how the program came to call it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from .array import xp
from .core import Node, Tape, raw
from .dtypes import is_inexact
from .hooks import suspecting
from .origin import Followed, deep, logs
from .recording import enter, replace


class detect_anomaly:
    """A context in which a backward pass that makes a NaN is an error, and any error in one names its op.

    Ops called in it remember their stack, which takes 10 to 40 us each, the deeper the longer; what was recorded before
    has none to show.
    check_nan   whether a NaN is an error
    RuntimeError from the backward pass, after a warning with the stack.
    """

    name: Callable[[Node], str] = staticmethod(lambda n: n.op.name)  # what messages call the op

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan
        self._tapes: list[Tape] = []

    def __enter__(self) -> None:
        tape = Tape(silent=True)
        self._tapes.append(tape)
        enter(tape)
        logs[id(tape)] = lambda: None
        suspecting.append(self)
        deep.append(self)

    def __exit__(self, *exc: object) -> None:
        tape = self._tapes.pop()
        suspecting.remove(self)
        deep.remove(self)
        del logs[id(tape)]
        replace(tape)

    def look(self, n: Node, i: int, d: Any) -> None:
        """RuntimeError if `d`, the cotangent of the i-th input of n, has a NaN."""
        if self.check_nan and d is not None and is_inexact(d.dtype) and bool(xp(raw(d)).isnan(raw(d)).any()):
            raise RuntimeError(
                f"Function {self.name(n)!r} returned nan values in its {i}th output. The warning before this shows "
                "where the op was called."
            )

    def blame(self, n: Node) -> None:
        """Warn that n's pullback failed, with the stack of the call that recorded it."""
        stack = getattr(n.origin, "stack", None) if isinstance(n, Followed) else None
        told = (
            "No forward pass information available. Enable detect_anomaly during the forward pass, too."
            if stack is None
            else "Traceback of forward call that caused the error:\n" + "".join(reversed(stack.format()))
        )
        warnings.warn(f"Error detected in {self.name(n)}. {told}", stacklevel=2)


class set_detect_anomaly(detect_anomaly):
    """Switch `detect_anomaly` on or off, as a statement, or as a context manager that puts it back."""

    current: detect_anomaly | None = None

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        super().__init__(check_nan)
        self._before = set_detect_anomaly.current
        self._switch(self if mode else None)

    @staticmethod
    def _switch(to: detect_anomaly | None) -> None:
        if set_detect_anomaly.current is not None:
            detect_anomaly.__exit__(set_detect_anomaly.current)
        set_detect_anomaly.current = to
        if to is not None:
            detect_anomaly.__enter__(to)

    def __enter__(self) -> None:
        """It is on or off already."""

    def __exit__(self, *exc: object) -> None:
        self._switch(self._before)


def is_anomaly_enabled() -> bool:
    """Whether a backward pass looks for errors now."""
    return bool(suspecting)
