"""All parameters of a model as one vector."""

from __future__ import annotations

from collections.abc import Iterable

from ..core import Tensor, raw
from ..ops.shape import concat, reshape


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters, one after the other, in a vector, in the graph."""
    return concat([reshape(p, -1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """The values of a vector, put into the parameters.  ValueError unless it has as many elements as they."""
    own, values, at = list(parameters), raw(vec), 0
    if values.size != sum([p.array.size for p in own]):
        raise ValueError(f"a vector of {values.size} elements for {sum([p.array.size for p in own])} in the parameters")
    for p in own:
        p.data = reshape(vec.detach()[at : at + p.array.size], p.array.shape)
        at += p.array.size
