"""Fourier transforms.  Half types and integers are computed in float32, single precision stays single.

A pullback is a transform: of `fft` the same one, since its matrix is symmetric; of `rfft` an `irfft`, and back, with
the weight of each frequency that stands for two.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..array import xp as xp_of
from ..core import raw
from ..dtypes import complex64
from ..forward import boxed, checked_axes
from ..op import op
from .casting import astype
from .index import getitem
from .math import conj
from .matrices import bar, widened
from .pad import pad
from .shape import roll

# The scale of the transform back by which a transform is pulled back: none for "backward", 1 / n for "forward".
_TURNED = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


# ---------------------------------------------------------------------------------------------- transforms
@op(x=lambda g, axes, norm: _fft(g, axes=axes, norm=norm), name="fft", batch="along", linear=True)
def _fft(xp: Any, x: Any, *, axes: tuple[int, ...], norm: str) -> Any:
    return xp.fft.fftn(x, axes=axes, norm=norm)


@op(x=lambda g, axes, norm: _ifft(g, axes=axes, norm=norm), name="ifft", batch="along", linear=True)
def _ifft(xp: Any, x: Any, *, axes: tuple[int, ...], norm: str) -> Any:
    return xp.fft.ifftn(x, axes=axes, norm=norm)


def _weighted(g: Any, n: int, axis: int, weight: float) -> Any:
    """g with this weight on the frequencies that stand for two: all but 0 and, of an even n, the last."""
    xp, shape = xp_of(raw(g)), [1] * raw(g).ndim
    shape[axis] = raw(g).shape[axis]
    k = xp.arange(shape[axis]).reshape(shape)
    return g * xp.where((k == 0) | (2 * k == n), 1, weight).astype(raw(g).real.dtype)


def _rfft_rule(g: Any, shape: tuple[int, ...], axis: int, norm: str) -> Any:
    n = shape[axis]
    return _irfft(_weighted(conj(g), n, axis, 0.5), n=n, axis=axis, norm=_TURNED[norm])


@op(x=_rfft_rule, name="rfft", batch="along", linear=True)
def _rfft(xp: Any, x: Any, *, axis: int, norm: str) -> Any:
    return xp.fft.rfft(x, axis=axis, norm=norm)


def _irfft_rule(g: Any, n: int, axis: int, norm: str) -> Any:
    return _weighted(conj(_rfft(g, axis=axis, norm=_TURNED[norm])), n, axis, 2)


@op(x=_irfft_rule, name="irfft", batch="along", linear=True)
def _irfft(xp: Any, x: Any, *, n: int, axis: int, norm: str) -> Any:
    return xp.fft.irfft(x, n, axis, norm)


# ---------------------------------------------------------------------------------------------- arguments
def _checked(name: str, x: Any, s: Any, axes: Any, norm: str | None) -> tuple[Any, list[int], tuple[int, ...], str]:
    """(x, the length along each axis, axes, norm) for x in single precision or more.  ValueError for the rest."""
    x = widened(boxed(x, name))
    shape = raw(x).shape
    norm = "backward" if norm is None else norm
    if norm not in _TURNED:
        raise ValueError(f"{name}: norm is 'backward', 'ortho' or 'forward', not {norm!r}")
    if s is not None and axes is not None and len(s) != len(axes):
        raise ValueError(f"{name}: s {tuple(s)} and axes {tuple(axes)} differ in length")
    if s is not None and len(s) > len(shape):
        raise ValueError(f"{name}: s {tuple(s)} has more lengths than x has axes, {len(shape)}")
    axes = range(-len(shape) if s is None else -len(s), 0) if axes is None else axes
    axes = checked_axes(name, tuple(axes), len(shape))
    lengths = [shape[a] for a in axes] if s is None else [operator.index(n) for n in s]
    lengths = [shape[a] if n == -1 else n for n, a in zip(lengths, axes)]
    if min(lengths, default=1) < 1:
        raise ValueError(f"{name}: lengths are 1 or more, given {tuple(lengths)} for x of shape {shape}")
    return x, lengths, axes, norm


def _resized(x: Any, lengths: Sequence[int], axes: Sequence[int]) -> Any:
    """x cut, or with zeros at the end, to these lengths."""
    keep, more = [slice(None)] * raw(x).ndim, [(0, 0)] * raw(x).ndim
    for n, axis in zip(lengths, axes):
        own = raw(x).shape[axis]
        if n < own:
            keep[axis] = slice(n)
        elif n > own:
            more[axis] = (0, n - own)
    x = getitem(x, tuple(keep)) if any([k.stop is not None for k in keep]) else x
    return pad(x, more) if any([b for _, b in more]) else x


def _complex(name: str, f: Any, x: Any, s: Any, axes: Any, norm: str | None) -> Any:
    x, lengths, axes, norm = _checked(name, x, s, axes, norm)
    x = _resized(x, lengths, axes)
    return f(x, axes=axes, norm=norm) if axes else astype(x, np.result_type(raw(x).dtype, complex64))


def _from_real(name: str, x: Any, s: Any, axes: Any, norm: str | None) -> Any:
    x, lengths, axes, norm = _checked(name, x, s, axes, norm)
    if raw(x).dtype.kind == "c":
        raise TypeError(f"{name}: x is real, given {raw(x).dtype}; fft takes complex numbers")
    if not axes:
        raise ValueError(f"{name}: x has at least one axis to be transformed")
    x = _rfft(_resized(x, lengths, axes), axis=axes[-1], norm=norm)
    return _fft(x, axes=axes[:-1], norm=norm) if axes[:-1] else x


def _to_real(name: str, x: Any, s: Any, axes: Any, norm: str | None) -> Any:
    """`s` of the result; None or -1: the last length is twice what is there, less two."""
    x = boxed(x, name)
    shape = raw(x).shape
    axes = checked_axes(name, axes, len(shape))
    if not axes:
        raise ValueError(f"{name}: x has at least one axis to be transformed")
    s = [shape[a] for a in axes[:-1]] + [-1] if s is None else list(s)
    if s and s[-1] == -1:
        s[-1] = 2 * (shape[axes[-1]] - 1)
    x, lengths, axes, norm = _checked(name, x, s, axes, norm)
    n = lengths[-1]
    x = _resized(x, [*lengths[:-1], n // 2 + 1], axes)
    x = astype(x, np.result_type(raw(x).dtype, complex64))
    x = _ifft(x, axes=axes[:-1], norm=norm) if axes[:-1] else x
    return _irfft(x, n=n, axis=axes[-1], norm=norm)


def _one(name: str, n: int | None) -> tuple[int] | None:
    if n is not None and n < 1:
        raise ValueError(f"{name}: n is 1 or more, not {n}")
    return None if n is None else (n,)


# ---------------------------------------------------------------------------------------------- one axis
def fft(x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """Σ_t x_t exp(-2πi k t / n) along `axis`, for k from 0 to n - 1.

    n: x is cut to this length, or filled with zeros at the end.  norm: "backward" (None) has the factor 1 / n in the
    inverse, "forward" here, "ortho" 1 / √n in both.  float32 gives complex64.  ValueError for an axis that is not
    there, n below 1 and another norm.
    """
    return _complex("fft", _fft, x, _one("fft", n), (axis,), norm)


def ifft(x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """1 / n Σ_k x_k exp(2πi k t / n) along `axis`, the inverse of `fft`, with its arguments."""
    return _complex("ifft", _ifft, x, _one("ifft", n), (axis,), norm)


def rfft(x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """`fft` of real x, of which the first n // 2 + 1 frequencies say all.  TypeError for complex x."""
    return _from_real("rfft", x, _one("rfft", n), (axis,), norm)


