"""torch.nn.functional."""

from __future__ import annotations

import warnings
from typing import Any

from ...ops import activation, loss, math
from ...ops.linalg import matmul
from .. import functions as F
from ..functions import TABLE, log_softmax as log_softmax, softmax as softmax, spoken

relu, sigmoid, tanh = TABLE["relu"], TABLE["sigmoid"], TABLE["tanh"]
gelu = activation.gelu
silu, elu, softplus = spoken(activation.silu), spoken(activation.elu), spoken(activation.softplus)


def leaky_relu(input: Any, negative_slope: float = 0.01) -> Any:
    """x where positive, else negative_slope x."""
    return activation.leaky_relu(input, negative_slope)


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """input @ weight.T + bias, with weight (out, in)."""
    y = matmul(input, weight.T)
    return y if bias is None else math.add(y, bias)


def _reduced(x: Any, reduction: str) -> Any:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction; 'mean', 'sum' and 'none' are")
    return x if reduction == "none" else F.mean(x) if reduction == "mean" else F.sum(x)


def _same_size(input: Any, target: Any) -> None:
    if input.shape != target.shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will "
            "likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=3,
        )


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """(input - target)², reduced."""
    _same_size(input, target)
    return _reduced(math.square(math.subtract(input, target)), reduction)


def l1_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """|input - target|, reduced."""
    _same_size(input, target)
    return _reduced(math.abs(math.subtract(input, target)), reduction)


def cross_entropy(input: Any, target: Any, reduction: str = "mean") -> Any:
    """Softmax cross-entropy: input (rows, classes, ...), target integers (rows, ...), or a distribution like input."""
    if input.array.ndim > 2:
        input = input.permute(0, *range(2, input.array.ndim), 1)
        target = target.permute(0, *range(2, target.array.ndim), 1) if target.array.ndim == input.array.ndim else target
    if target.array.dtype.kind == "f":
        rows = math.negative(F.sum(math.multiply(target, log_softmax(input, -1)), -1))
        return _reduced(rows, reduction)
    return loss.cross_entropy(input, target, reduction)


def nll_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """The negative of the log-probability of the right class."""
    return _reduced(math.negative(input.gather(-1, target.unsqueeze(-1)).squeeze(-1)), reduction)


def binary_cross_entropy_with_logits(input: Any, target: Any, reduction: str = "mean") -> Any:
    """The cross-entropy of yes-or-no answers: softplus(x) - x target, reduced."""
    return _reduced(math.subtract(softplus(input), math.multiply(input, target)), reduction)
