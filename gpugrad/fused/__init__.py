"""Floor 1: gpugrad's own kernels as functions of GPU arrays.  They allocate what they return and know of no tape.

Arrays of float32, float64, float16 or bfloat16; those that a kernel takes together have one dtype and one device.
Strided arrays are copied first.  `wide` means float32 for the half types, else the dtype itself.  TypeError for
arrays that a kernel is not made for (`gpugrad.kernels.usable` says so before), ValueError for shapes that do not fit.
"""

from .activation import (
    activate as activate,
    activate_grad as activate_grad,
    bias_act as bias_act,
    bias_act_grad as bias_act_grad,
    column_sums as column_sums,
    positive_bits as positive_bits,
    relu_mask as relu_mask,
    relu_mask_grad as relu_mask_grad,
)
from .batch_norm import (
    batch_norm as batch_norm,
    batch_norm_grad as batch_norm_grad,
    batch_norm_inference as batch_norm_inference,
)
from .dropout import dropout as dropout
from .embedding import gather as gather, scatter_add as scatter_add
from .norm import norm as norm, norm_grad as norm_grad, norm_sums as norm_sums
from .optimizer import (
    LAUNCHES as LAUNCHES,
    RULES as RULES,
    Table as Table,
    adam as adam,
    clipped as clipped,
    entry as entry,
    global_norm as global_norm,
    lamb as lamb,
    moving as moving,
    rule as rule,
    scaling as scaling,
    schedule as schedule,
    sgd as sgd,
    update_scale as update_scale,
)
from .random import random_bits as random_bits
from .recurrent import (
    gru_cell as gru_cell,
    gru_cell_grad as gru_cell_grad,
    lstm_cell as lstm_cell,
    lstm_cell_grad as lstm_cell_grad,
)
from .softmax import (
    softmax as softmax,
    softmax_grad as softmax_grad,
    softmax_xent as softmax_xent,
    softmax_xent_grad as softmax_xent_grad,
)
from .weighted import MOST as MOST, weighted_sum as weighted_sum
