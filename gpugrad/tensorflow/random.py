"""tf.random.  `seed=` draws from a sequence of its own, which that number and set_seed's determine."""

from .. import random as _core
from .functions import under

globals().update(under("random"))
set_seed = _core.seed
