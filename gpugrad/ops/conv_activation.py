"""Convolution, bias and an activation as one op: the activation writes over what it is given, and keeps its output."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..core import raw
from ..op import op
from .blocks import pointwise_over
from .channels_last import back, channel_sums, lies, turned
from .conv import _conv_nd, conv_input, conv_op, conv_weight, convolved, handed
from .examples import conv_batch
from .linear import ACTIVATIONS, over_output


def _over(f: Callable[..., Any], g: Any, out: Any) -> Any:
    """f(xp, g, out), written over g where both have their elements in one order."""
    if lies(g) and lies(out):
        return back(pointwise_over(f, turned(g), turned(out)))
    return pointwise_over(f, g, out)


def _made(activation: str) -> Any:
    """The op of an activation whose pullback goes by its output."""
    rule: Callable[..., Any] = lambda g, out: ACTIVATIONS[activation].op.rules[0](g, (None, out), g.shape)

    def forward(xp: Any, x: Any, w: Any, bias: Any, *, at: Any, groups: int) -> Any:
        f = partial(over_output, activation) if xp is np else ACTIVATIONS[activation]
        return handed(convolved(xp, x, w, bias, at, groups, f), at)

    return op(
        forward,
        name=f"conv_{activation}",
        batch=conv_batch,
        via=rule,
        over=lambda g, out: _over(lambda xp, g, out: rule(g, out), g, out),
        x=lambda p, w, at, groups: conv_input(p, w, at=at, groups=groups),
        w=lambda p, x, at, groups: conv_weight(p, x, at=at, groups=groups),
        bias=lambda p: channel_sums(p),
        last="x",
    )


conv_relu, conv_sigmoid, conv_tanh = _made("relu"), _made("sigmoid"), _made("tanh")
_ONE = {None: conv_op, "relu": conv_relu, "sigmoid": conv_sigmoid, "tanh": conv_tanh}


def conv(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    activation: str | None = None,
) -> Any:
    """`conv1d`, `conv2d` or `conv3d`, as the axes of w say, then the activation by name, as `linear` has it.

    ValueError for an unknown activation, and as `conv2d`.
    """
    if activation is not None and activation not in ACTIVATIONS:
        raise ValueError(f"conv: activation is one of {sorted(ACTIVATIONS)} or None, not {activation!r}")
    made = _ONE.get(activation)
    y = _conv_nd(raw(w).ndim - 2, x, w, bias, stride, padding, dilation, groups, made or conv_op)
    return y if made is not None or activation is None else ACTIVATIONS[activation](y)
