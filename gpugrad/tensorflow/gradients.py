"""tf.RegisterGradient and tf.no_gradient, by TensorFlow's names of ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ops import activation, choice, index, linalg, math, piecewise, reduce, rounding, shape
from ..registry import register_gradient
from .tensor import EagerTensor, op_name

_OPS = {
    op_name(f.op.name): f.op
    for module in (activation, choice, index, linalg, math, piecewise, reduce, rounding, shape)
    for f in vars(module).values() if hasattr(f, "op")
}  # fmt: skip


def RegisterGradient(op_type: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator for the gradient `f(op, grad)` of an op that has none: one for each of `op.inputs`, or None.

    KeyError if the op has a gradient.
    """

    def register(f: Callable[..., Any]) -> Callable[..., Any]:
        register_gradient(op_type, f, EagerTensor, _OPS)
        return f

    return register


def no_gradient(op_type: str) -> None:
    """Say that an op has no gradient: it is None where it was a LookupError.  KeyError if the op has one."""
    register_gradient(op_type, None, EagerTensor, _OPS)
