"""batch_norm of arrays (batch, channels, ...): by the statistics of the batch, or by running ones."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from typing import Any

import numpy as np

from .. import fused
from ..dtypes import wide
from ..forward import as_float
from ..kernels import usable
from ..op import Parts, op
from .math import multiply, total
from .normalization import curvature, normalized, present, times
from .reduce import sum
from .shape import reshape


def _over(ndim: int) -> tuple[int, ...]:
    """All axes but the channels'."""
    if ndim < 2:
        raise ValueError(f"batch_norm takes (batch, channels, ...), given an array of {ndim} axes")
    return (0, *range(2, ndim))


def _column(a: Any, ndim: int) -> Any:
    """A number for each channel, to go with arrays of `ndim` axes."""
    return None if a is None else reshape(a, (-1, *[1] * (ndim - 2)))


def _scaled(n: Any, weight: Any, bias: Any, x: Any) -> Any:
    """n weight + bias, in the dtype in which x meets them."""
    dtype = np.result_type(*[a.dtype for a in present(x, weight, bias)])
    n = n if weight is None else n * _column(weight, x.ndim)
    n = n if bias is None else n + _column(bias, x.ndim)
    return n.astype(dtype, copy=False)


# ---------------------------------------------------------------------------------------------- training
def _batch_norm(
    xp: Any, x: Any, weight: Any, bias: Any, *, running_mean: Any, running_var: Any, momentum: float, eps: float
) -> Any:
    x = as_float(x)
    z, over, count = x.astype(wide(x.dtype), copy=False), _over(x.ndim), x.size // x.shape[1] if x.size else 0
    mean = z.mean(over)
    d = z - _column(mean, x.ndim)
    var = (d * d).mean(over)
    rstd = 1 / xp.sqrt(var + eps)
    d *= _column(rstd, x.ndim)
    out = _scaled(d, weight, bias, x)
    for running, to in ((running_mean, mean), (running_var, var * (count / max(count - 1, 1)))):  # unbiased, as PyTorch
        if running is not None:
            running += (momentum * (to - running)).astype(running.dtype, copy=False)
    return out, mean, rstd


def _batch_norm_gpu(
    xp: Any, x: Any, weight: Any, bias: Any, *, running_mean: Any, running_var: Any, momentum: float, eps: float
) -> Any:
    running = running_mean, running_var
    if usable(x, *present(weight, bias)) and all([a.dtype == wide(x.dtype) for a in present(*running)]):
        return fused.batch_norm(x, weight, bias, *running, momentum, eps)
    return _batch_norm(
        xp, x, weight, bias, running_mean=running_mean, running_var=running_var, momentum=momentum, eps=eps
    )


batch_norm = op(
    _batch_norm,
    name="batch_norm",
    gpu=_batch_norm_gpu,
    aux=("mean", "rstd"),
    pull=lambda g, x, weight, mean, rstd, eps: batch_norm_grad(g, x, weight, mean, rstd, eps=eps),
)


def _batch_norm_grad(xp: Any, g: Any, x: Any, weight: Any, mean: Any, rstd: Any, *, eps: float) -> Any:
    """The cotangents of x, weight and bias."""
    over, column = _over(x.ndim), lambda a: _column(a, x.ndim)
    a = g.astype(wide(g.dtype), copy=False)
    n = (x.astype(wide(x.dtype), copy=False) - column(mean)) * column(rstd)
    product = a * n
    dweight, dbias = product.sum(over), a.sum(over)
    count = a.dtype.type(x.size // x.shape[1] if x.size else 1)
    scale = rstd if weight is None else rstd * weight
    n *= column(dweight / count)
    out = xp.subtract(a, n, out=product)
    out -= column(dbias / count)
    out = out * column(scale)
    return tuple([v.astype(g.dtype, copy=False) for v in (out, dweight, dbias)])


def _batch_norm_grad_gpu(xp: Any, g: Any, x: Any, weight: Any, mean: Any, rstd: Any, *, eps: float) -> Any:
    if not usable(g, x, *present(weight)):
        return _batch_norm_grad(xp, g, x, weight, mean, rstd, eps=eps)
    return tuple([v.astype(g.dtype, copy=False) for v in fused.batch_norm_grad(g, x, mean, rstd, weight)])


def _grad_pull(h: Parts, g: Any, x: Any, weight: Any, mean: Any, rstd: Any, eps: float) -> tuple[Any, ...]:
    """Of (P(g weight), sum(g n), sum(g)), in the words of `normalization`."""
    over, column = _over(x.ndim), lambda a: _column(a, x.ndim)
    dg, dx, dweight = [], [], None
    if 0 in h:
        pulled = batch_norm_grad(h[0], x, None, mean, rstd, eps=eps)[0]
        dg.append(times(pulled, column(weight)))
        dx.append(curvature(h[0], times(g, column(weight)), x, over, eps, True))
        dweight = sum(multiply(g, pulled), axis=over)
    if 1 in h:
        dg.append(multiply(normalized(x, over, eps, True)[0], column(h[1])))
        dx.append(batch_norm_grad(g, x, h[1], mean, rstd, eps=eps)[0])
    if 2 in h:
        dg.append(column(h[2]))
    return total(dg), total(dx) if dx else None, dweight, None, None


batch_norm_grad = op(_batch_norm_grad, name="batch_norm_grad", gpu=_batch_norm_grad_gpu, pull=_grad_pull, several=True)


# ---------------------------------------------------------------------------------------------- inference
def _inference(xp: Any, x: Any, weight: Any, bias: Any, *, running_mean: Any, running_var: Any, eps: float) -> Any:
    """x normalized by the running statistics.  The pullback has its own: those may move before it is asked."""
    x = as_float(x)
    _over(x.ndim)
    mean, rstd = running_mean.copy(), 1 / xp.sqrt(running_var + eps)
    dtype = np.result_type(wide(x.dtype), mean.dtype)
    n = (x.astype(dtype, copy=False) - _column(mean, x.ndim)) * _column(rstd, x.ndim)
    return _scaled(n, weight, bias, x), mean, rstd


def _inference_gpu(xp: Any, x: Any, weight: Any, bias: Any, *, running_mean: Any, running_var: Any, eps: float) -> Any:
    running = running_mean, running_var
    if not (usable(x, *present(weight, bias)) and all([a.dtype == wide(x.dtype) for a in running])):
        return _inference(xp, x, weight, bias, running_mean=running_mean, running_var=running_var, eps=eps)
    return fused.batch_norm_inference(x, weight, bias, *running, eps)


def _inference_pull(g: Any, x: Any, weight: Any, mean: Any, rstd: Any) -> tuple[Any, ...]:
    over, column = _over(x.ndim), lambda a: _column(a, x.ndim)
    dx = multiply(g, column(times(rstd, weight)))
    return dx, sum(multiply(g, multiply(x - column(mean), column(rstd))), axis=over), sum(g, axis=over)


batch_norm_inference = op(
    _inference, name="batch_norm_inference", gpu=_inference_gpu, aux=("mean", "rstd"), pull=_inference_pull
)
