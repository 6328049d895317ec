"""tf.image."""

from .rows import later_of

__getattr__, __dir__ = later_of(__name__)
