"""tf.nn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core import raw
from ..op import findable
from ..ops import activation, loss, math, reduce
from .functions import named, pick, row
from .tensor import convert_to_tensor, spoken


def _last(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axis: f(x, axis=-1 if axis is None else axis)


SAME = findable({n: spoken(f) for n, f in {
    "relu": activation.relu, "sigmoid": activation.sigmoid, "tanh": math.tanh, "softplus": activation.softplus,
    "silu": activation.silu, "swish": activation.silu, "elu": activation.elu,
}.items()}, __name__)  # fmt: skip
ROWS = named({
    "bias_add": row(lambda x, bias: math.add(x, bias), "value, bias, -data_format=None",
        "The value with a bias for each place of its last axis."),
    "gelu": row(lambda x, tanh: activation.gelu(x, approximate="tanh" if tanh else "none"),
        "features, approximate:tanh=False", "x times the normal distribution function of x, or its approximation."),
    "l2_loss": row(lambda x: math.multiply(reduce.sum(math.square(x)), 0.5), "t", "Half the sum of squares."),
    "leaky_relu": row(activation.leaky_relu, "features, alpha:negative_slope=0.2", "x where positive, else alpha x."),
    "log_softmax": row(_last(activation.log_softmax), "logits, axis=None", "The logarithm of softmax."),
    "sigmoid_cross_entropy_with_logits": row(lambda y, x: loss.sigmoid_xent(convert_to_tensor(x), y),
        "labels=None, logits:x=None", "The cross-entropy of a yes-or-no answer in each place."),
    "softmax": row(_last(activation.softmax), "logits, axis=None", "exp(logits) over their sum along `axis`."),
    "softmax_cross_entropy_with_logits": row(
        lambda y, x, axis: math.negative(reduce.sum(math.multiply(activation.log_softmax(x, axis=axis), y), axis=axis)),
        "labels, logits:x, axis=-1", "The cross-entropy of each row with its distribution."),
    "sparse_softmax_cross_entropy_with_logits": row(
        lambda labels, x: loss.label_rows(convert_to_tensor(x), raw(labels), logits=True), "labels, logits:x",
        "The cross-entropy of each row with its integer label."),
}, __name__)  # fmt: skip
globals().update({**SAME, **ROWS, **pick(["l2_normalize", "top_k", "log_sigmoid"])})
