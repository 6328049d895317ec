"""torch.nn.functional."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ... import nn as core
from ...adapt import adapted
from ...ops import activation, index, loss, math
from ...ops.linalg import matmul
from .. import functions as F
from ..functions import TABLE, kept, log_softmax as log_softmax, row, softmax as softmax, spoken

sigmoid, tanh, _softplus = TABLE["sigmoid"], TABLE["tanh"], spoken(activation.softplus)
relu, silu = row(activation.relu, "input, -inplace=False"), row(activation.silu, "input, -inplace=False")
gelu, elu = row(activation.gelu, "input, approximate='none'"), row(activation.elu, "input, alpha=1.0, -inplace=False")
leaky_relu = row(activation.leaky_relu, "input, negative_slope=0.01, -inplace=False")
dropout = row(core.dropout, "input, p=0.5, training=True, -inplace=False")


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + exp(beta x)) / beta, exact above the threshold, too."""
    return _softplus(input) if beta == 1 else math.divide(_softplus(math.multiply(input, beta)), beta)


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """input @ weight.T + bias, with weight (out, in)."""
    y = matmul(input, weight.T)
    return y if bias is None else math.add(y, bias)


def normalize(input: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Any:
    """input over its p-norm along `dim`, or over eps where that is larger."""
    return math.divide(input, F.clamp(F.norm(input, p, dim, True), eps))


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """For each class a row of zeros with a one in its place; -1: as many classes as there are."""
    return index.one_hot(kept(tensor), int(tensor.max()) + 1 if num_classes == -1 else num_classes, "int64")


def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """input with mean 0 and variance 1 over its last axes, times weight, plus bias."""
    axes = tuple(range(-len(normalized_shape), 0))
    x = input - F.mean(input, axes, True)
    y = x * F.rsqrt(F.mean(math.square(x), axes, True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


# ---------------------------------------------------------------------------------------------- losses
def _reduced(x: Any, reduction: str) -> Any:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction; 'mean', 'sum' and 'none' are")
    return loss.reduce(x, reduction)


def _loss(name: str, formula: Callable[..., Any], doc: str, options: str = "") -> Any:
    """The formula for each element, reduced."""

    def call(input: Any, target: Any, reduction: str, **options: Any) -> Any:
        if input.shape != target.shape:
            warnings.warn(
                f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will "
                "likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
                stacklevel=4,
            )
        return _reduced(formula(input, target, **options), reduction)

    call.__name__ = name
    return adapted(call, f"input, target, reduction='mean'{options}", kept, f"{doc}, reduced.")


def _huber(x: Any, y: Any, delta: float) -> Any:
    distance = math.abs(x - y)
    return math.where(distance < delta, 0.5 * math.square(distance), delta * (distance - 0.5 * delta))


def _log(x: Any) -> Any:
    """log(x), but not below -100, as PyTorch's cross-entropy of probabilities has it."""
    zero = math.equal(x, 0)
    return math.where(zero, -100.0, F.clamp(math.log(math.where(zero, 1.0, x)), -100.0))


mse_loss = _loss("mse_loss", lambda x, y: math.square(x - y), "(input - target)²")
l1_loss = _loss("l1_loss", lambda x, y: math.abs(x - y), "|input - target|")
huber_loss = _loss("huber_loss", _huber, "½ d² for distances d below delta, delta (d - ½ delta) above", ", delta=1.0")
smooth_l1_loss = _loss(
    "smooth_l1_loss", lambda x, y, beta: _huber(x, y, beta) / beta if beta else math.abs(x - y),
    "½ d² / beta for distances d below beta, d - ½ beta above", ", beta=1.0",
)  # fmt: skip
binary_cross_entropy = _loss(
    "binary_cross_entropy", lambda x, y: (y - 1) * _log(1 - x) - y * _log(x), "The cross-entropy of probabilities"
)
binary_cross_entropy_with_logits = _loss(
    "binary_cross_entropy_with_logits", lambda x, y: _softplus(x) - x * y, "The cross-entropy of yes-or-no answers"
)


def _classes_last(x: Any) -> Any:
    return F.movedim(x, 1, -1) if x.array.ndim > 2 else x


def cross_entropy(input: Any, target: Any, reduction: str = "mean") -> Any:
    """Softmax cross-entropy: input (rows, classes, ...), target integers (rows, ...), or a distribution like input."""
    logits = _classes_last(kept(input))
    if target.array.dtype.kind == "f":
        return _reduced(-F.sum(_classes_last(target) * log_softmax(logits, -1), -1), reduction)
    return loss.cross_entropy(logits, target, reduction)


def nll_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """The negative of the log-probability of the right class: input (rows, classes, ...), target (rows, ...)."""
    return _reduced(-F.gather(_classes_last(kept(input)), -1, target.unsqueeze(-1)).squeeze(-1), reduction)
