"""tf.data: the core's datasets, of tf.Tensors."""

from __future__ import annotations

from typing import Any

from .. import data as _core
from .tensor import EagerTensor

AUTOTUNE = -1


def fresh(x: Any) -> EagerTensor:
    """The values of x as a tensor without history."""
    return _core.detached(x, EagerTensor)  # type: ignore[return-value]


class Dataset(_core.Dataset):
    """A source of elements, nested tensors, that can be gone through again and again."""

    element = staticmethod(fresh)
