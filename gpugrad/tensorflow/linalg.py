"""tf.linalg."""

from __future__ import annotations

from ..ops import linalg, shape
from .functions import LINALG, pick
from .tensor import spoken

globals().update(pick(LINALG))
tensordot, matrix_transpose = spoken(linalg.tensordot), spoken(shape.matrix_transpose)
