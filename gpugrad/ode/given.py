"""What a solver is given, checked: trees as flat lists, times, tolerances, and what f answers."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite
from typing import Any

import numpy as np
import optree

from ..array import device_of, library, to_host
from ..core import Tensor, raw, tick, wrap, writes
from ..dtypes import bfloat16, float32, float64
from ..levels import Traced
from ..ops.casting import astype, to_device
from ..ops.math import positive
from ..ops.shape import stack
from ..tensor import tensor
from .dopri5 import Problem, Times

METHODS = ("dopri5",)
_flatten: Any = optree.tree_flatten
_KINDS = (float32, float64, np.dtype("complex64"), np.dtype("complex128"))


def _flat(tree: Any) -> tuple[list[Any], Any]:
    """(the leaves, their structure)."""
    leaves, spec = _flatten(tree, namespace="gpugrad")
    return list(leaves), spec


def prepared(
    f: Callable[..., Any], y0: Any, t: Any, args: tuple, method: str, **options: Any
) -> tuple[Problem, Times, list[Tensor], list[Any], Any]:
    """(what is solved, when, y0 and args as flat lists, the structure of y0).  TypeError and ValueError as `solve`."""
    one_of("method", method, METHODS)
    if not callable(f):
        raise TypeError(f"ode: f is a function f(t, y, *args) that answers dy/dt, not {f!r:.60}")
    y, spec = _initial(y0)
    flat_args, args_spec = _flat(args)
    _check_options(y, **options)
    real = np.result_type(*[np.zeros(0, v.array.dtype).real.dtype for v in y])
    return Problem(_slopes(f, y, spec, args_spec), **options), _times(t, y[0], real), y, flat_args, spec


def _check_options(y: list[Tensor], rtol: Any, atol: Any, max_steps: Any, first_step: Any, max_step: Any) -> None:
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not _is_number(value):
            raise TypeError(f"ode: {name} is a number, not {value!r:.60}")
        if not 0 <= value < inf:
            raise ValueError(f"ode: {name} is 0 or more, and finite; given {value}")
    least = float(max([np.finfo(v.array.dtype).tiny for v in y]))
    if atol < least:
        raise ValueError(
            f"ode: atol, the error allowed where y passes through 0, is at least {least:.3g} in these dtypes; given "
            f"{atol}"
        )
    whole("max_steps", max_steps)
    if not (_is_number(max_step) and max_step > 0):
        raise ValueError(f"ode: max_step is how long a step is at most, above 0; given {max_step!r:.60}")
    if first_step is not None and not (_is_number(first_step) and 0 < first_step < inf):
        raise ValueError(f"ode: first_step is the length of the first step, above 0, or None; given {first_step!r:.60}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def whole(name: str, value: Any) -> None:
    """ValueError for what is no number of steps."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise ValueError(f"ode: {name} is a whole number of steps, 1 or more, not {value!r:.60}")


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """ValueError for a word that is none of those allowed."""
    if value not in allowed:
        raise ValueError(f"ode: unknown {name} {value!r}; write {' or '.join(map(repr, allowed))}")


def _initial(y0: Any) -> tuple[list[Tensor], Any]:
    """y0 as a flat list of Tensors and its structure.  TypeError for a leaf of what is no float, and for [1.0, 2.0]."""
    y, spec = _flat(y0)
    for i, v in enumerate(y):
        if not isinstance(v, Tensor) and library(v) is None and (spec.num_nodes > 1 or not isinstance(v, (int, float))):
            raise TypeError(
                f"ode: y0 is a Tensor or a tree of Tensors, and its leaf {i} is {v!r:.60} of type {type(v).__name__}; "
                "write gg.tensor(...)"
            )
    y = [v if isinstance(v, Tensor) else tensor(v) for v in y]
    for i, v in enumerate(y):
        if v.array.dtype not in _KINDS:
            raise TypeError(
                f"ode: y0 is float32, float64 or complex, and its leaf {i} is {v.array.dtype}; write "
                "y0.astype(gg.float32)"
            )
    if not y:
        raise ValueError("ode: y0 holds no Tensor")
    return [positive(v) for v in y], spec  # what the caller does with its own later is no matter


