"""Activations."""

import numpy as np

from gpugrad import nn

from .row import erf, logistic, row, softmax, unary

ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def corner(name, f, reference, *points, low=-2.0, high=2.0, **options):
    """A row for an activation made of pieces: (x, the slope there) for each of its corners."""
    kinks = (((list(x for x, _ in points),), (list(slope for _, slope in points),)),) if points else ()
    return unary(name, f, reference, low, high, kinks=kinks, **options)


def glu(x, axis=-1):
    value, gate = np.split(x, 2, axis)
    return value * logistic(gate)


ROWS = [
    unary("log_sigmoid", nn.log_sigmoid, lambda x: np.log(logistic(x))),
    corner("relu", nn.relu, lambda x: np.maximum(x, 0), (0, 0), (-1, 0), (np.inf, 1), apart=0.1),
    unary("sigmoid", nn.sigmoid, logistic, complex=True),
    corner("relu_mask", nn.relu_mask, lambda x: np.maximum(x, 0), (0, 0), apart=0.1),
    unary("softplus", nn.softplus, lambda x: np.log1p(np.exp(x))),
    unary("softplus beta", lambda x: nn.softplus(x, beta=3.0), lambda x: np.log1p(np.exp(3 * x)) / 3),
    unary("softplus threshold", lambda x: nn.softplus(x, beta=2.0, threshold=0.5),
          lambda x: np.where(2 * x > 0.5, x, np.log1p(np.exp(2 * x)) / 2)),
    unary("silu", nn.silu, lambda x: x * logistic(x), complex=True),
    unary("mish", nn.mish, lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    unary("gelu", nn.gelu, lambda x: x * (1 + erf(x / np.sqrt(2))) / 2),
    unary("gelu tanh", lambda x: nn.gelu(x, approximate="tanh"),
          lambda x: x * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
    corner("leaky_relu", lambda x: nn.leaky_relu(x, negative_slope=0.2), lambda x: np.where(x > 0, x, 0.2 * x), (0, 0.2), apart=0.1),
    corner("leaky_relu negative", lambda x: nn.leaky_relu(x, -0.2), lambda x: np.where(x > 0, x, -0.2 * x), (0, -0.2), apart=0.1),
    corner("elu", lambda x: nn.elu(x, alpha=1.5), lambda x: elu(x, 1.5), (0, 1.5), (-np.inf, 0), (np.inf, 1), apart=0.1),
    corner("elu negative alpha", lambda x: nn.elu(x, alpha=-1.5), lambda x: elu(x, -1.5), (0, -1.5), apart=0.1),
    corner("selu", nn.selu, lambda x: SCALE * elu(x, ALPHA), (0, SCALE * ALPHA), apart=0.1),
    corner("celu", lambda x: nn.celu(x, alpha=0.7), lambda x: np.where(x > 0, x, 0.7 * np.expm1(np.minimum(x, 0) / 0.7)), (0, 1), apart=0.1),
    corner("relu6", lambda x: nn.relu6(x * 4), lambda x: np.clip(x * 4, 0, 6), (0, 0), (1.5, 0), apart=0.1),
    corner("hardtanh", nn.hardtanh, lambda x: np.clip(x, -1, 1), (-1, 0), (1, 0), (0, 1)),
    corner("hardtanh bounds", lambda x: nn.hardtanh(x, -0.5, 1.5), lambda x: np.clip(x, -0.5, 1.5), (-0.5, 0), (1.5, 0)),
    corner("hardsigmoid", nn.hardsigmoid, lambda x: np.clip((x + 3) / 6, 0, 1), (-3, 0), (3, 0), low=-5, high=5),
    corner("hardswish", nn.hardswish, lambda x: x * np.clip(x + 3, 0, 6) / 6, (-3, 0), (3, 1), (-np.inf, 0), low=-5, high=5),
    corner("hardshrink", nn.hardshrink, lambda x: np.where(abs(x) > 0.5, x, 0), (-0.5, 0), (0.5, 0), (0.6, 1)),
    corner("hardshrink lambd", lambda x: nn.hardshrink(x, 0.2), lambda x: np.where(abs(x) > 0.2, x, 0), (0.2, 0)),
    corner("softshrink", nn.softshrink, lambda x: np.sign(x) * np.maximum(abs(x) - 0.5, 0), (-0.5, 0), (0.5, 0), (0.6, 1)),
    corner("softshrink lambd", lambda x: nn.softshrink(x, 0.2), lambda x: np.sign(x) * np.maximum(abs(x) - 0.2, 0), (0.2, 0)),
    corner("threshold", lambda x: nn.threshold(x, 0.3, -1.0), lambda x: np.where(x > 0.3, x, -1.0), (0.3, 0), (0.4, 1)),
    unary("softsign", nn.softsign, lambda x: x / (1 + abs(x)), apart=0.1, kinks=(((0.0,), (1,)),)),
    unary("tanhshrink", nn.tanhshrink, lambda x: x - np.tanh(x), -1, 1, complex=True),
    row("prelu", nn.prelu, lambda x, w: np.where(x > 0, x, w * x), (3, 4), (), apart=0.1, kinks=((([0.0, -2.0], 0.25), ([0.25, 0.25], -2)),)),
    row("prelu channels", nn.prelu, lambda x, w: np.where(x > 0, x, w[:, None] * x), (2, 3, 2), (3,), apart=0.1),
    row("prelu rows", nn.prelu, lambda x, w: np.where(x > 0, x, w * x), (2, 3), (3,), apart=0.1),
    row("glu", nn.glu, glu, (3, 4), complex=True, empty=((0, 4),)),
    row("glu axis", lambda x: nn.glu(x, axis=0), lambda x: glu(x, 0), (4, 3)),
    *[row(f"softmax {a}", lambda x, a=a: nn.softmax(x, axis=a), lambda x, a=a: softmax(x, a)) for a in (0, -1, (0, 1))],
    row("softmin", lambda x: nn.softmin(x, axis=0), lambda x: softmax(-x, 0)),
    *[row(f"log_softmax {a}", lambda x, a=a: nn.log_softmax(x, axis=a), lambda x, a=a: np.log(softmax(x, a))) for a in (0, -1)],
]  # fmt: skip
