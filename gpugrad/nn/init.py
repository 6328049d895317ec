"""Starting values: functions of a shape that answer a Tensor; with an underscore, they write into a parameter.

    init.orthogonal((64, 32))               # a Tensor
    init.kaiming_normal_(conv.weight)       # in place; answers the parameter

All take dtype, device and generator, by name; in place, dtype and device are the parameter's.  A weight is (out, in,
...), as PyTorch has it; that of `gg.nn.Linear` is (in, out), which it tells: `init.kaiming_normal_(layer.weight)` is as
PyTorch's.  Of a weight of one's own in that order, say `transposed=True`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any

import numpy as np

from .. import random
from ..adapt import chosen
from ..autograd import no_grad
from ..core import Tensor, raw, wrap
from ..dtypes import default_float, wide
from ..ops.decompositions import qr
from ..ops.diagonal import diagonal
from ..ops.special import ndtri
from ..tensor import full, tensor

_GAINS = dict.fromkeys(["linear", "sigmoid", *[f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)]], 1.0)
_GAINS |= {"relu": math.sqrt(2), "tanh": 5 / 3, "selu": 3 / 4}


def fans(shape: Any, transposed: bool = False) -> tuple[int, int]:
    """(fan in, fan out) of a weight (out, in, ...); transposed: (in, out, ...).  ValueError for fewer than two axes."""
    shape = tuple(shape)
    if len(shape) < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    field = math.prod(shape[2:])
    out, into = shape[0] * field, shape[1] * field
    return (out, into) if transposed else (into, out)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """How much a nonlinearity shrinks: √2 for relu, 5/3 tanh, 3/4 selu, √(2 / (1 + slope²)) leaky_relu, 1 linear.

    ValueError for an unknown one.
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        raise ValueError(f"Unsupported nonlinearity {nonlinearity}; known are {[*_GAINS, 'leaky_relu']}")
    return _GAINS[nonlinearity]


def uniform(shape: Any, a: float = 0.0, b: float = 1.0, **options: Any) -> Tensor:
    """Uniform in [a, b)."""
    return random.uniform(shape, a, b, **options)


def normal(shape: Any, mean: float = 0.0, std: float = 1.0, **options: Any) -> Tensor:
    """Normal numbers."""
    return random.normal(shape, mean, std, **options)


def trunc_normal(
    shape: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, dtype: Any = None, **options: Any
) -> Tensor:
    """Normal numbers that lie between a and b.  ValueError unless std > 0 and there are such numbers."""
    low, high = [math.erf((x - mean) / std / math.sqrt(2)) / 2 + 0.5 if std > 0 else 0.0 for x in (a, b)]
    if not low < high:
        raise ValueError(f"trunc_normal: there are no numbers of N({mean}, {std}²) between {a} and {b}")
    level = random.uniform(shape, low, high, dtype="float64", **options)
    x = raw(ndtri(level)) * std + mean
    return wrap(x.clip(a, b).astype(default_float() if dtype is None else dtype))


def constant(shape: Any, val: float, dtype: Any = None, device: Any = None) -> Tensor:
    """One number everywhere."""
    return full(shape, val, dtype=dtype, device=device)


