"""tf.image."""

from .functions import under

globals().update(under("image"))
