"""Floor 4: Jacobians, a walk back for each element of the output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .array import xp
from .core import Tensor, wrap
from .ops.shape import reshape, stack

Pull = Callable[[Tensor], Sequence[Any]]  # the gradients of all sources from one cotangent of the target, or None


def jacobian(pull: Pull, target: Tensor, sources: Sequence[Tensor], zero: bool) -> list[Any]:
    """The derivative of each element of target by each element of each source: target's shape, then the source's.

    zero   zeros, not None, for a source that target does not depend on
    """
    a = target.array
    rows = [pull(wrap(unit.reshape(a.shape))) for unit in _units(a, a.size)]
    return [_stacked([r[j] for r in rows], 0, a.shape + s.array.shape, s, zero) for j, s in enumerate(sources)]


def batch_jacobian(pull: Pull, target: Tensor, source: Tensor) -> Any:
    """The Jacobian of each example, target[i] by source[i]; zeros where target does not depend on source.

    One walk an element of an example, for all examples at once: what depends on other examples is added up.
    """
    a = target.array
    n = a.size // a.shape[0] if a.shape[0] else 0
    rows = [pull(wrap(xp(a).broadcast_to(unit.reshape(a.shape[1:]), a.shape))) for unit in _units(a, n)]
    return _stacked([r[0] for r in rows], 1, a.shape + source.array.shape[1:], source, True)


def _units(like: Any, n: int) -> Iterator[Any]:
    for i in range(n):
        unit = xp(like).zeros(n, like.dtype)
        unit[i] = 1
        yield unit


def _stacked(rows: list[Any], axis: int, shape: tuple[int, ...], source: Tensor, zero: bool) -> Any:
    if rows and rows[0] is not None:  # one row has the connections of all
        return reshape(stack(rows, axis), shape)
    return wrap(xp(source.array).zeros(shape, source.array.dtype), None, source.kind) if zero or not rows else None
