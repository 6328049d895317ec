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
from ..ops.adaptive_pool import (
    adaptive_avg_pool1d as adaptive_avg_pool1d,
    adaptive_avg_pool2d as adaptive_avg_pool2d,
    adaptive_avg_pool3d as adaptive_avg_pool3d,
    adaptive_max_pool1d as adaptive_max_pool1d,
    adaptive_max_pool2d as adaptive_max_pool2d,
    adaptive_max_pool3d as adaptive_max_pool3d,
    global_avg_pool as global_avg_pool,
    global_max_pool as global_max_pool,
)
from ..ops.conv import (
    conv1d as conv1d,
    conv2d as conv2d,
    conv3d as conv3d,
    conv_transpose1d as conv_transpose1d,
    conv_transpose2d as conv_transpose2d,
    conv_transpose3d as conv_transpose3d,
)
from ..ops.ctc import ctc_loss as ctc_loss
from ..ops.distance import (
    cosine_similarity as cosine_similarity,
    huber_loss as huber_loss,
    l1_loss as l1_loss,
    pairwise_distance as pairwise_distance,
    smooth_l1_loss as smooth_l1_loss,
)
from ..ops.divergence import (
    binary_cross_entropy as binary_cross_entropy,
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
    gaussian_nll_loss as gaussian_nll_loss,
    kl_div as kl_div,
    poisson_nll_loss as poisson_nll_loss,
)
from ..ops.feed_forward import feed_forward as feed_forward
from ..ops.group_norm import group_norm as group_norm, instance_norm as instance_norm
from ..ops.interpolate import interpolate as interpolate
from ..ops.linear import linear as linear
from ..ops.loss import cross_entropy as cross_entropy, mse_loss as mse_loss, nll_loss as nll_loss
from ..ops.margin import (
    cosine_embedding_loss as cosine_embedding_loss,
    hinge_embedding_loss as hinge_embedding_loss,
    hinge_loss as hinge_loss,
    margin_ranking_loss as margin_ranking_loss,
    multi_margin_loss as multi_margin_loss,
    multilabel_margin_loss as multilabel_margin_loss,
    multilabel_soft_margin_loss as multilabel_soft_margin_loss,
    soft_margin_loss as soft_margin_loss,
    triplet_margin_loss as triplet_margin_loss,
)
from ..ops.math import tanh as tanh
from ..ops.norm import l2_normalize as l2_normalize
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
from ..ops.pixels import (
    channel_shuffle as channel_shuffle,
    pixel_shuffle as pixel_shuffle,
    pixel_unshuffle as pixel_unshuffle,
)
from ..ops.pool import (
    avg_pool1d as avg_pool1d,
    avg_pool2d as avg_pool2d,
    avg_pool3d as avg_pool3d,
    max_pool1d as max_pool1d,
    max_pool2d as max_pool2d,
    max_pool3d as max_pool3d,
)
from ..ops.recurrent import gru as gru, lstm as lstm, rnn as rnn
from ..ops.recurrent_step import gru_cell as gru_cell, lstm_cell as lstm_cell
from ..ops.softmax import log_softmax as log_softmax, softmax as softmax, softmin as softmin
from ..ops.unfold import fold as fold, unfold as unfold
from ..variable import Parameter as Parameter
from . import init as init
from .attention import scaled_dot_product_attention as scaled_dot_product_attention
from .cells import GRUCell as GRUCell, LSTMCell as LSTMCell, RNNCell as RNNCell
from .containers import (
    ModuleDict as ModuleDict,
    ModuleList as ModuleList,
    ParameterDict as ParameterDict,
    ParameterList as ParameterList,
    Sequential as Sequential,
)
from .conv import (
    Conv1d as Conv1d,
    Conv2d as Conv2d,
    Conv3d as Conv3d,
    ConvTranspose1d as ConvTranspose1d,
    ConvTranspose2d as ConvTranspose2d,
    ConvTranspose3d as ConvTranspose3d,
)
from .dropout import (
    AlphaDropout as AlphaDropout,
    Dropout as Dropout,
    Dropout1d as Dropout1d,
    Dropout2d as Dropout2d,
    Dropout3d as Dropout3d,
    RReLU as RReLU,
    dropout as dropout,
)
from .embedding import Embedding as Embedding, embedding as embedding
from .functional_call import functional_call as functional_call, stack_module_state as stack_module_state
from .layers import Linear as Linear, PReLU as PReLU, layer_of as layer_of
from .lazy import LazyModule as LazyModule
from .lazy_model import LazyModel as LazyModel, LazySequential as LazySequential
from .module import Module as Module
from .multihead import MultiHeadAttention as MultiHeadAttention, MultiheadAttention as MultiheadAttention
from .named import (
    ROWS as ROWS,
    __dir__ as __dir__,  # ReLU, MaxPool2d, CrossEntropyLoss, ...
    __getattr__ as __getattr__,
)
from .normalization import (
    BatchNorm as BatchNorm,
    BatchNorm1d as BatchNorm1d,
    BatchNorm2d as BatchNorm2d,
    BatchNorm3d as BatchNorm3d,
    GroupNorm as GroupNorm,
    InstanceNorm as InstanceNorm,
    InstanceNorm1d as InstanceNorm1d,
    InstanceNorm2d as InstanceNorm2d,
    InstanceNorm3d as InstanceNorm3d,
    LayerNorm as LayerNorm,
    RMSNorm as RMSNorm,
    batch_norm as batch_norm,
    layer_norm as layer_norm,
    rms_norm as rms_norm,
)
from .order import OwnFirst as OwnFirst
from .recurrent import GRU as GRU, LSTM as LSTM, RNN as RNN
from .transformer import (
    Transformer as Transformer,
    TransformerDecoder as TransformerDecoder,
    TransformerDecoderLayer as TransformerDecoderLayer,
    TransformerEncoder as TransformerEncoder,
    TransformerEncoderLayer as TransformerEncoderLayer,
)
