"""tf.linalg."""

from .functions import under
from .rows import later_of

globals().update(under("linalg"))
__getattr__, __dir__ = later_of(__name__)
