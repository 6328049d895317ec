"""tf.nn."""

from .functions import NN_SAME, under

globals().update({**NN_SAME, **under("nn")})
