"""Floor 7: training: a Trainer that goes on where it was cut off, and the `fit` of models like Keras'."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .fit import (
    Fitted as Fitted,
    History as History,
    accuracy as accuracy,
    batches as batches,
    fit as fit,
    means as means,
    split as split,
    unknown as unknown,
)

if TYPE_CHECKING:
    from .loggers import Console as Console, CSVFile as CSVFile, Logger as Logger, TensorBoard as TensorBoard
    from .run import NonFiniteLossError as NonFiniteLossError, ResumeError as ResumeError
    from .stopping import EarlyStopping as EarlyStopping
    from .trainer import Trainer as Trainer

__all__ = [  # with a star, too, all that is asked for later
    "CSVFile", "Console", "EarlyStopping", "Fitted", "History", "Logger", "NonFiniteLossError", "ResumeError",
    "TensorBoard", "Trainer", "accuracy", "batches", "fit", "means", "split", "unknown",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Imported when first asked for: files and progress bars in notebooks take 50 ms."""
    if name == "Trainer":
        return import_module("gpugrad.train.trainer").Trainer
    if name in ("NonFiniteLossError", "ResumeError"):
        return getattr(import_module("gpugrad.train.run"), name)
    if name in ("Console", "CSVFile", "Logger", "TensorBoard"):
        return getattr(import_module("gpugrad.train.loggers"), name)
    if name == "EarlyStopping":
        return import_module("gpugrad.train.stopping").EarlyStopping
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
