"""torch.nn.functional."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ... import nn as core
from ...adapt import adapted
from ...op import findable
from ...ops import activation, index, loss, math
from ...ops.linalg import matmul
from .. import functions as F
from ..functions import TABLE, kept, log_softmax as log_softmax, row, softmax as softmax, spoken

sigmoid, tanh, _softplus = TABLE["sigmoid"], TABLE["tanh"], spoken(activation.softplus)
relu, silu = row(activation.relu, "input, -inplace=False"), row(activation.silu, "input, -inplace=False")
gelu, elu = row(activation.gelu, "input, approximate='none'"), row(activation.elu, "input, alpha=1.0, -inplace=False")
leaky_relu = row(activation.leaky_relu, "input, negative_slope=0.01, -inplace=False")
layer_norm = row(core.layer_norm, "input, normalized_shape, weight=None, bias=None, eps=1e-5")


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """In training, each element is zero with probability p and the others are larger by 1 / (1 - p)."""
    return core.Dropout(p).train(training)(kept(input))


def normalize(input: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Any:
    """input over its p-norm along `dim`, or over eps where that is larger."""
    return math.divide(input, F.clamp(F.norm(input, p, dim, True), eps))


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + exp(beta x)) / beta, exact above the threshold, too."""
    return _softplus(input) if beta == 1 else math.divide(_softplus(math.multiply(input, beta)), beta)


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """input @ weight.T + bias, with weight (out, in)."""
    y = matmul(input, weight.T)
    return y if bias is None else math.add(y, bias)


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """For each class a row of zeros with a one in its place; -1: as many classes as there are."""
    return index.one_hot(kept(tensor), int(tensor.max()) + 1 if num_classes == -1 else num_classes, "int64")


# ---------------------------------------------------------------------------------------------- losses
def _loss(f: Callable[..., Any], options: str = "") -> Any:
    """A loss of the core's, with PyTorch's words where the sizes differ."""

    def call(input: Any, target: Any, **options: Any) -> Any:
        if input.shape != target.shape:
            warnings.warn(
                f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will "
                "likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
                stacklevel=3,
            )
        return f(input, target, **options)

    call.__name__, call.__doc__ = f.__name__, f.__doc__
    return adapted(call, f"input, target, reduction='mean'{options}", kept)


mse_loss, l1_loss = _loss(loss.squared_error), _loss(core.l1_loss)
huber_loss, smooth_l1_loss = _loss(core.huber_loss, ", delta=1.0"), _loss(core.smooth_l1_loss, ", beta=1.0")
binary_cross_entropy = _loss(core.binary_cross_entropy)
binary_cross_entropy_with_logits = _loss(core.binary_cross_entropy_with_logits)
ROWS = (
    "relu silu gelu elu leaky_relu layer_norm mse_loss l1_loss huber_loss smooth_l1_loss binary_cross_entropy "
    "binary_cross_entropy_with_logits"
).split()
findable({n: globals()[n] for n in ROWS}, __name__)


def _classes_last(x: Any) -> Any:
    return F.movedim(x, 1, -1) if x.array.ndim > 2 else x


def cross_entropy(input: Any, target: Any, reduction: str = "mean") -> Any:
    """Softmax cross-entropy: input (rows, classes, ...), target integers (rows, ...), or a distribution like input."""
    logits = _classes_last(kept(input))
    if target.array.dtype.kind == "f":
        return loss.reduce(-F.sum(_classes_last(target) * log_softmax(logits, -1), -1), reduction)
    return core.cross_entropy(logits, target, reduction)


def nll_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """The negative of the log-probability of the right class: input (rows, classes, ...), target (rows, ...)."""
    return core.nll_loss(_classes_last(kept(input)), target, reduction)
