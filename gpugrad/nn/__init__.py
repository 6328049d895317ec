"""Floor 7: modules, layers, activations and losses."""

from ..ops.activation import (
    elu as elu,
    gelu as gelu,
    leaky_relu as leaky_relu,
    log_softmax as log_softmax,
    relu as relu,
    sigmoid as sigmoid,
    silu as silu,
    softmax as softmax,
    softplus as softplus,
)
from ..ops.loss import cross_entropy as cross_entropy, mse_loss as mse_loss
from ..ops.math import tanh as tanh
from ..variable import Parameter as Parameter
from . import init as init
from .containers import ModuleDict as ModuleDict, ModuleList as ModuleList, ParameterList as ParameterList
from .layers import (
    Dropout as Dropout,
    Linear as Linear,
    Sequential as Sequential,
    dropout as dropout,
    linear as linear,
)
from .module import Module as Module
