"""torch.nn."""

from functools import partial as _partial

from ... import nn as _core
from ...adapt import adapted as _adapted, later as _later
from ..rows import made as _made
from ..tensor import Parameter as Parameter
from . import functional as functional, init as init, utils as utils
from .layers import (
    Linear as Linear,
    ModuleDict as ModuleDict,
    ModuleList as ModuleList,
    ParameterDict as ParameterDict,
    ParameterList as ParameterList,
    Sequential as Sequential,
)
from .module import Module as Module

_F, _of = functional, _partial(_core.layer_of, base=Module)
ReLU, Sigmoid, Tanh = _of("ReLU", _F.relu), _of("Sigmoid", _F.sigmoid), _of("Tanh", _F.tanh)
GELU, SiLU, ELU = _of("GELU", _F.gelu), _of("SiLU", _F.silu), _of("ELU", _F.elu)
LeakyReLU, Softplus = _of("LeakyReLU", _F.leaky_relu), _of("Softplus", _made("softplus", "F"))
Softmax = _of("Softmax", _adapted(_F.softmax, "input, dim=None"))
LogSoftmax = _of("LogSoftmax", _adapted(_F.log_softmax, "input, dim=None"))
Flatten = _of("Flatten", _adapted(_made("flatten"), "input, start_dim=1, end_dim=-1"))
MSELoss, L1Loss = _of("MSELoss", _F.mse_loss, 2), _of("L1Loss", _F.l1_loss, 2)
HuberLoss, SmoothL1Loss = _of("HuberLoss", _F.huber_loss, 2), _of("SmoothL1Loss", _F.smooth_l1_loss, 2)
BCELoss, NLLLoss = _of("BCELoss", _F.binary_cross_entropy, 2), _of("NLLLoss", _F.nll_loss, 2)
BCEWithLogitsLoss = _of("BCEWithLogitsLoss", _F.binary_cross_entropy_with_logits, 2)
CrossEntropyLoss = _of("CrossEntropyLoss", _F.cross_entropy, 2)
_SHARED = [
    *_core.ROWS, "PReLU", "RReLU", "LayerNorm", "RMSNorm", "GroupNorm", "Embedding", "AlphaDropout", "Dropout",
    "RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell", "MultiheadAttention", "Transformer",
    *[f"Transformer{name}{of}" for name in ("Encoder", "Decoder") for of in ("", "Layer")],
    *[f"{name}{n}d" for name in ("Conv", "ConvTranspose", "BatchNorm", "InstanceNorm", "Dropout") for n in (1, 2, 3)],
]  # fmt: skip
# The core's layers, with PyTorch's parameters.
__getattr__, __dir__ = _later(
    __name__, _SHARED, lambda name: type(name, (getattr(_core, name), Module), {"__module__": __name__})
)
