"""Floor 2: `kernel_op()`, a user's own CUDA kernels as a differentiable op.

On a GPU the kernels run.  The array functions, `reference` and the rules, run on the CPU, for dtypes that the kernels
are not made for, and where a gradient is differentiated; `gg.testing.check_kernel` compares the kernels with them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from .axes import Axes, Spec, axes, elementwise, shape
from .core import Tensor
from .dtypes import as_dtype
from .files import resource
from .kernels import CTYPES, inlined, read
from .op import op, user_op
from .rule import Rule, asked_by as asks
from .user_kernel import UserKernel, parameters

_HALVES = "#include <cuda_fp16.h>\n#include <cuda_bf16.h>\n"  # so that a template on T is one for the half types


class Kernels(NamedTuple):
    """What stands behind a kernel_op: its kernels, the axes of its arrays, the inputs that have gradients."""

    forward: UserKernel
    backward: tuple[UserKernel, ...]
    axes: Axes
    differentiable: tuple[str, ...]


def kernel_op(
    source: str | os.PathLike[str],
    *,
    reference: Callable[..., Any],
    forward: str,
    backward: str | Sequence[str] = (),
    dtypes: Sequence[Any] | None = None,
    shapes: str | None = None,
    grid: Any = "elements",
    name: str | None = None,
    **rules: Rule | None,
) -> Any:
    """Declare a differentiable op by CUDA kernels and the array functions that say what they compute.

    source     CUDA C++, or the path of a file (a pathlib.Path).  A kernel is `template <typename T> __global__ void`,
               or without a template for one dtype.  `#include "common.cuh"` and gpugrad's other headers work
    reference  the forward in array functions, `reference(xp, *arrays, **static)`, as for `gg.op`
    forward    the name of the forward's kernel: it reads the arrays by the reference's names and writes `out`
    backward   the names of the backward's kernels: of an input x one writes `dx`; they read the cotangent `g`, inputs
               and `out`.  What they do not read is not saved
    dtypes     what T may be: of float32, float64, float16, bfloat16, which is all of them where it is not given
    shapes     None: the arrays are broadcast, and a kernel gets `n`, their number of elements.
               Else the axes of each, as in "... cols, cols -> ... cols": a kernel gets the size of each axis by its
               name, and `rows`, the number of elements of `...`.  An axis that only the output has is a static argument
    grid       "elements": a thread for each element that is written, in blocks of 256
               "rows": a block of 256 threads for each row; with `template <typename T, int TEAM>` TEAM threads for
               each, 32 or 256 by its length, and as many rows a block as it has room for
               a function of sizes, by name, that answers {"blocks": ..., "threads": ...}
               or a dict of these by kernel
    rules      for each input the formula of its cotangent, as for `gg.op`, or None: it has no gradient

    A kernel's numbers are sizes and static arguments, found by name.  Arrays come contiguous; every element of the
    outputs is to be written.  A dtype, or an empty array, that no kernel takes goes to the reference.
    TypeError, ValueError, LookupError or FileNotFoundError for kernels that do not fit the declaration.
    """
    backward = (backward,) if isinstance(backward, str) else tuple(backward)
    name = name or forward
    if getattr(reference, "__code__", None) is None:
        raise TypeError(
            f"kernel_op {name}: the reference is a function f(xp, *arrays, **static), not {reference!r:.60}"
        )
    code = reference.__code__
    args = code.co_varnames[1 : code.co_argcount]
    static = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    defaults = {n: (reference.__kwdefaults__ or {}).get(n) for n in static}
    _check_names(name, args, static, rules)
    its = elementwise(args) if shapes is None else axes(shapes, args)
    make = partial(_made, name, _code(name, source), its, static, _dtypes(name, dtypes), grid)
    run = make(forward, its.inputs, {"out": its.output})
    differentiable = [a for a in args if rules.get(a, 0) is not None]
    arrays = {"g": its.output, **its.inputs, "out": its.output}
    pulls = [make(k, arrays, {f"d{a}": its.inputs[a] for a in differentiable}) for k in backward]
    alone = all([len(k.outputs) == 1 for k in pulls])
    _check_forward(run, args, static, dtypes)
    _check_backward(name, pulls, alone)
    if isinstance(grid, Mapping) and (other := set(grid) - {forward, *backward}):
        raise TypeError(f"kernel_op {name}: grid is by kernel, and {min(other)!r} is none of {[forward, *backward]}")

    def gpu(xp: Any, *xs: Any, **given: Any) -> Any:
        if unknown := set(given) - set(defaults):
            raise TypeError(f"there is no argument {min(unknown)!r}; it takes {list(defaults)}")
        outs = run(dict(zip(args, xs)), {**defaults, **given})
        return reference(xp, *xs, **given) if outs is None else outs[0]

    writers = {p.name[1:]: k for k in pulls for p in k.outputs}
    pullbacks: dict[str, Any] = dict(rules)
    if alone:
        pullbacks |= {a: _pullback(name, a, its, k, rules.get(a)) for a, k in writers.items()}
    else:
        pullbacks = {"pull": _joint(name, args, its, writers, rules)}
    own = _with_host(reference, _checked(reference, args, defaults, its))
    made = user_op(own, gpu=gpu, name=name, **pullbacks)
    made.__module__ = sys._getframe(1).f_globals["__name__"]  # where pickle finds it
    made.kernels = Kernels(run, tuple(pulls), its, tuple([a for a in differentiable if a in {**writers, **rules}]))
    return made


def _checked(reference: Any, args: Sequence[str], defaults: dict[str, Any], its: Axes) -> Callable[..., Any]:
    """The reference for NumPy's arrays, with a ValueError, as of the kernels, where shapes are not as declared."""

    def host(*xs: Any, **given: Any) -> Any:
        sizes = its.sizes([(a, its.inputs[a], np.shape(x)) for a, x in zip(args, xs)])
        out = reference(np, *xs, **given)
        declared = shape(its.output, {**defaults, **given, **sizes})
        if np.shape(out) != declared:
            raise ValueError(
                f"the reference answers shape {np.shape(out)}; declared is {' '.join(its.output) or 'none'!r}, "
                f"which is {declared} here"
            )
        return out

    return host


