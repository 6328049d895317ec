"""Normalizations as layers.  Names, defaults and the names of what is saved are PyTorch's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..core import Tensor, raw
from ..ops.group_norm import group_norm, instance_norm
from ..ops.windows import numbers
from ..repeat import repeated
from ..tensor import ones, zeros
from .lazy_sizes import Sized
from .normalizing import batch_norm as batch_norm, layer_norm as layer_norm, rms_norm as rms_norm

Shapes = Mapping[str, tuple[int, ...]]


# ---------------------------------------------------------------------------------------------- over the last axes
class _OverLast(Sized):
    _size = "normalized_shape"

    def _set(self, normalized_shape: Any, eps: float | None, elementwise_affine: bool) -> None:
        if normalized_shape is not None:
            n = 1 if hasattr(normalized_shape, "__index__") else len(normalized_shape)
            normalized_shape = numbers(type(self).__name__, "normalized_shape", normalized_shape, n, 1)
        self.normalized_shape, self.eps, self.elementwise_affine = normalized_shape, eps, elementwise_affine

    def _filled(self, f: Any, name: str, dtype: Any, device: Any) -> Any:
        return self._parameter(f(self.normalized_shape, dtype=dtype, device=device), name)

    def _seen(self, x: Any) -> tuple[int, ...]:
        if not np.ndim(raw(x)):
            raise ValueError(f"{type(self).__name__}: takes (..., normalized_shape), given an array of shape ()")
        return raw(x).shape[-1:]

    def _told(self, shapes: Shapes) -> tuple[int, ...] | None:
        return shapes.get("weight")

    def extra_repr(self) -> str:
        """What stands between the brackets when it is printed, as PyTorch has it."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class LayerNorm(_OverLast):
    """`layer_norm` over the last axes, of the lengths `normalized_shape`, with a weight of ones and a bias of zeros.

    normalized_shape    None: the length of the first input's last axis
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int] | None,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self._set(normalized_shape, eps, elementwise_affine)
        self._with_bias = bias
        self._sized(dtype, device)

    def _make(self, dtype: Any, device: Any) -> None:
        affine = self.elementwise_affine
        self.weight = self._filled(ones, "weight", dtype, device) if affine else None
        self.bias = self._filled(zeros, "bias", dtype, device) if affine and self._with_bias else None

    def forward(self, input: Any, residual: Any = None) -> Any:
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps, residual)  # type: ignore[arg-type]


class RMSNorm(_OverLast):
    """`rms_norm` over the last axes, of the lengths `normalized_shape`, with a weight of ones.

    normalized_shape    None: the length of the first input's last axis
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int] | None,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self._set(normalized_shape, eps, elementwise_affine)
        self._sized(dtype, device)

    def _make(self, dtype: Any, device: Any) -> None:
        self.weight = self._filled(ones, "weight", dtype, device) if self.elementwise_affine else None

    def forward(self, input: Any, residual: Any = None) -> Any:
        return rms_norm(input, self.normalized_shape, self.weight, self.eps, residual)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------- a number a channel
