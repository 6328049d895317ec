"""tf.nn."""

from __future__ import annotations

from .functions import NN, NN_SAME, pick

globals().update({**NN_SAME, **pick(NN)})
