"""tf.math."""

from .functions import SAME, under

globals().update({**SAME, **under("math")})
