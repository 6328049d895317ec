"""Batches: nests of arrays, and the model that is given them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..array import library, xp
from ..core import Tensor, raw
from ..data import detached
from ..dtypes import is_inexact


def pair(batch: Any) -> Any:
    """(x, y).  ValueError for a batch of another form."""
    if isinstance(batch, dict):
        raise ValueError(
            f"a batch is (x, y), not a dict of {', '.join(map(repr, batch))}. Give data that are pairs, as "
            "ArrayDataset(x, y) or csv(path, target=...), or a dataset of your own, whose x may be a dict; or override "
            "training_step(batch), which answers the loss"
        )
    if isinstance(batch, Tensor):
        raise ValueError(
            f"a batch is (x, y), not a tensor of shape {raw(batch).shape}. Of arrays write "
            "gg.data.DataLoader(gg.data.ArrayDataset(x, y), batch_size=32); of one array, override training_step(batch)"
        )
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        what = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else f"{batch!r:.60}"
        raise ValueError(f"a batch is (x, y), not {what}; override training_step(batch) for another form")
    return batch


def tensors(x: Any, kind: type[Tensor] = Tensor) -> Any:
    """A nest whose arrays are Tensors on the default device; all of class `kind`, where that is a front door's.

    Where tensors of that class can be changed in place, they do not share the memory of the arrays.
    """
    if isinstance(x, (tuple, list)):
        made = [tensors(v, kind) for v in x]
        return type(x)(made) if not hasattr(x, "_fields") else type(x)(*made)
    if isinstance(x, dict):
        return {k: tensors(v, kind) for k, v in x.items()}
    if isinstance(x, kind) or not (isinstance(x, Tensor) or library(x) is not None):
        return x
    made = detached(x, kind)
    if hasattr(kind, "copy_") and library(made.array) is library(raw(x)):  # a model may change what it is given
        made.array = xp(made.array).array(made.array)
    return made


def rows(x: Any) -> int:
    """The length of the first array of a nest; 1 where there is none."""
    while isinstance(x, (tuple, list, dict)) and x:
        x = next(iter(x.values() if isinstance(x, dict) else x))
    return raw(x).shape[0] if isinstance(x, Tensor) and raw(x).ndim else 1


def named(x: Any, name: str) -> Iterator[tuple[str, Any]]:
    """(name, array) of each array of a nest, as one would write it: x, x[0], x['age']."""
    if isinstance(x, (tuple, list, Mapping)):
        for k, v in x.items() if isinstance(x, Mapping) else enumerate(x):
            yield from named(v, f"{name}[{k!r}]")
    elif isinstance(x, Tensor) or library(x) is not None:
        yield name, raw(x) if isinstance(x, Tensor) else x


def not_finite(batch: Any) -> str:
    """Which arrays of a batch hold what is not finite; "" where none does.  Waits for the device."""
    pairs = isinstance(batch, (tuple, list)) and len(batch) == 2
    found = []
    for name, a in [*named(batch[0], "x"), *named(batch[1], "y")] if pairs else named(batch, "batch"):
        if is_inexact(a.dtype) and (n := int((~xp(a).isfinite(a)).sum())):
            found.append(f"{name} of that batch holds {n} NaN or infinite numbers among {a.size}")
    return ", ".join(found)


def length(data: Any) -> int | None:
    """How many batches there are, where that is known."""
    try:
        return len(data)
    except TypeError:
        return None


def measured(found: Any) -> Mapping[str, Any]:
    """What a step has answered, by name."""
    return found if isinstance(found, Mapping) else {"loss": found}


@contextmanager
def mode(model: Any, training: bool) -> Iterator[None]:
    """The model in training or not; at the end each of its modules is as it was."""
    before = [(m, m.training) for m in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for m, was in before:
            m.training = was
