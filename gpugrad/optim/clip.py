"""Gradients made smaller before an update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..array import Array, xp


def norm(gs: Sequence[Array]) -> float:
    """The length of all gradients together: the root of the sum of all squares."""
    return math.sqrt(sum([float(xp(g).vdot(g, g).real) for g in gs]))


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
