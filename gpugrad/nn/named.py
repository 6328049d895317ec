"""Layers without parameters, a row each: the function that it calls, its inputs and its options, as PyTorch's class.

Of the options, `name:other` is one that the function calls `other`; `-name` is taken and ignored.  A class is made when
somebody first asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..adapt import adapted, later
from ..habits import NN
from ..ops import (
    activation,
    adaptive_pool,
    distance,
    divergence,
    margin,
    math,
    piecewise,
    pixels,
    pool,
    shape,
    softmax,
    unfold,
)
from ..ops.ctc import ctc_loss
from ..ops.interpolate import interpolate
from ..ops.loss import mse_loss
from ..ops.options import pad
from . import classes
from .layers import layer_of

Row = tuple[Callable[..., Any], str, str]

_MODE, _WEIGHT = "reduction='mean'", "weight=None, reduction='mean'"
_LABELS = "weight=None, ignore_index=-100, reduction='mean'"
_POOL = "kernel_size:kernel, stride=None, padding=0"
_WINDOWS = "kernel_size:kernel, dilation=1, padding=0, stride=1"
_TWO, _PAIR = "input, +target", "x1, +x2"


def _identity(x: Any) -> Any:
    """x."""
    return x


def _softmax2d(x: Any) -> Any:
    """`softmax` over the channels of x (batch, channels, height, width)."""
    return softmax.softmax(x, -3)


def _padding(n: int, mode: str) -> Callable[..., Any]:
    def padded(x: Any, padding: Any, value: Any = None) -> Any:
        widths = [padding] * (2 * n) if hasattr(padding, "__index__") else list(padding)
        if len(widths) != 2 * n:
            raise ValueError(f"padding is a number, or {2 * n} of them, those of the last axis first; given {padding}")
        return pad(x, widths, mode, value)

    padded.__doc__ = f"x with more elements at both ends of its last {n} axes, mode {mode!r}; fewer where negative."
    return padded


def _nearest(x: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """`interpolate` x (batch, channels, height, width) to the nearest elements."""
    return interpolate(x, size, scale_factor, "nearest")


def _bilinear(x: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """`interpolate` x (batch, channels, height, width) between the four elements around; corners are aligned."""
    return interpolate(x, size, scale_factor, "bilinear", True)


ROWS: dict[str, Row] = {
    # activations
    **{name: (f, "input", "-inplace=False") for name, f in {
        "ReLU": activation.relu, "ReLU6": piecewise.relu6, "SELU": piecewise.selu, "SiLU": activation.silu,
        "Mish": activation.mish, "Hardsigmoid": piecewise.hardsigmoid, "Hardswish": piecewise.hardswish,
    }.items()},
    **{name: (f, "input", "") for name, f in {
        "Sigmoid": activation.sigmoid, "Tanh": math.tanh, "LogSigmoid": activation.log_sigmoid,
        "Softsign": piecewise.softsign, "Tanhshrink": piecewise.tanhshrink, "Softmax2d": _softmax2d,
        "Identity": _identity,
    }.items()},
    "GELU": (activation.gelu, "input", "approximate='none'"),
    "ELU": (piecewise.elu, "input", "alpha=1.0, -inplace=False"),
    "CELU": (piecewise.celu, "input", "alpha=1.0, -inplace=False"),
    "LeakyReLU": (piecewise.leaky_relu, "input", "negative_slope=0.01, -inplace=False"),
    "Hardtanh": (piecewise.hardtanh, "input", "min_val=-1.0, max_val=1.0, -inplace=False"),
    "Hardshrink": (piecewise.hardshrink, "input", "lambd=0.5"),
    "Softshrink": (piecewise.softshrink, "input", "lambd=0.5"),
    "Threshold": (piecewise.threshold, "input", "threshold, value, -inplace=False"),
    "Softplus": (activation.softplus, "input", "beta=1.0, threshold=20.0"),
    "GLU": (piecewise.glu, "input", "dim:axis=-1"),
    "Softmax": (classes.implicit(softmax.softmax), "input", "dim=None"),
    "Softmin": (classes.implicit(softmax.softmin), "input", "dim=None"),
    "LogSoftmax": (classes.implicit(softmax.log_softmax), "input", "dim=None"),
    # pooling and places
    **{f"MaxPool{n}d": (f, "input", f"{_POOL}, dilation=1, return_indices=False, ceil_mode=False")
       for n, f in enumerate((pool.max_pool1d, pool.max_pool2d, pool.max_pool3d), 1)},
    "AvgPool1d": (pool.avg_pool1d, "input", f"{_POOL}, ceil_mode=False, count_include_pad=True"),
    **{f"AvgPool{n}d": (f, "input", f"{_POOL}, ceil_mode=False, count_include_pad=True, divisor_override=None")
       for n, f in enumerate((pool.avg_pool2d, pool.avg_pool3d), 2)},
    **{f"AdaptiveAvgPool{n}d": (getattr(adaptive_pool, f"adaptive_avg_pool{n}d"), "input", "output_size:size")
       for n in (1, 2, 3)},
    **{f"AdaptiveMaxPool{n}d": (getattr(adaptive_pool, f"adaptive_max_pool{n}d"), "input",
                                "output_size:size, return_indices=False") for n in (1, 2, 3)},
    "GlobalAvgPool": (adaptive_pool.global_avg_pool, "input", "keepdims=False"),
    "GlobalMaxPool": (adaptive_pool.global_max_pool, "input", "keepdims=False"),
    "Unfold": (unfold.unfold, "input", _WINDOWS), "Fold": (unfold.fold, "input", f"output_size:size, {_WINDOWS}"),
    "Upsample": (interpolate, "input", "size=None, scale_factor=None, mode='nearest', align_corners=None"),
    "UpsamplingNearest2d": (_nearest, "input", "size=None, scale_factor=None"),
    "UpsamplingBilinear2d": (_bilinear, "input", "size=None, scale_factor=None"),
    **{f"{name}{n}d": (_padding(n, mode), "input", f"padding{value}") for n in (1, 2, 3) for name, mode, value in (
        ("ZeroPad", "constant", ""), ("ConstantPad", "constant", ", value"), ("ReflectionPad", "reflect", ""),
        ("ReplicationPad", "replicate", ""), ("CircularPad", "circular", ""),
    )},
    "PixelShuffle": (pixels.pixel_shuffle, "input", "upscale_factor"),
    "PixelUnshuffle": (pixels.pixel_unshuffle, "input", "downscale_factor"),
    "ChannelShuffle": (pixels.channel_shuffle, "input", "groups"),
    "Flatten": (shape.flatten, "input", "start_dim:start=1, end_dim:end=-1"),
    "Unflatten": (shape.unflatten, "input", "dim:axis, unflattened_size:sizes"),
    "CosineSimilarity": (distance.cosine_similarity, _PAIR, "dim:axis=1, eps=1e-08"),
    "PairwiseDistance": (distance.pairwise_distance, _PAIR, "p=2.0, eps=1e-06, keepdim:keepdims=False"),
    # losses
    "L1Loss": (distance.l1_loss, _TWO, _MODE), "MSELoss": (mse_loss, _TWO, _MODE),
    "CrossEntropyLoss": (classes.cross_entropy, _TWO, f"{_LABELS}, label_smoothing=0.0"),
    "NLLLoss": (classes.nll_loss, _TWO, _LABELS), "BCELoss": (divergence.binary_cross_entropy, _TWO, _WEIGHT),
    "BCEWithLogitsLoss": (divergence.binary_cross_entropy_with_logits, _TWO, f"{_WEIGHT}, pos_weight=None"),
    "HuberLoss": (distance.huber_loss, _TWO, f"{_MODE}, delta=1.0"),
    "SmoothL1Loss": (distance.smooth_l1_loss, _TWO, f"{_MODE}, beta=1.0"),
    "KLDivLoss": (divergence.kl_div, _TWO, f"{_MODE}, log_target=False"),
    "PoissonNLLLoss": (divergence.poisson_nll_loss, _TWO, f"log_input=True, full=False, eps=1e-08, {_MODE}"),
    "GaussianNLLLoss": (divergence.gaussian_nll_loss, f"{_TWO}, +var", f"full=False, eps=1e-06, {_MODE}"),
    "SoftMarginLoss": (margin.soft_margin_loss, _TWO, _MODE),
    "MultiLabelMarginLoss": (margin.multilabel_margin_loss, _TWO, _MODE),
    "MultiLabelSoftMarginLoss": (margin.multilabel_soft_margin_loss, _TWO, _WEIGHT),
    "MultiMarginLoss": (margin.multi_margin_loss, _TWO, f"p=1, margin=1.0, {_WEIGHT}"),
    "HingeEmbeddingLoss": (margin.hinge_embedding_loss, _TWO, f"margin=1.0, {_MODE}"),
    "MarginRankingLoss": (margin.margin_ranking_loss, "input1, +input2, +target", f"margin=0.0, {_MODE}"),
    "CosineEmbeddingLoss": (margin.cosine_embedding_loss, "input1, +input2, +target", f"margin=0.0, {_MODE}"),
    "TripletMarginLoss": (margin.triplet_margin_loss, "anchor, +positive, +negative",
                          f"margin=1.0, p=2.0, eps=1e-06, swap=False, {_MODE}"),
    "CTCLoss": (ctc_loss, "log_probs, +targets, +input_lengths, +target_lengths",
                f"blank=0, {_MODE}, zero_infinity=False"),
}  # fmt: skip


def made(name: str) -> Any:
    """The class of this row."""
    f, inputs, given = ROWS[name]
    call = adapted(f, f"{inputs}, {given}" if given else inputs, None, f.__doc__, align_corners=bool)
    layer = layer_of(name, call, inputs.count(",") + 1)
    layer.__module__ = "gpugrad.nn"
    return layer


__getattr__, __dir__ = later("gpugrad.nn", ROWS, made, NN)
