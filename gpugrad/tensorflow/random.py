"""tf.random."""

from __future__ import annotations

from ..random import seed as set_seed
from .functions import normal, uniform

__all__ = ["normal", "set_seed", "uniform"]