def zeros(shape: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Zeros."""
    return full(shape, 0.0, dtype=dtype, device=device)


def ones(shape: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones."""
    return full(shape, 1.0, dtype=dtype, device=device)


def eye(shape: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones on the diagonal of a matrix, zeros beside it.  ValueError for another rank."""
    if len(shape) != 2:
        raise ValueError(f"Only tensors with 2 dimensions are supported, given the shape {tuple(shape)}")
    return tensor(np.eye(*shape), default_float() if dtype is None else dtype, device)


def dirac(shape: Any, groups: int = 1, dtype: Any = None, device: Any = None) -> Tensor:
    """The kernel (out, in / groups, *lengths) with which a convolution answers its input, as far as channels go.

    ValueError for another rank than 3 to 5, and unless groups divides out.
    """
    if len(shape) not in (3, 4, 5):
        raise ValueError(f"Only tensors with 3, 4, or 5 dimensions are supported, given the shape {tuple(shape)}")
    if shape[0] % groups:
        raise ValueError(f"dim 0 must be divisible by groups, given the shape {tuple(shape)} and {groups} groups")
    out, each = np.zeros(shape), shape[0] // groups
    for i in range(shape[0]):
        if i % each < shape[1]:
            out[(i, i % each, *[n // 2 for n in shape[2:]])] = 1
    return tensor(out, default_float() if dtype is None else dtype, device)


def _kaiming(shape: Any, a: float, mode: str, nonlinearity: str, transposed: bool) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    return calculate_gain(nonlinearity, a) / math.sqrt(fans(shape, transposed)[mode == "fan_out"] or 1)


def kaiming_uniform(
    shape: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", *,
    transposed: bool = False, **options: Any,
) -> Tensor:  # fmt: skip
    """U(-b, b) with b = gain √(3 / fan) (He et al. 2015)."""
    bound = math.sqrt(3) * _kaiming(shape, a, mode, nonlinearity, transposed)
    return uniform(shape, -bound, bound, **options)


def kaiming_normal(
    shape: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", *,
    transposed: bool = False, **options: Any,
) -> Tensor:  # fmt: skip
    """N(0, gain² / fan) (He et al. 2015)."""
    return normal(shape, 0.0, _kaiming(shape, a, mode, nonlinearity, transposed), **options)


def xavier_uniform(shape: Any, gain: float = 1.0, **options: Any) -> Tensor:
    """U(-b, b) with b = gain √(6 / (fan in + fan out)) (Glorot & Bengio 2010)."""
    bound = gain * math.sqrt(6 / (sum(fans(shape)) or 1))
    return uniform(shape, -bound, bound, **options)


def xavier_normal(shape: Any, gain: float = 1.0, **options: Any) -> Tensor:
    """N(0, 2 gain² / (fan in + fan out)) (Glorot & Bengio 2010)."""
    return normal(shape, 0.0, gain * math.sqrt(2 / (sum(fans(shape)) or 1)), **options)


def lecun_uniform(shape: Any, *, transposed: bool = False, **options: Any) -> Tensor:
    """U(-b, b) with b = √(3 / fan in) (LeCun et al. 1998)."""
    return kaiming_uniform(shape, nonlinearity="linear", transposed=transposed, **options)


def lecun_normal(shape: Any, *, transposed: bool = False, **options: Any) -> Tensor:
    """N(0, 1 / fan in) (LeCun et al. 1998)."""
    return kaiming_normal(shape, nonlinearity="linear", transposed=transposed, **options)


def orthogonal(shape: Any, gain: float = 1.0, dtype: Any = None, **options: Any) -> Tensor:
    """gain times a matrix (first axis, the others as one) with orthonormal rows, or columns (Saxe et al. 2013).

    All such are equally likely.  ValueError for fewer than two axes.
    """
    if len(shape) < 2:
        raise ValueError(f"Only tensors with 2 or more dimensions are supported, given the shape {tuple(shape)}")
    dtype = default_float() if dtype is None else dtype
    rows, columns = shape[0], math.prod(shape[1:])
    if not rows * columns:
        return zeros(shape, dtype, options.get("device"))
    drawn = random.normal((max(rows, columns), min(rows, columns)), dtype=wide(np.dtype(dtype)), **options)
    q, r = qr(drawn)
    q, r = raw(q), raw(diagonal(r))
    q = q * (1 - 2 * (r < 0).astype(q.dtype))  # without which some would be likelier (Mezzadri 2007)
    return wrap(((q if rows >= columns else q.T) * gain).reshape(shape).astype(dtype))


def sparse(shape: Any, sparsity: float, std: float = 0.01, *, transposed: bool = False, **options: Any) -> Tensor:
    """N(0, std²), in each column ⌈sparsity rows⌉ of them 0 (Martens 2010); transposed: in each row of columns.

    ValueError for what is no matrix.
    """
    if len(shape) != 2:
        raise ValueError(f"Only tensors with 2 dimensions are supported, given the shape {tuple(shape)}")
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparse: sparsity is from 0 to 1, not {sparsity!r}")
    x = raw(normal(shape, 0.0, std, **options))
    axis = int(transposed)
    rank = raw(random.uniform(shape, **{**options, "dtype": "float64"})).argsort(axis).argsort(axis)
    return wrap(x * (rank >= math.ceil(sparsity * shape[axis])).astype(x.dtype))


# ---------------------------------------------------------------------------------------------- in place
def _written(f: Callable[..., Tensor]) -> Callable[..., Any]:
    """f, whose values a parameter takes, which also tells whether it is transposed.  TypeError for what is none."""
    asks = "transposed" in signature(f).parameters

    @wraps(f)
    def call(tensor: Any, *args: Any, **options: Any) -> Any:
        write = getattr(tensor, "copy_", None) or getattr(tensor, "assign", None)
        if not isinstance(tensor, Tensor) or write is None:
            raise TypeError(f"{f.__name__}_ writes into a Parameter or Variable, given a {type(tensor).__name__}")
        if asks and getattr(tensor, "transposed", False):
            options = {"transposed": True, **options}
        with no_grad():
            write(f(tensor.array.shape, *args, dtype=tensor.array.dtype, device=tensor.device, **options))
        return tensor

    call.__name__ = call.__qualname__ = f"{f.__name__}_"
    return call


uniform_, normal_, trunc_normal_, constant_ = map(_written, (uniform, normal, trunc_normal, constant))
zeros_, ones_, eye_, dirac_ = map(_written, (zeros, ones, eye, dirac))
kaiming_uniform_, kaiming_normal_ = map(_written, (kaiming_uniform, kaiming_normal))
xavier_uniform_, xavier_normal_ = map(_written, (xavier_uniform, xavier_normal))
lecun_uniform_, lecun_normal_ = map(_written, (lecun_uniform, lecun_normal))
orthogonal_, sparse_ = map(_written, (orthogonal, sparse))


# ---------------------------------------------------------------------------------------------- by name
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
