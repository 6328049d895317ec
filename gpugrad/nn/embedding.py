"""embedding and Embedding."""

from __future__ import annotations

from typing import Any

from .. import random
from ..array import NUMPY, library, xp
from ..core import raw
from ..forward import indices, placed
from ..ops import embedding as ops
from ..ops.windows import numbers
from ..tensor import tensor
from .module import Module


def embedding(index: Any, weight: Any, padding_idx: int | None = None, deterministic: bool = False) -> Any:
    """The rows of weight (entries, columns) that the integers `index` name: (*index.shape, columns).

    padding_idx    the row of this number gets no gradient; it may count from the end
    deterministic  on a GPU, the gradient is added up in the same order on every run
    TypeError for indices that are no integers.  IndexError for one out of range; on a GPU, which is not waited for,
    its row is NaN.
    """
    if library(raw(weight)) is None or raw(weight).ndim != 2:
        raise TypeError(f"embedding: weight is a table (entries, columns), after the index, not {raw(weight)!r:.60}")
    index, entries = indices(index), raw(weight).shape[0]
    if library(raw(weight)) is not NUMPY:  # indices from the host are checked there
        ops.check(index, entries)
        index = placed(index, raw(weight))
    if padding_idx is not None:
        if not -entries <= padding_idx < entries:
            raise ValueError(f"embedding: padding_idx must be within the {entries} entries, given {padding_idx}")
        padding_idx %= entries
    return ops.embedding(weight, index, padding=padding_idx, deterministic=deterministic)


class Embedding(Module):
    """A table of `num_embeddings` rows, drawn from N(0, 1), looked up by integers; the row `padding_idx` is 0."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
        _weight: Any = None,
    ) -> None:
        (num_embeddings,) = numbers("Embedding", "num_embeddings", num_embeddings, 1, 0)
        (embedding_dim,) = numbers("Embedding", "embedding_dim", embedding_dim, 1, 0)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"Embedding: padding_idx must be within the {num_embeddings} rows, given {padding_idx}")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        weight = _weight
        if weight is None:
            weight = random.normal((num_embeddings, embedding_dim), dtype=dtype, device=device)
            if padding_idx is not None:
                weight.array[padding_idx] = 0
        self.weight = self._parameter(weight, "weight")

    @classmethod
    def from_pretrained(cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None) -> Any:
        """A layer of these rows, (entries, columns), which are not trained unless freeze is False."""
        table = tensor(embeddings)
        if table.ndim != 2:
            raise ValueError(f"Embedding: the rows are (entries, columns), given an array of shape {table.shape}")
        own = tensor(xp(table.array).array(table.array))
        entries, columns = table.shape
        return cls(entries, columns, padding_idx, _weight=own).requires_grad_(not freeze)

    def forward(self, input: Any) -> Any:
        return embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """What stands between the brackets when it is printed, as PyTorch has it."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
