"""tf.math."""

from .functions import SAME, under
from .rows import later_of

globals().update({**SAME, **under("math")})
__getattr__, __dir__ = later_of(__name__)