def irfft(x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The inverse of `rfft`: n real numbers (None: 2 (m - 1)) from their first m = n // 2 + 1 frequencies.

    The imaginary parts of frequency 0 and, of an even n, of the last do not count.
    """
    return _to_real("irfft", x, _one("irfft", n), (axis,), norm)


def hfft(x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """`fft` of the n numbers (None: 2 (m - 1)) of which x has the first m, and the rest are conjugates: real."""
    x = bar(widened(boxed(x, "hfft")))
    return _to_real("hfft", x, _one("hfft", n), (axis,), _TURNED.get(norm or "backward", norm))


def ihfft(x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The inverse of `hfft`, of real x.  TypeError for complex x."""
    return conj(_from_real("ihfft", x, _one("ihfft", n), (axis,), _TURNED.get(norm or "backward", norm)))


# ---------------------------------------------------------------------------------------------- several axes
Lengths = Sequence[int] | None
Axes = Sequence[int] | None


def fftn(x: Any, s: Lengths = None, axes: Axes = None, norm: str | None = None) -> Any:
    """`fft` along several axes (None: as many of the last as `s` has, or all); s: the length along each, -1 its own.

    ValueError for an axis that is named twice: transform in turn.
    """
    return _complex("fftn", _fft, x, s, axes, norm)


def ifftn(x: Any, s: Lengths = None, axes: Axes = None, norm: str | None = None) -> Any:
    """The inverse of `fftn`."""
    return _complex("ifftn", _ifft, x, s, axes, norm)


def rfftn(x: Any, s: Lengths = None, axes: Axes = None, norm: str | None = None) -> Any:
    """`fftn` of real x, of which the last axis has the first n // 2 + 1 frequencies.  TypeError for complex x."""
    return _from_real("rfftn", x, s, axes, norm)


def irfftn(x: Any, s: Lengths = None, axes: Axes = None, norm: str | None = None) -> Any:
    """The inverse of `rfftn`; s: the shape of the result along `axes`."""
    return _to_real("irfftn", x, s, range(-len(s), 0) if axes is None and s is not None else axes, norm)


def fft2(x: Any, s: Lengths = None, axes: Axes = (-2, -1), norm: str | None = None) -> Any:
    """`fftn` along two axes."""
    return _complex("fft2", _fft, x, s, axes, norm)


def ifft2(x: Any, s: Lengths = None, axes: Axes = (-2, -1), norm: str | None = None) -> Any:
    """`ifftn` along two axes."""
    return _complex("ifft2", _ifft, x, s, axes, norm)


def rfft2(x: Any, s: Lengths = None, axes: Axes = (-2, -1), norm: str | None = None) -> Any:
    """`rfftn` along two axes."""
    return _from_real("rfft2", x, s, axes, norm)


def irfft2(x: Any, s: Lengths = None, axes: Axes = (-2, -1), norm: str | None = None) -> Any:
    """`irfftn` along two axes."""
    return _to_real("irfft2", x, s, axes, norm)


# ---------------------------------------------------------------------------------------------- order
def _shifted(name: str, x: Any, axes: int | Sequence[int] | None, up: bool) -> Any:
    x = boxed(x, name)
    shape = raw(x).shape
    axes = checked_axes(name, axes, len(shape))
    return roll(x, tuple([shape[a] // 2 if up else -(shape[a] // 2) for a in axes]), axes)


def fftshift(x: Any, axes: int | Sequence[int] | None = None) -> Any:
    """Frequency 0 in the middle of each of the axes (None: all)."""
    return _shifted("fftshift", x, axes, True)


def ifftshift(x: Any, axes: int | Sequence[int] | None = None) -> Any:
    """The inverse of `fftshift`."""
    return _shifted("ifftshift", x, axes, False)
