"""tf.keras.activations: functions by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...ops import math
from ..functions import NN_SAME, gelu, leaky_relu, log_softmax, softmax


def linear(x: Any) -> Any:
    """x itself."""
    return x


NAMES: dict[str, Callable[..., Any]] = {
    **NN_SAME, "softmax": softmax, "log_softmax": log_softmax, "gelu": gelu, "leaky_relu": leaky_relu,
    "exponential": math.exp, "linear": linear,
}  # fmt: skip
globals().update(NAMES)


def get(identifier: Any) -> Callable[..., Any]:
    """The function called so; None: the identity; a function as it is.  ValueError for an unknown name."""
    if identifier is None:
        return NAMES["linear"]
    if callable(identifier):
        return identifier
    if identifier not in NAMES:
        raise ValueError(f"unknown activation {identifier!r}; known are {sorted(NAMES)}")
    return NAMES[identifier]
