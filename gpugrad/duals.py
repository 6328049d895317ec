"""Floor 6: dual tensors, PyTorch's forward mode: a tensor that carries a tangent through a level.

A level is a ForwardAccumulator whose primals join one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any, NamedTuple

from .core import Tensor
from .dtypes import is_inexact
from .forward_mode import ForwardAccumulator
from .ops.shape import reshape
from .recording import scope

_level: ContextVar[ForwardAccumulator | None] = ContextVar("gpugrad_dual_level", default=None)


class UnpackedDualTensor(NamedTuple):
    """A value and its tangent, None where it has none."""

    primal: Tensor
    tangent: Tensor | None


def enter_dual_level() -> int:
    """Open a level; answers its number, 0.  RuntimeError inside another one: nest gg.jvp, or accumulators."""
    if _level.get() is not None:
        raise RuntimeError(
            "Nested forward mode AD is not supported at the moment. Nest func.jvp, or ForwardAccumulators."
        )
    _level.set(ForwardAccumulator((), ()).__enter__())
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """Close the level: no tensor has a tangent of it any more.  RuntimeError if there is none of that number."""
    now = _level.get()
    if now is None or level not in (None, 0):
        raise RuntimeError(
            "Trying to exit a forward AD level that was not the last one that was created. This is not supported."
        )
    _level.set(None)
    now.__exit__()


class dual_level:
    """A level for the length of a `with` block, or of the function that it decorates.

    with dual_level():
        y, tangent = unpack_dual(f(make_dual(x, v)))
    """

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *exc: object) -> None:
        exit_dual_level()

    def __call__(self, f: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(f)
        def call(*args: Any, **named: Any) -> Any:
            with dual_level():
                return f(*args, **named)

        return call


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """A view of `tensor` that carries `tangent`; walks back go through it as through a view.

    RuntimeError outside a level, for a tangent of another shape or dtype, and for a tensor that has one; ValueError for
    what is not floating.
    """
    now = _level.get()
    if now is None or level not in (None, 0):
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
        )
    for what, t in (("primal", tensor), ("tangent", tangent)):
        if not isinstance(t, Tensor):
            raise TypeError(f"make_dual: the {what} is a Tensor, not {t!r:.60} of type {type(t).__name__}")
        if not is_inexact(t.array.dtype):
            raise ValueError(f"Expected {what} to be floating point or complex, but got: {t.array.dtype}")
    if now.jvp(tensor) is not None:
        raise RuntimeError(
            "Making a dual Tensor based on a Tensor that already has a forward gradient at the same level 0 is not "
            "supported. Unpack it first."
        )
    for what, a, b in (
        ("size", list(tensor.array.shape), list(tangent.array.shape)),
        ("dtype", tensor.array.dtype, tangent.array.dtype),
    ):
        if a != b:
            raise RuntimeError(
                f"Trying to set a forward gradient that has a different {what} than that of the original Tensor, this "
                f"is not supported. Tensor is of {what} {a} while the given forward gradient is of {what} {b}."
            )
    dual = reshape(tensor, tensor.array.shape)
    now.watch(dual, tangent)
    return dual


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """(a view of `tensor` without its tangent, the tangent or None); outside a level there is none."""
    now = _level.get()
    if now is None or level not in (None, 0):
        return UnpackedDualTensor(tensor, None)
    tangent = now.jvp(tensor)
    with scope(False, now._tape):
        return UnpackedDualTensor(reshape(tensor, tensor.array.shape), tangent)
