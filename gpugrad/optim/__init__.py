"""Floor 7: optimizers."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import lr_scheduler as lr_scheduler
from .adadelta import Adadelta as Adadelta
from .adagrad import Adagrad as Adagrad
from .adam import Adam as Adam, AdamW as AdamW
from .adamax import Adamax as Adamax
from .clip import clip_grad_norm_ as clip_grad_norm_, clip_grad_value_ as clip_grad_value_
from .grad_scaler import GradScaler as GradScaler, NonFiniteGradients as NonFiniteGradients
from .lamb import LAMB as LAMB
from .lbfgs import LBFGS as LBFGS
from .lion import Lion as Lion
from .muon import Muon as Muon
from .nadam import NAdam as NAdam
from .optimizer import Optimizer as Optimizer
from .radam import RAdam as RAdam
from .rmsprop import RMSprop as RMSprop
from .sgd import SGD as SGD

if TYPE_CHECKING:
    from .ema import EMA as EMA, Accumulator as Accumulator


def __getattr__(name: str) -> Any:
    """Imported when first asked for: averages."""
    if name in ("Accumulator", "EMA"):
        return getattr(import_module("gpugrad.optim.ema"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
