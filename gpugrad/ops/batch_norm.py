"""batch_norm of arrays (batch, channels, ...): by the statistics of the batch, or by running ones."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from typing import Any

import numpy as np

from .. import fused
from ..array import xp as xp_of
from ..core import raw
from ..dtypes import is_float, wide
from ..forward import as_float, boxed
from ..kernels import usable
from ..op import Parts, op
from .examples import for_each, join, own, part
from .math import multiply, total
from .normalization import curvature, normalized, present, times
from .reduce import sum
from .shape import reshape


def _over(ndim: int) -> tuple[int, ...]:
    """All axes but the channels'."""
    if ndim < 2:
        raise ValueError(f"batch_norm takes (batch, channels, ...), given an array of {ndim} axes")
    return (0, *range(2, ndim))


def real_input(name: str, x: Any) -> Any:
    """x for the normalization `name`.  TypeError for complex arrays, whose variance is another one."""
    x = boxed(x, name)
    if raw(x).dtype.kind == "c":
        raise TypeError(f"{name}: takes real arrays, given {raw(x).dtype}")
    return x


def running_statistics(name: str, mean: Any, var: Any) -> list[Any]:
    """Both as arrays, or None.  TypeError for integers, which would move by whole numbers or not at all."""
    found = [None if a is None else raw(a) for a in (mean, var)]
    for what, a in zip(("running_mean", "running_var"), found):
        if a is not None and not is_float(a.dtype):
            raise TypeError(f"{name}: {what} is floating, given {a.dtype}; write astype({what}, 'float32')")
    return found


def column(a: Any, ndim: int) -> Any:
    """A number for each channel, to go with arrays of `ndim` axes."""
    return None if a is None else reshape(a, (-1, *[1] * (ndim - 2)))


def scaled(xp: Any, n: Any, weight: Any, bias: Any, dtype: np.dtype) -> Any:
    """n weight + bias, a number for each channel, in this dtype; may change n."""
    for a, f in ((weight, xp.multiply), (bias, xp.add)):
        if a is not None:
            n = f(n, column(a, n.ndim), out=n if a.dtype == n.dtype else None)
    return n.astype(dtype, copy=False)


def _met(*arrays: Any) -> np.dtype:
    """The dtype of the result."""
    return np.result_type(*[a.dtype for a in present(*arrays)])


# ---------------------------------------------------------------------------------------------- training
def _batch_norm(
    xp: Any, x: Any, weight: Any, bias: Any, *, running_mean: Any, running_var: Any, momentum: float, eps: float
) -> Any:
    x = as_float(x)
    z, over, count = x.astype(wide(x.dtype), copy=False), _over(x.ndim), x.size // x.shape[1] if x.size else 0
    mean = z.mean(over)
    d = z - column(mean, x.ndim)
    var = (d * d).mean(over)
    rstd = 1 / xp.sqrt(var + eps)
    d *= column(rstd, x.ndim)
    out = scaled(xp, d, weight, bias, _met(x, weight, bias))
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


def _columns(xs: Any, each: Any, level: Any, channels: int) -> list[Any]:
    """Arrays, the first so many with their channels as axis 1, with those of all examples beside each other."""
    return [
        None if x is None else join(own(x, e, level.n), int(i < channels)) for i, (x, e) in enumerate(zip(xs, each))
    ]


def _batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    """A batch for each example: its channels are channels of one batch."""
    if static["running_mean"] is not None or static["running_var"] is not None:
        raise unmovable("batch_norm", level)
    out, *statistics = call(*_columns(xs, each, level, 1), **static)
    return part(out, level.n, 1), *[part(v, level.n) for v in statistics]


def unmovable(name: str, level: Any) -> ValueError:
    """What is raised where running statistics would be moved inside `level`."""
    return ValueError(
        f"{name}: inside {level.name} each example has statistics of its own, which cannot all move the running ones: "
        "write layer.eval(), or track_running_stats=False, or a group_norm in its place"
    )


def _grad_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    dx, *sums = call(*_columns(xs, each, level, 2), **static)[0]
    return ((part(dx, level.n, 1), *[part(v, level.n) for v in sums]),)


batch_norm = op(
    _batch_norm,
    batch=_batch,
    name="batch_norm",
    gpu=_batch_norm_gpu,
    aux=("mean", "rstd"),
    pull=lambda g, x, weight, mean, rstd, eps: batch_norm_grad(g, x, weight, mean, rstd, eps=eps),
)


