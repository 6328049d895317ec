"""torch.autograd.graph: nodes, what ops save, hooks over several tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...autograd import register_multi_grad_hook as _register
from ...hooks import Handle
from ...saving import save_on_cpu as save_on_cpu, saved_tensors_hooks as saved_tensors_hooks
from ..tensor import GradFn as Node


def register_multi_grad_hook(tensors: Sequence[Any], fn: Callable[..., Any], *, mode: str = "all") -> Handle:
    """Call fn(gradients of all tensors) once a backward pass, or with mode "any" fn(the first that arrives)."""
    return _register(tensors, fn, mode)


class GradientEdge(NamedTuple):
    """A place in the graph: the op that made a tensor, or the end at a leaf."""

    node: Node
    output_nr: int


def get_gradient_edge(tensor: Any) -> GradientEdge:
    """The edge of the graph that leads to `tensor`.  RuntimeError if it requires no gradient."""
    if not tensor.requires_grad:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    return GradientEdge(Node(tensor.node), 0)
