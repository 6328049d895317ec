"""Convolutions and their transposes as layers.  Names, defaults and the layout of the weights are PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from .. import random
from ..core import raw
from ..ops import conv as ops
from ..ops.conv_activation import conv
from ..ops.linear import ACTIVATIONS
from ..ops.pad import pad
from ..ops.windows import Lengths, numbers, pairs, place, spatial
from .lazy_sizes import Sized

_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


class _Convolution(Sized):
    """What convolutions and their transposes have in common."""

    _size = "in_channels"
    in_channels: Any  # None until the first input has come
    _axes: ClassVar[int]
    _modes: ClassVar[tuple[str, ...]] = tuple(_MODES)

    def _set(
        self, in_channels: Any, out_channels: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
        groups: Any, bias: bool, padding_mode: str, activation: str | None,
    ) -> None:  # fmt: skip
        name, n = type(self).__name__, self._axes
        (self.out_channels,) = numbers(name, "out_channels", out_channels, 1, 1)
        (self.groups,) = numbers(name, "groups", groups, 1, 1)
        self.in_channels = in_channels if in_channels is None else numbers(name, "in_channels", in_channels, 1, 1)[0]
        self.kernel_size = numbers(name, "kernel_size", kernel_size, n, 1)
        self.stride = numbers(name, "stride", stride, n, 1)
        self.dilation = numbers(name, "dilation", dilation, n, 1)
        if self.out_channels % self.groups:
            raise ValueError(f"{name}: {out_channels} channels out do not make {self.groups} equal groups")
        if padding not in ("same", "valid"):
            pairs(name, padding, n)
        self.padding = (padding,) * n if hasattr(padding, "__index__") else padding
        if padding_mode not in self._modes:
            raise ValueError(f"{name}: padding_mode is one of {list(self._modes)}, not {padding_mode!r}")
        if activation is not None and activation not in ACTIVATIONS:
            raise ValueError(f"{name}: activation is one of {sorted(ACTIVATIONS)} or None, not {activation!r}")
        self.padding_mode, self.activation = padding_mode, activation
        self._with_bias = bias

    def _shape(self) -> Lengths:
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    def _make(self, dtype: Any, device: Any) -> None:
        if self.in_channels % self.groups:
            raise ValueError(
                f"{type(self).__name__}: {self.in_channels} channels do not make {self.groups} equal groups"
            )
        shape = self._shape()
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        draw = lambda shape: random.uniform(shape, -bound, bound, dtype=dtype, device=device)
        self.weight = self._parameter(draw(shape), "weight")
        self.bias = self._parameter(draw((self.out_channels,)), "bias") if self._with_bias else None

    def _seen(self, x: Any) -> int:
        spatial(type(self).__name__, raw(x).shape, self._axes)
        return raw(x).shape[-self._axes - 1]

    def _told(self, shapes: Mapping[str, Lengths]) -> int | None:
        return shapes["weight"][1] * self.groups if "weight" in shapes else None

    def _checked(self, x: Any) -> None:
        """ValueError if x is not what the layer was made for."""
        name, shape = type(self).__name__, raw(x).shape
        spatial(name, shape, self._axes)
        if shape[-self._axes - 1] != self.in_channels:
            raise ValueError(
                f"{name}: made for {self.in_channels} channels, (batch, {self.in_channels}, *{self._axes} axes), given "
                f"{shape[-self._axes - 1]} in an array of shape {shape}"
                + ". Channels come first: gg.moveaxis(x, -1, 1)"
                * (shape[-1] == self.in_channels and len(shape) > self._axes + 1)
            )

    def extra_repr(self) -> str:
        """What stands between the brackets when it is printed, as PyTorch has it."""
        plain = {"padding": (0,) * self._axes, "dilation": (1,) * self._axes, "groups": 1, "padding_mode": "zeros"}
        plain |= {"output_padding": (0,) * self._axes, "activation": None}
        given = {k: v for k in plain if (v := getattr(self, k, plain[k])) != plain[k]}
        if not self._with_bias:
            given["bias"] = False
        sizes = {"kernel_size": self.kernel_size, "stride": self.stride}
        words = [f"{k}={v}" for k, v in {**sizes, **given}.items()]
        return ", ".join([str(self.in_channels), str(self.out_channels), *words])


class _Conv(_Convolution):
    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        activation: str | None = None,
    ) -> None:
        self._set(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, activation
        )
        self._sized(dtype, device)

    def forward(self, input: Any) -> Any:
        self._checked(input)
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = self._padded(input), 0
        return conv(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups, self.activation)

    def _padded(self, x: Any) -> Any:
        """x with the elements around it that the mode says."""
        shape, n = raw(x).shape, self._axes
        _, around = place(
            type(self).__name__, shape[-n:], self.kernel_size, self.stride, self.padding, self.dilation, same=True
        )
        return pad(x, [(0, 0)] * (len(shape) - n) + around, _MODES[self.padding_mode])


class _ConvTranspose(_Convolution):
    _modes = ("zeros",)
    _function: ClassVar[Any]

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        activation: str | None = None,
    ) -> None:
        self.output_padding = numbers(type(self).__name__, "output_padding", output_padding, self._axes, 0)
        self._set(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, activation
        )
        self._sized(dtype, device)

    def _told(self, shapes: Mapping[str, Lengths]) -> int | None:
        return shapes["weight"][0] if "weight" in shapes else None

    def _shape(self) -> Lengths:
        return (self.in_channels, self.out_channels // self.groups, *self.kernel_size)

    def forward(self, input: Any, output_size: Any = None) -> Any:
        """The output; with `output_size`, the lengths of its last axes, by the padding at its end that makes them."""
        self._checked(input)
        more = self.output_padding if output_size is None else self._missing(raw(input).shape, output_size)
        y = self._function(input, self.weight, self.bias, self.stride, self.padding, more, self.groups, self.dilation)
        return y if self.activation is None else ACTIVATIONS[self.activation](y)

    def _missing(self, shape: Lengths, output_size: Any) -> Lengths:
        """The output_padding that makes this size.  ValueError if none does."""
        name, n = type(self).__name__, self._axes
        if isinstance(self.padding, str):
            raise ValueError(f"{name}: output_size does not go with padding={self.padding!r}, which says the size")
        if not hasattr(output_size, "__index__") and len(output_size) == len(shape):
            output_size = output_size[-n:]  # as x.size() is, with batch and channels
        size = numbers(name, "output_size", output_size, n, 1)
        least = [
            (m - 1) * s + d * (k - 1) + 1 - a - b
            for m, s, d, k, (a, b) in zip(
                shape[-n:], self.stride, self.dilation, self.kernel_size, pairs(name, self.padding, n)
            )
        ]
        if [1 for m, low, s, d in zip(size, least, self.stride, self.dilation) if not low <= m < low + max(s, d)]:
            most = [low + max(s, d) - 1 for low, s, d in zip(least, self.stride, self.dilation)]
            raise ValueError(f"{name}: output_size is from {least} to {most} for an input of shape {shape}, not {size}")
        return tuple([m - low for m, low in zip(size, least)])


class Conv1d(_Conv):
    """`conv1d` of x (batch, in_channels, length) with a weight of its own: see `Conv2d`."""

    _axes = 1


class Conv2d(_Conv):
    """`conv2d` of x (batch, in_channels, height, width) with a weight (out_channels, in_channels / groups, *kernel).

    in_channels    None: as many as the first input has
    padding        a number, one for each axis or pairs; "same"; "valid"; of what is there: padding_mode "zeros",
                   "reflect", "replicate" or "circular"
    activation     by name, as `Linear` has it
    Weight and bias are drawn from U(-b, b), b = 1 / √(in_channels / groups ∏ kernel), PyTorch's default.
    ValueError for arguments out of range, and for an input of other channels.
    """

    _axes = 2


class Conv3d(_Conv):
    """`conv3d` of x (batch, in_channels, depth, height, width) with a weight of its own: see `Conv2d`."""

    _axes = 3


class ConvTranspose1d(_ConvTranspose):
    """`conv_transpose1d` of x (batch, in_channels, length) with a weight of its own: see `ConvTranspose2d`."""

    _axes, _function = 1, staticmethod(ops.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose):
    """`conv_transpose2d` of x (batch, in_channels, height, width): the transpose of a `Conv2d` as a linear map.

    The weight is (in_channels, out_channels / groups, *kernel), drawn as that of `Conv2d` from U(-b, b) with
    b = 1 / √(out_channels / groups ∏ kernel), PyTorch's default.  Arguments as there, and `output_padding`, or an
    `output_size` in the call, for the size that the stride leaves open.
    """

    _axes, _function = 2, staticmethod(ops.conv_transpose2d)


class ConvTranspose3d(_ConvTranspose):
    """`conv_transpose3d` of x (batch, in_channels, depth, height, width): see `ConvTranspose2d`."""

    _axes, _function = 3, staticmethod(ops.conv_transpose3d)
