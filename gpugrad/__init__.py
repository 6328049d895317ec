"""gpugrad: TensorFlow's GradientTape and PyTorch's Autograd over one engine, on NumPy and CuPy arrays."""

from . import (
    checkpoints as checkpoints,
    cupy_library as cupy_library,  # without which no GPU is known
    fft as fft,
    linalg as linalg,
    nn as nn,
    optim as optim,
    random as random,
    testing as testing,
)
from .anomaly import detect_anomaly as detect_anomaly
from .array import (
    Device as Device,
    default_device as default_device,
    device as device,
    device_count as device_count,
    set_default_device as set_default_device,
)
from .autograd import (
    backward as backward,
    enable_grad as enable_grad,
    grad as grad,
    is_grad_enabled as is_grad_enabled,
    no_grad as no_grad,
    set_grad_enabled as set_grad_enabled,
)
from .core import Tensor as Tensor
from .custom import (
    custom_gradient as custom_gradient,
    grad_pass_through as grad_pass_through,
    recompute_grad as recompute_grad,
)
from .dtypes import (
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
    set_default_dtype as set_default_dtype,
    uint8 as uint8,
)
from .forward import ufunc as ufunc
from .function import Function as Function
from .gemm import (
    get_float32_matmul_precision as get_float32_matmul_precision,
    set_float32_matmul_precision as set_float32_matmul_precision,
)
from .kernel_op import kernel_op as kernel_op
from .op import user_op as op  # noqa: F401
from .ops.activation import erf as erf
from .ops.index import (
    argsort as argsort,
    getitem as getitem,
    one_hot as one_hot,
    repeat as repeat,
    sort as sort,
    take as take,
    take_along_axis as take_along_axis,
    top_k as top_k,
)
from .ops.linalg import (
    cross as cross,
    dot as dot,
    einsum as einsum,
    inner as inner,
    kron as kron,
    matmul as matmul,
    outer as outer,
    tensordot as tensordot,
    vecdot as vecdot,
    vector_norm as vector_norm,
)
from .ops.math import (
    abs as abs,
    acos as acos,
    acosh as acosh,
    add as add,
    asin as asin,
    asinh as asinh,
    astype as astype,
    atan as atan,
    atan2 as atan2,
    atanh as atanh,
    ceil as ceil,
    clip as clip,
    conj as conj,
    cos as cos,
    cosh as cosh,
    divide as divide,
    equal as equal,
    exp as exp,
    exp2 as exp2,
    expm1 as expm1,
    floor as floor,
    floor_divide as floor_divide,
    greater as greater,
    greater_equal as greater_equal,
    hypot as hypot,
    imag as imag,
    isfinite as isfinite,
    isinf as isinf,
    isnan as isnan,
    less as less,
    less_equal as less_equal,
    log as log,
    log1p as log1p,
    log2 as log2,
    log10 as log10,
    logaddexp as logaddexp,
    logical_and as logical_and,
    logical_not as logical_not,
    logical_or as logical_or,
    logical_xor as logical_xor,
    maximum as maximum,
    minimum as minimum,
    multiply as multiply,
    negative as negative,
    not_equal as not_equal,
    positive as positive,
    pow as pow,
    real as real,
    reciprocal as reciprocal,
    remainder as remainder,
    round as round,
    rsqrt as rsqrt,
    sign as sign,
    sin as sin,
    sinh as sinh,
    sqrt as sqrt,
    square as square,
    stop_gradient as stop_gradient,
    subtract as subtract,
    tan as tan,
    tanh as tanh,
    to_device as to_device,
    trunc as trunc,
    where as where,
)
from .ops.matrix_functions import cdist as cdist
from .ops.norm import (
    clip_by_global_norm as clip_by_global_norm,
    clip_by_norm as clip_by_norm,
    global_norm as global_norm,
    normalize as normalize,
)
from .ops.reduce import (
    all as all,
    any as any,
    argmax as argmax,
    argmin as argmin,
    count_nonzero as count_nonzero,
    cumsum as cumsum,
    logsumexp as logsumexp,
    max as max,
    mean as mean,
    min as min,
    prod as prod,
    std as std,
    sum as sum,
    var as var,
)
from .ops.shape import (
    broadcast_arrays as broadcast_arrays,
    broadcast_to as broadcast_to,
    concat as concat,
    expand_dims as expand_dims,
    flatten as flatten,
    flip as flip,
    matrix_transpose as matrix_transpose,
    meshgrid as meshgrid,
    moveaxis as moveaxis,
    pad as pad,
    permute_dims as permute_dims,
    reshape as reshape,
    roll as roll,
    split as split,
    squeeze as squeeze,
    stack as stack,
    swapaxes as swapaxes,
    tile as tile,
    tril as tril,
    triu as triu,
    unstack as unstack,
)
from .registry import register_gradient as register_gradient
from .saving import save_on_cpu as save_on_cpu, saved_tensors_hooks as saved_tensors_hooks
from .tape import GradientTape as GradientTape, UnconnectedGradients as UnconnectedGradients
from .tensor import (
    arange as arange,
    eye as eye,
    full as full,
    full_like as full_like,
    linspace as linspace,
    ones as ones,
    ones_like as ones_like,
    tensor as tensor,
    zeros as zeros,
    zeros_like as zeros_like,
)
from .variable import Parameter as Parameter, Variable as Variable

__version__ = "0.1.0"
