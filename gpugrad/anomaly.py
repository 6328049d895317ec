"""Floor 5: the op of a NaN, or of an error in a backward pass, and how the program came to call it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .array import xp
from .core import Node, Tape, raw
from .dtypes import is_inexact
from .hooks import suspecting
from .levels import concrete
from .origin import Followed, Place, deep, find, logs, shown
from .paths import PICK
from .recording import enter, replace


class detect_anomaly:
    """A context in which a backward pass that makes a NaN is an error, and any error in one names its op.

    Of the ops in it that a gradient flows through, a RuntimeWarning tells those that make a NaN of none, or an infinity
    of finite numbers, and those that are given a NaN that no such op has made.
    They remember their stack, which takes 10 to 40 us each, the deeper the longer; what was recorded before has none
    to show.
    check_nan   whether to look for NaNs
    RuntimeError from the backward pass, after a warning with the stack.
    """

    name: Callable[[Node], str] = staticmethod(lambda n: n.op.name)  # what messages call the op

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan
        self._tapes: list[Tape] = []
        self._first = ""  # what was told first of a forward pass
        self._told: dict[Any, Any] = {}  # for warnings: what is not told again

    def __enter__(self) -> None:
        tape, self._first = Tape(silent=True), ""
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

    def made(self, op: Any, out: Any, values: tuple, heads: Sequence[Any]) -> None:
        """Warn where `out`, which `op` made of `values`, has a NaN or an infinity that comes from no op before it."""
        outs = out if isinstance(out, (tuple, list)) else (out,)
        if not self.check_nan:
            return
        if values[0] is None or callable(values[0]):  # one output of several, or of a user's function: no inputs
            if not self._first and any([_has("nan", x) for x in outs]):
                made = heads[0].op if op is PICK else None
                self._tell(f"{(made or op).name!r} answered nan values")
            return
        n = len(heads)
        inputs, static = values[:n], values[n + 1 : n + 1 + len(op.static)]
        for what in ("nan", "inf"):
            if not any([_has(what, x) for x in outs]):
                continue
            those = [i for i, x in enumerate(inputs) if _has(what, x)]
            given = [i for i in those if heads[i] is None or (heads[i].op is None and type(heads[i]) is not Followed)]
            if what == "nan" and given:
                self._tell(f"input {given[0]} of {op.name!r} had nan values before the op")
            elif not any([_has(what, x) for x in (*inputs, *static)]):
                self._tell(f"{op.name!r} made {what} values of inputs that have none")
            return

    def _tell(self, what: str) -> None:
        place = find(Place(), 1)
        what = f"{what}, called at {shown(place)}"
        self._first = self._first or what
        stack = "".join(reversed(place.stack.format()))
        text = f"In the forward pass {what}. Traceback of the call:\n{stack}"
        warnings.warn_explicit(text, RuntimeWarning, place.file, place.line, registry=self._told)

    def look(self, n: Node, i: int, d: Any) -> None:
        """RuntimeError if `d`, the cotangent of the i-th input of n, has a NaN."""
        if self.check_nan and d is not None and _has("nan", raw(d)):
            raise RuntimeError(
                f"Function {self.name(n)!r} returned nan values in its {i}th output. The warning before this shows "
                "where the op was called." + (f" The first in the forward pass: {self._first}." if self._first else "")
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


def _has(what: str, x: Any) -> bool:
    """Whether an array, or a number, has a NaN or an infinity; inside a vmap, that of any example."""
    x = np.float64(x) if isinstance(x, float) else concrete(x)
    if not hasattr(x, "dtype") or not is_inexact(x.dtype):
        return False
    return bool(getattr(xp(x), f"is{what}")(x).any())


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
