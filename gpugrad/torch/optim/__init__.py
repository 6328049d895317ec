"""torch.optim: the core's optimizers, with PyTorch's names and defaults."""

from __future__ import annotations

from typing import Any

from ... import optim as _core
from ...adapt import adapted as _adapted
from ...optim import Optimizer as Optimizer
from . import lr_scheduler as lr_scheduler

_HINTS = "-*, maximize=False, -foreach=None, -fused=None"  # which of PyTorch's loops runs makes no difference here
_LATE = "-*, -foreach=None, maximize=False, -capturable=False"
_FIRST = "self, params:variables, lr:learning_rate="
_ADAM = "betas=(0.9,0.999), eps=1e-8, "


def _door(core: Any, parameters: str) -> Any:
    of = {"__init__": _adapted(core.__init__, _FIRST + parameters), "__doc__": core.__doc__, "__module__": __name__}
    return type(core.__name__, (core,), of)


SGD = _door(_core.SGD, f"1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False, {_HINTS}")
Adam = _door(_core.Adam, f"1e-3, {_ADAM}weight_decay=0, amsgrad=False, {_HINTS}, -capturable=False")
AdamW = _door(_core.AdamW, f"1e-3, {_ADAM}weight_decay=1e-2, amsgrad=False, {_HINTS}, -capturable=False")
RMSprop = _door(
    _core.RMSprop,
    "1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False, -capturable=False, -foreach=None, "
    "maximize=False",
)
Adagrad = _door(
    _core.Adagrad,
    "1e-2, lr_decay=0, weight_decay=0, initial_accumulator_value=0, eps=1e-10, -foreach=None, -*, maximize=False, "
    "-fused=None",
)
Adadelta = _door(
    _core.Adadelta,
    "1.0, rho=0.9, eps=1e-6, weight_decay=0, -foreach=None, -*, -capturable=False, maximize=False",
)
Adamax = _door(_core.Adamax, f"2e-3, {_ADAM}weight_decay=0, -foreach=None, -*, maximize=False, -capturable=False")
NAdam = _door(_core.NAdam, f"2e-3, {_ADAM}weight_decay=0, momentum_decay=4e-3, decoupled_weight_decay=False, {_LATE}")
RAdam = _door(_core.RAdam, f"1e-3, {_ADAM}weight_decay=0, decoupled_weight_decay=False, {_LATE}")
Muon = _door(
    _core.Muon,
    "1e-3, weight_decay=0.1, momentum=0.95, nesterov=True, ns_coefficients=(3.4445,-4.775,2.0315), eps=1e-7, "
    "ns_steps=5, adjust_lr_fn=None",
)
LBFGS = _door(
    _core.LBFGS,
    "1, max_iter=20, max_eval=None, tolerance_grad=1e-7, tolerance_change=1e-9, history_size=100, line_search_fn=None",
)