def _with_host(reference: Any, host: Callable[..., Any]) -> Any:
    """The same function, of its own, which says what stands for it on NumPy's arrays."""
    own = FunctionType(reference.__code__, reference.__globals__, reference.__name__, None, reference.__closure__)
    own.__kwdefaults__, own.__doc__, own.host = reference.__kwdefaults__, reference.__doc__, host  # type: ignore
    return own


# ---------------------------------------------------------------------------------------------- declaration
def _code(name: str, source: str | os.PathLike[str]) -> str:
    """The text to compile: headers in their places, and each line known by where the user has it."""
    if isinstance(source, str):
        label, text, folder = f"kernel_op {name}", source, ""
        if "__global__" not in source:
            raise ValueError(
                f"kernel_op {name}: the source {source!r:.60} has no `__global__` kernel; "
                "the path of a file is given as pathlib.Path(...)"
            )
    else:
        label = os.fspath(source)
        text, folder = read(label), os.path.dirname(label)

    def find(header: str) -> str:
        if not isinstance(source, str) and os.path.isfile(path := os.path.join(folder, header)):
            return path
        try:
            return resource("kernels", header)
        except FileNotFoundError:
            beside = "" if isinstance(source, str) else f"beside {label} nor "
            raise FileNotFoundError(
                f'kernel_op {name}: #include "{header}" is not {beside}among gpugrad\'s headers; '
                "a header of your own stands beside a source that is given as a pathlib.Path"
            ) from None

    return _HALVES + inlined(label, text, find, set())


def _dtypes(name: str, dtypes: Sequence[Any] | None) -> tuple[np.dtype, ...]:
    found = tuple(CTYPES) if dtypes is None else tuple([as_dtype(d) for d in dtypes])
    if not found or not set(found) <= set(CTYPES):
        raise ValueError(f"kernel_op {name}: dtypes are of {', '.join(map(str, CTYPES))}; given {dtypes!r}")
    return found


def _made(
    name: str,
    code: str,
    its: Axes,
    static: Sequence[str],
    dtypes: tuple[np.dtype, ...],
    grid: Any,
    kernel: str,
    arrays: Mapping[str, Spec],
    outputs: Mapping[str, Spec],
) -> UserKernel:
    """A kernel of the op, with its own grid."""
    grid = grid.get(kernel, "elements") if isinstance(grid, Mapping) else grid
    if grid not in ("elements", "rows") and getattr(grid, "__code__", None) is None:
        raise ValueError(f"kernel_op {name}: grid is 'elements', 'rows' or a function of sizes, not {grid!r:.60}")
    return UserKernel(name, code, kernel, arrays, outputs, static, its, dtypes, grid)


def _check_names(name: str, args: Sequence[str], static: Sequence[str], rules: Mapping[str, Any]) -> None:
    options = {*parameters(op), *parameters(kernel_op)}
    if taken := ({"g", "out", "shape"} & {*args, *static}) | (options & set(args)):
        raise TypeError(f"kernel_op {name}: call the argument {min(taken)!r} otherwise; this name has a meaning here")
    if unknown := set(rules) - set(args):
        raise TypeError(f"kernel_op {name}: rule for {min(unknown)!r}, which is no array argument; those are {args}")


