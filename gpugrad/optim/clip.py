"""Gradients made smaller before an update."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .. import fused
from ..array import Array, xp
from ..core import Tensor, raw, wrap, writes
from ..dtypes import complex128, float64, wide
from ..fused.optimizer import CLIP, GRADIENT, NORM
from ..kernels import place, usable
from ..ops.casting import astype
from ..ops.linalg import vector_norm
from ..tensor import tensor
from .blocks import alone
from .checks import bound
from .loss_scale import Moving, Scaled
from .state import Todo


def norm(gs: Sequence[Array]) -> float:
    """The length of all gradients together: the root of the sum of all squares."""
    wider = [g if (kind := wide(g.dtype)) is g.dtype else g.astype(kind) for g in gs]
    total = sum([float(xp(g).vdot(g, g).real) for g in wider])
    if not math.isfinite(total):  # float64 holds the squares of float32
        wider = [g.astype(complex128 if g.dtype.kind == "c" else float64, copy=False) for g in wider]
        total = sum([float(xp(g).vdot(g, g).real) for g in wider])
    return math.sqrt(total)


def finite(gs: Sequence[Array]) -> bool:
    """Whether all elements are finite.  Waits for the device."""
    return math.isfinite(norm(gs)) or all([bool(xp(g).isfinite(g).all()) for g in gs])


def by_value(gs: Sequence[Array], limit: float) -> list[Array]:
    """Each element into [-limit, limit].  TypeError for complex ones, which have no order."""
    if any([g.dtype.kind == "c" for g in gs]):
        raise TypeError("complex gradients cannot be clipped by value; clip their norm")
    return [xp(g).clip(g, g.dtype.type(-limit), g.dtype.type(limit)).astype(g.dtype, copy=False) for g in gs]


def by_norm(gs: Sequence[Array], limit: float) -> list[Array]:
    """Each gradient scaled so that its own length is at most `limit`."""
    return [found[0][0] if (found := by_kernels([g], limit)) else _scaled(g, limit, norm([g])) for g in gs]


def by_global_norm(gs: Sequence[Array], limit: float) -> list[Array]:
    """All gradients scaled by one factor so that their common length is at most `limit` (Pascanu et al. 2013)."""
    if found := by_kernels(gs, limit):
        return found[0]
    length = norm(gs)
    return [_scaled(g, limit, length) for g in gs]


def _scaled(g: Array, limit: float, length: float) -> Any:
    return g if length <= limit else g * g.dtype.type(limit / length)


def by_kernels(
    gs: Sequence[Array], limit: float = math.inf, eps: float = 0.0, moving: Moving | None = None
) -> tuple[list[Array], Array] | None:
    """(gradients times min(1, limit / (length + eps)), the `scaling` of that), without waiting for the device.

    Two launches for each dtype, and one.  None where kernels are not for all of them, or they are on several devices.
    moving: divided by this loss scale instead, which is told if they are not finite.
    """
    if not all(usable(g) for g in gs) or len({place(g) for g in gs}) != 1:  # on the CPU the first one says no
        return None
    parts = [[i for i, g in enumerate(gs) if g.dtype == dtype] for dtype in dict.fromkeys([g.dtype for g in gs])]
    tables = [fused.Table([gs[i] for i in part]) for part in parts]
    for table, part in zip(tables, parts):
        table.set(GRADIENT, [gs[i] for i in part])
    scaling, out = fused.scaling(gs[0]), list(gs)
    fused.global_norm(tables, scaling, limit, eps, moving is not None, None if moving is None else moving.at(gs[0]))
    if moving is not None:  # of a length that is NaN it would be NaN
        with place(scaling).scope():
            scaling[CLIP] = 1.0
    for table, part in zip(tables, parts):
        for i, g in zip(part, fused.clipped(table, scaling)):
            out[i] = g
    return out, scaling


def divided(gs: Sequence[Array], by: float) -> list[Array]:
    """Gradients over a number, half types in float32."""
    wider = [g.astype(wide(g.dtype), copy=False) for g in gs]
    return wider if by == 1 else [g / g.dtype.type(by) for g in wider]


_CLIPS = {"clipnorm": by_norm, "clipvalue": by_value, "global_clipnorm": by_global_norm}


def limited(todo: Todo, limits: dict[str, float], scaled: Scaled | None) -> Todo | None:
    """The gradients over the loss scale, within the limits.  None: with a loss scale, one is not finite."""
    gs = [g for g, _, _ in todo]
    if scaled is not None:
        gs = divided(gs, scaled.divisor(gs[0]))
        if scaled.skips(finite(gs)):
            return None
    for name, limit in limits.items():
        gs = _CLIPS[name](gs, limit)
    return [(g, v, group) for g, (_, v, group) in zip(gs, todo)]


# ---------------------------------------------------------------------------------------------- on the graph of tensors
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale the `.grad` of all parameters so that their common norm is at most max_norm; the answer is what it was.

    RuntimeError with `error_if_nonfinite` where that is NaN or infinite; ValueError for a max_norm that is no number
    from 0 on (or inf), and a norm_type not above 0 (or inf).
    With norm 2, and without `error_if_nonfinite`, it does not wait for a GPU.
    """
    grads = _grads(parameters)
    if not isinstance(norm_type, (int, float)) or not norm_type > 0:
        raise ValueError(f"clip_grad_norm_: norm_type is a number above 0, or inf, not {norm_type!r}")
    arrays, limit = [g.array for g in grads], bound("clip_grad_norm_: max_norm", max_norm)
    if norm_type == 2 and (found := by_kernels(arrays, limit, 1e-6)):
        total = fused.entry(found[1], NORM)
        if error_if_nonfinite:
            _finite(float(total), norm_type)
        for g, new in zip(grads, found[0]):
            g.array = new
        return wrap(total.astype(arrays[0].dtype), None, grads[0].kind)
    if norm_type == 2:
        total = norm(arrays)
    else:
        each = [float(raw(vector_norm(astype(g, wide(g.array.dtype)), ord=norm_type))) for g in grads]
        total = _together(each, norm_type)
    if error_if_nonfinite:
        _finite(total, norm_type)
    scale = min(1.0, limit / (total + 1e-6)) if total == total else total
    if scale != 1:
        _scale(grads, arrays, scale)
    return tensor(total) if not grads else wrap(raw(tensor(total, grads[0].array.dtype)), None, grads[0].kind)


