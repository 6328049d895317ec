"""Gradients made smaller before an update."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ..array import Array, wide, xp
from ..core import Tensor, raw, wrap
from ..ops.linalg import vector_norm
from ..ops.math import astype
from ..tensor import tensor


def norm(gs: Sequence[Array]) -> float:
    """The length of all gradients together: the root of the sum of all squares, of half types in float32."""
    wider = [g.astype(wide(g.dtype), copy=False) for g in gs]
    return math.sqrt(sum([float(xp(g).vdot(g, g).real) for g in wider]))


def by_value(gs: Sequence[Array], limit: float) -> list[Array]:
    """Each element into [-limit, limit]."""
    return [xp(g).clip(g, g.dtype.type(-limit), g.dtype.type(limit)) for g in gs]


def by_norm(gs: Sequence[Array], limit: float) -> list[Array]:
    """Each gradient scaled so that its own length is at most `limit`."""
    return [_scaled(g, limit, norm([g])) for g in gs]


def by_global_norm(gs: Sequence[Array], limit: float) -> list[Array]:
    """All gradients scaled by one factor so that their common length is at most `limit` (Pascanu et al. 2013)."""
    length = norm(gs)
    return [_scaled(g, limit, length) for g in gs]


def _scaled(g: Array, limit: float, length: float) -> Any:
    return g if length <= limit else g * g.dtype.type(limit / length)


# ---------------------------------------------------------------------------------------------- on the graph of tensors
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale the `.grad` of all parameters so that their common norm is at most max_norm; the answer is what it was.

    RuntimeError with `error_if_nonfinite` where that is NaN or infinite; ValueError for a norm that is not 1, 2 or inf.
    """
    grads = _grads(parameters)
    if norm_type not in (1, 2, math.inf):
        raise ValueError(f"clip_grad_norm_: norm_type is 1, 2 or inf, not {norm_type!r}")
    each = [float(raw(vector_norm(astype(g, wide(g.array.dtype)), ord=norm_type))) for g in grads]
    total = math.hypot(*each) if norm_type == 2 else sum(each) if norm_type == 1 else max(each, default=0.0)
    if error_if_nonfinite and not math.isfinite(total):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. Leave error_if_nonfinite=False to scale the gradients anyway"
        )
    scale = min(1.0, max_norm / (total + 1e-6)) if total == total else total
    for g in grads:
        g.array = g.array * g.array.dtype.type(scale)
    return tensor(total) if not grads else wrap(raw(tensor(total, grads[0].array.dtype)), None, grads[0].kind)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Put each element of the `.grad` of all parameters into [-clip_value, clip_value]."""
    for g in _grads(parameters):
        (g.array,) = by_value([g.array], clip_value)


def _grads(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [g for p in given if p.node is not None and (g := p.grad) is not None]
