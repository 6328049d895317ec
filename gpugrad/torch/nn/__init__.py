"""torch.nn."""

from ..tensor import Parameter as Parameter
from . import functional as functional, init as init
from .layers import (
    ELU as ELU,
    GELU as GELU,
    BCEWithLogitsLoss as BCEWithLogitsLoss,
    CrossEntropyLoss as CrossEntropyLoss,
    Flatten as Flatten,
    Identity as Identity,
    L1Loss as L1Loss,
    LeakyReLU as LeakyReLU,
    Linear as Linear,
    LogSoftmax as LogSoftmax,
    ModuleList as ModuleList,
    MSELoss as MSELoss,
    ReLU as ReLU,
    Sequential as Sequential,
    Sigmoid as Sigmoid,
    SiLU as SiLU,
    Softmax as Softmax,
    Softplus as Softplus,
    Tanh as Tanh,
)
from .module import Module as Module
