"""tf.keras.activations: functions by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...adapt import chosen
from ...ops import math
from ...ops.linear import ACTIVATIONS
from ..functions import NN_SAME
from ..rows import made


def linear(x: Any) -> Any:
    """x itself."""
    return x


NAMES: dict[str, Callable[..., Any]] = {
    **NN_SAME, **{n: made(n, "nn") for n in ("softmax", "log_softmax", "gelu", "leaky_relu")},
    "exponential": math.exp, "linear": linear,
}  # fmt: skip
FUSED = {f: name for name, f in NAMES.items() if name in ACTIVATIONS}  # those that a linear layer takes along
globals().update(NAMES)


def get(identifier: Any) -> Callable[..., Any]:
    """The function called so; None: the identity; a function as it is.  ValueError for an unknown name."""
    return chosen("activation", "linear" if identifier is None else identifier, NAMES)