def _check_forward(run: UserKernel, args: Sequence[str], static: Sequence[str], dtypes: Any) -> None:
    """TypeError where the forward's kernel is not the function of all the arguments that the reference is."""
    if lacks := set(args) - {p.name for p in run.inputs}:
        raise TypeError(f"{run.label} does not read {min(lacks)!r}: it is to have a parameter `const T* {min(lacks)}`")
    if lacks := set(static) - set(run.static):
        raise TypeError(f"{run.label} takes no {min(lacks)!r}, an argument of the reference: add `float {min(lacks)}`")
    if both := set(static) & run.axes.known(run.axes.inputs.values()):
        raise TypeError(f"{run.label}: {min(both)!r} is a size of its arrays; call the argument otherwise")
    if lacks := run.untold(False):
        raise TypeError(f"{run.label}: no input has the size {min(lacks)!r}; let it be an argument of the reference")
    if dtypes is not None and "T" not in run.signature.template:
        raise TypeError(f"{run.label} is no template on T, and has the dtypes of its parameters; leave out dtypes=")


def _check_backward(name: str, pulls: Sequence[UserKernel], alone: bool) -> None:
    """TypeError for a cotangent that two kernels write, and for a kernel that nothing tells a size that it needs."""
    written = [p.name for k in pulls for p in k.outputs]
    if len(set(written)) < len(written):
        raise TypeError(f"kernel_op {name}: two kernels write {min([n for n in written if written.count(n) > 1])!r}")
    for k in pulls:
        if lacks := k.untold(alone):
            raise TypeError(f"{k.label}: nothing tells it the size {min(lacks)!r}; let it read an array that has it")


# ---------------------------------------------------------------------------------------------- pullbacks
def _pullback(name: str, arg: str, its: Axes, k: UserKernel, rule: Rule | None) -> Rule:
    """The pullback of `arg`: its kernel on a GPU; the rule elsewhere and where the gradient is differentiated."""
    asked: list[str] = list(dict.fromkeys([*k.asks, *(asks(rule) if rule else []), "shape"]))

    def pull(g: Any, *values: Any) -> Any:
        given = dict(zip(asked, values))
        outs = None if isinstance(g, Tensor) else k({**given, "g": g}, given, [(arg, its.inputs[arg], given["shape"])])
        return _by_rule(name, arg, k, rule, g, given) if outs is None else outs[0]

    pull.asks = asked  # type: ignore[attr-defined]
    return pull


def _joint(
    name: str, args: Sequence[str], its: Axes, writers: Mapping[str, UserKernel], rules: Mapping[str, Rule | None]
) -> Rule:
    """One pullback of all inputs, where a kernel writes several cotangents."""
    by_kernels = [n for k in writers.values() for n in k.asks]
    asked = list(dict.fromkeys([*by_kernels, *[n for r in rules.values() if r is not None for n in asks(r)]]))
    if "shape" in asked:
        raise TypeError(
            f"kernel_op {name}: where a kernel writes several cotangents no rule asks for 'shape'; ask for the input"
        )

    def pull(g: Any, *values: Any) -> Any:
        return _Cotangents(name, args, writers, rules, g, dict(zip(asked, values)))

    pull.asks = asked  # type: ignore[attr-defined]
    return pull


class _Cotangents:
    """The cotangents of all inputs by position, each computed when the engine takes it, a kernel run once."""

    __slots__ = ("args", "found", "g", "given", "name", "rules", "writers")

    def __init__(self, name: str, args: Any, writers: Any, rules: Any, g: Any, given: dict[str, Any]) -> None:
        self.name, self.args, self.writers, self.rules, self.g, self.given = name, args, writers, rules, g, given
        self.found: dict[str, Any] = {}

    def __getitem__(self, i: int) -> Any:
        arg = self.args[i]
        k = self.writers.get(arg)
        if arg not in self.found and k is not None and not isinstance(self.g, Tensor):
            outs = k({**self.given, "g": self.g}, self.given)
            self.found |= {} if outs is None else {p.name[1:]: out for p, out in zip(k.outputs, outs)}
        if arg not in self.found:
            none = arg in self.rules and self.rules[arg] is None
            self.found[arg] = None if none else _by_rule(self.name, arg, k, self.rules.get(arg), self.g, self.given)
        return self.found[arg]


def _by_rule(name: str, arg: str, k: UserKernel | None, rule: Rule | None, g: Any, given: Mapping[str, Any]) -> Any:
    if rule is None:
        raise LookupError(
            f"gradient registry has no entry for: {name}. It has no rule for its argument {arg!r}"
            + (f" beside the kernel {k.name!r}, which runs on a GPU only and is not differentiable itself" if k else "")
            + f"; declare one, {arg}=lambda g, ...: the cotangent of {arg} in gg's functions"
        )
    return rule(g, *[given[n] for n in asks(rule)])
