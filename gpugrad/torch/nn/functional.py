"""torch.nn.functional."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import nn as core
from ...adapt import adapted
from ...nn import classes
from ...op import findable
from ...ops import activation, index, loss, math, piecewise
from ..functions import TABLE, kept, log_softmax as _log_softmax, row, softmax as _softmax
from ..rows import made, under

sigmoid, tanh = TABLE["sigmoid"], TABLE["tanh"]
softmax, log_softmax = classes.implicit(_softmax), classes.implicit(_log_softmax)
__getattr__, __dir__ = under(__name__)
relu, silu = row(activation.relu, "input, -inplace=False"), row(activation.silu, "input, -inplace=False")
gelu, elu = row(activation.gelu, "input, approximate='none'"), row(piecewise.elu, "input, alpha=1.0, -inplace=False")
leaky_relu = row(piecewise.leaky_relu, "input, negative_slope=0.01, -inplace=False")
layer_norm = row(core.layer_norm, "input, normalized_shape, weight=None, bias=None, eps=1e-5")
rms_norm = row(core.rms_norm, "input, normalized_shape, weight=None, eps=None")
_RUNNING = "input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5"
batch_norm, embedding = row(core.batch_norm, _RUNNING), row(core.embedding, "input, weight, padding_idx=None")


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """In training, each element is zero with probability p and the others are larger by 1 / (1 - p)."""
    return core.Dropout(p).train(training)(kept(input))


def normalize(input: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Any:
    """input over its p-norm along `dim`, or over eps where that is larger."""
    return math.divide(input, made("clamp")(made("norm")(input, p, dim, True), eps))


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """input @ weight.T + bias, with weight (out, in)."""
    return core.linear(input, weight.T, bias)


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """For each class a row of zeros with a one in its place; -1: as many classes as there are."""
    return index.one_hot(kept(tensor), int(tensor.max()) + 1 if num_classes == -1 else num_classes, "int64")


# ---------------------------------------------------------------------------------------------- losses
def _loss(f: Callable[..., Any], options: str = "reduction='mean'", refused: str = "") -> Any:
    return adapted(classes.same_sizes(f, refused), f"input, target, {options}", kept)


_DEPRECATED = "Using a target size ({}) that is different to the input size ({}) is deprecated"
mse_loss, l1_loss = _loss(loss.squared_error), _loss(core.l1_loss)
huber_loss = _loss(core.huber_loss, "reduction='mean', delta=1.0")
smooth_l1_loss = _loss(core.smooth_l1_loss, "reduction='mean', beta=1.0")
binary_cross_entropy = _loss(core.binary_cross_entropy, "weight=None, reduction='mean'", _DEPRECATED)
binary_cross_entropy_with_logits = _loss(
    core.binary_cross_entropy_with_logits, "weight=None, reduction='mean', pos_weight=None",
    "Target size ({}) must be the same as input size ({})",
)  # fmt: skip
_LABELS = "input, +target, weight=None, ignore_index=-100, reduction='mean'"
nll_loss = adapted(classes.nll_loss, _LABELS, kept)
cross_entropy = adapted(classes.cross_entropy, f"{_LABELS}, label_smoothing=0.0", kept)
ROWS = (
    "relu silu gelu elu leaky_relu layer_norm rms_norm batch_norm embedding mse_loss l1_loss huber_loss smooth_l1_loss "
    "binary_cross_entropy binary_cross_entropy_with_logits nll_loss cross_entropy"
).split()
findable({n: globals()[n] for n in ROWS}, __name__)
