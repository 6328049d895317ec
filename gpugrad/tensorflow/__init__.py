"""TensorFlow's names and conventions over gpugrad: `import gpugrad.tensorflow as tf`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import dtypes as _dtypes, func as _func
from ..custom import custom_gradient as custom_gradient, grad_pass_through as grad_pass_through
from ..recompute import recompute_grad as recompute_grad
from ..tape import GradientTape as GradientTape, UnconnectedGradients as UnconnectedGradients
from . import (
    autodiff as autodiff,
    bitwise as bitwise,
    data as data,
    errors as errors,
    image as image,
    keras as keras,
    linalg as linalg,
    math as math,
    nest as nest,
    nn as nn,
    queue as queue,
    random as random,
    signal as signal,
    train as train,
)
from .functions import SAME, is_tensor as is_tensor, under
from .gradients import RegisterGradient as RegisterGradient, no_gradient as no_gradient
from .module import Module as Module
from .rows import later_of as _later_of
from .tensor import (
    EagerTensor as EagerTensor,
    ResourceVariable as ResourceVariable,
    TensorShape as TensorShape,
    constant as constant,
    convert_to_tensor as convert_to_tensor,
)

_DTYPES = "bfloat16 complex64 complex128 float16 float32 float64 int8 int16 int32 int64 uint8".split()
globals().update({**SAME, **under(""), **{d: getattr(_dtypes, d) for d in _DTYPES}})
__getattr__, __dir__ = _later_of(__name__)
Tensor, Variable = EagerTensor, ResourceVariable
bool, double, half = _dtypes.bool_, _dtypes.float64, _dtypes.float16


def function(func: Callable[..., Any] | None = None, **options: Any) -> Any:
    """`func` itself: it runs eagerly, op by op; nothing is compiled yet."""
    return (lambda f: f) if func is None else func


def vectorized_map(fn: Callable[..., Any], elems: Any, fallback_to_while_loop: Any = True, warn: Any = True) -> Any:
    """fn of elems[0], elems[1], ..., stacked, computed at once; what cannot be is computed one by one, silently."""
    return _func.vectorized_map(fn, elems, convert_to_tensor)


def executing_eagerly() -> Any:
    """True."""
    return True


def get_static_value(tensor: Any, partial: Any = False) -> Any:
    """The value as a NumPy array."""
    return tensor.numpy()