def numbers(t: Any, like: Tensor) -> tuple[np.ndarray, Tensor | None]:
    """(the times t on the host; as a Tensor of float64 beside `like`, where gradients may be asked for by them)."""
    if isinstance(t, (list, tuple)) and any([isinstance(v, Tensor) for v in t]):
        t = stack(t)
    if isinstance(raw(t), Traced):
        raise TypeError(
            "ode: inside a vmap all examples have the same times. For times of each example's own make them arguments: "
            "solve dy/ds = (t1 - t0) * f(t0 + s * (t1 - t0), y) for s from 0 to 1. A Solution takes many times at once."
        )
    values = to_host(raw(t)) if isinstance(t, Tensor) or library(t) is not None else np.asarray(t)
    if values.dtype.kind not in "iuf" and values.dtype != bfloat16:
        raise TypeError(f"ode: times are real numbers, not {values.dtype}")
    tracked = isinstance(t, Tensor) and t.node is not None
    return values, astype(to_device(t, device_of(like.array)), float64) if tracked else None


def _times(t: Any, like: Tensor, real: np.dtype) -> Times:
    """The times.  ValueError unless there are two at least, one after the other in one direction."""
    values, tensor = numbers(t, like)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            f"ode: t is one axis of two times or more, the first of them that of y0; given shape {values.shape}"
        )
    at = [float(v) for v in values]
    for i, v in enumerate(at):
        if not isfinite(v):
            raise ValueError(f"ode: t[{i}] is {v}")
        if i and (v == at[i - 1] or (v > at[i - 1]) != (at[1] > at[0])):
            way = "after" if at[1] > at[0] else "before"
            raise ValueError(
                f"ode: the times go one way, each another than the one before: t[{i}]={v:.8g} is not {way} "
                f"t[{i - 1}]={at[i - 1]:.8g}"
            )
    return Times(at, tensor, like, real)


def _slopes(f: Callable[..., Any], y: list[Tensor], spec: Any, args_spec: Any) -> Callable[..., list[Tensor]]:
    """f on flat lists, its answer compared with y."""
    like = [(v.array.shape, v.array.dtype) for v in y]
    n = len(y)

    def slopes(t: Tensor, y: list[Tensor], args: list[Any]) -> list[Tensor]:
        start = tick()
        leaves, found = _flat(f(t, spec.unflatten(y), *args_spec.unflatten(args)))
        if writes.ages and any([age > start for v in y for age in writes.of(v.array)]):
            raise RuntimeError("ode: f changes y in place, which steps go on from: write y = y + 1 for y += 1")
        if len(leaves) != n or found != spec:
            one = "; y is one Tensor: write gg.stack([...])" if spec.num_nodes == 1 and len(leaves) > 1 else ""
            raise TypeError(
                f"ode: f answers dy/dt nested as y is, {_shown(spec)}, but has answered {_shown(found)}, where * is a "
                f"Tensor{one}"
            )
        for i, (v, (shape, dtype)) in enumerate(zip(leaves, like)):
            if not isinstance(v, Tensor):
                raise TypeError(
                    f"ode: leaf {i} of what f answers is a {type(v).__name__}, not a Tensor. A function of NumPy's "
                    "leaves the tape: use gpugrad's; and for a constant write gg.full_like(y, value)."
                )
            if v.array.shape != shape or v.array.dtype != dtype:
                raise TypeError(
                    f"ode: leaf {i} of what f answers is {v.array.dtype}{list(v.array.shape)}, where y is "
                    f"{dtype}{list(shape)}. dy/dt has y's shape and dtype: "
                    + (
                        "look which shapes f broadcasts, and whether it is f(t, y), t first"
                        if v.array.shape != shape
                        else f"give y0 as y0.astype('{v.array.dtype}'), or f constants and arguments in y's dtype"
                    )
                    + "."
                )
        return [_kept(v) for v in leaves]

    return slopes


def _kept(v: Tensor) -> Tensor:
    """v, which f may write to, or give another array, when it is called again: a copy unless nobody else has it."""
    lib: Any = library(v.array)
    if type(v) is v.kind and (lib.traced or (lib.alone(v.array) and not writes.of(v.array))):
        return wrap(v.array, v.node, v.kind)
    return positive(v)


def _shown(spec: Any) -> Any:
    return spec.unflatten(["*"] * spec.num_leaves)
