"""PyTorch's names and conventions over gpugrad: `import gpugrad.torch as torch`."""

from __future__ import annotations

from math import e as e, inf as inf, nan as nan, pi as pi
from types import SimpleNamespace as _Namespace

from numpy import dtype as dtype

from ..array import device as _device, device_count as _device_count
from ..autograd import (
    enable_grad as enable_grad,
    inference_mode as inference_mode,
    is_grad_enabled as is_grad_enabled,
    is_inference_mode_enabled as is_inference_mode_enabled,
    no_grad as no_grad,
    set_grad_enabled as set_grad_enabled,
)
from ..dtypes import (
    bfloat16 as bfloat16,
    bool_ as bool_,
    complex64 as complex64,
    complex128 as complex128,
    default_float as _default_float,
    float16 as float16,
    float32 as float32,
    float64 as float64,
    int8 as int8,
    int16 as int16,
    int32 as int32,
    int64 as int64,
    set_default_dtype as set_default_dtype,
    uint8 as uint8,
)
from ..exhausted import OutOfMemoryError as OutOfMemoryError
from ..gemm import (
    get_float32_matmul_precision as get_float32_matmul_precision,
    set_float32_matmul_precision as set_float32_matmul_precision,
)
from . import (
    autograd as autograd,
    fft as fft,
    func as func,
    linalg as linalg,
    methods as methods,
    nn as nn,
    optim as optim,
    special as special,
    utils as utils,
)
from .creation import CREATION
from .func import vmap as vmap
from .functions import TABLE
from .rows import under as _under
from .tensor import Size as Size, Tensor as Tensor, tensor as tensor

globals().update({**TABLE, **CREATION})
__getattr__, __dir__ = _under(__name__)
bool, double, half, float, int, long, short = bool_, float64, float16, float32, int32, int64, int16
device, get_default_dtype = _device, _default_float
_count = lambda: _device_count("cuda")
cuda = _Namespace(is_available=lambda: _count() > 0, device_count=_count, OutOfMemoryError=OutOfMemoryError)
