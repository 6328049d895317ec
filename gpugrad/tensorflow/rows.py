"""TensorFlow's functions by the parameters that they share; one is made when somebody first asks for it.

`f` is a function of tf, `math.f` one of tf.math; `name=core` says what the core calls it, if it is not the same.  All
of them take `name=`, too.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..adapt import adapted, by_place, later
from ..core import raw
from ..names import found
from ..op import findable
from .errors import InvalidArgumentError
from .tensor import convert_to_tensor

_SEGMENTS = "data, segment_ids"
_CONV = "strides, padding, data_format=None, dilations=None"
ROWS = {
    "x, +y": "equal math.equal greater math.greater greater_equal math.greater_equal less math.less less_equal "
    "math.less_equal logical_and math.logical_and logical_or math.logical_or not_equal math.not_equal math.logical_xor "
    "math.squared_difference=tf.squared_difference truediv=divide math.truediv=divide "
    "math.xlogy=special.xlogy math.xlog1py=special.xlog1py math.divide_no_nan=tf.divide_no_nan "
    "math.multiply_no_nan=tf.multiply_no_nan truncatemod=fmod bitwise.bitwise_and bitwise.bitwise_or "
    "bitwise.bitwise_xor bitwise.left_shift=bitwise_left_shift bitwise.right_shift=bitwise_right_shift",
    "x": "sign math.sign logical_not math.logical_not math.is_finite=isfinite math.is_inf=isinf math.is_nan=isnan "
    "math.log_sigmoid=nn.log_sigmoid math.angle math.digamma=special.digamma "
    "math.lgamma=special.gammaln math.erfc=special.erfc "
    "math.erfinv=special.erfinv math.erfcinv=special.erfcinv math.ndtri=special.ndtri math.bessel_i0=special.i0 "
    "math.bessel_i0e=special.i0e math.bessel_i1=special.i1 math.bessel_i1e=special.i1e linalg.trace=tf.trace "
    "math.reciprocal_no_nan=tf.reciprocal_no_nan bitwise.invert=bitwise_invert",
    "x, +q": "math.zeta=special.zeta",
    "a, +x": "math.polygamma=tf.polygamma math.igamma=special.gammainc math.igammac=special.gammaincc",
    "a, +b": "linalg.cross=cross",
    "x, axis=0, exclusive=False, reverse=False": "cumsum=running_sum math.cumsum=running_sum "
    "math.cumprod=tf.cumprod",
    "x, axis=0, -*, reverse=False": "math.cumulative_logsumexp=tf.cumulative_logsumexp",
    "input_tensor, axis=None, keepdims=False": "reduce_all=all math.reduce_all=all reduce_any=any math.reduce_any=any "
    "math.reduce_std=std math.reduce_variance=var math.reduce_euclidean_norm=tf.euclidean_norm",
    "x, axis=None, epsilon=1e-12": "math.l2_normalize=normalize linalg.l2_normalize=normalize "
    "nn.l2_normalize=normalize",
    "tensor, ord='euclidean', axis=None, keepdims=None": "norm=tf.norm linalg.norm=tf.norm",
    "t, clip_norm:limit, axes:axis=None": "clip_by_norm",
    "t, clip_value_min:min, clip_value_max:max": "clip_by_value=clip",
    "input, k=1, -sorted=True, index_type:dtype='int32'": "math.top_k=tf.top_k nn.top_k=tf.top_k",
    "input, axis=None, output_type:dtype='int64'": "argmax=tf.argmax math.argmax=tf.argmax argmin=tf.argmin "
    "math.argmin=tf.argmin",
    "values, axis=-1, direction='ASCENDING', -stable=False": "argsort=tf.argsort",
    "values, axis=-1, direction='ASCENDING'": "sort=tf.sort",
    # shapes
    "x, dtype": "cast=astype", "input, axis": "expand_dims", "input, axis=None": "squeeze",
    "tensor, shape": "reshape", "input, multiples:repetitions": "tile", "input, repeats, axis=None": "repeat",
    "input, shift, axis": "roll", "tensor, paddings:pad_width, mode='CONSTANT', constant_values=0": "pad=tf.pad",
    "a": "linalg.matrix_transpose=matrix_transpose",
    "a, perm=None, conjugate=False, -name='transpose'": "transpose=tf.transpose",
    "indices, depth:num_classes, on_value:on=None, off_value:off=None, axis=None, dtype=None": "one_hot",
    "input_, begin, size": "slice=window", "tensor, mask, axis=None, -name='boolean_mask'": "boolean_mask",
    "params, indices, -validate_indices=None, axis=None, batch_dims=0": "gather=tf.gather",
    "params, indices": "gather_nd", "x, axes, -shift=None, keepdims=False": "nn.moments=tf.moments",
    "value": "math.zero_fraction=tf.zero_fraction nn.zero_fraction=tf.zero_fraction",
    "sorted_sequence, +values, side='left', out_type:dtype='int32'": "searchsorted=tf.searchsorted",
    "real, +imag": "complex=tf.complex_of",
    # places
    "tensor, +indices, +updates": "tensor_scatter_nd_add=tf.tensor_scatter_nd_add "
    "tensor_scatter_nd_sub=tf.tensor_scatter_nd_sub "
    "tensor_scatter_nd_update=tf.tensor_scatter_nd_update tensor_scatter_nd_max=tf.tensor_scatter_nd_max "
    "tensor_scatter_nd_min=tf.tensor_scatter_nd_min",
    "input, shape": "broadcast_to", "indices, +updates, shape": "scatter_nd",
    "params, ids": "nn.embedding_lookup=tf.embedding_lookup",
    _SEGMENTS: "math.segment_sum math.segment_mean math.segment_prod",
    f"{_SEGMENTS}, num_segments": "math.unsorted_segment_sum=segment_sum math.unsorted_segment_mean=segment_mean "
    "math.unsorted_segment_prod=segment_prod",
    # matrices
    "input": "stop_gradient linalg.det linalg.cholesky linalg.expm=linalg.matrix_exp linalg.slogdet=tf.slogdet "
    "signal.fft=fft.fft "
    "signal.ifft=fft.ifft signal.fft2d=fft.fft2 signal.ifft2d=fft.ifft2",
    "input, adjoint=False": "linalg.inv=tf.inv",
    "matrix": "linalg.adjoint=adjoint linalg.logdet=tf.logdet", "tensor": "linalg.eigh linalg.eigvalsh",
    "matrix, +rhs, adjoint=False": "linalg.solve=tf.solve",
    "matrix, +rhs, lower=True, adjoint=False": "linalg.triangular_solve=tf.triangular_solve",
    "matrix, +rhs, -*, -fast=True": "linalg.lstsq=tf.lstsq", "a, rcond=None": "linalg.pinv",
    "a, tol=None": "linalg.matrix_rank", "input, full_matrices=False": "linalg.qr=tf.qr",
    "tensor, full_matrices=False, compute_uv=True": "linalg.svd=tf.svd",
    "diagonal, -name='diag', k:offset=0": "linalg.diag=diag_embed",
    "input, -name='diag_part', k:offset=0": "linalg.diag_part=tf.diag_part",
    "input_tensor, fft_length:n=None": "signal.rfft=fft.rfft signal.irfft=fft.irfft",
    "x, axes=None": "signal.fftshift=fft.fftshift signal.ifftshift=fft.ifftshift",
    "a, +b, axes": "tensordot linalg.tensordot=tensordot",
    "a, +b, transpose_a=False, transpose_b=False": "matmul=tf.matmul linalg.matmul=tf.matmul",
    "a, +b, transpose_a=False": "linalg.matvec=tf.matvec",
    # networks
    "value, bias, data_format=None": "nn.bias_add=tf.bias_add", "t": "nn.l2_loss=tf.l2_loss",
    "features, alpha:negative_slope=0.2": "nn.leaky_relu", "features, approximate=False": "nn.gelu=tf.gelu",
    "logits, axis=None": "nn.softmax=tf.softmax math.softmax=tf.softmax "
    "nn.log_softmax=tf.log_softmax math.log_softmax=tf.log_softmax",
    "labels, +logits, axis=-1": "nn.softmax_cross_entropy_with_logits=tf.softmax_cross_entropy",
    "labels, +logits": "nn.sparse_softmax_cross_entropy_with_logits=tf.sparse_softmax_cross_entropy",
    "labels=None, +logits=None": "nn.sigmoid_cross_entropy_with_logits=tf.sigmoid_cross_entropy",
    "images, +contrast_factor": "image.adjust_contrast=images.AdjustContrastv2",
    "features": "nn.relu6 nn.selu nn.softsign math.softsign=nn.softsign math.softplus=nn.softplus",
    f"input, +filters:w, {_CONV}": "nn.conv2d=images.convolution nn.conv3d=images.convolution "
    "nn.convolution=images.convolution",
    "input, +filters:w, stride:strides, padding, data_format=None, dilations=None": "nn.conv1d=images.convolution",
    "input, ksize, strides, padding, data_format=None": "nn.max_pool2d=images.max_pool nn.max_pool=images.max_pool "
    "nn.avg_pool2d=images.avg_pool nn.avg_pool=images.avg_pool nn.max_pool1d=images.max_pool "
    "nn.avg_pool1d=images.avg_pool",
    "x, mean, variance, offset, scale, variance_epsilon:epsilon": "nn.batch_normalization=tf.batch_normalization",
    "labels, +logits, pos_weight": "nn.weighted_cross_entropy_with_logits=tf.weighted_cross_entropy",
}  # fmt: skip
_number = lambda n: n if n is None else int(np.ravel(raw(n))[-1])
_TURNED = {
    "num_segments": _number, "fft_length": _number, "shape": lambda shape: np.asarray(shape).tolist(),
    "axes": lambda axes: tuple(axes) if isinstance(axes, list) else axes,
}  # fmt: skip
PLACES = by_place(ROWS, {"math": "", "bitwise": "", "signal": "", "image": ""})


def _operand(x: Any) -> Any:
    return convert_to_tensor(x) if isinstance(x, (list, tuple, np.ndarray)) else x


@cache
def made(name: str, place: str) -> Any:
    """The function of the row that has this name."""
    own, parameters = PLACES[place][name]
    operands = {w[1:].partition("=")[0]: _operand for w in parameters.split(", ") if w.startswith("+")}
    named = parameters if "-name=" in parameters else f"{parameters}, -name=None"
    f = adapted(found(own), named, convert_to_tensor, None, _refused, **{**operands, **_TURNED})
    f.__name__ = name
    return findable({name: f}, f"gpugrad.tensorflow.{place}".removesuffix("."))[name]


def _refused(e: ValueError) -> Exception:
    return InvalidArgumentError(*e.args) if type(e) is ValueError else e


def later_of(module: str) -> tuple[Any, Any]:
    """`__getattr__` and `__dir__` of one of tf's modules."""
    place = module.removeprefix("gpugrad.tensorflow").removeprefix(".")
    return later(module, PLACES[place], lambda name: made(name, place))
