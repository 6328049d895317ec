"""torch.nn."""

from ..tensor import Parameter as Parameter
from . import functional as functional, init as init, utils as utils
from .layers import (
    ELU as ELU,
    GELU as GELU,
    BCELoss as BCELoss,
    BCEWithLogitsLoss as BCEWithLogitsLoss,
    CrossEntropyLoss as CrossEntropyLoss,
    Dropout as Dropout,
    Embedding as Embedding,
    Flatten as Flatten,
    HuberLoss as HuberLoss,
    Identity as Identity,
    L1Loss as L1Loss,
    LayerNorm as LayerNorm,
    LeakyReLU as LeakyReLU,
    Linear as Linear,
    LogSoftmax as LogSoftmax,
    ModuleDict as ModuleDict,
    ModuleList as ModuleList,
    MSELoss as MSELoss,
    NLLLoss as NLLLoss,
    ParameterList as ParameterList,
    ReLU as ReLU,
    RMSNorm as RMSNorm,
    Sequential as Sequential,
    Sigmoid as Sigmoid,
    SiLU as SiLU,
    SmoothL1Loss as SmoothL1Loss,
    Softmax as Softmax,
    Softplus as Softplus,
    Tanh as Tanh,
)
from .module import Module as Module
