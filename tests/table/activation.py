"""Activations."""

import numpy as np

from gpugrad import nn

from .row import erf, logistic, row, softmax, unary

ROWS = [
    unary("log_sigmoid", nn.log_sigmoid, lambda x: np.log(logistic(x))),
    unary("relu", nn.relu, lambda x: np.maximum(x, 0), apart=0.1), unary("sigmoid", nn.sigmoid, logistic),
    unary("relu_mask", nn.relu_mask, lambda x: np.maximum(x, 0), apart=0.1),
    unary("softplus", nn.softplus, lambda x: np.log1p(np.exp(x))), unary("silu", nn.silu, lambda x: x * logistic(x)),
    unary("gelu", nn.gelu, lambda x: x * (1 + erf(x / np.sqrt(2))) / 2),
    unary("gelu tanh", lambda x: nn.gelu(x, approximate="tanh"),
          lambda x: x * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
    unary("leaky_relu", lambda x: nn.leaky_relu(x, negative_slope=0.2), lambda x: np.where(x > 0, x, 0.2 * x), apart=0.1),
    unary("elu", lambda x: nn.elu(x, alpha=1.5), lambda x: np.where(x > 0, x, 1.5 * np.expm1(x)), apart=0.1),
    *[row(f"softmax {a}", lambda x, a=a: nn.softmax(x, axis=a), lambda x, a=a: softmax(x, a), (3, 4)) for a in (0, -1)],
    row("log_softmax", nn.log_softmax, lambda x: np.log(softmax(x))),
]  # fmt: skip
