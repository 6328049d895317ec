"""gpugrad: TensorFlow's GradientTape and PyTorch's Autograd over one engine, on NumPy and CuPy arrays."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import openblas as openblas  # before NumPy

# isort: split
from . import (
    cupy_library as cupy_library,  # without which no GPU is known
    fft as fft,
    habits as _habits,
    linalg as linalg,
    random as random,
    special as special,
)
from .amp import autocast as autocast
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
    is_grad_enabled as is_grad_enabled,
    no_grad as no_grad,
    set_grad_enabled as set_grad_enabled,
)
from .core import Tensor as Tensor
from .curvature import fisher_product as fisher_product, gauss_newton_product as gauss_newton_product
from .custom import custom_gradient as custom_gradient, grad_pass_through as grad_pass_through
from .custom_rules import custom_jvp as custom_jvp, custom_vjp as custom_vjp
from .dlpack import from_dlpack as from_dlpack
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
from .exhausted import OutOfMemoryError as OutOfMemoryError
from .forward import ufunc as ufunc
from .forward_mode import ForwardAccumulator as ForwardAccumulator
from .function import Function as Function
from .functional import jacobian as jacobian
from .gemm import (
    get_float32_matmul_precision as get_float32_matmul_precision,
    set_float32_matmul_precision as set_float32_matmul_precision,
)
from .kernel_op import kernel_op as kernel_op
from .laplacian import laplacian as laplacian, value_and_laplacian as value_and_laplacian
from .op import user_op as op  # noqa: F401
from .ops.activation import relu as relu, sigmoid as sigmoid
from .ops.casting import (
    astype as astype,
    stop_gradient as stop_gradient,
    to_device as to_device,
)
from .ops.choice import (
    clip as clip,
    fmax as fmax,
    fmin as fmin,
    heaviside as heaviside,
    maximum as maximum,
    minimum as minimum,
    nan_to_num as nan_to_num,
)
from .ops.diagonal import diag as diag, diag_embed as diag_embed, diagonal as diagonal, trace as trace
from .ops.differences import diff as diff, trapezoid as trapezoid
from .ops.distances import cdist as cdist
from .ops.index import (
    gather_nd as gather_nd,
    getitem as getitem,
    masked_fill as masked_fill,
    masked_select as masked_select,
    one_hot as one_hot,
    repeat as repeat,
    take as take,
    take_along_axis as take_along_axis,
)
from .ops.linalg import (
    einsum as einsum,
    matmul as matmul,
    outer as outer,
    tensordot as tensordot,
    vector_norm as vector_norm,
)
from .ops.logic import (
    bitwise_and as bitwise_and,
    bitwise_invert as bitwise_invert,
    bitwise_left_shift as bitwise_left_shift,
    bitwise_or as bitwise_or,
    bitwise_right_shift as bitwise_right_shift,
    bitwise_xor as bitwise_xor,
    equal as equal,
    greater as greater,
    greater_equal as greater_equal,
    isclose as isclose,
    isfinite as isfinite,
    isinf as isinf,
    isnan as isnan,
    less as less,
    less_equal as less_equal,
    logical_and as logical_and,
    logical_not as logical_not,
    logical_or as logical_or,
    logical_xor as logical_xor,
    not_equal as not_equal,
    signbit as signbit,
    where as where,
)
from .ops.math import (
    abs as abs,
    acos as acos,
    acosh as acosh,
    add as add,
    angle as angle,
    asin as asin,
    asinh as asinh,
    atan as atan,
    atan2 as atan2,
    atanh as atanh,
    cbrt as cbrt,
    conj as conj,
    copysign as copysign,
    cos as cos,
    cosh as cosh,
    deg2rad as deg2rad,
    divide as divide,
    exp as exp,
    exp2 as exp2,
    expm1 as expm1,
    float_power as float_power,
    hypot as hypot,
    imag as imag,
    lerp as lerp,
    log as log,
    log1p as log1p,
    log2 as log2,
    log10 as log10,
    logaddexp as logaddexp,
    logaddexp2 as logaddexp2,
    multiply as multiply,
    negative as negative,
    positive as positive,
    pow as pow,
    rad2deg as rad2deg,
    real as real,
    reciprocal as reciprocal,
    rsqrt as rsqrt,
    sign as sign,
    sin as sin,
    sinc as sinc,
    sinh as sinh,
    sqrt as sqrt,
    square as square,
    subtract as subtract,
    tan as tan,
    tanh as tanh,
)
from .ops.norm import (
    clip_by_global_norm as clip_by_global_norm,
    clip_by_norm as clip_by_norm,
    global_norm as global_norm,
    norm as norm,
    normalize as normalize,
)
from .ops.pad import pad as pad
from .ops.products import cross as cross, dot as dot, inner as inner, kron as kron, vecdot as vecdot
from .ops.quantile import median as median, quantile as quantile
from .ops.reduce import (
    all as all,
    any as any,
    argmax as argmax,
    argmin as argmin,
    average as average,
    count_nonzero as count_nonzero,
    logsumexp as logsumexp,
    max as max,
    mean as mean,
    min as min,
    nanmean as nanmean,
    nansum as nansum,
    prod as prod,
    std as std,
    sum as sum,
    var as var,
)
from .ops.rounding import (
    ceil as ceil,
    floor as floor,
    floor_divide as floor_divide,
    fmod as fmod,
    frac as frac,
    remainder as remainder,
    round as round,
    trunc as trunc,
)
from .ops.scan import (
    cumlogsumexp as cumlogsumexp,
    cummax as cummax,
    cummin as cummin,
    cumprod as cumprod,
    cumsum as cumsum,
    cumulative_prod as cumulative_prod,
    cumulative_sum as cumulative_sum,
)
from .ops.scatter import (
    at as at,
    index_add as index_add,
    put_along_axis as put_along_axis,
    scatter_nd as scatter_nd,
)
from .ops.segment import (
    segment_max as segment_max,
    segment_mean as segment_mean,
    segment_min as segment_min,
    segment_prod as segment_prod,
    segment_sum as segment_sum,
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
    permute_dims as permute_dims,
    reshape as reshape,
    roll as roll,
    rot90 as rot90,
    split as split,
    squeeze as squeeze,
    stack as stack,
    swapaxes as swapaxes,
    tile as tile,
    tril as tril,
    triu as triu,
    unflatten as unflatten,
    unstack as unstack,
)
from .ops.softmax import log_softmax as log_softmax, softmax as softmax
from .ops.sorting import (
    argsort as argsort,
    searchsorted as searchsorted,
    sort as sort,
    topk as topk,
)
from .ops.special import erf as erf
from .recompute import checkpoint as checkpoint, recompute_grad as recompute_grad
from .registry import register_gradient as register_gradient
from .saving import save_as as save_as, save_on_cpu as save_on_cpu, saved_tensors_hooks as saved_tensors_hooks
from .tape import GradientTape as GradientTape, UnconnectedGradients as UnconnectedGradients
from .taylor import taylor as taylor
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
from .transforms import (
    grad as grad,
    hessian as hessian,
    hvp as hvp,
    jacfwd as jacfwd,
    jacrev as jacrev,
    jvp as jvp,
    linearize as linearize,
    value_and_grad as value_and_grad,
    vhp as vhp,
    vjp as vjp,
)
from .variable import Parameter as Parameter, Variable as Variable
from .vmap import vmap as vmap

if TYPE_CHECKING:
    from . import (
        checkpoints as checkpoints,
        data as data,
        implicit as implicit,
        interop as interop,
        nn as nn,
        ode as ode,
        optim as optim,
        profile as profile,
        sparse as sparse,
        testing as testing,
        train as train,
    )
    from .nn import functional_call as functional_call
    from .optim import GradScaler as GradScaler, NonFiniteGradients as NonFiniteGradients
    from .state_files import load as load, save as save
    from .tensor_files import CheckpointError as CheckpointError

__version__ = "0.1.0"


_LATER = (
    "checkpoints", "data", "implicit", "interop", "nn", "ode", "optim", "profile", "sparse", "testing", "train",
)  # fmt: skip
_FROM = {
    "CheckpointError": "tensor_files", "GradScaler": "optim", "NonFiniteGradients": "optim", "functional_call": "nn",
    "load": "state_files", "save": "state_files",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Imported when first asked for: it would take as long again as the rest."""
    if name in _LATER:
        return import_module(f"gpugrad.{name}")
    if name in _FROM:
        return getattr(import_module(f"gpugrad.{_FROM[name]}"), name)
    spaces = [import_module(f"gpugrad.{n}") for n in ("nn", "linalg", "special", "fft", "random", "optim")]
    raise AttributeError(_habits.elsewhere(name, spaces))


def __dir__() -> list[str]:
    own = [n for n in globals() if n not in ("Any", "TYPE_CHECKING", "import_module")]
    return sorted({*own, *_LATER, *_FROM})
