"""tf.image."""

from __future__ import annotations

from typing import Any

from ..op import op
from .tensor import convert_to_tensor


def _adjust_contrast(xp: Any, images: Any, factor: Any) -> Any:
    mean = images.mean((-3, -2), keepdims=True)
    return (images - mean) * factor + mean


_adjust_contrast_op = op(_adjust_contrast, name="AdjustContrastv2")  # without a gradient, as TensorFlow's


def adjust_contrast(images: Any, contrast_factor: Any) -> Any:
    """Each channel's distance from its mean over height and width, scaled.  images (..., height, width, channels).

    Has no gradient: LookupError when it is asked for, unless tf.RegisterGradient has given it one.
    """
    return _adjust_contrast_op(convert_to_tensor(images), convert_to_tensor(contrast_factor))
