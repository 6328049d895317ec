"""tf.linalg."""

from ..ops import linalg, shape
from .functions import under
from .tensor import spoken

globals().update(under("linalg"))
tensordot, matrix_transpose = spoken(linalg.tensordot), spoken(shape.matrix_transpose)
