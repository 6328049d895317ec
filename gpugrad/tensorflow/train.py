"""tf.train: the core's checkpoints."""

from __future__ import annotations

from .. import checkpoints as _core
from ..checkpoints import CheckpointManager as CheckpointManager, latest_checkpoint as latest_checkpoint
from .errors import NotFoundError
from .tensor import ResourceVariable


class Checkpoint(_core.Checkpoint):
    """Variables, modules and optimizers by name: save(prefix), restore(path)."""

    _counter, _absent = ResourceVariable, NotFoundError
