"""tf.math."""

from __future__ import annotations

from .functions import MATH, SAME, pick

globals().update({**SAME, **pick(MATH)})
