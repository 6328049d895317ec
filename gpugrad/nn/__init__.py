"""Floor 7: modules, layers, activations and losses."""

from ..ops.activation import (
    gelu as gelu,
    log_sigmoid as log_sigmoid,
    mish as mish,
    relu as relu,
    relu_mask as relu_mask,
    sigmoid as sigmoid,
    silu as silu,
    softplus as softplus,
)
from ..ops.feed_forward import feed_forward as feed_forward
from ..ops.linear import linear as linear
from ..ops.loss import (
    binary_cross_entropy as binary_cross_entropy,
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
    cross_entropy as cross_entropy,
    huber_loss as huber_loss,
    l1_loss as l1_loss,
    mse_loss as mse_loss,
    nll_loss as nll_loss,
    smooth_l1_loss as smooth_l1_loss,
)
from ..ops.math import tanh as tanh
from ..ops.piecewise import (
    celu as celu,
    elu as elu,
    glu as glu,
    hardshrink as hardshrink,
    hardsigmoid as hardsigmoid,
    hardswish as hardswish,
    hardtanh as hardtanh,
    leaky_relu as leaky_relu,
    prelu as prelu,
    relu6 as relu6,
    selu as selu,
    softshrink as softshrink,
    softsign as softsign,
    tanhshrink as tanhshrink,
    threshold as threshold,
)
from ..ops.softmax import log_softmax as log_softmax, softmax as softmax, softmin as softmin
from ..variable import Parameter as Parameter
from . import init as init
from .containers import ModuleDict as ModuleDict, ModuleList as ModuleList, ParameterList as ParameterList
from .dropout import Dropout as Dropout, dropout as dropout
from .embedding import Embedding as Embedding, embedding as embedding
from .layers import Linear as Linear, Sequential as Sequential, layer_of as layer_of
from .lazy import LazyModule as LazyModule
from .lazy_model import LazyModel as LazyModel, LazySequential as LazySequential
from .module import Module as Module
from .normalization import (
    BatchNorm as BatchNorm,
    LayerNorm as LayerNorm,
    RMSNorm as RMSNorm,
    batch_norm as batch_norm,
    layer_norm as layer_norm,
    rms_norm as rms_norm,
)
from .order import OwnFirst as OwnFirst