def _batch_norm_grad(xp: Any, g: Any, x: Any, weight: Any, mean: Any, rstd: Any, *, eps: float) -> Any:
    """The cotangents of x, weight and bias."""
    over, by = _over(x.ndim), lambda a: column(a, x.ndim)
    a = g.astype(wide(g.dtype), copy=False)
    n = (x.astype(wide(x.dtype), copy=False) - by(mean)) * by(rstd)
    product = a * n
    dweight, dbias = product.sum(over), a.sum(over)
    count = a.dtype.type(x.size // x.shape[1] if x.size else 1)
    scale = rstd if weight is None else rstd * weight
    n *= by(dweight / count)
    out = xp.subtract(a, n, out=product)
    out -= by(dbias / count)
    out = out * by(scale)
    return tuple([v.astype(g.dtype, copy=False) for v in (out, dweight, dbias)])


def _batch_norm_grad_gpu(xp: Any, g: Any, x: Any, weight: Any, mean: Any, rstd: Any, *, eps: float) -> Any:
    if not usable(g, x, *present(weight)):
        return _batch_norm_grad(xp, g, x, weight, mean, rstd, eps=eps)
    return tuple([v.astype(g.dtype, copy=False) for v in fused.batch_norm_grad(g, x, mean, rstd, weight)])


def _grad_pull(h: Parts, g: Any, x: Any, weight: Any, mean: Any, rstd: Any, eps: float) -> tuple[Any, ...]:
    """Of (P(g weight), sum(g n), sum(g)), in the words of `normalization`."""
    over, by = _over(x.ndim), lambda a: column(a, x.ndim)
    dg, dx, dweight = [], [], None
    if 0 in h:
        pulled = batch_norm_grad(h[0], x, None, mean, rstd, eps=eps)[0]
        dg.append(times(pulled, by(weight)))
        dx.append(curvature(h[0], times(g, by(weight)), x, over, eps, True))
        dweight = sum(multiply(g, pulled), axis=over)
    if 1 in h:
        dg.append(multiply(normalized(x, over, eps, True)[0], by(h[1])))
        dx.append(batch_norm_grad(g, x, h[1], mean, rstd, eps=eps)[0])
    if 2 in h:
        dg.append(by(h[2]))
    return total(dg), total(dx) if dx else None, dweight, None, None


batch_norm_grad = op(
    _batch_norm_grad, name="batch_norm_grad", gpu=_batch_norm_grad_gpu, pull=_grad_pull, several=True, batch=_grad_batch
)


# ---------------------------------------------------------------------------------------------- inference
def _inference(xp: Any, x: Any, weight: Any, bias: Any, *, running_mean: Any, running_var: Any, eps: float) -> Any:
    """x normalized by the running statistics.  The pullback has its own: those may move before it is asked."""
    x = as_float(x)
    _over(x.ndim)
    mean, rstd = running_mean.copy(), 1 / xp.sqrt(running_var + eps)
    dtype = np.result_type(wide(x.dtype), mean.dtype)
    n = (x.astype(dtype, copy=False) - column(mean, x.ndim)) * column(rstd, x.ndim)
    return scaled(xp, n, weight, bias, _met(x, weight, bias)), mean, rstd


def _inference_gpu(xp: Any, x: Any, weight: Any, bias: Any, *, running_mean: Any, running_var: Any, eps: float) -> Any:
    running = running_mean, running_var
    if not (usable(x, *present(weight, bias)) and all([a.dtype == wide(x.dtype) for a in running])):
        return _inference(xp, x, weight, bias, running_mean=running_mean, running_var=running_var, eps=eps)
    return fused.batch_norm_inference(x, weight, bias, *running, eps)


def _inference_pull(g: Any, x: Any, weight: Any, mean: Any, rstd: Any) -> tuple[Any, ...]:
    over, by = _over(x.ndim), lambda a: column(a, x.ndim)
    dx = multiply(g, by(times(rstd, weight)))
    return dx, sum(multiply(g, multiply(x - by(mean), by(rstd))), axis=over), sum(g, axis=over)


def _inference_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    """Images of all examples are one batch; with weights of each example's own, its channels are further ones."""
    if level.own(list(static.values())):
        return NotImplemented
    if not any(each[1:]):
        out, mean, rstd = call(join(xs[0]), *xs[1:], **static)
        return part(out, level.n), for_each(mean, level.n), for_each(rstd, level.n)
    running = {k: xp_of(static[k]).tile(static[k], level.n) for k in ("running_mean", "running_var")}
    out, *statistics = call(*_columns(xs, each, level, 1), **running, eps=static["eps"])
    return part(out, level.n, 1), *[part(v, level.n) for v in statistics]


batch_norm_inference = op(
    _inference,
    name="batch_norm_inference",
    gpu=_inference_gpu,
    aux=("mean", "rstd"),
    pull=_inference_pull,
    batch=_inference_batch,
)
