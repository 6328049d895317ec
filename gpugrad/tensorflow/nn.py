"""tf.nn."""

from .functions import NN_SAME, under
from .rows import later_of

globals().update({**NN_SAME, **under("nn")})
__getattr__, __dir__ = later_of(__name__)
