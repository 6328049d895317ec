"""Floor 7: `found`, the core's function of a name, for front doors that list names."""

from __future__ import annotations

from typing import Any

from . import fft, inplace, linalg, nn, special, views
from .ops import (
    activation,
    casting,
    choice,
    conventions,
    diagonal,
    differences,
    distances,
    images,
    index,
    linalg as contractions,
    logic,
    math,
    matrices,
    matrix_functions,
    norm,
    options,
    pad,
    products,
    quantile,
    reduce,
    rounding,
    scan,
    scatter,
    segment,
    shape,
    softmax,
    sorting,
)

_TOP = (
    activation, casting, choice, contractions, diagonal, differences, distances, index, logic, math, matrices,
    matrix_functions, norm, pad, products, quantile, reduce, rounding, scan, scatter, segment, shape, softmax, sorting,
)  # fmt: skip
_PLACES = {
    "fft": fft, "images": images, "inplace": inplace, "linalg": linalg, "nn": nn, "options": options,
    "special": special, "tf": conventions, "views": views,
}  # fmt: skip


def found(name: str) -> Any:
    """The function that the core calls so: "sum", "linalg.inv".  LookupError for an unknown name."""
    place, _, last = name.rpartition(".")
    for module in [_PLACES[place]] if place else _TOP:
        f = getattr(module, last, None)
        if f is not None and (place or f.__module__ == module.__name__):
            return f
    raise LookupError(f"gpugrad has no function {name!r}")
