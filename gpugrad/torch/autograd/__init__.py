"""torch.autograd: grad, backward, Function."""

from __future__ import annotations

from typing import Any

from ... import anomaly as _anomaly, autograd as _core, func as _func
from ...adapt import adapted
from ...anomaly import is_anomaly_enabled as is_anomaly_enabled
from ...autograd import enable_grad as enable_grad, no_grad as no_grad, set_grad_enabled as set_grad_enabled
from ...graph import backward_name
from ..tensor import Tensor
from . import forward_ad as forward_ad, function as function, functional as functional, graph as graph
from .function import Function as Function
from .gradcheck import gradcheck as gradcheck, gradgradcheck as gradgradcheck

grad = adapted(
    _func.gradients,
    "outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, -only_inputs=True, allow_unused=None, "
    "is_grads_batched=False, -*, materialize_grads=False",
)


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the gradient of the sum of `tensors` to the leaves' .grad."""
    several = not isinstance(tensors, Tensor)
    seeds = grad_tensors
    if several and isinstance(seeds, Tensor):
        seeds = [seeds]
    elif not several and isinstance(seeds, (list, tuple)):
        (seeds,) = seeds
    _core.backward(tensors, seeds, retain_graph, create_graph, inputs)


class detect_anomaly(_anomaly.detect_anomaly):
    """A context in which a NaN in a backward pass is an error, and an error names its op and where it was called."""

    name = staticmethod(backward_name)


class set_detect_anomaly(_anomaly.set_detect_anomaly):
    """The same, switched by a statement too."""

    name = staticmethod(backward_name)
