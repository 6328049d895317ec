"""Floor 6: what does not fit, in PyTorch's words, and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .array import library
from .core import Tensor, raw
from .dtypes import is_inexact
from .ops import casting

NAMES = {
    "float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long", "int32": "Int",
    "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool", "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
}  # fmt: skip


def name_of(dtype: np.dtype) -> str:
    """PyTorch's name of a dtype: "Float"."""
    return NAMES.get(str(dtype), str(dtype))


# ---------------------------------------------------------------------------------------------- shapes and axes
def refused(name: str, e: Exception, values: Sequence[Any]) -> Exception | None:
    """The error of op `name` on `values`, where NumPy raised e; None for those that PyTorch has no words for."""
    shapes = [v.shape for v in values if library(v) is not None]
    if isinstance(e, np.exceptions.AxisError):
        return translated(e)
    if not isinstance(e, ValueError) or isinstance(e, UnicodeError) or not shapes:
        return None
    if wanted := re.search(r"cannot reshape array of size (\d+) into shape \(([-\d, ]*?),?\)", str(e)):
        return RuntimeError(
            f"shape '[{wanted[2].replace(',', ', ')}]' is invalid for input of size {wanted[1]}. The lengths must "
            "multiply to that size; -1 stands for the one that fits."
        )
    if found := re.search(r"the array at index 0 has size (\d+) and the array at index (\d+) has size (\d+)", str(e)):
        return RuntimeError(
            "Sizes of tensors must match except in dimension `dim`. "
            f"Expected size {found[1]} but got size {found[3]} for tensor number {found[2]} in the list."
        )
    if len(shapes) == 2 and name == "matmul":
        a, b = shapes
        return RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({'x'.join(map(str, a))} and {'x'.join(map(str, b))}). "
            "The last axis of the first and the second last of the second must be as long."
        )
    return pairwise(shapes) if len(shapes) > 1 and name != "concat" else None


def pairwise(shapes: Sequence[tuple[int, ...]]) -> Exception | None:
    """The error of shapes that do not broadcast; None if the first two do."""
    a, b = shapes[-2:]
    for i in range(1, min(len(a), len(b)) + 1):
        if a[-i] != b[-i] and 1 not in (a[-i], b[-i]):
            return RuntimeError(
                f"The size of tensor a ({a[-i]}) must match the size of tensor b ({b[-i]}) at non-singleton "
                f"dimension {max(len(a), len(b)) - i}. Lengths must be equal or 1, matched from the last axis."
            )
    return None


def axis_error(axis: int, ndim: int) -> IndexError:
    """An axis that is not there."""
    n = max(ndim, 1)
    return IndexError(
        f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {axis}). The tensor has {ndim} "
        "dimensions; -1 is the last."
    )


def axis_of(dim: int, ndim: int) -> int:
    """dim, from 0 on.  IndexError if there is no such axis."""
    n = max(ndim, 1)
    if not -n <= dim < n:
        raise axis_error(dim, ndim)
    return dim % n


def translated(e: ValueError) -> Exception:
    """A ValueError of a function of tensors: of an axis an IndexError, else a RuntimeError."""
    if found := re.search(r"axis (-?\d+) is out of bounds for (?:an )?array of (?:dimension )?(\d+)", str(e)):
        return axis_error(int(found[1]), int(found[2]))
    return RuntimeError(str(e))


def cast_first(f: Callable[..., Any], says: str = "") -> Callable[..., Any]:
    """f(x, dtype=None, ...), which casts x first.  With `says`, RuntimeError in that sentence for integers."""

    def call(x: Any, dtype: Any = None, **options: Any) -> Any:
        if dtype is not None:
            x = casting.astype(x, dtype)
        elif says and not is_inexact(raw(x).dtype):
            raise RuntimeError(f"{says.format(name_of(raw(x).dtype))}. Write x.float().{f.__name__}(...).")
        return f(x, **options)

    call.__name__, call.__doc__ = f.__name__, f.__doc__
    return call


def scalar(kind: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """float(x) or int(x) of a tensor.  ValueError for several elements."""

    def call(x: Any) -> Any:
        if x.array.size != 1:
            raise ValueError("only one element tensors can be converted to Python scalars; write .tolist()")
        return kind(x.item())

    return call


def type_of(x: Any, dtype: Any = None) -> Any:
    """The type by PyTorch's name, as torch.FloatTensor; or cast to a dtype."""
    return f"torch.{name_of(x.array.dtype)}Tensor" if dtype is None else casting.astype(x, dtype)


def fits(values: np.ndarray, dtype: np.dtype) -> None:
    """RuntimeError if an integer dtype cannot hold Python's numbers."""
    if dtype.kind not in "iu" or values.dtype.kind not in "iuf" or not values.size:
        return
    high, low = int(np.iinfo(dtype).max), int(np.iinfo(dtype).min)
    if not (values.max() <= high and values.min() >= (low or -high)):
        raise RuntimeError(f"value cannot be converted to type {dtype} without overflow. Write a wider dtype.")


# ---------------------------------------------------------------------------------------------- labels
def check_labels(shape: Sequence[int], labels: Any, ignore_index: int) -> None:
    """Raise what does not fit about integer labels for predictions (..., classes)."""
    a = raw(labels)
    if a.dtype.kind not in "iu":
        write = f"target.to({labels.prefix}int64)" if isinstance(labels, Tensor) else 'target.astype("int64")'
        raise RuntimeError(
            f"expected target dtype to be Long or Byte, but got {name_of(a.dtype)}. Write {write}; probabilities have "
            "the shape of the input."
        )
    if len(shape) <= 2 and a.ndim > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported. Write target.squeeze(1).")
    if a.shape[:1] != tuple(shape[:1]) and len(shape) > 1:
        raise ValueError(
            f"Expected input batch_size ({shape[0]}) to match target batch_size ({(*a.shape, 1)[0]}). There is one "
            "label for each row."
        )
    if a.shape != tuple(shape[:-1]):
        raise RuntimeError(f"only batches of targets of shape {list(shape[:-1])} supported, given {list(a.shape)}.")
    wrong = a[((a < 0) | (a >= shape[-1])) & (a != ignore_index)]
    if wrong.size:
        raise IndexError(f"Target {wrong.ravel()[0]} is out of bounds. Labels are 0..{shape[-1] - 1}.")


def check_weight(classes: int, weight: Any) -> None:
    """RuntimeError unless there is one weight for each class."""
    if weight is not None and np.shape(raw(weight)) != (classes,):
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but got weight tensor of "
            f"shape: {list(np.shape(raw(weight)))}"
        )
