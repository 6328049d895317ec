"""PyTorch's functions by the parameters that they share; one is made when somebody first asks for it.

A name alone is a function of torch and a method of tensors; `torch.f` only a function, `Tensor.f` only a method,
`F.f` a function of torch.nn.functional, `linalg.f` one of torch.linalg.  `name=core` says what the core calls it, if it
is not the same.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ..adapt import by_place, later
from ..op import findable
from .functions import row

_BOTH = ", keepdim|keepdims:keepdims=False"
_OVER, _AT = ", keepdim:keepdims=False", "input, dim:axis, index:indices"
_POOL = "input, kernel_size:kernel, stride=None, padding=0, "
_CONV = "input, +weight, bias=None, stride=1, padding=0, "
_WINDOWS = "dilation=1, padding=0, stride=1"
_MODE = "reduction='mean'"
ROWS = {
    "input": "angle deg2rad rad2deg sinc frac rsqrt positive signbit bitwise_not=bitwise_invert "
    "absolute=abs arccos=acos arccosh=acosh arcsin=asin arcsinh=asinh arctan=atan arctanh=atanh fix=trunc sgn=sign "
    "conj_physical=conj ravel=views.flatten clone=positive t=views.t adjoint trace=options.trace "
    "det=linalg.det logdet=options.logdet slogdet=linalg.slogdet inverse=linalg.inv matrix_exp=linalg.matrix_exp "
    "lgamma=special.gammaln digamma=special.digamma erfc=special.erfc erfinv=special.erfinv i0=special.i0 "
    "special.erf special.erfc special.erfcx special.erfinv special.entr special.digamma special.psi=special.digamma "
    "special.i0 special.i0e special.i1 special.i1e special.ndtr special.ndtri special.log_ndtr special.gammaln "
    "special.expit special.exp2=exp2 special.expm1=expm1 special.log1p=log1p special.sinc=sinc torch.real torch.imag "
    "F.softsign F.tanhshrink F.logsigmoid=nn.log_sigmoid",
    "input, -inplace=False": "F.relu6 F.selu torch.selu=nn.selu F.hardsigmoid "
    "F.hardswish F.mish",
    "input, +other": "copysign fmax fmin fmod logaddexp2 inner kron bitwise_and bitwise_or bitwise_xor "
    "vdot=options.vdot bitwise_left_shift bitwise_right_shift xlogy=special.xlogy greater greater_equal "
    "less less_equal not_equal arctan2=atan2 special.xlogy special.xlog1py special.zeta special.gammainc "
    "special.gammaincc equal=options.equal linalg.matmul=matmul",
    "input, +values": "heaviside", "input, +exponent": "float_power",
    "input, +other, rtol=1e-05, atol=1e-08, equal_nan=False": "isclose allclose=options.allclose",
    "input, +tensor1, +tensor2, -*, value=1": "addcmul=options.addcmul addcdiv=options.addcdiv",
    "input, +mat, +vec, -*, beta=1, alpha=1": "addmv=options.addmm", "input, +end, +weight": "lerp",
    "input, min": "clamp_min=clip", "input, max": "clamp_max=clip",
    "input, nan=0.0, posinf=None, neginf=None": "nan_to_num", "input, eps=None": "logit=special.logit special.logit",
    "input, p:d": "mvlgamma=special.multigammaln special.multigammaln", "input, +other, p=2": "dist=options.dist",
    "x1, +x2, p=2.0, -compute_mode=None": "torch.cdist", "input, decimals=0": "round special.round=round",
    "input, min=None, max=None": "clamp=clip clip", "input, +tensor": "dot=options.dot",
    "input, +mat2": "mm=matmul bmm=matmul", "input, +vec": "mv=matmul", "input, +vec2": "outer torch.ger=outer",
    "input, +mat1, +mat2, -*, beta=1, alpha=1": "addmm=options.addmm baddbmm=options.addmm",
    "input, +other, dims:axes=2": "tensordot",
    "input, p:ord=2, dim:axis=None, keepdim:keepdims=False": "norm=vector_norm",
    "input, as_tuple=False": "nonzero=options.nonzero",
    # along axes
    f"input, dim|axis:axis=None{_BOTH}": "any all amax=max amin=min argmax argmin max=options.largest "
    "min=options.smallest",
    f"input, dim|axis:axis{_BOTH}": "logsumexp", _AT: "gather index_select=take",
    "input, dim|axis:axis, -*, dtype=None": "cumprod",
    "input, dim|axis:axis": "logcumsumexp=cumlogsumexp cummax=options.cummax cummin=options.cummin",
    f"input, dim:axis=None{_OVER}": "nansum nanmean median=options.median",
    f"input, q, dim:axis=None{_OVER}, -*, interpolation:method='linear'": "quantile",
    "input, n=1, dim:axis=-1, prepend=None, append=None": "diff",
    "y, x=None, -*, dx=1.0, dim:axis=-1": "torch.trapezoid torch.trapz=trapezoid",
    "input, dim:axis=-1, descending=False, -stable=False": "sort=options.sort argsort",
    "input, k, dim:axis=-1, largest=True, sorted=True": "topk=options.topk",
    "input, chunks, dim:axis=0": "chunk=options.chunk",
    "input, split_size_or_sections:size, dim:axis=0": "split=options.split",
    "sorted_sequence, +input, -*, -out_int32=False, right:side=False, sorter=None": "torch.searchsorted",
    "input, +boundaries, -*, -out_int32=False, right:side=False": "torch.bucketize=options.bucketize",
    # shapes and places
    "input, offset=0, dim1:axis1=0, dim2:axis2=1": "diagonal",
    "input, offset=0, dim1:axis1=-2, dim2:axis2=-1": "diag_embed", "input, k=1, dims:axes=(0,1)": "rot90",
    "input, source, destination": "moveaxis movedim=moveaxis", "input, dim:axis, sizes": "unflatten=views.unflatten",
    "input, dim:axis, index:i": "select=views.select", "input, dim:axis, start, length": "narrow=views.narrow",
    "input, *sizes, shape=None": "reshape=views.reshape",
    "input, start_dim:start=0, end_dim:end=-1": "flatten=views.flatten",
    "input, dim:axis=None": "squeeze=views.squeeze count_nonzero", "input, dim:axis": "unsqueeze=views.unsqueeze",
    "input, *sizes, dims=None": "permute=views.permute", "input, *sizes, size=None": "Tensor.expand=views.expand",
    "input, dim0:axis1, dim1:axis2": "transpose=inplace.swapped swapaxes=inplace.swapped swapdims=inplace.swapped",
    "input, dims:axis": "flip", "input, shifts:shift, dims:axis=None": "roll", "input, diagonal:k=0": "tril triu diag",
    "input, *lengths:repetitions": "tile repeat=options.repeat",
    "input, repeats, dim|axis:axis=None": "repeat_interleave=repeat", "input, dim:axis=0": "unbind=unstack",
    "input, size:shape": "broadcast_to", "input, mask": "masked_select", "input, index:indices": "take",
    "input, indices, dim:axis=None": "take_along_dim=take_along_axis",
    f"{_AT}, src|value:values, reduce=None": "scatter=options.scatter",
    f"{_AT}, src:values": "scatter_add=options.scatter_add",
    f"{_AT}, src:values, reduce": "scatter_reduce=options.scatter", f"{_AT}, source:values, -*, alpha=1": "index_add",
    # matrices
    "input, +other, dim:axis=None": "cross=options.cross", "input, +other, -*, dim:axis=-1": "linalg.cross=cross",
    "x, +y, -*, dim:axis=-1": "linalg.vecdot", "input, upper=False": "cholesky=linalg.cholesky",
    "input, some=True": "svd=options.svd", "input, rcond=1e-15": "pinverse=linalg.pinv",
    "input, n": "matrix_power=linalg.matrix_power",
    "A": "linalg.inv linalg.det linalg.slogdet linalg.matrix_exp linalg.svdvals", "A, n": "linalg.matrix_power",
    "A, -*, upper=False": "linalg.cholesky", "A, mode='reduced'": "linalg.qr",
    "A, UPLO='L'": "linalg.eigh linalg.eigvalsh", "A, full_matrices=True": "linalg.svd",
    "A, -*, rtol=None, hermitian=False": "linalg.pinv linalg.matrix_rank", "A, +B": "linalg.solve",
    "A, +B, -*, upper, left=True, unitriangular:unit_diagonal=False": "linalg.solve_triangular",
    "A, +B, rcond=None": "linalg.lstsq=options.lstsq", f"A, ord='fro', dim:axis=(-2,-1){_OVER}": "linalg.matrix_norm",
    f"x, ord=2, dim:axis=None{_OVER}": "linalg.vector_norm", f"A, ord=None, dim:axis=None{_OVER}": "linalg.norm=norm",
    "A, -*, offset=0, dim1:axis1=-2, dim2:axis2=-1": "linalg.diagonal=diagonal",
    "input, n=None, dim:axis=-1, norm=None": "fft.fft fft.ifft fft.rfft fft.irfft fft.hfft fft.ihfft",
    "input, s=None, dim:axes=(-2,-1), norm=None": "fft.fft2 fft.ifft2 fft.rfft2 fft.irfft2",
    "input, s=None, dim:axes=None, norm=None": "fft.fftn fft.ifftn fft.rfftn fft.irfftn",
    "input, dim:axes=None": "fft.fftshift fft.ifftshift",
    # networks
    f"{_CONV}dilation=1, groups=1": "F.conv1d F.conv2d F.conv3d",
    f"{_CONV}output_padding=0, groups=1, dilation=1": "F.conv_transpose1d F.conv_transpose2d "
    "F.conv_transpose3d",
    f"{_POOL}dilation=1, ceil_mode=False, return_indices=False": "F.max_pool1d F.max_pool2d "
    "F.max_pool3d",
    f"{_POOL}ceil_mode=False, count_include_pad=True": "F.avg_pool1d",
    f"{_POOL}ceil_mode=False, count_include_pad=True, divisor_override=None": "F.avg_pool2d "
    "F.avg_pool3d",
    "input, output_size:size": "F.adaptive_avg_pool1d F.adaptive_avg_pool2d "
    "F.adaptive_avg_pool3d",
    "input, output_size:size, return_indices=False": "F.adaptive_max_pool1d "
    "F.adaptive_max_pool2d F.adaptive_max_pool3d",
    "input, size=None, scale_factor=None, mode='nearest', align_corners=None": "F.interpolate",
    f"input, kernel_size:kernel, {_WINDOWS}": "F.unfold",
    f"input, output_size:size, kernel_size:kernel, {_WINDOWS}": "F.fold",
    "input, pad:widths, mode='constant', value=None": "F.pad=options.pad",
    "input, num_groups, weight=None, bias=None, eps=1e-05": "F.group_norm",
    "input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-05":
    "F.instance_norm",
    "query, +key, +value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False":
    "F.scaled_dot_product_attention",
    "input, lambd=0.5": "F.hardshrink F.softshrink", "input, alpha=1.0, -inplace=False": "F.celu torch.celu=nn.celu",
    "input, min_val=-1.0, max_val=1.0, -inplace=False": "F.hardtanh",
    "input, threshold, value, -inplace=False": "F.threshold", "input, +weight": "F.prelu torch.prelu=nn.prelu",
    "input, dim:axis=-1": "F.glu F.softmin", "input, beta=1.0, threshold=20.0": "F.softplus",
    "x1, +x2, dim:axis=1, eps=1e-08": "F.cosine_similarity torch.cosine_similarity=nn.cosine_similarity",
    "x1, +x2, p=2.0, eps=1e-06, keepdim:keepdims=False": "F.pairwise_distance "
    "torch.pairwise_distance=nn.pairwise_distance",
    f"input, +target, {_MODE}": "F.soft_margin_loss F.multilabel_margin_loss",
    f"input, +target, {_MODE}, log_target=False": "F.kl_div",
    f"input, +target, log_input=True, full=False, eps=1e-08, {_MODE}": "F.poisson_nll_loss",
    f"input, +target, +var, full=False, eps=1e-06, {_MODE}": "F.gaussian_nll_loss",
    f"input, +target, margin=1.0, {_MODE}": "F.hinge_embedding_loss",
    f"input1, +input2, +target, margin=0.0, {_MODE}": "F.margin_ranking_loss "
    "F.cosine_embedding_loss",
    f"input, +target, p=1, margin=1.0, weight=None, {_MODE}": "F.multi_margin_loss",
    f"input, +target, weight=None, {_MODE}": "F.multilabel_soft_margin_loss",
    f"anchor, +positive, +negative, margin=1.0, p=2.0, eps=1e-06, swap=False, {_MODE}":
    "F.triplet_margin_loss",
    f"log_probs, +targets, +input_lengths, +target_lengths, blank=0, {_MODE}, zero_infinity=False":
    "F.ctc_loss",
}  # fmt: skip
PLACES = by_place(ROWS, {"torch": "", "Tensor": "", "F": "nn"})
PLACES["torch"].update(PLACES[""])
METHODS = PLACES[""] | PLACES["Tensor"]
_MODULES = {"gpugrad.torch": "torch", "gpugrad.torch.nn.functional": "F"}


@cache
def made(name: str, place: str = "torch") -> Any:
    """The function of the row that has this name."""
    f = row(*PLACES[place][name])
    f.__name__ = name
    module = {p: m for m, p in _MODULES.items()}.get(place, f"gpugrad.torch.{place}")
    return findable({name: f}, module)[name]


def under(module: str) -> tuple[Any, Any]:
    """`__getattr__` and `__dir__` of one of torch's modules."""
    place = _MODULES.get(module, module.rpartition(".")[2])
    return later(module, PLACES[place], lambda name: made(name, place))
