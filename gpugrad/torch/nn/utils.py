"""torch.nn.utils."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...optim.clip import clip_grad_norm_ as clip_grad_norm_, clip_grad_value_ as clip_grad_value_
from ..functions import cat


def parameters_to_vector(parameters: Iterable[Any]) -> Any:
    """All parameters in one vector, in the graph."""
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Any, parameters: Iterable[Any]) -> None:
    """The values of the vector, put into the parameters."""
    at = 0
    for p in parameters:
        p.data = vec[at : at + p.numel()].reshape(p.shape)
        at += p.numel()