class _OverChannels(Sized):
    """What has a weight and a bias for each channel of x (batch, channels, ...), and running statistics."""

    _size = "num_features"
    _ranks: ClassVar[tuple[int, ...]] = ()  # those of the inputs; (): all
    _younger = ("num_batches_tracked",)
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor

    def _set(
        self, num_features: Any, eps: float, momentum: float | None, affine: bool, track: bool, dtype: Any, device: Any
    ) -> None:  # fmt: skip
        if num_features is not None:
            (num_features,) = numbers(type(self).__name__, "num_features", num_features, 1, 1)
        self.num_features, self.eps, self.momentum, self.affine = num_features, eps, momentum, affine
        self.track_running_stats = track
        self._sized(dtype, device)

    def _make(self, dtype: Any, device: Any) -> None:
        made = lambda f: f((self.num_features,), dtype=dtype, device=device)
        self.weight = self._parameter(made(ones), "weight") if self.affine else None
        self.bias = self._parameter(made(zeros), "bias") if self.affine else None
        for name, f in (("running_mean", zeros), ("running_var", ones)):
            self.register_buffer(name, made(f) if self.track_running_stats else None)
        if self.track_running_stats:
            self.register_buffer("num_batches_tracked", zeros((), dtype="int64", device=device))

    def _seen(self, x: Any) -> int:
        self._checked(np.shape(raw(x)))
        return raw(x).shape[1]

    def _told(self, shapes: Shapes) -> int | None:
        told = shapes.get("weight", shapes.get("running_mean"))
        return None if told is None else told[0]

    def _checked(self, shape: tuple[int, ...]) -> None:
        """ValueError for an input that is not (batch, channels, ...), or has other channels than the layer."""
        name, n = type(self).__name__, self.num_features
        if len(shape) < 2 or (self._ranks and len(shape) not in self._ranks):
            ranks = " or ".join(map(str, self._ranks)) + " axes" if self._ranks else "2 axes or more"
            raise ValueError(f"{name}: takes (batch, channels, ...) of {ranks}, given an array of shape {shape}")
        if n is not None and shape[1] != n:
            raise ValueError(f"{name}: made for {n} channels, given {shape[1]} in an array of shape {shape}")

    def _counted(self) -> None:
        """One batch more, unless it is only computed again."""
        if not repeated():
            self.num_batches_tracked.array += 1

    def extra_repr(self) -> str:
        """What stands between the brackets when it is printed, as PyTorch has it."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm(_OverChannels):
    """`batch_norm` of x (batch, channels, ...), of any number of further axes: PyTorch's BatchNorm1d, 2d and 3d.

    num_features    the channels; None: as many as the first input has
    The running mean and variance are buffers: saved with the model, no optimizer changes them.  Without
    `track_running_stats` there are none, and every batch goes by its own.  With a momentum of None they are averages of
    all batches, which the buffer num_batches_tracked counts; on a GPU each step in training then waits for it.
    """

    def __init__(
        self,
        num_features: int | None,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self._set(num_features, eps, momentum, affine, track_running_stats, dtype, device)

    def forward(self, input: Any) -> Any:
        self._checked(np.shape(raw(input)))
        counts = self.training and self.track_running_stats
        momentum = self.momentum
        if momentum is None:
            momentum = 1 / (int(self.num_batches_tracked) + 1) if counts else 0.0
        training = self.training or not self.track_running_stats
        out = batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, training, momentum, self.eps
        )
        if counts:
            self._counted()
        return out


class BatchNorm1d(BatchNorm):
    """`BatchNorm` of x (batch, channels) or (batch, channels, length)."""

    _ranks = (2, 3)


class BatchNorm2d(BatchNorm):
    """`BatchNorm` of x (batch, channels, height, width)."""

    _ranks = (4,)


class BatchNorm3d(BatchNorm):
    """`BatchNorm` of x (batch, channels, depth, height, width)."""

    _ranks = (5,)


class InstanceNorm(_OverChannels):
    """`instance_norm` of x (batch, channels, ...), of any number of further axes: PyTorch's InstanceNorm1d, 2d and 3d.

    num_features    the channels; None: as many as the first input has
    Without `affine` there is no weight and no bias, without `track_running_stats` no running mean and variance, as
    PyTorch's defaults have it.
    """

    def __init__(
        self,
        num_features: int | None,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self._set(num_features, eps, momentum, affine, track_running_stats, dtype, device)

    def forward(self, input: Any) -> Any:
        self._checked(np.shape(raw(input)))
        own = self.training or not self.track_running_stats
        momentum = self.momentum or 0.0
        out = instance_norm(input, self.running_mean, self.running_var, self.weight, self.bias, own, momentum, self.eps)
        if self.training and self.track_running_stats:
            self._counted()
        return out


class InstanceNorm1d(InstanceNorm):
    """`InstanceNorm` of x (batch, channels, length)."""

    _ranks = (3,)


class InstanceNorm2d(InstanceNorm):
    """`InstanceNorm` of x (batch, channels, height, width)."""

    _ranks = (4,)


class InstanceNorm3d(InstanceNorm):
    """`InstanceNorm` of x (batch, channels, depth, height, width)."""

    _ranks = (5,)


class GroupNorm(Sized):
    """`group_norm` of x (batch, channels, ...) over `num_groups` groups of channels.

    num_channels    None: as many as the first input has
    """

    _size = "num_channels"

    def __init__(
        self,
        num_groups: int,
        num_channels: int | None,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        (self.num_groups,) = numbers("GroupNorm", "num_groups", num_groups, 1, 1)
        self.num_channels, self.eps, self.affine = num_channels, eps, affine
        self._sized(dtype, device)

    def _make(self, dtype: Any, device: Any) -> None:
        (n,) = numbers("GroupNorm", "num_channels", self.num_channels, 1, 1)
        if n % self.num_groups:
            raise ValueError(f"GroupNorm: {n} channels do not make {self.num_groups} equal groups")
        made = lambda f: f((n,), dtype=dtype, device=device)
        self.weight = self._parameter(made(ones), "weight") if self.affine else None
        self.bias = self._parameter(made(zeros), "bias") if self.affine else None

    def _seen(self, x: Any) -> int:
        if len(shape := np.shape(raw(x))) < 2:
            raise ValueError(f"GroupNorm: takes (batch, channels, ...), given an array of shape {shape}")
        return shape[1]

    def _told(self, shapes: Shapes) -> int | None:
        return shapes["weight"][0] if "weight" in shapes else None

    def forward(self, input: Any) -> Any:
        if self._seen(input) != self.num_channels:
            raise ValueError(
                f"GroupNorm: made for {self.num_channels} channels, given {raw(input).shape[1]} in an array of shape "
                f"{raw(input).shape}"
            )
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """What stands between the brackets when it is printed, as PyTorch has it."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"
