"""tf.image."""

from __future__ import annotations

from .functions import adjust_contrast

__all__ = ["adjust_contrast"]
