"""Starting values: functions of a shape that answer a Tensor."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import random
from ..adapt import chosen
from ..core import Tensor
from ..tensor import full


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan in, fan out) of a weight (out, in, ...).  ValueError for fewer than two axes."""
    if len(shape) < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """How much a nonlinearity shrinks: √2 for relu, 5/3 for tanh, √(2 / (1 + slope²)) for leaky_relu, else 1."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    return {"relu": math.sqrt(2), "tanh": 5 / 3}.get(nonlinearity, 1.0)


def uniform(shape: Any, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Uniform in [a, b)."""
    return random.uniform(shape, a, b)


def normal(shape: Any, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal numbers."""
    return random.normal(shape, mean, std)


def constant(shape: Any, val: float) -> Tensor:
    """One number everywhere."""
    return full(shape, val)


def zeros(shape: Any) -> Tensor:
    """Zeros."""
    return full(shape, 0.0)


def ones(shape: Any) -> Tensor:
    """Ones."""
    return full(shape, 1.0)


def _kaiming(shape: Any, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    return calculate_gain(nonlinearity, a) / math.sqrt(fans(shape)[mode == "fan_out"])


def kaiming_uniform(shape: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """U(-b, b) with b = gain √(3 / fan) (He et al. 2015)."""
    bound = math.sqrt(3) * _kaiming(shape, a, mode, nonlinearity)
    return uniform(shape, -bound, bound)


def kaiming_normal(shape: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """N(0, gain² / fan) (He et al. 2015)."""
    return normal(shape, 0.0, _kaiming(shape, a, mode, nonlinearity))


def xavier_uniform(shape: Any, gain: float = 1.0) -> Tensor:
    """U(-b, b) with b = gain √(6 / (fan in + fan out)) (Glorot & Bengio 2010)."""
    bound = gain * math.sqrt(6 / sum(fans(shape)))
    return uniform(shape, -bound, bound)


def xavier_normal(shape: Any, gain: float = 1.0) -> Tensor:
    """N(0, 2 gain² / (fan in + fan out)) (Glorot & Bengio 2010)."""
    return normal(shape, 0.0, gain * math.sqrt(2 / sum(fans(shape))))


def _kernel(f: Callable[[Any], Tensor]) -> Callable[[Any], Tensor]:
    """The function of a weight (out, in), for a kernel (in, out) or a vector."""
    return lambda shape: f(shape[::-1]).T if len(shape) == 2 else f((shape[0], shape[0]))[0]


NAMES: dict[str, Callable[[Any], Tensor]] = {
    "zeros": zeros, "ones": ones, "glorot_uniform": _kernel(xavier_uniform), "glorot_normal": _kernel(xavier_normal),
    "he_uniform": _kernel(kaiming_uniform), "he_normal": _kernel(kaiming_normal),
    "random_normal": lambda shape: normal(shape, 0.0, 0.05),
    "random_uniform": lambda shape: uniform(shape, -0.05, 0.05),
}  # fmt: skip


def by_name(identifier: Any) -> Callable[[Any], Any]:
    """The function called so, of the shape of a kernel (in, out); a function as it is.  ValueError if unknown."""
    return chosen("initializer", identifier, NAMES)
