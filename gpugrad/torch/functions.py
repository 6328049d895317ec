"""PyTorch's functions: the core's own where conventions agree, and those with rules of their own; others in rows.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce as _reduce
from typing import Any

import numpy as np

from ..adapt import adapted
from ..core import Tensor as CoreTensor, raw, wrap
from ..dtypes import int64
from ..names import found
from ..op import findable, spoken as _spoken
from ..ops import casting, linalg, logic, options, reduce, scan, shape as _shape, softmax as softmaxes
from ..tensor import OPERATORS
from ..views import given
from ..wording import cast_first, translated
from .tensor import Tensor, promoted, tensor


def spoken(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the core's that refuses what is no tensor."""
    call: Any = f
    if not hasattr(call, "spoken"):
        return call
    return _spoken(call, Tensor, ("input", "other")[: len(call.op.args)] if len(call.op.args) < 3 else ())


# ---------------------------------------------------------------------------------------------- the same functions
SAME: dict[str, Any] = {
    **{n: found(n) for n in (
        "abs acos acosh asin asinh atan atan2 atanh conj cos cosh exp exp2 expm1 hypot log log10 log1p log2 logaddexp "
        "pow reciprocal sign sin sinh sqrt square tan tanh ceil floor floor_divide remainder trunc maximum minimum "
        "isfinite isinf isnan logical_and logical_not logical_or logical_xor matmul negative multiply sigmoid relu"
    ).split()},
    **{n: found(own) for n, _, own in [pair.partition("=") for pair in (
        "mul=multiply true_divide=divide neg=negative eq=equal ne=not_equal lt=less le=less_equal gt=greater "
        "ge=greater_equal erf=special.erf"
    ).split()]},
}  # fmt: skip
ALONE = ("isfinite", "isinf", "isnan", "logical_not", "sign")


# ---------------------------------------------------------------------------------------------- other arguments
def kept(x: Any) -> Any:
    """A tensor as it is; TypeError for anything else."""
    return x if isinstance(x, CoreTensor) else Tensor.box(x)


def _signed(x: Any) -> Any:
    return casting.astype(x, int64) if kept(x).array.dtype.kind == "u" else x


_list = lambda dim: tuple(dim) if isinstance(dim, list) else dim
TURNED: dict[str, Callable[[Any], Any]] = {
    "dim": _list, "dims": _list, "index": raw, "indices": raw, "right": lambda right: "right" if right else "left",
    "align_corners": bool, "lengths": given,
    "p": lambda p: {"fro": 2, "inf": float("inf")}.get(p, p),
}  # fmt: skip


def row(f: str | Callable[..., Any], parameters: str, **turned: Any) -> Any:
    """A function of the core's, or the one that it calls so, under PyTorch's parameter names."""
    core: Callable[..., Any] = found(f) if isinstance(f, str) else f
    doc = (core.__doc__ or "").replace("`axis`", "`dim`")
    box = None if hasattr(core, "spoken") else kept
    return adapted(spoken(core), parameters, box, doc, translated, **{**TURNED, **turned})


SAME = {
    n: spoken(f) if hasattr(f, "op") else row(f, "input" if n in ALONE else "input, +other") for n, f in SAME.items()
}
findable(SAME, "gpugrad.torch")
ARITHMETIC = {n: spoken(found(n)) for n in ("add", "subtract", "divide")}
findable({f"Tensor.__{n}__": ARITHMETIC[m] for n, m in OPERATORS.items() if m in ARITHMETIC}, "gpugrad.torch")
add, sub = options.scaled(ARITHMETIC["add"]), options.scaled(ARITHMETIC["subtract"])
div = options.quotient(ARITHMETIC["divide"])


def _over(f: Callable[..., Any], more: str = ", -*, dtype=None", **turned: Any) -> Any:
    return row(f, f"input, dim|axis:axis=None, keepdim|keepdims:keepdims=False{more}", **turned)


_MEAN = "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: {}"
_ROWS = "\"{}_lastdim_kernel_impl\" not implemented for '{{}}'"
sum, prod = _over(reduce.sum, input=_signed), _over(cast_first(reduce.prod), input=_signed)
mean = _over(cast_first(reduce.mean, _MEAN))
cumsum = row(cast_first(scan.cumsum), "input, dim|axis:axis, -*, dtype=None", input=_signed)
softmax, log_softmax = [
    row(
        cast_first(f, _ROWS.format(f.__name__)), "input, dim|axis:axis=None, dtype=None",
        dim=lambda d: -1 if d is None else d,
    )
    for f in (softmaxes.softmax, softmaxes.log_softmax)
]  # fmt: skip
std, var = [
    row(
        cast_first(f, "std and var only support floating point and complex dtypes"),
        "input, dim|axis:axis=None, unbiased=True, keepdim|keepdims:keepdims=False, correction=None",
    )
    for f in (options.std, options.var)
]  # fmt: skip


def _parts(tensors: Any) -> list[Any]:
    """Those to join, in the dtype in which they meet: an empty vector beside others counts for no more."""
    parts = [kept(v) for v in tensors]
    if len({v.array.dtype for v in parts}) > 1:
        dtype = _reduce(lambda a, b: promoted(np.empty(1, a), np.empty(1, b)), [v.array.dtype for v in parts])
        parts = [casting.astype(v, dtype) for v in parts]
    return [v for v in parts if v.array.shape != (0,)] or parts


cat = adapted(_shape.concat, "tensors, dim|axis:axis=0", _parts, None, translated)
stack = adapted(_shape.stack, "tensors, dim|axis:axis=0", lambda tensors: [kept(v) for v in tensors], None, translated)


def meshgrid(*tensors: Any, indexing: str = "ij") -> Any:
    """The coordinates of a grid from those of its axes."""
    return _shape.meshgrid(*[kept(v) for v in given(tensors)], indexing=indexing)


def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """input where the condition holds, else other; without them, the indices where it holds, an axis each."""
    if input is None and other is None:
        return tuple([wrap(i, None, Tensor) for i in np.nonzero(np.asarray(raw(condition)))])
    if not isinstance(input, CoreTensor) and not isinstance(other, CoreTensor):
        input, other = tensor([input, other], device=condition.device)
    return logic.where(kept(condition), input, other)


def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """`value` where the mask holds."""
    return logic.where(kept(mask), value, input)


def einsum(equation: str, *operands: Any) -> Any:
    """The sum of products that the equation writes, as "ij,jk->ik"."""
    try:
        return linalg.einsum(equation, *[kept(v) for v in given(operands)])
    except ValueError as e:
        raise translated(e) from None


def result_type(tensor1: Any, tensor2: Any) -> np.dtype:
    """The dtype in which two tensors meet, or a tensor and a number."""
    return promoted(*[raw(v if isinstance(v, CoreTensor) else tensor(v)) for v in (tensor1, tensor2)])


SOON = "sum mean prod cumsum softmax log_softmax std var masked_fill add sub div".split()
TABLE: dict[str, Any] = {
    **SAME, **ARITHMETIC,
    **{n: globals()[n] for n in [*SOON, "cat", "stack", "where", "einsum", "result_type", "meshgrid"]},
    "concat": cat, "numel": Tensor.numel, "is_floating_point": Tensor.is_floating_point,
}  # fmt: skip
findable({n: TABLE[n] for n in SOON}, "gpugrad.torch")