def _scale(grads: list[Tensor], arrays: list[Array], scale: float) -> None:
    """Gradients times a number, in the memory of `arrays`, which are theirs, where nobody else has it."""
    own = alone(arrays) if set(map(type, arrays)) == {np.ndarray} else [False] * len(arrays)
    for g, a, over in zip(grads, arrays, own):
        if not over:
            g.array = a * a.dtype.type(scale)
            continue
        if id(a) in writes.asked:
            writes.add(a)
        np.multiply(a, a.dtype.type(scale), out=a)


def _together(each: list[float], p: float) -> float:
    """The p-norm of p-norms."""
    most = max(each, default=0.0)
    if p == math.inf or most == 0.0 or not all(map(math.isfinite, each)):
        return sum(each) if any([e != e for e in each]) else most
    return most * sum([(e / most) ** p for e in each]) ** (1 / p)


def _finite(total: float, norm_type: float) -> None:
    if not math.isfinite(total):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. Leave error_if_nonfinite=False to scale the gradients anyway"
        )


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Put each element of the `.grad` of all parameters into [-clip_value, clip_value].

    ValueError for a clip_value that is no number from 0 on (or inf).
    """
    limit = bound("clip_grad_value_: clip_value", clip_value)
    for g in _grads(parameters):
        (g.array,) = by_value([g.array], limit)


def _grads(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [g for p in given if p.node is not None and (g := p.grad) is not None]
