"""Channels as pixels, pixels as channels, and channels in another order."""

from __future__ import annotations

from typing import Any

from ..core import raw
from ..forward import boxed
from .shape import permute_dims, reshape
from .windows import Lengths, numbers


def _given(name: str, x: Any, what: str, by: Any) -> tuple[Any, Lengths, Lengths, int]:
    """(x, its leading axes, channels and lengths, the number)."""
    x = boxed(x, name)
    shape = raw(x).shape
    if len(shape) < 3:
        raise ValueError(f"{name}: takes (..., channels, height, width), given an array of shape {shape}")
    return x, shape[:-3], shape[-3:], numbers(name, what, by, 1, 1)[0]


def pixel_shuffle(x: Any, upscale_factor: int) -> Any:
    """x (..., channels r², height, width) as (..., channels, height r, width r): Shi et al. 2016.

    ValueError for fewer than three axes, and unless r² divides the channels.
    """
    x, lead, (channels, h, w), r = _given("pixel_shuffle", x, "upscale_factor", upscale_factor)
    if channels % r**2:
        raise ValueError(f"pixel_shuffle: {channels} channels are no multiple of {r}²")
    n = len(lead)
    x = permute_dims(reshape(x, (*lead, channels // r**2, r, r, h, w)), (*range(n + 1), n + 3, n + 1, n + 4, n + 2))
    return reshape(x, (*lead, channels // r**2, h * r, w * r))


def pixel_unshuffle(x: Any, downscale_factor: int) -> Any:
    """x (..., channels, height r, width r) as (..., channels r², height, width): `pixel_shuffle` undone.

    ValueError for fewer than three axes, and unless r divides height and width.
    """
    x, lead, (channels, h, w), r = _given("pixel_unshuffle", x, "downscale_factor", downscale_factor)
    if h % r or w % r:
        raise ValueError(f"pixel_unshuffle: height and width {(h, w)} are no multiples of {r}")
    n = len(lead)
    x = reshape(x, (*lead, channels, h // r, r, w // r, r))
    return reshape(
        permute_dims(x, (*range(n + 1), n + 2, n + 4, n + 1, n + 3)), (*lead, channels * r**2, h // r, w // r)
    )


def channel_shuffle(x: Any, groups: int) -> Any:
    """x (batch, channels, ...) with the first channels of all groups first, then the second ones (Zhang et al. 2018).

    ValueError for fewer than three axes, and unless groups divides the channels.
    """
    x = boxed(x, "channel_shuffle")
    shape = raw(x).shape
    (groups,) = numbers("channel_shuffle", "groups", groups, 1, 1)
    if len(shape) < 3 or shape[1] % groups:
        raise ValueError(
            f"channel_shuffle: takes (batch, channels, ...), the channels a multiple of {groups}; given {shape}"
        )
    x = reshape(x, (shape[0], groups, shape[1] // groups, *shape[2:]))
    return reshape(permute_dims(x, (0, 2, 1, *range(3, len(shape) + 1))), shape)
