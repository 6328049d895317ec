"""torch.optim: the core's optimizers, with PyTorch's names and defaults."""

from __future__ import annotations

from ..adapt import adapted
from ..optim import (
    SGD as CoreSGD,
    Adagrad as CoreAdagrad,
    Adam as CoreAdam,
    AdamW as CoreAdamW,
    Optimizer as Optimizer,
    RMSprop as CoreRMSprop,
)

_HINTS = "-*, maximize=False, -foreach=None, -fused=None"  # which of PyTorch's loops runs makes no difference here
_ADAM = "self, params:variables, lr:learning_rate=1e-3, betas=(0.9,0.999), eps=1e-8, "


class SGD(CoreSGD):
    __init__ = adapted(
        CoreSGD.__init__,
        "self, params:variables, lr:learning_rate=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False, "
        + _HINTS,
    )


class Adam(CoreAdam):
    __init__ = adapted(CoreAdam.__init__, f"{_ADAM}weight_decay=0, amsgrad=False, {_HINTS}, -capturable=False")


class AdamW(CoreAdamW):
    __init__ = adapted(CoreAdamW.__init__, f"{_ADAM}weight_decay=1e-2, amsgrad=False, {_HINTS}, -capturable=False")


class RMSprop(CoreRMSprop):
    __init__ = adapted(
        CoreRMSprop.__init__,
        "self, params:variables, lr:learning_rate=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, "
        "centered=False, -capturable=False, -foreach=None, maximize=False",
    )


class Adagrad(CoreAdagrad):
    __init__ = adapted(
        CoreAdagrad.__init__,
        "self, params:variables, lr:learning_rate=1e-2, lr_decay=0, weight_decay=0, initial_accumulator_value=0, "
        "eps=1e-10, -foreach=None, -*, maximize=False, -fused=None",
    )


for _made in (SGD, Adam, AdamW, RMSprop, Adagrad):
    _made.__doc__ = _made.__base__.__doc__
