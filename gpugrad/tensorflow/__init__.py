"""TensorFlow's names and conventions over gpugrad: `import gpugrad.tensorflow as tf`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..array import (
    bfloat16 as bfloat16,
    bool_ as bool_,
    complex64 as complex64,
    complex128 as complex128,
    float16 as float16,
    float32 as float32,
    float64 as float64,
    int8 as int8,
    int16 as int16,
    int32 as int32,
    int64 as int64,
    uint8 as uint8,
)
from ..custom import (
    custom_gradient as custom_gradient,
    grad_pass_through as grad_pass_through,
    recompute_grad as recompute_grad,
)
from ..tape import GradientTape as GradientTape, UnconnectedGradients as UnconnectedGradients
from . import (
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
)
from .functions import CREATION, SAME, TOP, is_tensor as is_tensor, pick
from .module import Module as Module
from .tensor import (
    EagerTensor as EagerTensor,
    ResourceVariable as ResourceVariable,
    TensorShape as TensorShape,
    constant as constant,
    convert_to_tensor as convert_to_tensor,
)

globals().update({**SAME, **CREATION, **pick(TOP)})
Tensor, Variable = EagerTensor, ResourceVariable
bool, double, half = bool_, float64, float16


def function(func: Callable[..., Any] | None = None, **options: Any) -> Any:
    """`func` itself: it runs eagerly, op by op; nothing is compiled yet."""
    return (lambda f: f) if func is None else func


def executing_eagerly() -> Any:
    """True."""
    return True


def get_static_value(tensor: Any, partial: Any = False) -> Any:
    """The value as a NumPy array."""
    return tensor.numpy()
