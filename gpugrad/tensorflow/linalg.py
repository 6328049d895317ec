"""tf.linalg."""

from .functions import under

globals().update(under("linalg"))
